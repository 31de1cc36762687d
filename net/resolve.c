/* net/resolve.c: requests for names and addresses: their life, what needs no looking up, and what came of it. */
#include "net/resolve_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum request_state {
    REQUEST_IDLE,
    REQUEST_WAITING, /* for a backend */
    REQUEST_ENDED,   /* to be told */
};

static const uint32_t flags_start =
    LOOP_RESOLVE_SYSTEM | LOOP_RESOLVE_NUMERIC | LOOP_RESOLVE_PASSIVE | LOOP_RESOLVE_CANONICAL | LOOP_RESOLVE_DATAGRAM;
static const uint32_t flags_name = LOOP_RESOLVE_SYSTEM | LOOP_RESOLVE_NUMERIC | LOOP_RESOLVE_DATAGRAM |
                                   LOOP_RESOLVE_SERVICE_NAME | LOOP_RESOLVE_NAME_REQUIRED;

const char *loop_resolve_backend(void)
{
#ifdef RINGLOOP_CARES
    return resolve_ares_version();
#else
    return "system";
#endif
}

/* ---- what a loop has for it */

static void resolver_free(struct loop *loop, struct loop_attachment *attachment)
{
    struct resolver *resolver = container_of(attachment, struct resolver, attachment);

#ifdef RINGLOOP_CARES
    resolve_ares_free(resolver);
#endif
    memory_free(loop, resolver);
    loop->resolver = NULL;
}

#ifdef RINGLOOP_CARES
static void resolver_rehome(struct loop *loop, struct loop_attachment *attachment, bool forked)
{
    (void)loop;
    if (forked)
        resolve_ares_forked(container_of(attachment, struct resolver, attachment));
}
#endif

static struct resolver *resolver_of(struct loop *loop)
{
    struct resolver *resolver;

    if (loop->resolver != NULL)
        return container_of(loop->resolver, struct resolver, attachment);
    resolver = memory_resize(loop, NULL, sizeof(*resolver));
    if (resolver == NULL)
        return NULL;
    *resolver = (struct resolver){.attachment.free = resolver_free, .loop = loop};
#ifdef RINGLOOP_CARES
    resolver->attachment.rehome = resolver_rehome;
#endif
    loop->resolver = &resolver->attachment;
    return resolver;
}

/* ---- queries */

static struct resolve_query *query_new(struct resolver *resolver, size_t text_bytes)
{
    struct resolve_query *query = memory_resize(resolver->loop, NULL, sizeof(*query) + text_bytes);

    if (query == NULL)
        return NULL;
    memset(query, 0, sizeof(*query));
    query->resolver = resolver;
    query->counted = true;
    resolver->queries++;
    return query;
}

static void count_out(struct resolve_query *query)
{
    query->resolver->queries -= query->counted;
    query->counted = false;
}

static void query_free(struct resolve_query *query)
{
    struct resolver *resolver = query->resolver;

#ifdef RINGLOOP_CARES
    if (query->server != NULL && query->request != NULL)
        resolve_ares_leave(query);
    if (query->server != NULL)
        resolve_ares_forget(query);
#endif
    count_out(query);
    memory_free(resolver->loop, query->addresses);
    memory_free(resolver->loop, query);
}

int resolve_addresses_begin(struct resolve_query *query, size_t count_max, const char *canonical)
{
    size_t most = count_max < LOOP_RESOLVE_ADDRESSES_MAX ? count_max : LOOP_RESOLVE_ADDRESSES_MAX;
    size_t addresses_bytes = most * sizeof(query->addresses[0]);
    size_t canonical_bytes = canonical == NULL ? 0 : strlen(canonical) + 1;
    char  *memory;

    if (addresses_bytes + canonical_bytes == 0)
        return 0; /* nothing will be added */
    memory = memory_resize(query->resolver->loop, NULL, addresses_bytes + canonical_bytes);
    if (memory == NULL)
        return -ENOMEM;
    query->addresses = (struct loop_address *)(void *)memory;
    if (canonical != NULL)
        query->canonical = memcpy(memory + addresses_bytes, canonical, canonical_bytes);
    return 0;
}

