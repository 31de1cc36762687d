/* tests/sim/script_ring.c: the scripted ring and system. One ring with pending work at a time: the one set up last. */
#include "tests/sim/script_ring.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* ---- seam 2: the real system, but for the clock, files and the number of threads */

#define sys_clock_ns         sys_clock_ns_real
#define sys_clock_wall_ns    sys_clock_wall_ns_real
#define sys_clock_watch      sys_clock_watch_real
#define sys_clock_watch_read sys_clock_watch_read_real
#define sys_read_number      sys_read_number_real
#define sys_thread_start     sys_thread_start_real
uint64_t sys_clock_ns_real(void);
uint64_t sys_clock_wall_ns_real(void);
int      sys_clock_watch_real(void);
int      sys_clock_watch_read_real(int fd);
int      sys_read_number_real(const char *path, long *ret_number);
int      sys_thread_start_real(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);
#include "loop/sys_linux.c"
#undef sys_clock_ns
#undef sys_clock_wall_ns
#undef sys_clock_watch
#undef sys_clock_watch_read
#undef sys_read_number
#undef sys_thread_start
uint64_t sys_clock_ns(void);
uint64_t sys_clock_wall_ns(void);
int      sys_clock_watch(void);
int      sys_clock_watch_read(int fd);
int      sys_read_number(const char *path, long *ret_number);
int      sys_thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);

struct script script;

uint64_t sys_clock_ns(void)
{
    script.now_ns += script.clock_step_ns;
    return script.now_ns;
}

uint64_t sys_clock_wall_ns(void)
{
    script.now_ns += script.clock_step_ns;
    return script.now_ns + script.wall_ahead_ns;
}

/* A real descriptor, so that one left open is found. */
int sys_clock_watch(void)
{
    if (script.watch_error != 0)
        return script.watch_error;
    script.watch_fd = sys_eventfd();
    script.watch_told = false;
    return script.watch_fd;
}

int sys_clock_watch_read(int fd)
{
    ck_assert_int_eq(fd, script.watch_fd);
    if (!script.watch_told)
        return -EAGAIN;
    script.watch_told = false;
    return 0;
}

int sys_read_number(const char *path, long *ret_number)
{
    for (unsigned i = 0; i < SCRIPT_FILES_MAX && script.files[i].path != NULL; i++) {
        if (strcmp(script.files[i].path, path) == 0) {
            *ret_number = script.files[i].number;
            return 0;
        }
    }
    return -ENOENT;
}

int sys_thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg)
{
    if (script.threads_started >= script.threads_most) {
        script.threads_refused++;
        return -EAGAIN;
    }
    script.threads_started++;
    return sys_thread_start_real(ret_thread, run, arg);
}

/* ---- the ring's memory */

enum { FD_BASE = 1000000, GROUPS_MAX = 64, OVERFLOW_MAX = 4096 };

struct memory {
    struct memory            *before; /* the ring that was current */
    unsigned                  sq_head, sq_tail, sq_mask, sq_entries, sq_flags, sq_dropped;
    unsigned                  cq_head, cq_tail, cq_mask, cq_entries, cq_flags, cq_overflow;
    unsigned                 *array;
    struct io_uring_sqe      *sqes;
    struct io_uring_cqe      *cqes;
    int                       fd;
    bool                      enabled;
    unsigned                  setup_flags, sqe_shift, cqe_shift;
    struct io_uring_buf_ring *groups[GROUPS_MAX];
    unsigned                  group_entries[GROUPS_MAX];
    uint16_t                  group_heads[GROUPS_MAX];
    bool                      group_incremental[GROUPS_MAX];
    struct io_uring_cqe      *overflow; /* allocated with the rest */
    unsigned                  overflow_head, overflow_tail;
};

static struct memory *current;
static int            fds;

