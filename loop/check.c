/* loop/check.c: ending the process with a message when going on would damage memory. */
#include "loop/base.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "ringloop: internal check failed: %s (%s:%d)\n", condition, file, line);
    abort();
}

void check_misuse(const char *call, const char *rule)
{
    fprintf(stderr, "ringloop: %s(): %s\n", call, rule);
    abort();
}
