/* tests/loop/work_jobs.h: work items for tests: some that tell what became of them, some that stand still. */
#ifndef RINGLOOP_TESTS_LOOP_WORK_JOBS_H
#define RINGLOOP_TESTS_LOOP_WORK_JOBS_H

#include "tests/support/test.h"

#include <semaphore.h>
#include <time.h>

static struct loop     *loop;
static _Atomic uint32_t runs, tickets;

/* On the loop's thread. */
static inline void wait_until(const _Atomic uint32_t *counter, uint32_t value)
{
    for (int i = 0; i < 200000; i++) { /* 20 s */
        if (*counter >= value)
            return;
        test_sleep(100 * LOOP_MICROSECOND);
    }
    ck_abort_msg("stayed at %u, never came to %u", (unsigned)*counter, value);
}

/* Functions stand in front of it until they are let through. On their threads ck_assert must not be used: abort() tells
 * as well. */
struct gate {
    sem_t            sem;
    _Atomic uint32_t entered, left;
};

static inline void gate_init(struct gate *gate)
{
    memset(gate, 0, sizeof(*gate));
    ck_assert_int_eq(sem_init(&gate->sem, 0, 0), 0);
}

static inline void gate_let(struct gate *gate, uint32_t count)
{
    while (count-- > 0)
        ck_assert_int_eq(sem_post(&gate->sem), 0);
}

static inline void pass_gate(struct gate *gate)
{
    struct timespec end;

    gate->entered++;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    while (sem_timedwait(&gate->sem, &end) != 0)
        if (errno != EINTR)
            abort();
    gate->left++;
}

/* One item, with the log of its results. */
struct job {
    struct test_log  log; /* first: arg serves both */
    int32_t          res;
    struct gate     *gate;
    _Atomic uint32_t runs;
    uint32_t         ticket; /* as which of all it was run */
};

static inline int32_t job_fn(void *arg)
{
    struct job *job = arg;

    job->runs++;
    job->ticket = ++tickets;
    runs++;
    if (job->gate != NULL)
        pass_gate(job->gate);
    return job->res;
}

static inline loop_id job_start(struct job *job, enum loop_work_class work_class, const struct loop_terms *terms)
{
    loop_id id = loop_work(loop, work_class, job_fn, test_log_cb, job, terms);

    ck_assert_msg(id > 0, "loop_work: %" PRId64, id);
    return id;
}

static inline void job_is(const struct job *job, int32_t res, uint32_t flags, uint32_t times)
{
    ck_assert_uint_eq(job->log.finals, 1);
    ck_assert_uint_eq(job->log.count, 1);
    ck_assert_int_eq(job->log.last.res, res);
    ck_assert_uint_eq(job->log.last.flags, flags);
    ck_assert_uint_eq(job->runs, times);
}

static inline void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
}

static inline void teardown(void)
{
    test_loop_free(loop);
}

/* In place of the one of the fixture. */
static inline void make_loop(struct loop_options options)
{
    test_loop_free(loop);
    options.sq_entries = 64;
    loop = test_loop_new(&options);
}

#endif
