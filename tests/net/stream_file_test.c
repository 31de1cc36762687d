/* tests/net/stream_file_test.c: streams over pipes, terminals, devices and files, and sockets in any state. */
#include "net/stream_private.h"
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

/* ---- the other side of what is no socket */

static void set_nonblocking(int fd)
{
    ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* Writes what fits of the pattern, up to total. fd is non-blocking. */
static bool feed(int fd, uint64_t flow, uint64_t *done, uint64_t total)
{
    uint8_t bytes[4096];

    while (*done < total) {
        size_t  size = total - *done < sizeof(bytes) ? (size_t)(total - *done) : sizeof(bytes);
        ssize_t n;

        pattern_fill(flow, *done, bytes, size);
        n = write(fd, bytes, size);
        if (n < 0 && errno == EAGAIN)
            return false;
        ck_assert_msg(n > 0, "write: %s", strerror(errno));
        *done += (uint64_t)n;
    }
    return true;
}

/* Reads what is there, at most max; true at the end. fd is non-blocking. */
static bool drain(int fd, uint64_t flow, uint64_t *done, size_t max)
{
    uint8_t bytes[4096];

    while (max > 0) {
        ssize_t n = read(fd, bytes, max < sizeof(bytes) ? max : sizeof(bytes));

        if (n < 0 && errno == EAGAIN)
            return false;
        ck_assert_msg(n >= 0, "read: %s", strerror(errno));
        if (n == 0)
            return true;
        pattern_check(flow, *done, bytes, (size_t)n);
        *done += (uint64_t)n;
        max -= (size_t)n;
    }
    return false;
}

/* Bit 0: the stream's end is in non-blocking mode; bit 1: a FIFO with a name. ours: the end that the stream gets. */
enum { PIPE_KINDS = 4, PIPE_READER = 0, PIPE_WRITER = 1 };

static void make_pipe(int kind, int ours, int ret_fds[2])
{
    char path[64];

    if ((kind & 2) == 0) {
        test_pipe(ret_fds);
    } else {
        snprintf(path, sizeof(path), "/tmp/ringloop-fifo-%d", (int)getpid());
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        ret_fds[0] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        ret_fds[1] = open(path, O_WRONLY | O_CLOEXEC);
        ck_assert_int_ge(ret_fds[0], 0);
        ck_assert_int_ge(ret_fds[1], 0);
        ck_assert_int_eq(fcntl(ret_fds[0], F_SETFL, 0), 0);
        unlink(path);
    }
    set_nonblocking(ret_fds[!ours]);
    if ((kind & 1) != 0)
        set_nonblocking(ret_fds[ours]);
}

static void close_end(struct loop *loop, struct end *end)
{
    end_close(end);
    run_until(loop, end->closes == 1);
}

/* ---- pipes */

/* Goal: all bytes come, in their order, then the end; the descriptor's flags stay. Method: patterned data through each
 * kind of pipe, more than it holds. */
START_TEST(pipe_reads)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.read_flow = 7};
    uint64_t     fed = 0, total = 300000;
    int          fds[2], flags;

    make_pipe(_i, PIPE_READER, fds);
    flags = fcntl(fds[0], F_GETFL);
    end_open(loop, &end, fds[0], NULL);
    end_read_start(&end);
    settle(loop);
    ck_assert_uint_eq(end.reads + end.read_ends, 0);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    pump_until(loop, feed(fds[1], 7, &fed, total));
    test_close(fds[1]);
    run_until(loop, end.read_ends == 1);
    ck_assert_uint_eq(end.read_bytes, total);
    ck_assert_int_eq(end.read_error, 0);
    ck_assert_int_eq(fcntl(fds[0], F_GETFL), flags);
    ck_assert_int_eq(loop_stream_read_start(&end.stream, end_read_cb), -ENOTCONN);
    close_end(loop, &end);
    test_loop_free(loop);
}
END_TEST

