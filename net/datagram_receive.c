/* net/datagram_receive.c: receiving: a multishot into lent buffers, and a stash for what comes after a stop.
 *
 * A buffer holds, one behind the other: the kernel's header, the sender's name, control data, the payload. The sizes of
 * the middle two are fixed when the socket is opened, so that a buffer can be read again when it comes out of the
 * stash. */
#include "net/datagram_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

/* After linux/types.h: the structure of the error queue has timespecs. */
#include <time.h>

#include <linux/errqueue.h>

enum { NAME_ALIGN = 16, ERRORS_IN_A_ROW = 32, TROUBLE_BYTES = 1500 };

void datagram_receive_init(struct loop_datagram *datagram, uint32_t flags)
{
    const bool   v6 = datagram->priv.family == AF_INET6; /* may have those of IPv4 as well, but not at the same time */
    const size_t name = datagram->priv.family == AF_UNIX ? sizeof(struct sockaddr_storage) - NAME_ALIGN
                        : v6                             ? sizeof(struct sockaddr_in6)
                                                         : sizeof(struct sockaddr_in);
    size_t       room = 0;

    if ((flags & LOOP_DATAGRAM_PKTINFO) != 0)
        room += v6 ? CMSG_SPACE(sizeof(struct in6_pktinfo)) : CMSG_SPACE(sizeof(struct in_pktinfo));
    for (uint32_t flag = LOOP_DATAGRAM_TRAFFIC_CLASS; flag <= LOOP_DATAGRAM_GRO; flag <<= 1)
        room += (flags & flag) != 0 ? CMSG_SPACE(sizeof(int)) : 0;
    datagram->priv.name_room = (uint16_t)((name + NAME_ALIGN - 1) & ~(size_t)(NAME_ALIGN - 1));
    datagram->priv.control_room = (uint16_t)room;
}

size_t datagram_receive_room(const struct loop_datagram *datagram)
{
    return sizeof(struct io_uring_recvmsg_out) + datagram->priv.name_room + datagram->priv.control_room;
}

/* ---- what the kernel says of a message */

/* Control data have any type of the same size: IP_TOS is a byte, the rest are ints. */
static int number_of(const struct cmsghdr *cmsg)
{
    int number;

    if (cmsg->cmsg_len < CMSG_LEN(sizeof(number)))
        return *CMSG_DATA(cmsg);
    memcpy(&number, CMSG_DATA(cmsg), sizeof(number));
    return number;
}

static void take_pktinfo_v4(struct loop_datagram_message *message, const struct cmsghdr *cmsg)
{
    struct sockaddr_in sin = {.sin_family = AF_INET};
    struct in_pktinfo  info;

    memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
    sin.sin_addr = info.ipi_addr;
    memcpy(&message->local.storage, &sin, sizeof(sin));
    message->local.size = sizeof(sin);
    message->interface_index = (uint32_t)info.ipi_ifindex;
}

static void take_pktinfo_v6(struct loop_datagram_message *message, const struct cmsghdr *cmsg)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6};
    struct in6_pktinfo  info;

    memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
    sin6.sin6_addr = info.ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
        sin6.sin6_scope_id = info.ipi6_ifindex;
    memcpy(&message->local.storage, &sin6, sizeof(sin6));
    message->local.size = sizeof(sin6);
    message->interface_index = info.ipi6_ifindex;
}

static void take_trouble(struct loop_datagram_message *message, struct loop_datagram_trouble *trouble,
                         struct cmsghdr *cmsg)
{
    struct sock_extended_err error;
    const struct sockaddr   *offender = SO_EE_OFFENDER((struct sock_extended_err *)(void *)CMSG_DATA(cmsg));

    memcpy(&error, CMSG_DATA(cmsg), sizeof(error));
    message->error = -(int)error.ee_errno;
    message->trouble = trouble;
    trouble->origin = error.ee_origin;
    trouble->type = error.ee_type;
    trouble->code = error.ee_code;
    trouble->info = error.ee_info;
    trouble->offender.size = offender->sa_family == AF_INET    ? sizeof(struct sockaddr_in)
                             : offender->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                               : 0;
    memcpy(&trouble->offender.storage, offender, trouble->offender.size);
}

