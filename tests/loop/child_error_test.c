/* tests/loop/child_error_test.c: spawns that fail: told at once, with the step, and nothing is left. */
#include "tests/loop/child_world.h"

static struct loop *loop;
static uint32_t     fds_before;

static void begin(const struct loop_options *options)
{
    loop = test_loop_new(options);
    fds_before = test_fd_count();
}

/* Nothing is left but the loop. */
static void end(void)
{
    no_children();
    ck_assert_uint_eq(test_fd_count(), fds_before);
    ck_assert(!loop_alive(loop));
    test_run(loop);
    test_loop_free(loop);
}

/* A spawn of the options fails so, at that step, and touches no output. */
static void fails(const struct loop_child_options *options, int error, enum loop_child_step step)
{
    enum loop_child_step      at = (enum loop_child_step)99;
    int                       ends[2] = {-77, -77};
    struct loop_child_fd      fds[8] = {{.kind = LOOP_CHILD_PIPE_OUT, .number = 9, .ret_fd = &ends[0]},
                                        {.kind = LOOP_CHILD_SOCKET, .number = 8, .ret_fd = &ends[1]}};
    struct loop_child_options own = *options;
    struct told               told = {.calls = 0};
    uint32_t                  fd_count = test_fd_count();
    int                       r;

    if (own.fd_count < 6) {
        if (own.fd_count > 0)
            memcpy(&fds[2], own.fds, own.fd_count * sizeof(fds[0]));
        own.fds = fds;
        own.fd_count += 2;
    }
    own.ret_step = &at;
    r = told_try(loop, &told, own.file == NULL ? "exit 0" : NULL, &own);
    ck_assert_msg(r == error, "%s, not %s", strerror(-r), strerror(-error));
    ck_assert_int_eq((int)at, (int)step);
    ck_assert_int_eq(ends[0], -77);
    ck_assert_int_eq(ends[1], -77);
    ck_assert(!loop_child_active(&told.child));
    ck_assert_uint_eq(told.calls, 0);
    ck_assert_uint_eq(test_fd_count(), fd_count);
    no_children();
}

/* Goal: what makes no sense is refused, before anything has happened. */
START_TEST(bad_arguments)
{
    int                        out = -1;
    const gid_t                group = 1;
    struct loop_child          child = {0};
    struct loop_child_fd       too_many[LOOP_CHILD_FDS_MAX + 1] = {{.kind = LOOP_CHILD_NULL}};
    const struct loop_child_fd bad_fds[] = {
        {.kind = LOOP_CHILD_SOCKET + 1, .number = 3},
        {.kind = LOOP_CHILD_NULL, .number = -1},
        {.kind = LOOP_CHILD_NULL, .number = INT32_MAX},
        {.kind = LOOP_CHILD_NULL, .number = 3, .reserved = 1},
        {.kind = LOOP_CHILD_NULL, .number = 3, .ret_fd = &out},
        {.kind = LOOP_CHILD_PIPE_IN, .number = 3},
        {.kind = LOOP_CHILD_NULL, .number = 9}, /* twice */
    };
    const struct loop_child_options bad[] = {
        {.flags = 1u << 8},
        {.flags = LOOP_CHILD_SESSION | LOOP_CHILD_GROUP},
        {.reserved = 1},
        {.fds = too_many, .fd_count = LOOP_CHILD_FDS_MAX + 1},
        {.fds = NULL, .fd_count = 6},
        {.file = "true", .args = (const char *const[]){NULL}},
        {.death_signal = -1},
        {.death_signal = 65},
        {.group = -1},
        {.group_count = 1},
        {.group_count = 1, .groups = &group}, /* without a change of user */
        {.limit_count = 1},
        {.limit_count = 65},
    };

    begin(NULL);
    for (int i = 0; i <= LOOP_CHILD_FDS_MAX; i++)
        too_many[i].number = i;
    for (size_t i = 0; i < TEST_COUNT(bad_fds); i++)
        fails(&(struct loop_child_options){.fds = &bad_fds[i], .fd_count = 1}, -EINVAL, LOOP_CHILD_STEP_PREPARE);
    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        fails(&bad[i], -EINVAL, LOOP_CHILD_STEP_PREPARE);
    ck_assert_int_eq(loop_child_spawn(loop, &child, NULL, told_cb), -EINVAL);
    ck_assert_int_eq(loop_child_spawn(loop, &child, &(struct loop_child_options){.flags = 0}, told_cb), -EINVAL);
    ck_assert_int_eq(loop_child_spawn(loop, &child, &(struct loop_child_options){.file = "true"}, NULL), -EINVAL);
    ck_assert_int_eq(loop_child_spawn(loop, NULL, &(struct loop_child_options){.file = "true"}, told_cb), -EINVAL);
    end();
}
END_TEST

