/* net/datagram_push.c: from the queue into the kernel: as many datagrams as possible in one system call, which does not
 * wait; where the socket has no room, a poll in the ring waits for it.
 *
 * sendmmsg(2) rather than an SQE each: it costs the same for each datagram, but tells all results at once, so that no
 * completion wakes the loop for what is known to be well. And neighbours of one size for one address leave as one
 * message, which the kernel, or the device, cuts up again (UDP_SEGMENT): on the wire nothing is different, but the way
 * through the kernel is gone only once. */
#include "net/datagram_send.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <ringloop/op_poll.h>
#include <string.h>

enum {
    LOT = 64,            /* messages of one call */
    LOT_IOV = 512,       /* pieces */
    MERGE_COUNT = 64,    /* datagrams in one message: what all kernels take */
    MERGE_BYTES = 65000, /* and bytes */
};

struct lot {
    struct mmsghdr messages[LOT];
    struct iovec   iov[LOT_IOV];
    union {
        char           bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr aligned;
    } controls[LOT];
    uint32_t bytes[LOT];
    uint16_t entries[LOT]; /* of each message */
    unsigned count, iov_count;
};

/* Whether the entry can be a further segment of the last message, whose first is first. */
static inline bool fits_behind(const struct loop_datagram *datagram, const struct lot *lot,
                               const struct loop_datagram_entry *first, const struct loop_datagram_entry *entry)
{
    unsigned last = lot->count - 1;

    return entry->header == NULL && first->header == NULL && first->size <= datagram->priv.send_merge_max &&
           entry->size > 0 && entry->size <= first->size &&
           lot->bytes[last] == first->size * lot->entries[last] && /* else the last one was shorter: it ends there */
           lot->entries[last] < MERGE_COUNT && lot->bytes[last] + entry->size <= MERGE_BYTES &&
           entry->name_size == first->name_size && memcmp(entry->name, first->name, first->name_size) == 0;
}

static void merge(struct lot *lot, const struct loop_datagram_entry *first, const struct loop_datagram_entry *entry)
{
    unsigned       last = lot->count - 1;
    struct msghdr *header = &lot->messages[last].msg_hdr;
    struct cmsghdr cmsg = {.cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t))};
    uint16_t       size = (uint16_t)first->size;

    if (lot->entries[last] == 1) {
        memcpy(lot->controls[last].bytes, &cmsg, sizeof(cmsg));
        memcpy(lot->controls[last].bytes + CMSG_LEN(0), &size, sizeof(size));
        header->msg_control = lot->controls[last].bytes;
        header->msg_controllen = sizeof(lot->controls[last].bytes);
    }
    lot->iov[lot->iov_count++] = entry->piece;
    header->msg_iovlen++;
    lot->entries[last]++;
    lot->bytes[last] += entry->size;
}

static void add(struct lot *lot, struct loop_datagram_entry *entry)
{
    unsigned i = lot->count++;

    lot->entries[i] = 1;
    lot->bytes[i] = entry->size;
    lot->iov[lot->iov_count] = entry->piece;
    if (entry->header != NULL)
        lot->messages[i].msg_hdr = *entry->header;
    else
        lot->messages[i].msg_hdr = (struct msghdr){
            .msg_name = entry->name_size == 0 ? NULL : entry->name,
            .msg_namelen = entry->name_size,
            .msg_iov = &lot->iov[lot->iov_count++],
            .msg_iovlen = 1,
        };
}

static void gather(const struct loop_datagram *datagram, struct lot *lot)
{
    struct loop_datagram_entry *first = NULL;

    lot->count = lot->iov_count = 0;
    for (struct loop_datagram_entry *entry = datagram->priv.send_next; entry != NULL && lot->iov_count < LOT_IOV;
         entry = entry->next) {
        if (first != NULL && fits_behind(datagram, lot, first, entry)) {
            merge(lot, first, entry);
        } else if (lot->count == LOT) {
            return;
        } else {
            add(lot, entry);
            first = entry;
        }
    }
}

static inline void next_ends(struct loop_datagram *datagram, int result)
{
    struct loop_datagram_entry *entry = datagram->priv.send_next;

    entry_ends(entry, result);
    datagram->priv.send_next = entry->next;
}

