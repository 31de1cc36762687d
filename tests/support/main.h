/* tests/support/main.h: what the tests of a program, each in its own process, share with its main. */
#ifndef RINGLOOP_TESTS_SUPPORT_MAIN_H
#define RINGLOOP_TESTS_SUPPORT_MAIN_H

#include <stdatomic.h>
#include <stdbool.h>

struct test_shared {
    _Atomic unsigned skipped;
    bool             needs_ring;
};
extern struct test_shared *test_shared;

#endif
