/* resp_command.c: the table of commands, and the little that redis-cli and redis-benchmark ask besides. */
#include "resp_command.h"

#include <stdio.h>

static void ping(struct resp_call *call)
{
    if (call->count == 1)
        resp_reply_simple(call->output, "PONG");
    else
        resp_reply_bulk(call->output, call->arguments[1].bytes, call->arguments[1].size);
}

/* ---- what clients ask before they begin */

static void quit(struct resp_call *call)
{
    call->last = true;
    resp_reply_simple(call->output, "OK");
}

static void select_database(struct resp_call *call)
{
    int64_t index;

    if (resp_integer(call->arguments[1], &index) && index == 0)
        resp_reply_simple(call->output, "OK");
    else
        resp_reply_error(call->output, "ERR DB index is out of range");
}

/* Only the protocol is looked at; redis-cli -3 goes on with RESP2 after this error. */
static void hello(struct resp_call *call)
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
static void config(struct resp_call *call)
{
    if (!resp_is_word(call->arguments[1], "GET") || call->count != 3) {
        resp_reply_error(call->output, "ERR only CONFIG GET is known");
        return;
    }
    resp_reply_array(call->output, 2);
    resp_reply_bulk(call->output, call->arguments[2].bytes, call->arguments[2].size);
    resp_reply_text(call->output, "");
}

/* COMMAND: no descriptions of commands. */
static void nothing(struct resp_call *call)
{
    resp_reply_array(call->output, 0);
}

static void accept_only(struct resp_call *call)
{
    resp_reply_simple(call->output, "OK");
}

static void info(struct resp_call *call)
{
    char text[64];

    snprintf(text, sizeof text, "# Keyspace\r\ndb0:keys=%zu\r\n", resp_store_count(call->store));
    resp_reply_text(call->output, text);
}

/* The most frequent first. */
static const struct resp_known commands[] = {
    {"GET", resp_get, 2, 2, 0},
    {"SET", resp_set, 3, 9, 0},
    {"INCR", resp_increment, 2, 2, 1},
    {"DEL", resp_count_keys, 2, RESP_ARGUMENTS_MAX, 1},
    {"EXPIRE", resp_expire, 3, 3, 1000},
    {"PING", ping, 1, 2, 0},
    {"ECHO", ping, 2, 2, 0},
    {"EXISTS", resp_count_keys, 2, RESP_ARGUMENTS_MAX, 0},
    {"TTL", resp_time_left, 2, 2, 1000},
    {"PTTL", resp_time_left, 2, 2, 1},
    {"PEXPIRE", resp_expire, 3, 3, 1},
    {"PERSIST", resp_persist, 2, 2, 0},
    {"DECR", resp_increment, 2, 2, -1},
    {"INCRBY", resp_increment, 3, 3, 1},
    {"DECRBY", resp_increment, 3, 3, -1},
    {"DBSIZE", resp_count_all, 1, 1, 0},
    {"FLUSHALL", resp_flush, 1, 2, 0},
    {"FLUSHDB", resp_flush, 1, 2, 0},
    {"QUIT", quit, 1, 1, 0},
    {"SELECT", select_database, 2, 2, 0},
    {"HELLO", hello, 1, RESP_ARGUMENTS_MAX, 0},
    {"CONFIG", config, 2, RESP_ARGUMENTS_MAX, 0},
    {"COMMAND", nothing, 1, RESP_ARGUMENTS_MAX, 0},
    {"CLIENT", accept_only, 2, RESP_ARGUMENTS_MAX, 0},
    {"INFO", info, 1, RESP_ARGUMENTS_MAX, 0},
};

static const struct resp_known *find_command(struct resp_slice name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (resp_is_word(name, commands[i].name))
            return &commands[i];
    }
    return NULL;
}

bool resp_command(struct resp_store *store, const struct resp_request *request, struct resp_output *output)
{
    struct resp_call call = {
        .store = store, .arguments = request->arguments, .count = request->count, .output = output};

    call.command = find_command(request->arguments[0]);
    if (call.command == NULL)
        resp_reply_error(output, "ERR unknown command");
    else if (call.count < call.command->count_min || call.count > call.command->count_max)
        resp_reply_error(output, "ERR wrong number of arguments");
    else
        call.command->run(&call);
    return !call.last;
}
