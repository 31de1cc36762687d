/* ringloop/fixed.h: registered ("fixed") files and buffers: what the kernel looks up once instead of for each
 * operation. Loop thread only; also before the first run, when nothing has an owner yet.
 *
 * Files: loop_files_init() makes the loop's table. Its slots come in two parts that never mix: the automatic ones are
 * handed out by the kernel (LOOP_SLOT_AUTO), the own ones by the loop (loop_file_register(), loop_file_reserve()). A
 * slot with a file in it is written LOOP_FIXED(slot) and stands wherever an operation takes a descriptor. It is no
 * descriptor: no system call knows it, no child inherits it, and only the loop can close it. Streams take none.
 *
 * Buffers: loop_fixed_buffers_init() makes a table of memory that is pinned once. loop_read_fixed() and its like name a
 * piece of it and its index. */
#ifndef RINGLOOP_FIXED_H
#define RINGLOOP_FIXED_H

#include <ringloop/types.h>

#include <sys/socket.h>
#include <sys/uio.h>

LOOP_BEGIN_DECLS

struct open_how; /* <linux/openat2.h> */

/* In place of a slot: a free one of the automatic part, picked by the kernel. */
enum { LOOP_SLOT_AUTO = -1 };

/* ---- the table of files */

/* { 0 }, or NULL, is valid. If only one of both is given there is no other part. At most 1 048 576 in all. */
struct loop_files_options {
    uint32_t automatic LOOP_ZERO; /* slots for LOOP_SLOT_AUTO, 0 to automatic - 1; with own 0 as well: 512 */
    uint32_t own       LOOP_ZERO; /* slots behind them; with automatic 0 as well: 512 */
    uint32_t flags     LOOP_ZERO; /* none yet: must be 0 */
    uint32_t reserved  LOOP_ZERO;
};

struct loop_files_stats {
    uint32_t automatic;      /* as made */
    uint32_t own;            /* as made */
    uint32_t own_taken;      /* level: registered, reserved */
    uint32_t own_full;       /* calls that found no own slot: -ENFILE */
    uint32_t automatic_full; /* operations with LOOP_SLOT_AUTO that ended with -ENFILE */
    uint32_t strayed;        /* automatic slots that the kernel took from the own part; see docs/registered.md */
};

/* Makes the table, once for each loop; it lives as long as that, and what stands in it then is closed. Returns 0,
 * -EBUSY if there is one, -EINVAL, -ENOMEM, or -EMFILE for more slots than RLIMIT_NOFILE allows descriptors. */
LOOP_API LOOP_MUST_USE int loop_files_init(struct loop *loop, const struct loop_files_options *options);

/* Puts the file of fd into a free own slot. The table holds the file by itself: closing fd does not touch it, but
 * unregister first, since its number would still be found. Returns LOOP_FIXED(slot), -EEXIST if a slot has this number
 * already (loop_file_lookup() tells which), -ENFILE if none is free, -EBADF, -ENXIO without a table, or -ENOMEM. */
LOOP_API int loop_file_register(struct loop *loop, int fd);

/* Takes count own slots in a row, empty, for direct operations and loop_file_register_at(). Returns LOOP_FIXED() of the
 * first, -EINVAL for count 0, -ENFILE, -ENXIO. */
LOOP_API int loop_file_reserve(struct loop *loop, uint32_t count);

/* The same as loop_file_register() with an own slot, given with or without LOOP_FIXED: takes it if it is free, and
 * replaces the file in it if not. This happens at once: operations that the kernel has keep the old file, those that
 * are only queued get the new one; loop_submit() first to tell them apart. -EINVAL for a slot of the other part. */
LOOP_API int loop_file_register_at(struct loop *loop, int slot, int fd);

/* Empties an own slot, whether it has a file or not, and gives it back. At once, as above; operations that the kernel
 * has go on. Returns 0, -EINVAL if it is not taken or not an own slot (loop_close() is for the automatic ones), or
 * -ENXIO. loop_close() of an own slot empties it too, but the slot stays yours. */
LOOP_API int loop_file_unregister(struct loop *loop, int slot);