void script_reset(void)
{
    memset(&script, 0, sizeof(script));
    script.now_ns = UINT64_C(1000000000000);
    script.features = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
                      IORING_FEAT_RW_CUR_POS | IORING_FEAT_CUR_PERSONALITY | IORING_FEAT_FAST_POLL |
                      IORING_FEAT_POLL_32BITS | IORING_FEAT_EXT_ARG | IORING_FEAT_NATIVE_WORKERS |
                      IORING_FEAT_RSRC_TAGS | IORING_FEAT_CQE_SKIP | IORING_FEAT_LINKED_FILE |
                      IORING_FEAT_REG_REG_RING | IORING_FEAT_MIN_TIMEOUT;
    script.opcode_last = IORING_OP_LAST - 1;
    script.entries_most = UINT32_MAX;
    script.threads_most = UINT32_MAX;
    script.wall_ahead_ns = UINT64_C(1700000000000000000);
    script.watch_fd = -1;
    script.restrictions_most = UINT32_MAX;
    current = NULL;
}

void script_plan(struct script_enter enter)
{
    ck_assert_uint_lt(script.plan_count, SCRIPT_PLAN_MAX);
    script.plan[script.plan_count++] = enter;
}

static unsigned power_of_two(unsigned n)
{
    unsigned p = 1;

    while (p < n)
        p *= 2;
    return p;
}

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    ck_assert_ptr_nonnull(memory);
    return memory;
}

static void describe(struct io_uring *ring, struct memory *memory)
{
    memset(ring, 0, sizeof(*ring));
    ring->sq.khead = &memory->sq_head;
    ring->sq.ktail = &memory->sq_tail;
    ring->sq.kring_mask = &memory->sq_mask;
    ring->sq.kring_entries = &memory->sq_entries;
    ring->sq.kflags = &memory->sq_flags;
    ring->sq.kdropped = &memory->sq_dropped;
    ring->sq.array = memory->array;
    ring->sq.sqes = memory->sqes;
    ring->sq.ring_mask = memory->sq_mask;
    ring->sq.ring_entries = memory->sq_entries;
    ring->cq.khead = &memory->cq_head;
    ring->cq.ktail = &memory->cq_tail;
    ring->cq.kring_mask = &memory->cq_mask;
    ring->cq.kring_entries = &memory->cq_entries;
    ring->cq.kflags = &memory->cq_flags;
    ring->cq.koverflow = &memory->cq_overflow;
    ring->cq.cqes = memory->cqes;
    ring->cq.ring_mask = memory->cq_mask;
    ring->cq.ring_entries = memory->cq_entries;
    ring->sq.ring_ptr = memory; /* for seam_ring_exit */
    ring->ring_fd = memory->fd;
    ring->enter_ring_fd = memory->fd;
}

_Static_assert(sizeof(struct io_uring_cqe) == 16, "big_cqe is counted apart");

int seam_ring_setup(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
    struct memory *memory;

    ck_assert_uint_lt(script.setups_count, SCRIPT_SETUPS_MAX);
    script.setups[script.setups_count++] =
        (struct script_setup){.entries = entries, .cq_entries = params->cq_entries, .flags = params->flags};
    if (script.setup_error != 0)
        return script.setup_error;
    if ((params->flags & script.refused_flags) != 0)
        return -EINVAL;
    if (entries > script.entries_most)
        return -ENOMEM;
    memory = zeroed(1, sizeof(*memory));
    memory->sq_entries = power_of_two(entries);
    memory->cq_entries =
        (params->flags & IORING_SETUP_CQSIZE) != 0 ? power_of_two(params->cq_entries) : 2 * memory->sq_entries;
    memory->sq_mask = memory->sq_entries - 1;
    memory->cq_mask = memory->cq_entries - 1;
    memory->array = zeroed(memory->sq_entries, sizeof(memory->array[0]));
    memory->setup_flags = params->flags | script.setup_flags_added;
    memory->sqe_shift = (memory->setup_flags & IORING_SETUP_SQE128) != 0;
    memory->cqe_shift = (memory->setup_flags & IORING_SETUP_CQE32) != 0;
    memory->sqes = zeroed(memory->sq_entries, sizeof(memory->sqes[0]) << memory->sqe_shift);
    memory->cqes = zeroed(memory->cq_entries, sizeof(memory->cqes[0]) << memory->cqe_shift);
    memory->overflow = zeroed(OVERFLOW_MAX, sizeof(memory->overflow[0]));
    for (unsigned i = 0; i < memory->sq_entries; i++)
        memory->array[i] = i;
    /* The CQ's indices run over soon. Those of the SQ start at 0, as liburing takes for granted, too. */
    memory->cq_head = memory->cq_tail = UINT32_MAX - 7;
    memory->fd = FD_BASE + fds++;
    memory->enabled = (params->flags & IORING_SETUP_R_DISABLED) == 0;
    describe(ring, memory);
    params->sq_entries = memory->sq_entries;
    params->cq_entries = memory->cq_entries;
    params->features = script.features;
    params->flags |= script.setup_flags_added;
    ring->flags = params->flags;
    ring->features = script.features;
    script.rings_open++;
    memory->before = current;
    current = memory;
    return 0;
}