static void lot_sent(struct loop_datagram *datagram, const struct lot *lot, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < lot->entries[i]; j++)
            next_ends(datagram, (int)datagram->priv.send_next->size);
    if (count < lot->count)
        datagram_look_for_errors(datagram); /* the system call has kept one for itself */
}

static void writable(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_datagram *datagram = arg;

    datagram->priv.send_op = 0;
    if (datagram_state(datagram) == DATAGRAM_OPEN && (result->res < 0 || (result->res & POLLOUT) == 0))
        loop_task_retry(loop, &datagram->priv.task); /* an error that nobody takes from the socket: do not spin */
    else
        datagram_work(datagram);
}

/* A poll, and then the system call again: the kernel's own way to wait in a send forgets the payload of unix datagrams
 * (their copy is made before the room is found: 6.18). Of an unconnected unix socket a poll cannot tell. */
static void wait_for_room(struct loop_datagram *datagram)
{
    struct loop *loop = datagram->priv.object.loop;
    bool         can_poll = datagram->priv.family != AF_UNIX || datagram->priv.send_next->name_size == 0;
    loop_id      id = !can_poll ? -EAGAIN
                                : loop_poll_add(loop, datagram->priv.fd, POLLOUT, writable, datagram,
                                                LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));

    if (id < 0)
        loop_task_retry(loop, &datagram->priv.task); /* at the latest after 10 ms */
    else
        datagram->priv.send_op = op_of_object(loop, id);
}

/* Reasons that lie in the merging: too large for the path, or a device that can't. */
static bool merging_failed(int error)
{
    return error == -EINVAL || error == -EMSGSIZE || error == -EIO || error == -EOPNOTSUPP || error == -ENOPROTOOPT;
}

static int send_first(const struct loop_datagram *datagram)
{
    const struct loop_datagram_entry *entry = datagram->priv.send_next;

    return sys_sendto(datagram->priv.fd, entry->piece.iov_base, entry->piece.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL,
                      entry->name_size == 0 ? NULL : (const void *)entry->name, entry->name_size);
}

static bool failed(struct loop_datagram *datagram, unsigned entries, int error);

/* What fails alone as well lies in the datagram, or in whom it goes to. */
static bool merged_failed(struct loop_datagram *datagram, int error)
{
    int r = send_first(datagram);

    if (r < 0)
        return failed(datagram, 1, r);
    datagram->priv.send_merge_max =
        error == -EINVAL || error == -EMSGSIZE ? (uint16_t)(datagram->priv.send_next->size - 1) : 0;
    next_ends(datagram, r);
    return true;
}

/* The first message, of so many datagrams. Returns whether to go on. */
static bool failed(struct loop_datagram *datagram, unsigned entries, int error)
{
    if (error == -EINTR)
        return true;
    if (error == -EAGAIN) {
        wait_for_room(datagram);
        return false;
    }
    if (entries > 1 && merging_failed(error))
        return merged_failed(datagram, error);
    datagram_look_for_errors(datagram);
    next_ends(datagram, error);
    return true;
}

/* What stands alone and is plain goes a way of its own, which is cheaper. */
static inline bool is_single(const struct loop_datagram_entry *entry)
{
    return entry->next == NULL && entry->header == NULL;
}

static bool push_single(struct loop_datagram *datagram)
{
    int r = send_first(datagram);

    if (unlikely(r < 0))
        return failed(datagram, 1, r);
    next_ends(datagram, r);
    return false;
}

static bool push_lot(struct loop_datagram *datagram)
{
    struct lot lot;
    int        r;

    gather(datagram, &lot);
    r = sys_sendmmsg(datagram->priv.fd, lot.messages, lot.count, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (unlikely(r <= 0))
        return failed(datagram, lot.entries[0], r == 0 ? -EAGAIN : r);
    lot_sent(datagram, &lot, (unsigned)r);
    return true;
}

void datagram_send_push(struct loop_datagram *datagram)
{
    bool go_on = true;

    while (go_on && datagram->priv.send_next != NULL && datagram->priv.send_op == 0)
        go_on = is_single(datagram->priv.send_next) ? push_single(datagram) : push_lot(datagram);
}
