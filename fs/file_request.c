/* fs/file_request.c: requests of a file object: from their start to their callback, whatever they do. */
#include "fs/file_private.h"

#include "loop/seam_file.h"

#include <unistd.h>

int file_check(const struct loop_file *file, const char *call)
{
    if (likely(file->priv.state == FILE_OPEN)) {
        loop_check_owner(file_loop(file), call);
        return 0;
    }
    return file->priv.state == FILE_OPENING || file->priv.state == FILE_FAILED ? -EBADF : -EINVAL;
}

const struct loop_terms *file_terms(const struct loop *loop)
{
    static const struct loop_terms unchained = {.flags = LOOP_UNCHAINED};

    return unlikely(loop->chain_open) ? &unchained : NULL; /* without terms an operation starts the short way */
}

struct file_request *request_new(struct loop_file *file, enum request_kind kind, loop_file_cb *cb, void *arg)
{
    struct file_request *request = file->priv.free;

    if (likely(request != NULL))
        file->priv.free = request->free;
    else
        request = memory_resize(file_loop(file), NULL, sizeof(*request));
    if (likely(request != NULL))
        *request = (struct file_request){.file = file, .cb = cb, .arg = arg, .kind = (uint8_t)kind};
    return request;
}

void request_free(struct file_request *request)
{
    struct loop_file *file = request->file;

    if (unlikely(request->heap != NULL))
        memory_free(file_loop(file), request->heap);
    request->free = file->priv.free;
    file->priv.free = request;
}

void requests_free_all(struct loop_file *file)
{
    struct file_request *request;

    while ((request = file->priv.free) != NULL) {
        file->priv.free = request->free;
        memory_free(file_loop(file), request);
    }
}

/* ---- starting */

static bool is_immediate(const struct file_request *request)
{
    return request->kind == REQUEST_SEEK && (request->mode == SEEK_SET || request->mode == SEEK_CUR);
}

static void seek_now(struct file_request *request)
{
    int64_t r = sys_seek(request->file->priv.fd, request->offset, request->mode);

    if (r >= 0)
        request->done = (uint64_t)r;
    request_settle(request, r < 0 ? (int)r : 0);
}

static int launch(struct file_request *request)
{
    struct loop_file *file = request->file;
    loop_id           id;

    if (unlikely(is_immediate(request))) {
        seek_now(request);
        return 0;
    }
    id = request->kind <= REQUEST_WRITE ? transfer_start(request) : operation_start(request);
    if (unlikely(id < 0))
        return (int)id;
    request->id = op_of_object(file_loop(file), id);
    link_list_append(&file->priv.running, &request->link);
    return 0;
}

static int launch_or_queue(struct file_request *request)
{
    struct loop_file *file = request->file;
    int               r;

    if (file->priv.ordered == NULL && link_list_empty(&file->priv.queue)) {
        file->priv.ordered = request;
        r = launch(request);
        if (r < 0)
            file->priv.ordered = NULL;
        return r;
    }
    if (file->priv.waiting >= file->priv.waiting_max) {
        file_loop(file)->stats.files_full++;
        return -ENOBUFS;
    }
    file->priv.waiting++;
    request->flags |= REQUEST_WAITING;
    link_list_append(&file->priv.queue, &request->link);
    return 0;
}

int request_begin(struct file_request *request)
{
    struct loop_file *file = request->file;
    int               r;

    r = unlikely((request->flags & REQUEST_POSITION) != 0) ? launch_or_queue(request) : launch(request);
    if (unlikely(r < 0)) {
        request_free(request);
        return r;
    }
    file_hold(file);
    if ((request->flags & REQUEST_CHANGES) != 0) {
        request->generation = file->priv.generation;
        file->priv.changes++;
        file->priv.changed = true;
    }
    return 0;
}

void request_launch_next(struct loop_file *file)
{
    while (unlikely(!link_list_empty(&file->priv.queue)) && file->priv.ordered == NULL &&
           file->priv.state == FILE_OPEN) {
        struct file_request *request = request_of(link_list_pop(&file->priv.queue));
        int                  r;

        file->priv.ordered = request;
        r = launch(request);
        if (r == -ENOBUFS || r == -ENOMEM) {
            file->priv.ordered = NULL;
            link_list_insert(file->priv.queue.next, &request->link);
            loop_task_retry(file_loop(file), &file->priv.task);
            return;
        }
        request->flags &= ~(uint32_t)REQUEST_WAITING;
        file->priv.waiting--;
        if (r < 0)
            request_settle(request, r);
    }
}

/* ---- ending */

static void leave_the_turn(struct file_request *request)
{
    if (request->file->priv.ordered == request)
        request->file->priv.ordered = NULL;
}

