/* tests/loop/system_test.c: random bytes, the process's title, what it has used of the machine. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

static struct loop *loop;

static void open_loop(void)
{
    loop = test_loop_new(NULL);
}

static void close_loop(void)
{
    if (loop != NULL)
        test_loop_free(loop);
}

/* ---- random bytes */

ssize_t __real_sys_random(void *data, size_t size, bool wait);
ssize_t __wrap_sys_random(void *data, size_t size, bool wait);

static bool booting; /* whoever does not wait gets nothing */

ssize_t __wrap_sys_random(void *data, size_t size, bool wait)
{
    return booting && !wait ? -EAGAIN : __real_sys_random(data, size, wait);
}

/* Each value comes about as often as the others. */
static void looks_random(const unsigned char *bytes, size_t size)
{
    uint32_t counts[256] = {0};

    for (size_t i = 0; i < size; i++)
        counts[bytes[i]]++;
    for (int i = 0; i < 256; i++)
        ck_assert(counts[i] > size / 512 && counts[i] < size / 128);
}

/* Goal: all bytes are filled, none beyond, in place or on the pool. */
START_TEST(random_bytes)
{
    enum { SIZE = 3 * 256 * 1024 + 77 };
    unsigned char  *bytes = calloc(1, SIZE + 1), small[2][16] = {{0}, {0}};
    struct test_log logs[3] = {{0}, {0}, {0}};

    ck_assert_int_eq(loop_random(bytes, SIZE), 0);
    looks_random(bytes, SIZE);
    ck_assert_uint_eq(bytes[SIZE], 0);
    memset(bytes, 0, SIZE);
    ck_assert_int_eq(loop_random(NULL, 0), 0);
    ck_assert_int_eq(loop_random(small[0], 16), 0);
    ck_assert_int_eq(loop_random(small[1], 16), 0);
    ck_assert_int_ne(memcmp(small[0], small[1], 16), 0);
    ck_assert_int_gt(loop_random_wait(loop, bytes, SIZE, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_random_wait(loop, bytes + SIZE, 0, test_log_cb, &logs[1], NULL), 0);
    ck_assert_int_eq(loop_random_wait(loop, NULL, 1, test_log_cb, &logs[2], NULL), -EINVAL);
    test_run(loop);
    test_log_is(&logs[0], 0);
    test_log_is(&logs[1], 0);
    looks_random(bytes, SIZE);
    ck_assert_uint_eq(bytes[SIZE], 0);
    ck_assert_uint_eq(logs[2].count, 0);
    free(bytes);
}
END_TEST

/* Goal: while the machine boots, nobody is made to wait who has not asked for it. */
START_TEST(random_booting)
{
    struct test_log log = {0};
    char            bytes[16];

    booting = true;
    ck_assert_int_eq(loop_random(bytes, sizeof(bytes)), -EAGAIN);
    ck_assert_int_gt(loop_random_wait(loop, bytes, sizeof(bytes), test_log_cb, &log, NULL), 0);
    test_run(loop);
    test_log_is(&log, 0);
}
END_TEST

/* Goal: a large request that is under way ends soon after a cancel, and is not waited for by loop_destroy(). */
START_TEST(random_canceled)
{
    enum { SIZE = 1 << 30 };
    char           *bytes = malloc(SIZE); /* of which only what is written to is made */
    struct test_log logs[2] = {{0}, {0}};
    loop_id         id;

    ck_assert_ptr_nonnull(bytes);
    id = loop_random_wait(loop, bytes, SIZE, test_log_cb, &logs[0], NULL);
    ck_assert_int_gt(id, 0);
    test_turns(loop, 3);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&logs[0], -ECANCELED);
    ck_assert_int_gt(loop_random_wait(loop, bytes, SIZE, test_log_cb, &logs[1], NULL), 0);
    test_loop_drop(loop);
    loop = NULL;
    test_log_is(&logs[1], -ECANCELED);
    free(bytes);
}
END_TEST

/* ---- the title */

static char  room[] = "program\0--first\0second\0\0the environment";
static char *arguments[] = {room, room + 8, room + 16, room + 23, NULL};
static char  apart[] = "elsewhere";

