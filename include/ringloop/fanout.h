/* ringloop/fanout.h: one payload to many sockets, or into many files, with one callback. Loop thread only.
 *
 * Life: zeroed > loop_fanout_send or loop_fanout_write > (loop_fanout_cancel) > callback; then it may be started anew.
 *
 * The structure, the payload and options->results are borrowed until the callback, which comes exactly once, never from
 * inside a call: when every target has ended and, with zero-copy, the kernel has let go of the payload. The descriptors
 * are copied; they must stay open until then. Nothing else should be sending on the sockets: two sends on one stream
 * may interleave; the same holds for a descriptor given twice. */
#ifndef RINGLOOP_FANOUT_H
#define RINGLOOP_FANOUT_H

#include <ringloop/timer.h>
#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

enum loop_fanout_mode {
    LOOP_FANOUT_AUTO,      /* by size and count; see below */
    LOOP_FANOUT_COPY,      /* plain sends: the kernel copies the payload once for each socket */
    LOOP_FANOUT_ZERO_COPY, /* zero-copy sends, see zero_copy.h; -EOPNOTSUPP without them */
};

enum loop_fanout_flags {
    LOOP_FANOUT_FIXED = 1u << 0,      /* the payload lies in registered buffer buf_index */
    LOOP_FANOUT_BACKGROUND = 1u << 1, /* it does not keep the loop alive */
};

struct loop_fanout_options {
    uint64_t timeout_ns LOOP_ZERO; /* 0: none. Targets that have no result by then are cancelled: -ETIMEDOUT */
    int32_t *results    LOOP_NONE; /* NULL, or one for each target: bytes taken, or the negative errno */
    uint32_t mode       LOOP_ZERO; /* enum loop_fanout_mode; of loop_fanout_write(): 0 */
    uint32_t flags      LOOP_ZERO; /* enum loop_fanout_flags; unknown bits give -EINVAL */
    int32_t msg_flags   LOOP_ZERO; /* MSG_* of the sends; of loop_fanout_write(): 0 */
    loop_buffer release LOOP_ZERO; /* takes this kept or lent buffer, which holds the payload */
    int32_t buf_index   LOOP_ZERO; /* with LOOP_FANOUT_FIXED */
};

/* Lent to the callback. */
struct loop_fanout_result {
    uint64_t bytes;     /* taken in all, those of failed targets included */
    uint32_t succeeded; /* targets that took the whole payload */
    uint32_t failed;    /* all others */
    uint32_t zero_copy; /* targets sent to without a copy by us */
    uint32_t copied;    /* of these, those for which the kernel says that it copied after all */
    int32_t  error;     /* of the first target that failed, 0 if none; -EIO: it took a part, for no reason known */
};

struct loop_fanout;
typedef void loop_fanout_cb(struct loop_fanout *fanout, const struct loop_fanout_result *result);

struct loop_fanout {
    void *data; /* yours; the library never reads it */
    struct loop_fanout_private {
        struct loop               *loop; /* NULL: not started */
        struct loop_fanout_target *targets;
        const void                *payload;
        loop_fanout_cb            *cb;
        int32_t                   *results;
        struct loop_timer          timer;
        struct loop_fanout_result  result;
        uint32_t                   size, count, pending;
        uint32_t                   state;
        int32_t                    msg_flags;
        loop_buffer                release;
        uint16_t                   buf_index;
        uint16_t                   copy_rounds; /* left of those in which AUTO copies */
    } priv;
};

/* Sends size bytes (1 to 2^31 - 1) to each of count sockets. options may be NULL.
 *
 * LOOP_FANOUT_AUTO uses zero-copy for payloads of at least LOOP_FANOUT_ZERO_COPY_BYTES, in a registered buffer
 * LOOP_FANOUT_FIXED_BYTES, to at least LOOP_FANOUT_ZERO_COPY_TARGETS sockets. Where that is refused (-EOPNOTSUPP, as
 * AF_UNIX does, or -ENOMEM at RLIMIT_MEMLOCK) it sends to that target again by copying. When the kernel says that it
 * copied for most targets after all (kernel 6.3; loopback always does), the next LOOP_FANOUT_COPY_ROUNDS rounds of this
 * structure copy at once.
 *
 * Returns 0, or a negative errno, and then nothing was started and nothing is called: -EINVAL, -EBADF (a descriptor is
 * negative), -EBUSY (in use), -ENOBUFS (more targets than ops_max leaves room for), -ENOMEM, -EOPNOTSUPP, -ECANCELED
 * (the loop is being destroyed). A target that fails by itself makes no difference to the others. */
LOOP_API LOOP_MUST_USE int loop_fanout_send(struct loop *loop, struct loop_fanout *fanout, const int *fds,
                                            uint32_t count, const void *payload, size_t size,
                                            const struct loop_fanout_options *options, loop_fanout_cb *cb);

/* Where AUTO begins: about twice the size from which doing without a copy can pay; see docs/zero-copy.md. */
enum {
    LOOP_FANOUT_ZERO_COPY_BYTES = 131072,
    LOOP_FANOUT_FIXED_BYTES = 65536,
    LOOP_FANOUT_ZERO_COPY_TARGETS = 2,
    LOOP_FANOUT_COPY_ROUNDS = 63,
};

struct loop_fanout_file {
    int     fd;
    int64_t offset; /* LOOP_AT_POSITION: the file's position, which moves on; less: -EINVAL */
};

/* Writes the payload into each of count files at its offset. What a file takes in part is gone on with until it has all
 * of it, or an error. Otherwise as loop_fanout_send(). */
LOOP_API LOOP_MUST_USE int loop_fanout_write(struct loop *loop, struct loop_fanout *fanout,
                                             const struct loop_fanout_file *files, uint32_t count, const void *payload,
                                             size_t size, const struct loop_fanout_options *options,
                                             loop_fanout_cb *cb);

/* Asks that all targets without a result end: -ECANCELED, or what they took until then. The callback still comes.
 * Returns 0, also when asked before, or -ENOENT if nothing is going on. */
LOOP_API int loop_fanout_cancel(struct loop_fanout *fanout);

/* Whether its callback is still to come. */
LOOP_API bool loop_fanout_active(const struct loop_fanout *fanout);

LOOP_END_DECLS

#endif
