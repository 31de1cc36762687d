/* net/write_queue.c: writes: made from what the user gives, and taken apart for sends. */
#include "net/write_queue.h"

#include <limits.h>
#include <string.h>

enum {
    SEND_BYTES_ENOUGH = 262144,                               /* no further write is added to a send beyond this */
    WRITE_INLINE = BLOCK_BYTES - sizeof(struct stream_write), /* bytes that any write can hold of its own */
};

/* With room for so many bytes behind it. */
static struct stream_write *allocate(struct loop *loop, size_t bytes)
{
    bool                 big = bytes > WRITE_INLINE;
    struct stream_write *write = big ? memory_resize(loop, NULL, sizeof(*write) + bytes) : block_new(loop);

    if (write != NULL)
        *write = (struct stream_write){.big = big};
    return write;
}

void write_free(struct loop *loop, struct stream_write *write)
{
    if (write->big)
        memory_free(loop, write);
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

struct stream_write *write_new(struct loop *loop, const struct iovec *iov, size_t count, size_t size, bool copy)
{
    struct stream_write *write;

    copy = copy || size <= WRITE_INLINE;
    write = allocate(loop, copy ? size : count > 1 ? count * sizeof(*iov) : 0);
    if (write == NULL)
        return NULL;
    write->size = size;
    if (copy) {
        copy_bytes(write, iov, count);
    } else if (count == 1) {
        write->piece = *iov;
        write->iov = &write->piece;
        write->iov_count = 1;
    } else {
        write->iov = memcpy(write->bytes, iov, count * sizeof(*iov));
        write->iov_count = (uint32_t)count;
    }
    return write;
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
}

size_t write_gather(const struct stream_write *first, struct iovec *iov)
{
    size_t count = 0, bytes = 0;

    for (const struct stream_write *write = first; write != NULL && bytes < SEND_BYTES_ENOUGH; write = write->next) {
        for (uint32_t i = 0; i < write->iov_count; i++) {
            if (count == WRITE_SEND_PIECES)
                return count;
            if (write->iov[i].iov_len == 0)
                continue;
            iov[count++] = write->iov[i];
            bytes += write->iov[i].iov_len;
        }
    }
    return count;
}
