/* net/datagram_send.c: sending. Each send is an entry: a block that holds the address, for those that need it header
 * and control data, and as many bytes of the payload as there is room for. Entries wait in a queue, and once before the
 * loop waits those of a turn leave together (datagram_push.c).
 *
 * Small payloads are copied, and a lent buffer that held them goes back at once: so a group of large buffers is not
 * used up by small datagrams. */
#include "net/datagram_send.h"

#include "net/socket.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

enum { IOV_COUNT_MAX = 64, TRY_MANY = 64 };

/* The most that one send can need: twice on IPv6 sockets, since IPv4 understands only its own. */
enum {
    CONTROL_MAX = CMSG_SPACE(sizeof(struct in6_pktinfo)) + 4 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t))
};

struct message {
    struct msghdr header;
    _Alignas(struct cmsghdr) char control[CONTROL_MAX];
    struct iovec iov[];
};

/* Where things are in an entry, and how large it is. */
struct plan {
    size_t timer, address, message, size; /* bytes each takes; size: of the payload */
    bool   copy;
};

enum { ROOM = BLOCK_BYTES - sizeof(struct loop_datagram_entry) };
_Static_assert(ROOM >= 384 + sizeof(struct sockaddr_in6), "as the header promises");
_Static_assert(ROOM >= 64 + 32 + sizeof(struct loop_timer) + sizeof(struct message) + sizeof(struct iovec),
               "with all terms as well");
_Static_assert(ROOM >= 64 + sizeof(struct sockaddr_storage) + sizeof(struct loop_timer), "unix has the deadline only");

static const struct loop_datagram_terms defaults;

/* ---- control data */

static void add_control(struct msghdr *header, int level, int type, const void *data, size_t size)
{
    struct cmsghdr *cmsg = (struct cmsghdr *)(void *)((char *)header->msg_control + header->msg_controllen);

    cmsg->cmsg_level = level;
    cmsg->cmsg_type = type;
    cmsg->cmsg_len = CMSG_LEN(size);
    memset(CMSG_DATA(cmsg), 0, CMSG_SPACE(size) - CMSG_LEN(0));
    memcpy(CMSG_DATA(cmsg), data, size);
    header->msg_controllen += CMSG_SPACE(size);
}

static void add_number(struct msghdr *header, int family, int name_v4, int name_v6, int number)
{
    add_control(header, IPPROTO_IP, name_v4, &number, sizeof(number));
    if (family == AF_INET6)
        add_control(header, IPPROTO_IPV6, name_v6, &number, sizeof(number));
}

/* An IPv4 address on an IPv6 socket is written as one of IPv6. */
static void add_source(struct msghdr *header, int family, const struct loop_datagram_terms *terms)
{
    const struct sockaddr *source = terms->source == NULL ? NULL : (const void *)&terms->source->storage;
    struct in_pktinfo      info = {.ipi_ifindex = (int)terms->interface_index};
    struct in6_pktinfo     info6 = {.ipi6_ifindex = terms->interface_index};
    struct sockaddr_in     sin = {.sin_family = AF_INET};

    if (source != NULL && source->sa_family == AF_INET)
        memcpy(&sin, source, sizeof(sin));
    if (family == AF_INET) {
        info.ipi_spec_dst = sin.sin_addr;
        add_control(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
        return;
    }
    if (source != NULL && source->sa_family == AF_INET6) {
        memcpy(&info6.ipi6_addr, &((const struct sockaddr_in6 *)(const void *)source)->sin6_addr,
               sizeof(info6.ipi6_addr));
    } else if (source != NULL) {
        info6.ipi6_addr.s6_addr[10] = info6.ipi6_addr.s6_addr[11] = 0xff;
        memcpy(&info6.ipi6_addr.s6_addr[12], &sin.sin_addr, sizeof(sin.sin_addr));
    }
    add_control(header, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6));
}

static void add_controls(struct msghdr *header, int family, const struct loop_datagram_terms *terms)
{
    if (terms->source != NULL || terms->interface_index != 0)
        add_source(header, family, terms);
    if (terms->traffic_class != 0)
        add_number(header, family, IP_TOS, IPV6_TCLASS, terms->traffic_class);
    if (terms->ttl != 0)
        add_number(header, family, IP_TTL, IPV6_HOPLIMIT, terms->ttl);
    if (terms->segment_size != 0)
        add_control(header, IPPROTO_UDP, UDP_SEGMENT, &terms->segment_size, sizeof(terms->segment_size));
}

static bool needs_control(const struct loop_datagram_terms *terms)
{
    return terms->source != NULL ||
           (terms->interface_index | terms->segment_size | terms->traffic_class | terms->ttl) != 0;
}