void seam_ring_exit(struct io_uring *ring)
{
    struct memory *memory = ring->sq.ring_ptr;

    ck_assert_ptr_nonnull(memory);
    free(memory->array);
    free(memory->sqes);
    free(memory->cqes);
    free(memory->overflow);
    ring->sq.ring_ptr = NULL;
    script.rings_open--;
    if (current == memory)
        current = memory->before;
    else if (current != NULL && current->before == memory)
        current->before = memory->before;
    free(memory);
}

void seam_ring_abandon(struct io_uring *ring)
{
    seam_ring_exit(ring);
}

/* ---- completions */

unsigned script_ready(void)
{
    return current->cq_tail - __atomic_load_n(&current->cq_head, __ATOMIC_ACQUIRE);
}

unsigned script_overflown(void)
{
    return current->overflow_tail - current->overflow_head;
}

static struct io_uring_cqe *cqe_at(unsigned index)
{
    return &current->cqes[(index & current->cq_mask) << current->cqe_shift];
}

static void post(const struct io_uring_cqe *cqe)
{
    memcpy(cqe_at(current->cq_tail), cqe, sizeof(*cqe));
    __atomic_store_n(&current->cq_tail, current->cq_tail + 1, __ATOMIC_RELEASE);
}

void script_cqe32(uint64_t user_data, int32_t res, uint32_t flags, const uint64_t extra[2])
{
    struct io_uring_cqe cqe;

    memset(&cqe, 0, sizeof(cqe));
    cqe.user_data = user_data;
    cqe.res = res;
    cqe.flags = flags;
    ck_assert_uint_lt(script_ready() + 2, current->cq_entries);
    if ((current->setup_flags & IORING_SETUP_CQE_MIXED) != 0) {
        if ((current->cq_tail & current->cq_mask) == current->cq_mask) {
            const struct io_uring_cqe filler = {.flags = IORING_CQE_F_SKIP};

            post(&filler);
        }
        cqe.flags |= IORING_CQE_F_32;
    }
    memcpy(cqe_at(current->cq_tail) + 1, extra, 16);
    memcpy(cqe_at(current->cq_tail), &cqe, sizeof(cqe));
    __atomic_store_n(&current->cq_tail, current->cq_tail + (current->cqe_shift != 0 ? 1 : 2), __ATOMIC_RELEASE);
}

void script_cqe(uint64_t user_data, int32_t res, uint32_t flags)
{
    struct io_uring_cqe cqe;

    memset(&cqe, 0, sizeof(cqe));
    cqe.user_data = user_data;
    cqe.res = res;
    cqe.flags = flags;
    if (script_overflown() == 0 && script_ready() < current->cq_entries) {
        post(&cqe);
        return;
    }
    ck_assert_uint_lt(script_overflown(), OVERFLOW_MAX);
    current->overflow[current->overflow_tail++ % OVERFLOW_MAX] = cqe;
    current->sq_flags |= IORING_SQ_CQ_OVERFLOW;
}

static void flush_overflow(void)
{
    while (script_overflown() > 0 && script_ready() < current->cq_entries)
        post(&current->overflow[current->overflow_head++ % OVERFLOW_MAX]);
    if (script_overflown() == 0)
        current->sq_flags &= ~(unsigned)IORING_SQ_CQ_OVERFLOW;
}

