/* ringloop/dial.h: a connected socket for a host of several addresses, whichever answers first ("happy eyeballs", RFC
 * 8305). Loop thread only.
 *
 * Life: zeroed > loop_dial_start or loop_dial_name > callback; then it may be started anew, also in the callback.
 *
 * The addresses are tried in turn, IPv6 and IPv4 alternating. A further attempt begins when attempt_delay_ns have
 * passed without an answer to the last, or at once when one fails. The first that connects wins; the others are
 * cancelled and their sockets closed, at most 16 at a time. Streams do this with loop_stream_connect_name(). */
#ifndef RINGLOOP_DIAL_H
#define RINGLOOP_DIAL_H

#include <ringloop/address.h>
#include <ringloop/resolve.h>
#include <ringloop/timer.h>
#include <ringloop/types.h>

LOOP_BEGIN_DECLS

struct loop_dial;
struct dial_race;

/* fd: a connected stream socket, yours: blocking and close-on-exec, as loop_stream_open() takes it; or a negative
 * errno. address: lent; the one that it is connected to, NULL with an error. Errors: -ETIMEDOUT (timeout_ns),
 * -ECANCELED; of the name, as in resolve.h, if no address was found; else of the attempts the one that tells most: the
 * last that is not about the way there (-ENETUNREACH, -EHOSTUNREACH and the like), if there is any. */
typedef void loop_dial_cb(struct loop_dial *dial, int fd, const struct loop_address *address);

/* { 0 }, or NULL, is valid and the default. */
struct loop_dial_options {
    uint32_t flags            LOOP_ZERO; /* of enum loop_resolve_flags LOOP_RESOLVE_SYSTEM and _NUMERIC; else -EINVAL */
    int family                LOOP_ZERO; /* AF_INET, AF_INET6: only such addresses of a name; 0: both */
    uint64_t timeout_ns       LOOP_ZERO; /* of all together; 0: until the last attempt has failed */
    uint64_t attempt_delay_ns LOOP_ZERO; /* 0: 250 ms; at least 10 ms */
    const char *servers       LOOP_NONE; /* as in loop_resolve_options */
};

struct loop_dial {
    void *data; /* yours; the library never reads it */
    struct loop_dial_private {
        struct loop_object object;
        struct loop_task   task;
        struct loop_timer  deadline;
        struct dial_race  *race; /* NULL: not in progress */
        loop_dial_cb      *cb;
        int                result; /* to be told */
        int                reserved;
    } priv;
};

/* Connects to one of the addresses, which are copied: the first of the family of the first, then the first of another
 * family, and so on. Unix addresses may be among them. Borrows dial until the callback, which comes once. It keeps the
 * loop alive. Returns 0, -EINVAL (no cb, no addresses or more than LOOP_RESOLVE_ADDRESSES_MAX, one that is none,
 * unknown flags), -EBUSY (in use), -ECANCELED (the loop is being destroyed), -ENOMEM, and calls back never. */
LOOP_API LOOP_MUST_USE int loop_dial_start(struct loop *loop, struct loop_dial *dial,
                                           const struct loop_address *addresses, size_t count,
                                           const struct loop_dial_options *options, loop_dial_cb *cb);

/* The same for a name; host and service as loop_resolve_start() takes them. IPv6 and IPv4 are looked up side by side;
 * attempts begin as soon as IPv6 addresses are there, or 50 ms after the others. Returns also what that returns. */
LOOP_API LOOP_MUST_USE int loop_dial_name(struct loop *loop, struct loop_dial *dial, const char *host,
                                          const char *service, const struct loop_dial_options *options,
                                          loop_dial_cb *cb);

/* The callback comes with -ECANCELED, in the next turn. Returns 0, or -ENOENT if it is not in progress. */
LOOP_API int loop_dial_cancel(struct loop_dial *dial);

/* The loop that it was last started on; NULL before the first time. */
LOOP_API struct loop *loop_dial_loop(const struct loop_dial *dial);

LOOP_END_DECLS

#endif