/* Goal: nothing comes while stopped, nothing is lost. Method: data and the end while stopped. */
START_TEST(pipe_stops)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.read_flow = 1};
    uint64_t     fed = 0;
    int          fds[2];

    make_pipe(_i, PIPE_READER, fds);
    end_open(loop, &end, fds[0], NULL);
    end_read_start(&end);
    ck_assert(feed(fds[1], 1, &fed, 1000));
    run_until(loop, end.read_bytes == 1000);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&end.stream)), 0);
    ck_assert(feed(fds[1], 1, &fed, 3000));
    test_close(fds[1]);
    settle(loop);
    ck_assert_uint_eq(end.read_bytes, 1000);
    end_read_start(&end);
    run_until(loop, end.read_ends == 1);
    ck_assert_uint_eq(end.read_bytes, 3000);
    close_end(loop, &end);
    test_loop_free(loop);
}
END_TEST

/* Goal: writes leave in order and whole through a pipe that is full most of the time; a shutdown is the reader's end,
 * and closes the descriptor. Method: small and large writes, a slow reader. */
START_TEST(pipe_writes)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.write_flow = 3};
    uint64_t     drained = 0;
    int          fds[2], flags;

    make_pipe(_i, PIPE_WRITER, fds);
    flags = fcntl(fds[1], F_GETFL);
    end_open(loop, &end, fds[1], NULL);
    for (uint32_t i = 0; i < 40; i++)
        ck_assert_int_eq(end_write(&end, i % 4 == 0 ? 30000 : 100 + i, i % 3 == 0 ? LOOP_WRITE_COPY : 0), 0);
    settle(loop);
    ck_assert_uint_gt(loop_stream_queued(&end.stream), 0);
    ck_assert_int_eq(fcntl(fds[1], F_GETFL), flags);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&end.stream, end_shutdown_cb)), 0);
    pump_until(loop, drain(fds[0], 3, &drained, 20000));
    ck_assert_uint_eq(drained, end.write_bytes);
    run_until(loop, end.shutdowns == 1);
    ck_assert_int_eq(end.shutdown_error, 0);
    ck_assert_uint_eq(end.taken_bytes, end.write_bytes);
    ck_assert_int_eq(loop_stream_fd(&end.stream), -EBADF);
    ck_assert_int_eq(end_write(&end, 1, 0), -EPIPE);
    ck_assert_int_eq(loop_stream_detach(&end.stream, NULL), -EINVAL);
    close_end(loop, &end);
    test_close(fds[0]);
    test_loop_free(loop);
}
END_TEST

/* Goal: a pipe that nobody reads gives EPIPE, never a signal, also when workers write as before Linux 6.18. Method: the
 * reader goes before and in the midst of a write; SIGPIPE would end the process. */
START_TEST(pipe_without_reader)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.write_flow = 3};
    int          fds[2];

    signal(SIGPIPE, SIG_DFL);
    make_pipe(0, PIPE_WRITER, fds);
    end_open(loop, &end, fds[1], NULL);
    if ((_i & 1) != 0)
        stream_set(&end.stream, STREAM_WRITE_ASYNC);
    if ((_i & 2) != 0)
        test_close(fds[0]);
    ck_assert_int_eq(end_write(&end, 1000000, 0), 0);
    ck_assert_int_eq(end_write(&end, 10, 0), 0);
    settle(loop);
    if ((_i & 2) == 0) {
        ck_assert_uint_eq(end.writes_done, 0);
        test_close(fds[0]);
    }
    run_until(loop, end.writes_done == 2);
    ck_assert_int_eq(end.write_error, -EPIPE);
    ck_assert_uint_eq(end.writes_failed, 2);
    ck_assert_int_eq(end_write(&end, 1, 0), -EPIPE);
    close_end(loop, &end);
    test_loop_free(loop);
}
END_TEST

/* Goal: what workers write is all there. Method: as above, with a reader. */
START_TEST(pipe_written_by_workers)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.write_flow = 3};
    uint64_t     drained = 0;
    int          fds[2];

    make_pipe(0, PIPE_WRITER, fds);
    end_open(loop, &end, fds[1], NULL);
    stream_set(&end.stream, STREAM_WRITE_ASYNC);
    ck_assert_int_eq(end_write(&end, 1000000, 0), 0);
    pump_until(loop, (drain(fds[0], 3, &drained, SIZE_MAX), drained == 1000000));
    run_until(loop, end.writes_done == 1);
    close_end(loop, &end);
    test_close(fds[0]);
    test_loop_free(loop);
}
END_TEST