/* Goal: the arguments move away, titles stay within their room, whatever their size. */
START_TEST(titles)
{
    char   text[64], **moved;
    size_t size = 24; /* with the empty one */

    ck_assert_int_eq(loop_title_set("early"), -ENOBUFS);
    ck_assert_int_eq(loop_title_get(text, sizeof(text)), -ENOBUFS);
    ck_assert_ptr_eq(loop_title_prepare(0, arguments), arguments);
    moved = loop_title_prepare(4, arguments);
    ck_assert_ptr_ne(moved, arguments);
    ck_assert_ptr_eq(loop_title_prepare(4, arguments), moved);
    ck_assert_int_eq(loop_title_get(text, sizeof(text)), (int)size - 1);
    ck_assert_str_eq(text, "program --first second ");
    ck_assert_int_eq(loop_title_set("t: 7 clients"), 0);
    ck_assert_str_eq(room, "t: 7 clients");
    for (size_t i = strlen(room); i < size; i++)
        ck_assert_int_eq(room[i], 0);
    ck_assert_str_eq(moved[0], "program");
    ck_assert_str_eq(moved[1], "--first");
    ck_assert_str_eq(moved[2], "second");
    ck_assert_str_eq(moved[3], "");
    ck_assert_ptr_null(moved[4]);
    prctl(PR_GET_NAME, text);
    ck_assert_str_eq(text, "t: 7 clients");
    ck_assert_int_eq(loop_title_set("a title that is longer than the room there is"), 0);
    ck_assert_str_eq(room, "a title that is longer ");
    ck_assert_str_eq(room + size, "the environment");
    prctl(PR_GET_NAME, text);
    ck_assert_str_eq(text, "a title that is");
    ck_assert_int_eq(loop_title_get(text, size), (int)size - 1);
    ck_assert_str_eq(text, "a title that is longer ");
    ck_assert_int_eq(loop_title_get(text, size - 1), -ERANGE);
    ck_assert_int_eq(loop_title_get(NULL, 8), -EINVAL);
    ck_assert_int_eq(loop_title_set(NULL), -EINVAL);
    ck_assert_int_eq(loop_title_set(""), 0);
    ck_assert_int_eq(loop_title_get(text, 1), 0);
}
END_TEST

/* Goal: arguments that do not lie behind one another give the room of those that do. */
START_TEST(title_apart)
{
    char *mixed[] = {room, room + 8, apart, room + 23, NULL};

    ck_assert_ptr_ne(loop_title_prepare(4, mixed), mixed);
    ck_assert_int_eq(loop_title_set("a title that is longer than the room there is"), 0);
    ck_assert_str_eq(room, "a title that is");
    ck_assert_str_eq(room + 16, "second");
    ck_assert_str_eq(apart, "elsewhere");
}
END_TEST

static _Atomic bool over;

static void *set_titles(void *arg)
{
    for (int i = 0; i < 20000 && !over; i++)
        (void)!loop_title_set(arg);
    return NULL;
}

/* Goal: threads that set and get it at the same time never see a mixture. */
START_TEST(title_threads)
{
    static char first[] = "aaaaaaaaaaaaaaa", second[] = "bbbbbb";
    pthread_t   threads[2];
    char        text[64];

    (void)loop_title_prepare(3, arguments);
    ck_assert_int_eq(loop_title_set(first), 0);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, set_titles, first), 0);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, set_titles, second), 0);
    for (int i = 0; i < 20000; i++) {
        ck_assert_int_gt(loop_title_get(text, sizeof(text)), 0);
        ck_assert(strcmp(text, first) == 0 || strcmp(text, second) == 0);
    }
    over = true;
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}
END_TEST

/* Goal: what the kernel shows. Method: the arguments of this process, which libcheck's child has from its parent. */
START_TEST(title_shown)
{
    extern char **environ;
    char          line[4096], *at = environ[0];
    int           fd, argc = 0;
    char         *argv[64];
    ssize_t       size;

    fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size = read(fd, line, sizeof(line));
    close(fd);
    if (at == NULL || size <= 0 || size == sizeof(line) || memcmp(at - size, line, (size_t)size) != 0) {
        test_skip("the arguments are not where they were");
        return;
    }
    for (char *argument = at - size; argument < at && argc < 63; argument += strlen(argument) + 1)
        argv[argc++] = argument;
    argv[argc] = NULL;
    (void)loop_title_prepare(argc, argv);
    ck_assert_int_eq(loop_title_set("rl: ok"), 0);
    fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(read(fd, line, sizeof(line)), 6);
    close(fd);
    ck_assert_str_eq(line, "rl: ok");
    ck_assert_str_eq(environ[0], at);
}
END_TEST