static void take_control(struct loop_datagram_message *message, struct loop_datagram_trouble *trouble,
                         struct cmsghdr *cmsg)
{
    const int level = cmsg->cmsg_level, type = cmsg->cmsg_type;

    if (level == IPPROTO_IP && type == IP_PKTINFO)
        take_pktinfo_v4(message, cmsg);
    else if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO)
        take_pktinfo_v6(message, cmsg);
    else if ((level == IPPROTO_IP && type == IP_TOS) || (level == IPPROTO_IPV6 && type == IPV6_TCLASS))
        message->traffic_class = (int16_t)(number_of(cmsg) & 0xff);
    else if ((level == IPPROTO_IP && type == IP_TTL) || (level == IPPROTO_IPV6 && type == IPV6_HOPLIMIT))
        message->ttl = (int16_t)number_of(cmsg);
    else if (level == IPPROTO_UDP && type == UDP_GRO)
        message->segment_size = (uint16_t)number_of(cmsg);
    else if (trouble != NULL &&
             ((level == IPPROTO_IP && type == IP_RECVERR) || (level == IPPROTO_IPV6 && type == IPV6_RECVERR)))
        take_trouble(message, trouble, cmsg);
}

/* The addresses are not zeroed: they are large. */
static inline void message_init(struct loop_datagram_message *message, void *data, size_t size)
{
    message->data = data;
    message->size = size;
    message->error = 0;
    message->flags = 0;
    message->buffer = 0;
    message->source.size = 0;
    message->local.size = 0;
    message->interface_index = 0;
    message->traffic_class = -1;
    message->ttl = -1;
    message->segment_size = 0;
    message->trouble = NULL;
}

static inline void take_header(struct loop_datagram_message *message, const struct msghdr *header,
                               struct loop_datagram_trouble *trouble)
{
    if (header->msg_namelen > 0) {
        message->source.size = header->msg_namelen;
        memcpy(&message->source.storage, header->msg_name, header->msg_namelen);
    }
    if ((header->msg_flags & MSG_TRUNC) != 0)
        message->flags |= LOOP_DATAGRAM_TRUNCATED;
    if (header->msg_controllen == 0)
        return;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg != NULL; cmsg = CMSG_NXTHDR((struct msghdr *)header, cmsg))
        take_control(message, trouble, cmsg);
}

/* bytes: all that is used of the buffer. */
static inline void tell(struct loop_datagram *datagram, loop_buffer buffer, char *start, size_t bytes)
{
    const uint32_t               name_room = datagram->priv.name_room, control_room = datagram->priv.control_room;
    char                        *name = start + sizeof(struct io_uring_recvmsg_out);
    char                        *control = name + name_room, *payload = control + control_room;
    struct loop_datagram_message message;
    struct io_uring_recvmsg_out  out;
    struct msghdr                header = {.msg_name = name, .msg_control = control};

    memcpy(&out, start, sizeof(out));
    header.msg_namelen = out.namelen < name_room ? out.namelen : name_room;
    header.msg_controllen = out.controllen < control_room ? out.controllen : control_room;
    header.msg_flags = (int)out.flags;
    message_init(&message, payload, bytes - (size_t)(payload - start));
    message.buffer = buffer;
    take_header(&message, &header, NULL);
    datagram->priv.on_receive(datagram, &message);
}

static bool wants_messages(const struct loop_datagram *datagram)
{
    return (datagram->priv.state & (DATAGRAM_STATE_MASK | DATAGRAM_RECEIVING)) == (DATAGRAM_OPEN | DATAGRAM_RECEIVING);
}

/* ---- the stash */

/* A copy waits, not the buffer: others need that. Without memory for one it is kept after all. */
static void stash_add(struct loop_datagram *datagram, loop_buffer buffer, const char *start, size_t bytes)
{
    struct loop *loop = datagram->priv.object.loop;
    loop_buffer  none, copy = buffer_copy_new(loop, start, (uint32_t)bytes);
    uint32_t     last_bytes;

    if (copy != 0)
        buffer = copy; /* the other goes back after the callback */
    else
        (void)loop_buffer_keep(loop, buffer);
    buffer_note(loop, buffer, 0, (uint32_t)bytes);
    if (datagram->priv.stash_last != 0) {
        buffer_noted(loop, datagram->priv.stash_last, &none, &last_bytes);
        buffer_note(loop, datagram->priv.stash_last, buffer, last_bytes);
    } else {
        datagram->priv.stash_first = buffer;
    }
    datagram->priv.stash_last = buffer;
}

