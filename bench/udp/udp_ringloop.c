/* UDP echo server on ringloop, as a user of its datagram sockets writes it: default options but for the size of a
 * message. */
#include <errno.h>
#include <ringloop.h>
#include <signal.h>

#include "common/cli.h"
#include "udp/udp_server.h"

static struct server_stats stats;
static struct loop        *loop;

static void on_sent(struct loop_datagram *datagram, int result, void *arg)
{
    (void)datagram, (void)arg;
    must(result, "send");
    stats.sends++;
}

static void on_message(struct loop_datagram *datagram, const struct loop_datagram_message *message)
{
    const struct loop_datagram_terms terms = {.release = message->buffer};

    must(message->error, "receive");
    stats.receives++;
    stats.bytes += message->size;
    must(loop_datagram_send(datagram, message->data, message->size, &message->source, on_sent, NULL, &terms),
         "loop_datagram_send");
}

static void on_signal(int number)
{
    (void)number;
    loop_stop(loop);
}

int main(int argc, char **argv)
{
    struct server_options              options = server_init(argc, argv);
    const struct loop_datagram_options datagram_options = {.receive_size = UDP_SIZE_MAX};
    struct sigaction                   action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct loop_datagram               datagram = {0};
    struct loop_stats                  loop_counters;
    int                                fd = udp_server_socket(&options);

    must(loop_create(&loop, NULL), "loop_create");
    must(loop_datagram_adopt(loop, &datagram, fd, &datagram_options), "loop_datagram_adopt");
    must(loop_datagram_receive_start(&datagram, on_message), "loop_datagram_receive_start");
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    server_ready(fd);
    must(loop_run(loop, LOOP_RUN_DEFAULT), "loop_run");
    loop_stats_get(loop, &loop_counters);
    stats.starved = loop_counters.buffers_parked;
    stats.buffers_held = loop_counters.buffers_lent;
    must(loop_destroy(loop), "loop_destroy");
    server_stats_print(&options, &stats);
    return 0;
}
