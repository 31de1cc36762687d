/* fs/reader.c: sequential reading with read-ahead.
 *
 * Chunks stand in a ring: count of them from first on are being read or wait to be delivered. A seek and the end wait
 * until no read is in flight, so that the kernel never writes into a chunk that is used for something else. */
#include "loop/loop_private.h"
#include "loop/seam_file.h"

#include <errno.h>
#include <ringloop/reader.h>
#include <string.h>
#include <unistd.h>

enum {
    CHUNK_DEFAULT = 64 << 10,
    CHUNK_MOST = 16 << 20,
    CHUNKS_DEFAULT = 4,
    CHUNKS_MOST = 64,
    RECORD_DEFAULT = 1 << 20,
    CARRY_LEAST = 4096,
    CHUNK_ALIGN = 4096,
};

struct reader_chunk {
    struct loop_reader *reader;
    char               *data; /* NULL before its first use */
    uint32_t            asked, size;
    int                 error;
    bool                ready;
};

static const struct loop_reader_options defaults;

static inline struct loop *loop_of(const struct loop_reader *reader)
{
    return reader->priv.object.loop;
}

static void work_later(struct loop_reader *reader)
{
    loop_task_add(loop_of(reader), &reader->priv.task);
}

/* ---- the end */

static void memory_drop(struct loop_reader *reader)
{
    struct loop *loop = loop_of(reader);

    for (uint32_t i = 0; i < reader->priv.chunks_max; i++) {
        if (reader->priv.chunks[i].data != NULL)
            memory_free_aligned(loop, reader->priv.chunks[i].data);
    }
    memory_free(loop, reader->priv.chunks);
    memory_free(loop, reader->priv.carry);
    reader->priv.chunks = NULL;
    reader->priv.carry = NULL;
}

static void tell_end(struct loop_reader *reader)
{
    loop_reader_cb *cb = reader->priv.cb;

    memory_drop(reader);
    if (task_list_linked(&reader->priv.task))
        task_list_remove(&reader->priv.task);
    object_gone(&reader->priv.object, true);
    reader->priv.cb = NULL;
    cb(reader, reader->priv.result, NULL, 0);
}

static struct reader_chunk *chunk_at(struct loop_reader *reader, uint32_t i)
{
    return &reader->priv.chunks[(reader->priv.first + i) % reader->priv.chunks_max];
}

/* What is in flight is not wanted any more. */
static void stop_reads(struct loop_reader *reader)
{
    for (uint32_t i = 0; i < reader->priv.count && reader->priv.reading > 0; i++) {
        if (!chunk_at(reader, i)->ready)
            (void)loop_file_cancel(reader->priv.file, chunk_at(reader, i));
    }
}

static void finish(struct loop_reader *reader, int result)
{
    if (reader->priv.finishing)
        return;
    reader->priv.finishing = true;
    reader->priv.result = result;
    stop_reads(reader);
}

/* ---- reading */

static void work(struct loop_reader *reader);

static void read_done(struct loop_file *file, int error, uint64_t count, void *arg)
{
    struct reader_chunk *chunk = arg;

    (void)file;
    chunk->size = (uint32_t)count;
    chunk->error = error;
    chunk->ready = true;
    chunk->reader->priv.reading--;
    work(chunk->reader);
}

static int chunk_read(struct loop_reader *reader, struct reader_chunk *chunk, uint32_t bytes)
{
    if (chunk->data == NULL)
        chunk->data = memory_new_aligned(loop_of(reader), CHUNK_ALIGN, reader->priv.chunk_bytes);
    if (chunk->data == NULL)
        return -ENOMEM;
    chunk->asked = bytes;
    chunk->ready = false;
    return loop_file_read(reader->priv.file, chunk->data, bytes, reader->priv.next, 0, read_done, chunk);
}

