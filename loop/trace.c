/* loop/trace.c: SQEs and completions as lines of text, for finding errors.
 *
 *   sqe recv fd=7 addr=0x7ffc01 len=4096 flags=IO_LINK ud=indirect:slot=3:gen=12
 *   cqe recv ud=indirect:slot=3:gen=12 res=17 flags=MORE|BUFFER:5 */
#include "loop/loop_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 384, TRACE_NAMES = 8 };

struct line {
    size_t size; /* without the zero behind it */
    char   text[LINE_BYTES];
};

static __attribute__((format(printf, 2, 3))) void line_add(struct line *line, const char *format, ...)
{
    size_t  room = sizeof(line->text) - line->size;
    va_list args;
    int     size;

    va_start(args, format);
    size = vsnprintf(line->text + line->size, room, format, args);
    va_end(args);
    if (size > 0)
        line->size += (size_t)size < room ? (size_t)size : room - 1; /* cut off */
}

static void line_add_flags(struct line *line, uint32_t flags, const char *const names[TRACE_NAMES])
{
    const char *before = " flags=";

    for (unsigned i = 0; i < TRACE_NAMES; i++) {
        if ((flags & 1u << i) == 0 || names[i] == NULL)
            continue;
        line_add(line, "%s%s", before, names[i]);
        flags &= ~(1u << i);
        before = "|";
    }
    if (flags != 0)
        line_add(line, "%s%#x", before, flags);
}

static void line_add_hex(struct line *line, const char *name, uint64_t value)
{
    if (value != 0)
        line_add(line, " %s=%#llx", name, (unsigned long long)value);
}

static void line_add_number(struct line *line, const char *name, uint64_t value)
{
    if (value != 0)
        line_add(line, " %s=%llu", name, (unsigned long long)value);
}

static void line_add_direct(struct line *line, uint64_t user_data)
{
    unsigned           handler = user_data_handler(user_data);
    unsigned long long value = user_data_value(user_data);

    switch (handler) {
    case HANDLER_CANCEL: line_add(line, " ud=own:cancel"); return;
    case HANDLER_LINKED_TIMEOUT: line_add(line, " ud=own:linked_timeout"); return;
    case HANDLER_WAKE: line_add(line, value == 0 ? " ud=own:wake" : " ud=own:polls"); return;
    case HANDLER_CLOCK: line_add(line, " ud=own:clock"); return;
    default: line_add(line, " ud=direct:handler=%u:value=%llu", handler, value); return;
    }
}

static void line_add_user_data(struct line *line, uint64_t user_data)
{
    unsigned slot = user_data_slot(user_data), generation = (unsigned)(user_data >> UD_GENERATION_SHIFT);

    switch (user_data_mode(user_data)) {
    case UD_DIRECT: line_add_direct(line, user_data); return;
    case UD_INDIRECT: line_add(line, " ud=indirect:slot=%u:gen=%u", slot, generation); return;
    case UD_EXTENDED: line_add(line, " ud=extended:slot=%u:gen=%u", slot, generation); return;
    case UD_FOREIGN: line_add(line, " ud=foreign:%#llx", (unsigned long long)user_data); return;
    }
}

static void line_end(struct loop *loop, struct line *line)
{
    loop->trace_cb(loop, line->text, line->size, loop->observer.trace_arg);
}

/* Members that are 0 are left out, but for the descriptor. What addr and off mean depends on the opcode. */
void trace_sqe(struct loop *loop, const struct io_uring_sqe *sqe)
{
    static const char *const names[TRACE_NAMES] = {
        "FIXED_FILE", "IO_DRAIN", "IO_LINK", "IO_HARDLINK", "ASYNC", "BUFFER_SELECT", "CQE_SKIP_SUCCESS",
    };
    struct line line = {0};

    line_add(&line, "sqe %s fd=%d", loop_op_name(sqe->opcode), sqe->fd);
    line_add_hex(&line, "addr", sqe->addr);
    line_add_number(&line, "len", sqe->len);
    line_add_number(&line, "off", sqe->off);
    line_add_hex(&line, "ioprio", sqe->ioprio);
    line_add_hex(&line, "op_flags", (uint32_t)sqe->rw_flags);
    line_add_number(&line, (sqe->flags & IOSQE_BUFFER_SELECT) != 0 ? "group" : "buf_index", sqe->buf_group);
    line_add_number(&line, "file_index", sqe->file_index);
    line_add_number(&line, "personality", sqe->personality);
    line_add_flags(&line, sqe->flags, names);
    line_add_user_data(&line, sqe->user_data);
    line_end(loop, &line);
}

