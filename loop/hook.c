/* loop/hook.c: hooks: functions that are called at fixed places of every turn, in a child, and at the end.
 *
 * A list for each kind, in the order of start. While one is gone through, its next hook is kept in the loop, so that a
 * callback may stop any of them; those started meanwhile are known by their number. */
#include "loop/loop_private.h"

#include <errno.h>

static struct loop_hook *hook_of(struct loop_hook_node *node)
{
    return container_of(node, struct loop_hook, priv.node);
}

void hooks_init(struct loop *loop)
{
    for (size_t i = 0; i < ARRAY_COUNT(loop->hooks.lists); i++)
        hook_list_init(&loop->hooks.lists[i]);
}

/* Of those that are in the loop's way: the others wait for something that is none of its business. */
static bool holds(const struct loop_hook *hook)
{
    return !hook->priv.unref && hook->priv.kind != LOOP_HOOK_FORK && hook->priv.kind != LOOP_HOOK_CLEANUP;
}

/* Those up to the last. */
static void run_up_to(struct loop *loop, enum loop_hook_kind kind, uint64_t last)
{
    struct hooks          *hooks = &loop->hooks;
    struct loop_hook_node *list = &hooks->lists[kind];

    for (struct loop_hook_node *node = list->next; node != list; node = hooks->next) {
        struct loop_hook *hook = hook_of(node);

        if (hook->priv.order > last)
            break;
        hooks->next = node->next;
        loop->stats.callbacks++;
        hook->priv.cb(hook);
    }
    hooks->next = NULL;
}

static void run(struct loop *loop, enum loop_hook_kind kind)
{
    run_up_to(loop, kind, loop->hooks.order);
}

bool hooks_before_wait(struct loop *loop)
{
    run(loop, LOOP_HOOK_IDLE);
    run(loop, LOOP_HOOK_PREPARE);
    return hooks_idle(loop);
}

void hooks_after_wait(struct loop *loop)
{
    run(loop, LOOP_HOOK_CHECK);
}

void hooks_forked(struct loop *loop)
{
    loop->hooks.forked = loop->hooks.order;
}

void hooks_after_fork(struct loop *loop)
{
    uint64_t last = loop->hooks.forked;

    loop->hooks.forked = 0;
    run_up_to(loop, LOOP_HOOK_FORK, last);
}

void hooks_clean_up(struct loop *loop)
{
    run(loop, LOOP_HOOK_CLEANUP);
}

static void stop(struct loop_hook *hook)
{
    struct hooks *hooks = &hook->priv.loop->hooks;

    if (hooks->next == &hook->priv.node)
        hooks->next = hook->priv.node.next;
    hook_list_remove(&hook->priv.node);
    hooks->started--;
    if (holds(hook))
        hook->priv.loop->objects_ref--;
}

void hooks_stop_all(struct loop *loop)
{
    for (size_t i = 0; i < ARRAY_COUNT(loop->hooks.lists); i++)
        while (!hook_list_empty(&loop->hooks.lists[i]))
            stop(hook_of(loop->hooks.lists[i].next));
}

int loop_hook_start(struct loop *loop, struct loop_hook *hook, enum loop_hook_kind kind, loop_hook_cb *cb)
{
    loop_check_owner(loop, __func__);
    if (cb == NULL || kind < LOOP_HOOK_PREPARE || kind > LOOP_HOOK_CLEANUP)
        return -EINVAL;
    if (loop->destroying)
        return -ECANCELED;
    if (loop_hook_active(hook))
        stop(hook);
    hook->priv.loop = loop;
    hook->priv.cb = cb;
    hook->priv.kind = (uint8_t)kind;
    hook->priv.order = ++loop->hooks.order;
    hook_list_append(&loop->hooks.lists[kind], &hook->priv.node);
    loop->hooks.started++;
    if (holds(hook))
        loop->objects_ref++;
    return 0;
}

void loop_hook_stop(struct loop_hook *hook)
{
    if (!loop_hook_active(hook))
        return;
    loop_check_owner(hook->priv.loop, __func__);
    stop(hook);
}

bool loop_hook_active(const struct loop_hook *hook)
{
    return hook_list_linked(&hook->priv.node);
}

struct loop *loop_hook_loop(const struct loop_hook *hook)
{
    return hook->priv.loop;
}

static void set_ref(struct loop_hook *hook, const char *call, bool ref)
{
    bool active = loop_hook_active(hook);

    if (hook->priv.unref != ref)
        return;
    if (active)
        loop_check_owner(hook->priv.loop, call);
    if (active && holds(hook))
        hook->priv.loop->objects_ref--;
    hook->priv.unref = !ref;
    if (active && holds(hook))
        hook->priv.loop->objects_ref++;
}

void loop_hook_ref(struct loop_hook *hook)
{
    set_ref(hook, __func__, true);
}

void loop_hook_unref(struct loop_hook *hook)
{
    set_ref(hook, __func__, false);
}

bool loop_hook_has_ref(const struct loop_hook *hook)
{
    return loop_hook_active(hook) ? holds(hook) : !hook->priv.unref;
}
