/* tests/sim/fixed_test.c: registered files and buffers where the kernel can't be made to fail, or to be older. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

static struct loop *loop;

enum { AUTOMATIC = 2, OWN = 3 };

static void setup(void)
{
    script_reset();
    loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 8});
}

static void teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static void make_files(void)
{
    ck_assert_int_eq(loop_files_init(loop, &(struct loop_files_options){.automatic = AUTOMATIC, .own = OWN}), 0);
    test_turns(loop, 1);
}

static struct io_uring_sqe *only(uint8_t opcode)
{
    struct io_uring_sqe *sqe = script_find(opcode, 0);

    ck_assert_ptr_nonnull(sqe);
    ck_assert_uint_eq(script_count(opcode), 1);
    return sqe;
}

/* Goal: an error at each step of making the tables is handed on, what was made before it is undone, and it can be made
 * later. */
START_TEST(files_init_errors)
{
    static const unsigned steps[] = {IORING_REGISTER_FILES2, IORING_REGISTER_FILE_ALLOC_RANGE};

    for (size_t i = 0; i < TEST_COUNT(steps); i++) {
        script.refused_register = steps[i];
        script.refused_register_error = -ENOMEM;
        script.files_registered = false;
        ck_assert_int_eq(loop_files_init(loop, NULL), -ENOMEM);
        ck_assert(!script.files_registered);
        ck_assert_int_eq(loop_file_reserve(loop, 1), -ENXIO);
    }
    script.refused_register_error = 0;
    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    ck_assert(script.files_registered);
}
END_TEST

START_TEST(buffers_init_errors)
{
    static const unsigned steps[] = {IORING_REGISTER_BUFFERS2, IORING_REGISTER_BUFFERS_UPDATE};

    for (size_t i = 0; i < TEST_COUNT(steps); i++) {
        script.refused_register = steps[i];
        script.refused_register_error = -EPERM;
        ck_assert_int_eq(loop_fixed_buffers_init(loop, NULL), -EPERM);
        ck_assert(!script.buffers_registered);
        ck_assert_int_eq(loop_fixed_buffer_borrow(loop, NULL), -ENXIO);
    }
    script.refused_register_error = 0;
    /* The kernel says how far it got, if it got anywhere. */
    script.buffers_update_most = 3;
    ck_assert_int_eq(loop_fixed_buffers_init(loop, NULL), -ENOMEM);
    ck_assert(!script.buffers_registered);
    script.buffers_update_most = 0;
    ck_assert_int_eq(loop_fixed_buffers_init(loop, NULL), 0);
    ck_assert(script.buffers_registered);
}
END_TEST

/* Goal: cloning on an older kernel is -EOPNOTSUPP. */
START_TEST(clone_unknown)
{
    struct loop *other;

    ck_assert_int_eq(loop_fixed_buffers_init(loop, NULL), 0);
    other = test_loop_new(NULL);
    ck_assert_int_eq(loop_fixed_buffers_clone(other, loop), -EOPNOTSUPP);
    ck_assert_int_eq(loop_fixed_buffer_borrow(other, NULL), -ENXIO);
    test_loop_free(other);
}
END_TEST

/* Goal: a slot stays as it was where the kernel refuses to change it. */
START_TEST(update_errors)
{
    int slot;

    make_files();
    slot = loop_file_register(loop, 0);
    ck_assert_int_eq(slot, LOOP_FIXED(AUTOMATIC));
    script.refused_register = IORING_REGISTER_FILES_UPDATE;
    script.refused_register_error = -ENOMEM;
    ck_assert_int_eq(loop_file_unregister(loop, slot), -ENOMEM);
    ck_assert_int_eq(loop_file_lookup(loop, 0), slot);
    ck_assert_int_eq(loop_file_register(loop, 1), -ENOMEM);
    ck_assert_int_eq(loop_file_lookup(loop, 1), -ENOENT);
    ck_assert_int_eq(loop_file_register_at(loop, slot, 1), -ENOMEM);
    ck_assert_int_eq(loop_file_lookup(loop, 0), slot);
    ck_assert_int_eq(loop_file_register_at(loop, AUTOMATIC + 1, 1), -ENOMEM);
    script.refused_register_error = 0;
    for (int i = 1; i < OWN; i++)
        ck_assert_int_gt(loop_file_register(loop, i), 0); /* none of them was taken by the failures */
    ck_assert_int_eq(loop_file_unregister(loop, slot), 0);
}
END_TEST

