/* TCP proxy on bare liburing: multishot receives into one ring of provided buffers, which are sent to the other side
 * from where they are, with one MSG_WAITALL send in flight a direction.
 *
 * A direction that got much in one turn is a stream: it goes over to polls and splice(2), which costs a third of it or
 * less, and comes back when the passes have become small, where receive and send are cheaper.
 *
 * Limits it states rather than solves: a side that does not read holds up to 64 of the 256 buffers. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/cli.h"
#include "common/ring.h"
#include "common/server.h"
#include "proxy/move.h"

enum {
    HELD_MAX = SERVER_UNSENT_MAX / RING_BUFFER_BYTES,       /* buffers a direction may hold before it pauses … */
    HELD_RESUME = SERVER_UNSENT_RESUME / RING_BUFFER_BYTES, /* … until it is down to this */
    VECTOR_MAX = 64,                                        /* pieces of one send */
    VECTORS = RING_BUFFERS / 2, /* sends of two or more pieces that all buffers are enough for */
    STREAM_BYTES = 64 * 1024,   /* received in a turn: a stream begins */
    SMALL_BYTES = 16 * 1024,    /* spliced in a pass: a small one … */
    SMALL_PASSES = 8,           /* … of which so many in a row end it */
    NO_BUFFER = -1,
};

enum event { EVENT_ACCEPT, EVENT_SIGNAL, EVENT_CONNECT, EVENT_RECEIVE, EVENT_SEND, EVENT_POLL };

/* A buffer that is out of the ring belongs to the queue of one direction. */
struct buffer {
    uint32_t length;
    int      next;
};

/* What comes from one socket and goes to the other. */
struct direction {
    struct direction  *next_touched, *next_parked;
    struct connection *connection;
    int                from, to;
    int                first, last; /* unsent buffers, oldest first, those in flight included */
    uint32_t           held;        /* how many they are */
    uint32_t           sending;     /* of them in flight, from the first */
    uint32_t           sending_bytes;
    uint32_t           turn_bytes; /* received in this turn */
    uint32_t           small_passes;
    struct move        move;
    bool               splicing;  /* it is a stream; spliced once what was received is sent */
    bool               polling;   /* a poll is armed */
    bool               receiving; /* a multishot receive is armed */
    bool               canceling; /* … and its end is asked for */
    bool               paused;    /* it has to stay unarmed: too much is unsent */
    bool               parked;    /* it waits for a buffer */
    bool               touched;   /* on the list of this turn */
    bool               ended;     /* the last byte was received … */
    bool               shut;      /* … and sent, and the target told */
};

struct connection {
    struct direction up, down; /* to the backend, to the client */
    bool             connecting;
    bool             broken; /* both sockets are shut down, and what is in flight ends by itself */
};

struct vector {
    struct msghdr message;
    struct iovec  pieces[VECTOR_MAX];
};

static struct ring         ring;
static struct server_stats stats;
static struct buffer       buffers[RING_BUFFERS];
static struct vector       vectors[VECTORS];
static uint32_t            vectors_used;
static uint64_t            vectors_submission; /* vectors_used counts since then */
static struct direction   *touched;
static struct direction   *parked, **parked_tail = &parked;
static struct sockaddr_in  backend_address;
static int                 listener;

static void touch(struct direction *direction)
{
    if (direction->touched)
        return;
    direction->touched = true;
    direction->next_touched = touched;
    touched = direction;
}

static void park(struct direction *direction)
{
    if (direction->parked)
        return;
    direction->parked = true;
    direction->next_parked = NULL;
    *parked_tail = direction;
    parked_tail = &direction->next_parked;
}

static struct direction *unpark(void)
{
    struct direction *direction = parked;

    parked = direction->next_parked;
    if (parked == NULL)
        parked_tail = &parked;
    direction->parked = false;
    return direction;
}

static void queue_push(struct direction *direction, int id, uint32_t length)
{
    buffers[id] = (struct buffer){.length = length, .next = NO_BUFFER};
    if (direction->first == NO_BUFFER)
        direction->first = id;
    else
        buffers[direction->last].next = id;
    direction->last = id;
    direction->held++;
}

static void queue_pop(struct direction *direction)
{
    int id = direction->first;

    direction->first = buffers[id].next;
    direction->held--;
    ring_buffer_return(&ring, id);
}

static struct vector *vector_next(void)
{
    if (vectors_submission != ring.submissions)
        vectors_used = 0;
    vectors_submission = ring.submissions;
    return &vectors[vectors_used++];
}

