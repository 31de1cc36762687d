/* loop/buffer_group.h: what a buffer group is, for the modules that make, fill and empty it.
 *
 * A group is a ring of buffers shared with the kernel. What a handle names is a part: in plain groups a whole buffer,
 * in incremental ones a piece of a buffer, in the group of copies a block of the heap. A part is home (not out), lent
 * to the callback that runs, kept by the user, or given to an operation. */
#ifndef RINGLOOP_LOOP_BUFFER_GROUP_H
#define RINGLOOP_LOOP_BUFFER_GROUP_H

#include "loop/loop_private.h"

enum buffer_state { BUFFER_HOME, BUFFER_LENT, BUFFER_KEPT, BUFFER_GIVEN };

struct buffer_part {
    char       *data;
    uint64_t    holder;      /* user_data of the operation that received it; 0: none */
    loop_buffer handle;      /* its name while it is out; of one that is home: the next name */
    loop_buffer note_next;   /* notes of the owner while it is out */
    uint32_t    bytes;       /* how many are meant; of a plain buffer only noted */
    loop_buffer bundle_next; /* the next of the same completion, until its callback has returned */
    uint16_t    bid;         /* incremental: of which buffer */
    uint16_t    after;       /* plain: the buffer provided after this one */
    uint32_t    free_next;   /* of a free part that is not bound to a buffer: 1 + the next one; 0: none */
    uint8_t     state;       /* enum buffer_state */
    uint8_t     state_before_given;
    bool        lost; /* plain: perhaps no more in the ring, though not out */
};

/* Incremental: how far the kernel has filled a buffer, and how much of it is out. */
struct buffer_fill {
    uint32_t offset, parts;
    bool     used_up; /* the kernel is done with it */
};

enum buffer_group_kind {
    BUFFER_PLAIN,
    BUFFER_INCREMENTAL,
    BUFFER_OUTGOING, /* of the user's memory, to be sent */
    BUFFER_HEAP,     /* no group of the kernel's: copies of data that has to wait long */
};

struct buffer_group {
    enum buffer_group_kind    kind;
    uint16_t                  number;
    struct io_uring_buf_ring *ring;
    struct buffer_part       *parts;
    struct buffer_fill       *fills;
    char                     *memory;
    uint32_t                  count, size; /* of the ring */
    uint32_t                  home;        /* buffers that the kernel may pick */
    uint32_t                  out;         /* parts */
    uint32_t                  parts_count;
    uint32_t                  parts_free; /* 1 + the first free part that is not bound to a buffer; 0: none */
    uint16_t                  tail;
    struct buffer_part       *last; /* plain: the buffer provided last */
    struct context_link       parked;
    uint32_t                  parked_count;
    struct loop_task          unpark;
    uint64_t                  parked_ever, empty_ever, stood_back;
    /* Outgoing. */
    uint16_t                  head, published; /* what was taken, and up to where the kernel may take */
    uint64_t                  bytes_waiting;
    uint64_t                  sender;             /* user_data of the operation that sends; 0: none yet */
    uint32_t bytes_sent, bytes_gone, pieces_gone; /* of that operation; gone: out of the group, sent or not */
};

enum { BUFFER_PARTS_MAX = 65536, BUFFER_PAGE = 4096 };

/* The first name of a part that is made now: in a group that is made now, none of those in an earlier one of its
 * number. */
loop_buffer buffer_handle_first(const struct loop *loop, const struct buffer_group *group, uint32_t index);

/* Puts a buffer into the ring: the kernel may pick it from now on. A plain one is its own part. */
void buffer_provide(struct buffer_group *group, uint16_t bid, char *memory);
void buffer_provide_plain(struct buffer_group *group, struct buffer_part *part, uint16_t bid);

/* Makes room for more parts: false without memory or at the limit. */
bool buffer_parts_grow(struct loop *loop, struct buffer_group *group);

/* A part is kept or given (change 1), or is so no more (-1): it counts for the operation that received it. */
void buffer_held(struct loop *loop, struct buffer_group *group, const struct buffer_part *part, int change);

/* A buffer came home: receives that wait may go on. */
void buffer_feed_waiting(struct loop *loop, struct buffer_group *group);

static inline void buffer_feed(struct loop *loop, struct buffer_group *group)
{
    if (unlikely(group->parked_count > 0) && group->home > 0)
        buffer_feed_waiting(loop, group);
}

static inline struct buffer_group *buffer_group_of(const struct loop *loop, uint16_t number)
{
    return number < BUFFER_GROUPS_MAX ? loop->groups[number] : NULL;
}

#endif
