/* bench/common/uv_server.h: what the servers on libuv share. */
#ifndef BENCH_COMMON_UV_SERVER_H
#define BENCH_COMMON_UV_SERVER_H

#include <uv.h>

#include "common/cli.h"
#include "common/server.h"

/* Dies of libuv's error. */
static inline void uv_must(int result, const char *what)
{
    if (result < 0)
        die("%s: %s", what, uv_strerror(result));
}

static inline void uv_server_listen(uv_loop_t *loop, uv_tcp_t *listener, int fd, uv_connection_cb cb)
{
    uv_must(uv_tcp_init(loop, listener), "uv_tcp_init");
    uv_must(uv_tcp_open(listener, fd), "uv_tcp_open");
    uv_must(uv_listen((uv_stream_t *)listener, SERVER_BACKLOG, cb), "uv_listen");
}

static inline void uv_server_stop(uv_signal_t *handle, int number)
{
    (void)number;
    uv_stop(handle->loop);
}

/* Says that fd is ready, and serves until a signal. */
static inline void uv_server_run(uv_loop_t *loop, int fd)
{
    uv_signal_t terminate, interrupt;

    uv_must(uv_signal_init(loop, &terminate), "uv_signal_init");
    uv_must(uv_signal_start(&terminate, uv_server_stop, SIGTERM), "uv_signal_start");
    uv_must(uv_signal_init(loop, &interrupt), "uv_signal_init");
    uv_must(uv_signal_start(&interrupt, uv_server_stop, SIGINT), "uv_signal_start");
    server_ready(fd);
    uv_run(loop, UV_RUN_DEFAULT);
}

#endif
