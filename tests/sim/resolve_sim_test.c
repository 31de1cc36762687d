/* tests/sim/resolve_sim_test.c: names by c-ares on a scripted ring: what takes a minute, and c-ares without memory. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <ares.h>
#include <stdlib.h>

enum { TRIES_MAX = 200 };

static struct loop *loop;
static uint32_t     calls;
static int          last_error;
static uint32_t     fail_at, allocations; /* of c-ares; 0: none fails */

static bool fails(void)
{
    return ++allocations == fail_at;
}

static void *allocate(size_t size)
{
    return fails() ? NULL : malloc(size);
}

static void *resize(void *memory, size_t size)
{
    return fails() ? NULL : realloc(memory, size);
}

static void found(struct loop_resolve *request, int error, const struct loop_address *addresses, size_t count)
{
    (void)request;
    (void)addresses;
    (void)count;
    calls++;
    last_error = error;
}

static int look_up(struct loop_resolve *request)
{
    /* Nobody answers there, and c-ares has no time to find that out. */
    return loop_resolve_start(loop, request, "name.test", "80",
                              &(const struct loop_resolve_options){.servers = "127.0.0.1:1"}, found);
}

static void look_up_and_cancel(struct loop_resolve *request)
{
    calls = 0;
    ck_assert_int_eq(look_up(request), 0);
    ck_assert_int_eq(loop_resolve_cancel(request), 0);
    test_turns(loop, 4);
    ck_assert_uint_eq(calls, 1);
    ck_assert_int_eq(last_error, -ECANCELED);
}

/* Goal: where a channel that has rested cannot be made anew, that is told, and the next look-up is as good as any.
 * Method: each of c-ares's allocations fails in its turn, a minute after the one before. */
START_TEST(made_anew_without_memory)
{
    struct loop_resolve request = {0};
    uint32_t            nth, refused = 0;

    ck_assert_int_eq(ares_library_init_mem(ARES_LIB_INIT_ALL, allocate, free, resize), 0);
    script_reset();
    loop = test_loop_new(NULL);
    look_up_and_cancel(&request);
    for (nth = 1; nth <= TRIES_MAX; nth++) {
        int r;

        script.now_ns += 61 * LOOP_SECOND;
        allocations = 0;
        fail_at = nth;
        r = look_up(&request);
        fail_at = 0;
        if (r == 0) {
            calls = 0;
            (void)loop_resolve_cancel(&request);
            test_turns(loop, 4);
            ck_assert_uint_eq(calls, 1);
        } else {
            ck_assert_int_eq(r, -ENOMEM);
            refused++;
        }
        look_up_and_cancel(&request);
        if (allocations < nth)
            break;
    }
    ck_assert_uint_le(nth, TRIES_MAX);
    ck_assert_uint_gt(refused, 1);
    test_loop_free(loop);
    ares_library_cleanup();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sim/resolve_sim");
    TCase *tcase = test_case(suite, "channel");

    tcase_add_test(tcase, made_anew_without_memory);
    return suite;
}