/* Goal: a close comes to its end whatever is in flight. Method: a read of an idle pipe, a write to a full one. */
START_TEST(pipe_closes)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   reader = {.name = "r"}, writer = {.name = "w"};
    int          in[2], out[2];

    make_pipe(_i, PIPE_READER, in);
    make_pipe(_i, PIPE_WRITER, out);
    end_open(loop, &reader, in[0], NULL);
    end_open(loop, &writer, out[1], NULL);
    end_read_start(&reader);
    ck_assert_int_eq(end_write(&writer, 1000000, 0), 0);
    settle(loop);
    end_close(&reader);
    run_until(loop, reader.closes == 1);
    end_close(&writer);
    run_until(loop, writer.closes == 1);
    notes_are("r close; w write 0 ECANCELED; w close");
    test_close(in[1]);
    test_close(out[0]);
    test_loop_free(loop);
}
END_TEST

/* Goal: what a descriptor can't do is refused by the call. Method: both ends of a pipe. */
START_TEST(directions)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   reader = {0}, writer = {0};
    int          fds[2];

    test_pipe(fds);
    end_open(loop, &reader, fds[0], NULL);
    end_open(loop, &writer, fds[1], NULL);
    ck_assert_int_eq(end_write(&reader, 1, 0), -EPIPE);
    ck_assert_int_eq(loop_stream_shutdown(&reader.stream, NULL), -ENOTCONN);
    ck_assert_int_eq(loop_stream_read_start(&writer.stream, end_read_cb), -ENOTCONN);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&writer.stream, end_shutdown_cb)), 0);
    end_read_start(&reader);
    run_until(loop, reader.read_ends == 1 && writer.shutdowns == 1);
    close_end(loop, &reader);
    close_end(loop, &writer);
    test_loop_free(loop);
}
END_TEST

/* Goal: everything else is refused and stays the caller's. Method: each kind. */
START_TEST(refusals)
{
    struct loop       *loop = test_loop_new(NULL);
    struct loop_stream stream = {0};
    int                fds[] = {
                       open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                       epoll_create1(EPOLL_CLOEXEC),
                       socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0),
                       socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                       open("/dev/null", O_PATH | O_CLOEXEC),
    };

    for (size_t i = 0; i < TEST_COUNT(fds); i++) {
        ck_assert_int_ge(fds[i], 0);
        ck_assert_int_eq(loop_stream_open(loop, &stream, fds[i], NULL), i == 4 ? -EBADF : -EINVAL);
        test_close(fds[i]);
    }
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* ---- keeping the descriptor */

/* Goal: LOOP_STREAM_KEEP_FD leaves the descriptor open and whole. Method: a socket and a pipe; its peer goes on using
 * it. */
START_TEST(keep_fd)
{
    static const struct loop_stream_options options = {.flags = LOOP_STREAM_KEEP_FD};
    struct loop                            *loop = test_loop_new(NULL);
    struct end                              end = {0};
    char                                    byte = 0;
    int                                     fds[2];

    if (_i == 0)
        test_socketpair(fds);
    else
        test_pipe(fds);
    end_open(loop, &end, fds[1], &options);
    if (_i != 0)
        ck_assert_int_eq(CALL(loop_stream_shutdown(&end.stream, end_shutdown_cb)), 0);
    settle(loop);
    loop_stream_reset(&end.stream, end_close_cb);
    run_until(loop, end.closes == 1);
    test_write(fds[1], "x", 1);
    test_read(fds[0], &byte, 1);
    ck_assert_int_eq(byte, 'x');
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: 0, 1 and 2 stay open. Method: a pipe as the standard input. */
START_TEST(standard_input_stays_open)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.read_flow = 5};
    uint64_t     fed = 0;
    int          fds[2], saved = fcntl(0, F_DUPFD_CLOEXEC, 10);

    ck_assert_int_ge(saved, 0);
    make_pipe(0, PIPE_READER, fds);
    ck_assert_int_eq(dup2(fds[0], 0), 0);
    test_close(fds[0]);
    end_open(loop, &end, 0, NULL);
    end_read_start(&end);
    ck_assert(feed(fds[1], 5, &fed, 100));
    run_until(loop, end.read_bytes == 100);
    close_end(loop, &end);
    ck_assert_int_ge(fcntl(0, F_GETFD), 0);
    ck_assert_int_eq(dup2(saved, 0), 0);
    test_close(saved);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* ---- stdio of a child */

