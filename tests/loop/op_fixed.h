/* tests/loop/op_fixed.h: the loop with its table of files that tests of slots share. */
#ifndef RINGLOOP_TESTS_LOOP_OP_FIXED_H
#define RINGLOOP_TESTS_LOOP_OP_FIXED_H

#include "tests/loop/pair_world.h"

#include <liburing.h>

static int own; /* a taken own slot */

enum { AUTOMATIC = 4, OWN = 8 };

static inline void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
    ck_assert_int_eq(loop_files_init(loop, &(struct loop_files_options){.automatic = AUTOMATIC, .own = OWN}), 0);
    own = loop_file_reserve(loop, 1);
    ck_assert_int_ge(own, LOOP_FIXED(AUTOMATIC));
}

static inline bool is_automatic(int fd)
{
    return fd >= LOOP_FIXED(0) && fd < LOOP_FIXED(AUTOMATIC);
}

static inline int32_t close_slot(int fd)
{
    struct test_log log = {0};

    return finish(loop_close(loop, fd, test_log_cb, &log, NULL), &log);
}

static inline int32_t socket_into(int slot)
{
    struct test_log log = {0};

    return finish(loop_socket_direct(loop, AF_INET, SOCK_STREAM, 0, slot, test_log_cb, &log, NULL), &log);
}

/* A normal descriptor of what stands in a slot, to be looked at by system calls. */
static inline int install(int fd)
{
    struct test_log log = {0};
    int             normal;

    if (!test_has_opcode(loop, IORING_OP_FIXED_FD_INSTALL))
        return -1;
    normal = finish(loop_fixed_fd_install(loop, fd, 0, test_log_cb, &log, NULL), &log);
    ck_assert_int_ge(normal, 0);
    return normal;
}

#endif
