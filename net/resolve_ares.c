/* net/resolve_ares.c: names by c-ares: its sockets are polled by the ring, its timeouts kept by a timer.
 *
 * One channel for each list of servers. c-ares may call back from inside any call, so a callback only notes the outcome
 * in its query: the program is told by the request's task. It has no way to stop a single query: one that was given up
 * goes on for nobody, until the last of its channel that somebody waits for has gone. Uses no more than c-ares 1.18. */
#include "net/resolve_private.h"

#include <ares.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <ringloop/op_poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>

/* A channel reads /etc/resolv.conf when it is made: one that rests for so long is made anew for the next query. */
static const uint64_t fresh_ns = 60 * LOOP_SECOND;

struct ares_poll {
    struct ares_poll   *next;
    struct ares_server *server;
    int                 fd;
    uint32_t            events, armed; /* what c-ares wants to know, and what the poll in flight waits for */
    loop_id             id;            /* of the poll; 0: none */
    bool                closed;        /* c-ares has closed fd */
};

struct ares_server {
    struct ares_server *next;
    struct resolver    *resolver;
    ares_channel        channel;
    struct ares_poll   *polls;
    struct loop_task    task; /* a poll could not be placed, or failed */
    struct loop_timer   timer;
    uint64_t            made_ns;
    uint32_t            queries, live; /* that have chosen it; those of them that somebody waits for */
    char                names[];       /* of the servers; empty: the system's */
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static char           version_text[32] = "c-ares";

static void library_init(void)
{
    (void)ares_library_init(ARES_LIB_INIT_ALL);
    snprintf(version_text, sizeof(version_text), "c-ares %s", ares_version(NULL));
}

const char *resolve_ares_version(void)
{
    (void)pthread_once(&library_once, library_init);
    return version_text;
}

static int error_of(int status)
{
    switch (status) {
    case ARES_SUCCESS: return 0;
    case ARES_ENOTFOUND:
    case ARES_ENONAME: return -ENOENT;
    case ARES_ENODATA: return -ENODATA;
    case ARES_ESERVFAIL:
    case ARES_ETIMEOUT:
    case ARES_ECONNREFUSED: return -EAGAIN;
    case ARES_EREFUSED:
    case ARES_EFORMERR:
    case ARES_ENOTIMP:
    case ARES_EBADRESP: return -EPROTO;
    case ARES_ESERVICE: return -ESRCH;
    case ARES_EBADNAME:
    case ARES_EBADQUERY:
    case ARES_EBADSTR: return -EINVAL;
    case ARES_EBADFAMILY: return -EAFNOSUPPORT;
    case ARES_ENOMEM: return -ENOMEM;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION: return -ECANCELED;
    }
    return -EIO;
}

/* ---- sockets and time: c-ares says what it waits for, inside any call of ours; settle() follows each */

static void settle(struct ares_server *server);

static void poll_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct ares_poll   *poll = arg;
    struct ares_server *server = poll->server;
    int                 fd = poll->fd;

    poll->id = 0;
    if (!poll->closed && result->res > 0)
        ares_process_fd(server->channel, (result->res & ~POLLOUT) != 0 ? fd : ARES_SOCKET_BAD,
                        (result->res & ~POLLIN) != 0 ? fd : ARES_SOCKET_BAD);
    if (result->res < 0 && result->res != -ECANCELED)
        loop_task_retry(loop, &server->task); /* not at once: it may fail again */
    else
        settle(server);
}

static void timer_fired(struct loop_timer *timer)
{
    struct ares_server *server = container_of(timer, struct ares_server, timer);

    ares_process_fd(server->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    settle(server);
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    settle(container_of(task, struct ares_server, task));
}

static void socket_changed(void *data, ares_socket_t fd, int readable, int writable)
{
    struct ares_server *server = data;
    uint32_t            events = (readable ? (uint32_t)POLLIN : 0) | (writable ? (uint32_t)POLLOUT : 0);
    struct ares_poll   *poll = server->polls;

    while (poll != NULL && (poll->closed || poll->fd != fd))
        poll = poll->next;
    if (poll == NULL && events != 0) {
        poll = memory_resize(server->resolver->loop, NULL, sizeof(*poll));
        if (poll == NULL)
            return; /* the query times out */
        *poll = (struct ares_poll){.next = server->polls, .server = server, .fd = fd};
        server->polls = poll;
    }
    if (poll == NULL)
        return;
    poll->events = events;
    poll->closed = events == 0;
}

static void place_poll(struct ares_server *server, struct ares_poll *poll)
{
    struct loop *loop = server->resolver->loop;
    loop_id      id;

    if (loop->destroying)
        return;
    id = loop_poll_add(loop, poll->fd, poll->events, poll_done, poll,
                       LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));
    if (id < 0) {
        loop_task_retry(loop, &server->task);
        return;
    }
    poll->id = op_of_object(loop, id);
    poll->armed = poll->events;
}

