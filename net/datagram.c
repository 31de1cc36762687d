/* net/datagram.c: datagram sockets: opening, connecting, closing, and what one asks of them. */
#include "net/datagram_private.h"

#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>

enum { SEND_COUNT_DEFAULT = 65536, SEND_BYTES_DEFAULT = 64 << 20 };

static void set_state(struct loop_datagram *datagram, enum datagram_state to)
{
    static const uint8_t next[] = {
        [DATAGRAM_CLOSED] = 1u << DATAGRAM_OPEN,
        [DATAGRAM_OPEN] = 1u << DATAGRAM_CLOSING,
        [DATAGRAM_CLOSING] = 1u << DATAGRAM_CLOSED,
    };

    CHECK((next[datagram_state(datagram)] & 1u << to) != 0);
    datagram->priv.state = (datagram->priv.state & ~(uint32_t)DATAGRAM_STATE_MASK) | (uint32_t)to;
}

static bool in_flight(const struct loop_datagram *datagram)
{
    return datagram->priv.receive_id != 0 || datagram->priv.send_op != 0;
}

static void finish_close(struct loop_datagram *datagram)
{
    struct loop *loop = datagram->priv.object.loop;

    datagram_receive_drop(datagram);
    sys_close(datagram->priv.fd);
    datagram->priv.fd = -1;
    if (task_list_linked(&datagram->priv.task))
        task_list_remove(&datagram->priv.task);
    object_gone(&datagram->priv.object, !datagram_is(datagram, DATAGRAM_UNREF));
    set_state(datagram, DATAGRAM_CLOSED);
    starved_feed(loop);
    if (datagram->priv.on_close != NULL)
        datagram->priv.on_close(datagram);
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    struct loop_datagram *datagram = container_of(task, struct loop_datagram, priv.task);

    (void)loop;
    if (datagram_state(datagram) == DATAGRAM_OPEN)
        datagram_send_push(datagram);
    datagram_send_tell(datagram);
    if (datagram_state(datagram) == DATAGRAM_OPEN)
        datagram_receive_work(datagram);
    datagram_send_tell(datagram); /* closed meanwhile */
    if (datagram_state(datagram) == DATAGRAM_CLOSING && !in_flight(datagram))
        finish_close(datagram);
}

static void close_object(struct loop_object *object)
{
    loop_datagram_close(container_of(object, struct loop_datagram, priv.object), NULL);
}

/* The parent sends what is queued. */
static void rehome_object(struct loop_object *object, bool forked)
{
    struct loop_datagram *datagram = container_of(object, struct loop_datagram, priv.object);

    if (!forked || datagram->priv.send_next == NULL)
        return;
    datagram_send_cancel(datagram, -EOWNERDEAD);
    datagram_work(datagram);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_datagram *datagram = container_of(object, struct loop_datagram, priv.object);

    item->fd = datagram->priv.fd;
    item->closing = loop_datagram_closing(datagram);
    item->ref = loop_datagram_has_ref(datagram);
    item->active = datagram_is(datagram, DATAGRAM_RECEIVING) || datagram->priv.send_count > 0;
}

static void let_go(struct loop_object *object)
{
    sys_close(container_of(object, struct loop_datagram, priv.object)->priv.fd);
}

static const struct loop_object_class datagram_class = {
    .name = "datagram", .close = close_object, .rehome = rehome_object, .let_go = let_go, .describe = describe};

static int find_group(struct loop *loop, struct loop_datagram *datagram, const struct loop_datagram_options *options)
{
    if (options->group != 0)
        return options->group;
    if (options->receive_size == 0)
        return LOOP_GROUP_DEFAULT;
    return loop_buffer_group_for(loop, options->receive_size + datagram_receive_room(datagram));
}