struct io_uring_sqe *script_find(uint8_t opcode, unsigned n)
{
    for (unsigned i = 0; i < script.pending_count; i++)
        if (script.pending[i].opcode == opcode && n-- == 0)
            return &script.pending[i];
    return NULL;
}

unsigned script_count(uint8_t opcode)
{
    unsigned count = 0;

    while (script_find(opcode, count) != NULL)
        count++;
    return count;
}

void script_complete(struct io_uring_sqe *sqe, int32_t res, uint32_t flags)
{
    if (sqe == NULL)
        ck_abort_msg("there is no such SQE to complete");
    if ((sqe->flags & IOSQE_CQE_SKIP_SUCCESS) == 0 || res < 0)
        script_cqe(sqe->user_data, res, flags);
    if ((flags & IORING_CQE_F_MORE) != 0)
        return;
    script.pending_count--;
    memmove(sqe, sqe + 1, (size_t)(script.pending + script.pending_count - sqe) * sizeof(*sqe));
}

struct io_uring_sqe *script_watch(void)
{
    struct io_uring_sqe *sqe;

    for (unsigned n = 0; (sqe = script_find(IORING_OP_POLL_ADD, n)) != NULL; n++)
        if (sqe->fd == script.watch_fd)
            return sqe;
    return NULL;
}

void script_clock_set(int64_t change_ns)
{
    struct io_uring_sqe *sqe = script_watch();

    script.wall_ahead_ns += (uint64_t)change_ns;
    script.watch_told = true;
    if (sqe != NULL)
        script_complete(sqe, POLLIN, 0);
}

void script_taskrun(void)
{
    current->sq_flags |= IORING_SQ_TASKRUN;
}

void script_count_losses(unsigned completions, unsigned sqes)
{
    current->cq_overflow = completions;
    current->sq_dropped = sqes;
}

/* Takes the buffer at the head, or in an incremental group as much of it as is needed. Returns how many bytes went into
 * it. */
static uint32_t fill(uint16_t group, const char *data, uint32_t size, bool *ret_more)
{
    struct io_uring_buf_ring *ring = current->groups[group];
    struct io_uring_buf      *buffer = &ring->bufs[current->group_heads[group] & (current->group_entries[group] - 1)];
    uint32_t                  bytes = size < buffer->len ? size : buffer->len;

    memcpy((void *)(uintptr_t)buffer->addr, data, bytes);
    *ret_more = current->group_incremental[group] && bytes < buffer->len;
    if (*ret_more) {
        buffer->addr += bytes;
        buffer->len -= bytes;
    } else {
        current->group_heads[group]++;
    }
    return bytes;
}

static unsigned buffers_left(uint16_t group)
{
    return (uint16_t)(__atomic_load_n(&current->groups[group]->tail, __ATOMIC_ACQUIRE) - current->group_heads[group]);
}

uint32_t script_buffer(uint16_t group, const void *data, uint32_t size)
{
    struct io_uring_buf *first;
    uint32_t             flags;
    bool                 more = false;

    ck_assert_ptr_nonnull(current->groups[group]);
    if (buffers_left(group) == 0)
        return 0;
    first = &current->groups[group]->bufs[current->group_heads[group] & (current->group_entries[group] - 1)];
    flags = IORING_CQE_F_BUFFER | (uint32_t)first->bid << IORING_CQE_BUFFER_SHIFT;
    for (uint32_t bytes = 0; bytes < size;) {
        ck_assert_uint_gt(buffers_left(group), 0);
        bytes += fill(group, (const char *)data + bytes, size - bytes, &more);
    }
    return flags | (more ? IORING_CQE_F_BUF_MORE : 0);
}

uint32_t script_buffer_peek(uint16_t group)
{
    ck_assert_uint_gt(buffers_left(group), 0);
    return IORING_CQE_F_BUFFER |
           (uint32_t)current->groups[group]->bufs[current->group_heads[group] & (current->group_entries[group] - 1)].bid
               << IORING_CQE_BUFFER_SHIFT;
}

void script_buffers_skip(uint16_t group, unsigned count)
{
    ck_assert_uint_ge(buffers_left(group), count);
    current->group_heads[group] = (uint16_t)(current->group_heads[group] + count);
}