/* ---- entries */

static struct loop_datagram_entry *entry_new(struct loop *loop, size_t bytes)
{
    bool                        big = bytes > ROOM;
    struct loop_datagram_entry *entry = big ? memory_resize(loop, NULL, sizeof(*entry) + bytes) : block_new(loop);

    if (likely(entry != NULL))
        entry->big = big;
    return entry;
}

static void entry_free(struct loop *loop, struct loop_datagram_entry *entry)
{
    if (unlikely(entry->big))
        memory_free(loop, entry);
    else
        block_free(loop, entry);
}

/* What is queued keeps the loop alive, even if the socket does not. */
static void hold_unref(struct loop_datagram *datagram)
{
    if (datagram_is(datagram, DATAGRAM_UNREF)) {
        datagram_set(datagram, DATAGRAM_HELD);
        object_hold(&datagram->priv.object);
    }
}

static inline void link_last(struct loop_datagram *datagram, struct loop_datagram_entry *entry)
{
    entry->next = NULL;
    entry->prev = datagram->priv.send_last;
    if (entry->prev == NULL)
        datagram->priv.send_first = entry;
    else
        entry->prev->next = entry;
    datagram->priv.send_last = entry;
    if (datagram->priv.send_next == NULL)
        datagram->priv.send_next = entry;
    datagram->priv.send_bytes += entry->size;
    if (datagram->priv.send_count++ == 0)
        hold_unref(datagram);
}

static inline void unlink_entry(struct loop_datagram *datagram, struct loop_datagram_entry *entry)
{
    if (entry->prev == NULL)
        datagram->priv.send_first = entry->next;
    else
        entry->prev->next = entry->next;
    if (entry->next == NULL)
        datagram->priv.send_last = entry->prev;
    else
        entry->next->prev = entry->prev;
    if (datagram->priv.send_next == entry)
        datagram->priv.send_next = entry->next;
    datagram->priv.send_bytes -= entry->size;
    if (--datagram->priv.send_count == 0 && datagram_is(datagram, DATAGRAM_HELD)) {
        datagram_unset(datagram, DATAGRAM_HELD);
        datagram->priv.object.loop->objects_ref--;
    }
}

/* ---- the end of a send */

static inline void finish(struct loop_datagram *datagram, struct loop_datagram_entry *entry, int result)
{
    struct loop           *loop = datagram->priv.object.loop;
    loop_datagram_send_cb *cb = entry->cb;
    void                  *arg = entry->arg;
    loop_buffer            release = entry->release;

    unlink_entry(datagram, entry);
    entry_free(loop, entry);
    if (cb != NULL)
        cb(datagram, result, arg);
    else if (result < 0)
        loop->stats.silent_errors++;
    if (unlikely(release != 0))
        buffer_release(loop, release);
}

void datagram_send_tell(struct loop_datagram *datagram)
{
    struct loop_datagram_entry *entry;

    while ((entry = datagram->priv.send_first) != NULL && entry != datagram->priv.send_next)
        finish(datagram, entry, entry->result);
}

static void timed_out(struct loop_timer *timer)
{
    struct loop_datagram_entry *entry = timer->data;

    finish(entry->datagram, entry, -ETIMEDOUT); /* those before it go on waiting */
}

void datagram_send_cancel(struct loop_datagram *datagram, int error)
{
    for (struct loop_datagram_entry *entry = datagram->priv.send_next; entry != NULL; entry = entry->next)
        entry_ends(entry, error);
    datagram->priv.send_next = NULL;
    if (datagram->priv.send_op != 0)
        (void)loop_cancel(datagram->priv.object.loop, datagram->priv.send_op);
}

/* ---- starting one */

static bool iov_size(const struct iovec *iov, size_t count, size_t *ret_size)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > INT_MAX || (iov[i].iov_base == NULL && iov[i].iov_len > 0))
            return false;
        size += iov[i].iov_len;
    }
    *ret_size = size;
    return size <= INT_MAX;
}

static bool terms_are_fine(const struct loop_datagram *datagram, const struct loop_datagram_terms *terms)
{
    const int source = terms->source == NULL ? AF_UNSPEC : terms->source->storage.ss_family;

    return (terms->flags & ~(uint32_t)LOOP_DATAGRAM_COPY) == 0 &&
           (terms->release == 0 || buffer_check_giving(datagram->priv.object.loop, terms->release) == 0) &&
           (!needs_control(terms) || datagram->priv.family != AF_UNIX) &&
           (terms->source == NULL || source == AF_INET || (source == AF_INET6 && datagram->priv.family == AF_INET6));
}

