/* fs/file_transfer.c: reads and writes of a file object, one piece of memory or many. */
#include "fs/file_private.h"

#include "loop/op_start.h"
#include "loop/seam_file.h"

#include <limits.h>
#include <ringloop/op_file.h>
#include <string.h>
#include <sys/stat.h>

enum { TRANSFER_MOST = 1 << 30, RWF_APPEND_FLAG = 0x10, SECTOR_BYTES = 512 };
_Static_assert(LOOP_FILE_POSITION == LOOP_AT_POSITION, "the same");
static const uint32_t transfer_flags = LOOP_FILE_SOME;
_Static_assert((int)LOOP_FILE_SOME == (int)REQUEST_SOME, "as flags of a request");

/* ---- to the kernel and back */

static const struct loop_terms *terms_of(const struct file_request *request)
{
    static const struct loop_terms async = {.flags = LOOP_UNCHAINED | LOOP_ASYNC};

    return unlikely((request->flags & REQUEST_ASYNC) != 0) ? &async : file_terms(file_loop(request->file));
}

static int64_t offset_of(const struct file_request *request)
{
    return request->offset < 0 ? request->offset : request->offset + (int64_t)request->done;
}

static loop_id start_pieces(struct file_request *request, const struct iovec *iov, uint32_t count)
{
    struct loop *loop = file_loop(request->file);
    int          fd = request->file->priv.transfer_fd, few = (int)(count < IOV_MAX ? count : IOV_MAX);
    int64_t      offset = offset_of(request);

    if (request->kind == REQUEST_READ)
        return loop_readv(loop, fd, iov, few, offset, 0, request_done, request, terms_of(request));
    if (offset == LOOP_FILE_END)
        return loop_writev(loop, fd, iov, few, 0, RWF_APPEND_FLAG, request_done, request, terms_of(request));
    return loop_writev(loop, fd, iov, few, offset, 0, request_done, request, terms_of(request));
}

static loop_id start_vector(struct file_request *request, const struct iovec *iov, uint32_t count)
{
    return op_of_object(file_loop(request->file), start_pieces(request, iov, count));
}

/* One piece as loop_read() and loop_write() would do it, whose checks have been made, as an object's. */
static inline __attribute__((always_inline)) loop_id start_piece(struct file_request *request, uint8_t opcode)
{
    uint64_t left = request->size - request->done;

    return op_start_on_fd(file_loop(request->file), __func__, request->file->priv.transfer_fd,
                          (struct op_sqe){.opcode = opcode,
                                          .off = (uint64_t)offset_of(request),
                                          .addr = (uint64_t)(uintptr_t)(request->buf + request->done),
                                          .len = left < TRANSFER_MOST ? (uint32_t)left : TRANSFER_MOST,
                                          .context_flags = CONTEXT_OBJECT},
                          request_done, request, terms_of(request));
}

loop_id transfer_start(struct file_request *request)
{
    uint64_t left = request->size - request->done;

    if ((request->flags & REQUEST_VECTOR) != 0)
        return start_vector(request, request->iov + request->iov_at, request->iov_count);
    if (request->offset == LOOP_FILE_END)
        return start_vector(
            request, &(struct iovec){request->buf + request->done, left < TRANSFER_MOST ? left : TRANSFER_MOST}, 1);
    return start_piece(request, request->kind == REQUEST_READ ? IORING_OP_READ : IORING_OP_WRITE);
}

/* Takes bytes that were moved from the front of the pieces. */
static void vector_advance(struct file_request *request, size_t bytes)
{
    while (request->iov_count > 0 && bytes >= request->iov[request->iov_at].iov_len) {
        bytes -= request->iov[request->iov_at].iov_len;
        request->iov_at++;
        request->iov_count--;
    }
    if (request->iov_count > 0) {
        struct iovec *first = &request->iov[request->iov_at];

        first->iov_base = (char *)first->iov_base + bytes;
        first->iov_len -= bytes;
    }
}

/* A file that is non-blocking, on a file system that can't say whether it would block, answers EAGAIN for ever; a
 * worker may wait for it. */
static bool worker_can(const struct file_request *request)
{
    mode_t mode;

    return (request->flags & REQUEST_ASYNC) == 0 && sys_file_mode(request->file->priv.fd, &mode) == 0 && S_ISREG(mode);
}

/* With O_DIRECT no read can begin where this one has ended: only the end of a file lies at such a place. */
static bool is_direct_end(const struct file_request *request)
{
    return unlikely((request->file->priv.flags & FILE_DIRECT) != 0) && request->kind == REQUEST_READ &&
           request->done % SECTOR_BYTES != 0;
}

int transfer_done(struct file_request *request, int32_t res, int *ret_error)
{
    if (res > 0) {
        request->done += (uint32_t)res;
        if (request->done == request->size || (request->flags & REQUEST_SOME) != 0 || is_direct_end(request))
            return 0;
        if ((request->flags & REQUEST_VECTOR) != 0)
            vector_advance(request, (size_t)res);
        return 1;
    }
    if (res == 0) {
        if (request->kind == REQUEST_WRITE && request->done < request->size)
            *ret_error = -EIO; /* it would go on so for ever */
        return 0;
    }
    if (res == -EINTR || (res == -ERESTART && (request->flags & REQUEST_ONCE) == 0))
        return 1;
    if (res == -EAGAIN && worker_can(request)) {
        request->flags |= REQUEST_ASYNC;
        return 1;
    }
    *ret_error = res == -ERESTART ? -EOWNERDEAD : res;
    return 0;
}

/* ---- calls */

