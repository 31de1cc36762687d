/* tests/net/datagram_port.c: helpers of the tests of datagram sockets. */
#include "tests/net/datagram_port.h"

#include <poll.h>

int port_kinds(void)
{
    return net_kinds() == NET_KINDS ? PORT_KINDS : PORT_KINDS - 1;
}

struct loop_address port_any(int kind)
{
    switch (kind) {
    case PORT_UDP4: return net_parse("127.0.0.1", 0);
    case PORT_UDP6: return net_parse("::1", 0);
    default: return net_address(NET_UNIX);
    }
}

void port_open(struct loop *loop, struct port *port, int kind, const struct loop_datagram_options *options)
{
    struct loop_address          address = port_any(kind);
    struct loop_datagram_options defaults = {0};

    if (options != NULL)
        defaults = *options;
    if (defaults.on_close == NULL)
        defaults.on_close = port_close_cb;
    ck_assert_int_eq(CALL(loop_datagram_open(loop, &port->datagram, &address, &defaults)), 0);
}

struct loop_address port_address(const struct port *port)
{
    struct loop_address address;

    ck_assert_int_eq(loop_datagram_local_address(&port->datagram, &address), 0);
    return address;
}

struct port *port_of(struct loop_datagram *datagram)
{
    return (struct port *)(void *)datagram; /* its first member */
}

static void address_copy(struct loop_address *to, const struct loop_address *from)
{
    memset(to, 0, sizeof(*to));
    memcpy(&to->storage, &from->storage, from->size);
    to->size = from->size;
}

static void port_log(struct port *port, const struct loop_datagram_message *message)
{
    struct port_message *entry = &port->log[port->logged];

    if (port->logged == PORT_LOG_MAX)
        return;
    port->logged++;
    *entry = (struct port_message){
        .size = message->size,
        .error = message->error,
        .flags = message->flags,
        .interface_index = message->interface_index,
        .traffic_class = message->traffic_class,
        .ttl = message->ttl,
        .segment_size = message->segment_size,
        .has_trouble = message->trouble != NULL,
    };
    address_copy(&entry->source, &message->source);
    address_copy(&entry->local, &message->local);
    if (message->trouble != NULL) {
        entry->trouble = *message->trouble;
        address_copy(&entry->trouble.offender, &message->trouble->offender);
    }
    if (message->size > 0)
        memcpy(entry->data, message->data, message->size < PORT_DATA_MAX ? message->size : PORT_DATA_MAX);
}

void port_receive_cb(struct loop_datagram *datagram, const struct loop_datagram_message *message)
{
    struct port *port = port_of(datagram);

    callback_enter();
    ck_assert(!loop_datagram_closing(datagram));
    ck_assert_int_le(message->error, 0);
    if (message->error == 0) {
        ck_assert(message->buffer != 0);
        ck_assert_ptr_nonnull(message->data);
        port->messages++;
        port->bytes += message->size;
    } else {
        ck_assert(message->buffer == 0);
        port->errors++;
    }
    port_log(port, message);
    if (port->name != NULL && message->error < 0)
        note("%s got %s", port->name, error_text(message->error));
    else if (port->name != NULL)
        note("%s got %.*s", port->name, (int)message->size, (const char *)message->data);
    if (port->on_message != NULL)
        port->on_message(port, message);
}

void port_send_cb(struct loop_datagram *datagram, int result, void *arg)
{
    struct port *port = port_of(datagram);

    callback_enter();
    port->sends_done++;
    if (result < 0) {
        port->sends_failed++;
        if (port->send_error == 0)
            port->send_error = result;
    } else {
        port->sent_bytes += (uint64_t)result;
    }
    if (arg != NULL)
        note("send %s %s", (const char *)arg, error_text(result < 0 ? result : 0));
}

void port_close_cb(struct loop_datagram *datagram)
{
    struct port *port = port_of(datagram);

    callback_enter();
    ck_assert(!loop_datagram_closing(datagram));
    ck_assert_int_eq(loop_datagram_fd(datagram), -EBADF);
    ck_assert_int_eq(loop_datagram_send(datagram, "x", 1, NULL, port_send_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_datagram_receive_start(datagram, port_receive_cb), -EINVAL);
    loop_datagram_close(datagram, NULL);
    port->closes++;
    if (port->name != NULL)
        note("%s closed", port->name);
}

void port_receive(struct port *port)
{
    ck_assert_int_eq(CALL(loop_datagram_receive_start(&port->datagram, port_receive_cb)), 0);
}

void port_close(struct port *port)
{
    inside_call = true;
    loop_datagram_close(&port->datagram, NULL);
    inside_call = false;
}

void port_send_with(struct port *port, const void *data, size_t size, const struct loop_address *address, void *arg,
                    const struct loop_datagram_terms *terms)
{
    ck_assert_int_eq(CALL(loop_datagram_send(&port->datagram, data, size, address, port_send_cb, arg, terms)), 0);
}

void port_send(struct port *port, const void *data, size_t size, const struct loop_address *address)
{
    port_send_with(port, data, size, address, NULL, NULL);
}

/* ---- plain sockets */

int plain_open(int kind, struct loop_address *ret_address)
{
    struct loop_address address = port_any(kind);
    struct timeval      limit = {.tv_sec = 10};
    int                 fd = socket(address.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address.storage, address.size), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    if (ret_address != NULL) {
        memset(ret_address, 0, sizeof(*ret_address));
        ret_address->size = sizeof(ret_address->storage);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ret_address->storage, &ret_address->size), 0);
    }
    return fd;
}

void plain_send(int fd, const void *data, size_t size, const struct loop_address *address)
{
    ck_assert_int_eq(sendto(fd, data, size, 0, (const struct sockaddr *)&address->storage, address->size),
                     (ssize_t)size);
}

size_t plain_receive(int fd, void *data, size_t size, struct loop_address *ret_source)
{
    struct loop_address source = {.size = sizeof(source.storage)};
    ssize_t             n = recvfrom(fd, data, size, 0, (struct sockaddr *)&source.storage, &source.size);

    ck_assert_msg(n >= 0, "nothing came: %s", strerror(errno));
    if (ret_source != NULL)
        *ret_source = source;
    return (size_t)n;
}

bool plain_is_empty(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

bool address_same(const struct loop_address *a, const struct loop_address *b)
{
    char text_a[LOOP_ADDRESS_TEXT_MAX], text_b[LOOP_ADDRESS_TEXT_MAX];

    ck_assert_int_gt(loop_address_format(a, text_a, sizeof(text_a)), 0);
    ck_assert_int_gt(loop_address_format(b, text_b, sizeof(text_b)), 0);
    return strcmp(text_a, text_b) == 0;
}
