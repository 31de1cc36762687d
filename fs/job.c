/* fs/job.c: many steps on the work pool, with callbacks between them. */
#include "fs/job.h"

#include <errno.h>
#include <string.h>

void *job_new(struct loop *loop, const struct job_class *job_class, size_t size)
{
    struct loop_job *job = memory_resize(loop, NULL, size);

    if (job == NULL)
        return NULL;
    memset(job, 0, size);
    job->job_class = job_class;
    job->loop = loop;
    return job;
}

void job_free(struct loop_job *job)
{
    if (job != NULL)
        memory_free(job->loop, job);
}

static int32_t run_step(void *arg)
{
    struct loop_job *job = arg;

    job->begun = true;
    return job->job_class->step(job);
}

static void go_on(struct loop_job *job);

static void step_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_job *job = arg;

    (void)loop;
    job->work = 0;
    job->steps++;
    job->result = result->res;
    job->busy = true;
    if (result->res == -ERESTART) { /* the parent goes on with it, or its thread was in the midst of something */
        job->result = -EOWNERDEAD;
        job_cancel(job, -EOWNERDEAD);
    }
    go_on(job);
}

static int step_start(struct loop_job *job)
{
    loop_id id = loop_work(job->loop, job->job_class->work_class, run_step, step_done, job,
                           LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));

    if (id > 0)
        job->work = op_of_object(job->loop, id);
    return id > 0 ? 0 : (int)id;
}

static void end(struct loop_job *job, int error)
{
    CHECK(job->work == 0 && job->task.next == NULL);
    loop_timer_stop(&job->deadline);
    object_gone(&job->object, true);
    job->job_class->end(job, error);
}

/* What it comes to after a cancel. */
static void end_stopped(struct loop_job *job, int stop)
{
    if (job->job_class->tidies && job->result > 0 && step_start(job) == 0)
        return; /* that step ends it */
    if (job->job_class->tidies && job->result <= 0 && job->result != -ECANCELED)
        stop = job->result; /* that was first */
    end(job, stop);
}

/* Nothing is in flight. */
static void go_on(struct loop_job *job)
{
    bool told;
    int  r;

    job->busy = true;
    told = job_stopped(job) == 0 && !job->paused && job->job_class->tell(job);
    job->busy = false;
    if (job_stopped(job) != 0) {
        end_stopped(job, job_stopped(job));
        return;
    }
    if (job->paused || !told)
        return;
    if (job->result <= 0) {
        end(job, job->result);
        return;
    }
    r = step_start(job);
    if (r == -ENOBUFS || r == -ENOMEM || r == -EAGAIN)
        loop_task_retry(job->loop, &job->task);
    else if (r < 0)
        end(job, r);
}

static void task_run(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    go_on(container_of(task, struct loop_job, task));
}

static void deadline_passed(struct loop_timer *timer)
{
    job_cancel(container_of(timer, struct loop_job, deadline), -ETIMEDOUT);
}

int job_start(struct loop_job *job, uint64_t timeout_ns)
{
    int r;

    if (job->loop->destroying)
        return -ECANCELED;
    job->task.run = task_run;
    job->result = 1;
    r = step_start(job);
    if (r < 0)
        return r;
    object_open(job->loop, &job->object, &job->job_class->object, true);
    loop_timer_unref(&job->deadline);
    if (timeout_ns != 0)
        (void)loop_timer_start(job->loop, &job->deadline, timeout_ns, 0, deadline_passed);
    return 0;
}

void job_cancel(struct loop_job *job, int error)
{
    if (job_stopped(job) != 0)
        return;
    __atomic_store_n(&job->stop, error, __ATOMIC_RELAXED);
    if (job->work != 0 && (!job->job_class->tidies || job->steps == 0))
        (void)loop_cancel(job->loop, job->work);
    else if (job->work == 0 && !job->busy)
        loop_task_add(job->loop, &job->task);
}

void job_pause(struct loop_job *job)
{
    job->paused = true;
}

void job_resume(struct loop_job *job)
{
    if (!job->paused)
        return;
    job->paused = false;
    if (job->work == 0 && !job->busy)
        loop_task_add(job->loop, &job->task);
}

void job_close(struct loop_object *object)
{
    job_cancel(container_of(object, struct loop_job, object), -ECANCELED);
}

void job_describe(const struct loop_job *job, struct loop_walk_item *item)
{
    item->closing = job_stopped(job) != 0;
    item->active = !job->paused;
}

/* The parent goes on with it; it and the child would read on from one open directory, in turn. */
void job_rehome(struct loop_object *object, bool forked)
{
    struct loop_job *job = container_of(object, struct loop_job, object);

    job->forked = forked;
    if (forked && job->begun) /* perhaps done, and not told yet */
        job_cancel(job, -EOWNERDEAD);
}
