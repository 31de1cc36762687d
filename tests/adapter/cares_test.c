/* tests/adapter/cares_test.c: c-ares on a loop, with the name server of the net tests. */
#include "tests/net/name_server.h"

#include <ringloop/adapter/cares.h>

#include <netdb.h>
#include <signal.h>

enum { QUERIES = 200 };

static struct name_server server;
static struct loop       *loop;
static struct loop_cares  cares;
static uint32_t           answers, right, cancelled, destroyed, failed;

static void open_channel(struct loop_cares *of, int timeout_ms, int tries)
{
    struct ares_options options = {.timeout = timeout_ms, .tries = tries, .flags = ARES_FLAG_NOSEARCH};

    ck_assert_int_eq(loop_cares_open(loop, of, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_FLAGS, NULL),
                     0);
    ck_assert_int_eq(ares_set_servers_ports_csv(of->channel, server.servers), ARES_SUCCESS);
}

static void setup(void)
{
    ck_assert_int_eq(ares_library_init(ARES_LIB_INIT_ALL), ARES_SUCCESS);
    name_server_open(&server, 0);
    loop = test_loop_new(NULL);
    open_channel(&cares, 1000, 5);
}

static void teardown(void)
{
    ck_assert_int_eq(loop_cares_close(&cares), 0);
    ck_assert_int_eq(loop_cares_close(&cares), 0);
    test_run(loop);
    test_loop_free(loop);
    name_server_close(&server);
    ares_library_cleanup();
}

static void answered(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    (void)arg;
    (void)timeouts;
    answers++;
    cancelled += status == ARES_ECANCELLED;
    destroyed += status == ARES_EDESTRUCTION;
    failed += status != ARES_SUCCESS;
    for (struct ares_addrinfo_node *node = info == NULL ? NULL : info->nodes; node != NULL; node = node->ai_next) {
        const struct sockaddr_in *address = (const struct sockaddr_in *)node->ai_addr;

        right += node->ai_family == AF_INET && address->sin_addr.s_addr == htonl(0xc0000201);
    }
    if (info != NULL)
        ares_freeaddrinfo(info);
}

static void ask(struct loop_cares *of, const char *name)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};

    ares_getaddrinfo(of->channel, name, NULL, &hints, answered, NULL);
}

/* Goal: many look-ups at once are answered by udp; one whose answer is too long for that, by tcp. */
START_TEST(look_ups)
{
    char name[32];

    for (int i = 0; i < QUERIES; i++) {
        snprintf(name, sizeof(name), "both.n%d.test", i);
        ask(&cares, name);
    }
    run_until(loop, answers == QUERIES);
    ck_assert_uint_eq(right, QUERIES);
    ask(&cares, "many.test");
    run_until(loop, answers == QUERIES + 1);
    ck_assert_uint_gt(server.asked_by_tcp, 0);
    ck_assert_uint_eq(failed, 0);
    test_run(loop); /* idle, it does not keep the loop alive */
}
END_TEST

static void text_came(void *arg, int status, int timeouts, unsigned char *answer, int size)
{
    int *ret_status = arg;

    (void)timeouts;
    *ret_status = status == ARES_SUCCESS ? 100 + (size > 12 && answer != NULL) : status;
}

/* Goal: any kind of record may be asked for; errors are c-ares's. */
START_TEST(other_records)
{
    int found = -1, missing = -1;

    ares_query(cares.channel, "both.test", 1, 28, text_came, &found);
    ares_query(cares.channel, "nothing.test", 1, 1, text_came, &missing);
    run_until(loop, found != -1 && missing != -1);
    ck_assert_int_eq(found, 101);
    ck_assert_int_eq(missing, ARES_ENOTFOUND);
}
END_TEST

/* Goal: what is not answered times out by the loop's timer; the channel goes on. */
START_TEST(silence)
{
    struct loop_cares hasty = {.data = NULL};

    open_channel(&hasty, 20, 2);
    ask(&hasty, "silent.test");
    run_until(loop, answers == 1);
    ck_assert_uint_eq(failed, 1);
    ask(&hasty, "both.test");
    run_until(loop, answers == 2);
    ck_assert_uint_eq(right, 1);
    ck_assert_int_eq(loop_cares_close(&hasty), 0);
}
END_TEST

static void close_in_answer(void *arg, int status, int timeouts, unsigned char *answer, int size)
{
    (void)arg;
    (void)status;
    (void)timeouts;
    (void)answer;
    (void)size;
    ck_assert_int_eq(loop_cares_close(&cares), -EBUSY);
    answers++;
}

/* Goal: a close ends what goes on, inside the call; it is refused inside answers; bad calls are answered. */
START_TEST(closing)
{
    struct loop_cares other = {.data = NULL};

    ck_assert_int_eq(loop_cares_open(loop, &cares, NULL, 0, NULL), -EBUSY);
    ck_assert_int_eq(loop_cares_open(loop, &other, NULL, ARES_OPT_TRIES, NULL), -EINVAL);
    ares_query(cares.channel, "both.test", 1, 1, close_in_answer, NULL);
    run_until(loop, answers == 1);
    ask(&cares, "silent.test");
    ask(&cares, "held.test");
    test_turns(loop, 3);
    ck_assert_int_eq(loop_cares_close(&cares), 0);
    ck_assert_uint_eq(answers, 3);
    ck_assert_uint_eq(destroyed, 2);
    open_channel(&cares, 1000, 5);
    ask(&cares, "both.test");
    run_until(loop, answers == 4);
    ck_assert_uint_eq(right, 1);
}
END_TEST

/* Goal: the end of the loop ends look-ups; a close after it is fine. */
START_TEST(end_of_the_loop)
{
    for (int i = 0; i < 5; i++)
        ask(&cares, "silent.test");
    test_turns(loop, 2);
    test_loop_drop(loop);
    ck_assert_uint_eq(cancelled, 5);
    ck_assert_int_eq(loop_cares_close(&cares), 0);
    loop = test_loop_new(NULL);
    open_channel(&cares, 1000, 5);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("cares");
    TCase *all = test_case(suite, "cares");

    signal(SIGPIPE, SIG_IGN);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, look_ups);
    tcase_add_test(all, other_records);
    tcase_add_test(all, silence);
    tcase_add_test(all, closing);
    tcase_add_test(all, end_of_the_loop);
    return suite;
}
