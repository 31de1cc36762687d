/* tests/loop/child_stdio_test.c: what a child finds: descriptors, environment, directory, user, limits, signals. */
#include "tests/loop/child_world.h"

#include <grp.h>
#include <pthread.h>
#include <sys/prctl.h>

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define FDS(...)                                                                                                       \
    .fds = (const struct loop_child_fd[]){__VA_ARGS__},                                                                \
    .fd_count = (uint32_t)TEST_COUNT(((const struct loop_child_fd[]){__VA_ARGS__}))

/* A file of ours that has no name. */
static int new_file(const char *content)
{
    char name[] = "/tmp/ringloop-child-XXXXXX";
    int  fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    unlink(name);
    test_write(fd, content, strlen(content));
    ck_assert_int_eq((int)lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static const char *content_of(int fd)
{
    static char text[1024];
    ssize_t     n = pread(fd, text, sizeof(text) - 1, 0);

    ck_assert_int_ge((int)n, 0);
    text[n] = '\0';
    return text;
}

/* ---- descriptors */

/* Goal: what is not asked for is not there: 0, 1 and 2 are /dev/null, nothing else is open, whatever the parent has.
 * Method: descriptors without O_CLOEXEC in the parent; with the flag they are inherited. */
START_TEST(nothing_else)
{
    struct loop *loop = test_loop_new(NULL);
    int          fd = open("/dev/zero", O_RDONLY);

    ck_assert_int_ge(fd, 0);
    ck_assert_str_eq(output_of(loop, "readlink /proc/self/fd/0 /proc/self/fd/2", NULL), "/dev/null\n/dev/null\n");
    ck_assert_str_eq(output_of(loop, "ls /proc/self/fd", NULL), "0\n1\n2\n3\n"); /* the last is the directory */
    ck_assert_ptr_nonnull(
        strstr(output_of(loop, "ls -l /proc/self/fd", &(struct loop_child_options){.flags = LOOP_CHILD_KEEP_FDS}),
               "/dev/zero"));
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    ck_assert_ptr_null(
        strstr(output_of(loop, "ls -l /proc/self/fd", &(struct loop_child_options){.flags = LOOP_CHILD_KEEP_FDS}),
               "/dev/zero"));
    close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: with the flag 0, 1 and 2 are the parent's; one that the parent has closed is closed there, too. */
START_TEST(parents_stdio)
{
    struct loop *loop = test_loop_new(NULL);
    int          kept[3], file = new_file("");

    for (int i = 0; i < 3; i++)
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
    dup2(file, 2);
    close(0);
    ck_assert_str_eq(output_of(loop, "echo error >&2; test -e /proc/self/fd/0 || echo closed",
                               &(struct loop_child_options){.flags = LOOP_CHILD_STDIO}),
                     "closed\n");
    ck_assert_str_eq(content_of(file), "error\n");
    for (int i = 0; i < 3; i++) {
        dup2(kept[i], i);
        close(kept[i]);
    }
    close(file);
    test_loop_free(loop);
}
END_TEST

/* Goal: standard input and output by pipes, which are blocking for the child, and non-blocking and close-on-exec for
 * us; the end of one is the end for the other. */
START_TEST(pipes)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};
    int          in = -1, out = -1;

    told_spawn(loop, &told, "cat; grep flags /proc/self/fdinfo/0",
               &(struct loop_child_options){FDS({.kind = LOOP_CHILD_PIPE_IN, .number = 0, .ret_fd = &in},
                                                {.kind = LOOP_CHILD_PIPE_OUT, .number = 1, .ret_fd = &out})});
    ck_assert_int_eq(fcntl(in, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(fcntl(out, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(fcntl(in, F_GETFL), O_WRONLY | O_NONBLOCK);
    ck_assert_int_eq(fcntl(out, F_GETFL), O_RDONLY | O_NONBLOCK);
    test_write(in, "hello\n", 6);
    close(in);
    ck_assert_str_eq(read_to_end(out), "hello\nflags:\t00\n"); /* neither O_NONBLOCK nor else */
    test_run(loop);
    told_exited(&told, 0);
    test_loop_free(loop);
}
END_TEST

struct echo {
    struct loop_stream in, out;
    size_t             bytes;
    bool               end;
};

static void echo_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct echo *echo = stream->data;

    ck_assert_int_ge(result->res, 0);
    echo->bytes += (size_t)result->res;
    if (result->res > 0)
        return;
    echo->end = true;
    loop_stream_close(stream, NULL);
}

static void echo_sent(struct loop_stream *stream, int error)
{
    ck_assert_int_eq(error, 0);
    loop_stream_close(stream, NULL);
}

/* Goal: the parent's ends are streams, of any size. Method: 4 MiB through cat. */
START_TEST(streams)
{
    enum { BYTES = 4 << 20 };
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};
    struct echo  echo = {.bytes = 0};
    char        *data = calloc(1, BYTES);
    int          in, out;

    for (int i = 0; i < 2; i++) {
        echo.bytes = 0;
        echo.end = false;
        told_spawn(loop, &told, "exec cat",
                   i == 0
                       ? &(struct loop_child_options){FDS({.kind = LOOP_CHILD_PIPE_IN, .number = 0, .ret_fd = &in},
                                                          {.kind = LOOP_CHILD_PIPE_OUT, .number = 1, .ret_fd = &out})}
                       : &(struct loop_child_options){FDS({.kind = LOOP_CHILD_SOCKET, .number = 0, .ret_fd = &in},
                                                          {.kind = LOOP_CHILD_SOCKET, .number = 1, .ret_fd = &out})});
        ck_assert_int_eq(loop_stream_open(loop, &echo.in, in, NULL), 0);
        ck_assert_int_eq(loop_stream_open(loop, &echo.out, out, NULL), 0);
        echo.out.data = &echo;
        ck_assert_int_eq(loop_stream_read_start(&echo.out, echo_read), 0);
        ck_assert_int_eq(loop_stream_write(&echo.in, data, BYTES, NULL, NULL, NULL), 0);
        ck_assert_int_eq(loop_stream_shutdown(&echo.in, echo_sent), 0);
        test_run(loop);
        told_exited(&told, 0);
        ck_assert(echo.end);
        ck_assert_uint_eq(echo.bytes, BYTES);
    }
    free(data);
    test_loop_free(loop);
}
END_TEST

/* Goal: standard output and error may be files, one for both, or changed for each other. */
START_TEST(into_files)
{
    static const char script[] = "echo output; echo error >&2";
    struct loop      *loop = test_loop_new(NULL);
    struct told       told = {.calls = 0};
    int               first = new_file(""), second = new_file("");

    told_spawn(loop, &told, script,
               &(struct loop_child_options){FDS({.kind = LOOP_CHILD_INHERIT, .number = 1, .fd = first},
                                                {.kind = LOOP_CHILD_INHERIT, .number = 2, .fd = first})});
    test_run(loop);
    ck_assert_str_eq(content_of(first), "output\nerror\n");
    ck_assert_int_eq(ftruncate(first, 0), 0);
    lseek(first, 0, SEEK_SET);
    told_spawn(loop, &told, script,
               &(struct loop_child_options){FDS({.kind = LOOP_CHILD_INHERIT, .number = 2, .fd = first},
                                                {.kind = LOOP_CHILD_INHERIT, .number = 1, .fd = second})});
    test_run(loop);
    ck_assert_str_eq(content_of(first), "error\n");
    ck_assert_str_eq(content_of(second), "output\n");
    close(first);
    close(second);
    test_loop_free(loop);
}
END_TEST

/* Goal: numbers are moved all at once: what one entry replaces is another's source all the same. Method: 1 and 2, and
 * three files, each in the place of the next. */
START_TEST(numbers_change_places)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};
    int          files[3], kept[2] = {fcntl(1, F_DUPFD_CLOEXEC, 10), fcntl(2, F_DUPFD_CLOEXEC, 10)};

    for (int i = 0; i < 3; i++)
        files[i] = new_file("");
    dup2(files[0], 1);
    dup2(files[1], 2);
    told_spawn(loop, &told, "echo output; echo error >&2",
               &(struct loop_child_options){FDS({.kind = LOOP_CHILD_INHERIT, .number = 2, .fd = 1},
                                                {.kind = LOOP_CHILD_INHERIT, .number = 1, .fd = 2})});
    dup2(kept[0], 1);
    dup2(kept[1], 2);
    close(kept[0]);
    close(kept[1]);
    test_run(loop);
    ck_assert_str_eq(content_of(files[0]), "error\n");
    ck_assert_str_eq(content_of(files[1]), "output\n");
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ftruncate(files[i], 0), 0);
    /* Shells take single digits only. */
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(dup3(files[i], 5 + i, O_CLOEXEC), 5 + i);
        close(files[i]);
        files[i] = 5 + i;
    }
    told_spawn(loop, &told, "echo five >&5; echo six >&6; echo seven >&7",
               &(struct loop_child_options){FDS({.kind = LOOP_CHILD_INHERIT, .number = 6, .fd = 5},
                                                {.kind = LOOP_CHILD_INHERIT, .number = 7, .fd = 6},
                                                {.kind = LOOP_CHILD_INHERIT, .number = 5, .fd = 7})});
    test_run(loop);
    told_exited(&told, 0);
    for (int i = 0; i < 3; i++) {
        static const char *const expected[] = {"six\n", "seven\n", "five\n"};
        char                     text[64] = "";
        off_t                    size = lseek(files[i], 0, SEEK_END), length = (off_t)strlen(expected[i]);

        ck_assert_int_ge((int)size, (int)length);
        ck_assert_int_eq((int)pread(files[i], text, sizeof(text) - 1, size - length), (int)length);
        ck_assert_str_eq(text, expected[i]);
        close(files[i]);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: the same number in parent and child, and numbers far above. Method: with 3 and 200 from a file; the child lists
 * what it has. */
START_TEST(greater_than_two)
{
    struct loop *loop = test_loop_new(NULL);
    int          file = new_file("content\n"), same = fcntl(file, F_DUPFD_CLOEXEC, 50);

    ck_assert_str_eq(
        output_of(loop, "cat /proc/self/fd/200; LC_ALL=C ls /proc/self/fd",
                  &(struct loop_child_options){FDS({.kind = LOOP_CHILD_INHERIT, .number = 200, .fd = file},
                                                   {.kind = LOOP_CHILD_INHERIT, .number = same, .fd = same},
                                                   {.kind = LOOP_CHILD_NULL, .number = 3})}),
        same == 50 ? "content\n0\n1\n2\n200\n3\n4\n50\n" : "" /* 4: the directory */);
    close(file);
    close(same);
    test_loop_free(loop);
}
END_TEST

/* Goal: a socket as a channel: descriptors go both ways over it. Method: the child, in Python, gets a file, writes into
 * it, and sends the reading end of a pipe. */
START_TEST(descriptors_both_ways)
{
    static const char program[] = "import socket, os\n"
                                  "s = socket.socket(fileno=3)\n"
                                  "data, fds, _, _ = socket.recv_fds(s, 100, 1)\n"
                                  "os.write(fds[0], b'from the child')\n"
                                  "r, w = os.pipe()\n"
                                  "os.write(w, b'through the pipe')\n"
                                  "socket.send_fds(s, [data.upper()], [r])\n";
    struct loop      *loop = test_loop_new(NULL);
    struct told       told = {.calls = 0};
    int               channel, file = new_file(""), fd = -1;
    char              control[CMSG_SPACE(sizeof(int))] = {0}, text[100] = "";
    struct iovec      iov = {"hello", 5};
    struct msghdr   msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *part = CMSG_FIRSTHDR(&msg);

    told_spawn(loop, &told, NULL,
               &(struct loop_child_options){.file = "python3",
                                            .args = ARGS("python3", "-c", program),
                                            FDS({.kind = LOOP_CHILD_SOCKET, .number = 3, .ret_fd = &channel},
                                                {.kind = LOOP_CHILD_INHERIT, .number = 2, .fd = 2})});
    ck_assert_int_ne(fcntl(channel, F_GETFL) & O_NONBLOCK, 0);
    *part = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(part), &file, sizeof(file));
    ck_assert_int_eq((int)sendmsg(channel, &msg, 0), 5);
    ck_assert_int_eq(poll(&(struct pollfd){.fd = channel, .events = POLLIN}, 1, 20000), 1);
    iov = (struct iovec){text, sizeof(text) - 1};
    ck_assert_int_eq((int)recvmsg(channel, &msg, MSG_CMSG_CLOEXEC), 5);
    ck_assert_str_eq(text, "HELLO");
    ck_assert_ptr_nonnull(CMSG_FIRSTHDR(&msg));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
    test_run(loop);
    told_exited(&told, 0);
    ck_assert_str_eq(content_of(file), "from the child");
    ck_assert_str_eq(read_to_end(fd), "through the pipe");
    close(channel);
    close(file);
    test_loop_free(loop);
}
END_TEST

