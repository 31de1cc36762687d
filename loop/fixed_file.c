/* loop/fixed_file.c: the table of registered files.
 *
 * The kernel's allocation has the slots in front, ours stand behind. A kernel without the fix of 2026 ("clamp
 * alloc_hint to the configured alloc range") goes on from the slot that was changed last, also if that is one of ours:
 * with ours behind, it then still finds the free ones in front first, and takes one of ours only when those are all in
 * use. So the range is set again after each change, which resets that memory, and what strays all the same is noted. */
#include "loop/fixed.h"

#include "loop/op_start.h"

#include <errno.h>
#include <string.h>

enum { FILES_MOST = 1 << 20, PART_DEFAULT = 512, WORD_BITS = 64 };

/* An own slot whose file came in by its descriptor stands in the chain of its number. */
struct file_slot {
    int32_t  fd;   /* -1: none that is known */
    uint32_t next; /* 1 + index of the next in the chain; 0: none */
};

struct fixed_files {
    uint32_t          automatic, own;
    uint32_t          taken_count, hint; /* where to look for a free one first */
    uint32_t          full, automatic_full, strayed;
    uint32_t          mask;   /* of chains */
    uint64_t         *taken;  /* bit n: own slot n is taken */
    struct file_slot *slots;  /* of the own part */
    uint32_t         *chains; /* 1 + index of the first own slot; 0: none */
};

/* ---- own slots, counted from 0 here */

static bool is_taken(const struct fixed_files *files, uint32_t index)
{
    return (files->taken[index / WORD_BITS] >> index % WORD_BITS & 1) != 0;
}

static void take(struct fixed_files *files, uint32_t index)
{
    files->taken[index / WORD_BITS] |= UINT64_C(1) << index % WORD_BITS;
    files->taken_count++;
}

static void release(struct fixed_files *files, uint32_t index)
{
    files->taken[index / WORD_BITS] &= ~(UINT64_C(1) << index % WORD_BITS);
    files->taken_count--;
    files->hint = index;
}

static uint32_t *chain_of(struct fixed_files *files, int fd)
{
    return &files->chains[(uint32_t)fd & files->mask];
}

static void note_fd(struct fixed_files *files, uint32_t index, int fd)
{
    uint32_t *chain = chain_of(files, fd);

    files->slots[index] = (struct file_slot){.fd = fd, .next = *chain};
    *chain = index + 1;
}

static void forget_fd(struct fixed_files *files, uint32_t index)
{
    struct file_slot *slot = &files->slots[index];
    uint32_t         *at;

    if (slot->fd < 0)
        return;
    for (at = chain_of(files, slot->fd); *at != index + 1; at = &files->slots[*at - 1].next)
        CHECK(*at != 0);
    *at = slot->next;
    slot->fd = -1;
}

/* Own slot with this number, or -1. */
static int64_t find_fd(struct fixed_files *files, int fd)
{
    for (uint32_t at = *chain_of(files, fd); at != 0; at = files->slots[at - 1].next)
        if (files->slots[at - 1].fd == fd)
            return at - 1;
    return -1;
}

/* How many from index on are free, up to count. */
static uint32_t free_run(const struct fixed_files *files, uint32_t index, uint32_t count)
{
    uint32_t run = 0;

    while (run < count && index + run < files->own && !is_taken(files, index + run))
        run++;
    return run;
}

/* The first of count free slots in a row between from and to, or -1. */
static int64_t find_free(const struct fixed_files *files, uint32_t from, uint32_t to, uint32_t count)
{
    for (uint32_t index = from; index < to;) {
        uint32_t run;

        if (files->taken[index / WORD_BITS] == UINT64_MAX) { /* a whole word */
            index = (index / WORD_BITS + 1) * WORD_BITS;
            continue;
        }
        run = free_run(files, index, count);
        if (run == count)
            return index;
        index += run + 1;
    }
    return -1;
}