/* As the kernel does: the first match, or with ANY or ALL every one. */
static int cancel(const struct io_uring_sqe *cancel_sqe)
{
    bool all = (cancel_sqe->cancel_flags & (IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL)) != 0;
    bool any = (cancel_sqe->cancel_flags & IORING_ASYNC_CANCEL_ANY) != 0;
    int  count = 0;

    for (unsigned i = 0; i < script.pending_count;) {
        struct io_uring_sqe *sqe = &script.pending[i];

        if (sqe->opcode == IORING_OP_ASYNC_CANCEL || sqe->opcode == IORING_OP_LINK_TIMEOUT ||
            sqe->opcode == script.hidden_opcode || (!any && sqe->user_data != cancel_sqe->addr)) {
            i++;
            continue;
        }
        script_complete(sqe, -ECANCELED, 0);
        if (!all)
            return 0;
        count++;
    }
    return all ? count : -ENOENT;
}

static void take(const struct io_uring_sqe *sqe)
{
    struct io_uring_sqe *mine = &script.pending[script.pending_count];

    if (script.pending_count == SCRIPT_PENDING_MAX)
        ck_abort_msg("too many SQEs are pending");
    *mine = *sqe;
    if (current->sqe_shift != 0 || sqe->opcode == IORING_OP_NOP128 || sqe->opcode == IORING_OP_URING_CMD128)
        script.last_half = sqe[1];
    script.pending_count++;
    script.taken++;
    if (script.manual)
        return;
    if (sqe->opcode == IORING_OP_NOP) {
        script_complete(mine, 0, 0);
    } else if (sqe->opcode == IORING_OP_POLL_ADD && sqe->fd == script.watch_fd && script.watch_told) {
        script_complete(mine, POLLIN, 0);
    } else if (sqe->opcode == IORING_OP_ASYNC_CANCEL) {
        int res = cancel(sqe);

        /* The cancelled may have stood before it: it is the last. */
        script_complete(&script.pending[script.pending_count - 1], res, 0);
    }
}

/* ---- seam 1 */

/* One of 128 bytes on a ring of both sizes stands in two, and never goes over the end. */
static unsigned places_of(const struct io_uring_sqe *sqe, unsigned index)
{
    if ((current->setup_flags & IORING_SETUP_SQE_MIXED) == 0 ||
        (sqe->opcode != IORING_OP_NOP128 && sqe->opcode != IORING_OP_URING_CMD128))
        return 1;
    ck_assert_uint_ne(index, current->sq_mask);
    return 2;
}

static int submit(unsigned count)
{
    unsigned tail = __atomic_load_n(&current->sq_tail, __ATOMIC_ACQUIRE), taken = 0;

    while (taken < count && current->sq_head != tail) {
        unsigned             index = current->array[current->sq_head & current->sq_mask];
        struct io_uring_sqe *sqe = &current->sqes[index << current->sqe_shift];
        unsigned             places = places_of(sqe, index);

        take(sqe);
        memset(sqe, 0xa5, (places << current->sqe_shift) * sizeof(*sqe)); /* it is the library's again */
        __atomic_store_n(&current->sq_head, current->sq_head + places, __ATOMIC_RELEASE);
        taken += places;
    }
    return (int)taken;
}

