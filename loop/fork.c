/* loop/fork.c: loops in children of fork(2), and on other threads than that of their owner.
 *
 * All loops of the process stand in a list, for the handlers of pthread_atfork(3): around a fork the locks of loops are
 * held, so that the child finds what they guard whole; and in the child every loop belongs to nobody, by an address
 * that no thread has, so that the check of each call finds it out at no cost. */
#include "loop/rehome.h"
#include "loop/seam_process.h"

#include <errno.h>
#include <ringloop/fork.h>

const char loop_homeless;

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop    *registry;
static bool            registered;

static void lock_all(bool lock)
{
    for (struct loop *loop = registry; loop != NULL; loop = loop->registry_next) {
        post_queue_lock(loop, lock);
        work_lock(loop, lock);
    }
}

static void before_fork(void)
{
    pthread_mutex_lock(&registry_lock);
    lock_all(true);
}

static void after_fork_in_parent(void)
{
    lock_all(false);
    pthread_mutex_unlock(&registry_lock);
}

static void after_fork_in_child(void)
{
    lock_all(false);
    for (struct loop *loop = registry; loop != NULL; loop = loop->registry_next) {
        post_queue_forked(loop);
        work_forked(loop);
        loop->sleeping = 0; /* who posts must not wake the parent */
        loop->forked = true;
        loop->owner = &loop_homeless;
    }
    pthread_mutex_unlock(&registry_lock);
}

int loop_registry_add(struct loop *loop)
{
    int r = 0;

    pthread_mutex_lock(&registry_lock);
    if (!registered)
        r = sys_at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
    if (r == 0) {
        registered = true;
        loop->registry_next = registry;
        if (registry != NULL)
            registry->registry_prev = loop;
        registry = loop;
    }
    pthread_mutex_unlock(&registry_lock);
    return r;
}

void loop_registry_remove(struct loop *loop)
{
    pthread_mutex_lock(&registry_lock);
    if (loop->registry_prev != NULL)
        loop->registry_prev->registry_next = loop->registry_next;
    else
        registry = loop->registry_next;
    if (loop->registry_next != NULL)
        loop->registry_next->registry_prev = loop->registry_prev;
    pthread_mutex_unlock(&registry_lock);
}

static int check(const struct loop *loop)
{
    if (loop_busy(loop))
        return -EBUSY;
    return loop->shared != NULL || loop->zcrx_queues != NULL ? -EOPNOTSUPP : 0;
}

int loop_fork(struct loop *loop)
{
    int r;

    if (!loop->forked)
        return 0;
    r = check(loop);
    return r < 0 ? r : rehome(loop, true);
}

int loop_disown(struct loop *loop)
{
    int r;

    loop_check_owner(loop, __func__);
    if (loop_owner(loop) == NULL)
        return 0;
    r = loop->chain_open ? -EBUSY : check(loop);
    if (r == 0)
        r = rehome_take_back(loop);
    return r < 0 ? r : rehome(loop, false);
}

/* Its ring has gone before, and no other could be had. */
static bool has_no_ring(const struct loop *loop)
{
    return loop_owner(loop) == &loop_homeless && !loop->forked;
}

int loop_rehome(struct loop *loop)
{
    int r;

    if (loop->forked)
        check_misuse(__func__, "this is a child of fork(2): call loop_fork()");
    if (has_no_ring(loop))
        return rehome(loop, false);
    if (loop_owner(loop) == NULL)
        return 0;
    if (sys_thread_alive(loop->owner_tid))
        return -EBUSY;
    r = loop->chain_open ? -EBUSY : check(loop);
    if (r < 0)
        return r;
    __atomic_store_n(&loop->owner, loop_this_thread(), __ATOMIC_RELAXED);
    r = rehome_collect(loop);
    return r < 0 ? r : rehome(loop, false);
}