/* Goal: a child serves a listening socket that the parent has made, and closed. */
START_TEST(tcp_server)
{
    static const char program[] = "import socket\n"
                                  "c, _ = socket.socket(fileno=3).accept()\n"
                                  "c.sendall(c.recv(100)[::-1])\n";
    struct loop      *loop = test_loop_new(NULL);
    struct told       told = {.calls = 0};
    uint16_t          port;
    int               listener = test_tcp_listener(&port, 4), client;
    char              text[7] = "";

    told_spawn(loop, &told, NULL,
               &(struct loop_child_options){.file = "python3",
                                            .args = ARGS("python3", "-c", program),
                                            FDS({.kind = LOOP_CHILD_INHERIT, .number = 3, .fd = listener},
                                                {.kind = LOOP_CHILD_INHERIT, .number = 2, .fd = 2})});
    close(listener);
    client = test_tcp_connect(port);
    test_write(client, "server", 6);
    test_read(client, text, 6);
    ck_assert_str_eq(text, "revres");
    close(client);
    test_run(loop);
    told_exited(&told, 0);
    test_loop_free(loop);
}
END_TEST

/* ---- arguments, environment, directory */

/* Goal: arguments arrive as they are: empty, with blanks, quotes, bytes that are no text; without any the program has
 * its file as the first. */