static uint64_t timeout_of(unsigned flags, const void *arg, size_t arg_size)
{
    const struct io_uring_getevents_arg *getevents = arg;
    const struct __kernel_timespec      *timeout;

    if ((flags & IORING_ENTER_EXT_ARG) == 0 || arg == NULL)
        return UINT64_MAX;
    ck_assert_uint_eq(arg_size, sizeof(*getevents));
    timeout = (const struct __kernel_timespec *)(uintptr_t)getevents->ts;
    if (timeout == NULL)
        return UINT64_MAX;
    ck_assert_int_ge(timeout->tv_sec, 0);
    ck_assert(timeout->tv_nsec >= 0 && timeout->tv_nsec < 1000000000);
    return (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec;
}

static int wait_for(unsigned min_complete, uint64_t timeout_ns, bool early)
{
    current->sq_flags &= ~(unsigned)IORING_SQ_TASKRUN;
    flush_overflow();
    if (script_ready() >= min_complete)
        return 0;
    script.waits++;
    if (early)
        return 0;
    if (script.on_wait != NULL)
        script.on_wait(script.on_wait_arg);
    flush_overflow();
    if (script_ready() > 0)
        return 0;
    if (timeout_ns == UINT64_MAX)
        ck_abort_msg("the loop waits without a timeout, and nothing will ever come");
    script.now_ns += timeout_ns;
    return -ETIME;
}

/* SQPOLL: the kernel's thread, which works when the test says so, and when it is woken or waited for. */
void script_sqpoll(unsigned count)
{
    (void)submit(count);
}

void script_sqpoll_sleeps(void)
{
    current->sq_flags |= IORING_SQ_NEED_WAKEUP;
}

static int enter_sqpoll(unsigned min_complete, unsigned flags, unsigned to_submit, bool early)
{
    ck_assert_uint_eq(to_submit, 0);
    if ((flags & IORING_ENTER_SQ_WAKEUP) != 0) {
        current->sq_flags &= ~(unsigned)IORING_SQ_NEED_WAKEUP;
        (void)submit(UINT32_MAX);
    }
    if ((flags & IORING_ENTER_SQ_WAIT) != 0)
        (void)submit(1);
    if ((flags & IORING_ENTER_GETEVENTS) == 0)
        return 0;
    if (script.sqpoll_works)
        (void)submit(UINT32_MAX);
    return wait_for(min_complete, script.last_timeout_ns, early);
}

int seam_ring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags, void *arg, size_t arg_size)
{
    struct script_enter plan = {0};
    int                 taken, r;

    if (current == NULL || !current->enabled)
        ck_abort_msg("entered a ring that is not there, or not enabled");
    if (fd != ((flags & IORING_ENTER_REGISTERED_RING) != 0 ? 0 : current->fd))
        ck_abort_msg("entered with descriptor %d", fd);
    script.enters++;
    script.last_to_submit = to_submit;
    script.last_min_complete = min_complete;
    script.last_flags = flags;
    script.last_timeout_ns = timeout_of(flags, arg, arg_size);
    if (script.plan_count > 0) {
        plan = script.plan[0];
        memmove(script.plan, script.plan + 1, --script.plan_count * sizeof(script.plan[0]));
    }
    if (plan.result < 0)
        return plan.result;
    if ((current->setup_flags & IORING_SETUP_SQPOLL) != 0)
        return enter_sqpoll(min_complete, flags, to_submit, plan.early);
    taken = submit(plan.limited && plan.take < to_submit ? plan.take : to_submit);
    if ((unsigned)taken != to_submit)
        return taken;
    if ((flags & IORING_ENTER_GETEVENTS) == 0)
        return taken;
    r = wait_for(min_complete, script.last_timeout_ns, plan.early);
    return taken > 0 ? taken : r;
}

static bool sync_matches(const struct io_uring_sync_cancel_reg *sync, const struct io_uring_sqe *sqe)
{
    if (sqe->opcode == IORING_OP_LINK_TIMEOUT || sqe->opcode == script.hidden_opcode)
        return false;
    return (sync->flags & IORING_ASYNC_CANCEL_FD) != 0 ? sqe->fd == sync->fd : sqe->user_data == sync->addr;
}

/* As the kernel does, which does not count those of a worker among all. */
static int sync_cancel(const struct io_uring_sync_cancel_reg *sync)
{
    bool all = (sync->flags & IORING_ASYNC_CANCEL_ALL) != 0;
    int  count = 0;

    script.sync_cancels++;
    for (unsigned i = 0; i < script.pending_count;) {
        struct io_uring_sqe *sqe = &script.pending[i];

        if (!sync_matches(sync, sqe)) {
            i++;
        } else if (sqe->opcode == script.worker_opcode) {
            if (!all)
                return -ETIME;
            i++;
        } else {
            script_complete(sqe, -ECANCELED, 0);
            if (!all)
                return 0;
            count++;
        }
    }
    return all ? count : -ENOENT;
}

