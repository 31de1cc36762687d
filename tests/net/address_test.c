/* tests/net/address_test.c: socket addresses as text. */
#include "tests/net/net_test.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stddef.h>
#include <sys/un.h>

enum { PATH_OFFSET = offsetof(struct sockaddr_un, sun_path) };

static void expect_text(const struct loop_address *address, const char *expected)
{
    char text[LOOP_ADDRESS_TEXT_MAX];

    ck_assert_int_eq(loop_address_format(address, text, sizeof(text)), (int)strlen(expected));
    ck_assert_str_eq(text, expected);
}

/* Goal: what is parsed is formatted in the one customary way. Method: a table of texts with their port and their other
 * form. */
START_TEST(parse_and_format)
{
    static const struct {
        const char *text, *formatted;
        int         family;
        uint16_t    port, port_after;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1:80", AF_INET, 80, 80},
        {"0.0.0.0", "0.0.0.0:0", AF_INET, 0, 0},
        {"255.255.255.255", "255.255.255.255:65535", AF_INET, 65535, 65535},
        {"192.0.2.1", "192.0.2.1:256", AF_INET, 256, 256},
        {"::1", "[::1]:8080", AF_INET6, 8080, 8080},
        {"::", "[::]:0", AF_INET6, 0, 0},
        {"2001:DB8:0:0:0:0:0:1", "[2001:db8::1]:443", AF_INET6, 443, 443},
        {"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:1", AF_INET6, 1, 1},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", AF_INET6,
         65535, 65535},
        {"unix:/run/some.sock", "unix:/run/some.sock", AF_UNIX, 80, 0},
        {"unix:/", "unix:/", AF_UNIX, 0, 0},
        {"unix:@abstract", "unix:@abstract", AF_UNIX, 80, 0},
        {"unix:@a", "unix:@a", AF_UNIX, 0, 0},
        {"unix:@/with/slash and space", "unix:@/with/slash and space", AF_UNIX, 0, 0},
    };

    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        struct loop_address address;

        memset(&address, 0xa5, sizeof(address));
        ck_assert_msg(loop_address_parse(&address, cases[i].text, cases[i].port) == 0, "%s", cases[i].text);
        ck_assert_int_eq(address.storage.ss_family, cases[i].family);
        ck_assert_uint_eq(loop_address_port(&address), cases[i].port_after);
        expect_text(&address, cases[i].formatted);
    }
}
END_TEST

/* Goal: the kernel's form of the address is right. Method: looks at the sockaddr, its size, and the bytes not used,
 * which must be 0. */
START_TEST(sockaddr_is_what_the_kernel_wants)
{
    struct loop_address address;
    struct sockaddr_in  sin;
    struct sockaddr_in6 sin6;
    struct sockaddr_un  sun;

    address = net_parse("192.0.2.1", 0x1234);
    memcpy(&sin, &address.storage, sizeof(sin));
    ck_assert_uint_eq(address.size, sizeof(sin));
    ck_assert_uint_eq(ntohs(sin.sin_port), 0x1234);
    ck_assert_uint_eq(ntohl(sin.sin_addr.s_addr), 0xc0000201);
    for (size_t i = 0; i < sizeof(sin.sin_zero); i++)
        ck_assert_uint_eq(sin.sin_zero[i], 0);

    address = net_parse("::1", 0x1234);
    memcpy(&sin6, &address.storage, sizeof(sin6));
    ck_assert_uint_eq(address.size, sizeof(sin6));
    ck_assert_uint_eq(ntohs(sin6.sin6_port), 0x1234);
    ck_assert(memcmp(&sin6.sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback)) == 0);
    ck_assert_uint_eq(sin6.sin6_flowinfo, 0);
    ck_assert_uint_eq(sin6.sin6_scope_id, 0);

    address = net_parse("unix:/tmp/x", 0);
    memcpy(&sun, &address.storage, sizeof(sun));
    ck_assert_uint_eq(address.size, PATH_OFFSET + sizeof("/tmp/x"));
    ck_assert_str_eq(sun.sun_path, "/tmp/x");

    address = net_parse("unix:@x/y", 0); /* an abstract name is as long as its size says: no end may be counted in */
    memcpy(&sun, &address.storage, sizeof(sun));
    ck_assert_uint_eq(address.size, PATH_OFFSET + 4);
    ck_assert(memcmp(sun.sun_path, "\0x/y", 5) == 0);
}
END_TEST

