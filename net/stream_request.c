/* net/stream_request.c: reading by request: first from the stash, then by one receive at a time, straight into the
 * user's memory where no more than asked for can come.
 *
 * Up to a delimiter more may come; so that is received into a lent buffer, whose rest goes to the stash. */
#include <ringloop/request.h>

#include "net/stream_private.h"

#include <errno.h>
#include <string.h>

enum { RECEIVE_MAX = 1 << 30 }; /* at a time: the kernel counts in int */

enum request_kind { REQUEST_SOME, REQUEST_EXACTLY, REQUEST_UNTIL, REQUEST_READY };

struct stream_request {
    loop_stream_request_cb *cb; /* NULL: no request */
    void                   *arg;
    char                   *data;
    size_t                  size, done;
    uint64_t                deadline_ns; /* 0: none */
    enum request_kind       kind;
    bool                    canceled, timed_out;
    uint8_t                 delimiter_size;
    char                    delimiter[LOOP_DELIMITER_BYTES_MAX];
};

static struct stream_request *waiting(const struct loop_stream *stream)
{
    struct stream_more *more = stream->priv.more;

    return more == NULL || more->request == NULL || more->request->cb == NULL ? NULL : more->request;
}

bool stream_request_waits(const struct loop_stream *stream)
{
    return waiting(stream) != NULL;
}

static void tell(struct loop_stream *stream, struct stream_request *request, int error)
{
    loop_stream_request_cb *cb = request->cb;

    request->cb = NULL;
    if (stream_is(stream, STREAM_LEAVING))
        stream_work(stream);
    cb(stream, error, request->done, request->arg);
}

/* ---- taking bytes */

/* Copies bytes to the request until it is complete; ret_taken: how many. Returns whether it is.
 *
 * Each piece is as long as what is there already, so that of what stands behind a delimiter little is copied. */
static bool take_until(struct stream_request *request, const char *data, size_t size, size_t *ret_taken)
{
    size_t taken = 0;

    while (taken < size && request->done < request->size) {
        size_t overlap = request->done < request->delimiter_size ? request->done : request->delimiter_size - 1u;
        size_t piece = request->done < 64 ? 64 : request->done;
        char  *from = request->data + request->done - overlap, *found;

        if (piece > size - taken)
            piece = size - taken;
        if (piece > request->size - request->done)
            piece = request->size - request->done;
        memcpy(request->data + request->done, data + taken, piece);
        found = memmem(from, overlap + piece, request->delimiter, request->delimiter_size);
        if (found != NULL) {
            size_t end = (size_t)(found - request->data) + request->delimiter_size;

            *ret_taken = taken + end - request->done;
            request->done = end;
            return true;
        }
        request->done += piece;
        taken += piece;
    }
    *ret_taken = taken;
    return false;
}

static bool take(struct stream_request *request, const char *data, size_t size, size_t *ret_taken)
{
    *ret_taken = 0;
    switch (request->kind) {
    case REQUEST_READY: return true;
    case REQUEST_UNTIL: return take_until(request, data, size, ret_taken);
    case REQUEST_SOME:
    case REQUEST_EXACTLY: break;
    }
    if (size > request->size - request->done)
        size = request->size - request->done;
    memcpy(request->data + request->done, data, size);
    request->done += size;
    *ret_taken = size;
    return request->done == request->size || request->kind == REQUEST_SOME;
}

static bool take_from_stash(struct loop_stream *stream, struct stream_request *request)
{
    const char *data;
    size_t      size, taken;
    bool        complete = false;

    while (!complete && (request->kind == REQUEST_READY || request->done < request->size) &&
           (size = stream_stash_look(stream, &data)) > 0) {
        complete = take(request, data, size, &taken);
        stream_stash_skip(stream, taken);
    }
    return complete;
}

/* ---- going on */

static int receive(struct loop_stream *stream, const struct stream_request *request)
{
    const struct loop_stream_transport *transport = stream->priv.transport;
    size_t                              size = request->size - request->done;
    uint64_t                            timeout_ns = 0;

    if (size > RECEIVE_MAX)
        size = RECEIVE_MAX;
    if (request->deadline_ns != 0) {
        uint64_t now_ns = loop_time(stream->priv.object.loop);

        timeout_ns = request->deadline_ns > now_ns ? request->deadline_ns - now_ns : 1;
    }
    switch (request->kind) {
    case REQUEST_READY: return transport->wait_readable(stream, timeout_ns);
    case REQUEST_UNTIL: return transport->receive(stream, NULL, size, timeout_ns);
    case REQUEST_SOME:
    case REQUEST_EXACTLY: break;
    }
    return transport->receive(stream, request->data + request->done, size, timeout_ns);
}