static void settle_polls(struct ares_server *server)
{
    struct loop       *loop = server->resolver->loop;
    struct ares_poll **link = &server->polls, *poll;

    while ((poll = *link) != NULL) {
        if (poll->id != 0) {
            if (poll->closed || poll->armed != poll->events) /* placed anew when it has ended */
                (void)loop_cancel(loop, poll->id);
        } else if (poll->closed) {
            *link = poll->next;
            memory_free(loop, poll);
            continue;
        } else {
            place_poll(server, poll);
        }
        link = &poll->next;
    }
}

static void settle(struct ares_server *server)
{
    struct loop          *loop = server->resolver->loop;
    struct timeval        time;
    const struct timeval *next = ares_timeout(server->channel, NULL, &time);

    if (next == NULL)
        loop_timer_stop(&server->timer);
    else
        (void)loop_timer_start(loop, &server->timer,
                               (uint64_t)next->tv_sec * LOOP_SECOND + (uint64_t)next->tv_usec * LOOP_MICROSECOND, 0,
                               timer_fired);
    settle_polls(server);
}

/* ---- channels */

/* 0, or why there is none; then the server is as it was. */
static int channel_open(struct ares_server *server)
{
    struct ares_options options = {.sock_state_cb = socket_changed, .sock_state_cb_data = server};
    ares_channel        channel = NULL;
    int                 status = ares_init_options(&channel, &options, ARES_OPT_SOCK_STATE_CB);

    if (status != ARES_SUCCESS)
        return error_of(status);
    if (server->names[0] != '\0') {
        status = ares_set_servers_ports_csv(channel, server->names);
        if (status != ARES_SUCCESS) {
            ares_destroy(channel);
            return error_of(status);
        }
    }
    server->channel = channel;
    server->made_ns = loop_time(server->resolver->loop);
    return 0;
}

/* Nothing is under way on it. */
static int channel_renew(struct ares_server *server)
{
    ares_channel before = server->channel;
    int          r;

    if (loop_time(server->resolver->loop) - server->made_ns < fresh_ns)
        return 0;
    r = channel_open(server);
    if (r < 0)
        return r;
    ares_destroy(before);
    settle_polls(server);
    return 0;
}

void resolve_ares_forked(struct resolver *resolver)
{
    for (struct ares_server *server = resolver->servers; server != NULL; server = server->next)
        server->made_ns = 0; /* its sockets are the parent's: made anew for the next query */
}

static void server_free(struct ares_server *server)
{
    struct loop      *loop = server->resolver->loop;
    struct ares_poll *poll;

    ares_destroy(server->channel);
    while ((poll = server->polls) != NULL) {
        server->polls = poll->next;
        memory_free(loop, poll);
    }
    loop_timer_stop(&server->timer);
    if (task_list_linked(&server->task))
        task_list_remove(&server->task);
    memory_free(loop, server);
}

/* One more may be made: if need be one that rests makes room. */
static bool make_room(struct resolver *resolver)
{
    struct ares_server **link, **resting = NULL, *server;
    unsigned             count = 0;

    for (link = &resolver->servers; *link != NULL; link = &(*link)->next) {
        count++;
        if ((*link)->queries == 0 && (*link)->polls == NULL)
            resting = link;
    }
    if (count < LOOP_RESOLVE_SERVERS_MAX)
        return true;
    if (resting == NULL)
        return false;
    server = *resting;
    *resting = server->next;
    server_free(server);
    return true;
}

static int server_new(struct resolver *resolver, const char *names)
{
    size_t              size = strlen(names) + 1;
    struct ares_server *server;
    int                 r;

    if (!make_room(resolver)) {
        resolver->loop->stats.resolves_full++;
        return -ENOBUFS;
    }
    server = memory_resize(resolver->loop, NULL, sizeof(*server) + size);
    if (server == NULL)
        return -ENOMEM;
    *server = (struct ares_server){.resolver = resolver, .task.run = run_task};
    memcpy(server->names, names, size);
    timer_of_object(&server->timer);
    r = channel_open(server);
    if (r < 0) {
        memory_free(resolver->loop, server);
        return r;
    }
    server->next = resolver->servers;
    resolver->servers = server;
    return 0;
}

/* ---- queries */