/* Goal: scopes by name and by number. Method: the loopback interface, whose name every namespace has, and numbers no
 * interface has. */
START_TEST(scopes)
{
    unsigned            index = if_nametoindex("lo");
    struct loop_address address;
    struct sockaddr_in6 sin6;
    char                text[64];

    ck_assert_uint_gt(index, 0);
    address = net_parse("fe80::1%lo", 80);
    memcpy(&sin6, &address.storage, sizeof(sin6));
    ck_assert_uint_eq(sin6.sin6_scope_id, index);
    expect_text(&address, "[fe80::1%lo]:80");

    snprintf(text, sizeof(text), "fe80::1%%%u", index);
    address = net_parse(text, 80);
    expect_text(&address, "[fe80::1%lo]:80");

    address = net_parse("fe80::1%4294967295", 80); /* no interface has it, or ever will */
    memcpy(&sin6, &address.storage, sizeof(sin6));
    ck_assert_uint_eq(sin6.sin6_scope_id, UINT32_MAX);
    expect_text(&address, "[fe80::1%4294967295]:80");

    address = net_parse("fe80::1%0000000000000000000000007", 80);
    memcpy(&sin6, &address.storage, sizeof(sin6));
    ck_assert_uint_eq(sin6.sin6_scope_id, 7);
}
END_TEST

/* Goal: each wrong text has its errno, and leaves the output as it was. Method: a table; the output is filled with a
 * mark before. */
START_TEST(wrong_texts)
{
    static const struct {
        const char *text;
        int         error;
    } cases[] = {
        {"", -EINVAL},
        {"localhost", -EINVAL},
        {"1.2.3", -EINVAL},
        {"1.2.3.256", -EINVAL},
        {"1.2.3.4 ", -EINVAL},
        {" 1.2.3.4", -EINVAL},
        {"01.2.3.4", -EINVAL},
        {"1.2.3.4:80", -EINVAL},
        {"1.2.3.4%lo", -EINVAL},
        {"[::1]", -EINVAL},
        {":", -EINVAL},
        {":::", -EINVAL},
        {"1:2:3:4:5:6:7:8:9", -EINVAL},
        {"::g", -EINVAL},
        {"%lo", -EINVAL},
        {"fe80::1%", -EINVAL},
        {"fe80::1%no-such-if", -ENODEV},
        {"fe80::1%lo ", -ENODEV},
        {"fe80::1%lo%lo", -ENODEV},
        {"fe80::1%-1", -ENODEV},
        {"fe80::1%0", -ENODEV},
        {"fe80::1%4294967296", -ENODEV},
        {"fe80::1%18446744073709551617", -ENODEV},
        {"fe80::1%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -ENODEV},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -EINVAL},
        {"unix", -EINVAL},
        {"unix:", -EINVAL},
        {"unix:@", -EINVAL},
        {"UNIX:/x", -EINVAL},
    };
    struct loop_address before, address;

    memset(&before, 0xa5, sizeof(before));
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        int r;

        address = before;
        r = loop_address_parse(&address, cases[i].text, 80);
        ck_assert_msg(r == cases[i].error, "\"%s\": %s, not %s", cases[i].text, error_text(r),
                      error_text(cases[i].error));
        ck_assert_msg(memcmp(&address, &before, sizeof(address)) == 0, "\"%s\" changed the output", cases[i].text);
    }
}
END_TEST

/* Goal: unix names up to the kernel's limit, not beyond. Method: a path and an abstract name of each length, bound for
 * real where they are accepted (the path in a directory that does not exist: -ENOENT shows that the kernel liked the
 * form). */
