/* ringloop/interface.h: this machine's network interfaces and their addresses. Any thread. */
#ifndef RINGLOOP_INTERFACE_H
#define RINGLOOP_INTERFACE_H

#include <ringloop/address.h>
#include <ringloop/types.h>

LOOP_BEGIN_DECLS

/* One address of an interface. An interface without any has one entry, with an address of size 0. */
struct loop_interface {
    char                name[16];
    uint32_t            index;         /* for scopes and socket options */
    uint32_t            flags;         /* IFF_UP, IFF_RUNNING, IFF_LOOPBACK ... of <net/if.h> */
    struct loop_address address;       /* IPv4 or IPv6, port 0 */
    struct loop_address netmask;       /* of the same family */
    uint8_t             prefix;        /* the same: bits that stand for the network; 0 without an address */
    uint8_t             hardware_size; /* bytes of it: 6 for Ethernet, 0 for none */
    uint8_t             hardware[20];
};

/* Lists them all, up or down, those of one interface one behind the other, in the order of their indices. A few system
 * calls that do not block. Returns 0, or -ENOMEM or what getifaddrs(3) said. The list is yours: give it back to
 * loop_interfaces_free(), which takes NULL too. */
LOOP_API LOOP_MUST_USE int loop_interfaces(struct loop_interface **ret_interfaces, size_t *ret_count);
LOOP_API void              loop_interfaces_free(struct loop_interface *interfaces);

LOOP_END_DECLS

#endif