/* Keeps as many reads in flight as the window allows. */
static void fill(struct loop_reader *reader)
{
    while (reader->priv.count < reader->priv.window && reader->priv.next < reader->priv.end && !reader->priv.ended) {
        struct reader_chunk *chunk = chunk_at(reader, reader->priv.count);
        int64_t              left = reader->priv.end - reader->priv.next;
        uint32_t             bytes = left < reader->priv.chunk_bytes ? (uint32_t)left : reader->priv.chunk_bytes;
        int                  r = chunk_read(reader, chunk, bytes);

        if (r < 0 && reader->priv.count > 0)
            return; /* tried again when one of those before has been delivered */
        if (r == -ENOBUFS) {
            loop_task_retry(loop_of(reader), &reader->priv.task);
            return;
        }
        if (r < 0) {
            finish(reader, r == -EINVAL ? -ECANCELED : r); /* the file was closed */
            return;
        }
        reader->priv.reading++;
        reader->priv.count++;
        reader->priv.next += bytes;
    }
}

static void begin_at(struct loop_reader *reader, int64_t offset)
{
    reader->priv.seeking = false;
    reader->priv.ended = offset >= reader->priv.end;
    reader->priv.result = 0;
    reader->priv.position = offset;
    reader->priv.next = offset;
    reader->priv.carry_size = 0;
    reader->priv.count = 0;
    reader->priv.at = 0;
    reader->priv.window = 1;
}

/* ---- delivering */

static void deliver(struct loop_reader *reader, const char *data, size_t size)
{
    reader->priv.position += (int64_t)size;
    reader->priv.cb(reader, 0, data, size);
}

/* Whether the delimiter ends at data[i], the record being carry and then data. */
static bool delimiter_ends(const struct loop_reader *reader, const char *data, size_t i)
{
    size_t size = reader->priv.delimiter_size, before = size - 1;

    if (before > i) { /* it begins in what was carried over */
        size_t carried = before - i;

        if (carried > reader->priv.carry_size ||
            memcmp(reader->priv.carry + reader->priv.carry_size - carried, reader->priv.delimiter, carried) != 0)
            return false;
        return memcmp(data, reader->priv.delimiter + carried, size - carried) == 0;
    }
    return memcmp(data + i - before, reader->priv.delimiter, size) == 0;
}

/* The bytes up to the first delimiter, and that; 0: there is none. */
static size_t record_size(const struct loop_reader *reader, const char *data, size_t size)
{
    char        last = reader->priv.delimiter[reader->priv.delimiter_size - 1];
    const char *hit = data;

    while ((hit = memchr(hit, last, size - (size_t)(hit - data))) != NULL) {
        if (delimiter_ends(reader, data, (size_t)(hit - data)))
            return (size_t)(hit - data) + 1;
        hit++;
    }
    return 0;
}

static int carry_add(struct loop_reader *reader, const char *data, size_t size)
{
    size_t room = reader->priv.carry_room == 0 ? CARRY_LEAST : reader->priv.carry_room;
    char  *carry;

    while (room < reader->priv.carry_size + size)
        room *= 2;
    if (room > reader->priv.carry_room) {
        carry = memory_resize(loop_of(reader), reader->priv.carry, room);
        if (carry == NULL)
            return -ENOMEM;
        reader->priv.carry = carry;
        reader->priv.carry_room = room;
    }
    memcpy(reader->priv.carry + reader->priv.carry_size, data, size);
    reader->priv.carry_size += size;
    return 0;
}

static void deliver_carry(struct loop_reader *reader)
{
    size_t size = reader->priv.carry_size;

    reader->priv.carry_size = 0;
    deliver(reader, reader->priv.carry, size);
}