static loop_buffer stash_pop(struct loop_datagram *datagram, uint32_t *ret_bytes)
{
    loop_buffer buffer = datagram->priv.stash_first;

    buffer_noted(datagram->priv.object.loop, buffer, &datagram->priv.stash_first, ret_bytes);
    if (datagram->priv.stash_first == 0)
        datagram->priv.stash_last = 0;
    return buffer;
}

static void stash_tell(struct loop_datagram *datagram)
{
    struct loop       *loop = datagram->priv.object.loop;
    struct loop_result result;
    uint32_t           bytes;

    while (wants_messages(datagram) && datagram->priv.stash_first != 0) {
        loop_buffer buffer = stash_pop(datagram, &bytes);

        buffer_lend(loop, buffer, bytes, &result);
        tell(datagram, buffer, result.data, bytes);
        buffer_callback_done(loop, buffer);
    }
}

void datagram_receive_drop(struct loop_datagram *datagram)
{
    uint32_t bytes;

    while (datagram->priv.stash_first != 0)
        (void)loop_buffer_return(datagram->priv.object.loop, stash_pop(datagram, &bytes));
}

/* ---- errors */

/* Takes one error from the socket's queue and tells it: what it is, or 0 if there was none. */
static int tell_queued_error(struct loop_datagram *datagram)
{
    _Alignas(struct cmsghdr) char control[256];
    char                          payload[TROUBLE_BYTES];
    struct sockaddr_storage       name;
    struct loop_datagram_message  message;
    struct loop_datagram_trouble  trouble;
    struct iovec                  iov = {payload, sizeof(payload)};
    struct msghdr                 header = {
                        .msg_name = &name,
                        .msg_namelen = sizeof(name),
                        .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control,
                        .msg_controllen = sizeof(control),
    };
    int r = sys_recvmsg(datagram->priv.fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT);

    if (r < 0)
        return 0;
    message_init(&message, payload, (size_t)r);
    message.error = -EIO; /* no entry is without an errno */
    take_header(&message, &header, &trouble);
    message.flags = 0; /* that only the start of it is there goes without saying */
    r = message.error;
    datagram->priv.on_receive(datagram, &message);
    return r;
}

/* The socket's own error and that of the queue's entry are one and the same. */
static void tell_queued_errors(struct loop_datagram *datagram)
{
    int error = 1;

    datagram_unset(datagram, DATAGRAM_LOOK_FOR_ERRORS);
    for (int i = 0; i < ERRORS_IN_A_ROW && wants_messages(datagram); i++) {
        error = tell_queued_error(datagram);
        if (error == 0)
            return;
        if (error == datagram->priv.receive_error)
            datagram->priv.receive_error = 0;
    }
    if (datagram_state(datagram) == DATAGRAM_OPEN) /* there may be more */
        datagram_look_for_errors(datagram);
}

/* Errors that the next attempt would meet again: the socket is not what it was, or the buffers are too small. */
static bool is_lasting(int error)
{
    return error == -EBADF || error == -EINVAL || error == -ENOTSOCK || error == -EOPNOTSUPP || error == -EFAULT ||
           error == -ENOTCONN || error == -ESHUTDOWN;
}

static void tell_error(struct loop_datagram *datagram)
{
    struct loop_datagram_message message;
    int                          error = datagram->priv.receive_error;

    datagram->priv.receive_error = 0;
    message_init(&message, NULL, 0);
    message.error = error;
    if (is_lasting(error)) {
        message.flags = LOOP_DATAGRAM_ENDED;
        datagram_unset(datagram, DATAGRAM_RECEIVING);
    }
    datagram->priv.on_receive(datagram, &message);
}

/* ---- the multishot */