START_TEST(unix_names_of_every_length)
{
    const size_t path_max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

    for (size_t length = 2; length < 200; length++) {
        char                text[256] = "unix:/nowhere/";
        struct loop_address address;
        int                 fd, r;

        memset(text + strlen(text), 'p', sizeof(text) - 1 - strlen(text));
        text[strlen("unix:") + length] = '\0';
        r = loop_address_parse(&address, text, 0);
        ck_assert_int_eq(r, length <= path_max ? 0 : -ENAMETOOLONG);
        if (r == 0)
            expect_text(&address, text);

        snprintf(text, sizeof(text), "unix:@%d-", (int)getpid());
        memset(text + strlen(text), 'a', sizeof(text) - 1 - strlen(text));
        text[strlen("unix:") + length] = '\0';
        r = loop_address_parse(&address, text, 0);
        ck_assert_int_eq(r, length <= path_max + 1 ? 0 : -ENAMETOOLONG);
        if (r < 0)
            continue;
        expect_text(&address, text);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address.storage, address.size), 0);
        address.size = sizeof(address.storage);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address.storage, &address.size), 0);
        expect_text(&address, text);
        test_close(fd);
    }
}
END_TEST

/* Goal: format never writes beyond the room it has, and nothing at all if the text does not fit. Method: each smaller
 * size, in a block of exactly that size, which the sanitizer watches. */
START_TEST(truncation)
{
    static const char *const texts[] = {"1.2.3.4", "fe80::1%lo", "::ffff:1.2.3.4", "unix:/tmp/x", "unix:@abc"};

    for (size_t i = 0; i < TEST_COUNT(texts); i++) {
        struct loop_address address = net_parse(texts[i], 12345);
        char                whole[LOOP_ADDRESS_TEXT_MAX];
        int                 length = loop_address_format(&address, whole, sizeof(whole));

        ck_assert_int_gt(length, 0);
        for (size_t size = 0; size <= (size_t)length + 1; size++) {
            char *room = malloc(size + (size == 0));
            int   r;

            ck_assert_ptr_nonnull(room);
            memset(room, 'z', size + (size == 0));
            r = loop_address_format(&address, room, size);
            if (size > (size_t)length) {
                ck_assert_int_eq(r, length);
                ck_assert_str_eq(room, whole);
            } else {
                ck_assert_int_eq(r, -ENOSPC);
                for (size_t j = 0; j < size; j++)
                    ck_assert_int_eq(room[j], 'z');
            }
            free(room);
        }
    }
}
END_TEST

/* Goal: unknown families and sizes are refused, not read. Method: each size of each family, whole or too small. */
START_TEST(wrong_addresses)
{
    static const struct {
        sa_family_t family;
        size_t      size_min;
    } families[] = {{AF_INET, sizeof(struct sockaddr_in)}, {AF_INET6, sizeof(struct sockaddr_in6)}};
    struct loop_address address = {0};
    char                text[LOOP_ADDRESS_TEXT_MAX] = "untouched";

    ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), -EINVAL);
    ck_assert_uint_eq(loop_address_port(&address), 0);
    address.size = sizeof(address.storage);
    ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), -EINVAL); /* AF_UNSPEC */
    address.storage.ss_family = AF_NETLINK;
    ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), -EINVAL);
    ck_assert_uint_eq(loop_address_port(&address), 0);
    for (size_t i = 0; i < TEST_COUNT(families); i++) {
        address = net_parse(i == 0 ? "1.2.3.4" : "::1", 80);
        for (socklen_t size = 0; size < families[i].size_min; size++) {
            address.size = size;
            ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), -EINVAL);
            ck_assert_uint_eq(loop_address_port(&address), 0);
        }
        address.size = sizeof(address.storage) + 1;
        ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), -EINVAL);
        ck_assert_uint_eq(loop_address_port(&address), 0);
    }
    address = net_parse("unix:/x", 0);
    address.size = sizeof(address.storage) + 1;
    ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), -EINVAL);
    address.size = 1;
    ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), -EINVAL);
    ck_assert_str_eq(text, "untouched");
}
END_TEST

/* Goal: texts with a port, as configurations have them; what is formatted comes back. Method: a table, wrong ones
 * among it; the port given is for texts without one. */
