/* fs/file_private.h: the parts of a file object.
 *
 *   CLOSED --open--> OPENING --opened--> OPEN, or --not--> FAILED; CLOSED --adopt--> OPEN
 *   OPENING, OPEN, FAILED --close--> CLOSING --nothing is in flight, synced, descriptor closed--> CLOSED
 *
 * Each operation is a request, which stands in exactly one list of its file: running, queue, syncs, syncing or ended.
 * The last are told by the file's task, so that no callback comes from inside a call. */
#ifndef RINGLOOP_FS_FILE_PRIVATE_H
#define RINGLOOP_FS_FILE_PRIVATE_H

#include "loop/loop_private.h"

#include <errno.h>
#include <ringloop/file.h>

enum file_state { FILE_CLOSED, FILE_OPENING, FILE_OPEN, FILE_FAILED, FILE_CLOSING };

/* The library's own of loop_file_private.flags. */
enum {
    FILE_APPENDS = 1u << 16, /* the kernel takes no offset of a write seriously */
    FILE_DIRECT = 1u << 18,  /* O_DIRECT */
    FILE_FORKED = 1u << 17,  /* this is a child of fork(2): what was in flight the parent does */
    FILE_REOPENS = 1u << 19, /* an open was cut short by a new ring: the file may have been made all the same */
};

enum request_kind {
    REQUEST_READ,
    REQUEST_WRITE,
    REQUEST_SYNC,
    REQUEST_TRUNCATE,
    REQUEST_ALLOCATE,
    REQUEST_SEEK,
    REQUEST_STAT,
    REQUEST_SIZE,
    REQUEST_ALIGNMENT,
};

enum request_flags {
    REQUEST_SOME = 1u << 0,
    REQUEST_CHANGES = 1u << 1, /* syncs asked for later wait for it */
    REQUEST_SYNCS = 1u << 2,   /* a write that is not over before a sync */
    REQUEST_DATA = 1u << 3,    /* fdatasync(2) is enough */
    REQUEST_CANCELED = 1u << 4,
    REQUEST_ONCE = 1u << 5,  /* the parent of this process does it: not once more */
    REQUEST_ASYNC = 1u << 6, /* a worker of the kernel shall do it */
    REQUEST_VECTOR = 1u << 7,
    REQUEST_POSITION = 1u << 8, /* waits for its turn at the position */
    REQUEST_WAITING = 1u << 9,  /* counts among those that wait */
};

struct file_request {
    struct loop_file_link link;
    struct loop_file     *file;
    loop_file_cb         *cb;
    void                 *arg;
    loop_id               id; /* in flight; 0: none */
    union {
        char                       *buf;
        struct iovec               *iov; /* ours, with REQUEST_VECTOR */
        struct statx               *stat;
        struct loop_file_alignment *alignment;
        struct file_request        *free;
    };
    uint64_t size; /* bytes in all; of a truncation and an allocation the file's */
    uint64_t done; /* bytes moved; what the callback is told */
    int64_t  offset;
    uint32_t iov_at, iov_count; /* what is left of iov */
    uint32_t generation;        /* how many syncs had been asked for */
    uint32_t waits_for;         /* of a sync: changes that have not ended */
    uint32_t flags;             /* enum request_flags */
    int32_t  error, mode;       /* mode: of an allocation; whence */
    uint8_t  kind;
    void    *heap; /* freed with the request */
};

LIST_DEFINE(link, struct loop_file_link)

static inline struct loop *file_loop(const struct loop_file *file)
{
    return file->priv.object.loop;
}

static inline struct file_request *request_of(struct loop_file_link *link)
{
    return container_of(link, struct file_request, link);
}

/* What keeps the loop alive: a request, or an open or a close. */
static inline void file_hold(struct loop_file *file)
{
    if (file->priv.pending++ == 0)
        object_hold(&file->priv.object);
}

static inline void file_release(struct loop_file *file)
{
    if (--file->priv.pending == 0)
        object_release(&file->priv.object);
    else if (unlikely(file->priv.state == FILE_CLOSING))
        loop_task_add(file_loop(file), &file->priv.task);
}

