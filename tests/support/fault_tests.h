/* tests/support/fault_tests.h: the tests of a program of scenes: included once, behind static const struct scene
 * scenes[]. */
#ifndef RINGLOOP_TESTS_SUPPORT_FAULT_TESTS_H
#define RINGLOOP_TESTS_SUPPORT_FAULT_TESTS_H

/* Goal: where an allocation fails, once or for a while, that is told or made good: nothing is lost, hangs, ends twice
 * or is left, and the loop goes on. Method: see fault.h; _i is the scene. */
START_TEST(memory)
{
    fault_sweep(&scenes[_i], FAULT_MEMORY, -ENOMEM, false);
    fault_sweep(&scenes[_i], FAULT_MEMORY, -ENOMEM, true);
    fault_sweep(&scenes[_i], FAULT_MEMORY_LASTING, -ENOMEM, false);
    fault_sweep(&scenes[_i], FAULT_MEMORY_LASTING, -ENOMEM, true);
}
END_TEST

/* Goal: the same where the system says no. */
START_TEST(calls)
{
    static const int errors[] = {-EMFILE, -ENOMEM, -EIO, -EINTR};

    for (size_t i = 0; i < TEST_COUNT(errors); i++)
        fault_sweep(&scenes[_i], FAULT_CALL, errors[i], false);
    fault_sweep(&scenes[_i], FAULT_CALL, errors[0], true);
}
END_TEST

/* Goal: the same where an operation of the ring fails. */
START_TEST(entries)
{
    static const int errors[] = {-EIO, -ENOMEM, -EINTR};

    if (!fault_entries_work()) {
        test_skip("this kernel has no results to be injected (6.10)");
        return;
    }
    for (size_t i = 0; i < TEST_COUNT(errors); i++)
        fault_sweep(&scenes[_i], FAULT_ENTRY, errors[i], false);
    fault_sweep(&scenes[_i], FAULT_ENTRY, errors[0], true);
}
END_TEST

/* Goal: a loop that may have few operations at a time refuses, or does one after the other. */
START_TEST(few_operations)
{
    fault_sweep(&scenes[_i], FAULT_OPS_MAX, -ENOBUFS, false);
    fault_sweep(&scenes[_i], FAULT_OPS_MAX, -ENOBUFS, true);
}
END_TEST

static Suite *fault_suite(const char *name, void (*setup)(void), void (*teardown)(void))
{
    Suite *suite = suite_create(name);
    TCase *tcase = test_case(suite, "faults");

    tcase_set_timeout(tcase, (double)test_env("TEST_TIMEOUT_S", 120));
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, memory, 0, (int)TEST_COUNT(scenes));
    tcase_add_loop_test(tcase, calls, 0, (int)TEST_COUNT(scenes));
    tcase_add_loop_test(tcase, entries, 0, (int)TEST_COUNT(scenes));
    tcase_add_loop_test(tcase, few_operations, 0, (int)TEST_COUNT(scenes));
    return suite;
}

#endif