/* The next record of the chunk, or what there is of it, which is kept. */
static void deliver_record(struct loop_reader *reader, const char *data, size_t size)
{
    size_t found = record_size(reader, data, size), bytes = found == 0 ? size : found;
    int    r;

    if (reader->priv.carry_size + bytes > reader->priv.record_max) {
        finish(reader, -EMSGSIZE);
        return;
    }
    reader->priv.at += (uint32_t)bytes;
    if (found != 0 && reader->priv.carry_size == 0) {
        deliver(reader, data, found);
        return;
    }
    r = carry_add(reader, data, bytes);
    if (r < 0)
        finish(reader, r);
    else if (found != 0)
        deliver_carry(reader);
}

static void deliver_of(struct loop_reader *reader, struct reader_chunk *chunk)
{
    const char *data = chunk->data + reader->priv.at;
    size_t      size = chunk->size - reader->priv.at;

    if (reader->priv.delimiter_size != 0) {
        deliver_record(reader, data, size);
    } else {
        reader->priv.at = chunk->size;
        deliver(reader, data, size);
    }
}

/* The first chunk has been delivered. */
static void leave_chunk(struct loop_reader *reader, const struct reader_chunk *chunk)
{
    if (chunk->error < 0 || chunk->size < chunk->asked) {
        reader->priv.ended = true;
        reader->priv.result = chunk->error;
    }
    reader->priv.first = (reader->priv.first + 1) % reader->priv.chunks_max;
    reader->priv.count--;
    reader->priv.at = 0;
    if (reader->priv.window < reader->priv.chunks_max)
        reader->priv.window =
            reader->priv.window * 2 < reader->priv.chunks_max ? reader->priv.window * 2 : reader->priv.chunks_max;
    if (reader->priv.count == 0 && reader->priv.next >= reader->priv.end)
        reader->priv.ended = true;
}

/* One step; false if there is nothing to deliver just now. */
static bool deliver_some(struct loop_reader *reader)
{
    struct reader_chunk *chunk = chunk_at(reader, 0);

    if (reader->priv.paused || reader->priv.seeking || reader->priv.finishing)
        return false;
    if (reader->priv.ended && reader->priv.carry_size > 0) {
        deliver_carry(reader);
    } else if (reader->priv.ended) {
        finish(reader, reader->priv.result);
    } else if (reader->priv.count == 0 || !chunk->ready) {
        return false;
    } else if (reader->priv.at < chunk->size) {
        deliver_of(reader, chunk);
    } else {
        leave_chunk(reader, chunk);
        fill(reader); /* before its successor is delivered, so that the disk is busy meanwhile */
    }
    return true;
}

/* All that can be done now. After the last callback nothing of the reader is touched. */
static void work(struct loop_reader *reader)
{
    if (reader->priv.seeking && reader->priv.reading == 0 && !reader->priv.finishing)
        begin_at(reader, reader->priv.position);
    while (deliver_some(reader))
        ;
    if (!reader->priv.seeking && !reader->priv.finishing)
        fill(reader);
    if (reader->priv.finishing && reader->priv.reading == 0 &&
        (!reader->priv.paused || reader->priv.result == -ECANCELED))
        tell_end(reader);
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    work(container_of(task, struct loop_reader, priv.task));
}

/* ---- calls */

static void close_object(struct loop_object *object)
{
    (void)loop_reader_cancel(container_of(object, struct loop_reader, priv.object));
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_reader *reader = container_of(object, struct loop_reader, priv.object);

    item->fd = loop_file_fd(reader->priv.file);
    item->closing = reader->priv.finishing;
    item->active = !reader->priv.paused;
}

static const struct loop_object_class reader_class = {.name = "reader", .close = close_object, .describe = describe};

static int check(const struct loop_file *file, const struct loop_reader *reader,
                 const struct loop_reader_options *options, loop_reader_cb *cb)
{
    int64_t r;

    if (reader == NULL || cb == NULL || loop_file_fd(file) < 0 || loop_file_closing(file) || options->offset < 0 ||
        options->chunk_bytes > CHUNK_MOST || options->chunks_max > CHUNKS_MOST ||
        options->delimiter_size > LOOP_READER_DELIMITER_MAX ||
        (options->delimiter == NULL) != (options->delimiter_size == 0))
        return -EINVAL;
    if (reader->priv.cb != NULL)
        return -EBUSY;
    if (loop_file_loop(file)->destroying)
        return -ECANCELED;
    r = sys_seek(loop_file_fd(file), 0, SEEK_CUR);
    return r < 0 ? (int)r : 0;
}

