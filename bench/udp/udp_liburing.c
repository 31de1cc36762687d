/* UDP echo server on bare liburing: what io_uring itself gives, the limit for any library on top of it.
 *
 * One multishot recvmsg into a ring of provided buffers; answers are sent from where they lie, by IORING_OP_SEND with
 * an address; what a turn's completions ask for is submitted by the one enter that also waits for the next ones. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/plain_ring.h"
#include "udp/udp_server.h"

enum {
    SQ_ENTRIES = 512,
    CQ_ENTRIES = 4096,
    BUFFERS = 512, /* a power of two */
    BUFFER_BYTES = 4096,
    BUFFER_GROUP = 0,
};

/* The low bits of user_data; for sends the buffer is above them. */
enum event { EVENT_RECEIVE, EVENT_SEND, EVENT_SIGNAL, EVENT_MASK = 3 };
enum { EVENT_BITS = 2 };

static struct server_stats       stats;
static struct io_uring           ring;
static struct io_uring_buf_ring *buffer_ring;
static uint8_t                  *buffer_memory;
static int                       buffers_returned; /* added to the ring, not yet visible to the kernel */
static struct msghdr             room = {.msg_namelen = sizeof(struct sockaddr_in)};
static bool                      receiving;

static struct io_uring_sqe *sqe_get(uint64_t data)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (sqe == NULL) {
        must(io_uring_submit(&ring), "io_uring_submit");
        sqe = io_uring_get_sqe(&ring);
        if (sqe == NULL)
            die("the submission queue stays full");
    }
    io_uring_sqe_set_data64(sqe, data);
    return sqe;
}

static void receive_start(int fd)
{
    struct io_uring_sqe *sqe = sqe_get(EVENT_RECEIVE);

    io_uring_prep_recvmsg_multishot(sqe, fd, &room, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    receiving = true;
}

static uint8_t *buffer_bytes(unsigned int id)
{
    return buffer_memory + (size_t)id * BUFFER_BYTES;
}

static void buffer_return(unsigned int id)
{
    io_uring_buf_ring_add(buffer_ring, buffer_bytes(id), BUFFER_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(BUFFERS), buffers_returned++);
}

static void buffers_publish(void)
{
    io_uring_buf_ring_advance(buffer_ring, buffers_returned);
    buffers_returned = 0;
}

static void on_receive(const struct io_uring_cqe *cqe, int fd)
{
    unsigned int                 id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    struct io_uring_recvmsg_out *out;
    struct io_uring_sqe         *sqe;
    unsigned int                 size;

    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        receiving = false;
    if (cqe->res == -ENOBUFS) {
        stats.starved++;
        return;
    }
    if (cqe->res < 0 || (cqe->flags & IORING_CQE_F_BUFFER) == 0)
        die_errno(cqe->res < 0 ? -cqe->res : EIO, "receive");
    out = io_uring_recvmsg_validate(buffer_bytes(id), cqe->res, &room);
    if (out == NULL)
        die("a message without its header");
    size = io_uring_recvmsg_payload_length(out, cqe->res, &room);
    stats.receives++;
    stats.bytes += size;
    sqe = sqe_get((uint64_t)id << EVENT_BITS | EVENT_SEND);
    io_uring_prep_sendto(sqe, fd, io_uring_recvmsg_payload(out, &room), size, MSG_NOSIGNAL, io_uring_recvmsg_name(out),
                         sizeof(struct sockaddr_in));
}

static void on_send(const struct io_uring_cqe *cqe)
{
    if (cqe->res < 0)
        die_errno(-cqe->res, "send");
    stats.sends++;
    buffer_return((unsigned int)(cqe->user_data >> EVENT_BITS));
}

static void ring_open(void)
{
    plain_ring_open(&ring, SQ_ENTRIES, CQ_ENTRIES);
    buffer_ring = plain_ring_buffers(&ring, BUFFERS, BUFFER_BYTES, BUFFER_GROUP, &buffer_memory);
    for (unsigned int id = 0; id < BUFFERS; id++)
        buffer_return(id);
    buffers_publish();
}

static void serve(int fd)
{
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned int         head, count = 0;
        bool                 running = true;
        int                  result = io_uring_submit_and_wait(&ring, 1);

        if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
            die_errno(-result, "io_uring_submit_and_wait");
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            switch ((enum event)(cqe->user_data & EVENT_MASK)) {
            case EVENT_RECEIVE: on_receive(cqe, fd); break;
            case EVENT_SEND: on_send(cqe); break;
            case EVENT_SIGNAL: running = false; break;
            case EVENT_MASK: die("a completion of unknown kind");
            }
            count++;
        }
        io_uring_cq_advance(&ring, count);
        if (!running)
            return;
        buffers_publish();
        if (!receiving)
            receive_start(fd);
    }
}

int main(int argc, char **argv)
{
    struct server_options options = server_init(argc, argv);
    int                   fd = udp_server_socket(&options);
    int                   signal_fd = server_signal_fd();

    ring_open();
    receive_start(fd);
    io_uring_prep_poll_add(sqe_get(EVENT_SIGNAL), signal_fd, POLLIN);
    server_ready(fd);
    serve(fd);
    server_stats_print(&options, &stats);
    return 0;
}
