/* net/stream_unix.c: descriptors sent and received over unix sockets, credentials, pairs.
 *
 * Descriptors to be sent stand beside the queue of writes, in the same order: a write has no room for what few have.
 * Those received wait in a ring; a negative errno in it stands for some that are missing. */
#include "net/stream_private.h"
#include "net/write_queue.h"

#include <errno.h>
#include <ringloop/unix.h>
#include <string.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
enum {
    CONTROL_PIDFD = 4, /* SCM_PIDFD */
    /* Descriptors; and what somebody may have asked the socket for: credentials, a pidfd, a security label. */
    CONTROL_BYTES =
        CMSG_SPACE(sizeof(int) * LOOP_WRITE_FDS_MAX) + CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int)) + 256,
};

struct fd_write {
    struct fd_write           *next;
    const struct stream_write *write;
    uint32_t                   count;
    bool                       close, sent;
    int                        fds[];
};

/* ---- received */

enum { INBOX_ROOM_FIRST = 16 };

int stream_fds_open(struct loop_stream *stream, uint32_t limit)
{
    struct stream_more *more;
    int                 domain = 0, r;
    socklen_t           size = sizeof(domain);

    r = sys_getsockopt(stream->priv.fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    if (r < 0 || domain != AF_UNIX)
        return -EINVAL;
    more = stream_more(stream);
    if (more == NULL)
        return -ENOMEM;
    more->inbox.limit = limit == 0 ? LOOP_STREAM_FDS_DEFAULT : limit;
    stream->priv.transport = &stream_fds_transport;
    return 0;
}

static int *inbox_at(const struct stream_inbox *inbox, uint32_t index)
{
    return &inbox->fds[(inbox->first + index) & (inbox->room - 1)];
}

/* Room for so many more, and one word on what is missing. */
static int inbox_reserve(struct loop *loop, struct stream_inbox *inbox, uint32_t count)
{
    uint32_t room = inbox->room == 0 ? INBOX_ROOM_FIRST : inbox->room;
    int     *fds;

    while (room < inbox->count + count + 1)
        room *= 2;
    if (room == inbox->room)
        return 0;
    fds = memory_resize(loop, NULL, room * sizeof(fds[0]));
    if (fds == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < inbox->count; i++)
        fds[i] = *inbox_at(inbox, i);
    memory_free(loop, inbox->fds);
    inbox->fds = fds;
    inbox->first = 0;
    inbox->room = room;
    return 0;
}

/* There is room for it: each descriptor that is put leaves room for a word, and two words never follow each other. */
static void inbox_tell_missing(struct stream_inbox *inbox, int error)
{
    if (inbox->count == 0 || *inbox_at(inbox, inbox->count - 1) >= 0)
        *inbox_at(inbox, inbox->count++) = error;
}

int stream_fds_put(struct loop_stream *stream, const int *fds, uint32_t count)
{
    struct stream_more *more = stream_more(stream);

    if (more == NULL || inbox_reserve(stream->priv.object.loop, &more->inbox, count) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        *inbox_at(&more->inbox, more->inbox.count++) = fds[i];
    return 0;
}

static void put_received(struct loop_stream *stream, int fd)
{
    struct loop         *loop = stream->priv.object.loop;
    struct stream_inbox *inbox = &stream->priv.more->inbox;

    if (inbox->count < inbox->limit && inbox_reserve(loop, inbox, 1) == 0) {
        *inbox_at(inbox, inbox->count++) = fd;
        return;
    }
    sys_close(fd);
    loop->stats.fds_dropped++;
    if (inbox_reserve(loop, inbox, 0) == 0)
        inbox_tell_missing(inbox, -ENOBUFS);
}

static void take_control(struct loop_stream *stream, const struct msghdr *message)
{
    struct msghdr   header = *message; /* CMSG_NXTHDR wants one that may be written to */
    struct cmsghdr *part;

    for (part = CMSG_FIRSTHDR(&header); part != NULL; part = CMSG_NXTHDR(&header, part)) {
        size_t bytes = part->cmsg_len - CMSG_LEN(0);
        int    fd;

        if (part->cmsg_level != SOL_SOCKET || (part->cmsg_type != SCM_RIGHTS && part->cmsg_type != CONTROL_PIDFD))
            continue;
        for (size_t at = 0; at + sizeof(fd) <= bytes; at += sizeof(fd)) {
            memcpy(&fd, CMSG_DATA(part) + at, sizeof(fd));
            if (part->cmsg_type == SCM_RIGHTS)
                put_received(stream, fd);
            else if (fd >= 0) /* of SO_PASSPIDFD */
                sys_close(fd);
        }
    }
    if ((header.msg_flags & MSG_CTRUNC) != 0 &&
        inbox_reserve(stream->priv.object.loop, &stream->priv.more->inbox, 0) == 0)
        inbox_tell_missing(&stream->priv.more->inbox, -EMFILE);
}

/* The bytes are moved to the beginning of their buffer, where all others have them who read and keep buffers. */
static void message_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;
    struct loop_result  bytes = *result;

    if ((result->flags & LOOP_MORE) == 0)
        stream->priv.read_id = 0;
    if ((result->flags & LOOP_BUFFER) != 0) {
        take_control(stream, result->message);
        bytes.data = loop_buffer_data(loop, result->buffer, NULL);
        memmove(bytes.data, result->data, (size_t)result->res);
        bytes.value = 0;
    }
    stream_request_fed(stream, &bytes);
}

static int receive_messages(struct loop_stream *stream, uint64_t timeout_ns)
{
    struct loop  *loop = stream->priv.object.loop;
    struct msghdr room = {.msg_controllen = CONTROL_BYTES};
    int           group = LOOP_GROUP_DEFAULT;
    loop_id       id;

    if (loop->options.buffer_size < 4 * CONTROL_BYTES) /* it is taken from the buffer */
        group = loop_buffer_group_for(loop, 4 * (size_t)CONTROL_BYTES);
    if (group < 0)
        return group;
    id = loop_recvmsg_multishot(loop, stream->priv.fd, &room, (uint16_t)group, MSG_CMSG_CLOEXEC, message_done, stream,
                                LOOP_TERMS(.timeout_ns = timeout_ns, .flags = LOOP_BACKGROUND | LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    stream->priv.read_id = op_of_object(loop, id);
    return 0;
}

int stream_fds_read_start(struct loop_stream *stream)
{
    return receive_messages(stream, 0);
}

/* Into lent buffers here too. */
int stream_fds_receive(struct loop_stream *stream, void *data, size_t size, uint64_t timeout_ns)
{
    int r = receive_messages(stream, timeout_ns);

    (void)data;
    (void)size;
    if (r == 0)
        stream_set(stream, STREAM_REQUEST_READS);
    return r;
}

ssize_t stream_fds_try_receive(struct loop_stream *stream, void *data, size_t size)
{
    char          space[CONTROL_BYTES] __attribute__((aligned(8)));
    struct iovec  iov = {.iov_base = data, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
    ssize_t       r = sys_recvmsg(stream->priv.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (r > 0)
        take_control(stream, &msg);
    return r;
}

int loop_stream_take_fd(struct loop_stream *stream)
{
    enum stream_state    state = stream_state(stream);
    struct stream_inbox *inbox;
    int                  fd;

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (stream->priv.more == NULL || stream->priv.more->inbox.count == 0)
        return -EAGAIN;
    inbox = &stream->priv.more->inbox;
    fd = *inbox_at(inbox, 0);
    inbox->first = (inbox->first + 1) & (inbox->room - 1);
    inbox->count--;
    return fd;
}

uint32_t loop_stream_fds_waiting(const struct loop_stream *stream)
{
    return stream_state(stream) == STREAM_CLOSED || stream->priv.more == NULL ? 0 : stream->priv.more->inbox.count;
}

void stream_fds_drop(struct loop_stream *stream)
{
    struct stream_inbox *inbox = &stream->priv.more->inbox;

    for (uint32_t i = 0; i < inbox->count; i++)
        if (*inbox_at(inbox, i) >= 0)
            sys_close(*inbox_at(inbox, i));
    memory_free(stream->priv.object.loop, inbox->fds);
    *inbox = (struct stream_inbox){0};
}

/* ---- sent */

int stream_fds_check(const struct loop_stream *stream, const struct loop_write_terms *terms)
{
    int       domain = 0;
    socklen_t size = sizeof(domain);

    if (terms->fds == NULL || terms->fd_count > LOOP_WRITE_FDS_MAX ||
        (stream->priv.transport != &stream_socket_transport && stream->priv.transport != &stream_fds_transport) ||
        sys_getsockopt(stream->priv.fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX)
        return -EINVAL;
    for (uint32_t i = 0; i < terms->fd_count; i++)
        if (terms->fds[i] < 0)
            return -EBADF;
    return 0;
}

int stream_fds_attach(struct loop_stream *stream, struct stream_write *write, const struct loop_write_terms *terms)
{
    struct stream_more *more = stream_more(stream);
    struct fd_write    *added;
    size_t              bytes = terms->fd_count * sizeof(terms->fds[0]);

    if (more == NULL || (added = memory_resize(stream->priv.object.loop, NULL, sizeof(*added) + bytes)) == NULL)
        return -ENOMEM;
    *added = (struct fd_write){
        .write = write,
        .count = terms->fd_count,
        .close = (terms->flags & LOOP_WRITE_CLOSE_FDS) != 0,
    };
    memcpy(added->fds, terms->fds, bytes);
    if (more->fd_first == NULL)
        more->fd_first = added;
    else
        more->fd_last->next = added;
    more->fd_last = added;
    write->flags |= WRITE_FDS;
    stream_set(stream, STREAM_SENDS_FDS);
    return 0;
}

static void fds_sent(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;

    (void)loop;
    stream->priv.write_id = 0;
    if (result->res > 0)
        stream->priv.more->fd_first->sent = true;
    stream_sent(stream, result->res);
}

int stream_fds_send(struct loop_stream *stream, struct iovec *iov, size_t count)
{
    const struct fd_write *first = stream->priv.more->fd_first;
    char                   space[CMSG_SPACE(sizeof(int) * LOOP_WRITE_FDS_MAX)] __attribute__((aligned(8))) = {0};
    size_t                 bytes = first->count * sizeof(first->fds[0]);
    struct msghdr          msg = {
                 .msg_iov = iov,
                 .msg_iovlen = count,
                 .msg_control = space,
                 .msg_controllen = CMSG_SPACE(bytes),
    };
    struct cmsghdr *part = CMSG_FIRSTHDR(&msg);
    loop_id         id;

    if (first->write != stream->priv.write_first || first->sent)
        return stream->priv.transport->send(stream, iov, count);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(part), first->fds, bytes);
    id = loop_sendmsg(stream->priv.object.loop, stream->priv.fd, &msg, 0, fds_sent, stream,
                      LOOP_TERMS(.flags = LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    stream->priv.write_id = op_of_object(stream->priv.object.loop, id);
    return 0;
}

void stream_fds_written(struct loop_stream *stream, const struct stream_write *write)
{
    struct stream_more *more = stream->priv.more;
    struct fd_write    *over = more->fd_first, *before = NULL;

    for (; over != NULL && over->write != write; over = over->next)
        before = over;
    if (over == NULL)
        return;
    if (before == NULL)
        more->fd_first = over->next;
    else
        before->next = over->next;
    if (over == more->fd_last)
        more->fd_last = before;
    if (more->fd_first == NULL)
        stream_unset(stream, STREAM_SENDS_FDS);
    for (uint32_t i = 0; over->close && i < over->count; i++)
        sys_close(over->fds[i]);
    memory_free(stream->priv.object.loop, over);
}

/* ---- pairs and peers */

int loop_stream_pair(struct loop *loop, struct loop_stream *a, struct loop_stream *b,
                     const struct loop_stream_options *options)
{
    int fds[2], r;

    loop_check_owner(loop, __func__);
    if (a == b)
        return -EINVAL;
    r = sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, fds);
    if (r < 0)
        return r;
    r = loop_stream_open(loop, a, fds[0], options);
    if (r < 0)
        goto fail;
    r = loop_stream_open(loop, b, fds[1], options);
    if (r < 0)
        goto fail_second;
    if (options == NULL || (options->flags & LOOP_STREAM_KEEP_FD) == 0) {
        stream_unset(a, STREAM_KEEP_FD); /* whatever their numbers: they are ours */
        stream_unset(b, STREAM_KEEP_FD);
    }
    return 0;

fail_second:
    stream_forget(a);
fail:
    sys_close(fds[0]);
    sys_close(fds[1]);
    return r;
}

int loop_unix_credentials(int fd, struct loop_credentials *ret_credentials)
{
    struct ucred peer;
    socklen_t    size = sizeof(peer);
    int          r = sys_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);

    if (r < 0)
        return r;
    if (peer.uid == (uid_t)-1) /* what the kernel says of all that are no connected unix sockets */
        return -ENODATA;
    *ret_credentials = (struct loop_credentials){.pid = peer.pid, .uid = peer.uid, .gid = peer.gid};
    return 0;
}

int loop_unix_pidfd(int fd)
{
    int       pidfd = -1, r;
    socklen_t size = sizeof(pidfd);

    r = sys_getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size);
    if (r == -ENOPROTOOPT)
        return -EOPNOTSUPP;
    return r < 0 ? r : pidfd;
}