/* Sends the queue, or its first VECTOR_MAX pieces, in one request; buffers that lie one after another are one piece. */
static void send_start(struct direction *direction)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring, direction, EVENT_SEND);
    struct vector       *vector = vector_next();
    struct iovec        *pieces = vector->pieces;
    uint32_t             count = 0;

    for (int id = direction->first; id != NO_BUFFER; id = buffers[id].next) {
        uint8_t *bytes = ring_buffer(&ring, id);

        if (count != 0 && (uint8_t *)pieces[count - 1].iov_base + pieces[count - 1].iov_len == bytes)
            pieces[count - 1].iov_len += buffers[id].length;
        else if (count < VECTOR_MAX)
            pieces[count++] = (struct iovec){.iov_base = bytes, .iov_len = buffers[id].length};
        else
            break;
        direction->sending++;
        direction->sending_bytes += buffers[id].length;
    }
    if (count == 1) {
        vectors_used--;
        io_uring_prep_send(sqe, direction->to, pieces[0].iov_base, pieces[0].iov_len, MSG_WAITALL | MSG_NOSIGNAL);
        return;
    }
    vector->message = (struct msghdr){.msg_iov = pieces, .msg_iovlen = count};
    io_uring_prep_sendmsg(sqe, direction->to, &vector->message, MSG_WAITALL | MSG_NOSIGNAL);
}

static bool is_idle(const struct direction *direction)
{
    return !direction->receiving && !direction->polling && direction->sending == 0 && !direction->parked &&
           !direction->touched;
}

/* When both directions are through, and nothing in flight refers to them. */
static void close_if_over(struct connection *connection)
{
    struct direction *up = &connection->up, *down = &connection->down;

    if (connection->connecting || !is_idle(up) || !is_idle(down) || !(connection->broken || (up->shut && down->shut)))
        return;
    move_end(&up->move);
    move_end(&down->move);
    ring_close(&ring, up->from);
    ring_close(&ring, up->to);
    free(connection);
}

static void receive_stop(struct direction *direction)
{
    if (!direction->receiving || direction->canceling)
        return;
    direction->canceling = true;
    ring_cancel(&ring, direction, EVENT_RECEIVE);
}

static void receive_more(struct direction *direction)
{
    if (!direction->paused && direction->held > HELD_MAX) {
        direction->paused = true;
        stats.pauses++;
        receive_stop(direction);
    } else if (direction->paused && direction->held <= HELD_RESUME) {
        direction->paused = false;
    }
    if (!direction->paused && !direction->receiving && !direction->parked) {
        direction->receiving = true;
        direction->canceling = false;
        ring_receive(&ring, direction->from, direction, EVENT_RECEIVE);
    }
}

static void poll_start(struct direction *direction, int fd, unsigned int events)
{
    direction->polling = true;
    io_uring_prep_poll_add(ring_sqe(&ring, direction, EVENT_POLL), fd, events);
}

static void settle_broken(struct direction *direction)
{
    while (direction->sending == 0 && direction->first != NO_BUFFER)
        queue_pop(direction);
    close_if_over(direction->connection);
}

/* Starts whatever the completions of this turn made possible; may free the connection. */
static void settle(struct direction *direction)
{
    if (direction->connection->broken || direction->connection->connecting) {
        settle_broken(direction);
        return;
    }
    if (direction->sending == 0 && direction->first != NO_BUFFER)
        send_start(direction);
    if (direction->ended) {
        if (direction->first == NO_BUFFER && !direction->shut) {
            direction->shut = true;
            shutdown(direction->to, SHUT_WR);
        }
        close_if_over(direction->connection);
        return;
    }
    if (direction->turn_bytes >= STREAM_BYTES && !direction->splicing) {
        direction->splicing = true;
        direction->small_passes = 0;
        receive_stop(direction);
    }
    direction->turn_bytes = 0;
    if (!direction->splicing)
        receive_more(direction);
    else if (direction->first == NO_BUFFER && !direction->receiving && !direction->polling)
        poll_start(direction, direction->from, POLLIN);
}

static void break_up(struct connection *connection)
{
    if (connection->broken)
        return;
    connection->broken = true;
    shutdown(connection->up.from, SHUT_RDWR);
    shutdown(connection->up.to, SHUT_RDWR);
    touch(&connection->up);
    touch(&connection->down);
}

static void direction_init(struct direction *direction, struct connection *connection, int from, int to)
{
    *direction =
        (struct direction){.connection = connection, .from = from, .to = to, .first = NO_BUFFER, .last = NO_BUFFER};
}

