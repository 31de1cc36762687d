/* Echo server on bare liburing: what io_uring itself gives, the limit for any library on top of it.
 *
 * Multishot accept and receive into one ring of provided buffers; received buffers are sent from where they are, with
 * one MSG_WAITALL send in flight a connection; whatever a turn's completions ask for is submitted by the one enter that
 * also waits for the next ones.
 *
 * Limits it states rather than solves: a connection that does not read holds up to 64 of the 256 buffers, so several of
 * them at once slow down the others. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/plain_ring.h"
#include "common/server.h"

enum {
    SQ_ENTRIES = 512,
    CQ_ENTRIES = 4096,
    BUFFERS = 256, /* a power of two */
    BUFFER_BYTES = 16 * 1024,
    BUFFER_GROUP = 0,
    HELD_MAX = SERVER_UNSENT_MAX / BUFFER_BYTES,       /* buffers a connection may hold before its reading pauses … */
    HELD_RESUME = SERVER_UNSENT_RESUME / BUFFER_BYTES, /* … until it is down to this */
    VECTOR_MAX = 64,                                   /* pieces of one send */
    VECTORS = BUFFERS / 2,                             /* sends of two or more pieces that all buffers are enough for */
    NO_BUFFER = -1,
};

/* The low bits of user_data; a connection's address is above them. */
enum event { EVENT_ACCEPT, EVENT_SIGNAL, EVENT_RECEIVE, EVENT_SEND, EVENT_IGNORED, EVENT_MASK = 7 };

/* A buffer that is out of the ring belongs to the queue of one connection. */
struct buffer {
    uint32_t length; /* received bytes, from the start of the buffer */
    int      next;   /* in the connection's queue */
};

struct connection {
    int                fd;
    int                first, last; /* unsent buffers, oldest first, those in flight included */
    uint32_t           held;        /* how many they are */
    uint32_t           sending;     /* of them in flight, from the first */
    uint32_t           sending_bytes;
    bool               receiving; /* a multishot receive is armed */
    bool               canceling; /* … and its end is asked for */
    bool               paused;    /* it has to stay unarmed: too much is unsent */
    bool               parked;    /* it waits for a buffer */
    bool               touched;   /* on the list of this turn */
    bool               ended;     /* the peer has sent its last byte */
    bool               broken;    /* nothing more can be sent */
    struct connection *next_touched;
    struct connection *next_parked;
};

struct vector {
    struct msghdr message;
    struct iovec  pieces[VECTOR_MAX];
};

static struct server_stats       stats;
static struct io_uring           ring;
static struct io_uring_buf_ring *buffer_ring;
static uint8_t                  *buffer_memory;
static struct buffer             buffers[BUFFERS];
static uint32_t                  buffers_free;     /* in the ring, for the kernel to take */
static int                       buffers_returned; /* added to the ring, not yet visible to the kernel */
static struct vector             vectors[VECTORS];
static uint32_t                  vectors_used; /* since the last submission, which copies them */
static struct connection        *touched;
static struct connection        *parked, **parked_tail = &parked;

/* Room for one request; a full queue is submitted first, which loses and reorders nothing. */
static struct io_uring_sqe *sqe_get(struct connection *connection, enum event event)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (sqe == NULL) {
        must(io_uring_submit(&ring), "io_uring_submit");
        vectors_used = 0;
        sqe = io_uring_get_sqe(&ring);
        if (sqe == NULL)
            die("the submission queue stays full");
    }
    io_uring_sqe_set_data64(sqe, (uintptr_t)connection | event);
    return sqe;
}

static void accept_start(int listener)
{
    io_uring_prep_multishot_accept(sqe_get(NULL, EVENT_ACCEPT), listener, NULL, NULL, SOCK_CLOEXEC);
}

static void receive_start(struct connection *connection)
{
    struct io_uring_sqe *sqe = sqe_get(connection, EVENT_RECEIVE);

    io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    connection->receiving = true;
    connection->canceling = false;
}

static void receive_cancel(struct connection *connection)
{
    struct io_uring_sqe *sqe = sqe_get(NULL, EVENT_IGNORED);

    io_uring_prep_cancel64(sqe, (uintptr_t)connection | EVENT_RECEIVE, 0);
    connection->canceling = true;
}

static uint8_t *buffer_bytes(int id)
{
    return buffer_memory + (size_t)id * BUFFER_BYTES;
}

