/* loop/call.c: operations that are a function on the work pool with arguments of its own. */
#include "loop/call.h"

#include "loop/op_start.h"

#include <fcntl.h>
#include <string.h>

void *call_new(struct loop *loop, size_t size)
{
    void *memory = memory_resize(loop, NULL, size);

    return memory == NULL ? NULL : memset(memory, 0, size);
}

static int32_t run_call(void *arg)
{
    struct call *call = arg;

    return call->run(call);
}

static void ended(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct call call = *(struct call *)arg;

    memory_free(loop, arg);
    if (call.cb != NULL)
        call.cb(loop, result, call.arg);
    else if (result->res < 0)
        loop->stats.silent_errors++;
}

loop_id call_start(struct loop *loop, const char *name, enum loop_work_class work_class, struct call *call,
                   call_run *run, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    loop_id id;

    if (call == NULL)
        return op_refuse(loop, name, terms, -ENOMEM);
    call->run = run;
    call->cb = cb;
    call->arg = arg;
    id = cb != NULL && !op_cb_is_plain(cb)
             ? op_refuse(loop, name, terms, -EINVAL)
             : work_start(loop, name, work_class, run_call, ended, call, &call->stop, terms);
    if (id < 0)
        memory_free(loop, call);
    return id;
}

int call_check_path(int dirfd, const char *path)
{
    if (path == NULL)
        return -EINVAL;
    if (dirfd != AT_FDCWD && (dirfd < 0 || (dirfd & LOOP_FIXED_FLAG) != 0))
        return -EBADF;
    return strnlen(path, PATH_MAX) == PATH_MAX ? -ENAMETOOLONG : 0;
}