static struct loop_stream child_in, child_out;

static void child_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)bytes;
    (void)arg;
    if (error < 0)
        _exit(3);
}

static void child_shut(struct loop_stream *stream, int error)
{
    if (error < 0)
        _exit(9);
    loop_stream_close(stream, NULL);
}

static void child_ended(struct loop_stream *stream)
{
    (void)stream;
    if (loop_stream_shutdown(&child_out, child_shut) < 0)
        _exit(7);
}

static void child_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct loop_write_terms terms = {.release = result->buffer};

    if (result->res < 0)
        _exit(4);
    if (result->res == 0)
        loop_stream_close(stream, child_ended);
    else if (loop_stream_write(&child_out, result->data, (size_t)result->res, child_written, NULL, &terms) < 0)
        _exit(8);
}

/* Echoes its standard input, then ends. */
static void run_child(void)
{
    struct loop *loop;

    if (loop_create(&loop, NULL) < 0 || loop_stream_open(loop, &child_in, 0, NULL) < 0 ||
        loop_stream_open(loop, &child_out, 1, NULL) < 0 || loop_stream_read_start(&child_in, child_read) < 0)
        _exit(5);
    if (loop_run(loop, LOOP_RUN_DEFAULT) != 0)
        _exit(6);
    loop_destroy(loop);
    _exit(0);
}

/* Goal: a child talks over its standard streams, pipes or sockets, whether its parent's ends are non-blocking or not.
 * Method: an echo in a child with a loop of its own; its standard error stays as it is. */
START_TEST(child_over_standard_streams)
{
    struct end   in = {.write_flow = 11}, out = {.read_flow = 11};
    struct loop *loop;
    int          to[2], from[2], status;
    pid_t        pid;

    if ((_i & 2) != 0) {
        test_socketpair(to);
        test_socketpair(from);
    } else {
        test_pipe(to);
        test_pipe(from);
    }
    if ((_i & 1) != 0) {
        set_nonblocking(to[1]);
        set_nonblocking(from[0]);
    }
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[0]);
        close(to[1]);
        close(from[0]);
        close(from[1]);
        run_child();
    }
    test_close(to[0]);
    test_close(from[1]);
    loop = test_loop_new(NULL);
    end_open(loop, &in, to[1], NULL);
    end_open(loop, &out, from[0], NULL);
    end_read_start(&out);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(end_write(&in, 10000, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&in.stream, end_shutdown_cb)), 0);
    run_until(loop, out.read_ends == 1);
    ck_assert_uint_eq(out.read_bytes, 200000);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    close_end(loop, &in);
    close_end(loop, &out);
    test_loop_free(loop);
}
END_TEST

/* ---- files and devices */

/* Goal: a file as standard output: written where it stands, at its end with O_APPEND; and read from where it stands.
 * Method: some bytes before, patterned ones behind. */
START_TEST(regular_files)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   writer = {.write_flow = 9}, reader = {.read_flow = 9};
    char         path[64];
    int          fd, again;

    snprintf(path, sizeof(path), "/var/tmp/ringloop-file-%d", (int)getpid());
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | (_i == 1 ? O_APPEND : 0), 0600);
    ck_assert_int_ge(fd, 0);
    again = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    test_write(fd, "head", 4);
    if (_i == 1)
        lseek(fd, 0, SEEK_SET);
    end_open(loop, &writer, fd, NULL);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(end_write(&writer, 5000, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&writer.stream, end_shutdown_cb)), 0);
    run_until(loop, writer.shutdowns == 1);
    ck_assert_int_eq(lseek(again, 4, SEEK_SET), 4);
    end_open(loop, &reader, again, NULL);
    end_read_start(&reader);
    run_until(loop, reader.read_ends == 1);
    ck_assert_uint_eq(reader.read_bytes, 50000);
    ck_assert_int_eq(reader.read_error, 0);
    close_end(loop, &writer);
    close_end(loop, &reader);
    test_loop_free(loop);
}
END_TEST

