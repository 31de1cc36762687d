/* UDP echo server on libuv: recvmmsg (UV_UDP_RECVMMSG), and each answer sent at once by uv_udp_try_send; what the
 * socket does not take is copied into a uv_udp_send. */
#include <stdlib.h>
#include <string.h>

#include "common/uv_server.h"
#include "udp/udp_server.h"

enum { SLOT_BYTES = 64 * 1024, SLOTS = 20 }; /* as libuv divides the buffer */

/* What could not be sent at once. */
struct rest {
    uv_udp_send_t send;
    uint8_t       bytes[];
};

static struct server_stats stats;
static char                receive_buffer[SLOTS * SLOT_BYTES];

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(receive_buffer, sizeof(receive_buffer));
}

static void on_sent(uv_udp_send_t *send, int status)
{
    uv_must(status, "send");
    stats.sends++;
    free(send); /* first in struct rest */
}

static void send_rest(uv_udp_t *socket, const char *bytes, size_t length, const struct sockaddr *address)
{
    struct rest *rest = malloc(sizeof(*rest) + length);
    uv_buf_t     buffer;

    if (rest == NULL)
        die("no memory for a datagram");
    memcpy(rest->bytes, bytes, length);
    buffer = uv_buf_init((char *)rest->bytes, (unsigned int)length);
    uv_must(uv_udp_send(&rest->send, socket, &buffer, 1, address, on_sent), "uv_udp_send");
}

static void on_message(uv_udp_t *socket, ssize_t length, const uv_buf_t *buffer, const struct sockaddr *address,
                       unsigned int flags)
{
    uv_buf_t answer = uv_buf_init(buffer->base, (unsigned int)length);
    int      sent;

    (void)flags;
    uv_must((int)length, "receive");
    if (address == NULL)
        return; /* nothing more to read */
    stats.receives++;
    stats.bytes += (uint64_t)length;
    sent = uv_udp_try_send(socket, &answer, 1, address);
    if (sent >= 0)
        stats.sends++;
    else if (sent == UV_EAGAIN)
        send_rest(socket, buffer->base, (size_t)length, address);
    else
        uv_must(sent, "uv_udp_try_send");
}

int main(int argc, char **argv)
{
    struct server_options options = server_init(argc, argv);
    int                   fd = udp_server_socket(&options);
    uv_loop_t            *loop = uv_default_loop();
    uv_udp_t              socket;

    uv_must(uv_udp_init_ex(loop, &socket, AF_UNSPEC | UV_UDP_RECVMMSG), "uv_udp_init_ex");
    uv_must(uv_udp_open(&socket, fd), "uv_udp_open");
    uv_must(uv_udp_recv_start(&socket, on_alloc, on_message), "uv_udp_recv_start");
    uv_server_run(loop, fd);
    server_stats_print(&options, &stats);
    return 0;
}
