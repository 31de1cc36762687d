/* fs/file_operation.c: what a file object does besides reading, writing and syncing. */
#include "fs/file_private.h"

#include "loop/seam_file.h"

#include <fcntl.h>
#include <ringloop/op_file.h>
#include <ringloop/op_path.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- to the kernel and back */

static int32_t truncate_blocking(void *arg)
{
    const struct file_request *request = arg;

    return sys_size_set(request->file->priv.fd, request->offset);
}

static int32_t seek_blocking(void *arg)
{
    struct file_request *request = arg;
    int64_t              r = sys_seek(request->file->priv.fd, request->offset, request->mode);

    if (r >= 0)
        request->done = (uint64_t)r;
    return r < 0 ? (int32_t)r : 0;
}

static loop_id start_truncate(struct loop *loop, struct file_request *request)
{
    loop_id id = loop_ftruncate(loop, request->file->priv.fd, request->offset, request_done, request, file_terms(loop));

    if (id == -EOPNOTSUPP)
        id = loop_work(loop, LOOP_WORK_DEFAULT, truncate_blocking, request_done, request, file_terms(loop));
    return id;
}

loop_id operation_start(struct file_request *request)
{
    struct loop             *loop = file_loop(request->file);
    const struct loop_terms *terms = file_terms(loop);
    int                      fd = request->file->priv.fd;

    switch ((enum request_kind)request->kind) {
    case REQUEST_TRUNCATE: return start_truncate(loop, request);
    case REQUEST_ALLOCATE:
        return loop_fallocate(loop, fd, request->mode, request->offset, (int64_t)request->size, request_done, request,
                              terms);
    case REQUEST_SEEK: return loop_work(loop, LOOP_WORK_DEFAULT, seek_blocking, request_done, request, terms);
    case REQUEST_STAT:
        return loop_statx(loop, fd, "", AT_EMPTY_PATH, (unsigned)request->size, request->stat, request_done, request,
                          terms);
    case REQUEST_SIZE:
        return loop_statx(loop, fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, request->heap, request_done, request,
                          terms);
    case REQUEST_ALIGNMENT:
        return loop_statx(loop, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, request->heap, request_done, request, terms);
    case REQUEST_READ:
    case REQUEST_WRITE:
    case REQUEST_SYNC: break;
    }
    check_failed("a kind of request that is an operation", __FILE__, __LINE__);
}

static int take_alignment(struct file_request *request)
{
    const struct statx *stat = request->heap;

    if ((stat->stx_mask & STATX_DIOALIGN) == 0 || stat->stx_dio_offset_align == 0)
        return -EOPNOTSUPP;
    *request->alignment = (struct loop_file_alignment){stat->stx_dio_mem_align, stat->stx_dio_offset_align};
    return 0;
}

static int take_size(struct file_request *request)
{
    const struct statx *stat = request->heap;

    request->done = stat->stx_size;
    return S_ISBLK(stat->stx_mode) ? sys_device_size(request->file->priv.fd, &request->done) : 0;
}

int operation_done(struct file_request *request, int32_t res, int *ret_error)
{
    if (res == -EINTR || (res == -ERESTART && (request->flags & REQUEST_ONCE) == 0))
        return 1;
    if (res == -ERESTART)
        res = -EOWNERDEAD;
    *ret_error = res < 0 ? res : 0;
    if (res >= 0 && request->kind == REQUEST_SIZE)
        *ret_error = take_size(request);
    if (res >= 0 && request->kind == REQUEST_ALIGNMENT)
        *ret_error = take_alignment(request);
    return 0;
}

/* ---- calls */

static struct file_request *operation_new(struct loop_file *file, const char *call, enum request_kind kind,
                                          loop_file_cb *cb, void *arg, int *ret_error)
{
    struct file_request *request;

    *ret_error = file_check(file, call);
    if (*ret_error < 0)
        return NULL;
    request = request_new(file, kind, cb, arg);
    if (request == NULL)
        *ret_error = -ENOMEM;
    return request;
}

int loop_file_truncate(struct loop_file *file, int64_t size, loop_file_cb *cb, void *arg)
{
    struct file_request *request;
    int                  r;

    if (size < 0)
        return -EINVAL;
    request = operation_new(file, __func__, REQUEST_TRUNCATE, cb, arg, &r);
    if (request == NULL)
        return r;
    request->offset = size;
    request->flags = REQUEST_CHANGES;
    return request_begin(request);
}

int loop_file_allocate(struct loop_file *file, int mode, int64_t offset, int64_t size, loop_file_cb *cb, void *arg)
{
    struct file_request *request;
    int                  r;

    if (offset < 0 || size <= 0)
        return -EINVAL;
    request = operation_new(file, __func__, REQUEST_ALLOCATE, cb, arg, &r);
    if (request == NULL)
        return r;
    request->mode = mode;
    request->offset = offset;
    request->size = (uint64_t)size;
    request->flags = REQUEST_CHANGES;
    return request_begin(request);
}

int loop_file_seek(struct loop_file *file, int64_t offset, int whence, loop_file_cb *cb, void *arg)
{
    struct file_request *request;
    int                  r;

    if (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END && whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    request = operation_new(file, __func__, REQUEST_SEEK, cb, arg, &r);
    if (request == NULL)
        return r;
    request->offset = offset;
    request->mode = whence;
    request->flags = REQUEST_POSITION;
    return request_begin(request);
}

int loop_file_stat(struct loop_file *file, unsigned mask, struct statx *ret_stat, loop_file_cb *cb, void *arg)
{
    struct file_request *request;
    int                  r;

    if (ret_stat == NULL)
        return -EINVAL;
    request = operation_new(file, __func__, REQUEST_STAT, cb, arg, &r);
    if (request == NULL)
        return r;
    request->stat = ret_stat;
    request->size = mask;
    return request_begin(request);
}

/* With a place for what statx(2) tells. */
static int stat_begin(struct file_request *request)
{
    request->heap = memory_resize(file_loop(request->file), NULL, sizeof(struct statx));
    if (request->heap == NULL) {
        request_free(request);
        return -ENOMEM;
    }
    return request_begin(request);
}

int loop_file_size(struct loop_file *file, loop_file_cb *cb, void *arg)
{
    int                  r;
    struct file_request *request = operation_new(file, __func__, REQUEST_SIZE, cb, arg, &r);

    return request == NULL ? r : stat_begin(request);
}

int loop_file_alignment_get(struct loop_file *file, struct loop_file_alignment *ret_alignment, loop_file_cb *cb,
                            void *arg)
{
    struct file_request *request;
    int                  r;

    if (ret_alignment == NULL)
        return -EINVAL;
    request = operation_new(file, __func__, REQUEST_ALIGNMENT, cb, arg, &r);
    if (request == NULL)
        return r;
    request->alignment = ret_alignment;
    return stat_begin(request);
}
