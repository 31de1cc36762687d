/* tests/loop/trace_test.c: SQEs and completions as lines of text. */
#include "tests/loop/pair_world.h"

#include <liburing.h>
#include <regex.h>

enum { LINES_MAX = 256 };

static char buffer[4096];

static struct {
    char     text[LINES_MAX][256];
    uint32_t count;
} lines;

static void note(struct loop *of, const char *line, size_t size, void *arg)
{
    ck_assert_ptr_nonnull(of);
    ck_assert_ptr_eq(arg, &lines);
    ck_assert_uint_eq(strlen(line), size);
    ck_assert_uint_lt(lines.count, LINES_MAX);
    ck_assert_uint_lt(size, sizeof(lines.text[0]));
    memcpy(lines.text[lines.count++], line, size + 1);
}

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 16, .buffer_size = 64, .buffer_count = 4});
    test_turns(loop, 1); /* the wake poll is armed */
    memset(&lines, 0, sizeof(lines));
    loop_trace_set(loop, note, &lines);
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    bool    found;

    ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

/* The lines that match. */
static uint32_t count_lines(const char *pattern)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < lines.count; i++)
        count += matches(lines.text[i], pattern);
    return count;
}

static void expect_line(uint32_t i, const char *pattern)
{
    ck_assert_uint_lt(i, lines.count);
    ck_assert_msg(matches(lines.text[i], pattern), "line %u is '%s', not '%s'", i, lines.text[i], pattern);
}

static void count_calls(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, 0);
    (*(uint32_t *)arg)++;
}

/* Goal: each SQE and each completion is one line, in order, and none comes when the trace is off again. */
START_TEST(sqes_and_cqes)
{
    struct test_log log[3] = {0};
    uint32_t        calls = 0;
    int             handler = loop_handler_register(loop, count_calls, &calls, 0);

    test_write(pair[1], "abc", 3);
    ck_assert_int_gt(
        loop_recv(loop, pair[0], buffer, 100, MSG_WAITALL, test_log_cb, &log[0], LOOP_TERMS(.flags = LOOP_EXTENDED)),
        0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[1], NULL), 0);
    ck_assert_int_gt(loop_send(loop, 1000, buffer, 7, 0, test_log_cb, &log[2], NULL), 0);
    ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(handler), LOOP_VALUE(4711), NULL), 0);
    ck_assert_uint_eq(lines.count, 0); /* not before they are submitted */
    ck_assert_int_eq(loop_submit(loop), 4);
    ck_assert_uint_eq(lines.count, 4);
    expect_line(0, "^sqe recv fd=[0-9]+ addr=0x[0-9a-f]+ len=100 op_flags=0x100 ud=extended:slot=[0-9]+:gen=[0-9]+$");
    expect_line(1, "^sqe nop fd=-?[0-9]+ ud=indirect:slot=[0-9]+:gen=[0-9]+$");
    expect_line(2, "^sqe send fd=1000 addr=0x[0-9a-f]+ len=7 op_flags=0x[0-9a-f]+ ud=indirect:slot=[0-9]+:gen=[0-9]+$");
    expect_line(3, "^sqe nop fd=-?[0-9]+ ud=direct:handler=1:value=4711$");
    test_turns(loop, 2);
    ck_assert_uint_eq(count_lines("^cqe nop ud=indirect:slot=[0-9]+:gen=[0-9]+ res=0$"), 1);
    ck_assert_uint_eq(count_lines("^cqe nop ud=direct:handler=1:value=4711 res=0$"), 1);
    ck_assert_uint_eq(count_lines("^cqe send ud=indirect:slot=[0-9]+:gen=[0-9]+ res=-9\\((EBADF|error)\\)$"), 1);
    loop_trace_set(loop, NULL, NULL);
    lines.count = 0;
    test_write(pair[1], buffer, 97);
    test_run(loop);
    ck_assert_uint_eq(lines.count, 0);
    test_log_is(&log[0], 100);
    test_log_is(&log[1], 0);
    test_log_is(&log[2], -EBADF);
    ck_assert_uint_eq(calls, 1);
}
END_TEST

/* Goal: what the loop does for itself is shown: chains, linked timeouts, cancels, wakes. */
START_TEST(own_work)
{
    struct test_log log[3] = {0};
    loop_id         id;

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[0], NULL), 0);
    ck_assert_int_gt(
        loop_recv(loop, pair[0], buffer, 10, 0, test_log_cb, &log[1], LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND)), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    ck_assert_int_eq(log[1].last.res, -ETIMEDOUT);
    expect_line(0, "^sqe nop .* flags=IO_LINK ud=");
    expect_line(1, "^sqe recv .* flags=IO_LINK ud=extended");
    expect_line(2, "^sqe link_timeout .* ud=own:linked_timeout$");
    ck_assert_uint_eq(count_lines("^cqe link_timeout ud=own:linked_timeout res=-62\\((ETIME|error)\\)$"), 1);
    lines.count = 0;
    id = loop_recv(loop, pair[0], buffer, 10, 0, test_log_cb, &log[2], NULL);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    ck_assert_uint_eq(count_lines("^sqe async_cancel fd=-1 addr=0x[0-9a-f]+ flags=CQE_SKIP_SUCCESS ud=own:cancel$"), 1);
    ck_assert_uint_eq(count_lines("^cqe recv ud=indirect:slot=[0-9]+:gen=[0-9]+ res=-125\\((ECANCELED|error)\\)$"), 1);
    ck_assert_uint_eq(count_lines("^cqe async_cancel"), 0); /* a success is skipped */
}
END_TEST

