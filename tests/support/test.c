/* tests/support/test.c: the fixture and helpers of all test programs. */
#include "tests/support/test.h"

#include "tests/support/main.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* ---- the fixture */

enum { FD_MAX = 4096 };

static bool fd_before[FD_MAX];

static uint32_t fd_list(bool ret_open[FD_MAX])
{
    DIR           *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    uint32_t       count = 0;

    ck_assert_ptr_nonnull(directory);
    memset(ret_open, 0, FD_MAX * sizeof(ret_open[0]));
    while ((entry = readdir(directory)) != NULL) {
        int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);

        if (fd < 0 || fd >= FD_MAX || fd == dirfd(directory))
            continue;
        ret_open[fd] = true;
        count++;
    }
    closedir(directory);
    return count;
}

uint32_t test_fd_count(void)
{
    bool open[FD_MAX];

    return fd_list(open);
}

static void fixture_setup(void)
{
    signal(SIGPIPE, SIG_DFL); /* the library must not need it ignored */
    memset(&test_memory, 0, sizeof(test_memory));
    fd_list(fd_before);
}

static void fixture_teardown(void)
{
    bool fd_after[FD_MAX];

    fd_list(fd_after);
    for (int fd = 0; fd < FD_MAX; fd++) {
        char    link[64], target[256] = "";
        ssize_t size;

        if (fd_after[fd] == fd_before[fd])
            continue;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        size = readlink(link, target, sizeof(target) - 1);
        ck_abort_msg("descriptor %d (%s) was %s", fd, size > 0 ? target : "?",
                     fd_after[fd] ? "left open" : "closed though it is not the test's");
    }
    ck_assert_msg(test_memory.blocks == 0, "%" PRIu64 " blocks, %" PRIu64 " bytes of loop memory left",
                  (uint64_t)test_memory.blocks, (uint64_t)test_memory.bytes);
}

TCase *test_case_without_ring(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, (double)test_env("TEST_TIMEOUT_S", TEST_TIMEOUT_S));
    tcase_add_checked_fixture(tcase, fixture_setup, fixture_teardown);
    suite_add_tcase(suite, tcase);
    return tcase;
}

TCase *test_case(Suite *suite, const char *name)
{
    test_shared->needs_ring = true;
    return test_case_without_ring(suite, name);
}

void test_skip(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    printf("SKIPPED a test: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
    test_shared->skipped++;
}

void test_expect_abort(void (*scenario)(void *arg), void *arg, const char *text)
{
    char   output[8192];
    size_t size = 0;
    int    fds[2], status;
    pid_t  pid;

    test_pipe(fds);
    fflush(NULL);
    pid = _Fork(); /* without the handlers by which loops of the parent are recognised: it does what the parent would */
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        alarm((unsigned)test_env("TEST_TIMEOUT_S", TEST_TIMEOUT_S));
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        scenario(arg);
        _exit(0);
    }
    close(fds[1]);
    for (;;) {
        ssize_t n = read(fds[0], output + size, sizeof(output) - 1 - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    output[size] = '\0';
    close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
                  "did not abort but ended with status %#x; stderr: %s", (unsigned)status, output);
    ck_assert_msg(strstr(output, text) != NULL, "the message does not say \"%s\" but: %s", text, output);
}

void test_in_child(void (*run)(void *arg), void *arg)
{
    int   status = -1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL); /* libcheck's would end all of its children */
        alarm(20);
        run(arg);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0)
        ck_assert_int_eq(errno, EINTR);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %#x", (unsigned)status);
}

uint64_t test_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

uint64_t test_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t test_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * LOOP_SECOND + (uint64_t)now.tv_nsec;
}

void test_sleep(uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / LOOP_SECOND), .tv_nsec = (long)(ns % LOOP_SECOND)};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* ---- memory */

struct test_memory test_memory;

struct block {
    size_t   size;
    uint64_t magic;
};
enum { MAGIC_LIVE = 0x600d600d, MAGIC_FREED = 0xdeaddead };

static void *memory_resize(void *arg, void *memory, size_t size)
{
    struct block *old = memory == NULL ? NULL : (struct block *)memory - 1;
    struct block *new;
    uint64_t call;

    if (arg != &test_memory)
        ck_abort_msg("the allocator's arg is not the one given");
    if (old != NULL && old->magic != MAGIC_LIVE)
        ck_abort_msg("memory that is not allocated was given to the allocator");
    if (size == 0) {
        if (old == NULL)
            return NULL;
        atomic_fetch_sub(&test_memory.blocks, 1);
        atomic_fetch_sub(&test_memory.bytes, old->size);
        old->magic = MAGIC_FREED;
        memset(old + 1, 0xdb, old->size);
        free(old);
        return NULL;
    }
    call = atomic_fetch_add(&test_memory.calls, 1) + 1;
    if (call == test_memory.fail_at || (test_memory.fail_from != 0 && call >= test_memory.fail_from)) {
        atomic_fetch_add(&test_memory.failed, 1);
        return NULL;
    }
    new = malloc(sizeof(*new) + size);
    if (new == NULL)
        return NULL;
    new->size = size;
    new->magic = MAGIC_LIVE;
    memset(new + 1, 0xce, size);
    atomic_fetch_add(&test_memory.blocks, 1);
    atomic_fetch_add(&test_memory.bytes, size);
    if (old != NULL) {
        memcpy(new + 1, memory, old->size < size ? old->size : size);
        memory_resize(arg, memory, 0);
    }
    return new + 1;
}

struct loop_allocator test_allocator(void)
{
    return (struct loop_allocator){.resize = memory_resize, .arg = &test_memory};
}

/* ---- loops */