/* The slot that fd was registered in: LOOP_FIXED(slot), or -ENOENT, -ENXIO. Goes by the number. */
LOOP_API int loop_file_lookup(struct loop *loop, int fd);

/* All zero without a table. */
LOOP_API void loop_files_stats_get(const struct loop *loop, struct loop_files_stats *ret_stats);

/* ---- operations that open into a slot
 *
 * As the operations without "direct" (op.h), but the result is LOOP_FIXED(slot). slot is LOOP_SLOT_AUTO, or an own slot
 * that is taken, with or without LOOP_FIXED; a file in it is replaced. cb may be NULL for an own slot only (-EINVAL).
 * -EINVAL for another slot; -ENFILE for LOOP_SLOT_AUTO without an automatic part; -ENXIO without a table. Direct mode
 * is refused (-EINVAL). SOCK_CLOEXEC and O_CLOEXEC go without saying and are ignored. What arrives although it was
 * cancelled is delivered.
 *
 * res -ENFILE: no automatic slot is free. Then an accepted connection is already lost, and its peer sees the end: make
 * the table larger than the number of connections you allow. */
LOOP_API loop_id loop_socket_direct(struct loop *loop, int domain, int type, int protocol, int slot, loop_cb *cb,
                                    void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_accept_direct(struct loop *loop, int fd, struct sockaddr *addr, socklen_t *addrlen, int flags,
                                    int slot, loop_cb *cb, void *arg, const struct loop_terms *terms);
/* Always LOOP_SLOT_AUTO. Ends with -ENFILE when the automatic part is full. */
LOOP_API loop_id loop_accept_multishot_direct(struct loop *loop, int fd, int flags, loop_cb *cb, void *arg,
                                              const struct loop_terms *terms);
/* path and how are copied. dirfd is a descriptor or AT_FDCWD, never LOOP_FIXED. -ENAMETOOLONG. */
LOOP_API loop_id loop_openat_direct(struct loop *loop, int dirfd, const char *path, int flags, mode_t mode, int slot,
                                    loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_openat2_direct(struct loop *loop, int dirfd, const char *path, const struct open_how *how,
                                     size_t size, int slot, loop_cb *cb, void *arg, const struct loop_terms *terms);
/* Borrows fds, where both ends stand as LOOP_FIXED if res is 0. An explicit slot is the reading end, the next one the
 * writing end. Kernel 6.16. */
LOOP_API loop_id loop_pipe_direct(struct loop *loop, int fds[2], int flags, int slot, loop_cb *cb, void *arg,
                                  const struct loop_terms *terms);

/* Makes a normal descriptor of the file in a slot, which keeps it. Kernel 6.8. res: the descriptor, yours, with
 * close-on-exec unless flags say otherwise. -EBADF for what is not LOOP_FIXED. */
enum loop_install_flags { LOOP_INSTALL_INHERITED = 1u << 0 /* without close-on-exec */ };
LOOP_API loop_id loop_fixed_fd_install(struct loop *loop, int fd, uint32_t flags, loop_cb *cb, void *arg,
                                       const struct loop_terms *terms);

/* Many slots by one operation. fds: descriptors, -1 to empty a slot, -2 to leave it as it is. With a slot: count own
 * slots in a row, all taken; fds is copied, and loop_file_lookup() does not find them. With LOOP_SLOT_AUTO: fds is
 * borrowed, and the callback finds LOOP_FIXED() of each in it; -1 and -2 make no sense there. res: how many were done,
 * in order; or the error of the first. */
LOOP_API loop_id loop_files_update(struct loop *loop, int *fds, uint32_t count, int slot, loop_cb *cb, void *arg,
                                   const struct loop_terms *terms);

/* ---- the table of buffers */

/* { 0 }, or NULL, is valid. At most 16 384 in all; a size of at most 1 GiB. All of it counts against RLIMIT_MEMLOCK of
 * a user without CAP_IPC_LOCK, in whole pages for each buffer. */
struct loop_fixed_buffers_options {
    uint32_t count LOOP_ZERO; /* buffers of the pool, index 0 to count - 1; with own 0 as well: 64 */
    uint32_t size  LOOP_ZERO; /* bytes of each; 0: 16384. A multiple of 4096 is best: pages are pinned whole */
    uint32_t own   LOOP_ZERO; /* empty places behind them, for memory of yours */
    uint32_t flags LOOP_ZERO; /* none yet: must be 0 */
};

struct loop_fixed_buffers_stats {
    uint32_t count;      /* as made */
    uint32_t own;        /* as made; of a clone: all */
    uint32_t borrowed;   /* level: buffers of the pool that are out */
    uint32_t registered; /* level: places with memory of yours */
    uint64_t full;       /* calls that found no buffer, or no place: -ENOBUFS */
};

/* Makes the table, once for each loop, and the memory of its pool, from the loop's allocator; it lives as long as the
 * loop. Returns 0, -EBUSY if there is one, -EINVAL, or -ENOMEM: no memory, or RLIMIT_MEMLOCK. */
LOOP_API LOOP_MUST_USE int loop_fixed_buffers_init(struct loop *loop, const struct loop_fixed_buffers_options *options);

/* Takes a buffer of the pool. Returns its index and, if ret_data is not NULL, its memory; -ENOBUFS if all are out;
 * -ENXIO without a table. */
LOOP_API int loop_fixed_buffer_borrow(struct loop *loop, void **ret_data);

/* Gives it back, when nothing in flight uses it any more. Returns 0, or -EINVAL if it is not out. */
LOOP_API int loop_fixed_buffer_return(struct loop *loop, int index);

/* Registers memory of yours in a free own place; yours again when it has been unregistered and nothing in flight uses
 * it. Returns its index, -EINVAL, -ENOBUFS if no place is free, -EFAULT for what is not memory, -ENOMEM (also
 * RLIMIT_MEMLOCK), -EOPNOTSUPP for memory that cannot be pinned, -ENXIO without a table. */
LOOP_API int loop_fixed_buffer_register(struct loop *loop, void *memory, size_t size);

/* The same in a place that has memory already, which is replaced. Operations that the kernel has keep the old.
 * Returns 0, or an errno as above; -EINVAL if the place is none of yours, or empty. */
LOOP_API int loop_fixed_buffer_update(struct loop *loop, int index, void *memory, size_t size);

/* Empties the place. Returns 0, -EINVAL, -ENXIO. */
LOOP_API int loop_fixed_buffer_unregister(struct loop *loop, int index);

/* Memory and size of a buffer that is out, or registered; else NULL. ret_size may be NULL. */
LOOP_API void *loop_fixed_buffer_data(struct loop *loop, int index, size_t *ret_size);

/* Gives to, which has no table yet, that of from: the same memory under the same indexes, pinned and counted once. For
 * loop to, all of it is memory of yours: nothing to borrow; what is a pool in from is borrowed there. from must live
 * longer than to, since its memory is used. Both loops belong to the calling thread, or have not run. Kernel 6.12.
 * Returns 0, -EBUSY, -ENXIO, -ENOMEM, -EINVAL, or -EOPNOTSUPP (an older kernel, or the loops were made with different
 * credentials). */
LOOP_API LOOP_MUST_USE int loop_fixed_buffers_clone(struct loop *to, struct loop *from);

LOOP_API void loop_fixed_buffers_stats_get(const struct loop *loop, struct loop_fixed_buffers_stats *ret_stats);

/* ---- operations on registered buffers
 *
 * pread(2), pwrite(2), preadv(2), pwritev(2), all of whose memory lies in the buffer of that index; else res is
 * -EFAULT, also for an empty place. offset and flags as in op_file.h. The memory is
 * borrowed; iov is copied, at most 1024 entries. The vectors need kernel 6.15. */
LOOP_API loop_id loop_read_fixed(struct loop *loop, int fd, void *buf, size_t size, int64_t offset, int index,
                                 loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_write_fixed(struct loop *loop, int fd, const void *buf, size_t size, int64_t offset, int index,
                                  loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_readv_fixed(struct loop *loop, int fd, const struct iovec *iov, int count, int64_t offset,
                                  int flags, int index, loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_writev_fixed(struct loop *loop, int fd, const struct iovec *iov, int count, int64_t offset,
                                   int flags, int index, loop_cb *cb, void *arg, const struct loop_terms *terms);

LOOP_END_DECLS

#endif