START_TEST(arguments)
{
    struct loop *loop = test_loop_new(NULL);

    ck_assert_str_eq(
        output_of(loop, NULL,
                  &(struct loop_child_options){.file = "/usr/bin/printf",
                                               .args = ARGS("name", "[%s]", "", "a b", "\"'\\", "\xff$x*")}),
        "[][a b][\"'\\][\xff$x*]");
    ck_assert_str_eq(output_of(loop, NULL, &(struct loop_child_options){.file = "/bin/true"}), "");
    ck_assert_str_eq(
        output_of(loop, NULL, &(struct loop_child_options){.file = "/bin/sh", .args = ARGS("zero", "-c", "echo $0")}),
        "zero\n");
    test_loop_free(loop);
}
END_TEST

/* Goal: the environment is the parent's as it is just now, the one given, or empty. */
START_TEST(environment)
{
    struct loop *loop = test_loop_new(NULL);

    setenv("RINGLOOP_CHILD", "a \"quoted\" 'value'", 1);
    ck_assert_str_eq(output_of(loop, "printf %s \"$RINGLOOP_CHILD\"", NULL), "a \"quoted\" 'value'");
    ck_assert_str_eq(
        output_of(loop, NULL, &(struct loop_child_options){.file = "/usr/bin/env", .env = ARGS("A=1", "B=")}),
        "A=1\nB=\n");
    ck_assert_str_eq(
        output_of(loop, NULL, &(struct loop_child_options){.file = "/usr/bin/env", .env = (const char *const[]){NULL}}),
        "");
    clearenv();
    ck_assert_str_eq(output_of(loop, NULL, &(struct loop_child_options){.file = "env"}), "");
    test_loop_free(loop);
}
END_TEST

