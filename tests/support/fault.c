/* tests/support/fault.c: faults, and the sweeps over them. */
#include "tests/support/fault.h"

#include "loop/seam_file.h"
#include "loop/seam_process.h"
#include "loop/seam_ring.h"
#include "loop/seam_sys.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

enum { PLAYS_MAX = 3000, OPS_MAX_LEAST = 1, OPS_MAX_MOST = 12, TURNS_MAX = 100000 };

struct fault    fault;
static uint32_t pending; /* things that have not ended */

/* ---- seams */

static bool fails(enum fault_kind kind, const char *name)
{
    if (!fault.armed || fault.kind != kind || atomic_fetch_add(&fault.count, 1) + 1 != fault.nth)
        return false;
    snprintf(fault.name, sizeof(fault.name), "%s", name);
    fault.met = true;
    return true;
}

#define WRAPPED(type, name, parameters, arguments)                                                                     \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        return fails(FAULT_CALL, #name) ? fault.error : __real_##name arguments;                                       \
    }

/* clang-format off */
WRAPPED(int, sys_fsync, (int fd), (fd))
WRAPPED(int, sys_inotify_open, (void), ())
WRAPPED(int, sys_inotify_add, (int fd, const char *path, uint32_t mask), (fd, path, mask))
WRAPPED(ssize_t, sys_inotify_read, (int fd, void *data, size_t size), (fd, data, size))
WRAPPED(int, sys_inotify_pending, (int fd), (fd))
WRAPPED(int, sys_absolute, (const char *path, char *ret_path, size_t size), (path, ret_path, size))
WRAPPED(ssize_t, sys_link_target, (const char *path, char *ret_target, size_t size), (path, ret_target, size))
WRAPPED(int, sys_look, (const char *path, bool *ret_link, bool *ret_directory), (path, ret_link, ret_directory))
WRAPPED(int, sys_file_system, (const char *path, uint32_t *ret_magic), (path, ret_magic))
WRAPPED(int, sys_open_at, (int dirfd, const char *path, int flags, mode_t mode), (dirfd, path, flags, mode))
WRAPPED(int, sys_open_beneath, (int dirfd, const char *path, int flags, mode_t mode), (dirfd, path, flags, mode))
WRAPPED(ssize_t, sys_entries_read, (int fd, void *buffer, size_t size), (fd, buffer, size))
WRAPPED(int64_t, sys_seek, (int fd, int64_t offset, int whence), (fd, offset, whence))
WRAPPED(int, sys_statx, (int dirfd, const char *path, int flags, unsigned mask, struct statx *ret_stat), (dirfd, path, flags, mask, ret_stat))
WRAPPED(int, sys_unlink_at, (int dirfd, const char *path, int flags), (dirfd, path, flags))
WRAPPED(int, sys_mkdir_at, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode))
WRAPPED(int, sys_link_at, (int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, int flags), (old_dirfd, old_path, new_dirfd, new_path, flags))
WRAPPED(int, sys_rename_at, (int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, unsigned flags), (old_dirfd, old_path, new_dirfd, new_path, flags))
WRAPPED(int, sys_descriptor_link, (int fd, int dirfd, const char *path), (fd, dirfd, path))
WRAPPED(ssize_t, sys_random, (void *data, size_t size, bool wait), (data, size, wait))
WRAPPED(int, sys_access_at, (int dirfd, const char *path, int mode, int flags), (dirfd, path, mode, flags))
WRAPPED(int, sys_chmod_at, (int dirfd, const char *path, mode_t mode, int flags), (dirfd, path, mode, flags))
WRAPPED(int, sys_chmod_fd, (int fd, mode_t mode), (fd, mode))
WRAPPED(int, sys_times_at, (int dirfd, const char *path, const struct timespec *times, int flags), (dirfd, path, times, flags))
WRAPPED(ssize_t, sys_readlink_at, (int dirfd, const char *path, char *buffer, size_t size), (dirfd, path, buffer, size))
WRAPPED(int, sys_realpath, (const char *path, char *buffer), (path, buffer))
WRAPPED(int, sys_statfs, (const char *path, struct statfs *ret_statfs), (path, ret_statfs))
WRAPPED(int, sys_clone, (int to_fd, int from_fd), (to_fd, from_fd))
WRAPPED(ssize_t, sys_copy_range, (int from_fd, int64_t from_offset, int to_fd, int64_t to_offset, size_t size), (from_fd, from_offset, to_fd, to_offset, size))
WRAPPED(ssize_t, sys_read_at, (int fd, void *data, size_t size, int64_t offset), (fd, data, size, offset))
WRAPPED(ssize_t, sys_write_at, (int fd, const void *data, size_t size, int64_t offset), (fd, data, size, offset))
WRAPPED(int, sys_size_set, (int fd, int64_t size), (fd, size))
WRAPPED(int, sys_device_size, (int fd, uint64_t *ret_size), (fd, ret_size))
WRAPPED(int, sys_file_mode, (int fd, mode_t *ret_mode), (fd, ret_mode))
WRAPPED(int, sys_file_flags, (int fd), (fd))
WRAPPED(int, sys_eventfd, (void), ())
WRAPPED(int, sys_epoll, (void), ())
WRAPPED(int, sys_epoll_change, (int epoll_fd, int op, int fd, uint32_t events, uint64_t data), (epoll_fd, op, fd, events, data))
WRAPPED(int, sys_epoll_take, (int epoll_fd, struct epoll_event *ret_events, int events_max), (epoll_fd, ret_events, events_max))
WRAPPED(int, sys_thread_start, (pthread_t *ret_thread, void *(*run)(void *arg), void *arg), (ret_thread, run, arg))
WRAPPED(int, sys_clock_watch, (void), ())
WRAPPED(int, sys_at_fork, (void (*before)(void), void (*in_parent)(void), void (*in_child)(void)), (before, in_parent, in_child))
WRAPPED(int, sys_signal_catch, (int signum, sys_signal_handler *handler, struct sigaction *ret_before), (signum, handler, ret_before))
WRAPPED(int, sys_spawn, (struct sys_spawn *spawn, int *ret_pidfd), (spawn, ret_pidfd))
WRAPPED(int, sys_child_pipe, (int *ret_fds, bool parent_reads), (ret_fds, parent_reads))
WRAPPED(int, sys_open_null, (void), ())
WRAPPED(int, sys_pidfd_open, (pid_t pid), (pid))
/* clang-format on */

