/* loop/list.h: intrusive circular lists with a typed head; an entry linked nowhere points to itself or is NULL.
 *
 * LIST_DEFINE(name, type) makes functions for any type with next and prev members: name_list_init and so on. The head
 * is an entry of the same type of which only the links are used. */
#ifndef RINGLOOP_LOOP_LIST_H
#define RINGLOOP_LOOP_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define LIST_DEFINE(name, type)                                                                                        \
    static inline __attribute__((unused)) void name##_list_init(type *head)                                            \
    {                                                                                                                  \
        head->next = head;                                                                                             \
        head->prev = head;                                                                                             \
    }                                                                                                                  \
    static inline __attribute__((unused)) bool name##_list_empty(const type *head)                                     \
    {                                                                                                                  \
        return head->next == head;                                                                                     \
    }                                                                                                                  \
    static inline __attribute__((unused)) void name##_list_insert(type *before, type *entry)                           \
    {                                                                                                                  \
        entry->next = before;                                                                                          \
        entry->prev = before->prev;                                                                                    \
        before->prev->next = entry;                                                                                    \
        before->prev = entry;                                                                                          \
    }                                                                                                                  \
    static inline __attribute__((unused)) void name##_list_append(type *head, type *entry)                             \
    {                                                                                                                  \
        name##_list_insert(head, entry);                                                                               \
    }                                                                                                                  \
    static inline __attribute__((unused)) void name##_list_remove(type *entry)                                         \
    {                                                                                                                  \
        entry->next->prev = entry->prev;                                                                               \
        entry->prev->next = entry->next;                                                                               \
        entry->next = NULL;                                                                                            \
        entry->prev = NULL;                                                                                            \
    }                                                                                                                  \
    static inline __attribute__((unused)) bool name##_list_linked(const type *entry)                                   \
    {                                                                                                                  \
        return entry->next != NULL;                                                                                    \
    }                                                                                                                  \
    static inline __attribute__((unused)) type *name##_list_pop(type *head)                                            \
    {                                                                                                                  \
        type *first = head->next;                                                                                      \
        if (first == head)                                                                                             \
            return NULL;                                                                                               \
        name##_list_remove(first);                                                                                     \
        return first;                                                                                                  \
    }                                                                                                                  \
    /* Moves all entries to the end of to; from is empty afterwards. */                                                \
    static inline __attribute__((unused)) void name##_list_move(type *from, type *to)                                  \
    {                                                                                                                  \
        if (from->next == from)                                                                                        \
            return;                                                                                                    \
        from->next->prev = to->prev;                                                                                   \
        to->prev->next = from->next;                                                                                   \
        from->prev->next = to;                                                                                         \
        to->prev = from->prev;                                                                                         \
        name##_list_init(from);                                                                                        \
    }

#endif