static void new_program(char *directory, const char *name, const char *content, mode_t mode)
{
    char path[256];
    int  fd;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    ck_assert_int_ge(fd, 0);
    test_write(fd, content, strlen(content));
    fchmod(fd, mode);
    close(fd);
}

static void remove_all(const char *directory)
{
    char command[300];

    snprintf(command, sizeof(command), "/bin/rm -rf '%s'", directory);
    ck_assert_int_eq(system(command), 0);
}

/* Goal: a name is looked for in the PATH of the child's environment, of the parent's only if it gets that; what may not
 * be executed there is passed by, and so are directories that are none. */
START_TEST(path)
{
    char                      directory[] = "/tmp/ringloop-child-XXXXXX", other[] = "/tmp/ringloop-child-XXXXXX";
    char                      env[512], parents[600];
    const char *const         child_env[] = {"X=1", env, NULL};
    struct loop              *loop = test_loop_new(NULL);
    enum loop_child_step      step = LOOP_CHILD_STEP_PREPARE;
    struct loop_child_options options = {.file = "ringloop-program", .env = child_env, .ret_step = &step};
    struct told               told = {.calls = 0};

    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_ptr_nonnull(mkdtemp(other));
    new_program(directory, "ringloop-program", "#!/bin/sh\necho found\n", 0755);
    new_program(other, "ringloop-program", "#!/bin/sh\necho wrong\n", 0644);
    snprintf(env, sizeof(env), "PATH=/missing:/etc/passwd:%s:%s", other, directory);
    ck_assert_str_eq(output_of(loop, NULL, &options), "found\n");
    snprintf(env, sizeof(env), "PATH=%s", other);
    ck_assert_int_eq(told_try(loop, &told, NULL, &options), -EACCES);
    ck_assert_int_eq(step, LOOP_CHILD_STEP_EXEC);
    snprintf(env, sizeof(env), "PATH=/missing");
    ck_assert_int_eq(told_try(loop, &told, NULL, &options), -ENOENT);
    snprintf(parents, sizeof(parents), "%s:%s", directory, getenv("PATH"));
    setenv("PATH", parents, 1);
    ck_assert_int_eq(told_try(loop, &told, NULL, &options), -ENOENT);
    options.env = NULL;
    ck_assert_str_eq(output_of(loop, NULL, &options), "found\n");
    setenv("PATH", "/missing:", 1); /* an empty one is the directory that it starts in */
    options.cwd = directory;
    ck_assert_str_eq(output_of(loop, NULL, &options), "found\n");
    options.file = "./ringloop-program";
    ck_assert_str_eq(output_of(loop, NULL, &options), "found\n");
    remove_all(directory);
    remove_all(other);
    test_loop_free(loop);
}
END_TEST

