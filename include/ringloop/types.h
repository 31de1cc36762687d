/* ringloop/types.h: what every other header needs: ids, results, callbacks, terms.
 *
 * Words used for memory in all headers:
 *   copies          yours again when the call returns
 *   borrows         ours until the (final) callback has been called, then yours again
 *   takes           ours for good if the call succeeds, still yours if it fails
 *   lends           ours, valid inside the callback only, unless you keep it
 *
 * Errors are negative errno values everywhere; a call that fails leaves its outputs untouched.
 * Unless a function says otherwise it may be called only on the thread that runs the loop, or before
 * the first loop_run(); breaking that rule aborts the process with a message that names the call. */
#ifndef RINGLOOP_TYPES_H
#define RINGLOOP_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define LOOP_BEGIN_DECLS extern "C" {
#define LOOP_END_DECLS   }
#else
#define LOOP_BEGIN_DECLS
#define LOOP_END_DECLS
#endif

/* Members that C++ may leave out of an initialiser without a warning. */
#ifdef __cplusplus
#define LOOP_ZERO  = 0
#define LOOP_NONE  = nullptr
#define LOOP_EMPTY = {}
#else
#define LOOP_ZERO
#define LOOP_NONE
#define LOOP_EMPTY
#endif

#define LOOP_API      __attribute__((visibility("default")))
#define LOOP_MUST_USE __attribute__((warn_unused_result))

LOOP_BEGIN_DECLS

struct loop;
struct msghdr;

/* > 0 names one operation until its final callback; < 0 is a negative errno; 0 names nothing. */
typedef int64_t loop_id;

/* A buffer of a buffer group, lent with a result; 0 is none. See buffer.h. */
typedef uint32_t loop_buffer;

#define LOOP_MICROSECOND UINT64_C(1000)
#define LOOP_MILLISECOND UINT64_C(1000000)
#define LOOP_SECOND      UINT64_C(1000000000)

/* A registered ("fixed") file is written LOOP_FIXED(slot) wherever an operation takes a descriptor. */
#define LOOP_FIXED_FLAG  (1 << 30)
#define LOOP_FIXED(slot) (LOOP_FIXED_FLAG | (slot))

enum loop_result_flags {
    LOOP_MORE = 1u << 0,          /* not the final callback of this operation: more will come */
    LOOP_TIMED_OUT = 1u << 1,     /* its deadline passed; res is -ETIMEDOUT, or what was done until then */
    LOOP_BUFFER = 1u << 2,        /* data and buffer describe a lent buffer */
    LOOP_SOCK_NONEMPTY = 1u << 3, /* the socket had more to read, or to accept, after this (kernel hint) */
    LOOP_RELEASED = 1u << 4,      /* zero-copy: the kernel has let go of the memory; res is the result once more */
    LOOP_COPIED = 1u << 5,        /* with LOOP_RELEASED: the kernel had copied it after all */
    LOOP_BUNDLE = 1u << 6,        /* the data goes on in further buffers: loop_bundle_next() */
    LOOP_BUFFER_MORE = 1u << 7,   /* with LOOP_BUFFER: the kernel goes on filling this buffer (incremental groups) */
    LOOP_CQE32 = 1u << 8,         /* data points to the 16 bytes behind a CQE of 32 bytes */
};

/* What one callback is told. Valid inside the callback only. */
struct loop_result {
    loop_id  id;    /* the operation; already retired if this is the final callback */
    int32_t  res;   /* >= 0: what the system call of that name returns; else negative errno */
    uint32_t flags; /* enum loop_result_flags */
    void    *data;  /* with LOOP_BUFFER: the res bytes received, lent; with LOOP_CQE32: 16 bytes, lent */
    void    *extra; /* the operation's own copy of loop_terms.data, lent; NULL without */
    union {
        uint64_t             value;   /* direct mode: what the starting call was given; send bundles: pieces; else 0 */
        const struct msghdr *message; /* recvmsg: name, control data and flags as received, lent; else NULL */
    };
    loop_buffer buffer;    /* with LOOP_BUFFER: the buffer that holds data; goes back by itself afterwards */
    uint32_t    cqe_flags; /* loop_raw(), direct mode: the flags of the CQE as the kernel gave them */
};

/* Called on the loop's thread, from inside loop_run() (or loop_destroy()), never from inside a call that
 * starts, cancels or closes something. The callback may do anything except run or destroy the loop. */
typedef void loop_cb(struct loop *loop, const struct loop_result *result, void *arg);

/* Parts of the objects that are embedded in your memory; not for use. */
struct loop_task {
    struct loop_task *next, *prev;
    void (*run)(struct loop *loop, struct loop_task *task);
};
struct loop_object_class;
struct loop_object {
    struct loop_object             *next, *prev;
    struct loop                    *loop;
    const struct loop_object_class *object_class;
};

enum loop_terms_flags {
    LOOP_LINKED_TIMEOUT = 1u << 0, /* the kernel keeps the deadline (a linked timeout), dearer; not for multishots */
    LOOP_BACKGROUND = 1u << 1,     /* the operation does not keep the loop alive */
    LOOP_EXTENDED = 1u << 2,       /* use an extended context even where a smaller one would do */
    /* accept, recv, send: wait for readiness before the first attempt; others: -EINVAL. Of a multishot receive that is
     * started when data and the end, or a reset, are there together, the kernel (6.18) never tells the end. */
    LOOP_POLL_FIRST = 1u << 3,
    LOOP_ASYNC = 1u << 4,     /* hand it to a kernel worker at once (IOSQE_ASYNC); on a multishot: -EINVAL */
    LOOP_UNCHAINED = 1u << 5, /* not part of the chain that is open just now */
    LOOP_LEND = 1u << 6,      /* read, recv: into a buffer of .group, lent with the result; buf is NULL */
    LOOP_BARRIER = 1u << 7,   /* held back until all one-shot operations started before it have ended */
};

enum { LOOP_EXTRA_BYTES_MAX = 64 };

/* How one operation shall run. NULL or all-zero: no deadline, keeps the loop alive, nothing else. */
struct loop_terms {
    uint64_t timeout_ns  LOOP_ZERO; /* 0: none. Then the operation is cancelled and ends with -ETIMEDOUT */
    uint32_t flags       LOOP_ZERO; /* enum loop_terms_flags; unknown bits give -EINVAL */
    loop_buffer release  LOOP_ZERO; /* takes this kept or lent buffer: it goes back after the final callback */
    const void *data     LOOP_NONE; /* copies data_size bytes; the callback finds them at result->extra */
    uint32_t data_size   LOOP_ZERO; /* at most LOOP_EXTRA_BYTES_MAX, else -EINVAL */
    uint16_t group       LOOP_ZERO; /* with LOOP_LEND: the buffer group; without: 0, else -EINVAL */
    uint16_t personality LOOP_ZERO; /* credentials registered by loop_personality_register(); 0: the thread's own */
};

#ifdef __cplusplus
LOOP_END_DECLS
/* A temporary lives until the end of the full expression, that is: until the call has returned. */
static inline const loop_terms *loop_terms_address(const loop_terms &terms)
{
    return &terms;
}
#define LOOP_TERMS(...) loop_terms_address(__extension__ loop_terms{__VA_ARGS__})
LOOP_BEGIN_DECLS
#else
#define LOOP_TERMS(...) (&(const struct loop_terms){__VA_ARGS__})
#endif

LOOP_END_DECLS

#endif