/* file_request.c: the errno for a file that is not open. */
int file_check_failed(const struct loop_file *file);

/* 0 if operations may be started; the name of the public call is for the thread check. */
static inline int file_check(const struct loop_file *file, const char *call)
{
    if (unlikely(file->priv.state != FILE_OPEN))
        return file_check_failed(file);
    loop_check_owner(file_loop(file), call);
    return 0;
}

/* As terms of an operation: not part of an open chain. Without terms, where that can't be, it starts the short way. */
extern const struct loop_terms file_terms_unchained;

static inline const struct loop_terms *file_terms(const struct loop *loop)
{
    return unlikely(loop->chain_open) ? &file_terms_unchained : NULL;
}

struct file_request *request_allocate(struct loop_file *file); /* zeroed but for file */
void                 request_free(struct file_request *request);

/* What is not set here is for its kind to set, or is as in a zeroed one: a request is freed without link, id and heap.
 * NULL without memory. */
static inline struct file_request *request_new(struct loop_file *file, enum request_kind kind, loop_file_cb *cb,
                                               void *arg)
{
    struct file_request *request = file->priv.free;

    if (likely(request != NULL))
        file->priv.free = request->free;
    else
        request = request_allocate(file);
    if (unlikely(request == NULL))
        return NULL;
    request->cb = cb;
    request->arg = arg;
    request->done = 0;
    request->flags = 0;
    request->waits_for = 0;
    request->kind = (uint8_t)kind;
    return request;
}

/* The kernel has it, or a thread. */
static inline void request_started(struct file_request *request, loop_id id)
{
    request->id = id;
    link_list_append(&request->file->priv.running, &request->link);
}

/* It has begun: its callback will come. */
static inline void request_count(struct file_request *request)
{
    struct loop_file *file = request->file;

    file_hold(file);
    if ((request->flags & REQUEST_CHANGES) != 0) {
        request->generation = file->priv.generation;
        file->priv.changes++;
        file->priv.changed = true;
    }
}

/* Starts it, or lets it wait for its turn. On a failure it is freed. */
int  request_begin(struct file_request *request);
/* Its callback comes with this error, or 0, from the task. Out of whatever list it is in. */
void request_settle(struct file_request *request, int error);
/* What the kernel has done for it is over: tells it now, unless a sync is to follow. */
void request_finish(struct file_request *request, int error);
void requests_free_all(struct loop_file *file);
/* In a child of fork(2): what the parent does, the child must not. */
void requests_forked(struct loop_file *file);
/* Asks all to end, or those with this arg; returns how many. */
int  requests_cancel(struct loop_file *file, const void *arg, bool all);
/* Those that are to be told; the next at the position. */
void requests_work(struct loop_file *file);
void request_launch_next(struct loop_file *file);

/* Completions of all kinds but syncs come here. */
loop_cb request_done;

/* file_transfer.c */
loop_id transfer_start(struct file_request *request);
/* What to do after a completion: 0: it is over, with *ret_error; 1: start it again. */
int     transfer_done(struct file_request *request, int32_t res, int *ret_error);

/* The usual end of one: all of it was moved. */
static inline bool transfer_is_whole(const struct file_request *request, int32_t res)
{
    return request->kind <= REQUEST_WRITE && res > 0 && request->done + (uint32_t)res == request->size;
}

/* file_sync.c: starts a sync if one is wanted and can be. */
void sync_start_next(struct loop_file *file);

static inline void sync_next(struct loop_file *file)
{
    if (unlikely(!link_list_empty(&file->priv.syncs)))
        sync_start_next(file);
}

void sync_wait(struct file_request *request);    /* the request waits for one */
void change_ended(struct file_request *request); /* syncs that waited for it no longer do */

/* file_operation.c */
loop_id operation_start(struct file_request *request);
int     operation_done(struct file_request *request, int32_t res, int *ret_error);

#endif
