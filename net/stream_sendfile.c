/* net/stream_sendfile.c: a stretch of a file in a stream's queue: read ahead by two pieces, which leave like the pieces
 * of any write. Only the file whose turn is next is read. */
#include "net/stream_private.h"
#include "net/write_queue.h"

#include <errno.h>
#include <ringloop/op_file.h>
#include <ringloop/write.h>

enum { PIECE_BYTES = 65536, FILES_MAX = 1024 };

/* Nothing more is read: what has been leaves, then its end is told. */
static void read_over(struct loop_stream *stream, struct stream_write *write, int error)
{
    struct write_file *file = write_file(write);

    file->short_of_count = file->left > 0;
    file->left = 0;
    file->error = error;
    if (stream->priv.more->file == write)
        stream->priv.more->file = NULL;
}

static void piece_read(struct loop_stream *stream, struct stream_write *write, uint32_t bytes)
{
    struct write_file *file = write_file(write);

    if (write->done == write->size && stream_has_deadlines(stream))
        stream_deadline_wanted(stream, LOOP_STREAM_WRITE);
    write->iov[write->iov_count++] = (struct iovec){
        .iov_base = file->memory + (file->reading ? file->piece_bytes : 0),
        .iov_len = bytes,
    };
    write->size += bytes;
    stream->priv.write_bytes += bytes;
    file->reading = !file->reading;
    if (file->left != UINT64_MAX)
        file->left -= bytes;
    if (file->offset != LOOP_AT_POSITION)
        file->offset += bytes;
    if (file->left == 0)
        read_over(stream, write, 0);
}

static void read_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct stream_write *write = arg;
    struct loop_stream  *stream = write_loan(write)->stream;

    (void)loop;
    write_file(write)->read_id = 0;
    if ((write->flags & WRITE_ENDED) == 0) {
        if (result->res > 0)
            piece_read(stream, write, (uint32_t)result->res);
        else if (result->res != -EINTR && result->res != -ERESTART)
            read_over(stream, write, result->res);
        stream_work(stream);
        if (stream_state(stream) == STREAM_OPEN && !stream_is(stream, STREAM_CORKED))
            (void)stream_file_pump(stream); /* the task tries again */
    }
    stream_released(stream, write);
}

static int start_read(struct loop_stream *stream, struct stream_write *write)
{
    struct loop       *loop = stream->priv.object.loop;
    struct write_file *file = write_file(write);
    size_t             size;
    loop_id            id;

    if (file->memory == NULL) {
        file->piece_bytes = file->left < PIECE_BYTES ? (size_t)file->left : PIECE_BYTES;
        file->memory = memory_resize(loop, NULL, file->left <= PIECE_BYTES ? file->piece_bytes : 2 * PIECE_BYTES);
        if (file->memory == NULL)
            return -ENOMEM;
    }
    size = file->left < file->piece_bytes ? (size_t)file->left : file->piece_bytes;
    id = loop_read(loop, file->fd, file->memory + (file->reading ? file->piece_bytes : 0), size, file->offset,
                   read_done, write, LOOP_TERMS(.flags = LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    file->read_id = op_of_object(loop, id);
    stream_write_busy(stream, write);
    return 0;
}

int stream_file_pump(struct loop_stream *stream)
{
    struct stream_write *write = stream->priv.more->file;
    int                  r;

    if (write == NULL || write_file(write)->read_id != 0 || write->iov_count == 2)
        return 0;
    r = start_read(stream, write);
    if (r < 0 && r != -ENOBUFS && r != -ENOMEM) {
        read_over(stream, write, r);
        stream_work(stream);
        return 0;
    }
    return r;
}

void stream_file_stop(struct loop_stream *stream)
{
    struct stream_write *write = stream->priv.more == NULL ? NULL : stream->priv.more->file;

    if (write != NULL && write_file(write)->read_id != 0)
        (void)loop_cancel(stream->priv.object.loop, write_file(write)->read_id);
}

static int check_sendfile(struct loop_stream *stream, int file_fd, int64_t offset, uint64_t count,
                          const struct loop_write_terms *terms)
{
    int r = stream_write_allowed(stream);

    if (r < 0)
        return r;
    if (file_fd < 0)
        return -EBADF;
    if (count == 0 || (offset < 0 && offset != LOOP_AT_POSITION) ||
        (terms != NULL && (terms->flags != 0 || terms->release != 0 || terms->fd_count != 0)))
        return -EINVAL;
    if (stream_more(stream) == NULL)
        return -ENOMEM;
    if (stream->priv.more->files < FILES_MAX)
        return 0;
    stream->priv.object.loop->stats.writes_full++;
    return -ENOBUFS;
}

int loop_stream_sendfile(struct loop_stream *stream, int file_fd, int64_t offset, uint64_t count,
                         loop_stream_write_cb *cb, void *arg, const struct loop_write_terms *terms)
{
    struct stream_write *write;
    struct write_file   *file;
    int                  r;

    if (stream_state(stream) == STREAM_CLOSED)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    r = check_sendfile(stream, file_fd, offset, count, terms);
    if (r < 0)
        return r;
    write = write_new_file(stream->priv.object.loop);
    if (write == NULL)
        return -ENOMEM;
    write->cb = cb;
    write->arg = arg;
    file = write_file(write);
    file->loan.stream = stream;
    file->fd = file_fd;
    file->offset = offset;
    file->left = count;
    stream->priv.more->files++;
    stream_write_queue(stream, write);
    return 0;
}