static inline int check(struct loop_datagram *datagram, const struct loop_address *address,
                        const struct loop_datagram_terms *terms, size_t size)
{
    if (unlikely(datagram_state(datagram) != DATAGRAM_OPEN || (address != NULL && !socket_address_valid(address)) ||
                 (terms != &defaults && !terms_are_fine(datagram, terms))))
        return -EINVAL;
    if (unlikely(datagram->priv.send_count >= datagram->priv.send_count_max ||
                 datagram->priv.send_bytes + size > datagram->priv.send_bytes_max)) {
        datagram->priv.refused++;
        datagram->priv.object.loop->stats.datagrams_full++;
        return -ENOBUFS;
    }
    return 0;
}

static inline size_t rounded(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

/* As much of it as the kernel reads: many give the size of their storage. */
static inline uint16_t name_size_of(const struct loop_datagram *datagram, const struct loop_address *address)
{
    const size_t most = datagram->priv.family == AF_INET    ? sizeof(struct sockaddr_in)
                        : datagram->priv.family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                            : sizeof(address->storage);

    return address == NULL ? 0 : (uint16_t)(address->size < most ? address->size : most);
}

static inline struct plan plan_for(size_t name_size, size_t iov_count, size_t size,
                                   const struct loop_datagram_terms *terms)
{
    struct plan  plan = {.address = rounded(name_size), .size = size};
    const size_t header = rounded(sizeof(struct message) + sizeof(struct iovec));
    size_t       room = ROOM - plan.address;

    if (unlikely(terms->timeout_ns != 0))
        plan.timer = rounded(sizeof(struct loop_timer));
    if (unlikely(needs_control(terms)))
        plan.message = header;
    plan.copy = plan.timer + plan.message + size <= room || (terms->flags & LOOP_DATAGRAM_COPY) != 0;
    if (!plan.copy && iov_count > 1)
        plan.message = header + rounded((iov_count - 1) * sizeof(struct iovec));
    return plan;
}

static void copy_payload(char *to, const struct iovec *iov, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > 0)
            memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to += iov[i].iov_len;
    }
}

/* Header, control data and pieces, to stand in the entry behind the address. */
static struct msghdr *fill_message(const struct loop_datagram_entry *entry, struct message *message,
                                   const struct iovec *iov, size_t iov_count, const struct loop_datagram_terms *terms)
{
    message->header = (struct msghdr){
        .msg_name = entry->name_size == 0 ? NULL : entry->name,
        .msg_namelen = entry->name_size,
        .msg_iov = message->iov,
        .msg_iovlen = iov_count,
        .msg_control = message->control,
    };
    memcpy(message->iov, iov, iov_count * sizeof(*iov));
    add_controls(&message->header, entry->datagram->priv.family, terms);
    if (message->header.msg_controllen == 0)
        message->header.msg_control = NULL;
    return &message->header;
}

static inline void fill(struct loop_datagram_entry *entry, const struct plan *plan, const struct loop_address *address,
                        const struct iovec *iov, size_t iov_count, const struct loop_datagram_terms *terms)
{
    char *message, *payload;

    entry->name = entry->bytes + plan->timer;
    entry->header = NULL;
    entry->timed = plan->timer != 0;
    if (address != NULL)
        memcpy(entry->name, &address->storage, entry->name_size);
    message = entry->name + plan->address;
    payload = message + plan->message;
    if (plan->copy) {
        copy_payload(payload, iov, iov_count);
        entry->piece = (struct iovec){payload, plan->size};
        iov = &entry->piece;
        iov_count = 1;
    } else {
        entry->piece = iov[0];
    }
    if (plan->message != 0)
        entry->header = fill_message(entry, (struct message *)(void *)message, iov, iov_count, terms);
}

static void start_timer(struct loop *loop, struct loop_datagram_entry *entry, uint64_t timeout_ns)
{
    struct loop_timer *timer = entry_timer(entry);

    *timer = (struct loop_timer){.data = entry};
    timer_of_object(timer);
    (void)loop_timer_start(loop, timer, timeout_ns, 0, timed_out);
}

/* The bytes of a copied send need their buffer no more: it goes back now. */
static void take_release(struct loop *loop, struct loop_datagram_entry *entry, loop_buffer release, bool copied)
{
    if (copied) {
        (void)loop_buffer_return(loop, release);
    } else {
        buffer_hand_over(loop, release);
        entry->release = release;
    }
}