/* Goal: the directory is the one given by path or descriptor, or both; ours stays. */
START_TEST(directory)
{
    char                 here[256], there[256];
    struct loop         *loop = test_loop_new(NULL);
    int                  fd = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct told          told = {.calls = 0};
    struct loop_child_fd taken = {.kind = LOOP_CHILD_NULL};

    ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
    ck_assert_str_eq(output_of(loop, "pwd -P", &(struct loop_child_options){.cwd = "/"}), "/\n");
    close(fd);
    fd = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_str_eq(output_of(loop, "pwd -P", &(struct loop_child_options){.cwd_fd = fd, .flags = LOOP_CHILD_CWD_FD}),
                     "/usr\n");
    ck_assert_str_eq(
        output_of(loop, "pwd -P", &(struct loop_child_options){.cwd = "bin", .cwd_fd = fd, .flags = LOOP_CHILD_CWD_FD}),
        "/usr/bin\n");
    taken.number = fd; /* in the child that number is something else */
    ck_assert_str_eq(
        output_of(loop, "pwd -P",
                  &(struct loop_child_options){.cwd_fd = fd, .flags = LOOP_CHILD_CWD_FD, .fds = &taken, .fd_count = 1}),
        "/usr\n");
    ck_assert_int_eq(
        told_try(loop, &told, "pwd", &(struct loop_child_options){.cwd_fd = -1, .flags = LOOP_CHILD_CWD_FD}), -EBADF);
    ck_assert_ptr_nonnull(getcwd(there, sizeof(there)));
    ck_assert_str_eq(here, there);
    close(fd);
    test_loop_free(loop);
}
END_TEST