/* ---- what has been used */

/* Writes to all of it; the compiler must not know that nobody reads it. */
static void touch(char *memory, size_t size)
{
    ck_assert_ptr_nonnull(memory);
    memset(memory, 1, size);
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* Goal: what is used is counted, in ns and bytes, for the process, the thread and children. */
START_TEST(usage)
{
    struct loop_usage before, after, thread, children;
    struct rusage     rusage;
    char             *memory;
    pid_t             pid;

    ck_assert_int_eq(loop_usage_get(LOOP_USAGE_PROCESS, &before), 0);
    memory = malloc(32 << 20);
    touch(memory, 32 << 20);
    for (uint64_t i = 0; i < 30000000; i++)
        __asm__ volatile("" : : "r"(i));
    sched_yield();
    ck_assert_int_eq(loop_usage_get(LOOP_USAGE_PROCESS, &after), 0);
    ck_assert_int_eq(loop_usage_get(LOOP_USAGE_THREAD, &thread), 0);
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &rusage), 0);
    ck_assert_uint_gt(after.user_ns, before.user_ns);
    ck_assert_uint_le(after.user_ns, (uint64_t)rusage.ru_utime.tv_sec * LOOP_SECOND +
                                         (uint64_t)rusage.ru_utime.tv_usec * LOOP_MICROSECOND);
    ck_assert_uint_ge(after.resident_max, 32 << 20);
    ck_assert_uint_eq(after.resident_max, thread.resident_max);
    ck_assert_uint_gt(after.faults, before.faults);
    ck_assert_uint_gt(thread.user_ns, 0);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        for (uint64_t i = 0; i < 30000000; i++)
            __asm__ volatile("" : : "r"(i));
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_eq(loop_usage_get(LOOP_USAGE_CHILDREN, &children), 0);
    ck_assert_uint_gt(children.user_ns + children.system_ns, 0);
    ck_assert_uint_gt(children.resident_max, 0);
    ck_assert_int_eq(loop_usage_get((enum loop_usage_of)3, &children), -EINVAL);
    ck_assert_int_eq(loop_usage_get(LOOP_USAGE_PROCESS, NULL), -EINVAL);
    free(memory);
}
END_TEST

START_TEST(resident)
{
    enum { BYTES = 64 << 20 };
    uint64_t before = 0, with = 0, after = 0;
    char    *memory;

    ck_assert_int_eq(loop_memory_resident(&before), 0);
    memory = malloc(BYTES);
    touch(memory, BYTES);
    ck_assert_int_eq(loop_memory_resident(&with), 0);
    free(memory);
    ck_assert_int_eq(loop_memory_resident(&after), 0);
    ck_assert_uint_gt(before, 0);
    ck_assert_uint_ge(with, before + BYTES - BYTES / 16);
    ck_assert_int_eq(loop_memory_resident(NULL), -EINVAL);
}
END_TEST

START_TEST(processors)
{
    cpu_set_t one;
    uint32_t  all = loop_processors();

    ck_assert_uint_ge(all, 1);
    ck_assert_uint_le(all, (uint32_t)sysconf(_SC_NPROCESSORS_CONF));
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
    ck_assert_uint_eq(loop_processors(), 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("loop/system");
    TCase *random = test_case(suite, "random"), *title = test_case_without_ring(suite, "title");
    TCase *used = test_case_without_ring(suite, "used");

    tcase_add_checked_fixture(random, open_loop, close_loop);
    tcase_add_test(random, random_bytes);
    tcase_add_test(random, random_booting);
    tcase_add_test(random, random_canceled);
    tcase_add_test(title, titles);
    tcase_add_test(title, title_apart);
    tcase_add_test(title, title_threads);
    tcase_add_test(title, title_shown);
    tcase_add_test(used, usage);
    tcase_add_test(used, resident);
    tcase_add_test(used, processors);
    return suite;
}
