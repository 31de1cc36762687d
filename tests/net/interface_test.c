/* tests/net/interface_test.c: the list of interfaces. */
#include "tests/net/name_server.h"

#include <net/if.h>
#include <sys/ioctl.h>

/* What other calls of the system say of it. */
static void check_one(const struct loop_interface *interface)
{
    struct ifreq request = {0};
    int          fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char         text[LOOP_ADDRESS_TEXT_MAX];

    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(interface->index, if_nametoindex(interface->name));
    memcpy(request.ifr_name, interface->name, sizeof(interface->name));
    ck_assert_int_eq(ioctl(fd, SIOCGIFFLAGS, &request), 0);
    ck_assert_uint_eq(interface->flags & 0xffff, (uint16_t)request.ifr_flags);
    ck_assert_int_eq(ioctl(fd, SIOCGIFHWADDR, &request), 0);
    if (interface->hardware_size == 6)
        ck_assert(memcmp(interface->hardware, request.ifr_hwaddr.sa_data, 6) == 0);
    test_close(fd);
    if (interface->address.size == 0) {
        ck_assert_uint_eq(interface->netmask.size, 0);
        ck_assert_uint_eq(interface->prefix, 0);
        return;
    }
    ck_assert_int_gt(loop_address_format(&interface->address, text, sizeof(text)), 0);
    ck_assert_uint_eq(loop_address_port(&interface->address), 0);
    ck_assert_int_eq(interface->netmask.storage.ss_family, interface->address.storage.ss_family);
    ck_assert_uint_le(interface->prefix, interface->address.storage.ss_family == AF_INET ? 32 : 128);
}

static void check_all(const struct loop_interface *interfaces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_one(&interfaces[i]);
        if (i == 0)
            continue;
        ck_assert_uint_le(interfaces[i - 1].index, interfaces[i].index);
        if (interfaces[i - 1].index == interfaces[i].index)
            ck_assert(interfaces[i - 1].address.size > 0 && interfaces[i].address.size > 0 &&
                      loop_address_compare(&interfaces[i - 1].address, &interfaces[i].address) < 0);
    }
}

static const struct loop_interface *find(const struct loop_interface *interfaces, size_t count, const char *address)
{
    struct loop_address wanted = net_parse(address, 0);

    for (size_t i = 0; i < count; i++) {
        if (interfaces[i].address.size > 0 && loop_address_compare(&interfaces[i].address, &wanted) == 0)
            return &interfaces[i];
    }
    return NULL;
}

/* Goal: the list has every interface and every address once, with what the system says of it elsewhere. Method: all of
 * them compared with if_nametoindex(3) and ioctl(2); the loopback one is known. */
START_TEST(all_of_them)
{
    struct loop_interface       *interfaces = NULL;
    const struct loop_interface *lo;
    size_t                       count = 0, names = 0;
    struct if_nameindex         *indices = if_nameindex();

    ck_assert_int_eq(loop_interfaces(&interfaces, &count), 0);
    ck_assert_uint_gt(count, 0);
    check_all(interfaces, count);
    lo = find(interfaces, count, "127.0.0.1");
    ck_assert_ptr_nonnull(lo);
    ck_assert_uint_eq(lo->prefix, 8);
    ck_assert_uint_ne(lo->flags & IFF_LOOPBACK, 0);
    ck_assert_uint_ne(lo->flags & IFF_UP, 0);
    ck_assert_uint_eq(lo->hardware_size, 0);
    for (size_t i = 0; i < count; i++)
        names += i == 0 || interfaces[i].index != interfaces[i - 1].index;
    for (size_t i = 0; indices[i].if_index != 0; i++)
        names--;
    ck_assert_uint_eq(names, 0);
    if_freenameindex(indices);
    loop_interfaces_free(interfaces);
    loop_interfaces_free(NULL);
    ck_assert_int_eq(loop_interfaces(NULL, &count), -EINVAL);
    ck_assert_int_eq(loop_interfaces(&interfaces, NULL), -EINVAL);
}
END_TEST

/* Goal: interfaces without an address are listed too. Method: a network of our own before anything is up. */
START_TEST(without_addresses)
{
    struct loop_interface *interfaces = NULL;
    struct ifreq           request = {.ifr_name = "lo"};
    size_t                 count = 0;
    int                    fd;

    if (!name_world()) {
        test_skip("no network of our own here");
        return;
    }
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &request), 0); /* down: without its IPv6 address */
    ((struct sockaddr_in *)&request.ifr_addr)->sin_family = AF_INET;
    ck_assert_int_eq(ioctl(fd, SIOCSIFADDR, &request), 0);
    test_close(fd);
    ck_assert_int_eq(loop_interfaces(&interfaces, &count), 0);
    ck_assert_uint_ge(count, 1);
    ck_assert_str_eq(interfaces[0].name, "lo");
    ck_assert_uint_eq(interfaces[0].address.size, 0);
    ck_assert_uint_eq(interfaces[0].flags & IFF_UP, 0);
    check_all(interfaces, count);
    loop_interfaces_free(interfaces);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/interface");
    TCase *tcase = test_case_without_ring(suite, "interface");

    tcase_add_test(tcase, all_of_them);
    tcase_add_test(tcase, without_addresses);
    return suite;
}