static int register_probe(struct io_uring_probe *probe, unsigned count)
{
    probe->last_op = (__u8)script.opcode_last;
    probe->ops_len = (__u8)(script.opcode_last + 1 < count ? script.opcode_last + 1 : count);
    for (unsigned i = 0; i < probe->ops_len; i++) {
        probe->ops[i].op = (__u8)i;
        probe->ops[i].flags = IO_URING_OP_SUPPORTED;
    }
    return 0;
}

static int register_buffers(const struct io_uring_buf_reg *reg)
{
    if (script.register_error != 0)
        return script.register_error;
    if (script.refuse_incremental && (reg->flags & IOU_PBUF_RING_INC) != 0)
        return -EINVAL;
    ck_assert_uint_lt(reg->bgid, GROUPS_MAX);
    ck_assert_ptr_null(current->groups[reg->bgid]);
    ck_assert_uint_eq(reg->ring_entries & (reg->ring_entries - 1), 0);
    ck_assert_uint_eq(reg->ring_addr % 4096, 0);
    current->groups[reg->bgid] = (struct io_uring_buf_ring *)(uintptr_t)reg->ring_addr;
    current->group_entries[reg->bgid] = reg->ring_entries;
    current->group_heads[reg->bgid] = 0;
    current->group_incremental[reg->bgid] = (reg->flags & IOU_PBUF_RING_INC) != 0;
    return 0;
}

static int buffers_status(struct io_uring_buf_status *status)
{
    if (script.refuse_status)
        return -EINVAL;
    status->head = current->group_heads[status->buf_group];
    return 0;
}

/* Registered files and buffers: that there is a table, and how far an update gets. */
static int register_tables(unsigned opcode, const void *arg, unsigned arg_count)
{
    unsigned count;

    switch (opcode) {
    case IORING_REGISTER_FILES2: script.files_registered = true; return 0;
    case IORING_UNREGISTER_FILES: script.files_registered = false; return 0;
    case IORING_REGISTER_FILE_ALLOC_RANGE:
        script.ranges_set++;
        script.range_first = ((const struct io_uring_file_index_range *)arg)->off;
        script.range_count = ((const struct io_uring_file_index_range *)arg)->len;
        return 0;
    case IORING_REGISTER_FILES_UPDATE: return (int)arg_count;
    case IORING_REGISTER_BUFFERS2: script.buffers_registered = true; return 0;
    case IORING_UNREGISTER_BUFFERS: script.buffers_registered = false; return 0;
    case IORING_REGISTER_BUFFERS_UPDATE:
        count = ((const struct io_uring_rsrc_update2 *)arg)->nr;
        return (int)(script.buffers_update_most != 0 && script.buffers_update_most < count ? script.buffers_update_most
                                                                                           : count);
    default: return -EINVAL;
    }
}

enum { ZCRX_HEAD_AT = 0, ZCRX_TAIL_AT = 64, ZCRX_ENTRIES_AT = 128 };

static char *zcrx_region(void)
{
    const struct io_uring_region_desc *region = (const void *)(uintptr_t)script.zcrx.region_ptr;

    return (char *)(uintptr_t)region->user_addr;
}

static int register_zcrx(struct io_uring_zcrx_ifq_reg *reg)
{
    struct io_uring_region_desc   *region = (void *)(uintptr_t)reg->region_ptr;
    struct io_uring_zcrx_area_reg *area = (void *)(uintptr_t)reg->area_ptr;

    if (script.zcrx_error != 0)
        return script.zcrx_error;
    ck_assert_uint_eq(region->flags, IORING_MEM_REGION_TYPE_USER);
    ck_assert_uint_eq((region->user_addr | region->size | area->addr | area->len) % 4096, 0);
    ck_assert_uint_ge(region->size, ZCRX_ENTRIES_AT + reg->rq_entries * sizeof(struct io_uring_zcrx_rqe));
    reg->offsets = (struct io_uring_zcrx_offsets){.head = ZCRX_HEAD_AT, .tail = ZCRX_TAIL_AT, .rqes = ZCRX_ENTRIES_AT};
    reg->zcrx_id = 5;
    area->rq_area_token = (__u64)2 << IORING_ZCRX_AREA_SHIFT;
    script.zcrx = *reg;
    script.zcrx_area = *area;
    script.zcrx_ring = zcrx_region();
    return 0;
}