/* ---- what else it has */

/* Goal: no signal is blocked or ignored in the child, whatever the parent has. */
START_TEST(signals_are_reset)
{
    struct loop *loop = test_loop_new(NULL);
    sigset_t     set;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGRTMIN + 1, SIG_IGN);
    sigfillset(&set);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    ck_assert_str_eq(
        output_of(loop, NULL,
                  &(struct loop_child_options){.file = "sed",
                                               .args = ARGS("sed", "-En", "/Sig(Blk|Ign|Cgt)/p", "/proc/self/status")}),
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n");
    sigemptyset(&set);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    test_loop_free(loop);
}
END_TEST

/* Goal: our own mask, dispositions and errno are as before a spawn. */
START_TEST(parent_is_unchanged)
{
    struct loop     *loop = test_loop_new(NULL);
    sigset_t         before, after;
    struct sigaction action;
    struct told      told[2] = {{.calls = 0}};

    signal(SIGUSR2, SIG_IGN);
    sigemptyset(&before);
    sigaddset(&before, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = EDOM;
    for (int i = 0; i < 2; i++) {
        int r = told_try(loop, &told[i], "exit 0", &(struct loop_child_options){.cwd = i == 0 ? "/" : "/missing"});

        ck_assert_int_eq(errno, EDOM);
        ck_assert_int_eq(r, i == 0 ? 0 : -ENOENT);
        errno = EDOM;
    }
    test_run(loop);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int i = 1; i < 32; i++)
        ck_assert_int_eq(sigismember(&after, i), i == SIGUSR1);
    sigaction(SIGUSR2, NULL, &action);
    ck_assert(action.sa_handler == SIG_IGN);
    test_loop_free(loop);
}
END_TEST

/* Goal: a child of another user does not make the parent one whose memory nobody may look at or dump, as a change of
 * user does to the process whose memory the child has until it executes; nor change it if it is such a one. Method: two
 * threads spawn at the same time. */
static void *spawn_others(void *arg)
{
    struct loop *loop = test_loop_new(NULL);

    (void)arg;
    for (int i = 0; i < 50; i++) {
        struct told told = {.calls = 0};

        told_spawn(loop, &told, NULL,
                   &(struct loop_child_options){
                       .file = "true", .flags = LOOP_CHILD_SETUID | LOOP_CHILD_SETGID, .uid = 65534, .gid = 65534});
        test_run_until(loop, &told.calls, 1);
        told_exited(&told, 0);
    }
    test_loop_free(loop);
    return NULL;
}

START_TEST(parent_stays_dumpable)
{
    if (geteuid() != 0) {
        test_skip("needs root");
        return;
    }
    for (int dumpable = 1; dumpable >= 0; dumpable--) {
        pthread_t thread;

        ck_assert_int_eq(prctl(PR_SET_DUMPABLE, dumpable), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, spawn_others, NULL), 0);
        (void)spawn_others(NULL);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(prctl(PR_GET_DUMPABLE), dumpable);
    }
    ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
}
END_TEST