static struct io_uring *ring; /* the one set up last */
static unsigned         seen; /* of its SQ */

int __real_seam_ring_setup(unsigned entries, struct io_uring *uring, struct io_uring_params *params);
int __wrap_seam_ring_setup(unsigned entries, struct io_uring *uring, struct io_uring_params *params);
int __real_seam_ring_register(int fd, unsigned opcode, void *arg, unsigned arg_count);
int __wrap_seam_ring_register(int fd, unsigned opcode, void *arg, unsigned arg_count);
int __real_seam_ring_enter(int fd, unsigned to_submit, unsigned least, unsigned flags, void *arg, size_t arg_size);
int __wrap_seam_ring_enter(int fd, unsigned to_submit, unsigned least, unsigned flags, void *arg, size_t arg_size);

int __wrap_seam_ring_setup(unsigned entries, struct io_uring *uring, struct io_uring_params *params)
{
    if (fails(FAULT_CALL, "seam_ring_setup"))
        return fault.error;
    ring = uring;
    seen = 0;
    return __real_seam_ring_setup(entries, uring, params);
}

/* What takes something back does not fail, nor what makes a ring one that can be used. */
int __wrap_seam_ring_register(int fd, unsigned opcode, void *arg, unsigned arg_count)
{
    char name[32];

    snprintf(name, sizeof(name), "seam_ring_register %u", opcode);
    switch (opcode) {
    case IORING_REGISTER_PROBE:
    case IORING_REGISTER_ENABLE_RINGS:
    case IORING_UNREGISTER_BUFFERS:
    case IORING_UNREGISTER_FILES:
    case IORING_UNREGISTER_EVENTFD:
    case IORING_UNREGISTER_RING_FDS:
    case IORING_UNREGISTER_PBUF_RING:
    case IORING_REGISTER_SYNC_CANCEL: break;
    default:
        if (fails(FAULT_CALL, name))
            return fault.error;
    }
    return __real_seam_ring_register(fd, opcode, arg, arg_count);
}