START_TEST(texts_with_ports)
{
    static const struct {
        const char *text, *formatted; /* NULL: the error */
        int         error;
    } cases[] = {
        {"192.0.2.1:80", "192.0.2.1:80", 0},
        {"192.0.2.1", "192.0.2.1:7", 0},
        {"0.0.0.0:0", "0.0.0.0:0", 0},
        {"192.0.2.1:65535", "192.0.2.1:65535", 0},
        {"192.0.2.1:00080", "192.0.2.1:80", 0},
        {"[::1]:80", "[::1]:80", 0},
        {"[::1]", "[::1]:7", 0},
        {"::1", "[::1]:7", 0},
        {"2001:db8::1:80", "[2001:db8::1:80]:7", 0},
        {"[::]:0", "[::]:0", 0},
        {"[fe80::1%lo]:80", "[fe80::1%lo]:80", 0},
        {"[::ffff:192.0.2.1]:443", "[::ffff:192.0.2.1]:443", 0},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:1", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1", 0},
        {"unix:/run/x", "unix:/run/x", 0},
        {"unix:@x:80", "unix:@x:80", 0},
        {"", NULL, -EINVAL},
        {":80", NULL, -EINVAL},
        {"192.0.2.1:", NULL, -EINVAL},
        {"192.0.2.1:65536", NULL, -EINVAL},
        {"192.0.2.1:99999999999999999999999999", NULL, -EINVAL},
        {"192.0.2.1:-1", NULL, -EINVAL},
        {"192.0.2.1:+1", NULL, -EINVAL},
        {"192.0.2.1: 80", NULL, -EINVAL},
        {"192.0.2.1:80 ", NULL, -EINVAL},
        {"192.0.2.1:http", NULL, -EINVAL},
        {"192.0.2.1000000000000000000:80", NULL, -EINVAL},
        {"[192.0.2.1]:80", NULL, -EINVAL},
        {"[::1]:", NULL, -EINVAL},
        {"[::1]80", NULL, -EINVAL},
        {"[::1", NULL, -EINVAL},
        {"[]:80", NULL, -EINVAL},
        {"[", NULL, -EINVAL},
        {"[::1]]:80", NULL, -EINVAL},
        {"[[::1]]:80", NULL, -EINVAL},
        {"[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]:80", NULL, -EINVAL},
        {"[fe80::1%no-such-if]:80", NULL, -ENODEV},
        {"localhost:80", NULL, -EINVAL},
    };
    struct loop_address before, address;

    memset(&before, 0xa5, sizeof(before));
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        int r;

        address = before;
        r = loop_address_parse_port(&address, cases[i].text, 7);
        ck_assert_msg(r == cases[i].error, "\"%s\": %s, not %s", cases[i].text, error_text(r),
                      error_text(cases[i].error));
        if (r == 0)
            expect_text(&address, cases[i].formatted);
        else
            ck_assert(memcmp(&address, &before, sizeof(address)) == 0);
    }
    ck_assert_int_eq(loop_address_parse_port(NULL, "::1", 7), -EINVAL);
    ck_assert_int_eq(loop_address_parse_port(&address, NULL, 7), -EINVAL);
}
END_TEST

/* Goal: the host alone, in the form that is parsed again. */
START_TEST(hosts_alone)
{
    static const char *const texts[] = {"192.0.2.1", "::1", "fe80::1%lo", "unix:/run/x", "unix:@x"};
    struct loop_address      again;

    for (size_t i = 0; i < TEST_COUNT(texts); i++) {
        struct loop_address address = net_parse(texts[i], 80);
        char                text[LOOP_ADDRESS_TEXT_MAX] = "untouched";
        size_t              length = strlen(texts[i]);

        ck_assert_int_eq(loop_address_format_host(&address, text, length), -ENOSPC);
        ck_assert_str_eq(text, "untouched");
        ck_assert_int_eq(loop_address_format_host(&address, text, length + 1), (int)length);
        ck_assert_str_eq(text, texts[i]);
        ck_assert_int_eq(loop_address_parse(&again, text, 80), 0);
        ck_assert_int_eq(loop_address_compare(&again, &address), 0);
    }
    ck_assert_int_eq(loop_address_format_host(&(struct loop_address){0}, (char[8]){0}, 8), -EINVAL);
    ck_assert_int_eq(loop_address_format_host(NULL, (char[8]){0}, 8), -EINVAL);
    ck_assert_int_eq(loop_address_format_host(&again, NULL, 8), -EINVAL);
}
END_TEST

