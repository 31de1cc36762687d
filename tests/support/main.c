/* tests/support/main.c: runs the suite of a test program. */
#include "tests/support/main.h"

#include "tests/support/test.h"

#include <sys/mman.h>
#include <sys/syscall.h>

struct test_shared *test_shared;

static bool ring_is_missing(void)
{
    /* A null pointer for the parameters: any kernel that lets us in answers EFAULT. */
    return syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno != EFAULT;
}

int main(void)
{
    Suite   *suite;
    SRunner *runner;
    int      failed;

    test_shared = mmap(NULL, sizeof(*test_shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (test_shared == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    suite = test_suite();
    if (test_shared->needs_ring && ring_is_missing()) {
        printf("SKIPPED all tests: %s; %s\n", strerror(errno), loop_obstacle_text(loop_obstacle(-errno)));
        return 77;
    }
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (test_shared->skipped > 0)
        printf("SKIPPED %u tests, see above\n", test_shared->skipped);
    if (failed > 0)
        return 1;
    return test_shared->skipped > 0 ? 77 : 0;
}
