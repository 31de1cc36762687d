/* trial.c: a loop with default options, as a server would make it, and a round trip through each of its parts. */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILE_BYTES = 4096, GREETING_BYTES = 100 };

const char *const step_names[STEPS] = {
    [STEP_NOP] = "nop", [STEP_WORKER] = "worker", [STEP_TIMER] = "timer", [STEP_TCP] = "tcp", [STEP_FILE] = "file",
};

static void step_begin(struct step *step, const char *what)
{
    step->state = STEP_RUNNING; /* so that whoever finds us dead knows where we were */
    snprintf(step->what, sizeof(step->what), "%s", what);
}

static void step_end(struct step *step, int error, const char *what)
{
    step->state = error < 0 ? STEP_FAILED : STEP_PASSED;
    step->error = error < 0 ? error : 0;
    snprintf(step->what, sizeof(step->what), "%s", what);
}

static uint64_t step_ns(const struct trial *trial)
{
    return trial->step_ms * LOOP_MILLISECOND;
}

/* ---- one operation */

static void operation_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    *(int *)arg = result->res;
}

/* Runs the loop until the operation id has ended; res is where operation_done() puts its result. */
static int operation_wait(struct loop *loop, loop_id id, const int *res)
{
    int r;

    if (id < 0)
        return (int)id;
    r = loop_run(loop, LOOP_RUN_DEFAULT);
    return r < 0 ? r : *res;
}

static void nop_try(struct loop *loop, struct trial *trial)
{
    int res = -EINPROGRESS;

    step_begin(&trial->steps[STEP_NOP], "an operation that does nothing");
    res = operation_wait(loop, loop_nop(loop, operation_done, &res, LOOP_TERMS(.timeout_ns = step_ns(trial))), &res);
    step_end(&trial->steps[STEP_NOP], res, "an operation that does nothing");
}

/* The kernel hands what may block to worker threads, which count as processes of the user. */
static void worker_try(struct loop *loop, struct trial *trial)
{
    int res = -EINPROGRESS;

    step_begin(&trial->steps[STEP_WORKER], "an operation on a kernel worker thread");
    res = operation_wait(
        loop, loop_nop(loop, operation_done, &res, LOOP_TERMS(.timeout_ns = step_ns(trial), .flags = LOOP_ASYNC)),
        &res);
    step_end(&trial->steps[STEP_WORKER], res, "an operation on a kernel worker thread");
}

/* ---- a timer */

static void timer_fired(struct loop_timer *timer)
{
    *(bool *)timer->data = true;
}

static void timer_try(struct loop *loop, struct trial *trial)
{
    bool              fired = false;
    struct loop_timer timer = {.data = &fired};
    int               r;

    step_begin(&trial->steps[STEP_TIMER], "1 ms");
    r = loop_timer_start(loop, &timer, LOOP_MILLISECOND, 0, timer_fired);
    if (r == 0)
        r = loop_run(loop, LOOP_RUN_DEFAULT);
    if (r >= 0 && !fired)
        r = -ETIMEDOUT;
    step_end(&trial->steps[STEP_TIMER], r, "1 ms");
}

/* ---- an echo over TCP: accept, receive into a lent buffer of the default group, send */

struct echo {
    struct loop         *loop;
    struct loop_listener listener;
    struct loop_stream   server, client;
    struct loop_timer    guard;
    char                 sent[GREETING_BYTES], received[GREETING_BYTES];
    size_t               received_count;
    bool                 over;
    int                  error;
    const char          *what;
};

static void echo_end(struct echo *echo, int error, const char *what)
{
    if (echo->over)
        return;
    echo->over = true;
    echo->error = error;
    echo->what = what;
    loop_timer_stop(&echo->guard);
    loop_listener_close(&echo->listener, NULL);
    loop_stream_close(&echo->server, NULL);
    loop_stream_close(&echo->client, NULL);
}

static void echo_late(struct loop_timer *timer)
{
    echo_end(timer->data, -ETIMEDOUT, "no answer");
}

static void written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)bytes;
    (void)arg;
    if (error < 0)
        echo_end(stream->data, error, "send");
}

static void request_read(struct loop_stream *stream, const struct loop_result *result)
{
    int r;

    if (result->res <= 0) {
        echo_end(stream->data, result->res < 0 ? result->res : -ECONNRESET, "receive");
        return;
    }
    r = loop_stream_write(stream, result->data, (size_t)result->res, written, NULL,
                          &(struct loop_write_terms){.release = result->buffer});
    if (r < 0)
        echo_end(stream->data, r, "send");
}

static void answer_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct echo *echo = stream->data;
    size_t       room = sizeof(echo->received) - echo->received_count;

    if (result->res <= 0 || (size_t)result->res > room) {
        echo_end(echo, result->res < 0 ? result->res : -EBADMSG, "receive");
        return;
    }
    memcpy(echo->received + echo->received_count, result->data, (size_t)result->res);
    echo->received_count += (size_t)result->res;
    if (echo->received_count == sizeof(echo->received))
        echo_end(echo, memcmp(echo->received, echo->sent, sizeof(echo->sent)) == 0 ? 0 : -EBADMSG,
                 "accept, send, receive on 127.0.0.1");
}

