/* loop/embed.c: the loop inside another one, which waits for an eventfd.
 *
 * A poller that sleeps on a ring with DEFER_TASKRUN is not woken by completions, since they only come into being when
 * the owner enters the ring; a registered eventfd is signalled all the same, when there is work for the owner. It is
 * drained at the end of each run, and afterwards the loop looks whether anything is to be done: what came before that
 * is seen, what comes later signals. What was seen signals again, so that the descriptor stays readable. */
#include "loop/loop_private.h"

#include <errno.h>
#include <ringloop/embed.h>

static const uint64_t retry_ns = 10000000; /* what found no room or memory is tried again then */

static int register_eventfd(struct loop *loop, int fd)
{
    return seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_EVENTFD, &fd, 1);
}

static bool unsent(const struct loop *loop)
{
    return ring_unsent(&loop->ring) > 0 || loop->backlog.count > 0;
}

/* Work that the kernel keeps for the owner; it does not say so on rings without the flag. */
static bool kernel_has_work(struct loop *loop)
{
    if (loop->ring.enabled && (loop->ring.setup_flags & (IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SQPOLL)) == 0)
        (void)submit_and_wait(loop, &(struct ring_wait){.count = 0});
    return (ring_sq_flags(&loop->ring) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Where somebody writes to an eventfd that an operation waits for, the kernel may not signal another eventfd in the
 * same breath. It does so later: but since 6.11 once, and never again for the same registration. Rings that make
 * completions only in the owner's calls signal so early. So the registration is made anew when something has completed;
 * without memory for it the next run tries again, at once. */
static void register_anew(struct loop *loop)
{
    if (!ring_has(&loop->ring, IORING_SETUP_DEFER_TASKRUN) || loop->backend_cqes == loop->stats.cqes)
        return;
    (void)seam_ring_register(loop->ring.uring.ring_fd, IORING_UNREGISTER_EVENTFD, NULL, 0);
    if (register_eventfd(loop, loop->backend_fd) == 0)
        loop->backend_cqes = loop->stats.cqes;
    else
        (void)sys_eventfd_signal(loop->backend_fd);
}

/* From now on others write to the eventfd. Returns whether there is something to do at once. */
static bool rest(struct loop *loop)
{
    __atomic_store_n(&loop->sleeping, LOOP_SLEEPS_ELSEWHERE, __ATOMIC_SEQ_CST);
    return kernel_has_work(loop) || work_at_hand(loop) || post_waiting_before_sleep(loop) || shared_at_hand(loop) ||
           hooks_idle(loop);
}

void backend_rest(struct loop *loop)
{
    sys_eventfd_drain(loop->backend_fd);
    register_anew(loop);
    if (rest(loop))
        (void)sys_eventfd_signal(loop->backend_fd);
}

int loop_backend_fd(struct loop *loop)
{
    int fd, r;

    loop_check_owner(loop, __func__);
    if (loop->backend_fd >= 0)
        return loop->backend_fd;
    if (ring_has(&loop->ring, IORING_SETUP_IOPOLL))
        return -EOPNOTSUPP;
    fd = sys_eventfd();
    if (fd < 0)
        return fd;
    r = register_eventfd(loop, fd);
    if (r < 0) {
        sys_close(fd);
        return r;
    }
    loop->backend_fd = fd;
    if (!loop->running)
        backend_rest(loop);
    return fd;
}

/* Until the next timer. */
static uint64_t until_timer(struct loop *loop)
{
    uint64_t next_ns = wheel_next(&loop->wheel);

    if (next_ns == UINT64_MAX)
        return UINT64_MAX;
    loop->now_ns = sys_clock_ns();
    return next_ns > loop->now_ns ? next_ns - loop->now_ns : 0;
}

uint64_t loop_backend_timeout(struct loop *loop)
{
    uint64_t timeout_ns;

    loop_check_owner(loop, __func__);
    if (loop_busy(loop) || loop_own(loop) < 0)
        return 0;
    if (unsent(loop))
        (void)submit_now(loop, SUBMIT_WAIT);
    if (loop->backend_fd >= 0 ? rest(loop) : work_at_hand(loop) || hooks_idle(loop))
        return 0;
    timeout_ns = until_timer(loop);
    if ((unsent(loop) || !task_list_empty(&loop->retries)) && timeout_ns > retry_ns)
        timeout_ns = retry_ns;
    return timeout_ns;
}

/* In a child it is made anew at the same number: the parent's would be signalled by both. */
int backend_rehome(struct loop *loop, bool forked)
{
    int fd, r = 0;

    if (loop->backend_fd < 0)
        return 0;
    if (forked) {
        fd = sys_eventfd();
        r = fd < 0 ? fd : sys_replace(loop->backend_fd, fd);
    }
    return r < 0 ? r : register_eventfd(loop, loop->backend_fd);
}

void backend_destroy(struct loop *loop)
{
    if (loop->backend_fd >= 0)
        sys_close(loop->backend_fd);
}
