/* tests/net/datagram_port.h: what the tests of datagram sockets share: a socket that counts and checks what comes back,
 * and plain sockets as its peers. */
#ifndef RINGLOOP_TESTS_NET_DATAGRAM_PORT_H
#define RINGLOOP_TESTS_NET_DATAGRAM_PORT_H

#include "tests/net/net_test.h"

/* The kinds that most tests run over: the bounds of tcase_add_loop_test. */
enum port_kind { PORT_UDP4, PORT_UNIX, PORT_UDP6, PORT_KINDS };

enum { PORT_LOG_MAX = 1024, PORT_DATA_MAX = 64 };

/* What is kept of each message. */
struct port_message {
    size_t                       size;
    int                          error;
    uint32_t                     flags;
    struct loop_address          source, local;
    uint32_t                     interface_index;
    int                          traffic_class, ttl, segment_size;
    bool                         has_trouble;
    struct loop_datagram_trouble trouble;
    char                         data[PORT_DATA_MAX]; /* its start */
};

struct port {
    struct loop_datagram datagram;
    const char          *name;     /* shown in notes; NULL: none are taken */
    uint32_t             messages; /* datagrams told */
    uint32_t             errors;
    uint64_t             bytes;
    uint32_t             sends_done, sends_failed; /* callbacks; failed: of them with an error */
    uint64_t             sent_bytes;
    int                  send_error; /* the first */
    uint32_t             closes;
    struct port_message  log[PORT_LOG_MAX]; /* datagrams and errors */
    uint32_t             logged;
    void (*on_message)(struct port *port, const struct loop_datagram_message *message); /* may be NULL */
    void *arg;                                                                          /* the test's */
};

int                 port_kinds(void);   /* PORT_KINDS, or without IPv6 one less, which it says */
struct loop_address port_any(int kind); /* to bind to: port 0, or an abstract name not used before */
void port_open(struct loop *loop, struct port *port, int kind, const struct loop_datagram_options *options);
struct loop_address      port_address(const struct port *port); /* where it is bound */
struct port             *port_of(struct loop_datagram *datagram);
void                     port_receive(struct port *port); /* starts to */
void                     port_close(struct port *port);
loop_datagram_receive_cb port_receive_cb;
loop_datagram_send_cb    port_send_cb; /* arg: NULL, or a string for the notes */
loop_datagram_close_cb   port_close_cb;

/* The library's calls that must succeed. */
void port_send(struct port *port, const void *data, size_t size, const struct loop_address *address);
void port_send_with(struct port *port, const void *data, size_t size, const struct loop_address *address, void *arg,
                    const struct loop_datagram_terms *terms);

/* The other end: a plain socket of the kind, bound, blocking. */
int    plain_open(int kind, struct loop_address *ret_address);
void   plain_send(int fd, const void *data, size_t size, const struct loop_address *address);
/* One datagram, which is there or comes within seconds. Returns its size. */
size_t plain_receive(int fd, void *data, size_t size, struct loop_address *ret_source);
bool   plain_is_empty(int fd); /* nothing is there just now */

bool address_same(const struct loop_address *a, const struct loop_address *b);

#endif