/* Goal: umask, nice and limits are the child's alone. */
START_TEST(limits)
{
    static const struct loop_child_limit limit_list[] = {
        {.resource = RLIMIT_NOFILE, .soft = 77, .hard = 99},
        {.resource = RLIMIT_CORE, .soft = 0, .hard = 0},
    };
    struct loop  *loop = test_loop_new(NULL);
    struct rlimit before, after;
    int           nice_before = getpriority(PRIO_PROCESS, 0);
    char          expected[64];

    getrlimit(RLIMIT_NOFILE, &before);
    snprintf(expected, sizeof(expected), "0027\n%d\n77\n99\n0\n", nice_before + 3);
    ck_assert_str_eq(output_of(loop, "umask; nice; ulimit -n; ulimit -H -n; ulimit -c",
                               &(struct loop_child_options){.flags = LOOP_CHILD_UMASK,
                                                            .umask = 027,
                                                            .nice = 3,
                                                            .limits = limit_list,
                                                            .limit_count = TEST_COUNT(limit_list)}),
                     expected);
    getrlimit(RLIMIT_NOFILE, &after);
    ck_assert_uint_eq(before.rlim_cur, after.rlim_cur);
    ck_assert_int_eq(getpriority(PRIO_PROCESS, 0), nice_before);
    test_loop_free(loop);
}
END_TEST

/* Goal: user, group and supplementary groups are those asked for; without a list there are none left. */
START_TEST(other_user)
{
    static const gid_t groups[] = {65533, 65532};
    const uint32_t     both = LOOP_CHILD_SETUID | LOOP_CHILD_SETGID;
    struct loop       *loop;

    if (geteuid() != 0) {
        test_skip("needs root");
        return;
    }
    loop = test_loop_new(NULL);
    ck_assert_int_eq(setgroups(2, (const gid_t[]){4, 5}), 0);
    ck_assert_str_eq(output_of(loop, "grep -E '^(Uid|Gid|Groups)' /proc/self/status | tr '\\t' ' '",
                               &(struct loop_child_options){.flags = both, .uid = 65534, .gid = 65531}),
                     "Uid: 65534 65534 65534 65534\nGid: 65531 65531 65531 65531\nGroups:  \n");
    ck_assert_str_eq(output_of(loop, "grep ^Groups /proc/self/status | tr '\\t' ' '",
                               &(struct loop_child_options){
                                   .flags = both, .uid = 65534, .gid = 65531, .groups = groups, .group_count = 2}),
                     "Groups: 65532 65533 \n");
    ck_assert_str_eq(output_of(loop, "id -u; id -g", NULL), "0\n0\n");
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("child_stdio");
    TCase *tcase = test_case(suite, "descriptors");

    tcase_add_test(tcase, nothing_else);
    tcase_add_test(tcase, parents_stdio);
    tcase_add_test(tcase, pipes);
    tcase_add_test(tcase, streams);
    tcase_add_test(tcase, into_files);
    tcase_add_test(tcase, numbers_change_places);
    tcase_add_test(tcase, greater_than_two);
    tcase_add_test(tcase, descriptors_both_ways);
    tcase_add_test(tcase, tcp_server);

    tcase = test_case(suite, "program");
    tcase_add_test(tcase, arguments);
    tcase_add_test(tcase, environment);
    tcase_add_test(tcase, path);
    tcase_add_test(tcase, directory);

    tcase = test_case(suite, "rest");
    tcase_add_test(tcase, signals_are_reset);
    tcase_add_test(tcase, parent_is_unchanged);
    tcase_add_test(tcase, limits);
    tcase_add_test(tcase, other_user);
    tcase_add_test(tcase, parent_stays_dumpable);
    return suite;
}