/* Goal: ports are set where there are any, and nowhere else. */
START_TEST(ports_set)
{
    struct loop_address address = net_parse("192.0.2.1", 80), before;

    ck_assert_int_eq(loop_address_port_set(&address, 0x1234), 0);
    expect_text(&address, "192.0.2.1:4660");
    address = net_parse("fe80::1%lo", 80);
    ck_assert_int_eq(loop_address_port_set(&address, 65535), 0);
    expect_text(&address, "[fe80::1%lo]:65535");
    address = before = net_parse("unix:/x", 0);
    ck_assert_int_eq(loop_address_port_set(&address, 80), -EAFNOSUPPORT);
    ck_assert(memcmp(&address, &before, sizeof(address)) == 0);
    ck_assert_int_eq(loop_address_port_set(&(struct loop_address){0}, 80), -EAFNOSUPPORT);
    ck_assert_int_eq(loop_address_port_set(NULL, 80), -EINVAL);
}
END_TEST

/* Goal: an order in which no two that differ are equal, by address before port; what says nothing does not count.
 * Method: a sorted list, each compared with each. */
START_TEST(order)
{
    static const struct {
        const char *text;
        uint16_t    port;
    } sorted[] = {
        {"unix:@a", 0},    {"unix:@ab", 0},  {"unix:@b", 0},     {"unix:/a", 0},          {"unix:/ab", 0},
        {"unix:/b", 0},    {"0.0.0.0", 80},  {"127.0.0.1", 1},   {"127.0.0.1", 256},      {"128.0.0.0", 0},
        {"::", 80},        {"::1", 1},       {"::1", 2},         {"::ffff:127.0.0.1", 1}, {"fe80::1", 80},
        {"fe80::1%1", 80}, {"fe80::1%2", 1}, {"fe80::1%300", 1},
    };
    struct loop_address path = net_parse("unix:/a", 0), other = net_parse("unix:/a", 0), six = net_parse("::1", 1);

    for (size_t i = 0; i < TEST_COUNT(sorted); i++) {
        for (size_t j = 0; j < TEST_COUNT(sorted); j++) {
            struct loop_address a = net_parse(sorted[i].text, sorted[i].port);
            struct loop_address b = net_parse(sorted[j].text, sorted[j].port);
            int                 sign = loop_address_compare(&a, &b);

            ck_assert_msg((sign < 0) == (i < j) && (sign > 0) == (i > j), "%s and %s: %d", sorted[i].text,
                          sorted[j].text, sign);
        }
    }
    other.size = sizeof(struct sockaddr_un); /* as some callers of bind(2) give it */
    ck_assert_int_eq(loop_address_compare(&path, &other), 0);
    other = six;
    ((struct sockaddr_in6 *)&other.storage)->sin6_flowinfo = 7;
    ck_assert_int_eq(loop_address_compare(&six, &other), 0);
    ck_assert_int_ne(loop_address_compare(&six, &(struct loop_address){0}), 0);
    ck_assert_int_eq(loop_address_compare(&(struct loop_address){0}, &(struct loop_address){0}), 0);
}
END_TEST

/* Goal: what the kernel says of unix sockets is shown. Method: an unbound socket, one that the kernel named, and a name
 * with zero bytes. */
START_TEST(unix_names_of_the_kernel)
{
    struct loop_address address = {.size = sizeof(address.storage)};
    struct sockaddr_un  sun = {.sun_family = AF_UNIX};
    int                 fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char                text[LOOP_ADDRESS_TEXT_MAX];

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address.storage, &address.size), 0);
    expect_text(&address, "unix:");
    ck_assert_uint_eq(loop_address_port(&address), 0);

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&sun, sizeof(sa_family_t)), 0); /* autobind */
    address.size = sizeof(address.storage);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address.storage, &address.size), 0);
    ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), 5 + 6);
    ck_assert(strncmp(text, "unix:@", 6) == 0);
    test_close(fd);

    address = net_parse("unix:@abc", 0);
    ((char *)&address.storage)[PATH_OFFSET + 2] = '\0';
    expect_text(&address, "unix:@a@c");

    address = (struct loop_address){.size = sizeof(struct sockaddr_un)};
    memset(&address.storage, 'x', sizeof(address.storage)); /* a path that fills its field needs no end */
    address.storage.ss_family = AF_UNIX;
    ck_assert_int_eq(loop_address_format(&address, text, sizeof(text)), 5 + 108);
}
END_TEST

