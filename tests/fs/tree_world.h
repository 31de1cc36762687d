/* tests/fs/tree_world.h: a loop in a scratch directory, and what stands there. Included once by each program. */
#ifndef RINGLOOP_TESTS_FS_TREE_WORLD_H
#define RINGLOOP_TESTS_FS_TREE_WORLD_H

#include "tests/fs/scratch.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct loop *loop;

static inline void open_world(void)
{
    scratch_make();
    loop = test_loop_new(NULL);
}

/* loop: NULL if the test has freed it. */
static inline void close_world(void)
{
    if (loop != NULL)
        test_loop_free(loop);
    loop = NULL;
    scratch_remove();
}

static inline void touch(const char *name)
{
    scratch_write(name, "", 0);
}

static inline void make_directory(const char *name)
{
    ck_assert_msg(mkdir(name, 0700) == 0, "%s: %s", name, strerror(errno));
}

#endif
