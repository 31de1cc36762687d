/* tests/loop/child_world.c: what tests of children share. */
#include "tests/loop/child_world.h"

enum { LOOKS_MAX = 20000 };

void told_cb(struct loop_child *child, const struct loop_child_exit *exit)
{
    struct told *told = child->data;

    ck_assert(!loop_child_active(child));
    if (told == NULL)
        return;
    told->calls++;
    told->exit = *exit;
    told->exit.usage = NULL;
    told->has_usage = exit->usage != NULL;
    if (exit->usage != NULL)
        told->usage = *exit->usage;
}

int told_try(struct loop *loop, struct told *told, const char *script, const struct loop_child_options *options)
{
    const char *const         args[] = {"sh", "-c", script, NULL};
    struct loop_child_options own = {.flags = 0};

    if (options != NULL)
        own = *options;
    if (script != NULL) {
        own.file = "/bin/sh";
        own.args = args;
    }
    told->child.data = told;
    told->calls = 0;
    return loop_child_spawn(loop, &told->child, &own, told_cb);
}

void told_spawn(struct loop *loop, struct told *told, const char *script, const struct loop_child_options *options)
{
    int r = told_try(loop, told, script, options);

    ck_assert_msg(r == 0, "%s: %s", script == NULL ? options->file : script, strerror(-r));
    ck_assert_int_gt(loop_child_pid(&told->child), 0);
    ck_assert(loop_child_active(&told->child));
}

void told_exited(const struct told *told, int status)
{
    ck_assert_uint_eq(told->calls, 1);
    ck_assert_msg(told->exit.error == 0, "error %s", strerror(-told->exit.error));
    ck_assert_int_eq(told->exit.signum, 0);
    ck_assert_int_eq(told->exit.status, status);
    ck_assert(told->has_usage);
}

void told_killed(const struct told *told, int signum)
{
    ck_assert_uint_eq(told->calls, 1);
    ck_assert_int_eq(told->exit.error, 0);
    ck_assert_int_eq(told->exit.status, -1);
    ck_assert_int_eq(told->exit.signum, signum);
    ck_assert(told->has_usage);
}

void told_error(const struct told *told, int error)
{
    ck_assert_uint_eq(told->calls, 1);
    ck_assert_msg(told->exit.error == error, "error %s, not %s", strerror(-told->exit.error), strerror(-error));
    ck_assert_int_eq(told->exit.status, -1);
    ck_assert_int_eq(told->exit.signum, 0);
    ck_assert(!told->has_usage);
}

const char *read_to_end(int fd)
{
    static char text[16384];
    size_t      size = 0;

    for (int i = 0; i < LOOKS_MAX; i++) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        ssize_t       n;

        ck_assert_int_eq(poll(&pollfd, 1, 20000), 1);
        n = read(fd, text + size, sizeof(text) - 1 - size);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        ck_assert_int_ge((int)n, 0);
        size += (size_t)n;
        if (n == 0)
            break;
    }
    text[size] = '\0';
    close(fd);
    return text;
}

const char *output_of(struct loop *loop, const char *script, const struct loop_child_options *options)
{
    struct told               told = {.calls = 0};
    int                       fd;
    struct loop_child_options own = {.flags = 0};
    struct loop_child_fd      fds[8] = {{.kind = LOOP_CHILD_PIPE_OUT, .number = 1, .ret_fd = &fd}};
    const char               *text;

    if (options != NULL)
        own = *options;
    ck_assert_uint_lt(own.fd_count, TEST_COUNT(fds));
    if (own.fd_count > 0)
        memcpy(fds + 1, own.fds, own.fd_count * sizeof(fds[0]));
    own.fds = fds;
    own.fd_count++;
    told_spawn(loop, &told, script, &own);
    text = read_to_end(fd);
    test_run_until(loop, &told.calls, 1);
    told_exited(&told, 0);
    return text;
}

void no_children(void)
{
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}

void wait_until_dead(pid_t pid)
{
    for (int i = 0; i < LOOKS_MAX; i++) {
        char  name[64], line[256] = "";
        FILE *file;

        snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
        file = fopen(name, "r");
        if (file == NULL)
            return;
        if (fgets(line, sizeof(line), file) == NULL)
            line[0] = '\0';
        fclose(file);
        if (strstr(line, ") Z ") != NULL || line[0] == '\0')
            return;
        test_sleep(LOOP_MILLISECOND);
    }
    ck_abort_msg("process %d goes on", (int)pid);
}
