/* tests/adapter/curl_test.c: libcurl on a loop, with a web server on the same loop. */
#include "tests/adapter/web.h"

#include <ringloop/adapter/curl.h>
#include <signal.h>

enum { TRANSFERS = 300 };

struct transfer {
    CURL    *easy;
    uint64_t bytes, wrong;
    uint32_t dones;
    CURLcode result;
    bool     refuse; /* what comes */
    char     url[96];
    char     answer[32];
};

static struct loop      *loop;
static struct web        web;
static struct loop_curl  curl;
static CURLM            *multi;
static uint32_t          dones;
static struct transfer  *chain_next;
static struct loop_curl *close_in_data;

static void done(struct loop_curl *of, CURL *easy, CURLcode result)
{
    struct transfer *transfer;

    ck_assert_ptr_eq(of, &curl);
    ck_assert_int_eq(curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer), CURLE_OK);
    transfer->dones++;
    transfer->result = result;
    ck_assert_uint_eq(transfer->wrong, 0);
    dones++;
    ck_assert_int_eq(curl_multi_remove_handle(multi, easy), CURLM_OK);
    curl_easy_cleanup(easy);
    transfer->easy = NULL;
    if (chain_next != NULL) {
        transfer = chain_next;
        chain_next = NULL;
        ck_assert_int_eq(curl_multi_add_handle(multi, transfer->easy), CURLM_OK);
    }
}

static size_t data_came(char *data, size_t one, size_t size, void *arg)
{
    struct transfer *transfer = arg;

    if (close_in_data != NULL)
        ck_assert_int_eq(loop_curl_close(close_in_data), -EBUSY);
    if (transfer->refuse)
        return 0;
    for (size_t i = 0; i < size && transfer->answer[0] == '\0'; i++)
        transfer->wrong += data[i] != (char)((transfer->bytes + i) % 251);
    if (transfer->answer[0] != '\0')
        snprintf(transfer->answer, sizeof(transfer->answer), "%.*s", (int)size, data);
    transfer->bytes += size;
    return one * size;
}

/* Its URL is made of format, in which %u is the server's port; not added yet. */
static void make(struct transfer *transfer, const char *host, const char *path)
{
    *transfer = (struct transfer){.easy = curl_easy_init()};
    ck_assert_ptr_nonnull(transfer->easy);
    snprintf(transfer->url, sizeof(transfer->url), "http://%s:%u%s", host, web.port, path);
    curl_easy_setopt(transfer->easy, CURLOPT_URL, transfer->url);
    curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, data_came);
    curl_easy_setopt(transfer->easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(transfer->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(transfer->easy, CURLOPT_NOPROXY, "*");
}

static void add(struct transfer *transfer)
{
    ck_assert_int_eq(curl_multi_add_handle(multi, transfer->easy), CURLM_OK);
}

static void drop(struct transfer *transfer)
{
    ck_assert_int_eq(curl_multi_remove_handle(multi, transfer->easy), CURLM_OK);
    curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(curl_global_init(CURL_GLOBAL_ALL), CURLE_OK);
    loop = test_loop_new(NULL);
    web_open(loop, &web);
    multi = curl_multi_init();
    curl = (struct loop_curl){.data = NULL};
    ck_assert_int_eq(loop_curl_open(loop, &curl, multi, done), 0);
    dones = 0;
}

static void teardown(void)
{
    ck_assert_int_eq(loop_curl_close(&curl), 0);
    ck_assert_int_eq(loop_curl_close(&curl), 0);
    ck_assert_int_eq(curl_multi_cleanup(multi), CURLM_OK);
    web_close(&web);
    test_run(loop);
    test_loop_free(loop);
    curl_global_cleanup();
}

/* Goal: hundreds of transfers of different sizes at once, whole, over no more connections than allowed. */
START_TEST(in_parallel)
{
    static struct transfer transfers[TRANSFERS];
    uint64_t               random = test_env("TEST_SEED", 7);
    char                   path[32];

    curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, _i == 0 ? 0L : 20L);
    for (int i = 0; i < TRANSFERS; i++) {
        snprintf(path, sizeof(path), "/bytes/%" PRIu64, test_random(&random) % 200000);
        make(&transfers[i], "127.0.0.1", path);
        add(&transfers[i]);
    }
    run_until(loop, dones == TRANSFERS);
    for (int i = 0; i < TRANSFERS; i++) {
        ck_assert_uint_eq(transfers[i].dones, 1);
        ck_assert_msg(transfers[i].result == CURLE_OK, "%s", curl_easy_strerror(transfers[i].result));
        ck_assert_uint_eq(transfers[i].bytes, strtoull(strrchr(transfers[i].url, '/') + 1, NULL, 10));
    }
    ck_assert_uint_eq(web.requests, TRANSFERS);
    if (_i > 0)
        ck_assert_uint_le(web.connections, 20);
}
END_TEST