int loop_datagram_sendv(struct loop_datagram *datagram, const struct iovec *iov, size_t iov_count,
                        const struct loop_address *address, loop_datagram_send_cb *cb, void *arg,
                        const struct loop_datagram_terms *terms)
{
    struct loop                *loop = datagram->priv.object.loop;
    struct loop_datagram_entry *entry;
    struct plan                 plan;
    size_t                      size;
    uint16_t                    name_size;
    int                         r;

    if (unlikely(datagram_state(datagram) != DATAGRAM_OPEN || iov_count > IOV_COUNT_MAX ||
                 (iov == NULL && iov_count > 0) || !iov_size(iov, iov_count, &size)))
        return -EINVAL;
    loop_check_owner(loop, __func__);
    if (terms == NULL)
        terms = &defaults;
    r = check(datagram, address, terms, size);
    if (unlikely(r < 0))
        return r;
    name_size = name_size_of(datagram, address);
    plan = plan_for(name_size, iov_count, size, terms);
    entry = entry_new(loop, plan.timer + plan.address + plan.message + (plan.copy ? size : 0));
    if (unlikely(entry == NULL))
        return -ENOMEM;
    entry->datagram = datagram;
    entry->cb = cb;
    entry->arg = arg;
    entry->size = (uint32_t)size;
    entry->name_size = name_size;
    entry->release = 0;
    fill(entry, &plan, address, iov, iov_count, terms);
    link_last(datagram, entry);
    if (unlikely(entry->timed))
        start_timer(loop, entry, terms->timeout_ns);
    if (unlikely(terms->release != 0))
        take_release(loop, entry, terms->release, plan.copy);
    if (datagram->priv.send_op == 0)
        datagram_work(datagram);
    return 0;
}

int loop_datagram_send(struct loop_datagram *datagram, const void *data, size_t size,
                       const struct loop_address *address, loop_datagram_send_cb *cb, void *arg,
                       const struct loop_datagram_terms *terms)
{
    return loop_datagram_sendv(datagram, &(struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size}, 1,
                               address, cb, arg, terms);
}

/* ---- now or never */

static int try_lot(struct loop_datagram *datagram, const struct loop_datagram_piece *pieces, size_t count,
                   struct mmsghdr *messages)
{
    struct iovec iov[TRY_MANY];

    for (size_t i = 0; i < count; i++) {
        const struct loop_datagram_piece *piece = &pieces[i];
        size_t                            size;

        iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)piece->data, .iov_len = piece->size};
        if (!iov_size(&iov[i], 1, &size) || (piece->address != NULL && !socket_address_valid(piece->address)))
            return -EINVAL;
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = piece->address == NULL ? NULL : (void *)(uintptr_t)&piece->address->storage,
            .msg_namelen = piece->address == NULL ? 0 : piece->address->size,
            .msg_iov = &iov[i],
            .msg_iovlen = 1,
        };
    }
    return sys_sendmmsg(datagram->priv.fd, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int try_begin(struct loop_datagram *datagram, const char *call)
{
    if (datagram_state(datagram) != DATAGRAM_OPEN)
        return -EINVAL;
    loop_check_owner(datagram->priv.object.loop, call);
    return datagram->priv.send_first != NULL ? -EAGAIN : 0;
}

int loop_datagram_try_send(struct loop_datagram *datagram, const void *data, size_t size,
                           const struct loop_address *address)
{
    const struct loop_datagram_piece piece = {data, size, address};
    struct mmsghdr                   message;
    int                              r = try_begin(datagram, __func__);

    if (r == 0)
        r = try_lot(datagram, &piece, 1, &message);
    if (r < 0 && r != -EAGAIN && r != -EINVAL)
        datagram_look_for_errors(datagram);
    return r < 0 ? r : (int)message.msg_len;
}

int loop_datagram_try_send_many(struct loop_datagram *datagram, const struct loop_datagram_piece *pieces, size_t count)
{
    struct mmsghdr messages[TRY_MANY];
    size_t         done = 0;
    int            r = try_begin(datagram, __func__);

    if (r == 0 && (count > INT_MAX || (pieces == NULL && count > 0)))
        r = -EINVAL;
    while (r >= 0 && done < count) {
        size_t lot = count - done < TRY_MANY ? count - done : TRY_MANY;

        r = try_lot(datagram, pieces + done, lot, messages);
        if (r > 0)
            done += (size_t)r;
        if (r >= 0 && (size_t)r < lot) /* what stopped it is answered by the next call */
            break;
    }
    if (r < 0 ? r != -EAGAIN && r != -EINVAL : done < count)
        datagram_look_for_errors(datagram);
    return r < 0 && done == 0 ? r : (int)done;
}

size_t loop_datagram_queued(const struct loop_datagram *datagram)
{
    return datagram->priv.send_count;
}

size_t loop_datagram_queued_bytes(const struct loop_datagram *datagram)
{
    return (size_t)datagram->priv.send_bytes;
}

uint64_t loop_datagram_refused(const struct loop_datagram *datagram)
{
    return datagram->priv.refused;
}
