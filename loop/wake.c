/* loop/wake.c: waking a loop that waits in the kernel: an eventfd, polled by the ring.
 *
 * The poll is a multishot, which completes at every write, so the eventfd is never read. A write is made only if the
 * loop sleeps: it says so before it looks a last time for work from other threads, and they look whether it sleeps
 * after they have left theirs. */
#include "loop/op_start.h"

#include <errno.h>
#include <poll.h>

int wake_init(struct loop *loop)
{
    loop->wake_fd = sys_eventfd();
    return loop->wake_fd < 0 ? loop->wake_fd : 0;
}

/* An eventfd that parent and child shared would wake both. */
int wake_rehome(struct loop *loop, bool forked)
{
    int fd;

    loop->wake_armed = ring_has(&loop->ring, IORING_SETUP_IOPOLL); /* it can't be polled for: see mode_wait_polled() */
    __atomic_store_n(&loop->sleeping, 0, __ATOMIC_SEQ_CST);
    if (!forked)
        return 0;
    fd = sys_eventfd();
    if (fd < 0)
        return fd;
    sys_close(loop->wake_fd);
    loop->wake_fd = fd;
    return 0;
}

void wake_arm(struct loop *loop)
{
    struct io_uring_sqe *sqe;

    if (loop->wake_armed)
        return;
    sqe = submit_sqe(loop, true);
    if (sqe == NULL) { /* tried again next turn */
        observe_error(loop, &(struct loop_error){.event = LOOP_ERROR_WAKE, .error = -ENOMEM});
        return;
    }
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_POLL_ADD,
        .fd = loop->wake_fd,
        .len = IORING_POLL_ADD_MULTI,
        .poll32_events = op_poll_mask(POLLIN),
        .user_data = user_data_direct(IORING_OP_POLL_ADD, HANDLER_WAKE, 0),
    };
    loop->wake_armed = true;
    submit_sqe_done(loop);
}

void wake_completed(struct loop *loop, const struct completion *completion)
{
    if ((completion->flags & IORING_CQE_F_MORE) == 0)
        loop->wake_armed = false;
    loop->happened = true;
}

void wake_if_asleep(struct loop *loop)
{
    int sleep;

    /* Both sides are SEQ_CST: what was stored before this load is seen by the loop's last look, or the loop is seen to
     * sleep. The exchange is for those that do see it: one of them writes. */
    if (__atomic_load_n(&loop->sleeping, __ATOMIC_SEQ_CST) == LOOP_AWAKE)
        return;
    sleep = __atomic_exchange_n(&loop->sleeping, LOOP_AWAKE, __ATOMIC_SEQ_CST);
    if (sleep == LOOP_AWAKE)
        return;
    __atomic_fetch_add(&loop->wakes, 1, __ATOMIC_RELAXED);
    (void)sys_eventfd_signal(sleep == LOOP_SLEEPS ? loop->wake_fd : loop->backend_fd);
}

void loop_wake(struct loop *loop)
{
    __atomic_store_n(&loop->woken, 1, __ATOMIC_SEQ_CST);
    wake_if_asleep(loop);
}

void loop_stop(struct loop *loop)
{
    __atomic_store_n(&loop->stopping, 1, __ATOMIC_SEQ_CST);
    wake_if_asleep(loop);
}
