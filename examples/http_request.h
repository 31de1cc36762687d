/* http_request.h: one request while it is being read: a bounded copy of those parts of its head that matter here.
 *
 * The parser hands out the head in pieces, wherever the network happened to cut it; each piece is appended. Names and
 * values that do not fit are of no interest and are cut; a target that does not fit is an error. */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_TARGET_BYTES_MAX = 4 * 1024, /* then 414 */
    HTTP_HEAD_BYTES_MAX = 16 * 1024,  /* target and headers; then 431 */
    HTTP_BODY_BYTES_MAX = 64 * 1024,  /* then 413 */
};

struct http_request {
    uint32_t head_bytes;
    uint32_t body_bytes;
    uint16_t target_size;
    uint8_t  name_size;
    uint8_t  value_size;
    bool     head_done;
    bool     in_value; /* a header's value has begun: the next name begins a new header */
    bool     name_cut;
    bool     value_cut;
    uint8_t  host_count;       /* Host headers; more than one is an error */
    bool     expects_continue; /* Expect: 100-continue */
    bool     expects_other;    /* any other expectation */
    uint8_t  none_match_size;
    uint8_t  modified_size;
    char     name[20];
    char     value[128];
    char     none_match[128];    /* If-None-Match */
    char     modified_since[32]; /* If-Modified-Since */
    char     target[HTTP_TARGET_BYTES_MAX];
};

void http_request_reset(struct http_request *request);

/* Each appends a piece. Returns 0, or the status to refuse the request with. */
int http_request_target(struct http_request *request, const char *bytes, size_t size);
int http_request_header_name(struct http_request *request, const char *bytes, size_t size);
int http_request_header_value(struct http_request *request, const char *bytes, size_t size);
int http_request_body(struct http_request *request, size_t size);

/* Call it when the head is complete. Returns 0, or the status to refuse the request with. */
int http_request_head_done(struct http_request *request, unsigned major, unsigned minor, uint64_t content_length);

/* Writes the decoded path of the target, beginning with '/', into path[HTTP_TARGET_BYTES_MAX]: without query, escapes
 * resolved. Returns its length, or -1 if the target is none, or has an escape that could hide something: a broken one,
 * a NUL, or a slash. Dots are nothing special: the path is looked up in a table, not in a file system. */
int http_request_path(const struct http_request *request, char *path);

#endif