struct loop *test_loop_new(const struct loop_options *options)
{
    struct loop_options mine = options == NULL ? (struct loop_options){0} : *options;
    struct loop        *loop = NULL;
    int                 r;

    if (mine.allocator.resize == NULL)
        mine.allocator = test_allocator();
    r = loop_create(&loop, &mine);
    ck_assert_msg(r == 0, "loop_create: %s: %s", strerror(-r), loop_obstacle_text(loop_obstacle(r)));
    ck_assert_ptr_nonnull(loop);
    return loop;
}

void test_loop_free(struct loop *loop)
{
    struct loop_stats stats = test_stats(loop);

    ck_assert_msg(stats.ops_in_flight == 0, "%" PRIu64 " operations still in flight", stats.ops_in_flight);
    ck_assert_msg(stats.buffers_lent == 0, "%" PRIu64 " buffers still lent", stats.buffers_lent);
    ck_assert_uint_eq(stats.ops_started, stats.ops_finished);
    test_loop_drop(loop);
}

void test_loop_drop(struct loop *loop)
{
    ck_assert_int_eq(loop_destroy(loop), 0);
}

struct loop_stats test_stats(const struct loop *loop)
{
    struct loop_stats stats;

    memset(&stats, 0xff, sizeof(stats));
    loop_stats_get(loop, &stats);
    return stats;
}

void test_count_post(struct loop *loop, void *arg)
{
    (void)loop;
    ++*(uint32_t *)arg;
}

void test_count_timer(struct loop_timer *timer)
{
    ++*(uint32_t *)timer->data;
}

void test_run(struct loop *loop)
{
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert(!loop_alive(loop));
}

void test_run_until(struct loop *loop, const uint32_t *counter, uint32_t value)
{
    while (*counter < value)
        ck_assert_int_ge(loop_run(loop, LOOP_RUN_ONCE), 0);
}

void test_turns(struct loop *loop, uint32_t count)
{
    while (count-- > 0)
        if (loop_run(loop, LOOP_RUN_NOWAIT) < 0)
            ck_abort_msg("loop_run failed");
}

bool test_has_opcode(struct loop *loop, uint32_t opcode)
{
    return loop_features_get(loop)->opcode_last >= opcode;
}

/* ---- results */

void test_log_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct test_log *log = arg;

    /* Without ck_assert, which notes each check that holds in a file: this is called often. */
    if (log->finals > 0)
        ck_abort_msg("a callback after the final one, res %d", result->res);
    if (result->id <= 0)
        ck_abort_msg("the id is %" PRId64, result->id);
    if (result->flags & LOOP_MORE) {
        if (result->res < 0 && !log->releases)
            ck_abort_msg("LOOP_MORE with an error, %d: an error always ends an operation", result->res);
    } else {
        log->finals++;
        if (loop_cancel(loop, result->id) != -ENOENT)
            ck_abort_msg("the id is not retired in the final callback");
    }
    log->last = *result;
    if (log->count < TEST_LOG_MAX)
        log->results[log->count] = *result;
    log->count++;
    if (result->extra != NULL) {
        log->extras++;
        memcpy(log->extra, result->extra, log->extra_size);
    }
    if (result->flags & LOOP_BUFFER) {
        if (result->res <= 0 || result->data == NULL || result->buffer == 0)
            ck_abort_msg("LOOP_BUFFER without a buffer or bytes");
        if (log->bytes < sizeof(log->data)) {
            size_t room = sizeof(log->data) - log->bytes;
            size_t size = (size_t)result->res;

            memcpy(log->data + log->bytes, result->data, size < room ? size : room);
        }
        log->bytes += (uint64_t)result->res;
    } else if ((result->data != NULL && (result->flags & LOOP_CQE32) == 0) || result->buffer != 0) {
        ck_abort_msg("a buffer without LOOP_BUFFER");
    }
}

void test_log_is(const struct test_log *log, int32_t res)
{
    ck_assert_uint_eq(log->count, 1);
    ck_assert_uint_eq(log->finals, 1);
    ck_assert_msg(log->last.res == res, "res is %d (%s), not %d", log->last.res,
                  log->last.res < 0 ? strerror(-log->last.res) : "no error", res);
    ck_assert_uint_eq(log->last.flags & ~(uint32_t)(LOOP_SOCK_NONEMPTY | LOOP_CQE32), 0);
}

/* ---- descriptors */

void test_socketpair(int ret_fds[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds), 0);
}

void test_pipe(int ret_fds[2])
{
    ck_assert_int_eq(pipe(ret_fds), 0);
}

struct sockaddr_in test_localhost(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int test_tcp_listener(uint16_t *ret_port, int backlog)
{
    struct sockaddr_in address = test_localhost(0);
    socklen_t          size = sizeof(address);
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(listen(fd, backlog), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

int test_tcp_connect(uint16_t port)
{
    struct sockaddr_in address = test_localhost(port);
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

void test_tcp_pair(int ret_fds[2])
{
    uint16_t port;
    int      listener = test_tcp_listener(&port, 1);

    ret_fds[0] = test_tcp_connect(port);
    ret_fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(ret_fds[1], 0);
    test_close(listener);
}

void test_close(int fd)
{
    ck_assert_int_eq(close(fd), 0);
}

void test_write(int fd, const void *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        ck_assert_int_gt(n, 0);
        data = (const char *)data + n;
        size -= (size_t)n;
    }
}

void test_read(int fd, void *data, size_t size)
{
    while (size > 0) {
        ssize_t n = read(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        ck_assert_int_gt(n, 0);
        data = (char *)data + n;
        size -= (size_t)n;
    }
}
