/* net/tcp_option.c: the options of TCP sockets, by plain system calls. */
#include <ringloop/tcp.h>

#include "loop/base.h"
#include "loop/seam_sys.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>

static const uint32_t flags_all =
    LOOP_TCP_NODELAY | LOOP_TCP_DELAY | LOOP_TCP_QUICKACK | LOOP_TCP_KEEPALIVE | LOOP_TCP_NO_KEEPALIVE;
static const uint32_t delay_flags = LOOP_TCP_NODELAY | LOOP_TCP_DELAY;
static const uint32_t keepalive_flags = LOOP_TCP_KEEPALIVE | LOOP_TCP_NO_KEEPALIVE;

/* The options that are numbers; 0 is not set. */
static const struct number {
    int    level, name;
    size_t offset;
} numbers[] = {
    /* Those of the socket level first: what is no TCP socket has them too. */
    {SOL_SOCKET, SO_SNDBUF, offsetof(struct loop_tcp_options, send_buffer_bytes)},
    {SOL_SOCKET, SO_RCVBUF, offsetof(struct loop_tcp_options, receive_buffer_bytes)},
    {IPPROTO_TCP, TCP_KEEPIDLE, offsetof(struct loop_tcp_options, keepalive_idle_s)},
    {IPPROTO_TCP, TCP_KEEPINTVL, offsetof(struct loop_tcp_options, keepalive_interval_s)},
    {IPPROTO_TCP, TCP_KEEPCNT, offsetof(struct loop_tcp_options, keepalive_count)},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, offsetof(struct loop_tcp_options, user_timeout_ms)},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, offsetof(struct loop_tcp_options, notsent_lowat_bytes)},
};

static uint32_t number_of(const struct loop_tcp_options *options, const struct number *number)
{
    uint32_t value;

    memcpy(&value, (const char *)options + number->offset, sizeof(value));
    return value;
}

static bool is_valid(const struct loop_tcp_options *options)
{
    if (options == NULL || (options->flags & ~flags_all) != 0 || (options->flags & delay_flags) == delay_flags ||
        (options->flags & keepalive_flags) == keepalive_flags)
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        if (number_of(options, &numbers[i]) > INT_MAX)
            return false;
    }
    return strnlen(options->congestion, LOOP_TCP_CONGESTION_MAX) < LOOP_TCP_CONGESTION_MAX;
}

static int set(int fd, int level, int name, int value)
{
    return sys_setsockopt(fd, level, name, &value, sizeof(value));
}

static int set_numbers(int fd, const struct loop_tcp_options *options)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_COUNT(numbers); i++) {
        uint32_t value = number_of(options, &numbers[i]);

        if (value != 0)
            r = set(fd, numbers[i].level, numbers[i].name, (int)value);
    }
    return r;
}

static int set_keepalive(int fd, const struct loop_tcp_options *options)
{
    bool values = (options->keepalive_idle_s | options->keepalive_interval_s | options->keepalive_count) != 0;

    if ((options->flags & keepalive_flags) == 0 && !values)
        return 0;
    return set(fd, SOL_SOCKET, SO_KEEPALIVE, (options->flags & LOOP_TCP_NO_KEEPALIVE) == 0);
}

static int set_tcp(int fd, const struct loop_tcp_options *options)
{
    int r = 0;

    if ((options->flags & delay_flags) != 0)
        r = set(fd, IPPROTO_TCP, TCP_NODELAY, (options->flags & LOOP_TCP_NODELAY) != 0);
    if (r == 0 && (options->flags & LOOP_TCP_QUICKACK) != 0)
        r = set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
    if (r == 0 && options->congestion[0] != '\0')
        r = sys_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options->congestion,
                           (socklen_t)strlen(options->congestion));
    return r;
}

int loop_tcp_set(int fd, const struct loop_tcp_options *options)
{
    int r;

    if (!is_valid(options))
        return -EINVAL;
    r = set_keepalive(fd, options);
    if (r == 0)
        r = set_numbers(fd, options);
    if (r == 0)
        r = set_tcp(fd, options);
    return r == -EOPNOTSUPP ? 0 : r; /* what unix sockets say to all of the TCP level */
}

static int get(int fd, int level, int name, uint32_t *ret_value)
{
    int       value = 0;
    socklen_t size = sizeof(value);
    int       r = sys_getsockopt(fd, level, name, &value, &size);

    if (r == 0)
        *ret_value = (uint32_t)value;
    return r;
}

static int get_numbers(int fd, struct loop_tcp_options *options)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_COUNT(numbers); i++) {
        uint32_t value = 0;

        r = get(fd, numbers[i].level, numbers[i].name, &value);
        if (numbers[i].level == SOL_SOCKET)
            value /= 2;
        if (r == 0)
            memcpy((char *)options + numbers[i].offset, &value, sizeof(value));
    }
    return r;
}

static int get_tcp(int fd, struct loop_tcp_options *options)
{
    socklen_t size = sizeof(options->congestion) - 1;
    uint32_t  nodelay = 0, quickack = 0, keepalive = 0;
    int       r = get(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay);

    if (r == 0)
        r = get(fd, IPPROTO_TCP, TCP_QUICKACK, &quickack);
    if (r == 0)
        r = get(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive);
    if (r == 0)
        r = sys_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options->congestion, &size);
    if (r == 0)
        options->flags = (nodelay != 0 ? LOOP_TCP_NODELAY : LOOP_TCP_DELAY) | (quickack != 0 ? LOOP_TCP_QUICKACK : 0u) |
                         (keepalive != 0 ? LOOP_TCP_KEEPALIVE : LOOP_TCP_NO_KEEPALIVE);
    return r;
}

int loop_tcp_get(int fd, struct loop_tcp_options *ret_options)
{
    struct loop_tcp_options options = {0};
    int                     r;

    if (ret_options == NULL)
        return -EINVAL;
    r = get_numbers(fd, &options);
    if (r == 0)
        r = get_tcp(fd, &options);
    if (r < 0 && r != -EOPNOTSUPP) /* as above: of a unix socket the buffers have been got by then */
        return r;
    *ret_options = options;
    return 0;
}