/* Goal: transfers that were there before the multi got its loop start as well. */
START_TEST(added_before)
{
    struct transfer transfers[2];

    ck_assert_int_eq(loop_curl_close(&curl), 0);
    for (size_t i = 0; i < TEST_COUNT(transfers); i++) {
        make(&transfers[i], "127.0.0.1", "/bytes/1000");
        add(&transfers[i]);
    }
    ck_assert_int_eq(loop_curl_open(loop, &curl, multi, done), 0);
    run_until(loop, dones == TEST_COUNT(transfers));
    for (size_t i = 0; i < TEST_COUNT(transfers); i++) {
        ck_assert_int_eq(transfers[i].result, CURLE_OK);
        ck_assert_uint_eq(transfers[i].bytes, 1000);
    }
}
END_TEST

static CURLcode result_of(const char *host, const char *path, long timeout_ms, bool refuse)
{
    struct transfer transfer;
    uint32_t        before = dones;

    make(&transfer, host, path);
    curl_easy_setopt(transfer.easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    transfer.refuse = refuse;
    add(&transfer);
    run_until(loop, dones == before + 1);
    return transfer.result;
}

/* Goal: what goes wrong is told as libcurl tells it, and the multi goes on. */
START_TEST(errors)
{
    uint16_t port = web.port;
    int      fd;

    ck_assert_int_eq(result_of("127.0.0.1", "/cut/1000", 0, false), CURLE_PARTIAL_FILE);
    ck_assert_int_eq(result_of("127.0.0.1", "/reset", 0, false), CURLE_RECV_ERROR);
    ck_assert_int_eq(result_of("127.0.0.1", "/never", 30, false), CURLE_OPERATION_TIMEDOUT);
    ck_assert_int_eq(result_of("127.0.0.1", "/bytes/100000", 0, true), CURLE_WRITE_ERROR);
    ck_assert_int_eq(result_of("127.0.0.1:x", "/", 0, false), CURLE_URL_MALFORMAT);
    fd = test_tcp_listener(&web.port, 1);
    test_close(fd);
    ck_assert_int_eq(result_of("127.0.0.1", "/", 0, false), CURLE_COULDNT_CONNECT);
    web.port = port;
    ck_assert_int_eq(result_of("127.0.0.1", "/bytes/1000", 0, false), CURLE_OK);
}
END_TEST

/* Goal: a name is looked up by a thread of libcurl's, without blocking, and its first address may refuse. */
START_TEST(by_name)
{
    ck_assert_int_eq(result_of("localhost", "/bytes/1000", 0, false), CURLE_OK);
}
END_TEST

/* Goal: bodies that are sent, larger than the socket's buffers, arrive whole. */
START_TEST(uploads)
{
    enum { SIZE = 3 << 20 };
    static struct transfer transfers[8];
    char                  *body = calloc(1, SIZE);

    for (size_t i = 0; i < TEST_COUNT(transfers); i++) {
        make(&transfers[i], "127.0.0.1", "/");
        transfers[i].answer[0] = '?';
        curl_easy_setopt(transfers[i].easy, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(transfers[i].easy, CURLOPT_POSTFIELDSIZE, (long)SIZE);
        add(&transfers[i]);
    }
    run_until(loop, dones == TEST_COUNT(transfers));
    for (size_t i = 0; i < TEST_COUNT(transfers); i++) {
        ck_assert_int_eq(transfers[i].result, CURLE_OK);
        ck_assert_int_eq(atoi(transfers[i].answer), SIZE);
    }
    free(body);
}
END_TEST

/* Goal: transfers taken out in flight end at once, in any state, and their connections with them. */
START_TEST(abort_in_flight)
{
    static struct transfer transfers[40];

    for (size_t i = 0; i < TEST_COUNT(transfers); i++) {
        make(&transfers[i], i % 4 == 3 ? "localhost" : "127.0.0.1", i % 2 == 0 ? "/never" : "/bytes/3000000");
        add(&transfers[i]);
    }
    for (size_t i = 0; i < TEST_COUNT(transfers); i++) {
        test_turns(loop, 1);
        if (transfers[i].easy != NULL)
            drop(&transfers[i]);
    }
    for (size_t i = 0; i < TEST_COUNT(transfers); i++)
        ck_assert(transfers[i].dones == 0 || transfers[i].result == CURLE_OK);
    pump_until(loop, web.open == 0 || dones > 0);
    ck_assert_int_eq(result_of("127.0.0.1", "/bytes/1000", 0, false), CURLE_OK);
}
END_TEST

/* Goal: a done callback may add the next. */
START_TEST(one_after_the_other)
{
    struct transfer transfers[2];

    make(&transfers[0], "127.0.0.1", "/bytes/5");
    make(&transfers[1], "127.0.0.1", "/bytes/6");
    chain_next = &transfers[1];
    add(&transfers[0]);
    run_until(loop, dones == 2);
    ck_assert_uint_eq(transfers[1].bytes, 6);
    ck_assert_uint_eq(web.connections, 1);
}
END_TEST

static void done_and_close(struct loop_curl *of, CURL *easy, CURLcode result)
{
    (void)easy;
    (void)result;
    dones++;
    ck_assert_int_eq(loop_curl_close(of), 0);
    memset(of, 0xdb, sizeof(*of));
    free(of);
}

/* Goal: the adapter may be closed, and its memory freed, in a done callback with others behind it; not in libcurl's own
 * callbacks. Method: both have ended before libcurl is asked what has. */
START_TEST(close_inside)
{
    struct loop_curl *own = calloc(1, sizeof(*own));
    struct transfer   transfers[3];

    close_in_data = &curl;
    ck_assert_int_eq(result_of("127.0.0.1", "/bytes/10", 0, false), CURLE_OK);
    close_in_data = NULL;
    ck_assert_int_eq(loop_curl_open(loop, &curl, multi, done), -EBUSY);
    ck_assert_int_eq(loop_curl_close(&curl), 0);
    ck_assert_int_eq(loop_curl_open(loop, own, multi, NULL), -EINVAL);
    ck_assert_int_eq(loop_curl_open(loop, own, multi, done_and_close), 0);
    dones = 0;
    make(&transfers[0], "127.0.0.1:x", "/");
    make(&transfers[1], "127.0.0.1:x", "/");
    make(&transfers[2], "127.0.0.1", "/never");
    for (int i = 0; i < 3; i++)
        add(&transfers[i]);
    run_until(loop, dones == 1);
    test_turns(loop, 5);
    ck_assert_uint_eq(dones, 1);
    for (int i = 0; i < 3; i++)
        drop(&transfers[i]);
}
END_TEST

/* Goal: the loop ends with transfers on their way: none is told, nothing is touched, and all can be cleaned up. */
START_TEST(end_of_the_loop)
{
    static struct transfer transfers[10];
    struct loop           *own = test_loop_new(NULL);
    struct loop_curl       other = {.data = NULL};
    CURLM                 *own_multi = curl_multi_init();

    ck_assert_int_eq(loop_curl_open(own, &other, own_multi, done), 0);
    for (size_t i = 0; i < TEST_COUNT(transfers); i++) {
        make(&transfers[i], "127.0.0.1", "/never");
        ck_assert_int_eq(curl_multi_add_handle(own_multi, transfers[i].easy), CURLM_OK);
    }
    for (int i = 0; web.requests < TEST_COUNT(transfers); i++) {
        ck_assert_int_lt(i, 100000);
        test_turns(own, 1);
        test_turns(loop, 1);
    }
    test_loop_drop(own);
    ck_assert_int_eq(loop_curl_close(&other), 0);
    for (size_t i = 0; i < TEST_COUNT(transfers); i++) {
        ck_assert_int_eq(curl_multi_remove_handle(own_multi, transfers[i].easy), CURLM_OK);
        curl_easy_cleanup(transfers[i].easy);
        ck_assert_uint_eq(transfers[i].dones, 0);
    }
    ck_assert_int_eq(curl_multi_cleanup(own_multi), CURLM_OK);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("curl");
    TCase *all = test_case(suite, "curl");

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, in_parallel, 0, 2);
    tcase_add_test(all, added_before);
    tcase_add_test(all, errors);
    tcase_add_test(all, by_name);
    tcase_add_test(all, uploads);
    tcase_add_test(all, abort_in_flight);
    tcase_add_test(all, one_after_the_other);
    tcase_add_test(all, close_inside);
    tcase_add_test(all, end_of_the_loop);
    return suite;
}