static int64_t take_free(struct fixed_files *files, uint32_t count)
{
    int64_t index = -1;

    if (count <= files->own - files->taken_count) {
        index = find_free(files, files->hint, files->own, count);
        if (index < 0)
            index = find_free(files, 0, files->hint, count);
    }
    if (index < 0) {
        files->full++;
        return -ENFILE;
    }
    for (uint32_t i = 0; i < count; i++)
        take(files, (uint32_t)index + i);
    files->hint = ((uint32_t)index + count) % files->own;
    return index;
}

static int fixed_of(const struct fixed_files *files, uint32_t index)
{
    return LOOP_FIXED((int)(files->automatic + index));
}

/* The own slot that a number means, in either notation; -1 if it means none. */
static int64_t own_index(const struct fixed_files *files, int slot)
{
    uint32_t number = (uint32_t)(slot & ~LOOP_FIXED_FLAG);

    if (slot < 0 || number < files->automatic || number - files->automatic >= files->own)
        return -1;
    return number - files->automatic;
}

/* ---- the kernel's table */

static int set_range(struct loop *loop, const struct fixed_files *files)
{
    struct io_uring_file_index_range range = {.len = files->automatic};

    return seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_FILE_ALLOC_RANGE, &range, 0);
}

/* fd -1: empties the slot. */
static int put(struct loop *loop, const struct fixed_files *files, uint32_t index, int32_t fd)
{
    struct io_uring_rsrc_update update = {
        .offset = files->automatic + index,
        .data = (uint64_t)(uintptr_t)&fd,
    };
    int r = seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_FILES_UPDATE, &update, 1);

    (void)set_range(loop, files);
    return r < 0 ? r : 0;
}

static struct fixed_files *files_new(struct loop *loop, uint32_t automatic, uint32_t own)
{
    uint32_t            words = (own + WORD_BITS - 1) / WORD_BITS, chains = 1;
    size_t              words_at = sizeof(struct fixed_files), slots_at, chains_at, bytes;
    struct fixed_files *files;

    while (chains < own)
        chains *= 2;
    slots_at = words_at + words * sizeof(files->taken[0]);
    chains_at = slots_at + own * sizeof(files->slots[0]);
    bytes = chains_at + chains * sizeof(files->chains[0]);
    files = memory_resize(loop, NULL, bytes);
    if (files == NULL)
        return NULL;
    memset(files, 0, bytes);
    files->automatic = automatic;
    files->own = own;
    files->mask = chains - 1;
    files->taken = (uint64_t *)(void *)((char *)files + words_at);
    files->slots = (struct file_slot *)(void *)((char *)files + slots_at);
    files->chains = (uint32_t *)(void *)((char *)files + chains_at);
    for (uint32_t i = 0; i < own; i++)
        files->slots[i].fd = -1;
    return files;
}

static int table_register(struct loop *loop, const struct fixed_files *files)
{
    struct io_uring_rsrc_register sparse = {.nr = files->automatic + files->own, .flags = IORING_RSRC_REGISTER_SPARSE};
    int r = seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_FILES2, &sparse, sizeof(sparse));

    if (r < 0)
        return r;
    r = set_range(loop, files);
    if (r < 0)
        (void)seam_ring_register(loop->ring.uring.ring_fd, IORING_UNREGISTER_FILES, NULL, 0);
    return r;
}

int loop_files_init(struct loop *loop, const struct loop_files_options *options)
{
    struct loop_files_options mine = options == NULL ? (struct loop_files_options){0} : *options;
    struct fixed_files       *files;
    int                       r;

    loop_check_owner(loop, __func__);
    if (mine.automatic == 0 && mine.own == 0)
        mine.automatic = mine.own = PART_DEFAULT;
    if (mine.flags != 0 || mine.reserved != 0 || mine.automatic > FILES_MOST || mine.own > FILES_MOST - mine.automatic)
        return -EINVAL;
    if (loop->files != NULL)
        return -EBUSY;
    files = files_new(loop, mine.automatic, mine.own);
    if (files == NULL)
        return -ENOMEM;
    r = table_register(loop, files);
    if (r < 0) {
        memory_free(loop, files);
        return r;
    }
    loop->files = files;
    return 0;
}

