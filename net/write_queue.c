/* net/write_queue.c: writes: made from what the user gives, and taken apart for sends. */
#include "net/write_queue.h"

#include <limits.h>
#include <string.h>

enum {
    SEND_BYTES_MOST = 1 << 20,                                /* in one send */
    WRITE_INLINE = BLOCK_BYTES - sizeof(struct stream_write), /* bytes that any write can hold of its own */
};
_Static_assert((size_t)WRITE_INLINE >= sizeof(struct write_file), "a block is enough");

/* With room for so many bytes behind it. */
static struct stream_write *allocate(struct loop *loop, size_t bytes, unsigned flags)
{
    bool                 big = bytes > WRITE_INLINE;
    struct stream_write *write = big ? memory_resize(loop, NULL, sizeof(*write) + bytes) : block_new(loop);

    if (write != NULL)
        *write = (struct stream_write){.flags = (uint8_t)(big ? flags | WRITE_BIG : flags)};
    return write;
}

static __attribute__((noinline)) void free_rare(struct loop *loop, struct stream_write *write)
{
    if ((write->flags & WRITE_FILE) != 0)
        memory_free(loop, write_file(write)->memory);
    if ((write->flags & WRITE_LOAN) != 0)
        memory_free(loop, write_loan(write)->heap);
    if ((write->flags & WRITE_BIG) != 0)
        memory_free(loop, write);
    else
        block_free(loop, write);
}

void write_free(struct loop *loop, struct stream_write *write)
{
    if ((write->flags & (WRITE_BIG | WRITE_LOAN)) != 0)
        free_rare(loop, write);
    else
        block_free(loop, write);
}

size_t write_iov_size(const struct iovec *iov, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > INT_MAX || (iov[i].iov_base == NULL && iov[i].iov_len > 0))
            return 0;
        size += iov[i].iov_len;
    }
    return size > INT_MAX ? 0 : size;
}

static void copy_bytes(struct stream_write *write, const struct iovec *iov, size_t count)
{
    char *end = write->bytes;

    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > 0)
            memcpy(end, iov[i].iov_base, iov[i].iov_len);
        end += iov[i].iov_len;
    }
    write->piece = (struct iovec){.iov_base = write->bytes, .iov_len = write->size};
    write->iov = &write->piece;
    write->iov_count = 1;
}

/* Pointing to the user's bytes; the array is copied. */
static struct stream_write *new_loan(struct loop *loop, const struct iovec *iov, size_t count)
{
    size_t               array = count > 1 ? count * sizeof(*iov) : 0;
    struct stream_write *write = allocate(loop, sizeof(struct write_loan) + array, WRITE_LOAN);

    if (write == NULL)
        return NULL;
    *write_loan(write) = (struct write_loan){0};
    if (count == 1) {
        write->piece = *iov;
        write->iov = &write->piece;
    } else {
        write->iov = memcpy(write->bytes + sizeof(struct write_loan), iov, array);
    }
    write->iov_count = (uint32_t)count;
    return write;
}

struct stream_write *write_new(struct loop *loop, const struct iovec *iov, size_t count, size_t size, bool copy)
{
    struct stream_write *write;

    copy = copy || size <= WRITE_INLINE;
    write = copy ? allocate(loop, size, 0) : new_loan(loop, iov, count);
    if (write == NULL)
        return NULL;
    write->size = size;
    if (copy)
        copy_bytes(write, iov, count);
    return write;
}

struct stream_write *write_new_file(struct loop *loop)
{
    struct stream_write *write = allocate(loop, sizeof(struct write_file), WRITE_LOAN | WRITE_FILE);

    if (write == NULL)
        return NULL;
    *write_file(write) = (struct write_file){0};
    write->iov = write_file(write)->pieces;
    return write;
}

bool write_copy_out(struct loop *loop, struct stream_write *write)
{
    char *heap = memory_resize(loop, NULL, write->size - write->done), *end = heap;

    if (heap == NULL)
        return false;
    for (uint32_t i = 0; i < write->iov_count; i++) {
        if (write->iov[i].iov_len > 0)
            memcpy(end, write->iov[i].iov_base, write->iov[i].iov_len);
        end += write->iov[i].iov_len;
    }
    write_loan(write)->heap = heap;
    write->piece = (struct iovec){.iov_base = heap, .iov_len = write->size - write->done};
    write->iov = &write->piece;
    write->iov_count = 1;
    return true;
}

/* The piece that is left is the first. */
static void file_advanced(struct stream_write *write)
{
    struct iovec *pieces = write_file(write)->pieces;

    if (write->iov_count == 1)
        pieces[0] = *write->iov;
    write->iov = pieces;
}

void write_advance(struct stream_write *write, size_t bytes)
{
    write->done += bytes;
    while (bytes > 0 && bytes >= write->iov->iov_len) {
        bytes -= write->iov->iov_len;
        write->iov++;
        write->iov_count--;
    }
    if (bytes > 0) {
        write->iov->iov_base = (char *)write->iov->iov_base + bytes;
        write->iov->iov_len -= bytes;
    }
    if (unlikely((write->flags & WRITE_FILE) != 0))
        file_advanced(write);
}

/* Whether nothing behind it may be in the same send. */
static bool is_last(struct stream_write *write, struct stream_write **ret_file)
{
    if ((write->flags & WRITE_FILE) != 0 && (!write_file_read(write) || write_file(write)->short_of_count)) {
        *ret_file = write;
        return true;
    }
    return (write->flags & WRITE_ALONE) != 0;
}

size_t write_gather(struct stream_write *first, struct iovec *iov, uint32_t turn, struct stream_write **ret_file)
{
    size_t count = 0, bytes = 0;

    for (struct stream_write *write = first; write != NULL; write = write->next) {
        if (unlikely((write->flags & WRITE_ALONE) != 0) && count > 0)
            break;
        for (uint32_t i = 0; i < write->iov_count; i++) {
            if (count == WRITE_SEND_PIECES || bytes == SEND_BYTES_MOST)
                return count;
            if (write->iov[i].iov_len == 0)
                continue;
            iov[count] = write->iov[i];
            if (iov[count].iov_len > SEND_BYTES_MOST - bytes)
                iov[count].iov_len = SEND_BYTES_MOST - bytes;
            bytes += iov[count++].iov_len;
            write->turn = turn;
        }
        if (unlikely((write->flags & (WRITE_ALONE | WRITE_FILE)) != 0) && is_last(write, ret_file))
            break;
    }
    return count;
}