void resolve_addresses_add(struct resolve_query *query, const struct sockaddr *sockaddr, size_t size)
{
    struct loop_address address = {.size = (socklen_t)size};

    if (query->count == LOOP_RESOLVE_ADDRESSES_MAX || size > sizeof(address.storage) ||
        (sockaddr->sa_family != AF_INET && sockaddr->sa_family != AF_INET6))
        return;
    memcpy(&address.storage, sockaddr, size);
    if (query->service_known)
        (void)loop_address_port_set(&address, loop_address_port(&query->address));
    for (size_t i = 0; i < query->count; i++) {
        if (loop_address_compare(&query->addresses[i], &address) == 0)
            return;
    }
    query->addresses[query->count++] = address;
}

static void request_ended(struct loop_resolve *request, int error)
{
    request->priv.error = error;
    request->priv.state = REQUEST_ENDED;
    loop_timer_stop(&request->priv.deadline);
    loop_task_add(request->priv.object.loop, &request->priv.task);
}

void resolve_query_end(struct resolve_query *query, int error)
{
    query->busy = false;
    if (query->request == NULL)
        query_free(query);
    else
        request_ended(query->request, error);
}

/* ---- what needs no looking up */

static int add_text(struct resolve_query *query, const char *text)
{
    struct loop_address address;

    if (loop_address_parse(&address, text, 0) < 0)
        return -EINVAL;
    resolve_addresses_add(query, (const struct sockaddr *)&address.storage, address.size);
    return 0;
}

/* Without a host: this machine, or all its addresses. */
static void add_own(struct resolve_query *query)
{
    bool passive = (query->flags & LOOP_RESOLVE_PASSIVE) != 0;

    if (query->family != AF_INET)
        (void)add_text(query, passive ? "::" : "::1");
    if (query->family != AF_INET6)
        (void)add_text(query, passive ? "0.0.0.0" : "127.0.0.1");
}

static bool host_is_known(const struct resolve_query *query)
{
    struct loop_address address;

    return query->host == NULL || (query->flags & LOOP_RESOLVE_NUMERIC) != 0 ||
           (!query->reverse && loop_address_parse(&address, query->host, 0) == 0);
}

static int tell_known(struct resolve_query *query)
{
    bool canonical = (query->flags & LOOP_RESOLVE_CANONICAL) != 0;
    int  r;

    if (query->reverse) {
        r = loop_address_format_host(&query->address, query->host, RESOLVE_HOST_BYTES);
    } else {
        r = resolve_addresses_begin(query, 2, canonical ? query->host : NULL);
        if (r == 0 && query->host == NULL)
            add_own(query);
        else if (r == 0)
            r = add_text(query, query->host);
    }
    if (r >= 0)
        resolve_query_end(query, 0);
    return r < 0 ? r : 0;
}

int resolve_host_start(struct resolve_query *query)
{
    if (host_is_known(query))
        return tell_known(query);
#ifdef RINGLOOP_CARES
    if (query->server != NULL) {
        resolve_ares_start(query);
        return 0;
    }
#endif
    return resolve_system_start(query, true);
}

/* A thread that looks up a host does so with its service at once. */
static int query_start(struct resolve_query *query)
{
    if (!query->service_known && (query->server != NULL || host_is_known(query)))
        return resolve_system_start(query, false);
    return resolve_host_start(query);
}

/* ---- requests */