static void on_accept(const struct io_uring_cqe *cqe)
{
    struct connection *connection;
    int                on = 1;
    int                backend = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);

    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        ring_accept(&ring, listener, EVENT_ACCEPT);
    if (cqe->res < 0)
        die_errno(-cqe->res, "accept");
    connection = calloc(1, sizeof(*connection));
    if (connection == NULL || backend < 0)
        die("no memory or socket for a connection");
    if (setsockopt(backend, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        die_errno(errno, "TCP_NODELAY");
    server_window(backend);
    direction_init(&connection->up, connection, cqe->res, backend);
    direction_init(&connection->down, connection, backend, cqe->res);
    connection->connecting = true;
    io_uring_prep_connect(ring_sqe(&ring, connection, EVENT_CONNECT), backend,
                          (const struct sockaddr *)&backend_address, sizeof(backend_address));
    stats.connections++;
}

static void on_connect(const struct io_uring_cqe *cqe, struct connection *connection)
{
    connection->connecting = false;
    if (cqe->res < 0)
        break_up(connection);
    touch(&connection->up);
    touch(&connection->down);
}

/* The bytes first, then whether the receive goes on: the last completion of a multishot may still carry a buffer. */
static void on_receive(const struct io_uring_cqe *cqe, struct direction *direction)
{
    int id = ring_buffer_of(&ring, cqe);

    if (id >= 0 && cqe->res > 0 && !direction->connection->broken)
        queue_push(direction, id, (uint32_t)cqe->res);
    else if (id >= 0)
        ring_buffer_return(&ring, id);
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        direction->receiving = false;
    if (cqe->res > 0) {
        stats.receives++;
        stats.bytes += (uint64_t)cqe->res;
        direction->turn_bytes += (uint32_t)cqe->res;
    } else if (cqe->res == 0) {
        direction->ended = true;
    } else if (cqe->res == -ENOBUFS) {
        stats.starved++;
        if (!direction->paused && !direction->connection->broken)
            park(direction);
    } else if (cqe->res != -ECANCELED) {
        break_up(direction->connection);
    }
    touch(direction);
}

static void on_send(const struct io_uring_cqe *cqe, struct direction *direction)
{
    if (cqe->res < 0 || (uint32_t)cqe->res != direction->sending_bytes)
        break_up(direction->connection); /* MSG_WAITALL comes short only when the connection does not go on */
    else
        stats.sends++;
    for (; direction->sending != 0; direction->sending--)
        queue_pop(direction);
    direction->sending_bytes = 0;
    touch(direction);
}

/* Short of memory for sockets, the kernel calls a target writable that takes nothing: without a rest this would be a
 * busy loop. */
static void target_wait(struct direction *direction, bool progress)
{
    static struct __kernel_timespec rest = {.tv_nsec = 1000000};

    if (progress) {
        poll_start(direction, direction->to, POLLOUT);
        return;
    }
    direction->polling = true;
    io_uring_prep_timeout(ring_sqe(&ring, direction, EVENT_POLL), &rest, 0, 0);
}

/* What comes after a pass is up to settle(), which polls the source again, or receives. */
static void on_poll(struct direction *direction)
{
    uint64_t         before = direction->move.moved;
    enum move_result result;

    direction->polling = false;
    touch(direction);
    if (direction->connection->broken)
        return;
    result = move_bytes(&direction->move, direction->from, direction->to);
    stats.sends++;
    stats.bytes += direction->move.moved - before;
    switch (result) {
    case MOVE_TARGET_FULL: target_wait(direction, direction->move.moved != before); return;
    case MOVE_BROKEN: break_up(direction->connection); return;
    case MOVE_ENDED: direction->ended = true; return;
    case MOVE_ENOUGH: return;
    case MOVE_SOURCE_EMPTY:
        if (direction->move.moved - before >= SMALL_BYTES)
            direction->small_passes = 0;
        else if (++direction->small_passes == SMALL_PASSES)
            direction->splicing = false;
        return;
    }
}

static bool on_event(void *object, unsigned int event, const struct io_uring_cqe *cqe)
{
    switch ((enum event)event) {
    case EVENT_ACCEPT: on_accept(cqe); return true;
    case EVENT_SIGNAL: return false;
    case EVENT_CONNECT: on_connect(cqe, object); return true;
    case EVENT_RECEIVE: on_receive(cqe, object); return true;
    case EVENT_SEND: on_send(cqe, object); return true;
    case EVENT_POLL: on_poll(object); return true;
    }
    die("a completion of unknown kind");
}

static void turn_end(void)
{
    while (touched != NULL) {
        struct direction *direction = touched;

        touched = direction->next_touched;
        direction->touched = false;
        settle(direction);
    }
    ring_buffers_publish(&ring);
    for (uint32_t rearm = ring.home; rearm != 0 && parked != NULL; rearm--)
        settle(unpark());
}

int main(int argc, char **argv)
{
    struct server_options options = server_init(argc, argv);
    int                   signal_fd = server_signal_fd();

    listener = server_listen(&options);
    backend_address = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(options.backend),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    ring_open(&ring);
    ring_accept(&ring, listener, EVENT_ACCEPT);
    io_uring_prep_poll_add(ring_sqe(&ring, NULL, EVENT_SIGNAL), signal_fd, POLLIN);
    server_ready(listener);
    while (ring_turn(&ring, on_event))
        turn_end();
    stats.buffers_held = RING_BUFFERS - ring.home - (uint32_t)ring.returned;
    server_stats_print(&options, &stats);
    return 0;
}
