/* loop/zcrx_queue.c: the queue of a zero-copy receive: registration, refill ring. */
#include "loop/zcrx_queue.h"

#include "loop/uapi.h"

#include <errno.h>
#include <string.h>

enum {
    PAGE_LEAST = 4096,
    PAGE_MOST = 65536, /* memory aligned to this begins a page on any machine */
    ENTRIES_DEFAULT = 4096,
    ENTRIES_MOST = 32768,
    WAITING_ROOM_FIRST = 64,
};

static int check_options(const struct loop_zcrx_options *options)
{
    uint32_t entries = options->refill_entries;

    if (options->interface_index == 0 || options->reserved != 0 || entries > ENTRIES_MOST ||
        (entries & (entries - 1)) != 0 || options->area_bytes == 0 || options->area_bytes % PAGE_LEAST != 0 ||
        options->area_bytes > (UINT64_C(1) << IORING_ZCRX_AREA_SHIFT) - 1 || options->area_bytes > SIZE_MAX ||
        (uintptr_t)options->area % PAGE_LEAST != 0)
        return -EINVAL;
    return 0;
}

static void queue_free(struct loop *loop, struct zcrx_queue *queue)
{
    if (queue->area_is_ours)
        memory_free_aligned(loop, queue->area);
    memory_free_aligned(loop, queue->region);
    memory_free(loop, queue->waiting);
    memory_free(loop, queue);
}

/* A page for the ring's head and tail, then the entries. */
static size_t region_bytes(uint32_t entry_count)
{
    size_t bytes = PAGE_MOST + entry_count * sizeof(struct io_uring_zcrx_rqe);

    return (bytes + PAGE_MOST - 1) / PAGE_MOST * PAGE_MOST;
}

static int allocate(struct loop *loop, const struct loop_zcrx_options *options, struct zcrx_queue **ret_queue)
{
    struct zcrx_queue *queue = memory_resize(loop, NULL, sizeof(*queue));

    if (queue == NULL)
        return -ENOMEM;
    memset(queue, 0, sizeof(*queue));
    queue->entry_count = options->refill_entries == 0 ? ENTRIES_DEFAULT : options->refill_entries;
    queue->area = options->area;
    queue->area_bytes = options->area_bytes;
    queue->area_is_ours = options->area == NULL;
    if (queue->area_is_ours)
        queue->area = memory_new_aligned(loop, PAGE_MOST, (size_t)options->area_bytes);
    queue->region = memory_new_aligned(loop, PAGE_MOST, region_bytes(queue->entry_count));
    if (queue->area == NULL || queue->region == NULL) {
        queue_free(loop, queue);
        return -ENOMEM;
    }
    memset(queue->region, 0, region_bytes(queue->entry_count));
    *ret_queue = queue;
    return 0;
}

static int register_with_kernel(struct loop *loop, struct zcrx_queue *queue, const struct loop_zcrx_options *options)
{
    struct io_uring_region_desc region = {
        .user_addr = (uint64_t)(uintptr_t)queue->region,
        .size = region_bytes(queue->entry_count),
        .flags = IORING_MEM_REGION_TYPE_USER,
    };
    struct io_uring_zcrx_area_reg area = {.addr = (uint64_t)(uintptr_t)queue->area, .len = queue->area_bytes};
    struct io_uring_zcrx_ifq_reg  ifq = {
         .if_idx = options->interface_index,
         .if_rxq = options->queue,
         .rq_entries = queue->entry_count,
         .area_ptr = (uint64_t)(uintptr_t)&area,
         .region_ptr = (uint64_t)(uintptr_t)&region,
    };
    int r = seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_ZCRX_IFQ, &ifq, 1);

    if (r < 0)
        return r == -EOPNOTSUPP ? -EPROTONOSUPPORT : r; /* the other meaning is taken by the ring */
    queue->id = ifq.zcrx_id;
    queue->area_token = area.rq_area_token;
    queue->head = (uint32_t *)(void *)(queue->region + ifq.offsets.head);
    queue->tail = (uint32_t *)(void *)(queue->region + ifq.offsets.tail);
    queue->entries = (struct io_uring_zcrx_rqe *)(void *)(queue->region + ifq.offsets.rqes);
    queue->tail_ours = *queue->tail;
    return 0;
}

int zcrx_queue_new(struct loop *loop, const struct loop_zcrx_options *options, struct zcrx_queue **ret_queue)
{
    struct zcrx_queue *queue = NULL;
    int                r = check_options(options);

    if (r == 0)
        r = allocate(loop, options, &queue);
    if (r < 0)
        return r;
    r = register_with_kernel(loop, queue, options);
    if (r < 0) {
        queue_free(loop, queue);
        return r;
    }
    queue->next = loop->zcrx_queues;
    loop->zcrx_queues = queue;
    *ret_queue = queue;
    return 0;
}

void zcrx_queues_destroy(struct loop *loop)
{
    struct zcrx_queue *queue;

    while ((queue = loop->zcrx_queues) != NULL) {
        loop->zcrx_queues = queue->next;
        queue_free(loop, queue);
    }
}

/* ---- pieces */

bool zcrx_queue_find(const struct zcrx_queue *queue, const uint64_t extra[2], int32_t res, struct zcrx_piece *ret_piece)
{
    uint64_t offset;

    if (extra == NULL)
        return false;
    offset = extra[0] & ~IORING_ZCRX_AREA_MASK;
    if (offset > queue->area_bytes || (uint64_t)res > queue->area_bytes - offset)
        return false;
    *ret_piece = (struct zcrx_piece){.offset = offset, .size = (uint32_t)res};
    return true;
}

/* The kernel's head moves when the card needs memory. */
static bool push(struct zcrx_queue *queue, struct zcrx_piece piece)
{
    if (queue->tail_ours - __atomic_load_n(queue->head, __ATOMIC_ACQUIRE) == queue->entry_count)
        return false;
    queue->entries[queue->tail_ours & (queue->entry_count - 1)] =
        (struct io_uring_zcrx_rqe){.off = piece.offset | queue->area_token, .len = piece.size};
    __atomic_store_n(queue->tail, ++queue->tail_ours, __ATOMIC_RELEASE);
    return true;
}

static bool make_room(struct loop *loop, struct zcrx_queue *queue)
{
    uint32_t           room = queue->waiting_room == 0 ? WAITING_ROOM_FIRST : queue->waiting_room * 2;
    struct zcrx_piece *waiting;

    if (queue->waiting_first > 0) {
        memmove(queue->waiting, queue->waiting + queue->waiting_first, queue->waiting_count * sizeof(*waiting));
        queue->waiting_first = 0;
    }
    if (queue->waiting_count < queue->waiting_room)
        return true;
    waiting = memory_resize(loop, queue->waiting, room * sizeof(*waiting));
    if (waiting == NULL)
        return false;
    queue->waiting = waiting;
    queue->waiting_room = room;
    return true;
}

void zcrx_queue_refill(struct loop *loop, struct zcrx_queue *queue, struct zcrx_piece piece)
{
    while (queue->waiting_count > 0 && push(queue, queue->waiting[queue->waiting_first])) {
        queue->waiting_first++;
        queue->waiting_count--;
    }
    if (queue->waiting_count == 0) {
        queue->waiting_first = 0;
        if (push(queue, piece))
            return;
    }
    if (queue->waiting_first + queue->waiting_count == queue->waiting_room && !make_room(loop, queue)) {
        queue->stats.pieces_lost++;
        return;
    }
    queue->waiting[queue->waiting_first + queue->waiting_count++] = piece;
}
