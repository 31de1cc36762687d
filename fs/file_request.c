/* fs/file_request.c: requests of a file object: from their start to their callback, whatever they do. */
#include "fs/file_private.h"

#include "loop/seam_file.h"

#include <unistd.h>

const struct loop_terms file_terms_unchained = {.flags = LOOP_UNCHAINED};

int file_check_failed(const struct loop_file *file)
{
    return file->priv.state == FILE_OPENING || file->priv.state == FILE_FAILED ? -EBADF : -EINVAL;
}

struct file_request *request_allocate(struct loop_file *file)
{
    struct file_request *request = memory_resize(file_loop(file), NULL, sizeof(*request));

    if (request != NULL)
        *request = (struct file_request){.file = file};
    return request;
}

void request_free(struct file_request *request)
{
    struct loop_file *file = request->file;

    if (unlikely(request->heap != NULL)) {
        memory_free(file_loop(file), request->heap);
        request->heap = NULL;
    }
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
    struct loop *loop = file_loop(request->file);
    loop_id      id;

    if (unlikely(is_immediate(request))) {
        seek_now(request);
        return 0;
    }
    if (request->kind <= REQUEST_WRITE)
        id = transfer_start(request);
    else
        id = op_of_object(loop, operation_start(request));
    if (unlikely(id < 0))
        return (int)id;
    request_started(request, id);
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
    int r = (request->flags & REQUEST_POSITION) != 0 ? launch_or_queue(request) : launch(request);

    if (r < 0)
        request_free(request);
    else
        request_count(request);
    return r;
}

void request_launch_next(struct loop_file *file)
{
    while (!link_list_empty(&file->priv.queue) && file->priv.ordered == NULL && file->priv.state == FILE_OPEN) {
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

/* It stands in nobody's way any more. */
static void leave(struct file_request *request)
{
    struct loop_file *file = request->file;

    if (file->priv.ordered == request)
        file->priv.ordered = NULL;
    if ((request->flags & REQUEST_CHANGES) != 0)
        change_ended(request);
    if ((request->flags & REQUEST_WAITING) != 0)
        file->priv.waiting--;
    request->flags &= ~(uint32_t)(REQUEST_CHANGES | REQUEST_WAITING);
}

/* What may begin now that something has ended. */
static inline void go_on(struct loop_file *file)
{
    if (unlikely(!link_list_empty(&file->priv.queue)))
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

    if (unlikely((request->flags & (REQUEST_POSITION | REQUEST_CHANGES | REQUEST_WAITING)) != 0))
        leave(request);
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

    if ((request->flags & REQUEST_SYNCS) == 0 || error < 0) {
        tell(request, error);
    } else if (file->priv.state != FILE_OPEN || (request->flags & REQUEST_CANCELED) != 0) {
        tell(request, -ECANCELED);
    } else {
        leave(request);
        sync_wait(request);
        go_on(file);
    }
}

static __attribute__((noinline)) void done_otherwise(struct file_request *request, int32_t res)
{
    int  error = 0;
    bool again;

    if (request->kind <= REQUEST_WRITE)
        again = transfer_done(request, res, &error);
    else
        again = operation_done(request, res, &error);
    if (again) {
        if ((request->flags & REQUEST_CANCELED) != 0)
            error = -ECANCELED;
        else
            error = launch(request);
        if (error == 0)
            return;
    }
    request_finish(request, error);
}

void request_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct file_request *request = arg;

    (void)loop;
    request->id = 0;
    link_list_remove(&request->link);
    if (likely(transfer_is_whole(request, result->res) && (request->flags & REQUEST_SYNCS) == 0)) {
        request->done = request->size;
        tell(request, 0);
    } else {
        done_otherwise(request, result->res);
    }
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
