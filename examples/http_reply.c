/* http_reply.c: replies, straight into a session's output. */
#include "http_reply.h"

#include <stdio.h>
#include <string.h>

enum {
    REPLY_LINES_BYTES_MAX = 256, /* what a reply adds to the site's headers: status line, Date, Connection ... */
    COPIED_BYTES_MAX = 1024      /* a reply up to this size is copied behind its head: one segment instead of two */
};

static const struct {
    int         status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {417, "Expectation Failed"},
    {431, "Request Header Fields Too Large"},
    {501, "Not Implemented"},
    {505, "HTTP Version Not Supported"},
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Error";
}

/* A session's Connection header: needed where it differs from what the version of the request implies. */
static const char *connection_header(const struct http_session *session, bool keep_alive)
{
    if (!keep_alive)
        return "Connection: close\r\n";
    return session->parser.http_minor == 0 ? "Connection: keep-alive\r\n" : "";
}

static char *append(char *to, const char *bytes, size_t size)
{
    memcpy(to, bytes, size);
    return to + size;
}

/* The usual reply, without any formatting: a cached head, and the resource's own headers and body. */
static void reply_resource(struct http_session *session, const struct http_resource *resource, bool with_body,
                           bool keep_alive)
{
    struct http_service *service = session->service;
    const char          *connection = connection_header(session, keep_alive);
    size_t               rest = resource->head_size + (with_body ? resource->body_size : 0);
    bool                 copied = rest <= COPIED_BYTES_MAX;
    size_t               text_max = REPLY_LINES_BYTES_MAX + (copied ? rest : 0);
    char                *text = http_output_room(&session->output, &service->store, text_max);
    char                *end = text;

    if (!text) {
        http_session_abandon(session);
        return;
    }
    end = append(end, service->ok_head, service->ok_head_size);
    end = append(end, connection, strlen(connection));
    if (copied)
        end = append(end, resource->reply, rest);
    http_output_add_text(&session->output, (size_t)(end - text));
    if (!copied && !http_output_add_reference(&session->output, &service->store, resource->reply, rest))
        http_session_abandon(session);
}

static void reply_unmodified(struct http_session *session, const struct http_resource *resource, bool keep_alive)
{
    struct http_service *service = session->service;
    char                *text = http_output_room(&session->output, &service->store, REPLY_LINES_BYTES_MAX);

    if (!text) {
        http_session_abandon(session);
        return;
    }
    http_output_add_text(&session->output,
                         (size_t)snprintf(text, REPLY_LINES_BYTES_MAX,
                                          "HTTP/1.1 304 Not Modified\r\nServer: %s\r\nDate: %s\r\nETag: %s\r\n%s\r\n",
                                          service->name, service->date, resource->etag,
                                          connection_header(session, keep_alive)));
}

void http_reply_status(struct http_session *session, int status, bool with_body, bool keep_alive)
{
    enum { BYTES_MAX = 2 * REPLY_LINES_BYTES_MAX };
    struct http_service *service = session->service;
    char                *text = http_output_room(&session->output, &service->store, BYTES_MAX);
    char                 body[64];
    int                  body_size = snprintf(body, sizeof body, "%d %s\n", status, reason_of(status));
    int                  size;

    if (!text) {
        http_session_abandon(session);
        return;
    }
    size =
        snprintf(text, BYTES_MAX,
                 "HTTP/1.1 %d %s\r\nServer: %s\r\nDate: %s\r\n%s%s"
                 "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s",
                 status, reason_of(status), service->name, service->date, status == 405 ? "Allow: GET, HEAD\r\n" : "",
                 connection_header(session, keep_alive), body_size, with_body ? body : "");
    http_output_add_text(&session->output, (size_t)size);
}

void http_reply_continue(struct http_session *session)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    char             *text = http_output_room(&session->output, &session->service->store, strlen(line));

    if (!text) {
        http_session_abandon(session);
        return;
    }
    memcpy(text, line, strlen(line));
    http_output_add_text(&session->output, strlen(line));
}

static bool is_unmodified(const struct http_request *request, const struct http_resource *resource)
{
    if (request->none_match_size > 0)
        return request->none_match_size == strlen(resource->etag) &&
               memcmp(request->none_match, resource->etag, request->none_match_size) == 0;
    return request->modified_size > 0 && request->modified_size == strlen(resource->modified) &&
           memcmp(request->modified_since, resource->modified, request->modified_size) == 0;
}

void http_reply(struct http_session *session, const struct http_request *request, bool keep_alive)
{
    bool                        get = session->parser.method == HTTP_GET;
    const struct http_resource *resource;
    char                        path[HTTP_TARGET_BYTES_MAX];
    int                         path_size;

    if (!get && session->parser.method != HTTP_HEAD) {
        http_reply_status(session, 405, true, keep_alive);
        return;
    }
    path_size = http_request_path(request, path);
    if (path_size < 0) {
        http_reply_status(session, 400, get, keep_alive);
        return;
    }
    resource = http_site_find(&session->service->site, path, (size_t)path_size);
    if (!resource)
        http_reply_status(session, 404, get, keep_alive);
    else if (is_unmodified(request, resource))
        reply_unmodified(session, resource, keep_alive);
    else
        reply_resource(session, resource, get, keep_alive);
}