/* Gives a buffer back; the kernel sees it at the end of the turn. */
static void buffer_return(int id)
{
    io_uring_buf_ring_add(buffer_ring, buffer_bytes(id), BUFFER_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(BUFFERS), buffers_returned++);
}

static void buffers_publish(void)
{
    io_uring_buf_ring_advance(buffer_ring, buffers_returned);
    buffers_free += (uint32_t)buffers_returned;
    buffers_returned = 0;
}

static void queue_push(struct connection *connection, int id, uint32_t length)
{
    buffers[id] = (struct buffer){.length = length, .next = NO_BUFFER};
    if (connection->first == NO_BUFFER)
        connection->first = id;
    else
        buffers[connection->last].next = id;
    connection->last = id;
    connection->held++;
}

static void queue_pop(struct connection *connection)
{
    int id = connection->first;

    connection->first = buffers[id].next;
    connection->held--;
    buffer_return(id);
}

static void touch(struct connection *connection)
{
    if (connection->touched)
        return;
    connection->touched = true;
    connection->next_touched = touched;
    touched = connection;
}

static void park(struct connection *connection)
{
    if (connection->parked)
        return;
    connection->parked = true;
    connection->next_parked = NULL;
    *parked_tail = connection;
    parked_tail = &connection->next_parked;
}

static struct connection *unpark(void)
{
    struct connection *connection = parked;

    parked = connection->next_parked;
    if (parked == NULL)
        parked_tail = &parked;
    connection->parked = false;
    return connection;
}

/* Sends the queue, or its first VECTOR_MAX pieces, in one request; buffers that lie one after another are one piece. */
static void send_start(struct connection *connection)
{
    struct io_uring_sqe *sqe = sqe_get(connection, EVENT_SEND);
    struct vector       *vector = &vectors[vectors_used];
    struct iovec        *pieces = vector->pieces;
    uint32_t             count = 0;

    for (int id = connection->first; id != NO_BUFFER; id = buffers[id].next) {
        uint8_t *bytes = buffer_bytes(id);

        if (count != 0 && (uint8_t *)pieces[count - 1].iov_base + pieces[count - 1].iov_len == bytes)
            pieces[count - 1].iov_len += buffers[id].length;
        else if (count < VECTOR_MAX)
            pieces[count++] = (struct iovec){.iov_base = bytes, .iov_len = buffers[id].length};
        else
            break;
        connection->sending++;
        connection->sending_bytes += buffers[id].length;
    }
    if (count == 1) {
        io_uring_prep_send(sqe, connection->fd, pieces[0].iov_base, pieces[0].iov_len, MSG_WAITALL | MSG_NOSIGNAL);
        return;
    }
    vector->message = (struct msghdr){.msg_iov = pieces, .msg_iovlen = count};
    io_uring_prep_sendmsg(sqe, connection->fd, &vector->message, MSG_WAITALL | MSG_NOSIGNAL);
    vectors_used++;
}

/* The descriptor is closed by the ring; nothing in flight refers to the connection any more. */
static void connection_close(struct connection *connection)
{
    struct io_uring_sqe *sqe = sqe_get(NULL, EVENT_IGNORED);

    io_uring_prep_close(sqe, connection->fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    free(connection);
}

static void settle_broken(struct connection *connection)
{
    if (connection->sending == 0) {
        while (connection->first != NO_BUFFER)
            queue_pop(connection);
    }
    if (connection->receiving && !connection->canceling)
        receive_cancel(connection);
    if (!connection->receiving && connection->sending == 0 && !connection->parked)
        connection_close(connection);
}

/* Starts whatever the completions of this turn made possible; may free the connection. */
static void settle(struct connection *connection)
{
    if (connection->broken) {
        settle_broken(connection);
        return;
    }
    if (connection->sending == 0 && connection->first != NO_BUFFER)
        send_start(connection);
    if (connection->ended) {
        if (connection->first == NO_BUFFER)
            connection_close(connection);
        return;
    }
    if (!connection->paused && connection->held > HELD_MAX) {
        connection->paused = true;
        stats.pauses++;
        if (connection->receiving && !connection->canceling)
            receive_cancel(connection);
    } else if (connection->paused && connection->held <= HELD_RESUME) {
        connection->paused = false;
    }
    if (!connection->paused && !connection->receiving && !connection->parked)
        receive_start(connection);
}

static void on_accept(const struct io_uring_cqe *cqe, int listener)
{
    struct connection *connection;

    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        accept_start(listener);
    if (cqe->res == -ECONNABORTED)
        return;
    if (cqe->res < 0)
        die_errno(-cqe->res, "accept");
    connection = malloc(sizeof(*connection));
    if (connection == NULL)
        die("no memory for a connection");
    *connection = (struct connection){.fd = cqe->res, .first = NO_BUFFER, .last = NO_BUFFER};
    touch(connection);
    stats.connections++;
}

/* The bytes first, then whether the receive goes on: the last completion of a multishot may still carry a buffer. */
static void on_receive(const struct io_uring_cqe *cqe, struct connection *connection)
{
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        int id = (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);

        buffers_free--;
        if (cqe->res > 0 && !connection->broken)
            queue_push(connection, id, (uint32_t)cqe->res);
        else
            buffer_return(id);
    }
    if (cqe->res > 0) {
        stats.receives++;
        stats.bytes += (uint64_t)cqe->res;
    } else if (cqe->res == 0) {
        connection->ended = true;
    } else if (cqe->res == -ENOBUFS) {
        stats.starved++;
        if (!connection->paused && !connection->broken)
            park(connection);
    } else if (cqe->res != -ECANCELED) {
        connection->broken = true;
    }
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        connection->receiving = false;
    touch(connection);
}