bool script_refill(struct io_uring_zcrx_rqe *ret_entry)
{
    uint32_t *head = (uint32_t *)(void *)(script.zcrx_ring + ZCRX_HEAD_AT);
    uint32_t  tail = __atomic_load_n((uint32_t *)(void *)(script.zcrx_ring + ZCRX_TAIL_AT), __ATOMIC_ACQUIRE);

    ck_assert_uint_le(tail - *head, script.zcrx.rq_entries);
    if (*head == tail)
        return false;
    *ret_entry = ((struct io_uring_zcrx_rqe *)(void *)(script.zcrx_ring +
                                                       ZCRX_ENTRIES_AT))[*head & (script.zcrx.rq_entries - 1)];
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return true;
}

int seam_ring_register(int fd, unsigned opcode, void *arg, unsigned arg_count)
{
    ck_assert_ptr_nonnull(current);
    ck_assert_int_eq(fd, current->fd);
    if (script.refused_register_error != 0 && opcode == script.refused_register)
        return script.refused_register_error;
    switch (opcode) {
    case IORING_REGISTER_PROBE: return register_probe(arg, arg_count);
    case IORING_REGISTER_ENABLE_RINGS:
        if (current->enabled)
            return -EBADFD;
        current->enabled = true;
        return 0;
    case IORING_REGISTER_RING_FDS:
        if (script.register_fds_error != 0)
            return script.register_fds_error;
        ((struct io_uring_rsrc_update *)arg)->offset = 0;
        return 1;
    case IORING_UNREGISTER_RING_FDS: return 1;
    case IORING_REGISTER_SYNC_CANCEL: return sync_cancel(arg);
    case IORING_REGISTER_PBUF_RING: return register_buffers(arg);
    case IORING_REGISTER_ZCRX_IFQ: return register_zcrx(arg);
    case IORING_REGISTER_PBUF_STATUS: return buffers_status(arg);
    case IORING_UNREGISTER_PBUF_RING: current->groups[((struct io_uring_buf_reg *)arg)->bgid] = NULL; return 0;
    case IORING_REGISTER_RESTRICTIONS:
        if (arg_count > script.restrictions_most)
            return -EINVAL;
        script.restrictions = arg_count;
        return 0;
    case IORING_REGISTER_RESIZE_RINGS: return script.resize_error != 0 ? script.resize_error : -EFAULT;
    default: return register_tables(opcode, arg, arg_count);
    }
}

/* What stands in the queues moves, at the same numbers. */
int seam_ring_resize(struct io_uring *ring, struct io_uring_params *params)
{
    struct memory       *memory = ring->sq.ring_ptr;
    struct io_uring_sqe *sqes = zeroed(params->sq_entries, sizeof(sqes[0]));
    struct io_uring_cqe *cqes = zeroed(params->cq_entries, sizeof(cqes[0]));

    if (script.resize_error != 0) {
        free(sqes);
        free(cqes);
        return script.resize_error;
    }
    ck_assert_uint_eq(memory->sqe_shift + memory->cqe_shift, 0);
    for (unsigned i = memory->sq_head; i != memory->sq_tail; i++)
        sqes[i & (params->sq_entries - 1)] = memory->sqes[i & memory->sq_mask];
    for (unsigned i = memory->cq_head; i != memory->cq_tail; i++)
        memcpy(&cqes[i & (params->cq_entries - 1)], &memory->cqes[i & memory->cq_mask], sizeof(cqes[0]));
    free(memory->sqes);
    free(memory->cqes);
    free(memory->array);
    memory->sqes = sqes;
    memory->cqes = cqes;
    memory->array = zeroed(params->sq_entries, sizeof(memory->array[0]));
    for (unsigned i = 0; i < params->sq_entries; i++)
        memory->array[i] = i;
    memory->sq_entries = params->sq_entries;
    memory->cq_entries = params->cq_entries;
    memory->sq_mask = params->sq_entries - 1;
    memory->cq_mask = params->cq_entries - 1;
    describe(ring, memory);
    script.resizes++;
    return 0;
}