static void connected(struct loop_stream *stream, int error)
{
    struct echo *echo = stream->data;
    int          r = error;

    if (r == 0)
        r = loop_stream_write(stream, echo->sent, sizeof(echo->sent), written, NULL, NULL);
    if (r == 0)
        r = loop_stream_read_start(stream, answer_read);
    if (r < 0)
        echo_end(echo, r, error < 0 ? "connect" : "send");
}

static void accepted(struct loop_listener *listener, int fd)
{
    struct echo *echo = listener->data;
    int          r = fd;

    if (echo->over || loop_stream_fd(&echo->server) >= 0) { /* a stranger has found the port */
        if (fd >= 0)
            close(fd);
        return;
    }
    if (fd >= 0) {
        r = loop_stream_open(echo->loop, &echo->server, fd, NULL);
        if (r < 0)
            close(fd);
        else
            r = loop_stream_read_start(&echo->server, request_read);
    }
    if (r < 0)
        echo_end(echo, r, "accept");
}

static int echo_start(struct echo *echo, uint64_t limit_ns)
{
    struct loop_address address;
    int                 r = loop_address_parse(&address, "127.0.0.1", 0);

    for (size_t i = 0; i < sizeof(echo->sent); i++)
        echo->sent[i] = (char)('!' + i % 90);
    echo->listener.data = echo->server.data = echo->client.data = echo->guard.data = echo;
    echo->what = "listen on 127.0.0.1";
    if (r == 0)
        r = loop_listener_start(echo->loop, &echo->listener, &address, NULL, accepted);
    if (r == 0)
        r = loop_listener_address(&echo->listener, &address);
    if (r < 0)
        return r;
    echo->what = "connect to 127.0.0.1";
    r = loop_stream_connect(echo->loop, &echo->client, &address, NULL, connected);
    return r < 0 ? r : loop_timer_start(echo->loop, &echo->guard, limit_ns, 0, echo_late);
}

static void tcp_try(struct loop *loop, struct trial *trial)
{
    struct echo echo = {.loop = loop};
    int         r;

    step_begin(&trial->steps[STEP_TCP], "accept, send, receive on 127.0.0.1");
    r = echo_start(&echo, step_ns(trial));
    if (r < 0)
        echo_end(&echo, r, echo.what);
    r = loop_run(loop, LOOP_RUN_DEFAULT); /* until all of it is closed, so that echo may go */
    step_end(&trial->steps[STEP_TCP], r < 0 ? r : echo.error, echo.what);
}

/* ---- a file */

/* Our own binary; where it may be run but not read, a file in memory. */
static int file_open(const char **ret_name)
{
    static const char zeros[FILE_BYTES];
    int               fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    *ret_name = "read 4096 bytes of this program";
    if (fd >= 0 || errno == EMFILE || errno == ENFILE)
        return fd < 0 ? -errno : fd;
    *ret_name = "read 4096 bytes of a file in memory";
    fd = memfd_create("ringloop-doctor", MFD_CLOEXEC);
    if (fd >= 0 && pwrite(fd, zeros, sizeof(zeros), 0) == FILE_BYTES)
        return fd;
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -errno : -EIO;
}

static int file_read_both_ways(struct loop *loop, const struct trial *trial, int fd)
{
    static char         by_ring[FILE_BYTES], by_call[FILE_BYTES];
    struct io_uring_sqe sqe = {.opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)by_ring, .len = FILE_BYTES};
    int                 res = -EINPROGRESS;

    res = operation_wait(loop, loop_raw(loop, &sqe, operation_done, &res, LOOP_TERMS(.timeout_ns = step_ns(trial))),
                         &res);
    if (res < 0)
        return res;
    return res == pread(fd, by_call, FILE_BYTES, 0) && memcmp(by_ring, by_call, (size_t)res) == 0 ? 0 : -EBADMSG;
}

static void file_try(struct loop *loop, struct trial *trial)
{
    const char *name;
    int         fd, r;

    step_begin(&trial->steps[STEP_FILE], "read a file");
    fd = r = file_open(&name);
    if (fd >= 0) {
        r = file_read_both_ways(loop, trial, fd);
        close(fd);
    }
    step_end(&trial->steps[STEP_FILE], r, name);
}

void trial_run(void *memory)
{
    struct trial *trial = memory;
    struct loop  *loop;
    int           r = loop_create(&loop, NULL);

    trial->create_error = r;
    if (r < 0) {
        trial->ended = true;
        return;
    }
    trial->features = *loop_features_get(loop);
    trial->created = true;
    trial->run_error = loop_run(loop, LOOP_RUN_NOWAIT); /* makes us the owner */
    trial->features = *loop_features_get(loop);
    if (trial->run_error >= 0) {
        trial->run = true;
        nop_try(loop, trial);
        worker_try(loop, trial);
        timer_try(loop, trial);
        tcp_try(loop, trial);
        file_try(loop, trial);
    }
    (void)loop_destroy(loop);
    trial->ended = true;
}
