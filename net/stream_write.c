/* net/stream_write.c: writing: a queue in order, of which as much as is sensible leaves in one send; one send at a
 * time.
 *
 * Small writes are copied, and a lent buffer that held them goes back at once: so a group of large buffers is not used
 * up by small messages. */
#include "net/stream_private.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum {
    SEND_IOV_MAX = 64,          /* pieces in one send */
    SEND_BYTES_ENOUGH = 262144, /* no further write is added to a send beyond this */
    IOV_COUNT_MAX = 1024,
};

struct loop_write {
    struct loop_write    *next;
    struct iovec         *iov; /* what is left of it: iov_count pieces, size - done bytes */
    size_t                size, done;
    loop_stream_write_cb *cb;
    void                 *arg;
    loop_buffer           release;
    uint32_t              iov_count;
    struct iovec          piece; /* iov of a write of one piece */
    bool                  big;   /* not a block */
    _Alignas(16) char bytes[];
};

enum { WRITE_INLINE = BLOCK_BYTES - sizeof(struct loop_write) }; /* bytes that any write can hold of its own */

static struct loop_write *write_new(struct loop *loop, size_t bytes)
{
    bool               big = bytes > WRITE_INLINE;
    struct loop_write *write = big ? memory_resize(loop, NULL, sizeof(*write) + bytes) : block_new(loop);

    if (write != NULL)
        *write = (struct loop_write){.big = big};
    return write;
}

static void write_free(struct loop *loop, struct loop_write *write)
{
    if (write->big)
        memory_free(loop, write);
    else
        block_free(loop, write);
}

static size_t iov_size(const struct iovec *iov, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > INT_MAX || (iov[i].iov_base == NULL && iov[i].iov_len > 0))
            return 0;
        size += iov[i].iov_len;
    }
    return size > INT_MAX ? 0 : size;
}

static void copy_bytes(struct loop_write *write, const struct iovec *iov, size_t count)
{
    char *end = write->bytes;

    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > 0)
            memcpy(end, iov[i].iov_base, iov[i].iov_len);
        end += iov[i].iov_len;
    }
    write->piece = (struct iovec){.iov_base = write->bytes, .iov_len = write->size};
    write->iov = &write->piece;
    write->iov_count = 1;
}

/* With the data in it, or pointing to it. */
static struct loop_write *write_make(struct loop *loop, const struct iovec *iov, size_t count, size_t size, bool copy)
{
    struct loop_write *write;

    copy = copy || size <= WRITE_INLINE;
    write = write_new(loop, copy ? size : count > 1 ? count * sizeof(*iov) : 0);
    if (write == NULL)
        return NULL;
    write->size = size;
    if (copy) {
        copy_bytes(write, iov, count);
    } else if (count == 1) {
        write->piece = *iov;
        write->iov = &write->piece;
        write->iov_count = 1;
    } else {
        write->iov = memcpy(write->bytes, iov, count * sizeof(*iov));
        write->iov_count = (uint32_t)count;
    }
    return write;
}

static int check_write(const struct loop_stream *stream, const struct loop_write_terms *terms, size_t size)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING || size == 0 ||
        (terms->flags & ~(uint32_t)LOOP_WRITE_COPY) != 0 ||
        (terms->release != 0 && buffer_check_giving(stream->priv.object.loop, terms->release) < 0))
        return -EINVAL;
    if (stream_is(stream, STREAM_SHUT) || stream_is(stream, STREAM_WRITE_FAILED))
        return -EPIPE;
    if (stream->priv.write_bytes + size > stream->priv.write_bytes_max)
        return -ENOBUFS;
    return 0;
}

/* The bytes of a copied write need their buffer no more: it goes back now. */
static void take_release(struct loop *loop, struct loop_write *write, loop_buffer release)
{
    if (release == 0)
        return;
    if (write->iov->iov_base == write->bytes) {
        (void)loop_buffer_return(loop, release);
    } else {
        buffer_hand_over(loop, release);
        write->release = release;
    }
}

int loop_stream_writev(struct loop_stream *stream, const struct iovec *iov, size_t iov_count, loop_stream_write_cb *cb,
                       void *arg, const struct loop_write_terms *terms)
{
    static const struct loop_write_terms defaults;
    struct loop                         *loop = stream->priv.object.loop;
    struct loop_write                   *write;
    size_t                               size;
    int                                  r;

    if (stream_state(stream) == STREAM_CLOSED || iov == NULL || iov_count > IOV_COUNT_MAX)
        return -EINVAL;
    loop_check_owner(loop, __func__);
    if (terms == NULL)
        terms = &defaults;
    size = iov_size(iov, iov_count);
    r = check_write(stream, terms, size);
    if (r < 0)
        return r;
    write = write_make(loop, iov, iov_count, size, (terms->flags & LOOP_WRITE_COPY) != 0);
    if (write == NULL)
        return -ENOMEM;
    write->cb = cb;
    write->arg = arg;
    take_release(loop, write, terms->release);
    if (stream->priv.write_first == NULL)
        stream->priv.write_first = write;
    else
        stream->priv.write_last->next = write;
    stream->priv.write_last = write;
    stream->priv.write_bytes += size;
    if (stream->priv.write_id == 0)
        stream_work(stream);
    return 0;
}

