/* net/datagram_option.c: options of datagram sockets: at the opening, later on, and multicast groups. */
#include "net/datagram_private.h"

#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

static const uint32_t flags_of_ip = LOOP_DATAGRAM_V6ONLY | LOOP_DATAGRAM_BROADCAST | LOOP_DATAGRAM_PKTINFO |
                                    LOOP_DATAGRAM_TRAFFIC_CLASS | LOOP_DATAGRAM_TTL | LOOP_DATAGRAM_GRO |
                                    LOOP_DATAGRAM_ERRORS;
static const uint32_t flags_all = flags_of_ip | LOOP_DATAGRAM_REUSEADDR | LOOP_DATAGRAM_REUSEPORT | LOOP_DATAGRAM_UNREF;

static bool is_ip(int family)
{
    return family == AF_INET || family == AF_INET6;
}

int datagram_options_check(const struct loop_datagram_options *options, int family)
{
    const uint32_t known = is_ip(family) ? flags_all : flags_all & ~flags_of_ip;

    if ((options->flags & ~known) != 0 || (!is_ip(family) && family != AF_UNIX) || options->group >= LOOP_GROUPS_OWN ||
        (family != AF_INET6 && (options->flags & LOOP_DATAGRAM_V6ONLY) != 0) || options->receive_size > INT32_MAX / 2 ||
        options->receive_buffer_bytes > INT32_MAX || options->send_buffer_bytes > INT32_MAX)
        return -EINVAL;
    return 0;
}

/* What a flag of the options sets; an IPv6 socket has both, for IPv4 may come to it as well. */
struct switched {
    uint32_t flag;
    int      family; /* AF_UNSPEC: any */
    int      level, name;
};

static const struct switched switches[] = {
    {LOOP_DATAGRAM_REUSEADDR, AF_UNSPEC, SOL_SOCKET, SO_REUSEADDR},
    {LOOP_DATAGRAM_REUSEPORT, AF_UNSPEC, SOL_SOCKET, SO_REUSEPORT},
    {LOOP_DATAGRAM_BROADCAST, AF_UNSPEC, SOL_SOCKET, SO_BROADCAST},
    {LOOP_DATAGRAM_V6ONLY, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY},
    {LOOP_DATAGRAM_PKTINFO, AF_INET, IPPROTO_IP, IP_PKTINFO},
    {LOOP_DATAGRAM_PKTINFO, AF_INET6, IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {LOOP_DATAGRAM_TRAFFIC_CLASS, AF_UNSPEC, IPPROTO_IP, IP_RECVTOS},
    {LOOP_DATAGRAM_TRAFFIC_CLASS, AF_INET6, IPPROTO_IPV6, IPV6_RECVTCLASS},
    {LOOP_DATAGRAM_TTL, AF_UNSPEC, IPPROTO_IP, IP_RECVTTL},
    {LOOP_DATAGRAM_TTL, AF_INET6, IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
    {LOOP_DATAGRAM_GRO, AF_UNSPEC, IPPROTO_UDP, UDP_GRO},
    {LOOP_DATAGRAM_ERRORS, AF_UNSPEC, IPPROTO_IP, IP_RECVERR},
    {LOOP_DATAGRAM_ERRORS, AF_INET6, IPPROTO_IPV6, IPV6_RECVERR},
};

int datagram_options_apply(int fd, int family, const struct loop_datagram_options *options)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_COUNT(switches); i++) {
        const struct switched *it = &switches[i];

        if ((options->flags & it->flag) != 0 && (it->family == AF_UNSPEC || it->family == family))
            r = socket_option(fd, it->level, it->name, 1);
    }
    if (r == 0 && options->receive_buffer_bytes != 0)
        r = socket_option(fd, SOL_SOCKET, SO_RCVBUF, (int)options->receive_buffer_bytes);
    if (r == 0 && options->send_buffer_bytes != 0)
        r = socket_option(fd, SOL_SOCKET, SO_SNDBUF, (int)options->send_buffer_bytes);
    return r;
}

static bool is_on(int fd, int level, int name)
{
    int       value = 0;
    socklen_t size = sizeof(value);

    return sys_getsockopt(fd, level, name, &value, &size) == 0 && value != 0;
}

uint32_t datagram_flags_in_force(int fd, int family)
{
    uint32_t flags = 0;

    if (!is_ip(family))
        return 0;
    if (is_on(fd, IPPROTO_IP, IP_RECVERR) || (family == AF_INET6 && is_on(fd, IPPROTO_IPV6, IPV6_RECVERR)))
        flags |= LOOP_DATAGRAM_ERRORS;
    if (is_on(fd, IPPROTO_UDP, UDP_GRO))
        flags |= LOOP_DATAGRAM_GRO;
    return flags;
}

/* ---- one by one */

struct named {
    int level, name; /* name 0: there is none */
};

static const struct named options_v4[] = {
    [LOOP_DATAGRAM_OPTION_BROADCAST] = {SOL_SOCKET, SO_BROADCAST},
    [LOOP_DATAGRAM_OPTION_TTL] = {IPPROTO_IP, IP_TTL},
    [LOOP_DATAGRAM_OPTION_TRAFFIC_CLASS] = {IPPROTO_IP, IP_TOS},
    [LOOP_DATAGRAM_OPTION_MULTICAST_TTL] = {IPPROTO_IP, IP_MULTICAST_TTL},
    [LOOP_DATAGRAM_OPTION_MULTICAST_LOOP] = {IPPROTO_IP, IP_MULTICAST_LOOP},
    [LOOP_DATAGRAM_OPTION_MULTICAST_INTERFACE] = {IPPROTO_IP, IP_MULTICAST_IF},
    [LOOP_DATAGRAM_OPTION_MULTICAST_ALL] = {IPPROTO_IP, IP_MULTICAST_ALL},
    [LOOP_DATAGRAM_OPTION_MTU_DISCOVER] = {IPPROTO_IP, IP_MTU_DISCOVER},
    [LOOP_DATAGRAM_OPTION_MTU] = {IPPROTO_IP, IP_MTU},
    [LOOP_DATAGRAM_OPTION_RECEIVE_BUFFER] = {SOL_SOCKET, SO_RCVBUF},
    [LOOP_DATAGRAM_OPTION_SEND_BUFFER] = {SOL_SOCKET, SO_SNDBUF},
};

