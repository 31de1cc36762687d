/* dns.c: answers A and TXT queries of the domain name system from a small table: dns [PORT] (default 5353; end it with
 * Ctrl-C). Try: dig @127.0.0.1 -p 5353 ringloop.test TXT
 *
 * One datagram, one answer, which the library copies; if it can't be sent, the client asks again. The buffer of the
 * query goes back by itself. */
#include <ringloop.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADER_BYTES = 12, NAME_MAX_BYTES = 255, ANSWER_MAX_BYTES = 512 };
enum { TYPE_A = 1, TYPE_TXT = 16, TYPE_ANY = 255, CLASS_IN = 1 };
enum { FORMAT_ERROR = 1, NO_SUCH_NAME = 3, NOT_IMPLEMENTED = 4 };

static const struct record {
    const char *name;
    uint16_t    type;
    const char *value;
} table[] = {
    {"ringloop.test", TYPE_A, "192.0.2.1"},
    {"ringloop.test", TYPE_TXT, "an event loop on io_uring"},
    {"www.ringloop.test", TYPE_A, "192.0.2.2"},
    {"www.ringloop.test", TYPE_A, "192.0.2.3"},
};

struct answer {
    uint8_t bytes[ANSWER_MAX_BYTES];
    size_t  size;
};

static uint16_t read_16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put(struct answer *answer, const void *data, size_t size)
{
    if (size > sizeof(answer->bytes) - answer->size)
        return; /* the table is small: never */
    memcpy(answer->bytes + answer->size, data, size);
    answer->size += size;
}

static void put_16(struct answer *answer, unsigned value)
{
    put(answer, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

/* The name at the start of the question as text. Returns its bytes in the query, or 0 if it is none. */
static size_t read_name(const uint8_t *at, size_t size, char text[NAME_MAX_BYTES + 1])
{
    size_t from = 0, to = 0;

    while (from < size && at[from] != 0) {
        size_t label = at[from];

        if (label > 63 || from + 1 + label >= size || to + label + 1 > NAME_MAX_BYTES)
            return 0; /* too long, or a pointer, which has no place here */
        if (to > 0)
            text[to++] = '.';
        memcpy(text + to, at + from + 1, label);
        to += label;
        from += 1 + label;
    }
    text[to] = '\0';
    return from < size ? from + 1 : 0;
}

static void put_record(struct answer *answer, const struct record *record)
{
    static const uint8_t one_hour[] = {0, 0, 0x0e, 0x10};
    uint8_t              length = (uint8_t)strlen(record->value);
    struct in_addr       address;

    put_16(answer, 0xc000 | HEADER_BYTES); /* the name: see the question */
    put_16(answer, record->type);
    put_16(answer, CLASS_IN);
    put(answer, one_hour, sizeof one_hour);
    if (record->type == TYPE_A && inet_pton(AF_INET, record->value, &address) == 1) {
        put_16(answer, sizeof address);
        put(answer, &address, sizeof address);
    } else {
        put_16(answer, length + 1u);
        put(answer, &length, 1);
        put(answer, record->value, length);
    }
}

/* Returns how many records were put; -1: the name is not in the table. */
static int put_records(struct answer *answer, const char *name, unsigned type)
{
    int count = -1;

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcasecmp(table[i].name, name) != 0)
            continue;
        count += count < 0;
        if (type != table[i].type && type != TYPE_ANY)
            continue;
        put_record(answer, &table[i]);
        count++;
    }
    return count;
}

/* False: no query, to which nothing is answered. */
static bool make_answer(const uint8_t *query, size_t size, struct answer *answer)
{
    char     name[NAME_MAX_BYTES + 1];
    size_t   name_size = 0, question = 0;
    unsigned code = 0;
    int      count = 0;

    if (size < HEADER_BYTES || (query[2] & 0x80) != 0)
        return false;
    if ((query[2] & 0x78) != 0)
        code = NOT_IMPLEMENTED;
    else if (read_16(query + 4) == 1)
        name_size = read_name(query + HEADER_BYTES, size - HEADER_BYTES, name);
    if (name_size > 0 && HEADER_BYTES + name_size + 4 <= size)
        question = name_size + 4;
    else if (code == 0)
        code = FORMAT_ERROR;
    answer->size = 0;
    put(answer, query, HEADER_BYTES + question);
    if (code == 0)
        count = put_records(answer, name, read_16(query + HEADER_BYTES + name_size));
    if (count < 0)
        code = NO_SUCH_NAME;
    answer->bytes[2] = (uint8_t)(0x84 | (query[2] & 0x79)); /* an answer, from who knows */
    answer->bytes[3] = (uint8_t)code;
    memcpy(answer->bytes + 4, (uint8_t[]){0, question > 0, 0, count > 0 ? (uint8_t)count : 0, 0, 0, 0, 0}, 8);
    return true;
}

static void on_message(struct loop_datagram *datagram, const struct loop_datagram_message *message)
{
    static const struct loop_datagram_terms copied = {.flags = LOOP_DATAGRAM_COPY};
    struct answer                           answer;

    if (message->error != 0 || !make_answer(message->data, message->size, &answer))
        return;
    if (loop_datagram_send(datagram, answer.bytes, answer.size, &message->source, NULL, NULL, &copied) < 0)
        fprintf(stderr, "dns: no room for an answer\n");
}

static struct loop *running; /* for the signal handler: loop_stop() may be called there */

static void on_interrupt(int number)
{
    (void)number;
    loop_stop(running);
}

int main(int argc, char **argv)
{
    const struct loop_datagram_options options = {.receive_size = ANSWER_MAX_BYTES};
    unsigned long                      port = argc > 1 ? strtoul(argv[1], NULL, 10) : 5353;
    struct loop_datagram               datagram = {0};
    struct loop_address                address;
    struct loop                       *loop = NULL;
    int                                r = loop_create(&loop, NULL);

    if (r < 0) {
        fprintf(stderr, "dns: %s: %s\n", strerror(-r), loop_obstacle_text(loop_obstacle(r)));
        return 1;
    }
    running = loop;
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    r = loop_address_parse(&address, "127.0.0.1", (uint16_t)port);
    if (r == 0)
        r = loop_datagram_open(loop, &datagram, &address, &options);
    if (r == 0)
        r = loop_datagram_receive_start(&datagram, on_message);
    if (r == 0)
        r = loop_datagram_local_address(&datagram, &address);
    if (r == 0) {
        printf("ready %u\n", loop_address_port(&address));
        fflush(stdout);
        loop_run(loop, LOOP_RUN_DEFAULT);
    } else {
        fprintf(stderr, "dns: %s\n", strerror(-r));
    }
    loop_destroy(loop);
    return r < 0;
}