/* In place of what it says, the kernel gives a result. What takes something back does not fail. */
static void entry_spoil(struct io_uring_sqe *sqe)
{
    uint64_t user_data = sqe->user_data;
    uint8_t  flags = sqe->flags & (uint8_t) ~(IOSQE_BUFFER_SELECT | IOSQE_FIXED_FILE);

    switch (sqe->opcode) {
    case IORING_OP_ASYNC_CANCEL:
    case IORING_OP_POLL_REMOVE:
    case IORING_OP_TIMEOUT_REMOVE:
    case IORING_OP_CLOSE:
    case IORING_OP_MSG_RING: return;
    default: break;
    }
    if (!fails(FAULT_ENTRY, loop_op_name(sqe->opcode)))
        return;
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = IORING_OP_NOP;
    sqe->flags = flags;
    sqe->user_data = user_data;
    sqe->nop_flags = IORING_NOP_INJECT_RESULT;
    sqe->len = (uint32_t)fault.error;
    sqe->fd = -1;
}

int __wrap_seam_ring_enter(int fd, unsigned to_submit, unsigned least, unsigned flags, void *arg, size_t arg_size)
{
    if (fault.armed && fault.kind == FAULT_ENTRY && ring != NULL) {
        unsigned head = *ring->sq.khead, tail = *ring->sq.ktail;

        if ((int)(seen - head) < 0)
            seen = head;
        for (; seen != tail; seen++)
            entry_spoil(&ring->sq.sqes[seen & *ring->sq.kring_mask]);
    }
    return __real_seam_ring_enter(fd, to_submit, least, flags, arg, arg_size);
}

/* ---- things */

const char *fault_here(void)
{
    static const char *const kinds[] = {"none", "memory", "memory, lasting", "call", "entry", "ops_max"};
    static char              text[200];

    snprintf(text, sizeof(text), "%s %u%s: %s gives %d", kinds[fault.kind], fault.nth,
             fault.midst ? ", in the midst" : "", fault.met ? fault.name : "nothing", fault.error);
    return text;
}

void thing_told(int error)
{
    if (error >= 0)
        return;
    if (fault.forked && error == -EOWNERDEAD)
        return;
    if (error != fault.error && error != -ENOMEM && error != -ENOBUFS && error != -ECANCELED)
        ck_abort_msg("told %d (%s); %s", error, strerror(-error), fault_here());
    fault.errors++;
}

bool thing_began(struct thing *thing, int64_t result)
{
    if (thing->open)
        ck_abort_msg("begun twice; %s", fault_here());
    thing_told((int)(result < 0 ? result : 0));
    thing->open = result >= 0;
    thing->ends = 0;
    pending += thing->open;
    return thing->open;
}

void thing_ended(struct thing *thing, int error)
{
    if (!thing->open || thing->ends > 0)
        ck_abort_msg("ended twice, or though it was not begun; %s", fault_here());
    thing->open = false;
    thing->ends++;
    thing->error = error;
    pending--;
    thing_told(error);
}

void thing_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    thing_ended(arg, result->res < 0 ? result->res : 0);
}

void thing_fd_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    if (result->res >= 0)
        test_close(result->res);
    thing_cb(loop, result, arg);
}

/* ---- one play */

void fault_arm(void)
{
    fault.count = 0;
    fault.met = false;
    fault.errors = 0;
    fault.armed = true;
    if (fault.kind == FAULT_MEMORY)
        test_memory.fail_at = test_memory.calls + fault.nth;
    if (fault.kind == FAULT_MEMORY_LASTING)
        test_memory.fail_from = test_memory.calls + fault.nth;
}

