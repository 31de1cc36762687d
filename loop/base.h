/* loop/base.h: the few macros everything uses. */
#ifndef RINGLOOP_LOOP_BASE_H
#define RINGLOOP_LOOP_BASE_H

#include <stddef.h>
#include <stdint.h>

#define likely(x)      __builtin_expect(!!(x), 1)
#define unlikely(x)    __builtin_expect(!!(x), 0)
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* A time so far away that it is out of reach stays there. */
static inline uint64_t ns_add(uint64_t time_ns, uint64_t delay_ns)
{
    return delay_ns > UINT64_MAX - 1 - time_ns ? UINT64_MAX - 1 : time_ns + delay_ns;
}

/* Stays in release builds: a condition that only a bug of ours, or memory damaged by others, can break. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (unlikely(!(condition)))                                                                                    \
            check_failed(#condition, __FILE__, __LINE__);                                                              \
    } while (0)

__attribute__((noreturn, cold)) void check_failed(const char *condition, const char *file, int line);

/* A lifetime rule broken by the caller: says which call and which rule, and aborts. */
__attribute__((noreturn, cold)) void check_misuse(const char *call, const char *rule);

#endif