/* Goal: a device that is no terminal. Method: the null device takes all and ends at once. */
START_TEST(null_device)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {0};
    int          fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    end_open(loop, &end, fd, NULL);
    ck_assert_int_eq(end_write(&end, 100000, 0), 0);
    end_read_start(&end);
    run_until(loop, end.writes_done == 1 && end.read_ends == 1);
    ck_assert_int_eq(end.read_error, 0);
    ck_assert_int_eq(end.write_error, 0);
    close_end(loop, &end);
    test_loop_free(loop);
}
END_TEST

/* ---- terminals */

/* Raw; -1: there are none. flags: O_NONBLOCK or not. */
static int open_terminal(int *ret_master, int flags)
{
    struct termios settings;
    int            master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | flags), terminal;

    if (master < 0) {
        test_skip("there are no pseudo-terminals");
        return -1;
    }
    ck_assert_int_eq(grantpt(master), 0);
    ck_assert_int_eq(unlockpt(master), 0);
    terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC | flags);
    ck_assert_int_ge(terminal, 0);
    ck_assert_int_eq(tcgetattr(terminal, &settings), 0);
    cfmakeraw(&settings);
    ck_assert_int_eq(tcsetattr(terminal, TCSANOW, &settings), 0);
    *ret_master = master;
    return terminal;
}

/* Goal: bytes both ways through a terminal, idle ones hold no buffer, its flags stay. Method: both sides are streams,
 * blocking or not; more than it holds. */
START_TEST(terminal_talks)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   ends[2] = {{.write_flow = 1, .read_flow = 2}, {.write_flow = 2, .read_flow = 1}};
    int          fds[2], flags;

    fds[0] = open_terminal(&fds[1], _i == 1 ? O_NONBLOCK : 0);
    if (fds[0] < 0) {
        test_loop_free(loop);
        return;
    }
    flags = fcntl(fds[0], F_GETFL);
    for (int i = 0; i < 2; i++) {
        end_open(loop, &ends[i], fds[i], NULL);
        end_read_start(&ends[i]);
    }
    settle(loop);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    for (int i = 0; i < 2; i++)
        for (int n = 0; n < 5; n++)
            ck_assert_int_eq(end_write(&ends[i], 20000, 0), 0);
    run_until(loop, ends[0].read_bytes == 100000 && ends[1].read_bytes == 100000);
    ck_assert_int_eq(fcntl(fds[0], F_GETFL), flags);
    close_end(loop, &ends[0]);
    run_until(loop, ends[1].read_ends == 1); /* nobody has the terminal open any more */
    ck_assert_int_eq(ends[1].read_error, -EIO);
    close_end(loop, &ends[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: the end of a terminal whose master goes. Method: as it says. */
START_TEST(terminal_hangs_up)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {0};
    int          master, fd = open_terminal(&master, 0);

    if (fd < 0) {
        test_loop_free(loop);
        return;
    }
    end_open(loop, &end, fd, NULL);
    end_read_start(&end);
    settle(loop);
    test_close(master);
    run_until(loop, end.read_ends == 1);
    ck_assert_int_eq(end.read_error, 0);
    ck_assert_int_eq(end_write(&end, 10, 0), 0);
    run_until(loop, end.writes_done == 1);
    ck_assert_int_eq(end.write_error, -EIO);
    close_end(loop, &end);
    test_loop_free(loop);
}
END_TEST

/* Goal: a terminal that takes nothing does not hold up the loop, nor its close. Method: a large write that nobody reads
 * (or a shutdown behind it), a timer meanwhile, and then the close. */
START_TEST(terminal_is_full)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.write_flow = 4, .name = "t"};
    int          master, fd = open_terminal(&master, _i == 1 ? O_NONBLOCK : 0);

    if (fd < 0) {
        test_loop_free(loop);
        return;
    }
    end_open(loop, &end, fd, NULL);
    end_read_start(&end);
    ck_assert_int_eq(end_write(&end, 1000000, 0), 0);
    run_for(loop, 20 * LOOP_MILLISECOND);
    ck_assert_uint_eq(end.writes_done, 0);
    end_close(&end);
    run_until(loop, end.closes == 1);
    notes_are("t write 0 ECANCELED; t close");
    test_close(master);
    test_loop_free(loop);
}
END_TEST