static void end_of_stream(struct loop_stream *stream, struct stream_request *request)
{
    stream_set(stream, STREAM_END_TOLD);
    tell(stream, request, stream->priv.read_end == 0 ? -ENODATA : stream->priv.read_end);
}

void stream_request_work(struct loop_stream *stream)
{
    struct stream_request *request = waiting(stream);

    if (request == NULL || stream_state(stream) != STREAM_OPEN || stream->priv.read_id != 0)
        return;
    if (take_from_stash(stream, request))
        tell(stream, request, 0);
    else if (request->canceled)
        tell(stream, request, -ECANCELED);
    else if (request->timed_out)
        tell(stream, request, -ETIMEDOUT);
    else if (request->kind == REQUEST_UNTIL && request->done == request->size)
        tell(stream, request, -EMSGSIZE);
    else if (stream_is(stream, STREAM_READ_ENDED) && request->kind == REQUEST_READY)
        tell(stream, request, 0);
    else if (stream_is(stream, STREAM_READ_ENDED))
        end_of_stream(stream, request);
    else if (receive(stream, request) < 0) /* at the limit of operations, or without memory */
        loop_task_retry(stream->priv.object.loop, &stream->priv.task);
}

static bool is_passing(int error)
{
    return stream_error_passes(error) || error == -ECANCELED;
}

/* Data in the user's memory, or in a lent buffer. */
static bool received_data(struct loop_stream *stream, struct stream_request *request, const struct loop_result *result)
{
    size_t size = (size_t)result->res, taken;
    bool   complete;

    if (request->kind == REQUEST_READY)
        return true;
    if ((result->flags & LOOP_BUFFER) == 0) {
        request->done += size;
        return request->done == request->size || request->kind == REQUEST_SOME;
    }
    complete = take(request, result->data, size, &taken);
    if (taken < size)
        stream_stash_add(stream, result, (uint32_t)taken);
    return complete;
}

void stream_request_received(struct loop_stream *stream, const struct loop_result *result)
{
    struct stream_request *request = waiting(stream);
    bool                   complete = false;

    if (result->res > 0) {
        stream_note_received(stream);
        complete = received_data(stream, request, result);
    }
    if (stream_state(stream) == STREAM_CLOSING) {
        stream_work(stream);
        return;
    }
    if (complete) {
        tell(stream, request, 0);
        return;
    }
    request->timed_out = (result->flags & LOOP_TIMED_OUT) != 0;
    if (result->res == 0)
        stream_read_ended(stream, 0);
    else if (result->res < 0 && !request->timed_out && !is_passing(result->res))
        stream_read_ended(stream, result->res);
    if (stream_error_passes(result->res) && !request->canceled && !stream_is(stream, STREAM_READ_ENDED))
        loop_task_retry(stream->priv.object.loop, &stream->priv.task);
    else
        stream_request_work(stream);
}

void stream_request_drop(struct loop_stream *stream)
{
    struct stream_request *request = waiting(stream);

    if (request != NULL)
        tell(stream, request, -ECANCELED);
}

/* ---- calls */

static int check_reading(const struct loop_stream *stream)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING || stream_is(stream, STREAM_LEAVING))
        return -EINVAL;
    if (stream_is(stream, STREAM_READING) || stream_request_waits(stream) || stream_forwards(stream))
        return -EBUSY;
    if (state == STREAM_CONNECTING || stream_is(stream, STREAM_END_TOLD))
        return -ENOTCONN;
    return 0;
}

static struct stream_request *request_room(struct loop_stream *stream)
{
    struct stream_more *more = stream_more(stream);

    if (more == NULL)
        return NULL;
    if (more->request == NULL) {
        more->request = memory_resize(stream->priv.object.loop, NULL, sizeof(*more->request));
        if (more->request != NULL)
            more->request->cb = NULL;
    }
    return more->request;
}