static uint32_t write_flags(const struct loop_file *file)
{
    return REQUEST_CHANGES | ((file->priv.flags & LOOP_FILE_SYNC_EACH) != 0 ? REQUEST_SYNCS : 0u) |
           ((file->priv.flags & LOOP_FILE_SYNC_DATA) != 0 ? REQUEST_DATA : 0u);
}

/* What does not stand at an offset of its own goes in turn. */
static uint32_t turn_flags(const struct loop_file *file, enum request_kind kind, int64_t offset)
{
    bool appends = kind == REQUEST_WRITE && (file->priv.flags & FILE_APPENDS) != 0;

    return unlikely(offset < 0 || appends) ? REQUEST_POSITION : 0u;
}

static int check_transfer(enum request_kind kind, uint64_t size, int64_t offset, uint32_t flags)
{
    int64_t least = kind == REQUEST_READ ? LOOP_FILE_POSITION : LOOP_FILE_END;

    if ((flags & ~transfer_flags) != 0 || offset < least || size > INT64_MAX ||
        (offset > 0 && size > (uint64_t)(INT64_MAX - offset)))
        return -EINVAL;
    return 0;
}

/* As request_begin(), which this is for all that is rare, without a call for what is not. */
static inline __attribute__((always_inline)) int transfer_begin(struct file_request *request, enum request_kind kind)
{
    loop_id id;

    if (unlikely((request->flags & REQUEST_POSITION) != 0))
        return request_begin(request);
    id = start_piece(request, kind == REQUEST_READ ? IORING_OP_READ : IORING_OP_WRITE);
    if (unlikely(id < 0)) {
        request_free(request);
        return (int)id;
    }
    request_started(request, id);
    request_count(request);
    return 0;
}

static inline __attribute__((always_inline)) int transfer(struct loop_file *file, const char *call,
                                                          enum request_kind kind, void *buf, size_t size,
                                                          int64_t offset, uint32_t flags, loop_file_cb *cb, void *arg)
{
    struct file_request *request;
    int                  r = file_check(file, call);

    if (unlikely(r < 0))
        return r;
    if (unlikely(check_transfer(kind, size, offset, flags) < 0 || (buf == NULL && size > 0)))
        return -EINVAL;
    request = request_new(file, kind, cb, arg);
    if (unlikely(request == NULL))
        return -ENOMEM;
    request->buf = buf;
    request->size = size;
    request->offset = offset;
    request->flags = flags | turn_flags(file, kind, offset) | (kind == REQUEST_WRITE ? write_flags(file) : 0);
    return transfer_begin(request, kind);
}

int loop_file_read(struct loop_file *file, void *buf, size_t size, int64_t offset, uint32_t flags, loop_file_cb *cb,
                   void *arg)
{
    return transfer(file, __func__, REQUEST_READ, buf, size, offset, flags, cb, arg);
}

int loop_file_write(struct loop_file *file, const void *buf, size_t size, int64_t offset, uint32_t flags,
                    loop_file_cb *cb, void *arg)
{
    return transfer(file, __func__, REQUEST_WRITE, (void *)(uintptr_t)buf, size, offset, flags, cb, arg);
}

/* The bytes of all pieces, or -EINVAL. */
static int64_t vector_size(const struct iovec *iov, size_t iov_count)
{
    uint64_t size = 0;

    if ((iov == NULL && iov_count > 0) || iov_count > LOOP_FILE_PIECES_MAX)
        return -EINVAL;
    for (size_t i = 0; i < iov_count; i++) {
        if ((iov[i].iov_base == NULL && iov[i].iov_len > 0) || iov[i].iov_len > (uint64_t)INT64_MAX - size)
            return -EINVAL;
        size += iov[i].iov_len;
    }
    return (int64_t)size;
}

static int transfer_vector(struct loop_file *file, const char *call, enum request_kind kind, const struct iovec *iov,
                           size_t iov_count, int64_t offset, uint32_t flags, loop_file_cb *cb, void *arg)
{
    struct file_request *request;
    int64_t              size;
    int                  r = file_check(file, call);

    if (r < 0)
        return r;
    size = vector_size(iov, iov_count);
    if (size < 0 || check_transfer(kind, (uint64_t)size, offset, flags) < 0)
        return -EINVAL;
    request = request_new(file, kind, cb, arg);
    if (request == NULL)
        return -ENOMEM;
    request->heap = memory_resize(file_loop(file), NULL, (iov_count + 1) * sizeof(iov[0]));
    if (request->heap == NULL) {
        request_free(request);
        return -ENOMEM;
    }
    request->iov = request->heap;
    if (iov_count > 0)
        memcpy(request->iov, iov, iov_count * sizeof(iov[0]));
    request->iov_at = 0;
    request->iov_count = (uint32_t)iov_count;
    request->size = (uint64_t)size;
    request->offset = offset;
    request->flags = REQUEST_VECTOR | flags | turn_flags(file, kind, offset);
    if (kind == REQUEST_WRITE)
        request->flags |= write_flags(file);
    vector_advance(request, 0); /* empty pieces at the front would look like an end */
    return request_begin(request);
}

int loop_file_readv(struct loop_file *file, const struct iovec *iov, size_t iov_count, int64_t offset, uint32_t flags,
                    loop_file_cb *cb, void *arg)
{
    return transfer_vector(file, __func__, REQUEST_READ, iov, iov_count, offset, flags, cb, arg);
}

int loop_file_writev(struct loop_file *file, const struct iovec *iov, size_t iov_count, int64_t offset, uint32_t flags,
                     loop_file_cb *cb, void *arg)
{
    return transfer_vector(file, __func__, REQUEST_WRITE, iov, iov_count, offset, flags, cb, arg);
}