int resolve_ares_choose(struct resolve_query *query, const char *servers)
{
    struct resolver    *resolver = query->resolver;
    const char         *names = servers == NULL ? "" : servers;
    struct ares_server *server = resolver->servers;
    int                 r = 0;

    (void)resolve_ares_version();
    if (servers != NULL && servers[0] == '\0')
        return -EINVAL;
    while (server != NULL && strcmp(server->names, names) != 0)
        server = server->next;
    if (server == NULL) {
        r = server_new(resolver, names);
        server = resolver->servers;
    } else if (server->queries == 0) {
        r = channel_renew(server);
    }
    if (r < 0)
        return r;
    query->server = server;
    server->queries++;
    server->live++;
    return 0;
}

static int take_addresses(struct resolve_query *query, const struct ares_addrinfo *info)
{
    const struct ares_addrinfo_cname *alias;
    const char                       *canonical = NULL;
    size_t                            count = 0;
    int                               r;

    if ((query->flags & LOOP_RESOLVE_CANONICAL) != 0) {
        canonical = query->host;
        for (alias = info->cnames; alias != NULL; alias = alias->next)
            canonical = alias->name != NULL ? alias->name : canonical;
    }
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next)
        count++;
    r = resolve_addresses_begin(query, count, canonical);
    if (r < 0)
        return r;
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next)
        resolve_addresses_add(query, node->ai_addr, node->ai_addrlen);
    return query->count == 0 ? -ENODATA : 0;
}

static void addresses_found(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct resolve_query *query = arg;
    int                   r = error_of(status);

    (void)timeouts;
    if (r == 0 && query->request != NULL)
        r = take_addresses(query, info);
    if (info != NULL)
        ares_freeaddrinfo(info);
    resolve_query_end(query, r);
}

static void name_found(void *arg, int status, int timeouts, char *host, char *service)
{
    struct resolve_query *query = arg;
    int                   r = error_of(status);

    (void)timeouts;
    (void)service;
    if (r == -ENODATA)
        r = -ENOENT;
    if (r == -ENOENT && query->request != NULL && (query->flags & LOOP_RESOLVE_NAME_REQUIRED) == 0) {
        (void)loop_address_format_host(&query->address, query->host, RESOLVE_HOST_BYTES);
        resolve_query_end(query, 0);
        return;
    }
    if (r == 0 && (host == NULL || strlen(host) >= RESOLVE_HOST_BYTES))
        r = -EOVERFLOW;
    if (r == 0)
        memcpy(query->host, host, strlen(host) + 1);
    resolve_query_end(query, r);
}

/* The IPv6 address of localhost, which hosts files often lack: c-ares 1.18 makes it up then, and loses memory. */
static bool is_localhost6(const struct resolve_query *query)
{
    return !query->reverse && query->family == AF_INET6 && strcasecmp(query->host, "localhost") == 0;
}

static void answer_localhost6(struct resolve_query *query)
{
    const struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int                       r;

    r = resolve_addresses_begin(query, 1, (query->flags & LOOP_RESOLVE_CANONICAL) != 0 ? query->host : NULL);
    if (r == 0)
        resolve_addresses_add(query, (const struct sockaddr *)&address, sizeof(address));
    resolve_query_end(query, r);
}

void resolve_ares_start(struct resolve_query *query)
{
    struct ares_server        *server = query->server;
    struct ares_addrinfo_hints hints = {.ai_family = query->family, .ai_socktype = SOCK_STREAM};
    if (is_localhost6(query)) {
        answer_localhost6(query);
        return;
    }
    query->busy = true;
    if (query->reverse) {
        /* The address as text is better made here: c-ares 1.18 adds a scope of 0 to it. */
        ares_getnameinfo(server->channel, (const struct sockaddr *)&query->address.storage, query->address.size,
                         ARES_NI_LOOKUPHOST | ARES_NI_NAMEREQD, name_found, query);
    } else {
        hints.ai_flags = (query->flags & LOOP_RESOLVE_CANONICAL) != 0 ? ARES_AI_CANONNAME : 0;
        ares_getaddrinfo(server->channel, query->host, NULL, &hints, addresses_found, query);
    }
    settle(server);
}

void resolve_ares_leave(struct resolve_query *query)
{
    struct ares_server *server = query->server;

    if (--server->live > 0)
        return;
    ares_cancel(server->channel);
    settle(server);
}

void resolve_ares_forget(struct resolve_query *query)
{
    query->server->queries--;
}

void resolve_ares_free(struct resolver *resolver)
{
    struct ares_server *server;

    while ((server = resolver->servers) != NULL) {
        resolver->servers = server->next;
        server_free(server);
    }
}
