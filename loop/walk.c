/* loop/walk.c: going through what lives on a loop.
 *
 * The callback may end or start anything. The next object is kept where object_gone() finds it. Timers are taken out of
 * the wheel all at once and put back one by one, each before its callback, so that a stop or a start finds it in some
 * list at any time. Hooks are few: the next is searched for by its number. */
#include "loop/loop_private.h"

#include <errno.h>

/* Lives on the stack of loop_walk(). The object last closes the walk: those opened later stand behind it. */
struct walker {
    loop_walk_cb       *cb;
    void               *arg;
    struct loop_object *next, *last; /* NULL: no more */
};

void walker_pass(struct loop *loop, const struct loop_object *object)
{
    struct walker *walker = loop->walker;

    if (walker->next == object)
        walker->next = object == walker->last ? NULL : object->next;
    if (walker->last == object)
        walker->last = object->prev;
}

/* ---- objects */

static void close_object(void *handle)
{
    struct loop_object *object = handle;

    object->object_class->close(object);
}

static void tell_object(struct loop *loop, const struct walker *walker, struct loop_object *object)
{
    const struct loop_object_class *object_class = object->object_class;
    size_t                          offset = object_class->offset != 0 ? object_class->offset : sizeof(void *);
    struct loop_walk_item           item = {
                  .kind = object_class->name,
                  .object = (char *)object - offset,
                  .fd = -1,
                  .active = true,
                  .ref = true,
                  .priv = {.close = close_object, .handle = object},
    };

    if (object_class->describe != NULL)
        object_class->describe(object, &item);
    walker->cb(loop, &item, walker->arg);
}

static void walk_objects(struct loop *loop, struct walker *walker)
{
    if (object_list_empty(&loop->objects))
        return;
    walker->next = loop->objects.next;
    walker->last = loop->objects.prev;
    while (walker->next != NULL) {
        struct loop_object *object = walker->next;

        walker->next = object == walker->last ? NULL : object->next;
        if (object->object_class->name != NULL)
            tell_object(loop, walker, object);
    }
}

/* ---- hooks */

static void close_hook(void *handle)
{
    loop_hook_stop(handle);
}

static struct loop_hook *next_hook(const struct loop_hook_node *list, uint64_t after, uint64_t last)
{
    for (struct loop_hook_node *node = list->next; node != list; node = node->next) {
        struct loop_hook *hook = container_of(node, struct loop_hook, priv.node);

        if (hook->priv.order > after)
            return hook->priv.order <= last ? hook : NULL;
    }
    return NULL;
}

static void walk_hooks(struct loop *loop, const struct walker *walker, enum loop_hook_kind kind, const char *name)
{
    uint64_t          last = loop->hooks.order, after = 0;
    struct loop_hook *hook;

    while ((hook = next_hook(&loop->hooks.lists[kind], after, last)) != NULL) {
        after = hook->priv.order;
        walker->cb(loop,
                   &(struct loop_walk_item){
                       .kind = name,
                       .object = hook,
                       .fd = -1,
                       .active = true,
                       .ref = loop_hook_has_ref(hook),
                       .priv = {.close = close_hook, .handle = hook},
                   },
                   walker->arg);
    }
}

/* ---- timers */

static void close_timer(void *handle)
{
    loop_timer_stop(handle);
}

static bool is_users(const struct loop_timer_node *node)
{
    return wheel_kind_of(node) < WHEEL_OP && (node->order & WHEEL_OF_OBJECT) == 0;
}

static void tell_timer(struct loop *loop, const struct walker *walker, struct loop_timer_node *node)
{
    struct loop_timer *timer = container_of(node, struct loop_timer, priv.node);

    walker->cb(loop,
               &(struct loop_walk_item){
                   .kind = "timer",
                   .object = timer,
                   .fd = -1,
                   .active = true,
                   .ref = loop_timer_has_ref(timer),
                   .priv = {.close = close_timer, .handle = timer},
               },
               walker->arg);
}

static void walk_wheel(struct loop *loop, const struct walker *walker)
{
    struct loop_timer_node nodes, *node;

    node_list_init(&nodes);
    wheel_drain(&loop->wheel, &nodes);
    while ((node = node_list_pop(&nodes)) != NULL) {
        wheel_put_back(&loop->wheel, node);
        if (is_users(node))
            tell_timer(loop, walker, node);
    }
}

