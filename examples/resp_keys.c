/* resp_keys.c: the commands that work on keys. */
#include "resp_command.h"

#include <stdio.h>

static const char out_of_memory[] = "OOM command not allowed when used memory > 'maxmemory'";
static const char not_an_integer[] = "ERR value is not an integer or out of range";
static const char syntax_error[] = "ERR syntax error";

static const uint64_t delay_ms_max = UINT64_C(100) * 365 * 24 * 3600 * 1000;

void resp_get(struct resp_call *call)
{
    const struct resp_entry *entry = resp_store_find(call->store, call->arguments[1]);
    struct resp_slice        value;

    if (entry == NULL) {
        resp_reply_nil(call->output);
        return;
    }
    value = resp_entry_value(entry);
    resp_reply_bulk(call->output, value.bytes, value.size);
}

/* A delay in units of unit_ms, as from a client. */
static bool read_delay(struct resp_slice text, int unit_ms, int64_t *ret_delay_ms)
{
    return resp_integer(text, ret_delay_ms) && !__builtin_mul_overflow(*ret_delay_ms, unit_ms, ret_delay_ms) &&
           *ret_delay_ms <= (int64_t)delay_ms_max;
}

/* What follows key and value in SET. */
struct set_options {
    int64_t delay_ms; /* 0: none */
    bool    only_new, only_old, keep_deadline;
};

/* NULL, or the error. */
static const char *read_set_options(const struct resp_call *call, struct set_options *options)
{
    for (size_t i = 3; i < call->count; i++) {
        struct resp_slice word = call->arguments[i];
        int               unit_ms = resp_is_word(word, "EX") ? 1000 : resp_is_word(word, "PX") ? 1 : 0;

        if (resp_is_word(word, "NX")) {
            options->only_new = true;
        } else if (resp_is_word(word, "XX")) {
            options->only_old = true;
        } else if (resp_is_word(word, "KEEPTTL")) {
            options->keep_deadline = true;
        } else if (unit_ms != 0 && i + 1 < call->count && options->delay_ms == 0) {
            if (!resp_integer(call->arguments[++i], &options->delay_ms))
                return not_an_integer;
            if (!read_delay(call->arguments[i], unit_ms, &options->delay_ms) || options->delay_ms <= 0)
                return "ERR invalid expire time in 'set' command";
        } else {
            return syntax_error;
        }
    }
    return (options->only_new && options->only_old) || (options->keep_deadline && options->delay_ms != 0) ? syntax_error
                                                                                                          : NULL;
}

void resp_set(struct resp_call *call)
{
    struct set_options options = {0};
    const char        *error = read_set_options(call, &options);
    struct resp_entry *entry;

    if (error != NULL) {
        resp_reply_error(call->output, error);
        return;
    }
    if (options.only_new || options.only_old) {
        entry = resp_store_find(call->store, call->arguments[1]);
        if ((entry != NULL && options.only_new) || (entry == NULL && options.only_old)) {
            resp_reply_nil(call->output);
            return;
        }
    }
    entry = resp_store_set(call->store, call->arguments[1], call->arguments[2]);
    if (entry != NULL && !options.keep_deadline)
        (void)resp_store_deadline_clear(call->store, entry);
    if (entry != NULL && options.delay_ms != 0 &&
        !resp_store_deadline_set(call->store, entry, (uint64_t)options.delay_ms)) {
        resp_store_remove(call->store, entry);
        entry = NULL;
    }
    if (entry == NULL)
        resp_reply_error(call->output, out_of_memory);
    else
        resp_reply_simple(call->output, "OK");
}

/* DEL and EXISTS; number: whether to remove. */
void resp_count_keys(struct resp_call *call)
{
    int64_t found = 0;

    for (size_t i = 1; i < call->count; i++) {
        struct resp_entry *entry = resp_store_find(call->store, call->arguments[i]);

        found += entry != NULL;
        if (entry != NULL && call->command->number != 0)
            resp_store_remove(call->store, entry);
    }
    resp_reply_integer(call->output, found);
}

/* INCR, DECR, INCRBY, DECRBY; number: the sign. */
void resp_increment(struct resp_call *call)
{
    const struct resp_entry *entry = resp_store_find(call->store, call->arguments[1]);
    int64_t                  value = 0, by = 1;
    char                     digits[24];
    int                      size;

    if ((entry != NULL && !resp_integer(resp_entry_value(entry), &value)) ||
        (call->count == 3 && !resp_integer(call->arguments[2], &by))) {
        resp_reply_error(call->output, not_an_integer);
        return;
    }
    if (__builtin_mul_overflow(by, call->command->number, &by) || __builtin_add_overflow(value, by, &value)) {
        resp_reply_error(call->output, "ERR increment or decrement would overflow");
        return;
    }
    size = snprintf(digits, sizeof digits, "%lld", (long long)value);
    if (resp_store_set(call->store, call->arguments[1], (struct resp_slice){.bytes = digits, .size = (size_t)size}) ==
        NULL)
        resp_reply_error(call->output, out_of_memory);
    else
        resp_reply_integer(call->output, value);
}

/* EXPIRE and PEXPIRE; number: milliseconds of a unit. */
void resp_expire(struct resp_call *call)
{
    struct resp_entry *entry = resp_store_find(call->store, call->arguments[1]);
    int64_t            delay_ms;

    if (!read_delay(call->arguments[2], call->command->number, &delay_ms)) {
        resp_reply_error(call->output, not_an_integer);
        return;
    }
    if (entry != NULL && delay_ms <= 0) {
        resp_store_remove(call->store, entry);
    } else if (entry != NULL && !resp_store_deadline_set(call->store, entry, (uint64_t)delay_ms)) {
        resp_reply_error(call->output, out_of_memory);
        return;
    }
    resp_reply_integer(call->output, entry != NULL);
}

/* TTL and PTTL; number: milliseconds of a unit. */
void resp_time_left(struct resp_call *call)
{
    int64_t left = resp_store_time_left(call->store, resp_store_find(call->store, call->arguments[1]));
    int     unit_ms = call->command->number;

    resp_reply_integer(call->output, left > 0 ? (left + unit_ms / 2) / unit_ms : left);
}

void resp_persist(struct resp_call *call)
{
    struct resp_entry *entry = resp_store_find(call->store, call->arguments[1]);

    resp_reply_integer(call->output, entry != NULL && resp_store_deadline_clear(call->store, entry));
}

void resp_count_all(struct resp_call *call)
{
    resp_reply_integer(call->output, (int64_t)resp_store_count(call->store));
}

void resp_flush(struct resp_call *call)
{
    resp_store_clear(call->store);
    resp_reply_simple(call->output, "OK");
}