static int init(struct loop *loop, struct loop_datagram *datagram, int fd, int family,
                const struct loop_datagram_options *options)
{
    struct loop_datagram_private before = datagram->priv;
    int                          group;

    datagram->priv = (struct loop_datagram_private){
        .object.loop = loop,
        .task.run = run_task,
        .on_close = options->on_close,
        .send_count_max = options->send_count_max == 0 ? SEND_COUNT_DEFAULT : options->send_count_max,
        .send_bytes_max = options->send_bytes_max == 0 ? SEND_BYTES_DEFAULT : options->send_bytes_max,
        .state = ((options->flags & LOOP_DATAGRAM_UNREF) != 0 ? DATAGRAM_UNREF : 0) |
                 ((options->flags & LOOP_DATAGRAM_ERRORS) != 0 ? DATAGRAM_ERRORS : 0),
        .family = (uint16_t)family,
        .send_merge_max = family == AF_UNIX ? 0 : UINT16_MAX,
        .fd = fd,
    };
    datagram_receive_init(datagram, options->flags);
    group = find_group(loop, datagram, options);
    if (group < 0) {
        datagram->priv = before;
        return group;
    }
    datagram->priv.group = (uint16_t)group;
    set_state(datagram, DATAGRAM_OPEN);
    object_open(loop, &datagram->priv.object, &datagram_class, !datagram_is(datagram, DATAGRAM_UNREF));
    return 0;
}

static const struct loop_datagram_options defaults;

static int check(const struct loop *loop, const struct loop_datagram *datagram,
                 const struct loop_datagram_options *options, int family)
{
    if (datagram_options_check(options, family) < 0)
        return -EINVAL;
    if (datagram_state(datagram) != DATAGRAM_CLOSED)
        return -EBUSY;
    return loop->destroying ? -ECANCELED : 0;
}

int loop_datagram_open(struct loop *loop, struct loop_datagram *datagram, const struct loop_address *local,
                       const struct loop_datagram_options *options)
{
    int family, fd, r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (local != NULL && !socket_address_valid(local))
        return -EINVAL;
    family = local != NULL ? local->storage.ss_family : options->family != 0 ? options->family : AF_INET;
    r = check(loop, datagram, options, family);
    if (r < 0)
        return r;
    fd = sys_socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    r = datagram_options_apply(fd, family, options);
    if (r == 0 && local != NULL)
        r = sys_bind(fd, (const struct sockaddr *)&local->storage, local->size);
    if (r == 0)
        r = init(loop, datagram, fd, family, options);
    if (r < 0)
        sys_close(fd);
    return r;
}

static int socket_number(int fd, int name, int *ret_number)
{
    socklen_t size = sizeof(*ret_number);

    return sys_getsockopt(fd, SOL_SOCKET, name, ret_number, &size);
}

int loop_datagram_adopt(struct loop *loop, struct loop_datagram *datagram, int fd,
                        const struct loop_datagram_options *options)
{
    struct loop_datagram_options complete;
    int                          r, type = 0, family = 0, protocol = 0;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (fd < 0)
        return -EBADF;
    r = socket_number(fd, SO_TYPE, &type);
    if (r == 0)
        r = socket_number(fd, SO_DOMAIN, &family);
    if (r == 0)
        r = socket_number(fd, SO_PROTOCOL, &protocol);
    if (r < 0)
        return r;
    if (type != SOCK_DGRAM)
        return -EINVAL;
    r = check(loop, datagram, options, family);
    if (r == 0)
        r = datagram_options_apply(fd, family, options);
    complete = *options;
    complete.flags |= datagram_flags_in_force(fd, family);
    if (r == 0)
        r = init(loop, datagram, fd, family, &complete);
    if (r == 0 && protocol != IPPROTO_UDP) /* such as ICMP, which would take a merged message for one */
        datagram->priv.send_merge_max = 0;
    return r;
}

