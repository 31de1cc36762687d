/* prefork.c: an echo server of several processes: prefork [PORT [WORKERS]] (default 7777 and 4; end it with SIGTERM).
 *
 * The parent makes the loop and the listener, and never runs it: it is the mould of its workers, each of which goes on
 * with it on a ring of its own after loop_fork(). A worker that dies is replaced from the same mould; the socket stays
 * open all the while. To each connection a worker says which process it is. */
#include <ringloop.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS_MAX = 64 };

static struct loop               *loop;
static pid_t                      workers[WORKERS_MAX];
static volatile sig_atomic_t      ending;
static volatile sig_atomic_t      workers_count;
static struct loop_stream_options stream_options;

static void on_closed(struct loop_stream *stream)
{
    free(stream);
}

static void on_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct loop_write_terms terms = {.release = result->buffer};

    if (result->res <= 0 || loop_stream_write(stream, result->data, (size_t)result->res, NULL, NULL, &terms) < 0)
        loop_stream_close(stream, NULL);
}

static void on_accept(struct loop_listener *listener, int fd)
{
    struct loop_stream *stream = fd < 0 ? NULL : calloc(1, sizeof *stream);
    char                who[32];
    int                 size = snprintf(who, sizeof who, "worker %ld\n", (long)getpid());

    (void)listener;
    if (!stream || loop_stream_open(loop, stream, fd, &stream_options) < 0) {
        if (fd >= 0)
            close(fd);
        free(stream);
        return;
    }
    if (loop_stream_write(stream, who, (size_t)size, NULL, NULL, &(struct loop_write_terms){.flags = LOOP_WRITE_COPY}) <
            0 ||
        loop_stream_read_start(stream, on_read) < 0)
        loop_stream_close(stream, NULL);
}

static void on_stop_worker(int number)
{
    (void)number;
    loop_stop(loop);
}

/* Never returns. What is left of the loop ends with it: open connections are closed. */
static void work(const sigset_t *mask)
{
    int r;

    signal(SIGTERM, on_stop_worker);
    signal(SIGINT, SIG_IGN); /* the parent sees to that */
    sigprocmask(SIG_SETMASK, mask, NULL);
    r = loop_fork(loop);
    if (r < 0) {
        fprintf(stderr, "prefork: loop_fork: %s\n", strerror(-r));
        _exit(1);
    }
    loop_run(loop, LOOP_RUN_DEFAULT);
    loop_destroy(loop);
    _exit(0);
}

/* Signals wait until both know where they are. */
static void start_worker(int i)
{
    sigset_t stops, before;

    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigprocmask(SIG_BLOCK, &stops, &before);
    fflush(NULL);
    workers[i] = fork();
    if (workers[i] == 0)
        work(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void on_stop(int number)
{
    (void)number;
    ending = 1;
    for (int i = 0; i < workers_count; i++)
        if (workers[i] > 0)
            kill(workers[i], SIGTERM);
}

/* Replaces those that die, until it is told to end. A worker that dies at once would be replaced at once: not more than
 * one in 100 ms. */
static void watch_workers(void)
{
    int left = 0;

    for (int i = 0; i < workers_count; i++)
        left += workers[i] > 0;
    while (left > 0) {
        pid_t pid = wait(NULL);

        if (pid < 0 && errno != EINTR)
            break;
        for (int i = 0; i < workers_count && pid > 0; i++) {
            if (workers[i] != pid)
                continue;
            workers[i] = 0;
            if (!ending)
                usleep(100000);
            if (!ending)
                start_worker(i);
            if (workers[i] <= 0)
                left--;
        }
    }
}

int main(int argc, char **argv)
{
    struct loop_listener listener = {0};
    struct loop_address  address;
    struct sigaction     stop = {.sa_handler = on_stop}; /* wait(2) is interrupted */
    unsigned long        count = argc > 2 ? strtoul(argv[2], NULL, 10) : 4;
    int                  r = loop_create(&loop, NULL);

    stream_options.on_close = on_closed;
    workers_count = count < 1 ? 1 : count > WORKERS_MAX ? WORKERS_MAX : (int)count;
    if (r == 0)
        r = loop_address_parse(&address, "127.0.0.1", (uint16_t)(argc > 1 ? strtoul(argv[1], NULL, 10) : 7777));
    if (r == 0)
        r = loop_listener_start(loop, &listener, &address, NULL, on_accept);
    if (r == 0)
        r = loop_listener_address(&listener, &address);
    if (r < 0) {
        fprintf(stderr, "prefork: %s\n", strerror(-r));
        return 1;
    }
    printf("ready %u\n", loop_address_port(&address));
    fflush(stdout);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    for (int i = 0; i < workers_count && !ending; i++)
        start_worker(i);
    watch_workers();
    loop_destroy(loop);
    return 0;
}
