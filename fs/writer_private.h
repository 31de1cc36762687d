/* fs/writer_private.h: the merging writer's state, and what its four files have for each other.
 *
 * A write is QUEUED, then in the BATCH (sorted, its runs leave one after the other as there is room), then in a run
 * that is IN FLIGHT; all these are live. Then it has landed and perhaps waits for a sync, and then it is told. */
#ifndef RINGLOOP_FS_WRITER_PRIVATE_H
#define RINGLOOP_FS_WRITER_PRIVATE_H

#include "loop/loop_private.h"

#include <ringloop/writer.h>

enum {
    WRITER_PIECES_MAX = 1024, /* in one write, and in one batch: IOV_MAX */
};

enum write_flags {
    WRITE_BIG = 1 << 0,      /* not a block */
    WRITE_BATCHED = 1 << 1,  /* not in the queue any more */
    WRITE_STARTED = 1 << 2,  /* in a run that has left, or is about to */
    WRITE_CANCELED = 1 << 3, /* in the batch; ends when its turn comes */
    WRITE_SYNC = 1 << 4,     /* no write, but somebody's wish for a sync */
};

struct writer_write {
    struct writer_write *next, *prev; /* of the live: in the order they were queued */
    struct writer_write *behind;      /* in the batch, its run, or a writer_list */
    struct iovec        *iov;         /* what is left of it: iov_count pieces, size - done bytes */
    uint32_t             iov_count, size, done;
    int                  error;
    uint64_t             offset; /* of its first byte */
    uint64_t             order;
    loop_writer_cb      *cb;
    void                *arg;
    struct iovec         piece; /* iov of a write of one piece */
    loop_buffer          release;
    uint32_t             flags; /* enum write_flags */
};
_Static_assert(sizeof(struct writer_write) == 104, "what is left of a block is for bytes");

LIST_DEFINE(live, struct writer_write)

/* Linked through behind. */
struct writer_list {
    struct writer_write *first, *last;
};

/* A place for a run; free if first is NULL. */
struct writer_run {
    struct writer_core  *core;
    struct writer_write *first; /* that has not landed */
    loop_id              id;    /* in flight; 0: to be started, again or for the rest */
    uint64_t             begin, end;
    uint32_t             attempt; /* writes in the vectored write in flight */
    bool                 alone;   /* it has failed as a whole: its writes go one by one */
    bool                 parents; /* this is the child of a fork: the parent lets it land */
};

enum writer_state {
    /* enum loop_writer_flags below */
    WRITER_CLOSING = 1u << 16,
    WRITER_DUE = 1u << 17,  /* what is queued leaves as soon as it can */
    WRITER_FULL = 1u << 18, /* so on_water was told */
    WRITER_HELD = 1u << 19, /* keeps the loop alive */
    WRITER_FORKED = 1u << 20,
};

struct writer_core {
    struct loop_writer        *writer;
    struct loop               *loop;
    struct loop_task           task;
    struct loop_timer          deadline;
    struct loop_writer_options options;
    struct loop_writer_stats   stats;
    struct writer_write        live;
    struct writer_write       *queued;  /* the first of the live that is not in the batch; &live: none */
    struct writer_write       *batch;   /* in the order they are to leave */
    struct writer_list         landed;  /* wait for a sync to begin */
    struct writer_list         syncing; /* for the one in flight to end */
    struct writer_list         told;    /* have ended: their callbacks come next */
    uint64_t                   order;
    uint64_t                   position;
    uint64_t                   queued_bytes; /* those that are not in the batch, and their pieces */
    uint32_t                   queued_pieces;
    uint32_t                   pending; /* writes and syncs that have not been told */
    uint32_t                   runs_busy;
    uint32_t                   state; /* enum writer_state */
    int                        fd;
    int                        error;      /* first of a write since the last sync */
    int                        sync_error; /* of the first sync that failed; 0: none */
    loop_id                    sync_id, close_id;
    struct writer_run          runs[];
};

static inline bool writer_is(const struct writer_core *core, uint32_t state)
{
    return (core->state & state) != 0;
}

static inline void writer_work(struct writer_core *core)
{
    loop_task_add(core->loop, &core->task);
}

static inline struct writer_write *writer_list_pop(struct writer_list *list)
{
    struct writer_write *first = list->first;

    if (first != NULL)
        list->first = first->behind;
    return first;
}

/* ---- writer_queue.c */

/* Its bytes are copied into it, or borrowed. NULL without memory. count 0: a sync. */
struct writer_write *writer_write_new(struct loop *loop, const struct iovec *iov, size_t count, size_t size, bool copy);
void                 writer_write_free(struct loop *loop, struct writer_write *write);
/* What is given with a buffer and is no larger is copied. */
extern const size_t  writer_copied_size;

/* Skips what has landed of it: not more than there is. */
void writer_write_advance(struct writer_write *write, size_t bytes);

/* Makes a batch of the oldest that are queued; there is none. */
void writer_batch_make(struct writer_core *core);

/* Out of the live: it has landed, failed, or was cancelled. Nothing is called back. */
void writer_write_ends(struct writer_core *core, struct writer_write *write, int error);

/* Syncs before which all has ended. Each is told of what failed since the one before. */
void writer_syncs_due(struct writer_core *core);

void writer_list_append(struct writer_list *list, struct writer_write *write);

/* ---- writer_run.c */

/* Starts what can be started: runs, a sync. */
void writer_runs_work(struct writer_core *core);
void writer_sync_work(struct writer_core *core);

/* In the child of a fork: all runs end. */
void writer_runs_drop(struct writer_core *core);

/* ---- writer_write.c: ends those that have not left, made with arg, or all. Returns how many. */
int writer_end_queued(struct writer_core *core, bool all, const void *arg, int error);

/* ---- writer.c */

/* Calls back for all that have ended. */
void writer_tell(struct writer_core *core);

/* Whether it keeps the loop alive may have changed. */
void writer_hold_update(struct writer_core *core);

/* What is queued leaves as soon as it can. */
void writer_due(struct writer_core *core);

#endif
