/* ringloop/op.h: operations: one call for one kernel operation, one callback.
 *
 * Loop thread only; of a loop with LOOP_MODE_SHARED any thread (docs/modes.md).
 * A starting call returns the operation's id (> 0), or a negative errno, and then never calls back:
 *   -EINVAL      an argument or a term makes no sense (each call names its own further reasons)
 *   -EBADF       the descriptor is negative
 *   -ENOBUFS     loop_options.ops_max operations are in flight
 *   -ENOMEM      no memory
 *   -EOPNOTSUPP  this kernel lacks the operation
 *   -ECANCELED   the loop is being destroyed
 * A started operation ends in exactly one final callback, the one without LOOP_MORE. result->res is what the system
 * call of the same name would return, or the negative errno; -ECANCELED after loop_cancel(), -ETIMEDOUT (with
 * LOOP_TIMED_OUT) after its deadline; a count reached before either of them is reported as such. cb may be NULL: nobody
 * is told, a failure is counted in loop_stats.silent_errors; but what makes descriptors, or fills slots that the kernel
 * picks, gives -EINVAL then, also in chains: nobody could close what nobody knows. Data buffers are borrowed until the
 * final callback; addresses, message headers and iovec arrays are copied. A descriptor may be LOOP_FIXED(slot).
 *
 * Direct mode: cb may be LOOP_HANDLER(n) with a handler registered before; then arg is taken as a value of 46 bits and
 * comes back as result->value. Such an operation uses no context: it has no terms, and its id has no generation, so
 * that two alike in opcode, handler and value also share their id.
 *
 * Here: sockets, cancelling, barriers, chains, SQEs of your own. Files: op_file.h, paths: op_path.h, readiness, time
 * and other rings: op_poll.h, futexes and children: op_wait.h, registered files and buffers: fixed.h, options of
 * sockets: socket.h, sends without a copy: zero_copy.h, commands of devices: op_device.h, functions that block: work.h.
 * Operations that go on, multishots: subscription.h. docs/operations.md lists them by opcode. */
#ifndef RINGLOOP_OP_H
#define RINGLOOP_OP_H

#include <ringloop/types.h>

#include <sys/socket.h>

LOOP_BEGIN_DECLS

struct io_uring_sqe;

/* Direct mode: handlers are numbered 1 ... LOOP_HANDLERS_MAX. */
enum { LOOP_HANDLERS_MAX = 250 };
#define LOOP_HANDLER(n)   ((loop_cb *)((uintptr_t)(n) << 2))
#define LOOP_VALUE(value) ((void *)(uintptr_t)(value))
#define LOOP_VALUE_MAX    ((UINT64_C(1) << 46) - 1)

/* Registers cb(loop, result, arg) as a handler, for as long as the loop lives. group: the buffer group of its receiving
 * operations. Returns the handler's number (> 0), -EINVAL, or -ENFILE when all are taken. */
LOOP_API int loop_handler_register(struct loop *loop, loop_cb *cb, void *arg, uint16_t group);

/* Does nothing in the kernel; res 0. */
LOOP_API loop_id loop_nop(struct loop *loop, loop_cb *cb, void *arg, const struct loop_terms *terms);

/* socket(2), bind(2), listen(2), connect(2), accept4(2), shutdown(2), close(2). loop_bind() and loop_listen() need
 * kernel 6.11. loop_accept() borrows addr and addrlen, which may be NULL. SOCK_CLOEXEC is always added for plain
 * descriptors. A descriptor that arrives although the operation was cancelled is delivered all the same. loop_close()
 * does not end other operations on the descriptor: cancel them first. */
LOOP_API loop_id loop_socket(struct loop *loop, int domain, int type, int protocol, loop_cb *cb, void *arg,
                             const struct loop_terms *terms);