/* Whose completion it is: the opcode's name, or why there is none. */
static const char *name_of(const struct loop *loop, uint64_t user_data)
{
    const struct context *context;

    switch (user_data_mode(user_data)) {
    case UD_DIRECT: return loop_op_name(user_data_opcode(user_data));
    case UD_INDIRECT:
    case UD_EXTENDED:
        context = context_find(&loop->pool, user_data);
        return context == NULL ? "stale" : loop_op_name(context->opcode);
    case UD_FOREIGN: return "foreign";
    }
    return "stale";
}

static const char *errno_name(int error)
{
    const char *name = NULL;

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 32)
    name = strerrorname_np(error);
#endif
#endif
    (void)error;
    return name == NULL ? "error" : name;
}

void trace_completion(struct loop *loop, const struct completion *completion)
{
    static const char *const names[TRACE_NAMES] = {NULL, "MORE", "SOCK_NONEMPTY", "NOTIF", "BUF_MORE", "SKIP"};
    uint32_t                 flags = completion->flags;
    struct line              line = {0};

    line_add(&line, "cqe %s", name_of(loop, completion->user_data));
    line_add_user_data(&line, completion->user_data);
    line_add(&line, " res=%d", completion->res);
    if (completion->res < 0 && completion->res > -4096)
        line_add(&line, "(%s)", errno_name(-completion->res));
    if ((flags & IORING_CQE_F_BUFFER) == 0) {
        line_add_flags(&line, flags, names);
    } else {
        flags &= (1u << IORING_CQE_BUFFER_SHIFT) - 1 - IORING_CQE_F_BUFFER;
        line_add_flags(&line, flags, names);
        line_add(&line, "%sBUFFER:%u", flags == 0 ? " flags=" : "|", completion->flags >> IORING_CQE_BUFFER_SHIFT);
    }
    line_end(loop, &line);
}

/* ---- where to */

void loop_trace_set(struct loop *loop, loop_trace_cb *cb, void *arg)
{
    loop_check_owner(loop, __func__);
    loop->trace_cb = cb;
    loop->observer.trace_arg = arg;
}

void loop_trace_to_file(struct loop *loop, const char *line, size_t size, void *arg)
{
    (void)loop;
    (void)size;
    fprintf(arg, "%s\n", line);
}

/* In one piece, so that the lines of several loops and processes do not mix. */
static void to_descriptor(struct loop *loop, const char *line, size_t size, void *arg)
{
    char text[LINE_BYTES + 32];
    int  length = snprintf(text, sizeof(text), "ring %d: %.*s\n", loop->ring.uring.ring_fd, (int)size, line);

    (void)arg;
    (void)sys_write(loop->observer.trace_fd, text, (size_t)length);
}

void trace_from_environment(struct loop *loop)
{
    const char *where = sys_environment("RINGLOOP_TRACE");
    bool        standard = where != NULL && strcmp(where, "stderr") == 0;
    int         fd = STDERR_FILENO;

    if (where == NULL || where[0] == '\0')
        return;
    if (!standard)
        fd = sys_open_to_append(where);
    if (fd < 0) {
        fprintf(stderr, "ringloop: RINGLOOP_TRACE=%s: %s\n", where, strerror(-fd));
        return;
    }
    loop->observer.trace_fd = fd;
    loop->observer.trace_fd_ours = !standard;
    loop->trace_cb = to_descriptor;
}