int loop_datagram_connect(struct loop_datagram *datagram, const struct loop_address *address)
{
    static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    if (datagram_state(datagram) != DATAGRAM_OPEN || (address != NULL && !socket_address_valid(address)))
        return -EINVAL;
    loop_check_owner(datagram->priv.object.loop, __func__);
    if (datagram->priv.send_next != NULL) {
        datagram_send_push(datagram); /* these go to the peer of before */
        datagram_work(datagram);
    }
    if (address == NULL)
        return sys_connect(datagram->priv.fd, &nobody, sizeof(nobody));
    return sys_connect(datagram->priv.fd, (const struct sockaddr *)&address->storage, address->size);
}

void loop_datagram_close(struct loop_datagram *datagram, loop_datagram_close_cb *on_close)
{
    if (datagram_state(datagram) != DATAGRAM_OPEN)
        return;
    loop_check_owner(datagram->priv.object.loop, __func__);
    set_state(datagram, DATAGRAM_CLOSING);
    if (on_close != NULL)
        datagram->priv.on_close = on_close;
    if (datagram_is(datagram, DATAGRAM_UNREF)) {
        if (!datagram_is(datagram, DATAGRAM_HELD))
            object_hold(&datagram->priv.object);
        datagram_unset(datagram, DATAGRAM_UNREF);
        datagram_unset(datagram, DATAGRAM_HELD);
    }
    if (task_list_linked(&datagram->priv.task)) /* perhaps among those that wait for room */
        task_list_remove(&datagram->priv.task);
    if (datagram->priv.receive_id != 0)
        (void)loop_cancel(datagram->priv.object.loop, datagram->priv.receive_id);
    datagram_send_cancel(datagram, -ECANCELED);
    if (!in_flight(datagram))
        datagram_work(datagram);
}

bool loop_datagram_closing(const struct loop_datagram *datagram)
{
    return datagram_state(datagram) == DATAGRAM_CLOSING;
}

/* With HELD its sends have the reference in its place. */
static void set_ref(struct loop_datagram *datagram, const char *call, bool ref)
{
    bool now = !datagram_is(datagram, DATAGRAM_UNREF), held = datagram_is(datagram, DATAGRAM_HELD);

    if (datagram_state(datagram) != DATAGRAM_OPEN || now == ref)
        return;
    if (ref && held) {
        datagram_unset(datagram, DATAGRAM_HELD);
        datagram_unset(datagram, DATAGRAM_UNREF);
    } else if (ref) {
        object_ref_set(&datagram->priv.object, call, &now, true);
        datagram_unset(datagram, DATAGRAM_UNREF);
    } else {
        datagram_set(datagram, DATAGRAM_UNREF);
        if (datagram->priv.send_count > 0)
            datagram_set(datagram, DATAGRAM_HELD);
        else
            object_ref_set(&datagram->priv.object, call, &now, false);
    }
}

void loop_datagram_ref(struct loop_datagram *datagram)
{
    set_ref(datagram, __func__, true);
}

void loop_datagram_unref(struct loop_datagram *datagram)
{
    set_ref(datagram, __func__, false);
}

bool loop_datagram_has_ref(const struct loop_datagram *datagram)
{
    return datagram_state(datagram) != DATAGRAM_CLOSED && !datagram_is(datagram, DATAGRAM_UNREF);
}

int loop_datagram_fd(const struct loop_datagram *datagram)
{
    return datagram_state(datagram) == DATAGRAM_OPEN ? datagram->priv.fd : -EBADF;
}

struct loop *loop_datagram_loop(const struct loop_datagram *datagram)
{
    return datagram_state(datagram) == DATAGRAM_CLOSED ? NULL : datagram->priv.object.loop;
}

int loop_datagram_local_address(const struct loop_datagram *datagram, struct loop_address *ret_address)
{
    if (datagram_state(datagram) != DATAGRAM_OPEN)
        return -EINVAL;
    return socket_local_address(datagram->priv.fd, ret_address);
}

int loop_datagram_peer_address(const struct loop_datagram *datagram, struct loop_address *ret_address)
{
    if (datagram_state(datagram) != DATAGRAM_OPEN)
        return -EINVAL;
    return socket_peer_address(datagram->priv.fd, ret_address);
}
