/* ringloop/op_file.h: operations on open files: read and write, sync, space, advice, splice, pipes.
 *
 * What op.h says of all operations holds here: who may call, which errors a starting call returns, when the callback
 * comes. Each is the system call of its name, with its arguments in the order of its man page; result->res is what that
 * returns. Sizes beyond INT_MAX give -EINVAL. A descriptor may be LOOP_FIXED(slot).
 *
 * Files have no readiness: what would block goes to a worker of the kernel. An operation that a worker has begun on a
 * file can't be cancelled any more; a deadline or loop_cancel() then only changes what is reported if it does end
 * early. Writes in flight at the same time are not ordered; use a chain, or wait for the callback. */
#ifndef RINGLOOP_OP_FILE_H
#define RINGLOOP_OP_FILE_H

#include <ringloop/types.h>

#include <sys/types.h>

LOOP_BEGIN_DECLS

struct iovec;

/* As an offset: read or write at the file's own position, and advance it; for pipes, terminals and sockets, which have
 * none, any offset will do. Operations in flight together at one position go in no certain order. */
#define LOOP_AT_POSITION ((int64_t)-1)

/* pread(2), pwrite(2). Borrow buf. A short count is no error. With LOOP_LEND, buf is NULL and size the most that is
 * wanted, or 0 for a whole buffer. -EINVAL: an offset below LOOP_AT_POSITION. */
LOOP_API loop_id loop_read(struct loop *loop, int fd, void *buf, size_t size, int64_t offset, loop_cb *cb, void *arg,
                           const struct loop_terms *terms);
LOOP_API loop_id loop_write(struct loop *loop, int fd, const void *buf, size_t size, int64_t offset, loop_cb *cb,
                            void *arg, const struct loop_terms *terms);

/* preadv2(2), pwritev2(2). Copy iov (at most 1024 entries), borrow the memory it names. flags: RWF_*. */
LOOP_API loop_id loop_readv(struct loop *loop, int fd, const struct iovec *iov, int count, int64_t offset, int flags,
                            loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_writev(struct loop *loop, int fd, const struct iovec *iov, int count, int64_t offset, int flags,
                             loop_cb *cb, void *arg, const struct loop_terms *terms);

/* fsync(2), fdatasync(2). Not ordered with writes in flight: chain them. A failed sync does not end a soft chain. */
LOOP_API loop_id loop_fsync(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_fdatasync(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms);

/* sync_file_range(2); size at most UINT32_MAX, 0: to the end. flags: SYNC_FILE_RANGE_*. */
LOOP_API loop_id loop_sync_file_range(struct loop *loop, int fd, int64_t offset, size_t size, unsigned flags,
                                      loop_cb *cb, void *arg, const struct loop_terms *terms);

/* fallocate(2), ftruncate(2). Kernel 6.9 for loop_ftruncate(). */
LOOP_API loop_id loop_fallocate(struct loop *loop, int fd, int mode, int64_t offset, int64_t size, loop_cb *cb,
                                void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_ftruncate(struct loop *loop, int fd, int64_t size, loop_cb *cb, void *arg,
                                const struct loop_terms *terms);

/* posix_fadvise(2), madvise(2). -EINVAL: size beyond UINT32_MAX before kernel 6.11. loop_madvise() borrows the memory.
 */
LOOP_API loop_id loop_fadvise(struct loop *loop, int fd, int64_t offset, int64_t size, int advice, loop_cb *cb,
                              void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_madvise(struct loop *loop, void *memory, size_t size, int advice, loop_cb *cb, void *arg,
                              const struct loop_terms *terms);

/* splice(2), tee(2); one end, for tee both, must be a pipe, whose offset is LOOP_AT_POSITION. flags: SPLICE_F_*. */
LOOP_API loop_id loop_splice(struct loop *loop, int fd_in, int64_t offset_in, int fd_out, int64_t offset_out,
                             size_t size, unsigned flags, loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_tee(struct loop *loop, int fd_in, int fd_out, size_t size, unsigned flags, loop_cb *cb, void *arg,
                          const struct loop_terms *terms);

/* pipe2(2). Borrows fds, where both descriptors stand if res is 0; close-on-exec always. Kernel 6.16. */
LOOP_API loop_id loop_pipe(struct loop *loop, int fds[2], int flags, loop_cb *cb, void *arg,
                           const struct loop_terms *terms);

LOOP_END_DECLS

#endif