static void received(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_datagram *datagram = arg;
    const size_t          room = datagram_receive_room(datagram);

    (void)loop;
    if (unlikely((result->flags & LOOP_MORE) == 0)) {
        datagram->priv.receive_id = 0;
        datagram_unset(datagram, DATAGRAM_RECEIVE_CANCELED);
        datagram_work(datagram);
    }
    if (unlikely(datagram_state(datagram) != DATAGRAM_OPEN))
        return;
    if (likely((result->flags & LOOP_BUFFER) != 0)) {
        char  *start = (char *)result->data - room;
        size_t bytes = (size_t)result->res + room;

        if (likely(wants_messages(datagram) && datagram->priv.stash_first == 0))
            tell(datagram, result->buffer, start, bytes);
        else
            stash_add(datagram, result->buffer, start, bytes);
    } else if (result->res != -ECANCELED) {
        datagram->priv.receive_error = result->res == 0 ? -ESHUTDOWN : result->res;
        datagram_look_for_errors(datagram);
    }
}

static int arm(struct loop_datagram *datagram)
{
    struct loop  *loop = datagram->priv.object.loop;
    struct msghdr room = {.msg_namelen = datagram->priv.name_room, .msg_controllen = datagram->priv.control_room};
    loop_id id = loop_recvmsg_multishot(loop, datagram->priv.fd, &room, datagram->priv.group, 0, received, datagram,
                                        LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));

    if (id < 0)
        return (int)id;
    datagram->priv.receive_id = op_of_object(loop, id);
    return 0;
}

static bool is_shortage(int error)
{
    return error == -ENOBUFS || error == -ENOMEM || error == -EAGAIN;
}

/* An error of the attempt itself is told as well, unless it is want of room or memory, which will pass. */
static void arm_again(struct loop_datagram *datagram)
{
    int r = arm(datagram);

    if (r < 0 && is_shortage(r)) {
        loop_task_retry(datagram->priv.object.loop, &datagram->priv.task);
    } else if (r < 0) {
        datagram->priv.receive_error = r;
        tell_error(datagram);
    }
}

void datagram_receive_work(struct loop_datagram *datagram)
{
    stash_tell(datagram);
    if (wants_messages(datagram) && datagram_is(datagram, DATAGRAM_LOOK_FOR_ERRORS))
        tell_queued_errors(datagram);
    if (wants_messages(datagram) && datagram->priv.receive_error != 0)
        tell_error(datagram);
    if (datagram_state(datagram) != DATAGRAM_OPEN)
        return;
    if (datagram->priv.receive_id == 0) {
        if (wants_messages(datagram))
            arm_again(datagram);
    } else if (!datagram_is(datagram, DATAGRAM_RECEIVING) && !datagram_is(datagram, DATAGRAM_RECEIVE_CANCELED)) {
        datagram_set(datagram, DATAGRAM_RECEIVE_CANCELED);
        (void)loop_cancel(datagram->priv.object.loop, datagram->priv.receive_id);
    }
}

int loop_datagram_receive_start(struct loop_datagram *datagram, loop_datagram_receive_cb *on_receive)
{
    if (datagram_state(datagram) != DATAGRAM_OPEN || on_receive == NULL)
        return -EINVAL;
    loop_check_owner(datagram->priv.object.loop, __func__);
    if (!datagram_is(datagram, DATAGRAM_RECEIVING)) {
        if (datagram->priv.receive_id == 0 && datagram->priv.stash_first == 0 && datagram->priv.receive_error == 0) {
            int r = arm(datagram);

            if (r < 0)
                return r;
        } else {
            datagram_work(datagram);
        }
        datagram_look_for_errors(datagram);
        datagram_set(datagram, DATAGRAM_RECEIVING);
    }
    datagram->priv.on_receive = on_receive;
    return 0;
}

int loop_datagram_receive_stop(struct loop_datagram *datagram)
{
    if (datagram_state(datagram) != DATAGRAM_OPEN)
        return -EINVAL;
    loop_check_owner(datagram->priv.object.loop, __func__);
    if (datagram_is(datagram, DATAGRAM_RECEIVING)) {
        datagram_unset(datagram, DATAGRAM_RECEIVING);
        datagram_work(datagram);
    }
    return 0;
}
