/* ringloop/reader.h: reading a file from one place on, ahead of who wants it: by chunks, or up to delimiters. Loop
 * thread only.
 *
 * Life: zeroed > loop_reader_start > callbacks > the last one; then it may be started anew, also in that.
 *
 * Several reads are in flight, into buffers of the reader's own; what they give is delivered in order. The first is
 * alone, and each full chunk doubles their number, so that a small file costs one. The file's own position is neither
 * used nor moved: any number of readers may work on one file. Pipes and the like, which have no offsets, are read as
 * streams (stream.h). */
#ifndef RINGLOOP_READER_H
#define RINGLOOP_READER_H

#include <ringloop/file.h>
#include <ringloop/types.h>

LOOP_BEGIN_DECLS

struct loop_reader;
struct reader_chunk;

/* data: size bytes (at least 1), lent: a chunk, or all up to a delimiter and that too; what stands behind the last
 * delimiter comes without one. data NULL: the last callback. Then error is 0 at the end of the file, or of bytes_max;
 * -ECANCELED; -EMSGSIZE: no delimiter in record_max bytes; or what reading gave. All that was read before an error is
 * delivered before it. */
typedef void loop_reader_cb(struct loop_reader *reader, int error, const void *data, size_t size);

enum { LOOP_READER_DELIMITER_MAX = 16 };

/* { 0 }, or NULL, is valid and the default. */
struct loop_reader_options {
    int64_t offset          LOOP_ZERO; /* where to begin */
    uint64_t bytes_max      LOOP_ZERO; /* so many bytes from there, at most; 0: all */
    uint32_t chunk_bytes    LOOP_ZERO; /* of one read; 0: 64 KiB; at most 16 MiB. Buffers are aligned for O_DIRECT; then
                                        * this, offset and bytes_max must be multiples of its alignment */
    uint32_t chunks_max     LOOP_ZERO; /* buffers, and so reads in flight; 0: 4; at most 64 */
    const void *delimiter   LOOP_NONE; /* copies; NULL: by chunks */
    uint32_t delimiter_size LOOP_ZERO; /* at most LOOP_READER_DELIMITER_MAX */
    uint32_t record_max     LOOP_ZERO; /* bytes up to a delimiter; 0: 1 MiB */
};

struct loop_reader {
    void *data; /* yours; the library never reads it */
    struct loop_reader_private {
        struct loop_object   object;
        struct loop_task     task;
        struct loop_file    *file;
        loop_reader_cb      *cb; /* NULL: not in use */
        struct reader_chunk *chunks;
        char                *carry; /* the beginning of a record */
        size_t               carry_size, carry_room;
        int64_t              position, next, end; /* delivered up to; to be read next; where it ends */
        uint32_t             chunk_bytes, chunks_max, record_max;
        uint32_t             first, count, window; /* chunks in use, and how many may be */
        uint32_t             at;                   /* delivered of the first */
        uint32_t             reading;              /* reads in flight */
        int                  result;
        uint8_t              delimiter_size;
        char                 delimiter[LOOP_READER_DELIMITER_MAX];
        bool                 paused, seeking, ended, finishing;
    } priv;
};

/* Starts reading. Borrows reader and file, which must stay open, until the last callback; it keeps the loop alive until
 * then, also while it is paused. Returns 0, -EINVAL (no cb; options that make no sense; the file is not open), -EBUSY
 * (in use), -ESPIPE (the file has no offsets), -ENOMEM, -ECANCELED (the loop is being destroyed), and calls back
 * never. */
LOOP_API LOOP_MUST_USE int loop_reader_start(struct loop_file *file, struct loop_reader *reader,
                                             const struct loop_reader_options *options, loop_reader_cb *cb);

/* No callback comes until the resume, but for the last one after a cancel; what is in flight is read and kept. Return
 * 0, also when paused or resumed already; -EINVAL if not in progress. */
LOOP_API int loop_reader_pause(struct loop_reader *reader);
LOOP_API int loop_reader_resume(struct loop_reader *reader);

/* Goes on from offset, with what stands there then: nothing read ahead is used. bytes_max keeps its end; a place behind
 * that, or behind the file's, is the end. Returns 0, or -EINVAL (negative, not in progress). */
LOOP_API int loop_reader_seek(struct loop_reader *reader, int64_t offset);

/* The last callback comes with -ECANCELED, when the reads in flight have ended. Returns 0, or -ENOENT if it is not in
 * progress. */
LOOP_API int loop_reader_cancel(struct loop_reader *reader);

/* The offset behind all that was delivered; also in the last callback. */
LOOP_API int64_t           loop_reader_position(const struct loop_reader *reader);
LOOP_API struct loop_file *loop_reader_file(const struct loop_reader *reader);

LOOP_END_DECLS

#endif