static int start(struct loop_stream *stream, const struct stream_request *wanted,
                 const struct loop_request_terms *terms, const char *call)
{
    static const struct loop_request_terms defaults;
    struct loop                           *loop = stream->priv.object.loop;
    struct stream_request                 *request;
    int                                    r;

    if (terms == NULL)
        terms = &defaults;
    if (stream_state(stream) == STREAM_CLOSED || wanted->cb == NULL || terms->flags != 0 || terms->reserved != 0 ||
        (wanted->kind != REQUEST_READY && (wanted->data == NULL || wanted->size == 0)))
        return -EINVAL;
    loop_check_owner(loop, call);
    r = check_reading(stream);
    if (r < 0)
        return r;
    request = request_room(stream);
    if (request == NULL)
        return -ENOMEM;
    *request = *wanted;
    if (stream_has_deadlines(stream))
        stream_deadline_wanted(stream, LOOP_STREAM_READ);
    if (terms->timeout_ns != 0)
        request->deadline_ns = ns_add(loop_time(loop), terms->timeout_ns);
    if (stream->priv.read_id == 0 && stream->priv.stash_first == 0 && !stream_is(stream, STREAM_READ_ENDED)) {
        r = receive(stream, request);
        if (r < 0)
            request->cb = NULL;
        return r;
    }
    stream_work(stream);
    return 0;
}

int loop_stream_read(struct loop_stream *stream, void *data, size_t size, loop_stream_request_cb *cb, void *arg,
                     const struct loop_request_terms *terms)
{
    const struct stream_request request = {.kind = REQUEST_SOME, .data = data, .size = size, .cb = cb, .arg = arg};

    return start(stream, &request, terms, __func__);
}

int loop_stream_read_exactly(struct loop_stream *stream, void *data, size_t size, loop_stream_request_cb *cb, void *arg,
                             const struct loop_request_terms *terms)
{
    const struct stream_request request = {.kind = REQUEST_EXACTLY, .data = data, .size = size, .cb = cb, .arg = arg};

    return start(stream, &request, terms, __func__);
}

int loop_stream_read_until(struct loop_stream *stream, void *data, size_t size, const void *delimiter,
                           size_t delimiter_size, loop_stream_request_cb *cb, void *arg,
                           const struct loop_request_terms *terms)
{
    struct stream_request request = {.kind = REQUEST_UNTIL, .data = data, .size = size, .cb = cb, .arg = arg};

    if (delimiter == NULL || delimiter_size == 0 || delimiter_size > LOOP_DELIMITER_BYTES_MAX)
        return -EINVAL;
    request.delimiter_size = (uint8_t)delimiter_size;
    memcpy(request.delimiter, delimiter, delimiter_size);
    return start(stream, &request, terms, __func__);
}

int loop_stream_read_ready(struct loop_stream *stream, loop_stream_request_cb *cb, void *arg,
                           const struct loop_request_terms *terms)
{
    const struct stream_request request = {.kind = REQUEST_READY, .cb = cb, .arg = arg};

    return start(stream, &request, terms, __func__);
}

ssize_t loop_stream_try_read(struct loop_stream *stream, void *data, size_t size)
{
    struct stream_request request = {.kind = REQUEST_EXACTLY, .data = data, .size = size};
    ssize_t               r;

    if (stream_state(stream) == STREAM_CLOSED || data == NULL || size == 0)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    r = check_reading(stream);
    if (r < 0)
        return r;
    (void)take_from_stash(stream, &request);
    if (request.done > 0)
        return (ssize_t)request.done;
    if (!stream_is(stream, STREAM_READ_ENDED)) {
        if (stream->priv.read_id != 0) /* told to end, but has not yet */
            return -EAGAIN;
        r = stream->priv.transport->try_receive(stream, data, size);
        if (r > 0 && stream_has_deadlines(stream)) /* perhaps outside of a run, where the loop's time is old */
            stream->priv.more->received_ns = loop_time(stream->priv.object.loop);
        if (r > 0 || is_passing((int)r))
            return r;
        stream_read_ended(stream, (int)r);
    }
    stream_set(stream, STREAM_END_TOLD);
    return stream->priv.read_end;
}

int loop_stream_read_cancel(struct loop_stream *stream)
{
    enum stream_state      state = stream_state(stream);
    struct stream_request *request = waiting(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (request == NULL || request->canceled)
        return 0;
    request->canceled = true;
    if (stream->priv.read_id != 0)
        stream->priv.transport->read_stop(stream);
    else
        stream_work(stream);
    return 0;
}
