#include "tests/support/test.h"
Suite *test_suite(void)
{
    return suite_create("x");
}