static void tell(struct loop *loop, struct loop_task *task)
{
    struct loop_resolve  *request = container_of(task, struct loop_resolve, priv.task);
    struct resolve_query *query = request->priv.query;
    struct resolver      *resolver = resolver_of(loop);
    loop_resolve_cb      *on_addresses = request->priv.on_addresses;
    loop_resolve_name_cb *on_name = request->priv.on_name;
    int                   error = request->priv.error;

    object_gone(&request->priv.object, true);
    request->priv.state = REQUEST_IDLE;
    request->priv.query = NULL;
    if (query != NULL)
        count_out(query); /* so that the callback may start the next at the limit */
    resolver->telling = query;
    if (on_name != NULL)
        on_name(request, error, error < 0 ? NULL : query->host, error < 0 ? NULL : query->service);
    else
        on_addresses(request, error, error < 0 ? NULL : query->addresses, error < 0 ? 0 : query->count);
    resolver->telling = NULL;
    if (query != NULL)
        query_free(query);
}

/* The backend goes on for nobody, if it cannot be stopped. */
static void abandon(struct resolve_query *query)
{
    bool busy = query->busy;

    query->request = NULL;
    if (query->work != 0)
        (void)loop_cancel(query->resolver->loop, query->work);
#ifdef RINGLOOP_CARES
    if (query->server != NULL) {
        resolve_ares_leave(query); /* the last thing done with a query that is busy: it may be freed there */
        if (busy)
            return;
    }
#endif
    if (!busy)
        query_free(query);
}

static void give_up(struct loop_resolve *request, int error)
{
    struct resolve_query *query = request->priv.query;

    request->priv.query = NULL;
    request_ended(request, error);
    if (query != NULL)
        abandon(query);
}

int loop_resolve_cancel(struct loop_resolve *request)
{
    if (request->priv.state == REQUEST_IDLE)
        return -ENOENT;
    loop_check_owner(request->priv.object.loop, __func__);
    give_up(request, -ECANCELED);
    return 0;
}

static void deadline_passed(struct loop_timer *timer)
{
    give_up(container_of(timer, struct loop_resolve, priv.deadline), -ETIMEDOUT);
}

static void close_object(struct loop_object *object)
{
    (void)loop_resolve_cancel(container_of(object, struct loop_resolve, priv.object));
}

/* What was asked is the parent's: its sockets, its threads. */
static void rehome_object(struct loop_object *object, bool forked)
{
    struct loop_resolve *request = container_of(object, struct loop_resolve, priv.object);

    if (forked && request->priv.state == REQUEST_WAITING)
        give_up(request, -EOWNERDEAD);
}

static const struct loop_object_class resolve_class = {
    .name = "resolve", .close = close_object, .rehome = rehome_object};

/* The query is the request's, or freed if it could not begin. */
static int request_start(struct loop *loop, struct loop_resolve *request, struct resolve_query *query,
                         const struct loop_resolve_options *options, loop_resolve_cb *on_addresses,
                         loop_resolve_name_cb *on_name)
{
    int r = 0;

#ifdef RINGLOOP_CARES
    if ((query->flags & LOOP_RESOLVE_SYSTEM) == 0 && !host_is_known(query))
        r = resolve_ares_choose(query, options->servers);
#endif
    if (r < 0) {
        query_free(query);
        return r;
    }
    query->request = request;
    request->priv = (struct loop_resolve_private){
        .task.run = tell,
        .query = query,
        .on_addresses = on_addresses,
        .on_name = on_name,
        .state = REQUEST_WAITING,
    };
    object_open(loop, &request->priv.object, &resolve_class, true);
    timer_of_object(&request->priv.deadline);
    if (options->timeout_ns != 0)
        (void)loop_timer_start(loop, &request->priv.deadline, options->timeout_ns, 0, deadline_passed);
    r = query_start(query);
    if (r == 0)
        return 0;
    loop_timer_stop(&request->priv.deadline);
    object_gone(&request->priv.object, true);
    request->priv = (struct loop_resolve_private){0};
    query_free(query);
    return r;
}

/* ---- starting */

static const struct loop_resolve_options defaults;

static bool backend_is_ares(const struct loop_resolve_options *options)
{
#ifdef RINGLOOP_CARES
    return (options->flags & LOOP_RESOLVE_SYSTEM) == 0;
#else
    (void)options;
    return false;
#endif
}

