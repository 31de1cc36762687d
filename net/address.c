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

/* The digits behind a colon, to the end of the text. */
static int parse_port(const char *text, uint16_t *ret_port)
{
    uint32_t port = 0;

    if (!all_digits(text))
        return -EINVAL;
    for (; *text != '\0' && port <= UINT16_MAX; text++)
        port = port * 10 + (uint32_t)(*text - '0');
    if (port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

/* "[HOST]" or "[HOST]:PORT" */
static int parse_brackets(struct loop_address *ret_address, const char *text, uint16_t port)
{
    size_t length = strcspn(text, "]");
    char   host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    int    r = 0;

    if (text[length] == '\0' || length - 1 >= sizeof host)
        return -EINVAL;
    memcpy(host, text + 1, length - 1);
    host[length - 1] = '\0';
    if (text[length + 1] == ':')
        r = parse_port(text + length + 2, &port);
    else if (text[length + 1] != '\0')
        r = -EINVAL;
    return r < 0 ? r : parse_ipv6(ret_address, host, port);
}

int loop_address_parse_port(struct loop_address *ret_address, const char *text, uint16_t port)
{
    const char *colon;
    char        host[INET_ADDRSTRLEN];
    int         r;

    if (ret_address == NULL || text == NULL)
        return -EINVAL;
    if (text[0] == '[')
        return parse_brackets(ret_address, text, port);
    colon = strchr(text, ':');
    /* One colon makes a port; with none, several, or a "unix:" before it there is none. */
    if (colon == NULL || strchr(colon + 1, ':') != NULL || strncmp(text, unix_prefix, UNIX_PREFIX_BYTES) == 0)
        return loop_address_parse(ret_address, text, port);
    if ((size_t)(colon - text) >= sizeof host)
        return -EINVAL;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    r = parse_port(colon + 1, &port);
    return r < 0 ? r : loop_address_parse(ret_address, host, port);
}

static int host_ipv4(const struct loop_address *address, char *text)
{
    struct sockaddr_in sin;

    if (address->size < sizeof sin)
        return -EINVAL;
    memcpy(&sin, &address->storage, sizeof sin);
    inet_ntop(AF_INET, &sin.sin_addr, text, LOOP_ADDRESS_TEXT_MAX);
    return (int)strlen(text);
}

/* A scope has the name of its interface; its number if it has none, or one that would be read as a number. */
static int host_ipv6(const struct loop_address *address, char *text)
{
    struct sockaddr_in6 sin6;
    char                name[IF_NAMESIZE];
    size_t              length;

    if (address->size < sizeof sin6)
        return -EINVAL;
    memcpy(&sin6, &address->storage, sizeof sin6);
    inet_ntop(AF_INET6, &sin6.sin6_addr, text, LOOP_ADDRESS_TEXT_MAX);
    length = strlen(text);
    if (sin6.sin6_scope_id == 0)
        return (int)length;
    if (if_indextoname(sin6.sin6_scope_id, name) == NULL || all_digits(name))
        snprintf(name, sizeof name, "%u", (unsigned)sin6.sin6_scope_id);
    return (int)length + snprintf(text + length, LOOP_ADDRESS_TEXT_MAX - length, "%%%s", name);
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

/* Without the port; returns the length. text has LOOP_ADDRESS_TEXT_MAX bytes. */
static int format_host(const struct loop_address *address, char *text)
{
    if (address == NULL || address->size < sizeof address->storage.ss_family || address->size > sizeof address->storage)
        return -EINVAL;
    switch (address->storage.ss_family) {
    case AF_INET: return host_ipv4(address, text);
    case AF_INET6: return host_ipv6(address, text);
    case AF_UNIX: return format_unix(address, text);
    }
    return -EINVAL;
}

static int give_text(const char *whole, int length, char *text, size_t text_size)
{
    if (length < 0 || text == NULL)
        return -EINVAL;
    if ((size_t)length >= text_size)
        return -ENOSPC;
    memcpy(text, whole, (size_t)length + 1);
    return length;
}

int loop_address_format_host(const struct loop_address *address, char *text, size_t text_size)
{
    char whole[LOOP_ADDRESS_TEXT_MAX];

    return give_text(whole, format_host(address, whole), text, text_size);
}

int loop_address_format(const struct loop_address *address, char *text, size_t text_size)
{
    char host[LOOP_ADDRESS_TEXT_MAX], whole[LOOP_ADDRESS_TEXT_MAX + sizeof "[]:65535"];
    int  length = format_host(address, host);

    if (length < 0)
        return length;
    switch (address->storage.ss_family) {
    case AF_INET: length = snprintf(whole, sizeof whole, "%s:%u", host, (unsigned)loop_address_port(address)); break;
    case AF_INET6: length = snprintf(whole, sizeof whole, "[%s]:%u", host, (unsigned)loop_address_port(address)); break;
    default: return give_text(host, length, text, text_size);
    }
    return give_text(whole, length, text, text_size);
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

int loop_address_port_set(struct loop_address *address, uint16_t port)
{
    uint16_t wire = htons(port);

    if (address == NULL || address->size > sizeof address->storage)
        return -EINVAL;
    if (address->size < sizeof(struct sockaddr_in) ||
        (address->storage.ss_family != AF_INET && address->storage.ss_family != AF_INET6))
        return -EAFNOSUPPORT;
    memcpy((char *)&address->storage + offsetof(struct sockaddr_in, sin_port), &wire, sizeof wire);
    return 0;
}

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int compare_ipv6(const struct loop_address *a, const struct loop_address *b)
{
    struct sockaddr_in6 left, right;
    int                 order;

    memcpy(&left, &a->storage, sizeof left);
    memcpy(&right, &b->storage, sizeof right);
    order = memcmp(&left.sin6_addr, &right.sin6_addr, sizeof left.sin6_addr);
    if (order == 0)
        order = compare_numbers(left.sin6_scope_id, right.sin6_scope_id);
    return order != 0 ? order : compare_numbers(ntohs(left.sin6_port), ntohs(right.sin6_port));
}

static int compare_ipv4(const struct loop_address *a, const struct loop_address *b)
{
    struct sockaddr_in left, right;
    int                order;

    memcpy(&left, &a->storage, sizeof left);
    memcpy(&right, &b->storage, sizeof right);
    order = compare_numbers(ntohl(left.sin_addr.s_addr), ntohl(right.sin_addr.s_addr));
    return order != 0 ? order : compare_numbers(ntohs(left.sin_port), ntohs(right.sin_port));
}

/* The bytes that count: no more than there can be; of a path none behind its end, which the kernel counts in or not. */
static size_t bytes_of(const struct loop_address *address)
{
    const char *path = (const char *)&address->storage + UNIX_PATH_OFFSET;
    size_t      size = address->size <= sizeof address->storage ? address->size : sizeof address->storage;

    if (address->storage.ss_family == AF_UNIX && size > UNIX_PATH_OFFSET && path[0] != '\0')
        size = UNIX_PATH_OFFSET + strnlen(path, size - UNIX_PATH_OFFSET);
    return size;
}

static bool both_are(const struct loop_address *a, const struct loop_address *b, sa_family_t family, size_t size)
{
    return a->storage.ss_family == family && b->storage.ss_family == family && a->size >= size && b->size >= size;
}

int loop_address_compare(const struct loop_address *a, const struct loop_address *b)
{
    size_t size_a, size_b;
    int    order;

    if (both_are(a, b, AF_INET, sizeof(struct sockaddr_in)))
        return compare_ipv4(a, b);
    if (both_are(a, b, AF_INET6, sizeof(struct sockaddr_in6)))
        return compare_ipv6(a, b);
    if (a->storage.ss_family != b->storage.ss_family)
        return compare_numbers(a->storage.ss_family, b->storage.ss_family);
    size_a = bytes_of(a);
    size_b = bytes_of(b);
    order = memcmp(&a->storage, &b->storage, size_a < size_b ? size_a : size_b);
    return order != 0 ? order : compare_numbers((uint32_t)size_a, (uint32_t)size_b);
}