/* What has been closed since is gone; any other error makes the move fail, and it can be tried again. */
int fixed_files_rehome(struct loop *loop)
{
    struct fixed_files *files = loop->files;
    int                 r = files == NULL ? 0 : table_register(loop, files);

    for (uint32_t i = 0; r == 0 && files != NULL && i < files->own; i++) {
        if (files->slots[i].fd >= 0)
            r = put(loop, files, i, files->slots[i].fd);
        if (r == -EBADF) {
            forget_fd(files, i);
            r = 0;
        }
    }
    return r;
}

/* The end of the ring would close the files too, but some time later. */
void fixed_files_destroy(struct loop *loop)
{
    if (loop->files == NULL)
        return;
    (void)seam_ring_register(loop->ring.uring.ring_fd, IORING_UNREGISTER_FILES, NULL, 0);
    memory_free(loop, loop->files);
    loop->files = NULL;
}

/* ---- calls */

static int check_fd(int fd)
{
    return fd < 0 || (fd & LOOP_FIXED_FLAG) != 0 ? -EBADF : 0;
}

int loop_file_register(struct loop *loop, int fd)
{
    struct fixed_files *files;
    int64_t             index;
    int                 r;

    loop_check_owner(loop, __func__);
    files = loop->files;
    if (check_fd(fd) < 0)
        return -EBADF;
    if (files == NULL)
        return -ENXIO;
    if (find_fd(files, fd) >= 0)
        return -EEXIST;
    index = take_free(files, 1);
    if (index < 0)
        return (int)index;
    r = put(loop, files, (uint32_t)index, fd);
    if (r < 0) {
        release(files, (uint32_t)index);
        return r;
    }
    note_fd(files, (uint32_t)index, fd);
    return fixed_of(files, (uint32_t)index);
}

int loop_file_reserve(struct loop *loop, uint32_t count)
{
    int64_t index;

    loop_check_owner(loop, __func__);
    if (loop->files == NULL)
        return -ENXIO;
    if (count == 0)
        return -EINVAL;
    index = take_free(loop->files, count);
    return index < 0 ? (int)index : fixed_of(loop->files, (uint32_t)index);
}

int loop_file_register_at(struct loop *loop, int slot, int fd)
{
    struct fixed_files *files;
    int64_t             index, other;
    int                 r;

    loop_check_owner(loop, __func__);
    files = loop->files;
    if (check_fd(fd) < 0)
        return -EBADF;
    if (files == NULL)
        return -ENXIO;
    index = own_index(files, slot);
    if (index < 0)
        return -EINVAL;
    other = find_fd(files, fd);
    if (other >= 0 && other != index)
        return -EEXIST;
    r = put(loop, files, (uint32_t)index, fd);
    if (r < 0)
        return r;
    if (!is_taken(files, (uint32_t)index))
        take(files, (uint32_t)index);
    forget_fd(files, (uint32_t)index);
    note_fd(files, (uint32_t)index, fd);
    return fixed_of(files, (uint32_t)index);
}

int loop_file_unregister(struct loop *loop, int slot)
{
    struct fixed_files *files;
    int64_t             index;
    int                 r;

    loop_check_owner(loop, __func__);
    files = loop->files;
    if (files == NULL)
        return -ENXIO;
    index = own_index(files, slot);
    if (index < 0 || !is_taken(files, (uint32_t)index))
        return -EINVAL;
    r = put(loop, files, (uint32_t)index, -1);
    if (r < 0)
        return r;
    forget_fd(files, (uint32_t)index);
    release(files, (uint32_t)index);
    return 0;
}

int loop_file_lookup(struct loop *loop, int fd)
{
    int64_t index;

    loop_check_owner(loop, __func__);
    if (loop->files == NULL)
        return -ENXIO;
    index = check_fd(fd) < 0 ? -1 : find_fd(loop->files, fd);
    return index < 0 ? -ENOENT : fixed_of(loop->files, (uint32_t)index);
}

