/* net/resolve_check.c: which texts may be names of hosts and services at all. Both backends are asked for the same
 * ones, whatever they themselves would make of others. */
#include "net/resolve_private.h"

#include <errno.h>
#include <string.h>

enum {
    HOST_BYTES_MAX = 253, /* of a name, without the dot at its end */
    LABEL_BYTES_MAX = 63,
    SERVICE_BYTES_MAX = 255,
};

/* Whether the last label is a number, decimal or hexadecimal: then the whole is to be read as an address, or not at
 * all. */
static bool ends_in_number(const char *host, size_t length)
{
    size_t      begin;
    const char *digits = "0123456789";

    if (length > 0 && host[length - 1] == '.')
        length--;
    for (begin = length; begin > 0 && host[begin - 1] != '.';)
        begin--;
    if (length - begin >= 2 && host[begin] == '0' && (host[begin + 1] | 0x20) == 'x') {
        digits = "0123456789abcdefABCDEF";
        begin += 2;
    } else if (length == begin) {
        return false;
    }
    return strspn(host + begin, digits) >= length - begin;
}

/* A name that may be asked for: no more than that. */
static int check_name(const char *host)
{
    size_t length = strnlen(host, HOST_BYTES_MAX + 2), label = 0;

    if (length == 0 || (length > HOST_BYTES_MAX && (length > HOST_BYTES_MAX + 1 || host[HOST_BYTES_MAX] != '.')))
        return -EINVAL;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)host[i] >= 0x80)
            return -EILSEQ;
        if (host[i] <= ' ' || host[i] == 0x7f || host[i] == ':' || host[i] == '%')
            return -EINVAL;
        label = host[i] == '.' ? 0 : label + 1;
        if (label > LABEL_BYTES_MAX || (host[i] == '.' && (i == 0 || host[i - 1] == '.')))
            return -EINVAL;
    }
    return ends_in_number(host, length) ? -EINVAL : 0;
}

int resolve_check_host(const char *host, const struct loop_resolve_options *options)
{
    struct loop_address address;
    int                 r;

    if (host == NULL)
        return 0;
    if (strncmp(host, "unix:", 5) == 0)
        return -EINVAL;
    r = loop_address_parse(&address, host, 0);
    if (r == 0)
        return options->family == 0 || options->family == address.storage.ss_family ? 0 : -EAFNOSUPPORT;
    if (r != -EINVAL || (options->flags & LOOP_RESOLVE_NUMERIC) != 0)
        return r;
    return check_name(host);
}

int resolve_check_service(const char *service, uint16_t *ret_port)
{
    size_t   length = service == NULL ? 0 : strnlen(service, SERVICE_BYTES_MAX + 1);
    uint32_t port = 0;

    *ret_port = 0;
    if (service == NULL)
        return 1;
    if (length == 0 || length > SERVICE_BYTES_MAX)
        return -EINVAL;
    if (strspn(service, "0123456789") != length)
        return 0;
    for (size_t i = 0; i < length && port <= UINT16_MAX; i++)
        port = port * 10 + (uint32_t)(service[i] - '0');
    if (port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 1;
}
