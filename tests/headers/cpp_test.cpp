// tests/headers/cpp_test.cpp: a C++17 program that uses the library: calls, callbacks, LOOP_TERMS.
#include <ringloop.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

namespace
{

int failures = 0;

void check(bool ok, const char *what)
{
    if (ok)
        return;
    std::fprintf(stderr, "failed: %s\n", what);
    failures++;
}

struct Seen {
    int  nops = 0, timeouts = 0, pieces = 0, timers = 0, posts = 0;
    char extra[8] = "";
};

void on_nop(struct loop *, const loop_result *result, void *arg)
{
    auto *seen = static_cast<Seen *>(arg);

    seen->nops++;
    if (result->extra != nullptr)
        std::memcpy(seen->extra, result->extra, sizeof(seen->extra));
}

void on_recv(struct loop *, const loop_result *result, void *arg)
{
    check(result->res == -ETIMEDOUT && (result->flags & LOOP_TIMED_OUT), "a deadline given by LOOP_TERMS");
    static_cast<Seen *>(arg)->timeouts++;
}

void on_piece(struct loop *loop, const loop_result *result, void *arg)
{
    if (result->flags & LOOP_BUFFER) {
        check(std::memcmp(result->data, "hello", 5) == 0, "received data");
        static_cast<Seen *>(arg)->pieces++;
        check(loop_cancel(loop, result->id) == 0, "cancel");
    }
}

void on_timer(loop_timer *timer)
{
    static_cast<Seen *>(timer->data)->timers++;
}

void on_post(struct loop *, void *arg)
{
    static_cast<Seen *>(arg)->posts++;
}

} // namespace

int main()
{
    struct loop *loop = nullptr;
    Seen         seen;
    int          fds[2], r;
    char         byte, text[8] = "inline";
    loop_timer   timer = {};
    loop_options options = {};

    options.sq_entries = 64;
    r = loop_create(&loop, &options);
    if (r != 0) {
        std::printf("SKIPPED: %s\n", loop_obstacle_text(loop_obstacle(r)));
        return 77;
    }
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
    check(loop_nop(loop, on_nop, &seen, nullptr) > 0, "nop");
    check(loop_nop(loop, on_nop, &seen, LOOP_TERMS(.data = text, .data_size = sizeof(text))) > 0, "nop with data");
    check(loop_recv(loop, fds[1], &byte, 1, 0, on_recv, &seen, LOOP_TERMS(.timeout_ns = 5 * LOOP_MILLISECOND)) > 0,
          "recv");
    check(loop_recv_multishot(loop, fds[0], LOOP_GROUP_DEFAULT, 0, on_piece, &seen, LOOP_TERMS()) > 0, "multishot");
    check(write(fds[1], "hello", 5) == 5, "write");
    timer.data = &seen;
    check(loop_timer_start(loop, &timer, LOOP_MILLISECOND, 0, on_timer) == 0, "timer");
    check(loop_post(loop, on_post, &seen) == 0, "post");
    check(loop_nop(loop, on_nop, &seen, LOOP_TERMS(.flags = 1u << 31)) == -EINVAL, "unknown flags");
    check(loop_run(loop, LOOP_RUN_DEFAULT) == 0, "run");
    check(seen.nops == 2 && seen.timeouts == 1 && seen.pieces == 1 && seen.timers == 1 && seen.posts == 1, "callbacks");
    check(std::strcmp(seen.extra, "inline") == 0, "extra");
    check(std::strcmp(loop_version(), LOOP_VERSION_STRING) == 0, "version");
    check(loop_destroy(loop) == 0, "destroy");
    close(fds[0]);
    close(fds[1]);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