int loop_stream_write(struct loop_stream *stream, const void *data, size_t size, loop_stream_write_cb *cb, void *arg,
                      const struct loop_write_terms *terms)
{
    return loop_stream_writev(stream, &(struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size}, 1, cb, arg,
                              terms);
}

size_t loop_stream_queued(const struct loop_stream *stream)
{
    return (size_t)stream->priv.write_bytes;
}

/* Takes the first write from the queue and tells its end. */
static void first_done(struct loop_stream *stream, int error)
{
    struct loop          *loop = stream->priv.object.loop;
    struct loop_write    *write = stream->priv.write_first;
    loop_stream_write_cb *cb = write->cb;
    void                 *arg = write->arg;
    size_t                bytes = write->done;
    loop_buffer           release = write->release;

    stream->priv.write_first = write->next;
    if (write->next == NULL)
        stream->priv.write_last = NULL;
    stream->priv.write_bytes -= write->size - bytes;
    write_free(loop, write);
    if (cb != NULL)
        cb(stream, error, bytes, arg);
    if (release != 0)
        buffer_release(loop, release);
}

void stream_write_fail(struct loop_stream *stream, int error)
{
    while (stream->priv.write_first != NULL)
        first_done(stream, error);
}

/* Skips what has been sent of a write. */
static void advance(struct loop_write *write, size_t bytes)
{
    write->done += bytes;
    while (bytes > 0 && bytes >= write->iov->iov_len) {
        bytes -= write->iov->iov_len;
        write->iov++;
        write->iov_count--;
    }
    if (bytes > 0) {
        write->iov->iov_base = (char *)write->iov->iov_base + bytes;
        write->iov->iov_len -= bytes;
    }
}

/* Shares the bytes out over the writes, whose callbacks may do anything, also close; then the rest of the queue waits
 * for that. */
static void count_sent(struct loop_stream *stream, size_t bytes)
{
    while (bytes > 0) {
        struct loop_write *write = stream->priv.write_first;
        size_t             left = write->size - write->done;

        if (bytes < left) {
            stream->priv.write_bytes -= bytes;
            advance(write, bytes);
            return;
        }
        bytes -= left;
        stream->priv.write_bytes -= left;
        write->done = write->size;
        first_done(stream, 0);
    }
}

static void fail(struct loop_stream *stream, int error)
{
    stream_set(stream, STREAM_WRITE_FAILED);
    stream->priv.write_error = error;
    stream_write_fail(stream, error);
}

static bool is_passing(int error)
{
    return error == -EAGAIN || error == -EINTR || error == -ENOBUFS || error == -ENOMEM;
}

void stream_sent(struct loop_stream *stream, int32_t res)
{
    if (res < 0 && is_passing(res) && stream_state(stream) != STREAM_CLOSING) {
        loop_task_retry(stream->priv.object.loop, &stream->priv.task);
        return;
    }
    if (res > 0)
        count_sent(stream, (size_t)res);
    else if (stream_state(stream) != STREAM_CLOSING && res < 0)
        fail(stream, res);
    if (stream->priv.write_first != NULL || stream_is(stream, STREAM_SHUT) || stream_state(stream) == STREAM_CLOSING)
        stream_work(stream);
}

static size_t gather(struct loop_stream *stream, struct iovec *iov)
{
    size_t count = 0, bytes = 0;

    for (struct loop_write *write = stream->priv.write_first; write != NULL && bytes < SEND_BYTES_ENOUGH;
         write = write->next) {
        for (uint32_t i = 0; i < write->iov_count; i++) {
            if (count == SEND_IOV_MAX)
                return count;
            if (write->iov[i].iov_len == 0)
                continue;
            iov[count++] = write->iov[i];
            bytes += write->iov[i].iov_len;
        }
    }
    return count;
}

static void shutdown_now(struct loop_stream *stream)
{
    int r =
        stream_is(stream, STREAM_WRITE_FAILED) ? stream->priv.write_error : stream->priv.transport->shutdown(stream);

    stream_set(stream, STREAM_SHUT_DONE);
    if (stream->priv.on_shutdown != NULL)
        stream->priv.on_shutdown(stream, r);
}

void stream_write_work(struct loop_stream *stream)
{
    struct iovec iov[SEND_IOV_MAX];
    int          r;

    if (stream_state(stream) != STREAM_OPEN || stream->priv.write_id != 0)
        return;
    if (stream->priv.write_first == NULL) {
        if (stream_is(stream, STREAM_SHUT) && !stream_is(stream, STREAM_SHUT_DONE))
            shutdown_now(stream);
        return;
    }
    r = stream->priv.transport->send(stream, iov, gather(stream, iov));
    if (r < 0 && is_passing(r))
        loop_task_retry(stream->priv.object.loop,
                        &stream->priv.task); /* at the limit of operations, or without memory */
    else if (r < 0)
        fail(stream, r);
}

int loop_stream_shutdown(struct loop_stream *stream, loop_stream_event_cb *cb)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (state == STREAM_CONNECTING || stream_is(stream, STREAM_SHUT) ||
        (stream_is(stream, STREAM_WRITE_FAILED) && stream->priv.write_error == -ENOTCONN))
        return -ENOTCONN;
    stream_set(stream, STREAM_SHUT);
    stream->priv.on_shutdown = cb;
    stream_work(stream);
    return 0;
}
