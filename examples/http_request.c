/* http_request.c: one request while it is being read. */
#include "http_request.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_request_reset(struct http_request *request)
{
    memset(request, 0, offsetof(struct http_request, name));
}

static int count_head_bytes(struct http_request *request, size_t size)
{
    if (size > HTTP_HEAD_BYTES_MAX - request->head_bytes)
        return 431;
    request->head_bytes += (uint32_t)size;
    return 0;
}

int http_request_target(struct http_request *request, const char *bytes, size_t size)
{
    if (size > sizeof request->target - request->target_size)
        return 414;
    memcpy(request->target + request->target_size, bytes, size);
    request->target_size = (uint16_t)(request->target_size + size);
    return count_head_bytes(request, size);
}

/* Appends as much of bytes as fits; returns false if that is not all. */
static bool append_bounded(char *to, uint8_t *to_size, size_t to_size_max, const char *bytes, size_t size)
{
    size_t fitting = to_size_max - *to_size;
    bool   whole = size <= fitting;

    if (whole)
        fitting = size;
    memcpy(to + *to_size, bytes, fitting);
    *to_size = (uint8_t)(*to_size + fitting);
    return whole;
}

static bool name_is(const struct http_request *request, const char *name)
{
    size_t size = strlen(name);

    return !request->name_cut && request->name_size == size && strncasecmp(request->name, name, size) == 0;
}

static void keep_value(const struct http_request *request, char *to, uint8_t *to_size, size_t to_size_max)
{
    *to_size = 0;
    if (!request->value_cut && request->value_size <= to_size_max)
        append_bounded(to, to_size, to_size_max, request->value, request->value_size);
}

/* A name and its value are complete: remembers the few headers that make a difference. */
static void finish_header(struct http_request *request)
{
    static const char go_on[] = "100-continue";

    if (name_is(request, "Host")) {
        if (request->host_count < 2)
            request->host_count++;
    } else if (name_is(request, "If-None-Match")) {
        keep_value(request, request->none_match, &request->none_match_size, sizeof request->none_match);
    } else if (name_is(request, "If-Modified-Since")) {
        keep_value(request, request->modified_since, &request->modified_size, sizeof request->modified_since);
    } else if (name_is(request, "Expect")) {
        if (request->value_size == strlen(go_on) && strncasecmp(request->value, go_on, strlen(go_on)) == 0)
            request->expects_continue = true;
        else
            request->expects_other = true;
    }
}

static void begin_header(struct http_request *request)
{
    if (request->in_value)
        finish_header(request);
    request->in_value = false;
    request->name_size = 0;
    request->value_size = 0;
    request->name_cut = false;
    request->value_cut = false;
}

int http_request_header_name(struct http_request *request, const char *bytes, size_t size)
{
    static const size_t separators = sizeof ": \r\n" - 1;

    if (request->head_done) /* a trailer, behind a chunked body */
        return http_request_body(request, size);
    if (request->in_value || request->name_size == 0) {
        begin_header(request);
        if (count_head_bytes(request, separators) != 0)
            return 431;
    }
    if (!append_bounded(request->name, &request->name_size, sizeof request->name, bytes, size))
        request->name_cut = true;
    return count_head_bytes(request, size);
}

int http_request_header_value(struct http_request *request, const char *bytes, size_t size)
{
    if (request->head_done)
        return http_request_body(request, size);
    request->in_value = true;
    if (!append_bounded(request->value, &request->value_size, sizeof request->value, bytes, size))
        request->value_cut = true;
    return count_head_bytes(request, size);
}

int http_request_head_done(struct http_request *request, unsigned major, unsigned minor, uint64_t content_length)
{
    begin_header(request);
    request->head_done = true;
    if (major == 0)
        return 400; /* "GET /" without a version: HTTP/0.9 */
    if (major != 1)
        return 505;
    if (request->host_count > 1 || (request->host_count == 0 && minor >= 1))
        return 400;
    if (request->expects_other)
        return 417;
    if (content_length > HTTP_BODY_BYTES_MAX)
        return 413;
    return 0;
}

int http_request_body(struct http_request *request, size_t size)
{
    if (size > HTTP_BODY_BYTES_MAX - request->body_bytes)
        return 413;
    request->body_bytes += (uint32_t)size;
    return 0;
}

/* Skips "http://host:port" of an absolute target. Returns where its path begins, which may be the target's end. */
static size_t path_start(const char *target, size_t size)
{
    static const char *const schemes[] = {"http://", "https://"};

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t at = strlen(schemes[i]);
        if (size < at || strncasecmp(target, schemes[i], at) != 0)
            continue;
        while (at < size && target[at] != '/' && target[at] != '?')
            at++;
        return at;
    }
    return 0;
}

/* The byte that "%xy" at escape stands for, or -1 if there is none or it may not be hidden like that. */
static int unescape(const char *escape, size_t size)
{
    int byte;

    if (size < 3 || !isxdigit((unsigned char)escape[1]) || !isxdigit((unsigned char)escape[2]))
        return -1;
    byte = (int)strtol((const char[]){escape[1], escape[2], '\0'}, NULL, 16);
    return byte == '\0' || byte == '/' ? -1 : byte;
}

int http_request_path(const struct http_request *request, char *path)
{
    const char *target = request->target;
    size_t      size = request->target_size;
    size_t      at = path_start(target, size);
    int         length = 0;

    if (at > 0 && (at == size || target[at] == '?')) { /* "http://host": the path is "/" */
        path[0] = '/';
        return 1;
    }
    if (at == size || target[at] != '/')
        return -1;
    while (at < size && target[at] != '?' && target[at] != '#') {
        int byte = (unsigned char)target[at];
        if (byte == '%') {
            byte = unescape(target + at, size - at);
            at += 2;
        }
        if (byte <= 0)
            return -1;
        path[length++] = (char)byte;
        at++;
    }
    return length;
}
