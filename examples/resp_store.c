/* resp_store.c: a hash table of keys; values are pieces of memory of their own, which are reused when they fit. */
#include "resp_store.h"

#include <stdlib.h>
#include <string.h>

/* Without memory an entry is not added, instead of ending the program. */
#define HASH_NONFATAL_OOM          1
#define uthash_nonfatal_oom(entry) ((entry)->added = false)
#include <uthash.h>

/* Shorter chains than the ten entries of uthash: each entry looked at is a miss of the cache. */
#undef HASH_BKT_CAPACITY_THRESH
#define HASH_BKT_CAPACITY_THRESH 5U

struct resp_entry {
    UT_hash_handle hh;
    char          *value;
    size_t         value_size, value_capacity;
    void          *timer;
    uint64_t       deadline_ms; /* 0: none */
    size_t         key_size;
    bool           added;
    char           key[];
};

struct resp_store {
    struct resp_clock  clock;
    struct resp_entry *entries;
    uint64_t           bytes;
};

struct resp_store *resp_store_new(const struct resp_clock *clock)
{
    struct resp_store *store = malloc(sizeof *store);

    if (store != NULL)
        *store = (struct resp_store){.clock = *clock};
    return store;
}

void resp_store_free(struct resp_store *store)
{
    resp_store_clear(store);
    free(store);
}

size_t resp_store_count(const struct resp_store *store)
{
    return HASH_COUNT(store->entries);
}

struct resp_entry *resp_store_find(struct resp_store *store, struct resp_slice key)
{
    struct resp_entry *entry;

    HASH_FIND(hh, store->entries, key.bytes, key.size, entry);
    if (entry != NULL && entry->deadline_ms != 0 && entry->deadline_ms <= store->clock.now_ms(store->clock.arg)) {
        resp_store_remove(store, entry);
        return NULL;
    }
    return entry;
}

struct resp_slice resp_entry_value(const struct resp_entry *entry)
{
    return (struct resp_slice){.bytes = entry->value, .size = entry->value_size};
}

static struct resp_entry *add(struct resp_store *store, struct resp_slice key)
{
    struct resp_entry *entry = malloc(sizeof *entry + key.size);

    if (entry == NULL)
        return NULL;
    *entry = (struct resp_entry){.key_size = key.size, .added = true};
    memcpy(entry->key, key.bytes, key.size);
    HASH_ADD_KEYPTR(hh, store->entries, entry->key, entry->key_size, entry);
    if (!entry->added) {
        free(entry);
        return NULL;
    }
    store->bytes += sizeof *entry + key.size;
    return entry;
}

/* The value may be part of the old one. */
static bool put_value(struct resp_store *store, struct resp_entry *entry, struct resp_slice value)
{
    bool fits =
        entry->value != NULL && value.size <= entry->value_capacity && entry->value_capacity <= 2 * value.size + 64;
    char *memory = fits ? entry->value : malloc(value.size + 1);

    if (memory == NULL)
        return false;
    memmove(memory, value.bytes, value.size);
    if (!fits) {
        free(entry->value);
        store->bytes = store->bytes - entry->value_capacity + value.size;
        entry->value_capacity = value.size;
    }
    entry->value = memory;
    entry->value_size = value.size;
    return true;
}

struct resp_entry *resp_store_set(struct resp_store *store, struct resp_slice key, struct resp_slice value)
{
    struct resp_entry *entry = resp_store_find(store, key);
    bool               is_new = entry == NULL;

    if (store->bytes + sizeof *entry + key.size + value.size > RESP_STORE_MAX)
        return NULL;
    if (is_new)
        entry = add(store, key);
    if (entry == NULL)
        return NULL;
    if (put_value(store, entry, value))
        return entry;
    if (is_new)
        resp_store_remove(store, entry);
    return NULL;
}

void resp_store_remove(struct resp_store *store, struct resp_entry *entry)
{
    (void)resp_store_deadline_clear(store, entry);
    HASH_DEL(store->entries, entry);
    store->bytes -= sizeof *entry + entry->key_size + entry->value_capacity;
    free(entry->value);
    free(entry);
}

void resp_store_clear(struct resp_store *store)
{
    while (store->entries != NULL)
        resp_store_remove(store, store->entries);
}

bool resp_store_deadline_set(struct resp_store *store, struct resp_entry *entry, uint64_t delay_ms)
{
    const struct resp_clock *clock = &store->clock;
    void                    *timer = NULL;

    if (clock->timer_start != NULL) {
        timer = clock->timer_start(clock->arg, entry, delay_ms);
        if (timer == NULL)
            return false;
    }
    (void)resp_store_deadline_clear(store, entry);
    entry->timer = timer;
    entry->deadline_ms = clock->now_ms(clock->arg) + delay_ms;
    return true;
}

bool resp_store_deadline_clear(struct resp_store *store, struct resp_entry *entry)
{
    bool had = entry->deadline_ms != 0;

    if (entry->timer != NULL)
        store->clock.timer_stop(store->clock.arg, entry->timer);
    entry->timer = NULL;
    entry->deadline_ms = 0;
    return had;
}

int64_t resp_store_time_left(const struct resp_store *store, const struct resp_entry *entry)
{
    uint64_t now_ms;

    if (entry == NULL)
        return RESP_NO_KEY;
    if (entry->deadline_ms == 0)
        return RESP_NO_DEADLINE;
    now_ms = store->clock.now_ms(store->clock.arg);
    return entry->deadline_ms > now_ms ? (int64_t)(entry->deadline_ms - now_ms) : 0;
}

void resp_store_expire(struct resp_store *store, struct resp_entry *entry)
{
    entry->timer = NULL;
    resp_store_remove(store, entry);
}
