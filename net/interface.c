/* net/interface.c: the list of this machine's network interfaces. */
#include "loop/seam_sys.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <ringloop/interface.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(((struct loop_interface *)0)->name) == IF_NAMESIZE, "names have room");

static void copy_address(struct loop_address *ret_address, const struct sockaddr *sockaddr)
{
    ret_address->size = sockaddr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    memcpy(&ret_address->storage, sockaddr, ret_address->size);
}

static uint8_t bits_of(const struct loop_address *netmask)
{
    const uint8_t *bytes;
    size_t         count;
    uint8_t        bits = 0;

    if (netmask->storage.ss_family == AF_INET) {
        bytes = (const uint8_t *)&((const struct sockaddr_in *)&netmask->storage)->sin_addr;
        count = sizeof(struct in_addr);
    } else {
        bytes = (const uint8_t *)&((const struct sockaddr_in6 *)&netmask->storage)->sin6_addr;
        count = sizeof(struct in6_addr);
    }
    for (size_t i = 0; i < count; i++)
        bits = (uint8_t)(bits + __builtin_popcount(bytes[i]));
    return bits;
}

static void copy_hardware(struct loop_interface *interface, const struct ifaddrs *entry)
{
    /* glibc leaves room behind it for addresses longer than the structure shows. */
    const struct sockaddr_ll *link = (const struct sockaddr_ll *)(const void *)entry->ifa_addr;
    bool                      zero = true;

    interface->index = (uint32_t)link->sll_ifindex;
    if (link->sll_halen == 0 || link->sll_halen > sizeof(interface->hardware))
        return;
    for (unsigned i = 0; i < link->sll_halen; i++)
        zero = zero && link->sll_addr[i] == 0;
    if (zero) /* what the loopback interface has */
        return;
    interface->hardware_size = link->sll_halen;
    memcpy(interface->hardware, link->sll_addr, link->sll_halen);
}

/* Returns whether it has something to say. */
static bool describe(struct loop_interface *interface, const struct ifaddrs *entry, const struct loop_interface *before)
{
    int family = entry->ifa_addr == NULL ? AF_UNSPEC : entry->ifa_addr->sa_family;

    if (family != AF_INET && family != AF_INET6 && family != AF_PACKET)
        return false;
    memset(interface, 0, sizeof(*interface));
    strncpy(interface->name, entry->ifa_name, sizeof(interface->name) - 1);
    interface->flags = entry->ifa_flags;
    if (family == AF_PACKET) {
        copy_hardware(interface, entry);
        return true;
    }
    copy_address(&interface->address, entry->ifa_addr);
    if (entry->ifa_netmask != NULL) {
        copy_address(&interface->netmask, entry->ifa_netmask);
        interface->netmask.storage.ss_family = (sa_family_t)family;
        interface->prefix = bits_of(&interface->netmask);
    }
    if (before != NULL && strcmp(before->name, interface->name) == 0)
        interface->index = before->index;
    else
        interface->index = if_nametoindex(interface->name);
    return true;
}

/* By interface, what has no address first. */
static int compare(const void *a, const void *b)
{
    const struct loop_interface *left = a, *right = b;

    if (left->index != right->index)
        return left->index < right->index ? -1 : 1;
    return loop_address_compare(&left->address, &right->address);
}

/* Entries with an address take the hardware's from the one before them that has none, which goes. Returns how many are
 * left. */
static size_t merge(struct loop_interface *list, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        struct loop_interface *last = kept > 0 ? &list[kept - 1] : NULL;

        if (last != NULL && last->index == list[i].index) {
            list[i].hardware_size = last->hardware_size;
            memcpy(list[i].hardware, last->hardware, sizeof(last->hardware));
            if (last->address.size == 0)
                kept--;
        }
        if (kept != i)
            list[kept] = list[i];
        kept++;
    }
    return kept;
}

int loop_interfaces(struct loop_interface **ret_interfaces, size_t *ret_count)
{
    struct loop_interface *list;
    struct ifaddrs        *entries;
    size_t                 count = 0;
    int                    r;

    if (ret_interfaces == NULL || ret_count == NULL)
        return -EINVAL;
    r = sys_interfaces(&entries);
    if (r < 0)
        return r;
    for (const struct ifaddrs *entry = entries; entry != NULL; entry = entry->ifa_next)
        count++;
    list = malloc((count + 1) * sizeof(*list)); /* a list of none is a list */
    if (list == NULL) {
        sys_interfaces_free(entries);
        return -ENOMEM;
    }
    count = 0;
    for (const struct ifaddrs *entry = entries; entry != NULL; entry = entry->ifa_next)
        count += describe(&list[count], entry, count == 0 ? NULL : &list[count - 1]);
    sys_interfaces_free(entries);
    qsort(list, count, sizeof(*list), compare);
    *ret_count = merge(list, count);
    *ret_interfaces = list;
    return 0;
}

void loop_interfaces_free(struct loop_interface *interfaces)
{
    free(interfaces);
}