/* Goal: a read that waits in a worker of the kernel ends when it is asked to, and no byte gets lost. Method: a terminal
 * that is ready with one byte and then waits for more, for 25 seconds; stops and starts, then the close. */
START_TEST(terminal_holds_a_worker)
{
    struct loop   *loop = test_loop_new(NULL);
    struct termios settings;
    struct end     end = {.read_flow = 6};
    uint8_t        bytes[6];
    int            master, fd = open_terminal(&master, _i == 1 ? O_NONBLOCK : 0);

    if (fd < 0) {
        test_loop_free(loop);
        return;
    }
    ck_assert_int_eq(tcgetattr(fd, &settings), 0);
    settings.c_cc[VMIN] = 5;
    settings.c_cc[VTIME] = 250;
    ck_assert_int_eq(tcsetattr(fd, TCSANOW, &settings), 0);
    pattern_fill(6, 0, bytes, sizeof(bytes));
    end_open(loop, &end, fd, NULL);
    for (size_t i = 0; end.read_bytes < 5 && i < 200; i++) {
        end_read_start(&end);
        if (i < 5)
            test_write(master, bytes + i, 1);
        run_for(loop, 5 * LOOP_MILLISECOND);
        ck_assert_int_eq(CALL(loop_stream_read_stop(&end.stream)), 0);
        run_for(loop, 5 * LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(end.read_bytes, 5);
    end_read_start(&end);
    test_write(master, bytes + 5, 1);
    run_for(loop, 5 * LOOP_MILLISECOND);
    close_end(loop, &end);
    test_close(master);
    test_loop_free(loop);
}
END_TEST

static char   text[64];
static size_t text_size;

static void read_text(struct loop_stream *stream, const struct loop_result *result)
{
    (void)stream;
    callback_enter();
    ck_assert_int_gt(result->res, 0);
    ck_assert_uint_lt(text_size + (size_t)result->res, sizeof(text));
    memcpy(text + text_size, result->data, (size_t)result->res);
    text_size += (size_t)result->res;
}

/* Goal: lines, and pauses. Method: a terminal in line mode: half a line is no data; what comes while stopped waits. */
START_TEST(terminal_lines)
{
    struct loop   *loop = test_loop_new(NULL);
    struct termios settings;
    struct end     end = {0};
    int            master, fd = open_terminal(&master, 0);

    if (fd < 0) {
        test_loop_free(loop);
        return;
    }
    ck_assert_int_eq(tcgetattr(fd, &settings), 0);
    settings.c_lflag |= ICANON;
    ck_assert_int_eq(tcsetattr(fd, TCSANOW, &settings), 0);
    end_open(loop, &end, fd, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&end.stream, read_text)), 0);
    test_write(master, "half", 4);
    settle(loop);
    ck_assert_uint_eq(text_size, 0);
    test_write(master, " a line\n", 8);
    run_until(loop, text_size == 12);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&end.stream)), 0);
    test_write(master, "another\n", 8);
    settle(loop);
    ck_assert_uint_eq(text_size, 12);
    ck_assert_int_eq(CALL(loop_stream_read_start(&end.stream, read_text)), 0);
    run_until(loop, text_size == 20);
    ck_assert_mem_eq(text, "half a line\nanother\n", 20);
    close_end(loop, &end);
    test_close(master);
    test_loop_free(loop);
}
END_TEST

/* ---- reading by request */

static struct {
    uint32_t count;
    int      error;
    size_t   bytes;
} asked;

static void asked_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)arg;
    callback_enter();
    asked.count++;
    asked.error = error;
    asked.bytes = bytes;
}

/* Runs until the request that has been started with r has ended so. */
static void answered(struct loop *loop, int r, int error, size_t bytes)
{
    ck_assert_int_eq(r, 0);
    run_until(loop, asked.count > 0);
    ck_assert_uint_eq(asked.count, 1);
    ck_assert_int_eq(asked.error, error);
    ck_assert_uint_eq(asked.bytes, bytes);
    asked.count = 0;
}

/* Goal: requests work over all of them, one after the other, with and without deadlines; then reading by callback goes
 * on where they stopped. Method: pipes of each kind, a terminal; bytes that come before and after they are asked for.
 */
