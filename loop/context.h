/* loop/context.h: the context pool: what the loop knows of each operation in flight.
 *
 * A context is one cache line. An extended one goes on with a saved SQE, caller data and memory that the kernel reads
 * when the SQE is submitted. Slots are named by user_data with a generation, which moves on when the operation has
 * ended, so that stale completions find nobody. */
#ifndef RINGLOOP_LOOP_CONTEXT_H
#define RINGLOOP_LOOP_CONTEXT_H

#include "loop/base.h"
#include "loop/user_data.h"
#include "loop/wheel.h"
#include "loop/work.h"

#include <liburing.h>
#include <ringloop/types.h>

/* How completions of it are treated. */
enum context_kind {
    CONTEXT_ONE_SHOT,
    CONTEXT_LENDING,   /* one-shot, into or out of buffers that the kernel picks from a group */
    CONTEXT_RAW,       /* may complete often; ends when the kernel says so */
    CONTEXT_WORK,      /* a function for the work pool; always extended */
    CONTEXT_ZERO_COPY, /* two completions: the result, then the notification that the memory is free */
    CONTEXT_RECV_ZC,   /* zero-copy receive: many completions of 32 bytes; armed again by zcrx.c */
    /* From here on multishots: armed again as long as nothing is wrong. */
    CONTEXT_ACCEPT,
    CONTEXT_RECV,
    CONTEXT_RECVMSG,
    CONTEXT_READ,
    CONTEXT_POLL,
    CONTEXT_POLL_LEVEL, /* one-shots in a row, in place of the level-triggered poll that the kernel lacks */
    CONTEXT_TIMEOUT,
};

enum context_state {
    CONTEXT_FREE,
    CONTEXT_ACTIVE,  /* the kernel has it, or will when the SQ is submitted */
    CONTEXT_RESTING, /* a multishot that the kernel has ended, about to be armed again */
    CONTEXT_PROBING, /* a receive without a buffer: the kernel looks whether data, an end or an error stands next */
    CONTEXT_PARKED,  /* a receive with data but without a buffer to put it in */
    CONTEXT_PAUSED,  /* a multishot that the user lets rest */
    CONTEXT_HELD,    /* waits behind a barrier; its SQE is saved */
    CONTEXT_SETTLED, /* its result is known, its callback still to come */
    CONTEXT_WORKING, /* the work pool has it: no completion is to come */
};

enum context_flags {
    CONTEXT_DEADLINE = 1u << 0, /* deadline is in the wheel */
    CONTEXT_LINKED = 1u << 1,   /* a linked timeout follows its SQE */
    CONTEXT_EXPIRED = 1u << 2,
    CONTEXT_CANCELED = 1u << 3, /* its end has been asked for */
    CONTEXT_BACKGROUND = 1u << 4,
    CONTEXT_CHAINED = 1u << 5,
    CONTEXT_WAITING = 1u << 6,       /* a link of a chain, behind another that has not ended */
    CONTEXT_CANCEL_OWED = 1u << 7,   /* the kernel is to be asked again */
    CONTEXT_PAUSING = 1u << 8,       /* its end was asked for in order to let it rest */
    CONTEXT_FIXED_RESULT = 1u << 9,  /* extended: its result is a slot of the registered files */
    CONTEXT_OBJECT = 1u << 10,       /* belongs to an object, whose business it is to cancel it */
    CONTEXT_BARRED = 1u << 11,       /* a barrier waits for its end */
    CONTEXT_RESULT_SEEN = 1u << 12,  /* zero-copy: the result has been told */
    CONTEXT_RELEASE_SEEN = 1u << 13, /* zero-copy: the notification has come */
    CONTEXT_RESUMING = 1u << 14,     /* with CONTEXT_PAUSING: it shall go on after all */
    CONTEXT_COMPLETED = 1u << 15,    /* its last completion has been seen where it waits to be dispatched */
};

struct context_link {
    struct context_link *next, *prev;
};
LIST_DEFINE(context, struct context_link)

