/* ringloop/subscription.h: multishots: operations that go on: accept, receive, read, poll, tick. And subscriptions:
 * multishots whose callback says after each result whether there shall be more. Loop thread only.
 *
 * What op.h says of operations holds here. The callback comes with LOOP_MORE for each result, and once without it: the
 * last. What the kernel ends for reasons of its own (a full CQ, no buffer, fairness) the loop arms again, and nothing
 * is lost, but in direct mode, where results are passed on as they come. A deadline (loop_terms.timeout_ns) covers the
 * whole multishot. Multishots are refused in chains and with LOOP_ASYNC (-EINVAL). */
#ifndef RINGLOOP_SUBSCRIPTION_H
#define RINGLOOP_SUBSCRIPTION_H

#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

/* ---- multishots */

/* accept4(2). res: a connection's descriptor, which is yours, also if the multishot was cancelled meanwhile. Ends by
 * loop_cancel() or an error, e.g. -EMFILE; connections not yet accepted wait. */
LOOP_API loop_id loop_accept_multishot(struct loop *loop, int fd, int flags, loop_cb *cb, void *arg,
                                       const struct loop_terms *terms);

/* The three that receive take buffers of the group (buffer.h) and lend them with the result: res bytes at data. While
 * the group is empty they wait, but see the end and errors. The group is made at its first use; -EINVAL for one that
 * does not exist. Empty groups apart, no result is a reason to end but those named here, errors, and loop_cancel(). */

/* recv(2). Ends with 0 at the end of the stream; an empty datagram counts as such. LOOP_POLL_FIRST: see types.h. */
LOOP_API loop_id loop_recv_multishot(struct loop *loop, int fd, uint16_t group, int flags, loop_cb *cb, void *arg,
                                     const struct loop_terms *terms);

/* recvmsg(2), for datagrams. Of msg (copied; NULL: all zero) msg_namelen and msg_controllen count: the room for sender
 * and control data, which is taken from the buffer, with 16 bytes more (-EINVAL above 128 bytes and 1 MiB; ends with
 * -EFAULT if the buffers are too small). result->message: name, control data and flags (MSG_TRUNC, MSG_CTRUNC) as
 * recvmsg(2) would give them; sizes never exceed the room. An empty datagram is a result (res 0, with LOOP_BUFFER) and
 * no end; a stream ends with res 0 and no buffer. Of SOCK_SEQPACKET an empty packet right in front of the end is taken
 * for the end. Not in direct mode (-EINVAL). */
LOOP_API loop_id loop_recvmsg_multishot(struct loop *loop, int fd, const struct msghdr *msg, uint16_t group, int flags,
                                        loop_cb *cb, void *arg, const struct loop_terms *terms);

/* read(2) on what can be polled: pipes, terminals, eventfds, inotify and so on; others end with -EBADFD. Ends with 0 at
 * the end of the file. The master of a pseudo-terminal whose other side has gone ends with -EIO, or with 0 if that is
 * found while the group is empty; it must be in non-blocking mode (O_NONBLOCK), or the kernel does not notice. Kernel
 * 6.7, else -EOPNOTSUPP. */
LOOP_API loop_id loop_read_multishot(struct loop *loop, int fd, uint16_t group, loop_cb *cb, void *arg,
                                     const struct loop_terms *terms);

enum loop_poll_flags {
    LOOP_POLL_LEVEL = 1u << 0, /* a result in each turn as long as the descriptor is ready; not in direct mode */
};

/* Waits for one of events (POLLIN ... of <poll.h>); errors and hang-ups always count. res: what it is ready for. At
 * first and then whenever something new arrives (edge-triggered): so read until -EAGAIN. The same result may come
 * twice. Files that are always ready are told in each turn. Ends by loop_cancel() or an error. -EINVAL: EPOLLET,
 * EPOLLONESHOT, unknown flags. */
LOOP_API loop_id loop_poll_add_multishot(struct loop *loop, int fd, uint32_t events, uint32_t flags, loop_cb *cb,
                                         void *arg, const struct loop_terms *terms);

/* The kernel's timer, count times (0: until loop_cancel()): res 0 each time; the last of count is the final callback.
 * An interval begins when the one before has been dealt with by the kernel: the rhythm drifts. flags:
 * LOOP_TIMEOUT_BOOTTIME or LOOP_TIMEOUT_REALTIME of op_poll.h. Before kernel 6.4 made of single timeouts. -EINVAL:
 * interval_ns below LOOP_TIMEOUT_INTERVAL_LEAST (the kernel does not come out of intervals of a few microseconds any
 * more: measured on 6.18), direct mode. Timers (timer.h) are cheaper and keep their rhythm; this is for other clocks.
 */
enum { LOOP_TIMEOUT_INTERVAL_LEAST = 100000 };
LOOP_API loop_id loop_timeout_multishot(struct loop *loop, uint64_t interval_ns, uint32_t count, uint32_t flags,
                                        loop_cb *cb, void *arg, const struct loop_terms *terms);

