/* net/stream_reclaim.c: buffers that writes hold are got back when their group runs short.
 *
 * A peer that does not read must not keep buffers from others. When a write takes one of the last quarter of a group,
 * or a receive finds none, the writes that hold buffers are looked at by a task, oldest first. Those of blocked streams
 * are copied to the heap; for those in the send in flight that is stopped first, since the kernel reads them, and what
 * has left is counted. A stream is blocked if its send in flight started in an earlier turn, for sends end at once
 * where the socket has room; or if it is corked or not yet connected. */
#include "net/stream_private.h"
#include "net/write_queue.h"

/* Whether a further look is needed, and how many buffers are on their way back. */
struct look {
    uint32_t coming;
    bool     again;
};

static bool give_back(struct loop *loop, struct stream_write *write)
{
    if (!write_copy_out(loop, write))
        return false;
    hold_list_remove(&write_loan(write)->hold);
    buffer_release(loop, write->release);
    write->release = 0;
    loop->stats.buffers_reclaimed++;
    return true;
}

static bool is_blocked(const struct loop_stream *stream)
{
    if (stream_state(stream) == STREAM_CONNECTING || stream->priv.write_id == 0)
        return stream_state(stream) == STREAM_CONNECTING || stream_is(stream, STREAM_CORKED);
    return stream->priv.write_first->turn != ((uint32_t)stream->priv.object.loop->stats.turns | 1);
}

static void look_at(struct loop *loop, struct stream_write *write, struct look *look)
{
    struct loop_stream *stream = write_loan(write)->stream;

    if (stream_state(stream) == STREAM_CLOSING || buffer_short_by(loop, write->release) <= look->coming)
        return;
    if (!is_blocked(stream)) {
        look->again = true;
    } else if (stream_state(stream) == STREAM_OPEN && stream_has_in_flight(stream, write)) {
        stream_set(stream, STREAM_RECLAIM);
        stream_send_stop(stream);
        look->coming++;
        look->again = true;
    } else if (!give_back(loop, write)) {
        look->again = true;
    }
}

static void run_reclaim(struct loop *loop, struct loop_task *task)
{
    struct look look = {0};

    for (struct loop_hold *hold = loop->holds.next, *next; hold != &loop->holds; hold = next) {
        next = hold->next;
        look_at(loop, write_of_loan(container_of(hold, struct write_loan, hold)), &look);
    }
    if (look.again)
        loop_task_retry(loop, task);
}

void stream_hold(struct loop_stream *stream, struct stream_write *write)
{
    struct loop *loop = stream->priv.object.loop;

    hold_list_append(&loop->holds, &write_loan(write)->hold);
    loop->reclaim.run = run_reclaim;
    if (unlikely(buffer_short_by(loop, write->release) > 0))
        loop_task_add(loop, &loop->reclaim);
}

void stream_reclaim_work(struct loop_stream *stream)
{
    struct loop *loop = stream->priv.object.loop;

    stream_unset(stream, STREAM_RECLAIM);
    for (struct stream_write *write = stream->priv.write_first; write != NULL; write = write->next)
        if (write->release != 0 && !give_back(loop, write))
            return; /* it is looked at again */
}
