/* net/stream_read.c: reading: lent buffers to the callback, and a stash for what comes after a stop.
 *
 * A stop asks the kernel to end the receive, and what it has received until then waits in the stash, in order, until
 * reading starts again. The receive is only cancelled by the task: stopping and starting within a turn costs nothing.
 */
#include "net/stream_private.h"

#include <errno.h>
#include <string.h>

enum { STASH_PIECE = 65536 }; /* of what comes from another stream */

static void stash_append(struct loop_stream *stream, loop_buffer buffer, uint32_t bytes)
{
    struct loop *loop = stream->priv.object.loop;
    uint32_t     last_bytes;
    loop_buffer  none;

    buffer_note(loop, buffer, 0, bytes);
    if (stream->priv.stash_last != 0) {
        buffer_noted(loop, stream->priv.stash_last, &none, &last_bytes);
        buffer_note(loop, stream->priv.stash_last, buffer, last_bytes);
    } else {
        stream->priv.stash_first = buffer;
    }
    stream->priv.stash_last = buffer;
}

/* A copy waits, not the buffer: others need that. Without memory for a copy the buffer waits after all, so that nothing
 * is lost. */
void stream_stash_add(struct loop_stream *stream, const struct loop_result *result, uint32_t skip)
{
    struct loop *loop = stream->priv.object.loop;
    uint32_t     bytes = (uint32_t)result->res - skip;
    loop_buffer  buffer = buffer_copy_new(loop, (const char *)result->data + skip, bytes);

    if (buffer == 0) {
        buffer = result->buffer;
        bytes += skip;
        (void)loop_buffer_keep(loop, buffer);
        if (stream->priv.stash_first == 0) /* only the first of a stash is ever read in part */
            stream->priv.stash_skip = skip;
    }
    stash_append(stream, buffer, bytes);
}

/* Takes the first buffer out; what is to be read of it begins at ret_skip. */
static loop_buffer stash_pop(struct loop_stream *stream, uint32_t *ret_skip, uint32_t *ret_bytes)
{
    loop_buffer buffer = stream->priv.stash_first;

    buffer_noted(stream->priv.object.loop, buffer, &stream->priv.stash_first, ret_bytes);
    if (stream->priv.stash_first == 0)
        stream->priv.stash_last = 0;
    *ret_skip = stream->priv.stash_skip;
    stream->priv.stash_skip = 0;
    return buffer;
}

size_t stream_stash_look(const struct loop_stream *stream, const char **ret_data)
{
    struct loop *loop = stream->priv.object.loop;
    loop_buffer  next;
    uint32_t     bytes;

    if (stream->priv.stash_first == 0)
        return 0;
    buffer_noted(loop, stream->priv.stash_first, &next, &bytes);
    *ret_data = (const char *)loop_buffer_data(loop, stream->priv.stash_first, NULL) + stream->priv.stash_skip;
    return bytes - stream->priv.stash_skip;
}

void stream_stash_skip(struct loop_stream *stream, size_t size)
{
    const char *data;
    uint32_t    skip, bytes;

    if (size < stream_stash_look(stream, &data))
        stream->priv.stash_skip += (uint32_t)size;
    else
        (void)loop_buffer_return(stream->priv.object.loop, stash_pop(stream, &skip, &bytes));
}

static bool wants_data(const struct loop_stream *stream)
{
    return stream_state(stream) == STREAM_OPEN && stream_reads(stream);
}

static void tell(struct loop_stream *stream, const struct loop_result *result)
{
    stream->priv.on_read(stream, result);
}

static void tell_end(struct loop_stream *stream)
{
    stream_set(stream, STREAM_END_TOLD);
    stream_unset(stream, STREAM_READING);
    tell(stream, &(struct loop_result){.res = stream->priv.read_end});
}

static void stash_tell(struct loop_stream *stream)
{
    struct loop       *loop = stream->priv.object.loop;
    struct loop_result result;
    uint32_t           skip, bytes;

    while (wants_data(stream) && stream->priv.stash_first != 0) {
        loop_buffer buffer = stash_pop(stream, &skip, &bytes);

        buffer_lend(loop, buffer, bytes, &result);
        result.data = (char *)result.data + skip;
        result.res -= (int32_t)skip;
        tell(stream, &result);
        buffer_callback_done(loop, buffer);
    }
}

static void arm(struct loop_stream *stream)
{
    if (stream->priv.transport->read_start(stream) < 0) /* at the limit of operations, or without memory */
        loop_task_retry(stream->priv.object.loop, &stream->priv.task);
}

void stream_read_work(struct loop_stream *stream)
{
    stash_tell(stream);
    if (wants_data(stream) && stream_is(stream, STREAM_READ_ENDED) && !stream_is(stream, STREAM_END_TOLD))
        tell_end(stream);
    if (stream_state(stream) != STREAM_OPEN)
        return;
    if (stream->priv.read_id == 0) {
        if (wants_data(stream) && !stream_is(stream, STREAM_READ_ENDED))
            arm(stream);
        else
            stream_request_work(stream);
    } else if (!stream_reads(stream) && !stream_is(stream, STREAM_READ_CANCELED) &&
               !stream_is(stream, STREAM_REQUEST_READS)) {
        stream_set(stream, STREAM_READ_CANCELED);
        stream->priv.transport->read_stop(stream);
    }
}

