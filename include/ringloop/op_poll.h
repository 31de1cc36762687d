/* ringloop/op_poll.h: operations on readiness and time, and on other operations: poll, epoll, the kernel's timeouts,
 * cancelling with an answer, messages between rings.
 *
 * What op.h says of all operations holds here. Most programs want timers (timer.h), deadlines (loop_terms.timeout_ns)
 * and loop_cancel() rather than the kernel's own timeouts and cancels, which cost more: the kernel searches its list of
 * timeouts one by one. They are here for what only they can do. */
#ifndef RINGLOOP_OP_POLL_H
#define RINGLOOP_OP_POLL_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

struct epoll_event;

/* Waits once until the descriptor is ready for one of events (POLLIN, POLLOUT ... of <poll.h>; EPOLLEXCLUSIVE too);
 * errors and hang-ups (POLLERR, POLLHUP, POLLRDHUP) always count. res: what it is ready for. Level-triggered: ends at
 * once if it is ready already. Regular files are always ready to be read and written; for other events they give
 * -EINVAL. */
LOOP_API loop_id loop_poll_add(struct loop *loop, int fd, uint32_t events, loop_cb *cb, void *arg,
                               const struct loop_terms *terms);

/* Ends a poll, or changes what it waits for. The poll ends as after loop_cancel(). res: 0, -ENOENT if there is none of
 * that id, -EALREADY if it is just completing. A multishot poll waits for the new events whenever it is armed again,
 * also if the kernel did not have it just then: paused, held by a barrier, inside its callback, level-triggered. */
LOOP_API loop_id loop_poll_remove(struct loop *loop, loop_id id, loop_cb *cb, void *arg,
                                  const struct loop_terms *terms);
LOOP_API loop_id loop_poll_update(struct loop *loop, loop_id id, uint32_t events, loop_cb *cb, void *arg,
                                  const struct loop_terms *terms);

/* Clocks of the kernel's timeouts, and whether they count from now. Default: CLOCK_MONOTONIC, from submission on. */
enum loop_timeout_flags {
    LOOP_TIMEOUT_ABSOLUTE = 1u << 0, /* a time of that clock */
    LOOP_TIMEOUT_BOOTTIME = 1u << 1, /* goes on while the system is suspended */
    LOOP_TIMEOUT_REALTIME =
        1u << 2, /* wall-clock time; with LOOP_TIMEOUT_ABSOLUTE it follows the clock when it is set */
};

/* The kernel's timer. res: -ETIME when it expires; 0 if count (not 0) completions of the ring came before that. */
LOOP_API loop_id loop_timeout(struct loop *loop, uint64_t timeout_ns, uint32_t count, uint32_t flags, loop_cb *cb,
                              void *arg, const struct loop_terms *terms);

/* Ends a loop_timeout(), or gives it a new time (flags: enum loop_timeout_flags). res: 0, -ENOENT, -EALREADY or -EBUSY.
 * The kernel takes longer the more timeouts there are. */
LOOP_API loop_id loop_timeout_remove(struct loop *loop, loop_id id, loop_cb *cb, void *arg,
                                     const struct loop_terms *terms);
LOOP_API loop_id loop_timeout_update(struct loop *loop, loop_id id, uint64_t timeout_ns, uint32_t flags, loop_cb *cb,
                                     void *arg, const struct loop_terms *terms);

/* In a chain, after an operation without a deadline of its own: ends that with -ECANCELED when the time is up, unlike
 * loop_terms.timeout_ns with a callback of its own. res: -ETIME if it did, -ECANCELED if the operation ended before,
 * -EALREADY if that could not be stopped, -ENOENT if it just ended. -EINVAL anywhere else; it takes no terms but
 * .data. */
LOOP_API loop_id loop_link_timeout(struct loop *loop, uint64_t timeout_ns, uint32_t flags, loop_cb *cb, void *arg,
                                   const struct loop_terms *terms);

/* Cancels like loop_cancel(), with the kernel's answer, and also what loop_cancel() can't name: operations in direct
 * mode, foreign SQEs. */