void fault_disarm(void)
{
    if (fault.kind == FAULT_MEMORY || fault.kind == FAULT_MEMORY_LASTING)
        fault.met = fault.met || test_memory.failed > 0;
    test_memory.failed = 0;
    test_memory.fail_at = test_memory.fail_from = 0;
    fault.armed = false;
}

static bool all_ended(void)
{
    return pending == 0;
}

static void guard_cb(struct loop_timer *timer)
{
    *(bool *)timer->data = true;
}

/* Turns that wait, until done says so. What fails lastingly is mended after a while; then it has to end. */
void fault_pump(struct loop *loop, bool (*done)(void), const char *what)
{
    bool              over = false;
    struct loop_timer guard = {.data = &over};
    bool              lasting = fault.kind == FAULT_MEMORY_LASTING && fault.armed;

    ck_assert_int_eq(loop_timer_start(loop, &guard, lasting ? 4 * LOOP_MILLISECOND : 10 * LOOP_SECOND, 0, guard_cb), 0);
    for (uint32_t turns = 0; !(done != NULL ? done : all_ended)(); turns++) {
        int r = loop_run(loop, LOOP_RUN_ONCE);

        if (r < 0)
            thing_told(r);
        if (over && lasting) {
            lasting = over = false;
            fault_disarm();
            ck_assert_int_eq(loop_timer_start(loop, &guard, 10 * LOOP_SECOND, 0, guard_cb), 0);
        } else if (over || turns > TURNS_MAX) {
            ck_abort_msg("%s does not end: %u things pending; %s", what, pending, fault_here());
        }
    }
    loop_timer_stop(&guard);
}

/* The loop goes on, and is as idle as before. */
void fault_goes_on(struct loop *loop, const char *what)
{
    struct thing thing = {0};

    if (loop_alive(loop)) /* something of the last turn, e.g. a close */
        test_turns(loop, 20);
    ck_assert_msg(!loop_alive(loop), "after %s something is left; %s", what, fault_here());
    ck_assert(thing_began(&thing, loop_nop(loop, thing_cb, &thing, NULL)));
    fault_pump(loop, NULL, "a nop");
}

static void play_on(struct loop *loop, const struct scene *scene)
{
    scene->start(loop);
    if (fault.midst) {
        for (uint32_t turns = fault.nth % 4; turns > 0; turns--)
            (void)loop_run(loop, LOOP_RUN_NOWAIT);
        return;
    }
    fault_pump(loop, scene->wait, scene->name);
    if (scene->close != NULL)
        scene->close();
    fault_pump(loop, NULL, scene->name);
    fault_disarm();
    if (scene->check != NULL && fault.errors == 0)
        scene->check();
    fault_goes_on(loop, scene->name);
}

bool fault_blocks_stay;

void fault_settle(const char *what)
{
    ck_assert_msg(pending == 0, "%s: %u things were not ended by the end of the loop; %s", what, pending, fault_here());
    ck_assert_msg(fault_blocks_stay || test_memory.blocks == 0, "%s: %" PRIu64 " blocks left; %s", what,
                  (uint64_t)test_memory.blocks, fault_here());
}

void fault_forget(void)
{
    pending = 0;
}

void fault_choose(enum fault_kind kind, uint32_t nth, int error, bool midst)
{
    fault.kind = kind;
    fault.nth = nth;
    fault.error = error;
    fault.midst = midst;
    fault.forked = false;
    snprintf(fault.name, sizeof(fault.name), "an allocation");
}

static void play(const struct scene *scene)
{
    struct loop_options options = {.allocator = test_allocator(),
                                   .sq_entries = 8,
                                   .buffer_size = 512,
                                   .buffer_count = 4,
                                   .modes.iowq_bounded_max = 2};
    uint32_t            descriptors;
    struct loop        *loop;
    int                 r;

    if (fault.kind == FAULT_OPS_MAX)
        options.ops_max = fault.nth;
    if (scene->prepare != NULL)
        scene->prepare();
    descriptors = test_fd_count();
    fault_arm();
    r = loop_create(&loop, &options);
    thing_told(r);
    if (r == 0) {
        play_on(loop, scene);
        test_loop_drop(loop);
    }
    fault_disarm();
    if (r == 0 && scene->tidy != NULL)
        scene->tidy();
    fault_settle(scene->name);
    ck_assert_msg(test_fd_count() == descriptors, "%s: %u descriptors, not %u; %s", scene->name, test_fd_count(),
                  descriptors, fault_here());
}

