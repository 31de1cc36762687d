/* net/address.c: socket addresses as text. Pure code, but for the scope of an IPv6 address: its name is looked up, a
 * number is taken as it is. */
#include <ringloop/address.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static const char unix_prefix[] = "unix:";

enum {
    UNIX_PREFIX_BYTES = sizeof unix_prefix - 1,
    UNIX_PATH_OFFSET = offsetof(struct sockaddr_un, sun_path),
    UNIX_PATH_BYTES = sizeof(struct sockaddr_un) - UNIX_PATH_OFFSET,
    UNIX_SIZE_MAX = sizeof(struct sockaddr_un) + 1, /* the kernel ends a path that fills sun_path one byte behind it */
};

_Static_assert(UNIX_PREFIX_BYTES + UNIX_PATH_BYTES + 1 <= LOOP_ADDRESS_TEXT_MAX, "every unix address has room");
_Static_assert(INET6_ADDRSTRLEN + IF_NAMESIZE + sizeof "[%]:65535" <= LOOP_ADDRESS_TEXT_MAX, "every IPv6 address too");

static void address_set(struct loop_address *ret_address, const void *sockaddr, size_t size)
{
    memset(ret_address, 0, sizeof *ret_address);
    memcpy(&ret_address->storage, sockaddr, size);
    ret_address->size = (socklen_t)size;
}

/* name: what stands behind "unix:"; a leading @ stands for the zero byte of the abstract namespace. */
static int parse_unix(struct loop_address *ret_address, const char *name)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    size_t             length = strnlen(name, UNIX_PATH_BYTES + 1);
    bool               abstract = name[0] == '@';

    if (length <= (abstract ? 1 : 0))
        return -EINVAL;
    if (length > UNIX_PATH_BYTES - (abstract ? 0 : 1)) /* a path has its end behind it, an abstract name has none */
        return -ENAMETOOLONG;
    memcpy(sun.sun_path, name, length);
    if (abstract)
        sun.sun_path[0] = '\0';
    address_set(ret_address, &sun, UNIX_PATH_OFFSET + length + (abstract ? 0 : 1));
    return 0;
}

static bool all_digits(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static int parse_scope(const char *text, uint32_t *ret_scope)
{
    uint64_t number = 0;

    if (text[0] == '\0')
        return -EINVAL;
    if (all_digits(text)) {
        for (; *text != '\0' && number <= UINT32_MAX; text++)
            number = number * 10 + (uint64_t)(*text - '0');
    } else if (strnlen(text, IF_NAMESIZE) < IF_NAMESIZE) {
        number = if_nametoindex(text);
    }
    if (number == 0 || number > UINT32_MAX)
        return -ENODEV;
    *ret_scope = (uint32_t)number;
    return 0;
}

static int parse_ipv6(struct loop_address *ret_address, const char *text, uint16_t port)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    char                host[INET6_ADDRSTRLEN];
    size_t              length = strcspn(text, "%");

    if (length >= sizeof host)
        return -EINVAL;
    memcpy(host, text, length);
    host[length] = '\0';
    if (inet_pton(AF_INET6, host, &sin6.sin6_addr) != 1)
        return -EINVAL;
    if (text[length] == '%') {
        uint32_t scope;
        int      r = parse_scope(text + length + 1, &scope);

        if (r < 0)
            return r;
        sin6.sin6_scope_id = scope;
    }
    address_set(ret_address, &sin6, sizeof sin6);
    return 0;
}

int loop_address_parse(struct loop_address *ret_address, const char *text, uint16_t port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};

    if (ret_address == NULL || text == NULL)
        return -EINVAL;
    if (strncmp(text, unix_prefix, UNIX_PREFIX_BYTES) == 0)
        return parse_unix(ret_address, text + UNIX_PREFIX_BYTES);
    if (inet_pton(AF_INET, text, &sin.sin_addr) != 1)
        return parse_ipv6(ret_address, text, port);
    address_set(ret_address, &sin, sizeof sin);
    return 0;
}

