/* ringloop/datagram.h: datagram sockets: UDP over IPv4 and IPv6, and unix sockets of type SOCK_DGRAM. Loop thread only.
 *
 * Life: zeroed > loop_datagram_open or loop_datagram_adopt > receive, send > loop_datagram_close > close callback.
 *
 * Callbacks never come from inside a call. At close they come in this order: sends in theirs, close; each once, the
 * close callback last; then the memory is yours again. Receiving ends silently at close. */
#ifndef RINGLOOP_DATAGRAM_H
#define RINGLOOP_DATAGRAM_H

#include <ringloop/address.h>
#include <ringloop/types.h>

#include <stdbool.h>
#include <sys/uio.h>

LOOP_BEGIN_DECLS

struct loop_datagram;

enum loop_datagram_flags {
    LOOP_DATAGRAM_REUSEADDR = 1u << 0, /* SO_REUSEADDR: a multicast port may be bound more than once */
    LOOP_DATAGRAM_REUSEPORT = 1u << 1, /* SO_REUSEPORT: several sockets share the datagrams of a port */
    LOOP_DATAGRAM_V6ONLY = 1u << 2,    /* IPV6_V6ONLY; else an IPv6 wildcard takes IPv4 too */
    LOOP_DATAGRAM_BROADCAST = 1u << 3, /* SO_BROADCAST */
    /* What received messages shall tell besides. */
    LOOP_DATAGRAM_PKTINFO = 1u << 4,       /* local and interface_index */
    LOOP_DATAGRAM_TRAFFIC_CLASS = 1u << 5, /* traffic_class, with ECN in it */
    LOOP_DATAGRAM_TTL = 1u << 6,           /* ttl */
    /* UDP_GRO: several datagrams of one sender and size may come as one message; see segment_size. */
    LOOP_DATAGRAM_GRO = 1u << 7,
    /* IP_RECVERR: all ICMP errors are told, with what they are about; without, only those of connected sockets are. */
    LOOP_DATAGRAM_ERRORS = 1u << 8,
    LOOP_DATAGRAM_UNREF = 1u << 9, /* while open, only its sends in flight keep the loop alive */
};

typedef void loop_datagram_close_cb(struct loop_datagram *datagram);

struct loop_datagram_options {
    uint32_t flags  LOOP_ZERO; /* enum loop_datagram_flags; unknown bits give -EINVAL, as do IP's on unix sockets */
    uint16_t family LOOP_ZERO; /* of a socket opened without local: AF_INET (also 0), AF_INET6, AF_UNIX */
    /* The buffer group (buffer.h) it receives into; 0: one whose buffers hold messages of receive_size, and with that 0
     * the default group. Of each buffer 48 bytes (unix: 128) go to sender and header, and 40 to PKTINFO, 24 each to
     * TRAFFIC_CLASS, TTL, GRO. What does not fit is cut off: LOOP_DATAGRAM_TRUNCATED. */
    uint16_t group  LOOP_ZERO;
    uint32_t receive_size            LOOP_ZERO;
    uint32_t receive_buffer_bytes    LOOP_ZERO; /* SO_RCVBUF; 0: the system's */
    uint32_t send_buffer_bytes       LOOP_ZERO; /* SO_SNDBUF; 0: the system's */
    uint32_t send_count_max          LOOP_ZERO; /* sends that have not ended; 0: 65536; more: -ENOBUFS */
    uint32_t send_bytes_max          LOOP_ZERO; /* bytes of them; 0: 64 MiB; more: -ENOBUFS */
    loop_datagram_close_cb *on_close LOOP_NONE; /* for loop_destroy(), and closes without a callback of their own */
};

/* ---- receiving */

enum loop_datagram_message_flags {
    LOOP_DATAGRAM_TRUNCATED = 1u << 0, /* it was longer than its buffer */
    LOOP_DATAGRAM_ENDED = 1u << 1,     /* with error: one that would only come again; receiving has stopped */
};

/* Where an error of LOOP_DATAGRAM_ERRORS comes from: see sock_extended_err in ip(7). */
struct loop_datagram_trouble {
    uint8_t             origin;   /* SO_EE_ORIGIN_* of <linux/errqueue.h>: 1 this machine, 2 ICMP, 3 ICMPv6 */
    uint8_t             type;     /* of the ICMP message */
    uint8_t             code;     /* likewise */
    uint32_t            info;     /* with -EMSGSIZE: the path's MTU */
    struct loop_address offender; /* who sent it; size 0: not known */
};