/* Goal: the kernel's range stands in front, and is set again after each change of a slot of ours. */
START_TEST(range_set_again)
{
    int slot;

    make_files();
    ck_assert_uint_eq(script.ranges_set, 1);
    ck_assert_uint_eq(script.range_first, 0);
    ck_assert_uint_eq(script.range_count, AUTOMATIC);
    slot = loop_file_register(loop, 0);
    ck_assert_uint_eq(script.ranges_set, 2);
    ck_assert_int_eq(loop_file_register_at(loop, slot, 1), slot);
    ck_assert_uint_eq(script.ranges_set, 3);
    ck_assert_int_eq(loop_file_unregister(loop, slot), 0);
    ck_assert_uint_eq(script.ranges_set, 4);
    ck_assert_uint_eq(script.range_first, 0);
    ck_assert_uint_eq(script.range_count, AUTOMATIC);
}
END_TEST

/* Goal: a kernel that forgets the range and takes one of our slots is followed: the slot is delivered, and nobody else
 * gets it until it is given back. */
START_TEST(strayed_slot)
{
    struct test_log         log = {0};
    struct loop_files_stats stats;

    make_files();
    ck_assert_int_gt(loop_socket_direct(loop, 2, 1, 0, LOOP_SLOT_AUTO, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(only(IORING_OP_SOCKET)->file_index, IORING_FILE_INDEX_ALLOC);
    script_complete(only(IORING_OP_SOCKET), AUTOMATIC + 1, 0);
    test_run(loop);
    test_log_is(&log, LOOP_FIXED(AUTOMATIC + 1));
    loop_files_stats_get(loop, &stats);
    ck_assert_uint_eq(stats.strayed, 1);
    ck_assert_uint_eq(stats.own_taken, 1);
    ck_assert_int_eq(loop_file_reserve(loop, 1), LOOP_FIXED(AUTOMATIC));
    ck_assert_int_eq(loop_file_reserve(loop, 1), LOOP_FIXED(AUTOMATIC + 2));
    ck_assert_int_eq(loop_file_reserve(loop, 1), -ENFILE);
    ck_assert_int_eq(loop_file_unregister(loop, AUTOMATIC + 1), 0);
    ck_assert_int_eq(loop_file_reserve(loop, 1), LOOP_FIXED(AUTOMATIC + 1));
}
END_TEST

/* Goal: what arrives after its cancel is delivered, one-shot and multishot, converted. Method: the cancel is not
 * answered; the connection comes after it. */
START_TEST(arrives_after_cancel)
{
    struct test_log one = {0}, many = {0};
    loop_id         ids[2];

    make_files();
    script.manual = true;
    ids[0] = loop_accept_direct(loop, 5, NULL, NULL, 0, LOOP_SLOT_AUTO, test_log_cb, &one, NULL);
    ids[1] = loop_accept_multishot_direct(loop, 6, 0, test_log_cb, &many, NULL);
    ck_assert(ids[0] > 0 && ids[1] > 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel(loop, ids[0]), 0);
    ck_assert_int_eq(loop_cancel(loop, ids[1]), 0);
    test_turns(loop, 1);
    script_complete(script_find(IORING_OP_ACCEPT, 1), 1, IORING_CQE_F_MORE);
    script_complete(script_find(IORING_OP_ACCEPT, 0), 0, 0);
    test_turns(loop, 1);
    test_log_is(&one, LOOP_FIXED(0));
    ck_assert_uint_eq(many.count, 1);
    ck_assert_int_eq(many.last.res, LOOP_FIXED(1));
    ck_assert_uint_eq(many.finals, 0);
    script_complete(only(IORING_OP_ACCEPT), 0, 0); /* and another one, with its end */
    test_turns(loop, 1);
    ck_assert_int_eq(many.last.res, LOOP_FIXED(0));
    ck_assert_uint_eq(many.finals, 1);
    while (script_count(IORING_OP_ASYNC_CANCEL) > 0)
        script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
    test_run(loop);
}
END_TEST

/* Goal: slot 0 is a success of a multishot like any other, also where the kernel ends it, and it is armed again with
 * its table flags. */
START_TEST(multishot_slot_zero)
{
    struct test_log log = {0};
    loop_id         id;

    make_files();
    id = loop_accept_multishot_direct(loop, 6, 0, test_log_cb, &log, NULL);
    test_turns(loop, 1);
    script_complete(only(IORING_OP_ACCEPT), 0, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 1);
    ck_assert_uint_eq(log.finals, 0);
    ck_assert_int_eq(log.last.res, LOOP_FIXED(0));
    ck_assert_uint_eq(only(IORING_OP_ACCEPT)->file_index, IORING_FILE_INDEX_ALLOC);
    ck_assert_uint_ne(only(IORING_OP_ACCEPT)->ioprio & IORING_ACCEPT_MULTISHOT, 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    ck_assert_int_eq(log.last.res, -ECANCELED);
}
END_TEST

/* Goal: operations that the kernel lacks are refused, nothing is queued. */
START_TEST(older_kernel)
{
    struct loop *old;
    int          fds[2] = {-1, -1};
    struct iovec iov = {fds, sizeof(fds)};

    script.opcode_last = IORING_OP_SENDMSG_ZC; /* 6.1 */
    old = test_loop_new(NULL);
    ck_assert_int_eq(loop_files_init(old, NULL), 0);
    ck_assert_int_eq(loop_pipe_direct(old, fds, 0, LOOP_SLOT_AUTO, test_log_cb, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_fixed_fd_install(old, LOOP_FIXED(0), 0, test_log_cb, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_readv_fixed(old, 0, &iov, 1, 0, 0, 0, test_log_cb, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_writev_fixed(old, 0, &iov, 1, 0, 0, 0, test_log_cb, NULL, NULL), -EOPNOTSUPP);
    ck_assert_uint_eq(test_stats(old).ops_started, 0);
    test_loop_free(old);
}
END_TEST

/* Goal: the words for each setting of the sysctl; one that cannot be read is an errno. */
START_TEST(fastopen)
{
    uint32_t bits = 99;

    ck_assert_int_eq(loop_tcp_fastopen(&bits), -ENOENT);
    ck_assert_uint_eq(bits, 99);
    for (long number = 0; number < 8; number++) {
        script.files[0] = (struct script_file){"/proc/sys/net/ipv4/tcp_fastopen", number};
        ck_assert_int_eq(loop_tcp_fastopen(&bits), 0);
        ck_assert_uint_eq(bits, (uint32_t)number & 3);
        ck_assert_int_eq(strstr(loop_tcp_fastopen_text(bits), "off") != NULL, (number & 3) == 0);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fixed");
    TCase *tcase = test_case_without_ring(suite, "tables");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, files_init_errors);
    tcase_add_test(tcase, buffers_init_errors);
    tcase_add_test(tcase, clone_unknown);
    tcase_add_test(tcase, update_errors);
    tcase_add_test(tcase, range_set_again);
    tcase_add_test(tcase, strayed_slot);
    tcase_add_test(tcase, arrives_after_cancel);
    tcase_add_test(tcase, multishot_slot_zero);
    tcase_add_test(tcase, older_kernel);
    tcase_add_test(tcase, fastopen);
    return suite;
}
