/* resp_command.c: the commands, and the little that redis-cli and redis-benchmark ask besides. */
#include "resp_session.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char out_of_memory[] = "OOM command not allowed when used memory > 'maxmemory'";
static const char not_an_integer[] = "ERR value is not an integer or out of range";
static const char syntax_error[] = "ERR syntax error";

static const uint64_t delay_ms_max = UINT64_C(100) * 365 * 24 * 3600 * 1000;

struct call {
    struct resp_store       *store;
    const struct resp_slice *arguments; /* the first is the command's name */
    size_t                   count;
    struct resp_output      *output;
    const struct command    *command;
    bool                     last; /* of this client */
};

struct command {
    const char *name;
    void (*run)(struct call *call);
    size_t count_min, count_max; /* with the name */
    int    number;               /* what it means, run knows */
};

static bool is_word(struct resp_slice text, const char *word)
{
    return text.size == strlen(word) && strncasecmp(text.bytes, word, text.size) == 0;
}

static void ping(struct call *call)
{
    if (call->count == 1)
        resp_reply_simple(call->output, "PONG");
    else
        resp_reply_bulk(call->output, call->arguments[1].bytes, call->arguments[1].size);
}

static void get(struct call *call)
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
static const char *read_set_options(const struct call *call, struct set_options *options)
{
    for (size_t i = 3; i < call->count; i++) {
        struct resp_slice word = call->arguments[i];
        int               unit_ms = is_word(word, "EX") ? 1000 : is_word(word, "PX") ? 1 : 0;

        if (is_word(word, "NX")) {
            options->only_new = true;
        } else if (is_word(word, "XX")) {
            options->only_old = true;
        } else if (is_word(word, "KEEPTTL")) {
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

static void set(struct call *call)
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
static void count_keys(struct call *call)
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
static void increment(struct call *call)
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
static void expire(struct call *call)
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
static void time_left(struct call *call)
{
    int64_t left = resp_store_time_left(call->store, resp_store_find(call->store, call->arguments[1]));
    int     unit_ms = call->command->number;

    resp_reply_integer(call->output, left > 0 ? (left + unit_ms / 2) / unit_ms : left);
}

static void persist(struct call *call)
{
    struct resp_entry *entry = resp_store_find(call->store, call->arguments[1]);

    resp_reply_integer(call->output, entry != NULL && resp_store_deadline_clear(call->store, entry));
}

static void count_all(struct call *call)
{
    resp_reply_integer(call->output, (int64_t)resp_store_count(call->store));
}

static void flush(struct call *call)
{
    resp_store_clear(call->store);
    resp_reply_simple(call->output, "OK");
}

/* ---- what clients ask before they begin */

static void quit(struct call *call)
{
    call->last = true;
    resp_reply_simple(call->output, "OK");
}

static void select_database(struct call *call)
{
    int64_t index;

    if (resp_integer(call->arguments[1], &index) && index == 0)
        resp_reply_simple(call->output, "OK");
    else
        resp_reply_error(call->output, "ERR DB index is out of range");
}

/* Only the protocol is looked at; redis-cli -3 goes on with RESP2 after this error. */
static void hello(struct call *call)
{
    static const char *const pairs[] = {"server", "ringloop", "version", "1", "mode", "standalone", "role", "master"};
    int64_t                  protocol = 2;

    if (call->count > 1 && (!resp_integer(call->arguments[1], &protocol) || protocol != 2)) {
        resp_reply_error(call->output, "NOPROTO unsupported protocol version");
        return;
    }
    resp_reply_array(call->output, sizeof pairs / sizeof *pairs + 2);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        resp_reply_text(call->output, pairs[i]);
    resp_reply_text(call->output, "proto");
    resp_reply_integer(call->output, protocol);
}

/* CONFIG GET of whatever: it is there, and empty, which redis-benchmark is content with. */
static void config(struct call *call)
{
    if (!is_word(call->arguments[1], "GET") || call->count != 3) {
        resp_reply_error(call->output, "ERR only CONFIG GET is known");
        return;
    }
    resp_reply_array(call->output, 2);
    resp_reply_bulk(call->output, call->arguments[2].bytes, call->arguments[2].size);
    resp_reply_text(call->output, "");
}

/* COMMAND: no descriptions of commands. */
static void nothing(struct call *call)
{
    resp_reply_array(call->output, 0);
}

static void accept_only(struct call *call)
{
    resp_reply_simple(call->output, "OK");
}

static void info(struct call *call)
{
    char text[64];

    snprintf(text, sizeof text, "# Keyspace\r\ndb0:keys=%zu\r\n", resp_store_count(call->store));
    resp_reply_text(call->output, text);
}

/* The most frequent first. */
static const struct command commands[] = {
    {"GET", get, 2, 2, 0},
    {"SET", set, 3, 9, 0},
    {"INCR", increment, 2, 2, 1},
    {"DEL", count_keys, 2, RESP_ARGUMENTS_MAX, 1},
    {"EXPIRE", expire, 3, 3, 1000},
    {"PING", ping, 1, 2, 0},
    {"ECHO", ping, 2, 2, 0},
    {"EXISTS", count_keys, 2, RESP_ARGUMENTS_MAX, 0},
    {"TTL", time_left, 2, 2, 1000},
    {"PTTL", time_left, 2, 2, 1},
    {"PEXPIRE", expire, 3, 3, 1},
    {"PERSIST", persist, 2, 2, 0},
    {"DECR", increment, 2, 2, -1},
    {"INCRBY", increment, 3, 3, 1},
    {"DECRBY", increment, 3, 3, -1},
    {"DBSIZE", count_all, 1, 1, 0},
    {"FLUSHALL", flush, 1, 2, 0},
    {"FLUSHDB", flush, 1, 2, 0},
    {"QUIT", quit, 1, 1, 0},
    {"SELECT", select_database, 2, 2, 0},
    {"HELLO", hello, 1, RESP_ARGUMENTS_MAX, 0},
    {"CONFIG", config, 2, RESP_ARGUMENTS_MAX, 0},
    {"COMMAND", nothing, 1, RESP_ARGUMENTS_MAX, 0},
    {"CLIENT", accept_only, 2, RESP_ARGUMENTS_MAX, 0},
    {"INFO", info, 1, RESP_ARGUMENTS_MAX, 0},
};

static const struct command *find_command(struct resp_slice name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (is_word(name, commands[i].name))
            return &commands[i];
    }
    return NULL;
}

bool resp_command(struct resp_store *store, const struct resp_request *request, struct resp_output *output)
{
    struct call call = {.store = store, .arguments = request->arguments, .count = request->count, .output = output};

    call.command = find_command(request->arguments[0]);
    if (call.command == NULL)
        resp_reply_error(output, "ERR unknown command");
    else if (call.count < call.command->count_min || call.count > call.command->count_max)
        resp_reply_error(output, "ERR wrong number of arguments");
    else
        call.command->run(&call);
    return !call.last;
}
