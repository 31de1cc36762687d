/* The RESP server of examples/resp.c on bare liburing: multishot accept and receive, requests carried out in the
 * provided buffer, which goes back at once; the replies of a turn leave in one send a client.
 *
 * What it leaves out: keys that are due are removed when somebody asks for them, not by timers. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "common/cli.h"
#include "common/ring.h"
#include "common/server.h"
#include "resp_session.h"

enum event { EVENT_ACCEPT, EVENT_SIGNAL, EVENT_RECEIVE, EVENT_SEND };

struct client {
    int                 fd;
    struct resp_session session;
    struct resp_output  output;  /* gathers */
    struct resp_output  sending; /* in flight, if it has a size */
    bool                receiving, canceling;
    bool                waits; /* requests of it, until its replies have left */
    bool                ended; /* nothing more is read; it is closed when its replies have left */
    bool                broken;
    bool                touched; /* on the list of this turn */
    struct client      *next_touched;
};

static struct ring         ring;
static struct resp_store  *store;
static struct server_stats stats;
static struct client      *touched;
static int                 listener;

static uint64_t now_ms(void *arg)
{
    struct timespec now;

    (void)arg;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void touch(struct client *client)
{
    if (client->touched)
        return;
    client->touched = true;
    client->next_touched = touched;
    touched = client;
}

static void client_close(struct client *client)
{
    ring_close(&ring, client->fd);
    resp_session_end(&client->session);
    resp_output_free(&client->output);
    resp_output_free(&client->sending);
    free(client);
}

static void serve(struct client *client, const void *bytes, size_t size)
{
    enum resp_state state = resp_session_receive(&client->session, store, bytes, size, &client->output);

    client->waits = state == RESP_FULL || client->output.size > RESP_OUTPUT_ENOUGH;
    client->ended = client->ended || state == RESP_END;
    client->broken = client->broken || client->output.failed;
}

static void send_start(struct client *client)
{
    struct resp_output sent = client->sending;

    client->sending = client->output;
    sent.size = 0;
    client->output = sent;
    io_uring_prep_send(ring_sqe(&ring, client, EVENT_SEND), client->fd, client->sending.bytes, client->sending.size,
                       MSG_WAITALL | MSG_NOSIGNAL);
}

/* Starts whatever the completions of this turn made possible; may free the client. */
static void settle(struct client *client)
{
    bool quiet = client->broken || client->ended;

    if (client->waits && client->sending.size == 0 && client->output.size == 0 && !quiet)
        serve(client, NULL, 0);
    if (client->sending.size == 0 && client->output.size > 0 && !client->broken)
        send_start(client);
    quiet = client->broken || client->ended;
    if (quiet && !client->receiving && client->sending.size == 0) {
        client_close(client);
    } else if ((quiet || client->waits) && client->receiving && !client->canceling) {
        client->canceling = true;
        ring_cancel(&ring, client, EVENT_RECEIVE);
    } else if (!quiet && !client->waits && !client->receiving) {
        client->receiving = true;
        client->canceling = false;
        ring_receive(&ring, client->fd, client, EVENT_RECEIVE);
    }
}

static void on_accept(const struct io_uring_cqe *cqe)
{
    struct client *client;

    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        ring_accept(&ring, listener, EVENT_ACCEPT);
    if (cqe->res == -ECONNABORTED)
        return;
    if (cqe->res < 0)
        die_errno(-cqe->res, "accept");
    client = calloc(1, sizeof(*client));
    if (client == NULL)
        die("no memory for a client");
    client->fd = cqe->res;
    touch(client);
    stats.connections++;
}

/* A receive that found no buffer is simply started again: no buffer stays out beyond its turn. */
static void on_receive(const struct io_uring_cqe *cqe, struct client *client)
{
    int id = ring_buffer_of(&ring, cqe);

    if (cqe->res > 0) {
        stats.receives++;
        stats.bytes += (uint64_t)cqe->res;
        if (!client->broken && !client->ended)
            serve(client, ring_buffer(&ring, id), (size_t)cqe->res);
    } else if (cqe->res == 0) {
        client->ended = true;
    } else if (cqe->res == -ENOBUFS) {
        stats.starved++;
    } else if (cqe->res != -ECANCELED) {
        client->broken = true;
    }
    if (id >= 0)
        ring_buffer_return(&ring, id);
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        client->receiving = false;
    touch(client);
}

static void on_send(const struct io_uring_cqe *cqe, struct client *client)
{
    if (cqe->res < 0 || (size_t)cqe->res != client->sending.size)
        client->broken = true; /* MSG_WAITALL comes short only when the connection does not go on */
    else
        stats.sends++;
    client->sending.size = 0;
    if (client->sending.capacity > RESP_OUTPUT_ENOUGH)
        resp_output_free(&client->sending);
    touch(client);
}

static bool on_event(void *object, unsigned int event, const struct io_uring_cqe *cqe)
{
    switch ((enum event)event) {
    case EVENT_ACCEPT: on_accept(cqe); return true;
    case EVENT_SIGNAL: return false;
    case EVENT_RECEIVE: on_receive(cqe, object); return true;
    case EVENT_SEND: on_send(cqe, object); return true;
    }
    die("a completion of unknown kind");
}

int main(int argc, char **argv)
{
    const struct resp_clock clock = {.now_ms = now_ms};
    struct server_options   options = server_init(argc, argv);
    int                     signal_fd = server_signal_fd();

    listener = server_listen(&options);
    store = resp_store_new(&clock);
    if (store == NULL)
        die("no memory");
    ring_open(&ring);
    ring_accept(&ring, listener, EVENT_ACCEPT);
    io_uring_prep_poll_add(ring_sqe(&ring, NULL, EVENT_SIGNAL), signal_fd, POLLIN);
    server_ready(listener);
    while (ring_turn(&ring, on_event)) {
        while (touched != NULL) {
            struct client *client = touched;

            touched = client->next_touched;
            client->touched = false;
            settle(client);
        }
        ring_buffers_publish(&ring);
    }
    server_stats_print(&options, &stats);
    return 0;
}