void fault_sweep(const struct scene *scene, enum fault_kind kind, int error, bool midst)
{
    for (uint32_t n = 1;; n++) {
        ck_assert_uint_lt(n, PLAYS_MAX);
        fault_choose(kind, n, error, midst);
        play(scene);
        if (kind == FAULT_OPS_MAX ? n == OPS_MAX_MOST : !fault.met)
            break;
    }
    ck_assert_msg(fault.nth > 1, "%s: nothing failed", scene->name);
}

/* ---- moves */

/* Gives the loop up, or makes it the child's; a failure must be one that passes. */
static void move(struct loop *loop)
{
    int r = fault.forked ? loop_fork(loop) : loop_disown(loop);

    if (r < 0 && r != -EBUSY)
        thing_told(r);
    for (int i = 0; i < 100 && r < 0; i++) {
        bool busy = r == -EBUSY;

        fault_disarm();
        if (busy)
            test_sleep(LOOP_MILLISECOND);
        r = fault.forked ? loop_fork(loop) : busy ? loop_disown(loop) : loop_rehome(loop);
    }
    ck_assert_msg(r == 0, "the loop does not move: %d; %s", r, fault_here());
}

static void move_and_end(struct loop *loop, const struct scene *scene)
{
    fault_arm();
    move(loop);
    fault_pump(loop, scene->wait, scene->name);
    if (scene->close != NULL)
        scene->close();
    fault_pump(loop, NULL, scene->name);
    fault_disarm();
    fault_goes_on(loop, scene->name);
    test_loop_drop(loop);
    fault_settle(scene->name);
}

enum { MOVED_MET = 42, MOVED_NOT_MET };

static void move_into_child(struct loop *loop, const struct scene *scene)
{
    int   status = -1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        alarm(30);
        move_and_end(loop, scene);
        _exit(fault.met ? MOVED_MET : MOVED_NOT_MET);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == MOVED_MET || WEXITSTATUS(status) == MOVED_NOT_MET),
                  "%s: the child ended with status %#x; %s", scene->name, (unsigned)status, fault_here());
    fault.met = WEXITSTATUS(status) == MOVED_MET;
    test_loop_drop(loop);
    fault_settle(scene->name);
}

void fault_sweep_moved(const struct scene *scene, enum fault_kind kind, int error, bool forked)
{
    struct loop_options options = {.sq_entries = 8, .buffer_size = 512, .buffer_count = 4};

    for (uint32_t n = 1;; n++) {
        struct loop *loop;

        ck_assert_uint_lt(n, PLAYS_MAX);
        fault_choose(kind, n, error, false);
        fault.forked = forked;
        scene->prepare();
        loop = test_loop_new(&options);
        scene->start(loop);
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
        if (forked)
            move_into_child(loop, scene);
        else
            move_and_end(loop, scene);
        scene->tidy();
        if (!fault.met)
            break;
    }
}

bool fault_entries_work(void)
{
    struct io_uring      uring;
    struct io_uring_cqe *cqe;
    bool                 works = false;

    if (io_uring_queue_init(2, &uring, 0) < 0)
        return false;
    io_uring_prep_nop(io_uring_get_sqe(&uring));
    uring.sq.sqes[0].nop_flags = IORING_NOP_INJECT_RESULT;
    uring.sq.sqes[0].len = (uint32_t)-EIO;
    if (io_uring_submit(&uring) == 1 && io_uring_wait_cqe(&uring, &cqe) == 0)
        works = cqe->res == -EIO;
    io_uring_queue_exit(&uring);
    return works;
}
