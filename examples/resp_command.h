/* resp_command.h: a command that is being run, and those that work on keys. */
#ifndef RESP_COMMAND_H
#define RESP_COMMAND_H

#include "resp_session.h"

#include <string.h>
#include <strings.h>

struct resp_call {
    struct resp_store       *store;
    const struct resp_slice *arguments; /* the first is the command's name */
    size_t                   count;
    struct resp_output      *output;
    const struct resp_known *command;
    bool                     last; /* of this client */
};

struct resp_known {
    const char *name;
    void (*run)(struct resp_call *call);
    size_t count_min, count_max; /* with the name */
    int    number;               /* what it means, run knows */
};

static inline bool resp_is_word(struct resp_slice text, const char *word)
{
    return text.size == strlen(word) && strncasecmp(text.bytes, word, text.size) == 0;
}

void resp_get(struct resp_call *call);
void resp_set(struct resp_call *call);
void resp_count_keys(struct resp_call *call);
void resp_increment(struct resp_call *call);
void resp_expire(struct resp_call *call);
void resp_time_left(struct resp_call *call);
void resp_persist(struct resp_call *call);
void resp_count_all(struct resp_call *call);
void resp_flush(struct resp_call *call);

#endif
