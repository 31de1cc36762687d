/* net/resolve_system.c: names by the system's library, on threads of the work pool. */
#include "net/resolve_private.h"

#include <errno.h>
#include <string.h>

/* On a thread of the pool. Of the query it uses only what nobody changes meanwhile, and what is its own to fill in. */
static int32_t look_up(void *arg)
{
    struct resolve_query *query = arg;
    bool                  datagram = (query->flags & LOOP_RESOLVE_DATAGRAM) != 0;
    int                   flags = 0;
    struct addrinfo       hints = {
              .ai_family = query->family,
              .ai_socktype = datagram ? SOCK_DGRAM : SOCK_STREAM, /* one of a kind, or each address would come thrice */
    };

    if (query->reverse) {
        flags |= datagram ? NI_DGRAM : 0;
        flags |= (query->flags & LOOP_RESOLVE_NAME_REQUIRED) != 0 && query->with_host ? NI_NAMEREQD : 0;
        return sys_name((const struct sockaddr *)&query->address.storage, query->address.size, query->host,
                        query->with_host ? RESOLVE_HOST_BYTES : 0, query->service,
                        query->service_known ? 0 : RESOLVE_SERVICE_BYTES, flags);
    }
    if (query->with_host && (query->flags & LOOP_RESOLVE_CANONICAL) != 0)
        hints.ai_flags = AI_CANONNAME;
    return sys_addresses(query->with_host ? query->host : NULL, query->service_known ? NULL : query->service, &hints,
                         &query->list);
}

static int take_list(struct resolve_query *query, const struct addrinfo *list)
{
    const char *canonical = (query->flags & LOOP_RESOLVE_CANONICAL) != 0 ? list->ai_canonname : NULL;
    size_t      count = 0;
    int         r;

    for (const struct addrinfo *entry = list; entry != NULL; entry = entry->ai_next)
        count++;
    r = resolve_addresses_begin(query, count, canonical);
    if (r < 0)
        return r;
    for (const struct addrinfo *entry = list; entry != NULL; entry = entry->ai_next)
        resolve_addresses_add(query, entry->ai_addr, entry->ai_addrlen);
    return query->count == 0 ? -ENODATA : 0;
}

/* The service is known now; the host may be to be looked up elsewhere. */
static int service_found(struct resolve_query *query, const struct addrinfo *list)
{
    struct loop_address address = {.size = 0};

    if (!query->reverse && list->ai_addrlen <= sizeof(address.storage)) {
        address.size = list->ai_addrlen;
        memcpy(&address.storage, list->ai_addr, list->ai_addrlen);
        (void)loop_address_port_set(&query->address, loop_address_port(&address));
    }
    query->service_known = true;
    return resolve_host_start(query);
}

static void looked_up(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct resolve_query *query = arg;
    struct addrinfo      *list = query->list;
    int                   r = result->res;
    bool                  goes_on = false;

    (void)loop;
    query->work = 0;
    query->list = NULL;
    if (r == 0 && query->request != NULL && query->with_host) {
        r = query->reverse ? 0 : take_list(query, list);
    } else if (r == 0 && query->request != NULL) {
        r = service_found(query, list);
        goes_on = r == 0;
    } else if (r == -ENOENT && !query->with_host) {
        r = -ESRCH;
    }
    if (list != NULL)
        sys_addresses_free(list);
    if (!goes_on)
        resolve_query_end(query, r);
}

int resolve_system_start(struct resolve_query *query, bool with_host)
{
    struct loop *loop = query->resolver->loop;
    loop_id      id;

    query->with_host = with_host;
    id = loop_work(loop, LOOP_WORK_SLOW, look_up, looked_up, query,
                   LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    query->work = op_of_object(loop, id);
    query->busy = true;
    return 0;
}