/* Lets a multishot rest: the kernel is asked to end it, and it waits, without a callback, for loop_resume(). Results
 * that the kernel has ready by then still come, the final one included; nothing is lost, what comes later waits in the
 * socket. It keeps the loop alive all the same (unless LOOP_BACKGROUND); cancel, deadline and loop_destroy() end it as
 * ever. A timeout stands still and starts its interval anew. Both may be called at any time and any number of times:
 * the last one counts. Return 0, also for one that is ending; -ENOENT if id names no operation in flight; -EINVAL if it
 * is no multishot, or in direct mode; -EBUSY while a barrier holds it back. */
LOOP_API int loop_pause(struct loop *loop, loop_id id);
LOOP_API int loop_resume(struct loop *loop, loop_id id);

/* ---- subscriptions */

struct loop_subscription;

enum loop_step {
    LOOP_CONTINUE,
    LOOP_STOP, /* no step callback comes after it */
};

/* Called for each result: a connection, a piece of data, a datagram, an event, an expiry; never for an end or an error.
 * result as in the callback of the multishot. */
typedef enum loop_step loop_step_cb(struct loop *loop, struct loop_subscription *subscription,
                                    const struct loop_result *result);

/* Called once, last: the memory is yours again, and may be subscribed anew in there. cancelled: by LOOP_STOP,
 * loop_subscription_stop(), loop_cancel() or loop_destroy(); then error is -ECANCELED. Otherwise error is 0 at the end
 * of the stream or of the count, -ETIMEDOUT after the deadline, or why it broke. */
typedef void loop_stop_cb(struct loop *loop, struct loop_subscription *subscription, int error, bool cancelled);

/* Embed it, zeroed before the first use; reach yours by container_of, or through data. */
struct loop_subscription {
    void *data; /* yours; the library never reads it */
    struct loop_subscription_private {
        struct loop  *loop;
        loop_id       id; /* 0: not subscribed */
        loop_step_cb *step;
        loop_stop_cb *stop;
        uint8_t       kind;
        bool          stopping;
    } priv;
};

/* The multishots above, with a step and a stop callback in place of cb. Borrow subscription until the stop callback;
 * need no other memory than the operation's context. Return 0, or what the multishot returns: a negative errno, and no
 * callback comes; -EINVAL also without step or stop, -EBUSY if subscription is in use. */
LOOP_API LOOP_MUST_USE int loop_subscribe_accept(struct loop *loop, struct loop_subscription *subscription, int fd,
                                                 int flags, loop_step_cb *step, loop_stop_cb *stop,
                                                 const struct loop_terms *terms);
LOOP_API LOOP_MUST_USE int loop_subscribe_recv(struct loop *loop, struct loop_subscription *subscription, int fd,
                                               uint16_t group, int flags, loop_step_cb *step, loop_stop_cb *stop,
                                               const struct loop_terms *terms);
/* By loop_recv_multishot_bundle(): walk through the buffers of a result as bundle.h says. */
LOOP_API LOOP_MUST_USE int loop_subscribe_recv_bundle(struct loop *loop, struct loop_subscription *subscription, int fd,
                                                      uint16_t group, int flags, loop_step_cb *step, loop_stop_cb *stop,
                                                      const struct loop_terms *terms);
LOOP_API LOOP_MUST_USE int loop_subscribe_recvmsg(struct loop *loop, struct loop_subscription *subscription, int fd,
                                                  const struct msghdr *msg, uint16_t group, int flags,
                                                  loop_step_cb *step, loop_stop_cb *stop,
                                                  const struct loop_terms *terms);
LOOP_API LOOP_MUST_USE int loop_subscribe_read(struct loop *loop, struct loop_subscription *subscription, int fd,
                                               uint16_t group, loop_step_cb *step, loop_stop_cb *stop,
                                               const struct loop_terms *terms);
LOOP_API LOOP_MUST_USE int loop_subscribe_poll(struct loop *loop, struct loop_subscription *subscription, int fd,
                                               uint32_t events, uint32_t flags, loop_step_cb *step, loop_stop_cb *stop,
                                               const struct loop_terms *terms);
LOOP_API LOOP_MUST_USE int loop_subscribe_timeout(struct loop *loop, struct loop_subscription *subscription,
                                                  uint64_t interval_ns, uint32_t count, uint32_t flags,
                                                  loop_step_cb *step, loop_stop_cb *stop,
                                                  const struct loop_terms *terms);

/* As LOOP_STOP, from anywhere: no step callback comes after it, the stop callback comes later, not from inside the
 * call. Results on their way are dropped: connections are closed, buffers go back to their group, data is lost (pause
 * first to keep it in the socket). Returns 0, also when stopping already; -ENOENT if not subscribed. */
LOOP_API int loop_subscription_stop(struct loop_subscription *subscription);

/* As loop_pause() and loop_resume(): a step may still come after a pause. -ENOENT if not subscribed. */
LOOP_API int loop_subscription_pause(struct loop_subscription *subscription);
LOOP_API int loop_subscription_resume(struct loop_subscription *subscription);

/* The operation's id, for loop_cancel() and the like; 0 if not subscribed. */
LOOP_API loop_id loop_subscription_id(const struct loop_subscription *subscription);

LOOP_END_DECLS

#endif