enum loop_match_flags {
    LOOP_MATCH_ALL = 1u << 0,    /* all that match, not the first */
    LOOP_MATCH_FD = 1u << 1,     /* by descriptor: the file it names when the request is submitted */
    LOOP_MATCH_ANY = 1u << 2,    /* everything matches, even what the loop itself needs: for the last moment */
    LOOP_MATCH_ID = 1u << 4,     /* by id besides what other flags say; kernel 6.6 */
    LOOP_MATCH_OPCODE = 1u << 5, /* by opcode; kernel 6.6, else -EOPNOTSUPP: 6.1 would cancel something else */
};

/* Which operations are meant. */
struct loop_match {
    uint64_t id       LOOP_ZERO; /* or the user_data of a foreign SQE; without flags, or with LOOP_MATCH_ID */
    int32_t fd        LOOP_ZERO; /* with LOOP_MATCH_FD; may be LOOP_FIXED(slot) */
    uint32_t opcode   LOOP_ZERO; /* with LOOP_MATCH_OPCODE: IORING_OP_* */
    uint32_t flags    LOOP_ZERO; /* enum loop_match_flags */
    uint32_t reserved LOOP_ZERO;
};

/* Copies match. res: without LOOP_MATCH_ALL and LOOP_MATCH_ANY 0, -ENOENT or -EALREADY (a worker has it; it may end
 * or not); with them how many were found. By descriptor, opcode or any, the kernel looks at all its requests. Where an
 * operation is between two attempts the kernel does not find it: loop_cancel() asks again then, this does not. */
LOOP_API loop_id loop_async_cancel(struct loop *loop, const struct loop_match *match, loop_cb *cb, void *arg,
                                   const struct loop_terms *terms);

/* epoll_ctl(2), epoll_wait(2) without a time limit (loop_terms.timeout_ns is one). Copy event; borrow events. Kernel
 * 6.15 for loop_epoll_wait(); a poll of the epoll descriptor does elsewhere. */
LOOP_API loop_id loop_epoll_ctl(struct loop *loop, int epfd, int op, int fd, const struct epoll_event *event,
                                loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_epoll_wait(struct loop *loop, int epfd, struct epoll_event *events, int maxevents, loop_cb *cb,
                                 void *arg, const struct loop_terms *terms);

/* Puts a completion into another ring: its user_data and its res. ring_fd: the descriptor of that ring, not a
 * registered file. A ringloop takes one whose data is LOOP_MESSAGE(handler, value): it calls the handler (op.h) with
 * that value (at most LOOP_MESSAGE_VALUE_MAX), res, and id 0. res: 0, or -EBADFD if that loop has not run yet,
 * -EOVERFLOW if its queue is full. To post from one thread to another loop_post() is cheaper, and never full. */
#define LOOP_MESSAGE_VALUE_MAX       ((UINT64_C(1) << 36) - 1)
#define LOOP_MESSAGE(handler, value) ((uint64_t)(value) << 27 | (uint64_t)(handler) << 17 | UINT64_C(254) << 2)
LOOP_API loop_id loop_msg_ring(struct loop *loop, int ring_fd, int32_t res, uint64_t data, loop_cb *cb, void *arg,
                               const struct loop_terms *terms);

/* Puts a registered file of this loop, LOOP_FIXED(slot), also into slot target of the other one's table, and then a
 * completion with user_data data into its ring. target: with or without LOOP_FIXED, which the other loop has reserved
 * for it (fixed.h); nothing here can check that, and a file in it is replaced. res, here and there, is 0 then. Or
 * LOOP_SLOT_AUTO: an automatic slot; res, here and there, is its number without LOOP_FIXED. Several such messages
 * arrive in no promised order. -EINVAL: source is no LOOP_FIXED, target makes no sense. res also -ENFILE (no slot is
 * free), -ENXIO (no table there), -EBADF (no file in source). */
LOOP_API loop_id loop_msg_ring_fd(struct loop *loop, int ring_fd, int source, int target, uint64_t data, loop_cb *cb,
                                  void *arg, const struct loop_terms *terms);

LOOP_END_DECLS

#endif