/* Goal: what can't be executed is told by the call. */
START_TEST(programs)
{
    static char too_long[200000];
    char        name[] = "/tmp/ringloop-child-XXXXXX";
    int         fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    memset(too_long, 'x', sizeof(too_long) - 1);
    begin(NULL);
    fails(&(struct loop_child_options){.file = "/missing/program"}, -ENOENT, LOOP_CHILD_STEP_EXEC);
    fails(&(struct loop_child_options){.file = "ringloop-no-such-program"}, -ENOENT, LOOP_CHILD_STEP_EXEC);
    fails(&(struct loop_child_options){.file = ""}, -ENOENT, LOOP_CHILD_STEP_EXEC);
    fails(&(struct loop_child_options){.file = "/tmp"}, -EACCES, LOOP_CHILD_STEP_EXEC);
    fails(&(struct loop_child_options){.file = "/etc/passwd"}, -EACCES, LOOP_CHILD_STEP_EXEC);
    fails(&(struct loop_child_options){.file = "/etc/passwd/x"}, -ENOTDIR, LOOP_CHILD_STEP_EXEC);
    fails(&(struct loop_child_options){.file = too_long}, -ENAMETOOLONG, LOOP_CHILD_STEP_EXEC);
    fails(&(struct loop_child_options){.file = "true", .args = (const char *const[]){"true", too_long, NULL}}, -E2BIG,
          LOOP_CHILD_STEP_EXEC);
    fchmod(fd, 0755);
    fails(&(struct loop_child_options){.file = name}, -ETXTBSY, LOOP_CHILD_STEP_EXEC); /* open for writing */
    test_write(fd, "no program", 10);
    close(fd);
    fds_before--;
    fails(&(struct loop_child_options){.file = name}, -ENOEXEC, LOOP_CHILD_STEP_EXEC);
    unlink(name);
    end();
}
END_TEST

/* Goal: so is what comes before: directory, descriptors, groups, limits. */
START_TEST(steps)
{
    const struct loop_child_fd    closed = {.kind = LOOP_CHILD_INHERIT, .number = 3, .fd = 999};
    const struct loop_child_fd    negative = {.kind = LOOP_CHILD_INHERIT, .number = 3, .fd = -1};
    const struct loop_child_fd    beyond = {.kind = LOOP_CHILD_NULL, .number = INT32_MAX - 1};
    const struct loop_child_limit upside_down = {.resource = RLIMIT_NOFILE, .soft = 9, .hard = 3};
    const struct loop_child_limit unknown = {.resource = 1000};

    begin(NULL);
    fails(&(struct loop_child_options){.cwd = "/missing"}, -ENOENT, LOOP_CHILD_STEP_CWD);
    fails(&(struct loop_child_options){.cwd = "/etc/passwd"}, -ENOTDIR, LOOP_CHILD_STEP_CWD);
    fails(&(struct loop_child_options){.cwd_fd = 999, .flags = LOOP_CHILD_CWD_FD}, -EBADF, LOOP_CHILD_STEP_CWD);
    fails(&(struct loop_child_options){.fds = &closed, .fd_count = 1}, -EBADF, LOOP_CHILD_STEP_PREPARE);
    fails(&(struct loop_child_options){.fds = &negative, .fd_count = 1}, -EBADF, LOOP_CHILD_STEP_PREPARE);
    fails(&(struct loop_child_options){.fds = &beyond, .fd_count = 1}, -EBADF, LOOP_CHILD_STEP_FDS);
    fails(&(struct loop_child_options){.flags = LOOP_CHILD_GROUP, .group = getppid()}, -EPERM, LOOP_CHILD_STEP_GROUP);
    fails(&(struct loop_child_options){.limits = &upside_down, .limit_count = 1}, -EINVAL, LOOP_CHILD_STEP_LIMITS);
    fails(&(struct loop_child_options){.limits = &unknown, .limit_count = 1}, -EINVAL, LOOP_CHILD_STEP_LIMITS);
    end();
}
END_TEST

/* Goal: a user that one may not become. Method: without rights, by a test that gives them up. */
START_TEST(credentials)
{
    const gid_t group = 1;

    if (geteuid() == 0) {
        ck_assert_int_eq(setresgid(65534, 65534, 65534), 0);
        ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
    }
    begin(NULL);
    fails(&(struct loop_child_options){.flags = LOOP_CHILD_SETUID, .uid = 0}, -EPERM, LOOP_CHILD_STEP_CREDENTIALS);
    fails(&(struct loop_child_options){.flags = LOOP_CHILD_SETGID, .gid = 0}, -EPERM, LOOP_CHILD_STEP_CREDENTIALS);
    fails(
        &(struct loop_child_options){.flags = LOOP_CHILD_SETUID, .uid = geteuid(), .groups = &group, .group_count = 1},
        -EPERM, LOOP_CHILD_STEP_CREDENTIALS);
    fails(&(struct loop_child_options){.nice = -5}, -EACCES, LOOP_CHILD_STEP_LIMITS);
    /* What it is already, it may stay. */
    ck_assert_str_eq(output_of(loop, "id -u",
                               &(struct loop_child_options){
                                   .flags = LOOP_CHILD_SETUID | LOOP_CHILD_SETGID, .uid = geteuid(), .gid = getegid()}),
                     geteuid() == 65534 ? "65534\n" : output_of(loop, "id -u", NULL));
    end();
}
END_TEST