static int format_ipv4(const struct loop_address *address, char *text)
{
    struct sockaddr_in sin;
    char               host[INET_ADDRSTRLEN];

    if (address->size < sizeof sin)
        return -EINVAL;
    memcpy(&sin, &address->storage, sizeof sin);
    inet_ntop(AF_INET, &sin.sin_addr, host, sizeof host);
    return snprintf(text, LOOP_ADDRESS_TEXT_MAX, "%s:%u", host, (unsigned)ntohs(sin.sin_port));
}

/* A scope has the name of its interface; its number if it has none, or one that would be read as a number. */
static int format_ipv6(const struct loop_address *address, char *text)
{
    struct sockaddr_in6 sin6;
    char                host[INET6_ADDRSTRLEN], name[IF_NAMESIZE], scope[1 + IF_NAMESIZE] = "";

    if (address->size < sizeof sin6)
        return -EINVAL;
    memcpy(&sin6, &address->storage, sizeof sin6);
    inet_ntop(AF_INET6, &sin6.sin6_addr, host, sizeof host);
    if (sin6.sin6_scope_id != 0) {
        if (if_indextoname(sin6.sin6_scope_id, name) != NULL && !all_digits(name))
            snprintf(scope, sizeof scope, "%%%s", name);
        else
            snprintf(scope, sizeof scope, "%%%u", (unsigned)sin6.sin6_scope_id);
    }
    return snprintf(text, LOOP_ADDRESS_TEXT_MAX, "[%s%s]:%u", host, scope, (unsigned)ntohs(sin6.sin6_port));
}

/* Zero bytes of an abstract name are written @, its first one too. An unbound socket has no name: "unix:". */
static int format_unix(const struct loop_address *address, char *text)
{
    char   name[UNIX_SIZE_MAX - UNIX_PATH_OFFSET];
    size_t length;

    if (address->size > UNIX_SIZE_MAX)
        return -EINVAL;
    length = address->size > UNIX_PATH_OFFSET ? address->size - UNIX_PATH_OFFSET : 0;
    memcpy(name, (const char *)&address->storage + UNIX_PATH_OFFSET, length);
    if (length > 0 && name[0] != '\0')
        length = strnlen(name, length);
    for (size_t i = 0; i < length; i++) {
        if (name[i] == '\0')
            name[i] = '@';
    }
    memcpy(text, unix_prefix, UNIX_PREFIX_BYTES);
    memcpy(text + UNIX_PREFIX_BYTES, name, length);
    text[UNIX_PREFIX_BYTES + length] = '\0';
    return (int)(UNIX_PREFIX_BYTES + length);
}

int loop_address_format(const struct loop_address *address, char *text, size_t text_size)
{
    char whole[LOOP_ADDRESS_TEXT_MAX];
    int  length = -EINVAL;

    if (address == NULL || text == NULL || address->size < sizeof address->storage.ss_family ||
        address->size > sizeof address->storage)
        return -EINVAL;
    switch (address->storage.ss_family) {
    case AF_INET: length = format_ipv4(address, whole); break;
    case AF_INET6: length = format_ipv6(address, whole); break;
    case AF_UNIX: length = format_unix(address, whole); break;
    }
    if (length < 0)
        return length;
    if ((size_t)length >= text_size)
        return -ENOSPC;
    memcpy(text, whole, (size_t)length + 1);
    return length;
}

uint16_t loop_address_port(const struct loop_address *address)
{
    struct sockaddr_in6 sin6;

    if (address == NULL || address->size > sizeof address->storage)
        return 0;
    memcpy(&sin6, &address->storage, sizeof sin6); /* the port stands in the same place in both */
    if (address->storage.ss_family == AF_INET && address->size >= sizeof(struct sockaddr_in))
        return ntohs(sin6.sin6_port);
    if (address->storage.ss_family == AF_INET6 && address->size >= sizeof sin6)
        return ntohs(sin6.sin6_port);
    return 0;
}

_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
               "for loop_address_port");
