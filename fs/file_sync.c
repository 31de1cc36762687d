/* fs/file_sync.c: syncs of a file object: one at a time, for all who wait for it by then. */
#include "fs/file_private.h"

#include <ringloop/op_file.h>

void sync_wait(struct file_request *request)
{
    link_list_append(&request->file->priv.syncs, &request->link);
}

void change_ended(struct file_request *request)
{
    struct loop_file *file = request->file;

    file->priv.changes--;
    for (struct loop_file_link *link = file->priv.syncs.next; link != &file->priv.syncs; link = link->next) {
        struct file_request *sync = request_of(link);

        if (sync->kind == REQUEST_SYNC && (int32_t)(sync->generation - request->generation) > 0)
            sync->waits_for--;
    }
}

static void settle_syncing(struct loop_file *file, int error)
{
    while (!link_list_empty(&file->priv.syncing))
        request_settle(request_of(file->priv.syncing.next), error);
}

/* Before those that came later. */
static void wait_again(struct loop_file *file)
{
    link_list_move(&file->priv.syncs, &file->priv.syncing);
    link_list_move(&file->priv.syncing, &file->priv.syncs);
}

static void synced(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_file *file = arg;
    int32_t           res = result->res;

    file->priv.sync_id = 0;
    if ((res == -ERESTART || res == -EINTR) && file->priv.state == FILE_OPEN) {
        wait_again(file);
        sync_next(file);
        return;
    }
    if (res == -ERESTART || res == -EINTR)
        res = -ECANCELED;
    if (res < 0 && res != -ECANCELED && file->priv.sync_error == 0)
        file->priv.sync_error = res;
    settle_syncing(file, res < 0 ? res : 0);
    sync_next(file); /* before they are told, so that the disk has something to do meanwhile */
    loop_task_add(loop, &file->priv.task);
}

/* Those that wait for no change any more; whether the data alone will do. */
static bool gather(struct loop_file *file)
{
    struct loop_file_link *link, *next;
    bool                   data = true;

    for (link = file->priv.syncs.next; link != &file->priv.syncs; link = next) {
        next = link->next;
        if (request_of(link)->waits_for > 0)
            continue;
        link_list_remove(link);
        link_list_append(&file->priv.syncing, link);
        data = data && (request_of(link)->flags & REQUEST_DATA) != 0;
    }
    return data;
}

void sync_start_next(struct loop_file *file)
{
    struct loop *loop = file_loop(file);
    loop_id      id;
    bool         data;

    if (file->priv.sync_id != 0 || file->priv.state != FILE_OPEN)
        return;
    data = gather(file);
    if (link_list_empty(&file->priv.syncing))
        return;
    if (file->priv.sync_error != 0) {
        settle_syncing(file, file->priv.sync_error);
        return;
    }
    id = data ? loop_fdatasync(loop, file->priv.fd, synced, file, file_terms(loop))
              : loop_fsync(loop, file->priv.fd, synced, file, file_terms(loop));
    if (id == -ENOBUFS || id == -ENOMEM) {
        wait_again(file);
        loop_task_retry(loop, &file->priv.task);
    } else if (id < 0) {
        settle_syncing(file, (int)id);
    } else {
        file->priv.sync_id = op_of_object(loop, id);
    }
}

/* ---- calls */

static int sync_start(struct loop_file *file, const char *call, uint32_t flags, loop_file_cb *cb, void *arg)
{
    struct file_request *request;
    int                  r = file_check(file, call);

    if (r < 0)
        return r;
    if (file->priv.waiting >= file->priv.waiting_max) {
        file_loop(file)->stats.files_full++;
        return -ENOBUFS;
    }
    request = request_new(file, REQUEST_SYNC, cb, arg);
    if (request == NULL)
        return -ENOMEM;
    request->flags = flags | REQUEST_WAITING;
    request->waits_for = file->priv.changes;
    request->generation = ++file->priv.generation;
    file->priv.waiting++;
    file_hold(file);
    sync_wait(request);
    sync_next(file);
    return 0;
}

int loop_file_sync(struct loop_file *file, loop_file_cb *cb, void *arg)
{
    return sync_start(file, __func__, 0, cb, arg);
}

int loop_file_datasync(struct loop_file *file, loop_file_cb *cb, void *arg)
{
    return sync_start(file, __func__, REQUEST_DATA, cb, arg);
}

int loop_file_sync_error(const struct loop_file *file)
{
    return file->priv.sync_error;
}
