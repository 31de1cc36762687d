/* net/stream_deadline.c: idle, read and write deadlines of a stream: one timer, that looks now and then.
 *
 * What is received and sent only notes the time, and only on streams with deadlines. The timer is set to the first
 * moment at which one may have passed; when it fires it mostly finds that there was life meanwhile, and is set anew.
 *
 * One send, or the receive of a request, can take long while the kernel moves its bytes bit by bit. So before a
 * deadline is told these are cancelled, which shows how much they have moved, and go on. When it moved is not known:
 * such a deadline may be told up to one period late, but never early. */
#include "net/stream_private.h"

#include <errno.h>
#include <stddef.h>

enum { IDLE, READ, WRITE, KINDS };
_Static_assert(LOOP_STREAM_IDLE == 1 << IDLE && LOOP_STREAM_READ == 1 << READ && LOOP_STREAM_WRITE == 1 << WRITE, "");

static const uint64_t answer_ns = LOOP_MILLISECOND; /* until what was cancelled has come back */

struct stream_deadlines {
    struct loop_timer        timer;
    struct loop_stream      *stream;
    loop_stream_deadline_cb *cb;
    uint64_t                 period_ns[KINDS];
    uint64_t                 since_ns[KINDS]; /* of the last sign of life, or it is wanted, or has been told */
    bool                     asked;           /* what was in flight has been cancelled, to see what it had moved */
};

static bool receives(const struct loop_stream *stream)
{
    return stream_reads(stream) || stream_request_waits(stream) ||
           (stream->priv.more->forward != NULL && stream->priv.read_id != 0);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void look_for_life(struct stream_deadlines *deadlines, uint64_t now_ns)
{
    const struct loop_stream *stream = deadlines->stream;
    const struct stream_more *more = stream->priv.more;
    uint64_t                 *since_ns = deadlines->since_ns;

    since_ns[IDLE] = later(since_ns[IDLE], later(more->received_ns, more->sent_ns));
    since_ns[READ] = receives(stream) ? later(since_ns[READ], more->received_ns) : now_ns;
    since_ns[WRITE] = stream_write_wants_out(stream) ? later(since_ns[WRITE], more->sent_ns) : now_ns;
}

static uint32_t passed(const struct stream_deadlines *deadlines, uint64_t now_ns)
{
    uint32_t which = 0;

    for (unsigned kind = 0; kind < KINDS; kind++)
        if (deadlines->period_ns[kind] != 0 && ns_add(deadlines->since_ns[kind], deadlines->period_ns[kind]) <= now_ns)
            which |= 1u << kind;
    return which;
}

/* Whether what is in flight may have moved bytes without having ended; then it is made to tell. */
static bool ask_in_flight(struct stream_deadlines *deadlines)
{
    struct loop_stream *stream = deadlines->stream;
    bool                receives_once = stream_is(stream, STREAM_REQUEST_READS);

    if (deadlines->asked || (stream->priv.write_id == 0 && !receives_once))
        return false;
    if (stream->priv.write_id != 0)
        (void)loop_cancel(stream->priv.object.loop, stream->priv.write_id);
    if (receives_once)
        (void)loop_cancel(stream->priv.object.loop, stream->priv.read_id);
    return true;
}

static loop_timer_cb look;

static void set_timer(struct stream_deadlines *deadlines, uint64_t at_ns)
{
    (void)loop_timer_start_at(deadlines->stream->priv.object.loop, &deadlines->timer, at_ns, 0, look);
}

static void set_next(struct stream_deadlines *deadlines)
{
    uint64_t next_ns = UINT64_MAX;

    for (unsigned kind = 0; kind < KINDS; kind++) {
        uint64_t due_ns = ns_add(deadlines->since_ns[kind], deadlines->period_ns[kind]);

        if (deadlines->period_ns[kind] != 0 && due_ns < next_ns)
            next_ns = due_ns;
    }
    set_timer(deadlines, next_ns);
}

static void look(struct loop_timer *timer)
{
    struct stream_deadlines *deadlines = container_of(timer, struct stream_deadlines, timer);
    struct loop_stream      *stream = deadlines->stream;
    uint64_t                 now_ns = stream->priv.object.loop->now_ns;
    uint32_t                 which;

    look_for_life(deadlines, now_ns);
    which = passed(deadlines, now_ns);
    deadlines->asked = which != 0 && stream_state(stream) == STREAM_OPEN && ask_in_flight(deadlines);
    if (deadlines->asked) {
        set_timer(deadlines, now_ns + answer_ns);
        return;
    }
    for (unsigned kind = 0; kind < KINDS; kind++)
        if ((which & 1u << kind) != 0)
            deadlines->since_ns[kind] = now_ns; /* told again after another period */
    set_next(deadlines);
    if (which == 0 || stream_state(stream) != STREAM_OPEN)
        return;
    if (deadlines->cb != NULL)
        deadlines->cb(stream, which);
    else
        stream_break(stream, -ETIMEDOUT);
}

void stream_deadline_wanted(struct loop_stream *stream, uint32_t which)
{
    struct stream_deadlines *deadlines = stream->priv.more->deadlines;
    uint64_t                 now_ns = loop_time(stream->priv.object.loop);

    deadlines->since_ns[which == LOOP_STREAM_READ ? READ : WRITE] = now_ns;
}

void stream_deadline_drop(struct loop_stream *stream)
{
    struct stream_deadlines *deadlines = stream->priv.more->deadlines;

    if (deadlines == NULL)
        return;
    stream->priv.more->deadlines = NULL;
    loop_timer_stop(&deadlines->timer);
    memory_free(stream->priv.object.loop, deadlines);
}

static struct stream_deadlines *make(struct loop_stream *stream)
{
    struct stream_more      *more = stream_more(stream);
    struct stream_deadlines *deadlines;

    if (more == NULL || more->deadlines != NULL)
        return more == NULL ? NULL : more->deadlines;
    deadlines = memory_resize(stream->priv.object.loop, NULL, sizeof(*deadlines));
    if (deadlines != NULL) {
        *deadlines = (struct stream_deadlines){.stream = stream};
        timer_of_object(&deadlines->timer);
        more->deadlines = deadlines;
    }
    return deadlines;
}

int loop_stream_deadlines_set(struct loop_stream *stream, const struct loop_stream_deadlines *wanted)
{
    enum stream_state        state = stream_state(stream);
    struct stream_deadlines *deadlines;
    uint64_t                 now_ns;

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (wanted == NULL || (wanted->idle_ns == 0 && wanted->read_ns == 0 && wanted->write_ns == 0)) {
        if (stream->priv.more != NULL)
            stream_deadline_drop(stream);
        return 0;
    }
    deadlines = make(stream);
    if (deadlines == NULL)
        return -ENOMEM;
    now_ns = loop_time(stream->priv.object.loop);
    deadlines->cb = wanted->cb;
    deadlines->asked = false;
    deadlines->period_ns[IDLE] = wanted->idle_ns;
    deadlines->period_ns[READ] = wanted->read_ns;
    deadlines->period_ns[WRITE] = wanted->write_ns;
    for (unsigned kind = 0; kind < KINDS; kind++)
        deadlines->since_ns[kind] = now_ns;
    set_next(deadlines);
    return 0;
}