LOOP_API loop_id loop_bind(struct loop *loop, int fd, const struct sockaddr *addr, socklen_t addrlen, loop_cb *cb,
                           void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_listen(struct loop *loop, int fd, int backlog, loop_cb *cb, void *arg,
                             const struct loop_terms *terms);
LOOP_API loop_id loop_connect(struct loop *loop, int fd, const struct sockaddr *addr, socklen_t addrlen, loop_cb *cb,
                              void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_accept(struct loop *loop, int fd, struct sockaddr *addr, socklen_t *addrlen, int flags,
                             loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_shutdown(struct loop *loop, int fd, int how, loop_cb *cb, void *arg,
                               const struct loop_terms *terms);
LOOP_API loop_id loop_close(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms);

/* send(2), sendto(2), recv(2), sendmsg(2). A send is finished by the kernel as far as it goes (MSG_WAITALL), so that a
 * short count means an error or a cancel in between; SIGPIPE is never raised. At most one send should be in flight on a
 * stream socket: two may interleave. loop_sendmsg() copies msg, its name, control and iovec array (at most 1024
 * entries, and 1 MiB of control data), and borrows the data. Unix datagram sockets: where the peer is full, the
 * kernel (6.18) sends an empty datagram once there is room, and res is 0; those of datagram.h are whole. */
LOOP_API loop_id loop_send(struct loop *loop, int fd, const void *buf, size_t size, int flags, loop_cb *cb, void *arg,
                           const struct loop_terms *terms);
LOOP_API loop_id loop_sendto(struct loop *loop, int fd, const void *buf, size_t size, int flags,
                             const struct sockaddr *addr, socklen_t addrlen, loop_cb *cb, void *arg,
                             const struct loop_terms *terms);
LOOP_API loop_id loop_recv(struct loop *loop, int fd, void *buf, size_t size, int flags, loop_cb *cb, void *arg,
                           const struct loop_terms *terms);
LOOP_API loop_id loop_sendmsg(struct loop *loop, int fd, const struct msghdr *msg, int flags, loop_cb *cb, void *arg,
                              const struct loop_terms *terms);

/* recvmsg(2). Copies msg and its iovec array (at most 1024 entries); borrows the memory for data, name and control
 * data. result->message is the header as the kernel left it: the sizes of name and control data, and flags. */
LOOP_API loop_id loop_recvmsg(struct loop *loop, int fd, const struct msghdr *msg, int flags, loop_cb *cb, void *arg,
                              const struct loop_terms *terms);

/* Asks that the operation end; it still ends once, with -ECANCELED or its real result. Has no callback of its own.
 * Returns 0, also when asked before, or -ENOENT if id names no operation in flight. An id of direct mode has no
 * generation: for one of a registered handler the answer is 0 in any case. */
LOOP_API int loop_cancel(struct loop *loop, loop_id id);

/* The same for many: every operation on the descriptor (in the notation it was started with; of splice
 * and tee the one written to), that is of the
 * opcode (IORING_OP_*), or every one. Those of listeners, streams and other objects are passed by: close these instead.
 * So are operations in direct mode and foreign SQEs, which only loop_async_cancel() can find. Return how many were
 * asked to end, those asked before not counted; -EBADF, -EINVAL for a number that is no descriptor, no opcode. */
LOOP_API int loop_cancel_fd(struct loop *loop, int fd);
LOOP_API int loop_cancel_opcode(struct loop *loop, unsigned opcode);
LOOP_API int loop_cancel_all(struct loop *loop);

/* Ends every operation on the descriptor, and waits until the kernel has let go of it: when this returns, nothing of
 * this loop reads from or writes to its file any more. So it can be closed (the peer sees that at once), handed to
 * another thread, process or loop, and its number used anew. No callback comes from inside: those of the operations
 * come later, with -ECANCELED, or with what they had done by then. What was not submitted never reaches the kernel.
 * Operations in direct mode, raw and foreign ones end as well; a splice or tee also if it reads from the descriptor; of
 * a chain also what stands before and has not ended. Call it before closing. Returns how many ended (as
 * loop_cancel_fd() counts; in direct mode and foreign ones not counted), or
 *   -EBADF   fd is negative
 *   -EPERM   a listener, a stream or another object works with it: close that instead; nothing has happened
 *   -EBUSY   a chain that is open names it, or threads have started more on a shared loop than ops_max: nothing has
 *            happened; or a disk, or a worker of the kernel, has not let go for 100 ms: all have been asked to end, and
 *            it may be called again after some callbacks
 *   -ENOMEM  nothing has happened
 * Loop thread only, shared loops included. docs/detaching.md has more. */
LOOP_API int loop_detach(struct loop *loop, int fd);

/* A barrier: cb is called when all one-shot operations started before it have ended, be it well or not; those started
 * after it may go on before. With LOOP_BARRIER in its terms any operation is held back so: the kernel sees it only
 * then. Multishots, raw and direct operations and those of objects are not waited for. A held operation can be
 * cancelled, and its deadline counts from its start. Not in chains, not with LOOP_LINKED_TIMEOUT (-EINVAL). */
LOOP_API loop_id loop_barrier(struct loop *loop, loop_cb *cb, void *arg);

/* Chains: operations started between begin and end run one after the other, each when the one before has succeeded
 * (soft), or ended in any way (LOOP_CHAIN_HARD); after a failure in a soft chain the rest end with -ECANCELED. What
 * counts as one is the kernel's to say: a short read or write does, but a failed fsync, rename, stat and their like do
 * not, so that what must not follow them belongs into their callback (docs/operations.md has the list). They
 * reach the kernel together or not at all: if any of them fails to start, loop_chain_end() drops them all, no callback
 * comes, and it returns that first error. Deadlines inside a chain are linked timeouts. ops_max must not exceed half of
 * the SQ (-E2BIG); direct mode, multishots and LOOP_BACKGROUND are refused inside (-EINVAL), and so are more
 * operations than ops_max (-E2BIG). Nesting gives -EBUSY;
 * loop_chain_end() without a chain -EINVAL. Returning to the loop with a chain open aborts. */
enum loop_chain_flags { LOOP_CHAIN_HARD = 1u << 0 };
LOOP_API LOOP_MUST_USE int loop_chain_begin(struct loop *loop, uint32_t ops_max, uint32_t flags);
LOOP_API int               loop_chain_end(struct loop *loop);

/* Copies an SQE filled in by yourself, but for its user_data, and calls cb for its completions: the way to what has
 * no function here. The loop knows nothing of its buffers and never arms it again. result->cqe_flags are
 * the CQE's. -EINVAL for links, IOSQE_IO_DRAIN, IOSQE_CQE_SKIP_SUCCESS, and buffer groups below
 * LOOP_GROUPS_OWN, which are the loop's. */
LOOP_API loop_id loop_raw(struct loop *loop, const struct io_uring_sqe *sqe, loop_cb *cb, void *arg,
                          const struct loop_terms *terms);

/* Foreign SQEs keep their own user_data, whose two lowest bits must be LOOP_FOREIGN (else -EINVAL); their completions
 * go to the one callback set here and do not keep the loop alive. loop_destroy() does not wait for them.
 * loop_foreign_submit() copies the SQE and returns 0, -EINVAL (also as loop_raw()), -ECANCELED or -ENOMEM. */
enum { LOOP_FOREIGN = 3 };
typedef void  loop_foreign_cb(struct loop *loop, uint64_t user_data, int32_t res, uint32_t flags, void *arg);
LOOP_API void loop_foreign_set(struct loop *loop, loop_foreign_cb *cb, void *arg);
LOOP_API int  loop_foreign_submit(struct loop *loop, const struct io_uring_sqe *sqe);

LOOP_END_DECLS

#endif