/* Goal: buffers and flags of completions are shown. Method: a multishot receive of three pieces. */
START_TEST(buffers)
{
    struct test_log log = {0};
    loop_id         id = loop_recv_multishot(loop, pair[0], 0, 0, test_log_cb, &log, NULL);

    ck_assert_int_gt(id, 0);
    for (uint32_t i = 1; i <= 3; i++) {
        test_write(pair[1], "hello", 5);
        test_run_until(loop, &log.count, i);
    }
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    ck_assert_uint_eq(count_lines("^sqe recv fd=[0-9]+ ioprio=0x[0-9a-f]+ (op_flags=[0-9a-fx]+ )?"
                                  "flags=BUFFER_SELECT ud=indirect"),
                      1);
    ck_assert_uint_eq(count_lines("^cqe recv ud=[a-z0-9:=]+ res=5 flags=MORE(\\|SOCK_NONEMPTY)?\\|BUFFER:[0-3]$"), 3);
    ck_assert_uint_eq(log.bytes, 15);
}
END_TEST

/* Goal: loop_trace_to_file writes one line each. */
START_TEST(to_file)
{
    struct test_log log = {0};
    char           *text = NULL;
    size_t          size = 0;
    FILE           *file = open_memstream(&text, &size);

    ck_assert_ptr_nonnull(file);
    loop_trace_set(loop, loop_trace_to_file, file);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    test_run(loop);
    loop_trace_set(loop, NULL, NULL);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_msg(matches(text, "^sqe nop [^\n]*\ncqe nop [^\n]* res=0\n$"), "%s", text);
    free(text);
}
END_TEST

/* Goal: RINGLOOP_TRACE=FILE traces from the first to the last, two loops into one file, whole lines. */
START_TEST(environment)
{
    char         path[] = "/tmp/ringloop_trace_test_XXXXXX", text[8192];
    int          fd = mkstemp(path);
    struct loop *loops[2];
    ssize_t      size;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setenv("RINGLOOP_TRACE", path, 1), 0);
    loops[0] = test_loop_new(NULL);
    loops[1] = test_loop_new(NULL);
    ck_assert_int_eq(unsetenv("RINGLOOP_TRACE"), 0);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_gt(loop_nop(loops[i % 2], NULL, NULL, NULL), 0);
        test_run(loops[i % 2]);
    }
    test_loop_free(loops[0]);
    test_loop_free(loops[1]);
    size = pread(fd, text, sizeof(text) - 1, 0);
    test_close(fd);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_gt(size, 0);
    text[size] = '\0';
    for (char *at = text, *end; *at != '\0'; at = end + 1) {
        end = strchr(at, '\n');
        ck_assert_ptr_nonnull(end);
        *end = '\0';
        ck_assert_uint_lt(lines.count, LINES_MAX);
        ck_assert_uint_lt(strlen(at), sizeof(lines.text[0]));
        strcpy(lines.text[lines.count++], at);
    }
    ck_assert_uint_eq(count_lines("^ring [0-9]+: (sqe|cqe) [a-z_]+ .*ud="), lines.count);
    ck_assert_uint_eq(count_lines("^ring [0-9]+: sqe nop "), 4);
    ck_assert_uint_eq(count_lines("^ring [0-9]+: cqe nop .* res=0$"), 4);
    ck_assert_uint_eq(count_lines("^ring [0-9]+: sqe poll_add .* ud=own:wake$"), 2);
}
END_TEST

/* Goal: a place that cannot be written does no harm; loop_trace_set() takes the place of what the environment said. */
START_TEST(environment_refused)
{
    struct loop *other;

    ck_assert_int_eq(setenv("RINGLOOP_TRACE", "/nonexistent/trace", 1), 0);
    other = test_loop_new(NULL);
    ck_assert_int_gt(loop_nop(other, NULL, NULL, NULL), 0);
    test_run(other);
    test_loop_free(other);
    ck_assert_int_eq(setenv("RINGLOOP_TRACE", "/dev/full", 1), 0);
    other = test_loop_new(NULL);
    ck_assert_int_gt(loop_nop(other, NULL, NULL, NULL), 0);
    test_run(other);
    loop_trace_set(other, note, &lines);
    ck_assert_int_gt(loop_nop(other, NULL, NULL, NULL), 0);
    test_run(other);
    ck_assert_uint_eq(count_lines("^sqe nop"), 1);
    test_loop_free(other);
    ck_assert_int_eq(unsetenv("RINGLOOP_TRACE"), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("trace");
    TCase *tcase = test_case(suite, "trace");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, sqes_and_cqes);
    tcase_add_test(tcase, own_work);
    tcase_add_test(tcase, buffers);
    tcase_add_test(tcase, to_file);
    tcase_add_test(tcase, environment);
    tcase_add_test(tcase, environment_refused);
    return suite;
}