/* What arms a multishot again, where no SQE is saved, and where it stands while it waits for a buffer. */
struct context_arm {
    union {
        struct context_link link;
        struct {
            void       *data;
            loop_buffer buffer;
            uint32_t    flags; /* enum loop_result_flags */
        } held;                /* a message without bytes, until it is known whether it is one */
    };
    uint32_t op_flags; /* MSG_*, SOCK_* or poll events */
    uint32_t len;
    uint8_t  ioprio;
    uint8_t  run; /* results in a row that said that there was more; no further than multishot.c needs to know */
    uint16_t group;
    uint16_t kept; /* buffers that the user keeps of what it has received */
    uint8_t  sqe_flags;
    bool     in_extended   : 1; /* which of its two places this is */
    bool     fed           : 1; /* it has received something since it was armed */
    bool     standing_back : 1; /* its end was asked for, so that others get buffers */
    uint8_t  probe         : 4; /* what a probe has asked the kernel */
};

/* What another thread has started and the loop's own has not seen yet. Its context still counts as free. */
struct context_start {
    uint64_t timeout_ns;
    uint32_t terms_flags;
    uint16_t flags; /* enum context_flags */
    uint16_t group;
    uint8_t  kind;
    bool     wide, direct;
};

struct context_settled {
    struct loop_task task;
    int32_t          res;
    uint32_t         flags;
};

/* Once one of the two completions of a zero-copy send is there, deadline and chain are over. */
struct context_zero_copy {
    int32_t res;    /* with CONTEXT_RESULT_SEEN: as the kernel gave it */
    bool    copied; /* with CONTEXT_RELEASE_SEEN */
};

struct loop_zcrx;

struct context {
    uint64_t id; /* user_data of the present, or next, operation */
    union {
        struct {
            uint8_t  state : 4; /* enum context_state */
            uint8_t  kind  : 4; /* enum context_kind */
            uint8_t  opcode;
            uint16_t flags; /* enum context_flags */
            int32_t  fd;    /* with LOOP_FIXED_FLAG where it is one */
        };
        uint64_t brief; /* all of them at once */
    };
    loop_cb *cb;
    void    *arg; /* of a free context: the next free one */
    union {
        struct loop_timer_node   deadline;
        struct context_arm       arm;
        struct context_settled   settled;
        struct context_zero_copy zero_copy;
        struct context_start     start;
        uint64_t                 chain_next; /* the operation behind it in a chain */
    };
};

enum { CONTEXT_NAME_BYTES = 128, CONTEXT_IOV_INLINE = 4 };

struct context_extended {
    struct context           base;
    struct io_uring_sqe      sqe; /* saved: to arm a multishot again, to start what was held */
    struct __kernel_timespec timespec;
    void                    *heap;    /* freed with the context */
    loop_buffer              release; /* to be given back afterwards; 0: none */
    uint16_t                 extra_size;
    bool                     message; /* msg is a result */
    struct context_arm       arm;     /* base.deadline may be in use */
    _Alignas(16) uint8_t extra[LOOP_EXTRA_BYTES_MAX];
    union {
        struct sockaddr_storage address;
        char                    storage[CONTEXT_NAME_BYTES];
        struct loop_zcrx       *zcrx; /* CONTEXT_RECV_ZC: what it receives through */
        struct {
            struct msghdr msg;
            struct iovec  iov[CONTEXT_IOV_INLINE];
        };
        struct work_item work;
    };
};
_Static_assert(sizeof(struct context) == 64, "one cache line");
_Static_assert(sizeof(struct context_extended) % 64 == 0, "whole cache lines");
_Static_assert(sizeof(struct sockaddr_storage) == CONTEXT_NAME_BYTES, "any address fits");

struct context_slabs {
    struct context **slabs;
    struct context  *free;
    uint32_t         slab_count, slab_room;
};

struct shared;

struct context_pool {
    struct context_slabs plain, extended;
    struct shared       *shared; /* has further extended ones, which other threads take */
    uint64_t             bytes;
};

/* Slots of those. No other loop can have as many contexts. */
enum { CONTEXT_SHARED_SLOT = 1 << 28 };

enum { CONTEXT_SLAB_SHIFT = 6, CONTEXT_SLAB_COUNT = 1 << CONTEXT_SLAB_SHIFT };

struct loop;

void context_pool_destroy(struct loop *loop);

/* The limit of operations is the caller's to check. NULL without memory. */
struct context          *context_new(struct loop *loop);
struct context_extended *context_new_extended(struct loop *loop);

/* Adds a slab of contexts whose slots begin at first_slot; *ret_bytes grows by its size. */
int  context_slab_add(struct loop *loop, struct context_slabs *slabs, enum user_data_mode mode, uint32_t first_slot,
                      uint64_t *bytes);