START_TEST(requests)
{
    const struct loop_request_terms brief = {.timeout_ns = 5 * LOOP_MILLISECOND};
    const bool                      is_terminal = _i == PIPE_KINDS;
    struct loop                    *loop = test_loop_new(NULL);
    struct end                      end = {.read_flow = 8};
    struct loop_stream             *stream = &end.stream;
    char                            data[64];
    size_t                          got;
    int                             fds[2];

    if (is_terminal) {
        fds[0] = open_terminal(&fds[1], 0);
        if (fds[0] < 0) {
            test_loop_free(loop);
            return;
        }
    } else {
        make_pipe(_i, PIPE_READER, fds);
    }
    end_open(loop, &end, fds[0], NULL);
    answered(loop, CALL(loop_stream_read(stream, data, 64, asked_cb, NULL, &brief)), -ETIMEDOUT, 0);
    answered(loop, CALL(loop_stream_read_ready(stream, asked_cb, NULL, &brief)), -ETIMEDOUT, 0);
    test_write(fds[1], "0123456789line\nrest", 19);
    answered(loop, CALL(loop_stream_read_ready(stream, asked_cb, NULL, NULL)), 0, 0);
    answered(loop, CALL(loop_stream_read_exactly(stream, data, 10, asked_cb, NULL, NULL)), 0, 10);
    ck_assert_mem_eq(data, "0123456789", 10);
    answered(loop, CALL(loop_stream_read_until(stream, data, 64, "\n", 1, asked_cb, NULL, NULL)), 0, 5);
    ck_assert_mem_eq(data, "line\n", 5);
    ck_assert_int_eq(loop_stream_try_read(stream, data, 64), 4);
    ck_assert_mem_eq(data, "rest", 4);
    ck_assert_int_eq(loop_stream_try_read(stream, data, 64), -EAGAIN);
    ck_assert_int_eq(CALL(loop_stream_read_exactly(stream, data, 8, asked_cb, NULL, NULL)), 0);
    settle(loop);
    test_write(fds[1], "half", 4);
    settle(loop);
    ck_assert_uint_eq(asked.count, 0);
    ck_assert_int_eq(CALL(loop_stream_read_cancel(stream)), 0);
    run_until(loop, asked.count == 1);
    got = asked.bytes; /* a worker may not have come to it yet */
    ck_assert_uint_le(got, 4);
    answered(loop, 0, -ECANCELED, got);
    ck_assert_int_eq(CALL(loop_stream_read_exactly(stream, data + got, 12 - got, asked_cb, NULL, NULL)), 0);
    settle(loop);
    test_write(fds[1], "a whole ", 8);
    answered(loop, 0, 0, 12 - got);
    ck_assert_mem_eq(data, "halfa whole ", 12);
    pattern_fill(8, 0, data, 20);
    test_write(fds[1], data, 20);
    end_read_start(&end);
    run_until(loop, end.read_bytes == 20);
    ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
    test_close(fds[1]);
    answered(loop, CALL(loop_stream_read(stream, data, 64, asked_cb, NULL, NULL)), -ENODATA, 0);
    ck_assert_int_eq(loop_stream_try_read(stream, data, 64), -ENOTCONN);
    close_end(loop, &end);
    test_loop_free(loop);
}
END_TEST

/* Goal: a close ends a request. Method: one that waits. */
START_TEST(request_at_close)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {0};
    char         data[8];
    int          fds[2];

    make_pipe(_i, PIPE_READER, fds);
    end_open(loop, &end, fds[0], NULL);
    ck_assert_int_eq(CALL(loop_stream_read(&end.stream, data, 8, asked_cb, NULL, NULL)), 0);
    settle(loop);
    end_close(&end);
    answered(loop, 0, -ECANCELED, 0);
    run_until(loop, end.closes == 1);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* ---- sockets */

