/* fs/job.h: what takes many steps on the work pool, and tells between them: listings, walks, copies. Each step is one
 * work item; the next begins when what the last has brought has been told, so that a slow user slows it down, and no
 * thread is held for long. Thread and loop take turns with it: nothing is locked. But for a child of fork(2), which
 * finds a step in its midst, with its thread gone: so that it can let go of everything, a step notes what it gives up
 * (closes, frees) before it does. */
#ifndef RINGLOOP_FS_JOB_H
#define RINGLOOP_FS_JOB_H

#include "loop/loop_private.h"

struct loop_job;

struct job_class {
    struct loop_object_class object;
    enum loop_work_class     work_class;
    /* When it is cancelled a step is run all the same, which sees that by job_stopped() and tidies up. */
    bool                     tidies;
    /* On a thread: 1 if there is more to do, 0 at the end, or a negative errno. */
    int (*step)(struct loop_job *job);
    /* Calls back for what the step has brought. False if it is not all told: paused or cancelled in its midst. Called
     * again after that, and when all is told. */
    bool (*tell)(struct loop_job *job);
    /* Lets go of everything, calls back for the last time. The job's memory is freed right after it has taken what it
     * needs, by job_free(). */
    void (*end)(struct loop_job *job, int error);
};

/* The first member of a block. */
struct loop_job {
    const struct job_class *job_class;
    struct loop            *loop;
    struct loop_object      object;
    struct loop_task        task;
    struct loop_timer       deadline;
    loop_id                 work; /* 0: none in flight */
    int                     stop; /* atomic: 0, or the errno with which it shall end */
    int                     result;
    uint64_t                steps;
    bool                    busy; /* being gone on with just now */
    bool                    paused;
    bool                    forked; /* in a child: what was made is the parent's */
    bool                    begun;  /* a thread has begun its first step */
};

/* A zeroed block of size bytes; NULL without memory. */
void *job_new(struct loop *loop, const struct job_class *job_class, size_t size);
void  job_free(struct loop_job *job);

/* 0, or what loop_work() refused it with, and then it is as before. */
int  job_start(struct loop_job *job, uint64_t timeout_ns);
void job_cancel(struct loop_job *job, int error);
void job_pause(struct loop_job *job);
void job_resume(struct loop_job *job);

static inline int job_stopped(const struct loop_job *job)
{
    return __atomic_load_n(&job->stop, __ATOMIC_RELAXED);
}

/* For job_class.object. */
void job_close(struct loop_object *object);
void job_rehome(struct loop_object *object, bool forked);

/* All of it but the object, which is the user's structure, not the job. */
void job_describe(const struct loop_job *job, struct loop_walk_item *item);

#endif