/* 0, with the resolver, or why no request may start. */
static int check_start(struct loop *loop, const struct loop_resolve *request,
                       const struct loop_resolve_options *options, struct resolver **ret_resolver)
{
    struct resolver *resolver;

    if (options->servers != NULL && !backend_is_ares(options))
        return -EOPNOTSUPP;
    if (request->priv.state != REQUEST_IDLE)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    resolver = resolver_of(loop);
    if (resolver == NULL)
        return -ENOMEM;
    if (resolver->queries >= LOOP_RESOLVES_MAX) {
        loop->stats.resolves_full++;
        return -ENOBUFS;
    }
    *ret_resolver = resolver;
    return 0;
}

int loop_resolve_start(struct loop *loop, struct loop_resolve *request, const char *host, const char *service,
                       const struct loop_resolve_options *options, loop_resolve_cb *cb)
{
    struct resolver      *resolver = NULL;
    struct resolve_query *query;
    size_t                host_bytes, service_bytes;
    uint16_t              port;
    int                   r, known;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    known = resolve_check_service(service, &port);
    if (request == NULL || cb == NULL || known < 0 || (options->flags & ~flags_start) != 0)
        return -EINVAL;
    if (options->family != 0 && options->family != AF_INET && options->family != AF_INET6)
        return -EAFNOSUPPORT;
    r = resolve_check_host(host, options);
    if (r == 0)
        r = check_start(loop, request, options, &resolver);
    if (r < 0)
        return r;
    host_bytes = host == NULL ? 0 : strlen(host) + 1;
    service_bytes = known ? 0 : strlen(service) + 1;
    query = query_new(resolver, host_bytes + service_bytes);
    if (query == NULL)
        return -ENOMEM;
    if (host != NULL)
        query->host = memcpy(query->text, host, host_bytes);
    if (!known)
        query->service = memcpy(query->text + host_bytes, service, service_bytes);
    query->flags = options->flags;
    query->family = options->family;
    query->service_known = known;
    query->address = (struct loop_address){.storage.ss_family = AF_INET, .size = sizeof(struct sockaddr_in)};
    (void)loop_address_port_set(&query->address, port);
    return request_start(loop, request, query, options, cb, NULL);
}

int loop_resolve_name(struct loop *loop, struct loop_resolve *request, const struct loop_address *address,
                      const struct loop_resolve_options *options, loop_resolve_name_cb *cb)
{
    struct resolver      *resolver = NULL;
    struct resolve_query *query;
    char                  text[LOOP_ADDRESS_TEXT_MAX];
    int                   r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (request == NULL || address == NULL || cb == NULL || (options->flags & ~flags_name) != 0 || options->family != 0)
        return -EINVAL;
    if (loop_address_format_host(address, text, sizeof(text)) < 0 || address->storage.ss_family == AF_UNIX)
        return -EAFNOSUPPORT;
    r = check_start(loop, request, options, &resolver);
    if (r < 0)
        return r;
    query = query_new(resolver, RESOLVE_HOST_BYTES + RESOLVE_SERVICE_BYTES);
    if (query == NULL)
        return -ENOMEM;
    query->reverse = true;
    query->host = query->text;
    query->service = query->text + RESOLVE_HOST_BYTES;
    query->flags = options->flags;
    query->address = *address;
    query->service_known = (options->flags & LOOP_RESOLVE_SERVICE_NAME) == 0;
    snprintf(query->service, RESOLVE_SERVICE_BYTES, "%u", (unsigned)loop_address_port(address));
    return request_start(loop, request, query, options, NULL, cb);
}

struct loop *loop_resolve_loop(const struct loop_resolve *request)
{
    return request->priv.object.loop;
}

const char *loop_resolve_canonical(const struct loop_resolve *request)
{
    struct loop           *loop = request->priv.object.loop;
    const struct resolver *resolver;

    if (loop == NULL || loop->resolver == NULL)
        return NULL;
    resolver = container_of(loop->resolver, struct resolver, attachment);
    return resolver->telling != NULL && resolver->telling->request == request ? resolver->telling->canonical : NULL;
}