static void reader_init(struct loop_reader *reader, struct loop_file *file, const struct loop_reader_options *options,
                        loop_reader_cb *cb)
{
    uint64_t room = (uint64_t)(INT64_MAX - options->offset);

    reader->priv = (struct loop_reader_private){
        .task.run = run_task,
        .file = file,
        .cb = cb,
        .end = options->bytes_max == 0 || options->bytes_max > room ? INT64_MAX
                                                                    : options->offset + (int64_t)options->bytes_max,
        .chunk_bytes = options->chunk_bytes == 0 ? CHUNK_DEFAULT : options->chunk_bytes,
        .chunks_max = options->chunks_max == 0 ? CHUNKS_DEFAULT : options->chunks_max,
        .record_max = options->record_max == 0 ? RECORD_DEFAULT : options->record_max,
        .delimiter_size = (uint8_t)options->delimiter_size,
    };
    if (options->delimiter_size > 0)
        memcpy(reader->priv.delimiter, options->delimiter, options->delimiter_size);
    begin_at(reader, options->offset);
}

int loop_reader_start(struct loop_file *file, struct loop_reader *reader, const struct loop_reader_options *options,
                      loop_reader_cb *cb)
{
    struct loop         *loop = loop_file_loop(file);
    struct reader_chunk *chunks;
    uint32_t             chunks_max;
    int                  r;

    if (options == NULL)
        options = &defaults;
    r = check(file, reader, options, cb);
    if (r < 0)
        return r;
    loop_check_owner(loop, __func__);
    chunks_max = options->chunks_max == 0 ? CHUNKS_DEFAULT : options->chunks_max;
    chunks = memory_resize(loop, NULL, chunks_max * sizeof(chunks[0]));
    if (chunks == NULL)
        return -ENOMEM;
    reader_init(reader, file, options, cb);
    for (uint32_t i = 0; i < chunks_max; i++)
        chunks[i] = (struct reader_chunk){.reader = reader};
    reader->priv.chunks = chunks;
    object_open(loop, &reader->priv.object, &reader_class, true);
    work_later(reader);
    return 0;
}

static bool in_progress(const struct loop_reader *reader, const char *call)
{
    if (reader->priv.cb == NULL)
        return false;
    loop_check_owner(loop_of(reader), call);
    return true;
}

int loop_reader_pause(struct loop_reader *reader)
{
    if (!in_progress(reader, __func__))
        return -EINVAL;
    reader->priv.paused = true;
    return 0;
}

int loop_reader_resume(struct loop_reader *reader)
{
    if (!in_progress(reader, __func__))
        return -EINVAL;
    reader->priv.paused = false;
    work_later(reader);
    return 0;
}

int loop_reader_seek(struct loop_reader *reader, int64_t offset)
{
    if (offset < 0 || !in_progress(reader, __func__))
        return -EINVAL;
    if (reader->priv.finishing && reader->priv.result == 0)
        reader->priv.finishing = false; /* the end has not been told */
    reader->priv.seeking = true;
    reader->priv.position = offset;
    stop_reads(reader);
    work_later(reader);
    return 0;
}

int loop_reader_cancel(struct loop_reader *reader)
{
    if (!in_progress(reader, __func__))
        return -ENOENT;
    reader->priv.finishing = false; /* the end was known, and not told yet */
    finish(reader, -ECANCELED);
    work_later(reader);
    return 0;
}

int64_t loop_reader_position(const struct loop_reader *reader)
{
    return reader->priv.position;
}

struct loop_file *loop_reader_file(const struct loop_reader *reader)
{
    return reader->priv.file;
}