static void leave_the_changes(struct file_request *request)
{
    if ((request->flags & REQUEST_CHANGES) == 0)
        return;
    request->flags &= ~(uint32_t)REQUEST_CHANGES;
    change_ended(request);
}

/* What may begin now that something has ended. */
static inline void go_on(struct loop_file *file)
{
    request_launch_next(file);
    sync_next(file);
}

static void tell(struct file_request *request, int error)
{
    struct loop_file *file = request->file;
    struct loop      *loop = file_loop(file);
    loop_file_cb     *cb = request->cb;
    void             *arg = request->arg;
    uint64_t          count = request->done;

    leave_the_changes(request);
    leave_the_turn(request);
    if ((request->flags & REQUEST_WAITING) != 0)
        file->priv.waiting--;
    request_free(request);
    go_on(file);
    file_release(file);
    if (likely(cb != NULL))
        cb(file, error, count, arg);
    else if (error < 0)
        loop->stats.silent_errors++;
}

void request_settle(struct file_request *request, int error)
{
    struct loop_file *file = request->file;

    if (link_list_linked(&request->link))
        link_list_remove(&request->link);
    request->error = error;
    link_list_append(&file->priv.ended, &request->link);
    loop_task_add(file_loop(file), &file->priv.task);
}

void requests_work(struct loop_file *file)
{
    struct loop_file_link ended, *link;

    link_list_init(&ended);
    link_list_move(&file->priv.ended, &ended); /* what callbacks add has its turn later */
    while ((link = link_list_pop(&ended)) != NULL)
        tell(request_of(link), request_of(link)->error);
    go_on(file);
}

void request_finish(struct file_request *request, int error)
{
    struct loop_file *file = request->file;

    if (likely((request->flags & REQUEST_SYNCS) == 0) || error < 0) {
        tell(request, error);
    } else if (file->priv.state != FILE_OPEN || (request->flags & REQUEST_CANCELED) != 0) {
        tell(request, -ECANCELED);
    } else {
        leave_the_changes(request);
        leave_the_turn(request);
        sync_wait(request);
        go_on(file);
    }
}

void request_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct file_request *request = arg;
    int                  error = 0;
    bool                 again;

    (void)loop;
    request->id = 0;
    link_list_remove(&request->link);
    if (request->kind <= REQUEST_WRITE)
        again = transfer_done(request, result->res, &error);
    else
        again = operation_done(request, result->res, &error);
    if (unlikely(again)) {
        if ((request->flags & REQUEST_CANCELED) != 0)
            error = -ECANCELED;
        else
            error = launch(request);
        if (error == 0)
            return;
    }
    request_finish(request, error);
}

void requests_forked(struct loop_file *file)
{
    struct loop_file_link *link;

    for (link = file->priv.running.next; link != &file->priv.running; link = link->next) {
        if ((request_of(link)->flags & (REQUEST_POSITION | REQUEST_CHANGES)) != 0)
            request_of(link)->flags |= REQUEST_ONCE;
    }
    while (!link_list_empty(&file->priv.queue))
        request_settle(request_of(file->priv.queue.next), -EOWNERDEAD);
}

/* ---- cancelling */

static int settle_canceled(struct loop_file_link *head, const void *arg, bool all)
{
    struct loop_file_link *link, *next;
    int                    count = 0;

    for (link = head->next; link != head; link = next) {
        next = link->next;
        if (all || request_of(link)->arg == arg) {
            request_settle(request_of(link), -ECANCELED);
            count++;
        }
    }
    return count;
}

int requests_cancel(struct loop_file *file, const void *arg, bool all)
{
    struct loop_file_link *link;
    int                    count = 0;

    for (link = file->priv.running.next; link != &file->priv.running; link = link->next) {
        struct file_request *request = request_of(link);

        if ((all || request->arg == arg) && (request->flags & REQUEST_CANCELED) == 0) {
            request->flags |= REQUEST_CANCELED;
            (void)loop_cancel(file_loop(file), request->id);
            count++;
        }
    }
    count += settle_canceled(&file->priv.queue, arg, all);
    count += settle_canceled(&file->priv.syncs, arg, all);
    count += settle_canceled(&file->priv.syncing, arg, all);
    return count;
}

int loop_file_cancel(struct loop_file *file, const void *arg)
{
    int r = file_check(file, __func__);

    return r < 0 ? -EINVAL : requests_cancel(file, arg, false);
}

int loop_file_cancel_all(struct loop_file *file)
{
    int r = file_check(file, __func__);

    return r < 0 ? -EINVAL : requests_cancel(file, NULL, true);
}