/* What the receive callback is told: a datagram, or an error. Valid inside the callback only. Of addresses only the
 * first size bytes are written. */
struct loop_datagram_message {
    void       *data;   /* the payload, lent */
    size_t      size;   /* its bytes; 0 is an empty datagram */
    int         error;  /* 0: a datagram; else negative errno, and reading goes on unless LOOP_DATAGRAM_ENDED */
    uint32_t    flags;  /* enum loop_datagram_message_flags */
    loop_buffer buffer; /* of a datagram: what holds data; to be kept or sent on as buffer.h says; of an error: 0 */
    struct loop_address
        source; /* the sender; size 0: it has no name (unix); of an error: whom it was sent to, if known */
    struct loop_address local;           /* PKTINFO: the address it was sent to, port 0; else size 0 */
    uint32_t            interface_index; /* PKTINFO: where it came in; else 0 */
    int16_t             traffic_class;   /* TRAFFIC_CLASS: the byte of DSCP and ECN, which is & 3; else -1 */
    int16_t             ttl;             /* TTL: time to live, or hop limit; else -1 */
    uint16_t            segment_size;    /* GRO: more than one datagram, each of that size but for the last; else 0 */
    const struct loop_datagram_trouble *trouble; /* ERRORS: details; data is then the start of what was sent; or NULL */
};

typedef void loop_datagram_receive_cb(struct loop_datagram *datagram, const struct loop_datagram_message *message);

/* ---- sending */

/* result: the bytes sent, or negative errno (-ECANCELED: closed before; -ETIMEDOUT; -EMSGSIZE; a connected socket also
 * gets what ICMP said of an earlier one: -ECONNREFUSED). */
typedef void loop_datagram_send_cb(struct loop_datagram *datagram, int result, void *arg);

enum loop_datagram_send_flags {
    LOOP_DATAGRAM_COPY = 1u << 0, /* copies the bytes, however many; else only few, see loop_datagram_send() */
};

struct loop_datagram_terms {
    uint32_t flags      LOOP_ZERO; /* enum loop_datagram_send_flags; unknown bits give -EINVAL */
    loop_buffer release LOOP_ZERO; /* takes this lent or kept buffer of the bytes: it goes back after it */
    uint64_t timeout_ns LOOP_ZERO; /* 0: none. Then it is given up, with -ETIMEDOUT */
    const struct loop_address *source LOOP_NONE; /* copied: the local address to send from (its port does not count) */
    uint32_t interface_index          LOOP_ZERO; /* 0: as the routes say */
    uint16_t segment_size             LOOP_ZERO; /* UDP_SEGMENT: the bytes leave as datagrams of that size; 0: as one */
    uint8_t traffic_class             LOOP_ZERO; /* DSCP and ECN; 0: the socket's */
    uint8_t ttl                       LOOP_ZERO; /* 0: the socket's */
};

struct loop_datagram_entry;

struct loop_datagram {
    void *data; /* yours; the library never reads it */
    struct loop_datagram_private {
        struct loop_object          object;
        struct loop_task            task; /* what is to be done before the loop waits */
        loop_datagram_receive_cb   *on_receive;
        loop_datagram_close_cb     *on_close;
        struct loop_datagram_entry *send_first, *send_next, *send_last;
        loop_id                     send_op, receive_id; /* in flight; 0: none */
        uint64_t                    send_bytes, refused;
        uint32_t                    send_count, send_count_max, send_bytes_max;
        loop_buffer                 stash_first, stash_last; /* received after a stop */
        int                         receive_error;           /* not told yet; 0: none */
        int                         fd;
        uint32_t                    state; /* with flags */
        uint16_t                    group, family, name_room, control_room, send_merge_max;
    } priv;
};

/* ---- life */

/* Makes a socket, close-on-exec, and binds it to local (copied). local NULL: a socket of options->family, which the
 * kernel binds at the first send or connect. Borrows datagram until its close callback. Returns 0, -EINVAL, -EBUSY
 * (already open), -ECANCELED (the loop is being destroyed), or what socket(2), setsockopt(2), bind(2) or making the
 * buffer group gave. */