void loop_files_stats_get(const struct loop *loop, struct loop_files_stats *ret_stats)
{
    const struct fixed_files *files = loop->files;

    *ret_stats = (struct loop_files_stats){0};
    if (files == NULL)
        return;
    ret_stats->automatic = files->automatic;
    ret_stats->own = files->own;
    ret_stats->own_taken = files->taken_count;
    ret_stats->own_full = files->full;
    ret_stats->automatic_full = files->automatic_full;
    ret_stats->strayed = files->strayed;
}

/* ---- for operations */

int fixed_file_target(struct loop *loop, int slot, uint32_t count, uint32_t *ret_index)
{
    const struct fixed_files *files = loop->files;
    int64_t                   index;

    if (files == NULL)
        return -ENXIO;
    if (slot == LOOP_SLOT_AUTO) {
        *ret_index = IORING_FILE_INDEX_ALLOC;
        return files->automatic == 0 ? -ENFILE : 0;
    }
    index = own_index(files, slot);
    if (index < 0 || count > files->own - (uint32_t)index)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++)
        if (!is_taken(files, (uint32_t)index + i))
            return -EINVAL;
    *ret_index = files->automatic + (uint32_t)index + 1;
    return 0;
}

/* The slots that an SQE closes or fills, other than automatic ones: how many from *ret_slot on. */
static uint32_t slots_of(const struct io_uring_sqe *sqe, uint32_t *ret_slot)
{
    switch (sqe->opcode) {
    case IORING_OP_FILES_UPDATE:
        *ret_slot = (uint32_t)sqe->off;
        return sqe->off == IORING_FILE_INDEX_ALLOC ? 0 : sqe->len;
    case IORING_OP_CLOSE:
    case IORING_OP_SOCKET:
    case IORING_OP_ACCEPT:
    case IORING_OP_OPENAT:
    case IORING_OP_OPENAT2:
    case IORING_OP_PIPE:
        *ret_slot = sqe->file_index - 1;
        if (sqe->file_index == 0 || sqe->file_index == IORING_FILE_INDEX_ALLOC)
            return 0;
        return sqe->opcode == IORING_OP_PIPE ? 2 : 1;
    default: return 0;
    }
}

void fixed_files_note(struct loop *loop, const struct io_uring_sqe *sqe)
{
    uint32_t slot = 0, count = slots_of(sqe, &slot);

    for (uint32_t i = 0; i < count && loop->files != NULL; i++) {
        int64_t index = own_index(loop->files, (int)(slot + i));

        if (index >= 0)
            forget_fd(loop->files, (uint32_t)index);
    }
}

/* Where the kernel has put something by itself. A slot of ours becomes taken, until loop_file_unregister(). */
static int allocated(struct fixed_files *files, int slot)
{
    int64_t index = own_index(files, slot);

    if (index >= 0) {
        files->strayed++;
        if (!is_taken(files, (uint32_t)index))
            take(files, (uint32_t)index);
    }
    return LOOP_FIXED(slot);
}

static void convert(struct fixed_files *files, const struct io_uring_sqe *sqe, int count, bool automatic)
{
    int32_t *fds = (int32_t *)(uintptr_t)sqe->addr; /* the user's array */

    for (int i = 0; i < count; i++)
        fds[i] = automatic ? allocated(files, fds[i]) : LOOP_FIXED((int)sqe->file_index - 1 + i);
}

void fixed_file_result(struct loop *loop, const struct io_uring_sqe *sqe, struct loop_result *result)
{
    struct fixed_files *files = loop->files;
    bool                updates = sqe->opcode == IORING_OP_FILES_UPDATE;
    bool                automatic = updates || sqe->file_index == IORING_FILE_INDEX_ALLOC;

    if (result->res == -ENFILE && automatic)
        files->automatic_full++;
    if (result->res < 0)
        return;
    if (updates)
        convert(files, sqe, result->res, true);
    else if (sqe->opcode == IORING_OP_PIPE)
        convert(files, sqe, 2, automatic);
    else
        result->res = automatic ? allocated(files, result->res) : LOOP_FIXED((int)sqe->file_index - 1);
}