static void walk_wall(struct loop *loop, const struct walker *walker)
{
    struct loop_timer_node nodes, *node;

    if (loop->wall == NULL)
        return;
    node_list_init(&nodes);
    wall_drain(loop, &nodes);
    while ((node = node_list_pop(&nodes)) != NULL) {
        wall_put_back(loop, node);
        if (is_users(node))
            tell_timer(loop, walker, node);
    }
    wall_refilled(loop);
}

/* Those found due in this turn and not yet called. */
static void walk_due(struct loop *loop, const struct walker *walker)
{
    struct loop_timer_node nodes, *node;

    node_list_init(&nodes);
    node_list_move(&loop->due, &nodes);
    while ((node = node_list_pop(&nodes)) != NULL) {
        node_list_append(&loop->due, node);
        if (is_users(node))
            tell_timer(loop, walker, node);
    }
}

int loop_walk(struct loop *loop, loop_walk_cb *cb, void *arg)
{
    struct walker walker = {.cb = cb, .arg = arg};

    loop_check_owner(loop, __func__);
    if (cb == NULL)
        return -EINVAL;
    if (loop->walker != NULL)
        return -EBUSY;
    loop->walker = &walker;
    walk_objects(loop, &walker);
    walk_hooks(loop, &walker, LOOP_HOOK_IDLE, "idle");
    walk_hooks(loop, &walker, LOOP_HOOK_PREPARE, "prepare");
    walk_hooks(loop, &walker, LOOP_HOOK_CHECK, "check");
    walk_hooks(loop, &walker, LOOP_HOOK_FORK, "fork");
    walk_hooks(loop, &walker, LOOP_HOOK_CLEANUP, "cleanup");
    walk_wheel(loop, &walker);
    walk_wall(loop, &walker);
    walk_due(loop, &walker);
    loop->walker = NULL;
    return 0;
}

void loop_walk_close(const struct loop_walk_item *item)
{
    item->priv.close(item->priv.handle);
}

/* ---- operations */

static struct loop_walk_op describe_op(const struct context *context)
{
    bool work = context->kind == CONTEXT_WORK;

    return (struct loop_walk_op){
        .id = (loop_id)context->id,
        .name = work ? "work" : loop_op_name(context->opcode),
        .opcode = context->opcode,
        .fd = !work && opcode_names_descriptor(context->opcode) ? context->fd : -1,
        .ref = (context->flags & CONTEXT_BACKGROUND) == 0,
        .of_object = (context->flags & CONTEXT_OBJECT) != 0,
        .canceled = (context->flags & CONTEXT_CANCELED) != 0,
    };
}

int loop_walk_ops(struct loop *loop, loop_walk_op_cb *cb, void *arg)
{
    struct walker         walker = {0};
    const struct context *context;
    uint64_t              slot = 0;
    uint32_t              left = loop_ops_in_flight(loop); /* cb may start more */

    loop_check_owner(loop, __func__);
    if (cb == NULL)
        return -EINVAL;
    if (loop->walker != NULL)
        return -EBUSY;
    loop->walker = &walker;
    while (left-- > 0 && (context = context_walk(&loop->pool, &slot)) != NULL) {
        struct loop_walk_op op = describe_op(context);

        cb(loop, &op, arg);
    }
    loop->walker = NULL;
    return 0;
}

static int set_ref(struct loop *loop, loop_id id, bool ref)
{
    struct context *context = id <= 0 ? NULL : context_find(&loop->pool, (uint64_t)id);

    if (context == NULL || (context->flags & CONTEXT_OBJECT) != 0)
        return -ENOENT;
    if (((context->flags & CONTEXT_BACKGROUND) == 0) == ref)
        return 0;
    context->flags ^= CONTEXT_BACKGROUND;
    if (ref)
        loop->background--;
    else
        loop->background++;
    return 0;
}

int loop_op_ref(struct loop *loop, loop_id id)
{
    loop_check_owner(loop, __func__);
    return set_ref(loop, id, true);
}

int loop_op_unref(struct loop *loop, loop_id id)
{
    loop_check_owner(loop, __func__);
    return set_ref(loop, id, false);
}