/* Goal: no bytes make it read or write out of bounds, and what it accepts it can say again. Method: random texts of
 * address letters, random addresses, on exactly sized blocks; accepted ones go round. RINGLOOP_SEED repeats a run. */
START_TEST(random_bytes)
{
    static const char letters[] = "0123456789abcdef::::....%/@unix: lo\xff\x01";
    uint64_t          state = test_env("RINGLOOP_SEED", 20261121);
    unsigned          parsed = 0, formatted = 0;

    for (unsigned round = 0; round < 100000; round++) {
        size_t              size = test_random(&state) % 24;
        char               *text = malloc(size + 1);
        struct loop_address address;

        ck_assert_ptr_nonnull(text);
        for (size_t i = 0; i < size; i++)
            text[i] = letters[test_random(&state) % (sizeof(letters) - 1)];
        if (round % 4 == 0 && size > 6)
            memcpy(text, "unix:", 5);
        text[size] = '\0';
        if (loop_address_parse(&address, text, (uint16_t)round) == 0) {
            char                first[LOOP_ADDRESS_TEXT_MAX];
            struct loop_address again;
            char                inner[LOOP_ADDRESS_TEXT_MAX];
            bool                bracket;

            parsed++;
            ck_assert_int_gt(loop_address_format(&address, first, sizeof(first)), 0);
            bracket = first[0] == '[';
            snprintf(inner, sizeof(inner), "%s", first + bracket);
            if (address.storage.ss_family != AF_UNIX)
                *strrchr(inner, bracket ? ']' : ':') = '\0';
            ck_assert_int_eq(loop_address_parse(&again, inner, loop_address_port(&address)), 0);
            ck_assert_msg(memcmp(&again, &address, sizeof(again)) == 0, "\"%s\" comes back as \"%s\"", text, first);
            if (strncmp(text, "unix:", 5) != 0 || text[5] != '@') { /* its zero bytes are written @ */
                ck_assert_int_eq(loop_address_parse_port(&again, first, 0), 0);
                ck_assert_int_eq(loop_address_compare(&again, &address), 0);
            }
        }
        if (loop_address_parse_port(&address, text, 0) == 0)
            ck_assert_int_gt(loop_address_format(&address, (char[LOOP_ADDRESS_TEXT_MAX]){0}, LOOP_ADDRESS_TEXT_MAX), 0);
        free(text);

        for (size_t i = 0; i < sizeof(address); i++)
            ((uint8_t *)&address)[i] = (uint8_t)test_random(&state);
        address.storage.ss_family = round % 3 == 0 ? AF_UNIX : round % 3 == 1 ? AF_INET : AF_INET6;
        address.size = (socklen_t)(test_random(&state) % 160);
        text = malloc(LOOP_ADDRESS_TEXT_MAX);
        ck_assert_ptr_nonnull(text);
        if (loop_address_format(&address, text, LOOP_ADDRESS_TEXT_MAX) >= 0) {
            formatted++;
            ck_assert_uint_lt(strnlen(text, LOOP_ADDRESS_TEXT_MAX), LOOP_ADDRESS_TEXT_MAX);
        }
        (void)loop_address_port(&address);
        free(text);
    }
    ck_assert_uint_gt(parsed, 1000);
    ck_assert_uint_gt(formatted, 1000);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/address");
    TCase *tcase = test_case_without_ring(suite, "address");

    tcase_add_test(tcase, parse_and_format);
    tcase_add_test(tcase, sockaddr_is_what_the_kernel_wants);
    tcase_add_test(tcase, scopes);
    tcase_add_test(tcase, wrong_texts);
    tcase_add_test(tcase, unix_names_of_every_length);
    tcase_add_test(tcase, truncation);
    tcase_add_test(tcase, texts_with_ports);
    tcase_add_test(tcase, hosts_alone);
    tcase_add_test(tcase, ports_set);
    tcase_add_test(tcase, order);
    tcase_add_test(tcase, wrong_addresses);
    tcase_add_test(tcase, unix_names_of_the_kernel);
    tcase_add_test(tcase, random_bytes);
    return suite;
}