void stream_read_ended(struct loop_stream *stream, int error)
{
    /* The error of a connection is told once by the kernel, perhaps to a send: what follows it is no end. After -EPIPE
     * it may be. */
    if (error == 0 && stream_is(stream, STREAM_WRITE_FAILED) && stream->priv.write_error != -EPIPE)
        error = stream->priv.write_error;
    stream->priv.read_end = error;
    stream_set(stream, STREAM_READ_ENDED);
}

static void received_end(struct loop_stream *stream, int res)
{
    if (res == -ECANCELED) { /* by a stop; perhaps reading was started again meanwhile */
        stream_work(stream);
        return;
    }
    stream_read_ended(stream, res);
    if (stream_request_waits(stream) || stream_forwards(stream))
        stream_work(stream);
    if (!stream_reads(stream))
        return;
    if (stream->priv.stash_first == 0)
        tell_end(stream);
    else
        stream_work(stream);
}

void stream_received(struct loop_stream *stream, const struct loop_result *result)
{
    if (stream->priv.read_id == 0)
        stream_unset(stream, STREAM_READ_CANCELED);
    if (stream_state(stream) == STREAM_CLOSING) {
        if (stream->priv.read_id == 0)
            stream_work(stream);
        return;
    }
    if (result->res <= 0) {
        received_end(stream, result->res);
        return;
    }
    stream_note_received(stream);
    if (stream->priv.read_id == 0)
        stream_work(stream); /* the end of a stopped receive brought data; go on */
    if (stream_reads(stream) && stream->priv.stash_first == 0)
        tell(stream, result);
    else
        stream_stash_add(stream, result, 0);
}

void stream_request_fed(struct loop_stream *stream, const struct loop_result *result)
{
    bool final = stream->priv.read_id == 0;

    if (!stream_is(stream, STREAM_REQUEST_READS)) {
        stream_received(stream, result);
        return;
    }
    if (final) {
        stream_unset(stream, STREAM_REQUEST_READS);
    } else if (!stream_is(stream, STREAM_READ_CANCELED)) {
        stream_set(stream, STREAM_READ_CANCELED);
        stream->priv.transport->read_stop(stream);
    }
    if (final && (result->flags & LOOP_TIMED_OUT) != 0) {
        stream_unset(stream, STREAM_READ_CANCELED);
        if (result->res > 0)
            stream_stash_add(stream, result, 0);
        stream_request_received(stream, &(struct loop_result){.res = -ETIMEDOUT, .flags = LOOP_TIMED_OUT});
        return;
    }
    stream_received(stream, result);
}

void stream_read_drop(struct loop_stream *stream)
{
    uint32_t skip, bytes;

    while (stream->priv.stash_first != 0)
        (void)loop_buffer_return(stream->priv.object.loop, stash_pop(stream, &skip, &bytes));
}

size_t stream_stash_size(const struct loop_stream *stream)
{
    loop_buffer buffer = stream->priv.stash_first, next;
    uint32_t    bytes;
    size_t      size = 0;

    for (; buffer != 0; buffer = next) {
        buffer_noted(stream->priv.object.loop, buffer, &next, &bytes);
        size += bytes;
    }
    return size - stream->priv.stash_skip;
}

void stream_stash_take(struct loop_stream *stream, char *to)
{
    const char *data;
    size_t      size;

    while ((size = stream_stash_look(stream, &data)) > 0) {
        memcpy(to, data, size);
        to += size;
        stream_stash_skip(stream, size);
    }
}

int stream_stash_put(struct loop_stream *stream, const char *data, size_t size)
{
    while (size > 0) {
        uint32_t    bytes = size < STASH_PIECE ? (uint32_t)size : STASH_PIECE;
        loop_buffer buffer = buffer_copy_new(stream->priv.object.loop, data, bytes);

        if (buffer == 0)
            return -ENOMEM;
        stash_append(stream, buffer, bytes);
        data += bytes;
        size -= bytes;
    }
    return 0;
}

int loop_stream_read_start(struct loop_stream *stream, loop_stream_read_cb *on_read)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING || on_read == NULL || stream_is(stream, STREAM_LEAVING))
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (stream_request_waits(stream) || stream_forwards(stream))
        return -EBUSY;
    if (state == STREAM_CONNECTING || stream_is(stream, STREAM_END_TOLD))
        return -ENOTCONN;
    stream->priv.on_read = on_read;
    if (stream_is(stream, STREAM_READING))
        return 0;
    if (stream->priv.read_id == 0 && stream->priv.stash_first == 0 &&
        (stream->priv.state & (STREAM_READ_ENDED | STREAM_FULL)) == 0) {
        int r = stream->priv.transport->read_start(stream);

        if (r < 0)
            return r;
    } else {
        stream_work(stream);
    }
    if (stream_has_deadlines(stream))
        stream_deadline_wanted(stream, LOOP_STREAM_READ);
    stream_set(stream, STREAM_READING);
    return 0;
}

int loop_stream_read_stop(struct loop_stream *stream)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (stream_forwards(stream))
        return -EBUSY;
    if (stream_is(stream, STREAM_READING)) {
        stream_unset(stream, STREAM_READING);
        stream_work(stream);
    }
    return 0;
}