LOOP_API LOOP_MUST_USE int loop_datagram_open(struct loop *loop, struct loop_datagram *datagram,
                                              const struct loop_address          *local,
                                              const struct loop_datagram_options *options);

/* The same with a descriptor, which it takes: a datagram socket (else -EINVAL, -ENOTSOCK), bound and connected or not.
 * Flags that are set in options are set on it too, others left as they are; if it has IP_RECVERR or UDP_GRO, that is as
 * with LOOP_DATAGRAM_ERRORS, LOOP_DATAGRAM_GRO. */
LOOP_API LOOP_MUST_USE int loop_datagram_adopt(struct loop *loop, struct loop_datagram *datagram, int fd,
                                               const struct loop_datagram_options *options);

/* connect(2): where sends without an address go, and whose datagrams are received. NULL: no peer any more, and no port
 * either if the kernel had chosen it. May be repeated. Sends started before go to the peer of then, unless they wait
 * for room. Returns 0, -EINVAL, or what connect(2) gave. */
LOOP_API int loop_datagram_connect(struct loop_datagram *datagram, const struct loop_address *address);

/* Ends receiving, cancels sends, those of this turn among them, and tells each, waits for the kernel to let go, closes
 * the descriptor, then calls on_close (NULL: the one of the options). Closing a closing one does nothing: the first
 * close callback counts. */
LOOP_API void loop_datagram_close(struct loop_datagram *datagram, loop_datagram_close_cb *on_close);

/* ---- receiving and sending */

/* Starts, or after a stop resumes, receiving; on_receive (not NULL) replaces an earlier one. Errors of datagrams sent
 * before are told too and do not end it. While the buffer group is empty datagrams wait in the socket. Returns 0, also
 * when receiving already, -EINVAL, -ENOBUFS at the limit of operations, -ENOMEM. */
LOOP_API int loop_datagram_receive_start(struct loop_datagram *datagram, loop_datagram_receive_cb *on_receive);

/* No receive callback comes after it until receiving is started again. What the kernel has taken from the socket by
 * then is kept and told first. Idempotent. */
LOOP_API int loop_datagram_receive_stop(struct loop_datagram *datagram);

/* Sends one datagram, to address (copied) or, if that is NULL, to the peer. Those of one turn leave together, once
 * before the loop waits; neighbours of one size for one address as one message that the kernel cuts up again
 * (UDP_SEGMENT). If the socket has no room they wait for it (where an unconnected unix socket sends to a peer that has
 * none, it looks again at least every 10 ms); none overtakes another. Up to 384 bytes, 64 with a unix address or terms,
 * are copied, and terms->release is returned at once: do not read it after the call. More are borrowed until cb, unless
 * LOOP_DATAGRAM_COPY. cb (may be NULL: nobody is told) comes once, in the order of the sends but for those timed out;
 * terms may be NULL. Returns 0, or a negative errno and never calls back: -EINVAL (closing, not open, bad terms),
 * -ENOBUFS (send_count_max, send_bytes_max; counted), -ENOMEM. On failure terms->release is still yours. */
LOOP_API LOOP_MUST_USE int loop_datagram_send(struct loop_datagram *datagram, const void *data, size_t size,
                                              const struct loop_address *address, loop_datagram_send_cb *cb, void *arg,
                                              const struct loop_datagram_terms *terms);

/* The same from several pieces; copies the array (at most 64 entries). */
LOOP_API LOOP_MUST_USE int loop_datagram_sendv(struct loop_datagram *datagram, const struct iovec *iov,
                                               size_t iov_count, const struct loop_address *address,
                                               loop_datagram_send_cb *cb, void *arg,
                                               const struct loop_datagram_terms *terms);

/* Sends it now or never: sendmsg(2). Returns the bytes sent, -EAGAIN (no room, or sends are under way that it would
 * overtake), -EINVAL, or what the system call gave. */
LOOP_API int loop_datagram_try_send(struct loop_datagram *datagram, const void *data, size_t size,
                                    const struct loop_address *address);

struct loop_datagram_piece {
    const void                        *data;
    size_t                             size;
    const struct loop_address *address LOOP_NONE; /* NULL: the peer */
};