static void on_send(const struct io_uring_cqe *cqe, struct connection *connection)
{
    if (cqe->res < 0 || (uint32_t)cqe->res != connection->sending_bytes)
        connection->broken = true; /* MSG_WAITALL comes short only when the connection does not go on */
    else
        stats.sends++;
    for (; connection->sending != 0; connection->sending--)
        queue_pop(connection);
    connection->sending_bytes = 0;
    touch(connection);
}

/* False: the signal to end has come. */
static bool dispatch(const struct io_uring_cqe *cqe, int listener)
{
    struct connection *connection = (struct connection *)(uintptr_t)(cqe->user_data & ~(uint64_t)EVENT_MASK);

    switch ((enum event)(cqe->user_data & EVENT_MASK)) {
    case EVENT_ACCEPT: on_accept(cqe, listener); return true;
    case EVENT_SIGNAL: return false;
    case EVENT_RECEIVE: on_receive(cqe, connection); return true;
    case EVENT_SEND: on_send(cqe, connection); return true;
    case EVENT_IGNORED: /* a cancel; its receive ends with a completion of its own */
    case EVENT_MASK: return true;
    }
    die("a completion of unknown kind");
}

static void turn_end(void)
{
    uint32_t rearm;

    while (touched != NULL) {
        struct connection *connection = touched;

        touched = connection->next_touched;
        connection->touched = false;
        settle(connection);
    }
    buffers_publish();
    for (rearm = buffers_free; rearm != 0 && parked != NULL; rearm--)
        settle(unpark());
}

static void ring_open(void)
{
    plain_ring_open(&ring, SQ_ENTRIES, CQ_ENTRIES);
    buffer_ring = plain_ring_buffers(&ring, BUFFERS, BUFFER_BYTES, BUFFER_GROUP, &buffer_memory);
    for (int id = 0; id < BUFFERS; id++)
        buffer_return(id);
    buffers_publish();
}

static void serve(int listener)
{
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned int         head, count = 0;
        bool                 running = true;
        int                  result = io_uring_submit_and_wait(&ring, 1);

        if (result >= 0)
            vectors_used = 0;
        else if (result != -EINTR && result != -EAGAIN && result != -EBUSY)
            die_errno(-result, "io_uring_submit_and_wait");
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            running = dispatch(cqe, listener) && running;
            count++;
        }
        io_uring_cq_advance(&ring, count);
        if (!running)
            return;
        turn_end();
    }
}

int main(int argc, char **argv)
{
    struct server_options options = server_init(argc, argv);
    int                   listener = server_listen(&options);
    int                   signal_fd = server_signal_fd();

    ring_open();
    accept_start(listener);
    io_uring_prep_poll_add(sqe_get(NULL, EVENT_SIGNAL), signal_fd, POLLIN);
    server_ready(listener);
    serve(listener);
    stats.buffers_held = BUFFERS - buffers_free - (uint32_t)buffers_returned;
    server_stats_print(&options, &stats);
    return 0;
}
