/* loop/object.c: the objects that are open on a loop: what keeps it alive, and what it closes when it ends; and those
 * among them that wait for a free descriptor. */
#include "loop/loop_private.h"

void object_open(struct loop *loop, struct loop_object *object, const struct loop_object_class *object_class, bool ref)
{
    object->loop = loop;
    object->object_class = object_class;
    object_list_append(&loop->objects, object);
    if (ref)
        loop->objects_ref++;
}

void object_gone(struct loop_object *object, bool ref)
{
    if (unlikely(object->loop->walker != NULL))
        walker_pass(object->loop, object);
    object_list_remove(object);
    if (ref)
        object->loop->objects_ref--;
}

void object_hold(struct loop_object *object)
{
    object->loop->objects_ref++;
}

void object_release(struct loop_object *object)
{
    object->loop->objects_ref--;
}

void object_ref_set(struct loop_object *object, const char *call, bool *ref, bool to)
{
    if (*ref == to)
        return;
    loop_check_owner(object->loop, call);
    *ref = to;
    if (to)
        object_hold(object);
    else
        object_release(object);
}

void objects_close_all(struct loop *loop)
{
    struct loop_object closing, *object;

    object_list_init(&closing);
    object_list_move(&loop->objects, &closing);
    while ((object = closing.next) != &closing) {
        object_list_remove(object);
        object_list_append(&loop->objects, object); /* until its close callback */
        object->object_class->close(object);
    }
}

void objects_rehome(struct loop *loop, bool forked)
{
    struct loop_object *object, *next;

    for (object = loop->objects.next; object != &loop->objects; object = next) {
        next = object->next;
        if (object->object_class->rehome != NULL)
            object->object_class->rehome(object, forked);
    }
}

void objects_let_go(struct loop *loop)
{
    struct loop_object *object, *next;

    for (object = loop->objects.next; object != &loop->objects; object = next) {
        next = object->next;
        if (object->object_class->let_go != NULL)
            object->object_class->let_go(object);
    }
}

void starved_add(struct loop *loop, struct loop_task *task)
{
    if (task->next == NULL)
        task_list_append(&loop->starved, task);
}

void starved_feed(struct loop *loop)
{
    struct loop_task *task;

    while ((task = task_list_pop(&loop->starved)) != NULL)
        loop_task_add(loop, task);
}