static const struct named options_v6[] = {
    [LOOP_DATAGRAM_OPTION_BROADCAST] = {SOL_SOCKET, SO_BROADCAST},
    [LOOP_DATAGRAM_OPTION_TTL] = {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    [LOOP_DATAGRAM_OPTION_TRAFFIC_CLASS] = {IPPROTO_IPV6, IPV6_TCLASS},
    [LOOP_DATAGRAM_OPTION_MULTICAST_TTL] = {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
    [LOOP_DATAGRAM_OPTION_MULTICAST_LOOP] = {IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
    [LOOP_DATAGRAM_OPTION_MULTICAST_INTERFACE] = {IPPROTO_IPV6, IPV6_MULTICAST_IF},
    [LOOP_DATAGRAM_OPTION_MULTICAST_ALL] = {IPPROTO_IPV6, IPV6_MULTICAST_ALL},
    [LOOP_DATAGRAM_OPTION_MTU_DISCOVER] = {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
    [LOOP_DATAGRAM_OPTION_MTU] = {IPPROTO_IPV6, IPV6_MTU},
    [LOOP_DATAGRAM_OPTION_RECEIVE_BUFFER] = {SOL_SOCKET, SO_RCVBUF},
    [LOOP_DATAGRAM_OPTION_SEND_BUFFER] = {SOL_SOCKET, SO_SNDBUF},
};

/* NULL if the family has none such. */
static const struct named *option_of(const struct loop_datagram *datagram, enum loop_datagram_option option)
{
    const struct named *named;

    if (datagram_state(datagram) != DATAGRAM_OPEN || (unsigned)option >= ARRAY_COUNT(options_v4))
        return NULL;
    named = datagram->priv.family == AF_INET6 ? &options_v6[option] : &options_v4[option];
    return !is_ip(datagram->priv.family) && named->level != SOL_SOCKET ? NULL : named;
}

int loop_datagram_option_set(struct loop_datagram *datagram, enum loop_datagram_option option, int value)
{
    const struct named *named = option_of(datagram, option);
    struct ip_mreqn     mreqn = {.imr_ifindex = value};

    if (named == NULL)
        return -EINVAL;
    loop_check_owner(datagram->priv.object.loop, __func__);
    if (named->level == IPPROTO_IP && named->name == IP_MULTICAST_IF) /* an int would be an address */
        return sys_setsockopt(datagram->priv.fd, named->level, named->name, &mreqn, sizeof(mreqn));
    return socket_option(datagram->priv.fd, named->level, named->name, value);
}

int loop_datagram_option_get(const struct loop_datagram *datagram, enum loop_datagram_option option, int *ret_value)
{
    const struct named *named = option_of(datagram, option);
    int                 r, value = 0;
    socklen_t           size = sizeof(value);

    if (named == NULL)
        return -EINVAL;
    loop_check_owner(datagram->priv.object.loop, __func__);
    if (named->level == IPPROTO_IP && named->name == IP_MULTICAST_IF) /* the kernel answers with an address */
        return -EOPNOTSUPP;
    r = sys_getsockopt(datagram->priv.fd, named->level, named->name, &value, &size);
    if (r == 0)
        *ret_value = value;
    return r;
}

/* ---- groups */

static int change_membership(struct loop_datagram *datagram, const char *call, const struct loop_address *group,
                             const struct loop_address *source, uint32_t interface_index, int any_source,
                             int one_source)
{
    struct group_source_req request = {.gsr_interface = interface_index};
    int                     level = datagram->priv.family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;

    if (datagram_state(datagram) != DATAGRAM_OPEN || !socket_address_valid(group) || !is_ip(datagram->priv.family) ||
        (source != NULL && !socket_address_valid(source)))
        return -EINVAL;
    loop_check_owner(datagram->priv.object.loop, call);
    memcpy(&request.gsr_group, &group->storage, group->size);
    if (source == NULL) {
        struct group_req any = {.gr_interface = interface_index, .gr_group = request.gsr_group};

        return sys_setsockopt(datagram->priv.fd, level, any_source, &any, sizeof(any));
    }
    memcpy(&request.gsr_source, &source->storage, source->size);
    return sys_setsockopt(datagram->priv.fd, level, one_source, &request, sizeof(request));
}

int loop_datagram_join(struct loop_datagram *datagram, const struct loop_address *group,
                       const struct loop_address *source, uint32_t interface_index)
{
    return change_membership(datagram, __func__, group, source, interface_index, MCAST_JOIN_GROUP,
                             MCAST_JOIN_SOURCE_GROUP);
}

int loop_datagram_leave(struct loop_datagram *datagram, const struct loop_address *group,
                        const struct loop_address *source, uint32_t interface_index)
{
    return change_membership(datagram, __func__, group, source, interface_index, MCAST_LEAVE_GROUP,
                             MCAST_LEAVE_SOURCE_GROUP);
}