/* Goal: a socket in non-blocking mode is as good as any. Method: both ways, both ends streams. */
START_TEST(nonblocking_sockets)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   ends[2] = {{.write_flow = 1, .read_flow = 2}, {.write_flow = 2, .read_flow = 1}};
    int          fds[2];

    net_pair(_i, fds);
    for (int i = 0; i < 2; i++) {
        set_nonblocking(fds[i]);
        end_open(loop, &ends[i], fds[i], NULL);
        end_read_start(&ends[i]);
        ck_assert_int_eq(end_write(&ends[i], 1000000, 0), 0);
    }
    run_until(loop, ends[0].read_bytes == 1000000 && ends[1].read_bytes == 1000000);
    close_end(loop, &ends[0]);
    close_end(loop, &ends[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: a socket that connects just now: reading and writing wait. Method: a full backlog, then an accept. */
START_TEST(connecting_socket)
{
    struct loop        *loop = test_loop_new(NULL);
    struct end          end = {.write_flow = 1, .read_flow = 2};
    struct peer         peer = {.read_flow = 1, .write_flow = 2};
    struct loop_address address;
    int                 listener = net_listen(NET_TCP4, 0, &address), filler = net_dial(&address), error = 0, fd;

    fd = net_dial_start(&address, &error);
    ck_assert(error == -EINPROGRESS || error == 0);
    end_open(loop, &end, fd, NULL);
    end_read_start(&end);
    ck_assert_int_eq(end_write(&end, 1000, 0), 0);
    run_for(loop, 5 * LOOP_MILLISECOND);
    ck_assert_uint_eq(end.read_ends, 0);
    test_close(accept(listener, NULL, NULL));
    peer.fd = accept(listener, NULL, NULL);
    ck_assert_int_ge(peer.fd, 0);
    pump_until(loop, peer_drain(&peer, SIZE_MAX) || peer.read_bytes == 1000);
    ck_assert(peer_feed(&peer, 500));
    run_until(loop, end.read_bytes == 500 && end.writes_done == 1);
    ck_assert_int_eq(end.write_error, 0);
    close_end(loop, &end);
    test_close(peer.fd);
    test_close(filler);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* Goal: a socket that nobody has connected fails in reading and writing. Method: new sockets; one that is refused. */
START_TEST(unconnected_socket)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {0};
    int          fd = socket(_i == 0 ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    end_open(loop, &end, fd, NULL);
    end_read_start(&end);
    ck_assert_int_eq(end_write(&end, 10, 0), 0);
    run_until(loop, end.read_ends == 1 && end.writes_done == 1);
    ck_assert_int_eq(end.read_error, _i == 0 ? -ENOTCONN : -EINVAL);
    ck_assert_int_eq(end.write_error, _i == 0 ? -EPIPE : -ENOTCONN);
    close_end(loop, &end);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_file");
    TCase *tcase = test_case(suite, "pipes");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, pipe_reads, 0, PIPE_KINDS);
    tcase_add_loop_test(tcase, pipe_stops, 0, PIPE_KINDS);
    tcase_add_loop_test(tcase, pipe_writes, 0, PIPE_KINDS);
    tcase_add_loop_test(tcase, pipe_without_reader, 0, 4);
    tcase_add_test(tcase, pipe_written_by_workers);
    tcase_add_loop_test(tcase, pipe_closes, 0, PIPE_KINDS);
    tcase = test_case(suite, "opening");
    tcase_add_test(tcase, directions);
    tcase_add_test(tcase, refusals);
    tcase_add_loop_test(tcase, keep_fd, 0, 2);
    tcase_add_test(tcase, standard_input_stays_open);
    tcase = test_case(suite, "children");
    tcase_add_loop_test(tcase, child_over_standard_streams, 0, 4);
    tcase = test_case(suite, "files");
    tcase_add_loop_test(tcase, regular_files, 0, 2);
    tcase_add_test(tcase, null_device);
    tcase = test_case(suite, "terminals");
    tcase_add_loop_test(tcase, terminal_talks, 0, 2);
    tcase_add_test(tcase, terminal_hangs_up);
    tcase_add_loop_test(tcase, terminal_is_full, 0, 2);
    tcase_add_loop_test(tcase, terminal_holds_a_worker, 0, 2);
    tcase_add_test(tcase, terminal_lines);
    tcase = test_case(suite, "requests");
    tcase_add_loop_test(tcase, requests, 0, PIPE_KINDS + 1);
    tcase_add_loop_test(tcase, request_at_close, 0, PIPE_KINDS);
    tcase = test_case(suite, "sockets");
    tcase_add_loop_test(tcase, nonblocking_sockets, 0, kinds);
    tcase_add_test(tcase, connecting_socket);
    tcase_add_loop_test(tcase, unconnected_socket, 0, 2);
    return suite;
}
