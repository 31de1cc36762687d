/* resp_protocol.h: requests and replies of RESP2, the protocol of Redis; knows nothing of commands or sockets.
 *
 * Why not the reader of hiredis: it is made for replies. It takes no requests typed by hand, bounds neither counts nor
 * sizes, and copies and moves all input, so that arguments have to be copied again: three times the CPU time of a small
 * request, twenty times that of pipelined ones of 4 KiB (80 and 517 ns in place of 28 and 24). */
#ifndef RESP_PROTOCOL_H
#define RESP_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RESP_ARGUMENTS_MAX = 1024,
    RESP_BULK_MAX = 16 << 20,    /* bytes of an argument */
    RESP_REQUEST_MAX = 32 << 20, /* bytes of a request */
    RESP_INLINE_MAX = 16 << 10,  /* bytes of a request without lengths, as typed by hand */
};

struct resp_slice {
    const char *bytes;
    size_t      size;
};

struct resp_request {
    struct resp_slice arguments[RESP_ARGUMENTS_MAX];
    size_t            count; /* may be 0: an empty line */
};

enum resp_parsed { RESP_COMPLETE, RESP_INCOMPLETE, RESP_MALFORMED };

/* Reads the request that stands at the start of bytes; its arguments point into them. Complete: *ret_size is how many
 * bytes it takes. Incomplete: it is no use to try again with fewer than *ret_size. Malformed: *ret_error says why. */
enum resp_parsed resp_parse(const char *bytes, size_t size, struct resp_request *request, size_t *ret_size,
                            const char **ret_error);

/* The integer that is all of the text, as Redis takes them: no blanks, no plus, no leading zeros. */
bool resp_integer(struct resp_slice text, int64_t *ret_value);

/* Replies, one after another. All zero is an empty one. Without memory failed is set, and the replies are of no use. */
struct resp_output {
    char  *bytes;
    size_t size, capacity;
    bool   failed;
};

void resp_reply_simple(struct resp_output *output, const char *text); /* +OK */
void resp_reply_error(struct resp_output *output, const char *text);  /* -ERR what is wrong */
void resp_reply_integer(struct resp_output *output, int64_t value);
void resp_reply_bulk(struct resp_output *output, const void *bytes, size_t size);
void resp_reply_text(struct resp_output *output, const char *text); /* the same of a string */
void resp_reply_nil(struct resp_output *output);
void resp_reply_array(struct resp_output *output, size_t count); /* count replies follow */

void resp_output_free(struct resp_output *output);

#endif