/* Goal: many failures in a row leave nothing. */
START_TEST(again_and_again)
{
    begin(NULL);
    for (int i = 0; i < 300; i++)
        fails(i % 2 == 0 ? &(struct loop_child_options){.file = "/missing"}
                         : &(struct loop_child_options){.cwd = "/missing"},
              -ENOENT, i % 2 == 0 ? LOOP_CHILD_STEP_EXEC : LOOP_CHILD_STEP_CWD);
    end();
}
END_TEST

/* Goal: at each point where memory may be missing, the spawn fails and nothing is left: also no process. */
START_TEST(no_memory)
{
    int r = -ENOMEM;

    for (uint64_t at = 1; r != 0; at++) {
        struct told told = {.calls = 0};

        ck_assert_uint_lt(at, 50);
        begin(NULL);
        test_memory.fail_from = test_memory.calls + at;
        r = told_try(loop, &told, "exit 3", NULL);
        test_memory.fail_from = 0;
        if (r == 0) {
            test_run(loop);
            told_exited(&told, 3);
        } else {
            ck_assert_int_eq(r, -ENOMEM);
        }
        end();
    }
}
END_TEST

/* Goal: without descriptors the spawn fails at each of them. Method: a limit that leaves room for none, one, two ... */
START_TEST(no_descriptors)
{
    struct rlimit limit, before;
    int           r = -EMFILE, failures = 0;

    begin(NULL);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    for (uint32_t room = 0; r != 0; room++) {
        struct told                told = {.calls = 0};
        int                        out = -1, channel = -1;
        const struct loop_child_fd fds[] = {
            {.kind = LOOP_CHILD_PIPE_OUT, .number = 1, .ret_fd = &out},
            {.kind = LOOP_CHILD_SOCKET, .number = 2, .ret_fd = &channel},
        };

        ck_assert_uint_lt(room, 100);
        limit.rlim_cur = fds_before + room;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        r = told_try(loop, &told, "exit 3", &(struct loop_child_options){.fds = fds, .fd_count = 2});
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        failures += r < 0;
        if (r < 0) {
            ck_assert_int_eq(r, -EMFILE);
            ck_assert_int_eq(out, -1);
            no_children();
            ck_assert_uint_eq(test_fd_count(), fds_before);
        } else {
            close(out);
            close(channel);
            test_run(loop);
            told_exited(&told, 3);
        }
    }
    ck_assert_int_ge(failures, 5);
    end();
}
END_TEST

/* Goal: without room for a process the spawn fails. Method: a limit of processes, as another user. */
START_TEST(no_processes)
{
    struct rlimit none, before;

    if (geteuid() == 0) {
        ck_assert_int_eq(setresgid(65533, 65533, 65533), 0);
        ck_assert_int_eq(setresuid(65533, 65533, 65533), 0);
    }
    begin(NULL);
    ck_assert_int_eq(getrlimit(RLIMIT_NPROC, &before), 0);
    none = before;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &none), 0);
    fails(&(struct loop_child_options){.flags = 0}, -EAGAIN, LOOP_CHILD_STEP_PREPARE);
    ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &before), 0);
    end();
}
END_TEST

/* Goal: with ops_max operations in flight nothing is spawned, and that is counted; nor on a loop
 * that may not poll, or cannot. */
START_TEST(limits_of_the_loop)
{
    static const uint8_t           nop = LOOP_OP_NOP;
    const struct loop_restrictions restrictions = {.opcodes = &nop, .opcodes_count = 1};
    struct told                    told = {.calls = 0};

    begin(&(struct loop_options){.ops_max = 1});
    told_spawn(loop, &told, "sleep 0.1", NULL);
    ck_assert_int_eq(told_try(loop, &(struct told){.calls = 0}, "exit 0", NULL), -ENOBUFS);
    ck_assert_uint_eq(test_stats(loop).ops_full, 1);
    test_run(loop);
    told_exited(&told, 0);
    end();
    begin(&(struct loop_options){.modes.restrictions = &restrictions});
    fails(&(struct loop_child_options){.flags = 0}, -EACCES, LOOP_CHILD_STEP_PREPARE);
    end();
    begin(&(struct loop_options){.flags = LOOP_MODE_IOPOLL});
    fails(&(struct loop_child_options){.flags = 0}, -EOPNOTSUPP, LOOP_CHILD_STEP_PREPARE);
    end();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("child_error");
    TCase *tcase = test_case(suite, "refused");

    tcase_add_test(tcase, bad_arguments);
    tcase_add_test(tcase, limits_of_the_loop);

    tcase = test_case(suite, "steps");
    tcase_add_test(tcase, programs);
    tcase_add_test(tcase, steps);
    tcase_add_test(tcase, credentials);
    tcase_add_test(tcase, again_and_again);

    tcase = test_case(suite, "short_of");
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, no_descriptors);
    tcase_add_test(tcase, no_processes);
    return suite;
}