/* The same for many: sendmmsg(2). Returns how many were sent, in order from the first; or, if none was, the errno. */
LOOP_API int loop_datagram_try_send_many(struct loop_datagram *datagram, const struct loop_datagram_piece *pieces,
                                         size_t count);

/* Sends that have not ended, their bytes; and how many were refused because of the limits. */
LOOP_API size_t   loop_datagram_queued(const struct loop_datagram *datagram);
LOOP_API size_t   loop_datagram_queued_bytes(const struct loop_datagram *datagram);
LOOP_API uint64_t loop_datagram_refused(const struct loop_datagram *datagram);

/* ---- options of the open socket */

enum loop_datagram_option {
    LOOP_DATAGRAM_OPTION_BROADCAST,           /* 0 or 1 */
    LOOP_DATAGRAM_OPTION_TTL,                 /* 1 to 255; of IPv6 the hop limit */
    LOOP_DATAGRAM_OPTION_TRAFFIC_CLASS,       /* DSCP and ECN */
    LOOP_DATAGRAM_OPTION_MULTICAST_TTL,       /* 0 to 255 */
    LOOP_DATAGRAM_OPTION_MULTICAST_LOOP,      /* 0 or 1: whether this machine gets what it sends */
    LOOP_DATAGRAM_OPTION_MULTICAST_INTERFACE, /* index; 0: as the routes say. IPv4: to be set only */
    LOOP_DATAGRAM_OPTION_MULTICAST_ALL,  /* 0 or 1 (default): groups that others on this machine have joined, too */
    LOOP_DATAGRAM_OPTION_MTU_DISCOVER,   /* IP_PMTUDISC_* of ip(7), e.g. 3 (IP_PMTUDISC_PROBE) for QUIC */
    LOOP_DATAGRAM_OPTION_MTU,            /* of the path to the peer; to be read only, connected (-ENOTCONN) */
    LOOP_DATAGRAM_OPTION_RECEIVE_BUFFER, /* bytes; the kernel doubles it, and answers that */
    LOOP_DATAGRAM_OPTION_SEND_BUFFER,    /* likewise */
};

/* Return 0, -EINVAL (not open, no such option for this family, a bad value), -EOPNOTSUPP, or what
 * setsockopt(2), getsockopt(2) gave. */
LOOP_API int loop_datagram_option_set(struct loop_datagram *datagram, enum loop_datagram_option option, int value);
LOOP_API int loop_datagram_option_get(const struct loop_datagram *datagram, enum loop_datagram_option option,
                                      int *ret_value);

/* Joins a multicast group on an interface (index; 0: as the routes say), from any sender or (source not NULL) from that
 * one; copies. A group is joined anew for each source, and left the way it was joined. Return 0, -EINVAL, or what
 * setsockopt(2) gave: -EADDRINUSE (joined before), -EADDRNOTAVAIL (not joined), -ENODEV, -ENOBUFS (the system's
 * limit). */
LOOP_API int loop_datagram_join(struct loop_datagram *datagram, const struct loop_address *group,
                                const struct loop_address *source, uint32_t interface_index);
LOOP_API int loop_datagram_leave(struct loop_datagram *datagram, const struct loop_address *group,
                                 const struct loop_address *source, uint32_t interface_index);

/* Whether the socket keeps the loop alive while it is open (default: it does, but with LOOP_DATAGRAM_UNREF); its sends
 * in flight always do, and so does a closing one. No effect if not open. */
LOOP_API void loop_datagram_ref(struct loop_datagram *datagram);
LOOP_API void loop_datagram_unref(struct loop_datagram *datagram);
LOOP_API bool loop_datagram_has_ref(const struct loop_datagram *datagram);

LOOP_API bool         loop_datagram_closing(const struct loop_datagram *datagram);
LOOP_API int          loop_datagram_fd(const struct loop_datagram *datagram);   /* -EBADF if not open */
LOOP_API struct loop *loop_datagram_loop(const struct loop_datagram *datagram); /* NULL if not in use */
LOOP_API int loop_datagram_local_address(const struct loop_datagram *datagram, struct loop_address *ret_address);
LOOP_API int loop_datagram_peer_address(const struct loop_datagram *datagram, struct loop_address *ret_address);

LOOP_END_DECLS

#endif
