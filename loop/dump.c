/* loop/dump.c: what lives on a loop, as text: for finding out why it does not end. */
#include "loop/loop_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_BYTES = 200 };

struct dump {
    loop_trace_cb *cb;
    void          *arg;
    uint32_t       seen; /* operations with a context */
    uint32_t       count[OPCODES_MAX], ref[OPCODES_MAX];
};

static __attribute__((format(printf, 3, 4))) void say(struct loop *loop, const struct dump *dump, const char *format,
                                                      ...)
{
    char    line[LINE_BYTES];
    va_list arguments;
    int     size;

    va_start(arguments, format);
    size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (size > 0)
        dump->cb(loop, line, strlen(line), dump->arg);
}

static void say_totals(struct loop *loop, const struct dump *dump)
{
    say(loop, dump,
        "loop %p: %s; keep it alive: %" PRIu32 " of %" PRIu32 " operations, %" PRIu64 " timers, %" PRIu64
        " objects and hooks%s",
        (void *)loop, loop_alive(loop) ? "alive" : "not alive", loop_ops_in_flight(loop) - loop->background,
        loop_ops_in_flight(loop), loop->timers_ref, loop->objects_ref, post_waiting(loop) ? ", posts" : "");
}

static void say_item(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    char fd[24] = "", due[48] = "";

    if (item->fd >= 0)
        (void)snprintf(fd, sizeof(fd), " fd %d", item->fd);
    if (strcmp(item->kind, "timer") == 0)
        (void)snprintf(due, sizeof(due), " in %" PRIu64 " ns", loop_timer_due_in(item->object));
    say(loop, arg, "  %s %p%s%s:%s%s%s", item->kind, item->object, fd, due, item->active ? " active" : " idle",
        item->closing ? " closing" : "", item->ref ? " ref" : " unref");
}

static void count_op(struct loop *loop, const struct loop_walk_op *op, void *arg)
{
    struct dump *dump = arg;
    uint32_t     opcode = strcmp(op->name, "work") == 0 ? OPCODE_NONE : op->opcode % OPCODES_MAX;

    (void)loop;
    dump->seen++;
    dump->count[opcode]++;
    dump->ref[opcode] += op->ref;
}

static void say_ops(struct loop *loop, const struct dump *dump)
{
    for (unsigned i = 0; i < OPCODES_MAX; i++)
        if (dump->count[i] > 0)
            say(loop, dump, "  operation %s: %" PRIu32 ", %" PRIu32 " ref", i == OPCODE_NONE ? "work" : loop_op_name(i),
                dump->count[i], dump->ref[i]);
    if (loop_ops_in_flight(loop) > dump->seen)
        say(loop, dump, "  operations in direct mode: %" PRIu32, loop_ops_in_flight(loop) - dump->seen);
}

int loop_dump(struct loop *loop, loop_trace_cb *cb, void *arg)
{
    struct dump dump = {.cb = cb, .arg = arg};
    int         r;

    loop_check_owner(loop, __func__);
    if (cb == NULL)
        return -EINVAL;
    if (loop->walker != NULL)
        return -EBUSY;
    say_totals(loop, &dump);
    r = loop_walk(loop, say_item, &dump);
    if (r == 0)
        r = loop_walk_ops(loop, count_op, &dump);
    say_ops(loop, &dump);
    return r;
}
