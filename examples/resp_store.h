/* resp_store.h: the keys of a RESP server, their values, and when they expire. */
#ifndef RESP_STORE_H
#define RESP_STORE_H

#include "resp_protocol.h"

struct resp_store;
struct resp_entry; /* a key and its value */

/* What the event loop gives. Without timers (both NULL) a key that is due is only removed when somebody asks for it. */
struct resp_clock {
    uint64_t (*now_ms)(void *arg); /* monotonic */
    /* Returns a timer that calls resp_store_expire(store, entry) once after delay_ms, NULL without memory. */
    void *(*timer_start)(void *arg, struct resp_entry *entry, uint64_t delay_ms);
    void (*timer_stop)(void *arg, void *timer); /* it has not fired; ends and frees it */
    void *arg;
};

enum {
    RESP_NO_DEADLINE = -1,
    RESP_NO_KEY = -2,
    RESP_STORE_MAX = 1 << 30, /* bytes of keys and values together */
};

/* NULL without memory. */
struct resp_store *resp_store_new(const struct resp_clock *clock);
void               resp_store_free(struct resp_store *store); /* stops all timers */

size_t resp_store_count(const struct resp_store *store);

/* NULL if there is no such key. Entries are valid until the next change. */
struct resp_entry *resp_store_find(struct resp_store *store, struct resp_slice key);
struct resp_slice  resp_entry_value(const struct resp_entry *entry);

/* Makes or changes a key; copies both. The deadline that it had stays. NULL: no memory, or RESP_STORE_MAX. */
struct resp_entry *resp_store_set(struct resp_store *store, struct resp_slice key, struct resp_slice value);

void resp_store_remove(struct resp_store *store, struct resp_entry *entry);
void resp_store_clear(struct resp_store *store);

/* Lets the key expire after delay_ms. False: no memory; it lives on as before. */
bool resp_store_deadline_set(struct resp_store *store, struct resp_entry *entry, uint64_t delay_ms);

/* False if it had none. */
bool resp_store_deadline_clear(struct resp_store *store, struct resp_entry *entry);

/* Milliseconds, RESP_NO_DEADLINE, or RESP_NO_KEY if entry is NULL. */
int64_t resp_store_time_left(const struct resp_store *store, const struct resp_entry *entry);

/* For the timer: it has fired, and must not be stopped any more. */
void resp_store_expire(struct resp_store *store, struct resp_entry *entry);

#endif