void context_slabs_destroy(struct loop *loop, struct context_slabs *slabs);

/* Makes sure that count contexts of each kind can be had without fail: 0 or -ENOMEM. */
int context_reserve(struct loop *loop, uint32_t count);
int context_reserve_plain(struct loop *loop, uint32_t count); /* only those that are not extended */

/* Retires the id: later completions of it are stale. The memory stays as it is until context_free. */
static inline void context_retire(struct context *context)
{
    context->id = user_data_next_generation(context->id);
    context->state = CONTEXT_FREE;
}
void context_free(struct loop *loop, struct context *context);

/* The context of an operation in flight, else NULL. */
struct context *context_find(const struct context_pool *pool, uint64_t user_data);

/* As context_find, from what user_data_to_value() kept of it. */
struct context *context_find_value(const struct context_pool *pool, uint64_t value);

/* The next context in use from *slot on (over plain, then extended ones), advancing *slot; NULL at the end. */
struct context *context_walk(const struct context_pool *pool, uint64_t *slot);

static inline bool context_is_extended(const struct context *context)
{
    return user_data_mode(context->id) == UD_EXTENDED;
}

static inline bool context_is_shared(const struct context *context)
{
    return (user_data_slot(context->id) & CONTEXT_SHARED_SLOT) != 0;
}

static inline struct context_extended *context_extended(struct context *context)
{
    return container_of(context, struct context_extended, base);
}

/* One-shot, in flight, without flags: nothing to see to but its callback. Opcode, descriptor and whether it belongs to
 * an object do not matter. */
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
enum { BRIEF_STATE = 60, BRIEF_KIND = 56, BRIEF_OPCODE = 48, BRIEF_FLAGS = 32, BRIEF_FD = 0 };
#else
enum { BRIEF_STATE = 0, BRIEF_KIND = 4, BRIEF_OPCODE = 8, BRIEF_FLAGS = 16, BRIEF_FD = 32 };
#endif
static const uint64_t context_brief_simple = (uint64_t)CONTEXT_ACTIVE << BRIEF_STATE | (uint64_t)CONTEXT_ONE_SHOT
                                                                                           << BRIEF_KIND;
static const uint64_t context_brief_looked_at =
    ~(UINT64_C(0xff) << BRIEF_OPCODE | UINT64_C(0xffffffff) << BRIEF_FD | (uint64_t)CONTEXT_OBJECT << BRIEF_FLAGS);

static inline uint64_t context_brief_of(uint8_t opcode, int32_t fd)
{
    return context_brief_simple | (uint64_t)opcode << BRIEF_OPCODE | (uint64_t)(uint32_t)fd << BRIEF_FD;
}

static inline bool context_is_simple(const struct context *context)
{
    return (context->brief & context_brief_looked_at) == context_brief_simple;
}

/* The same with a deadline. */
static inline bool context_is_simple_but_deadline(const struct context *context)
{
    return (context->brief & context_brief_looked_at) ==
           (context_brief_simple | (uint64_t)CONTEXT_DEADLINE << BRIEF_FLAGS);
}

static inline bool context_is_multishot(const struct context *context)
{
    return context->kind >= CONTEXT_ACCEPT;
}

static inline struct context_arm *context_arm(struct context *context)
{
    return context_is_extended(context) ? &context_extended(context)->arm : &context->arm;
}

static inline struct context *context_of_link(struct context_link *link)
{
    struct context_arm *arm = container_of(link, struct context_arm, link);

    return arm->in_extended ? &container_of(arm, struct context_extended, arm)->base
                            : container_of(arm, struct context, arm);
}

static inline struct context *context_in_slab(const struct context_slabs *slabs, uint32_t slot, size_t size)
{
    char *slab = (char *)slabs->slabs[slot >> CONTEXT_SLAB_SHIFT];

    return (struct context *)(void *)(slab + (slot & (CONTEXT_SLAB_COUNT - 1)) * size);
}

/* The short way to an indirect one. NULL if there is none, or another. */
static inline struct context *context_find_indirect(const struct context_pool *pool, uint64_t user_data)
{
    uint32_t        slot = user_data_slot(user_data);
    struct context *context;

    if (unlikely(slot >> CONTEXT_SLAB_SHIFT >= pool->plain.slab_count))
        return NULL;
    context = context_in_slab(&pool->plain, slot, sizeof(struct context));
    return context->id == user_data ? context : NULL;
}

#endif
