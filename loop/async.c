/* loop/async.c: merged wake-ups with a callback, from any thread and from signal handlers.
 *
 * The handles that were sent are a stack, onto which senders push and which the loop takes as a whole: so nothing is
 * searched, and an entry cannot come back while somebody looks at it. Whoever sets SENT first pushes; the loop clears
 * it before it calls back. A sender touches the handle no more once it has pushed it.
 *
 * A close that finds SENT waits until the handle comes off the stack, for its sender may still be about to push it. */
#include "loop/loop_private.h"

#include <errno.h>
#include <ringloop/async.h>

enum {
    OPEN = 1u << 0,
    SENT = 1u << 1, /* on the stack, or about to be; or among those at hand */
    CLOSED = 1u << 2,
};

static void finish(struct loop_async *async)
{
    loop_async_close_cb *on_close = async->priv.on_close;

    object_gone(&async->priv.object, true);
    async->priv.object.loop = NULL;
    async->priv.closing = false;
    __atomic_store_n(&async->priv.state, 0, __ATOMIC_RELEASE);
    if (on_close != NULL)
        on_close(async);
}

static void closed(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    finish(container_of(task, struct loop_async, priv.task));
}

static void close_object(struct loop_object *object)
{
    loop_async_close(container_of(object, struct loop_async, priv.object), NULL);
}

/* ---- the loop's side */

static void add_at_hand(struct loop *loop, struct loop_async *async)
{
    async->priv.next = NULL;
    async->priv.taken = true;
    if (loop->asyncs_last == NULL)
        loop->asyncs = async;
    else
        loop->asyncs_last->priv.next = async;
    loop->asyncs_last = async;
}

/* Those that were sent, in their order, become those at hand. */
static void collect(struct loop *loop)
{
    struct loop_async *async = __atomic_exchange_n(&loop->asyncs_sent, NULL, __ATOMIC_SEQ_CST), *reversed = NULL;

    while (async != NULL) {
        struct loop_async *next = async->priv.next;

        async->priv.next = reversed;
        reversed = async;
        async = next;
    }
    while (reversed != NULL) {
        struct loop_async *next = reversed->priv.next;

        add_at_hand(loop, reversed);
        reversed = next;
    }
}

/* A child of fork(2) has no senders: what one of them was about to push is pushed for it. */
static void rehome(struct loop_object *object, bool forked)
{
    struct loop_async *async = container_of(object, struct loop_async, priv.object);

    if (!forked)
        return;
    collect(object->loop);
    if ((async->priv.state & SENT) != 0 && !async->priv.taken && !loop_async_closing(async))
        add_at_hand(object->loop, async);
    else if (async->priv.closing && !async->priv.taken)
        loop_task_add(object->loop, &async->priv.task); /* unless that waits already */
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_async *async = container_of(object, struct loop_async, priv.object);

    item->closing = loop_async_closing(async);
    item->active = !item->closing;
    item->ref = loop_async_has_ref(async);
}

static const struct loop_object_class async_class = {
    .name = "async", .close = close_object, .rehome = rehome, .describe = describe};

static void run_one(struct loop *loop, struct loop_async *async)
{
    uint32_t before;

    async->priv.taken = false;
    before = __atomic_fetch_and(&async->priv.state, ~(uint32_t)SENT, __ATOMIC_SEQ_CST);
    if ((before & CLOSED) != 0) {
        finish(async);
    } else if (async->priv.cb != NULL) {
        loop->stats.callbacks++;
        async->priv.cb(async);
    }
}

void async_run_slowly(struct loop *loop)
{
    struct loop_async *async;

    collect(loop);
    loop->happened = true;
    async = loop->asyncs;
    loop->asyncs = NULL;
    loop->asyncs_last = NULL;
    while (async != NULL) {
        struct loop_async *next = async->priv.next; /* once it is no more SENT, others may push it anew */

        run_one(loop, async);
        async = next;
    }
}

/* ---- the calls */

int loop_async_open(struct loop *loop, struct loop_async *async, const struct loop_async_options *options,
                    loop_async_cb *cb)
{
    static const struct loop_async_options defaults;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if ((options->flags & ~(uint32_t)LOOP_ASYNC_UNREF) != 0 || options->reserved != 0)
        return -EINVAL;
    if ((async->priv.state & OPEN) != 0)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    async->priv = (struct loop_async_private){
        .task.run = closed,
        .cb = cb,
        .on_close = options->on_close,
        .ref = (options->flags & LOOP_ASYNC_UNREF) == 0,
    };
    object_open(loop, &async->priv.object, &async_class, async->priv.ref);
    __atomic_store_n(&async->priv.state, OPEN, __ATOMIC_RELEASE);
    return 0;
}

int loop_async_send(struct loop_async *async)
{
    struct loop       *loop;
    struct loop_async *first;
    uint32_t           before;

    /* Always a locked instruction, though a plain look could show that it is sent already: what this thread wrote
     * might become visible only after the loop has called back for an earlier send. */
    before = __atomic_fetch_or(&async->priv.state, SENT, __ATOMIC_SEQ_CST);
    if (before != OPEN)
        return (before & OPEN) == 0 ? -EINVAL : (before & CLOSED) != 0 ? -ECANCELED : 0;
    loop = async->priv.object.loop;
    first = __atomic_load_n(&loop->asyncs_sent, __ATOMIC_RELAXED);
    do
        async->priv.next = first;
    while (!__atomic_compare_exchange_n(&loop->asyncs_sent, &first, async, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    wake_if_asleep(loop);
    return 0;
}

void loop_async_close(struct loop_async *async, loop_async_close_cb *on_close)
{
    struct loop *loop = async->priv.object.loop;

    if (loop == NULL || async->priv.closing)
        return;
    loop_check_owner(loop, __func__);
    if (on_close != NULL)
        async->priv.on_close = on_close;
    if (!async->priv.ref)
        object_hold(&async->priv.object);
    async->priv.ref = true;
    async->priv.closing = true;
    if ((__atomic_fetch_or(&async->priv.state, CLOSED, __ATOMIC_SEQ_CST) & SENT) == 0)
        loop_task_add(loop, &async->priv.task);
}

static void set_ref(struct loop_async *async, bool ref)
{
    if (async->priv.object.loop == NULL || async->priv.closing || async->priv.ref == ref)
        return;
    async->priv.ref = ref;
    if (ref)
        object_hold(&async->priv.object);
    else
        object_release(&async->priv.object);
}

void loop_async_ref(struct loop_async *async)
{
    if (async->priv.object.loop != NULL)
        loop_check_owner(async->priv.object.loop, __func__);
    set_ref(async, true);
}

void loop_async_unref(struct loop_async *async)
{
    if (async->priv.object.loop != NULL)
        loop_check_owner(async->priv.object.loop, __func__);
    set_ref(async, false);
}

bool loop_async_has_ref(const struct loop_async *async)
{
    return async->priv.object.loop != NULL && async->priv.ref;
}

bool loop_async_closing(const struct loop_async *async)
{
    return async->priv.closing;
}

struct loop *loop_async_loop(const struct loop_async *async)
{
    return async->priv.object.loop;
}
