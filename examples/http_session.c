/* http_session.c: reads requests, writes replies. */
#include "http_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* ---- replies */

/* No memory for a reply, or no patience: the connection can only be cut. What is unsent is kept until it is closed:
 * the kernel may be reading it just now. */
static void session_abandon(struct http_session *session)
{
    session->phase = HTTP_PHASE_ENDED;
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
        session_abandon(session);
        return;
    }
    end = append(end, service->ok_head, service->ok_head_size);
    end = append(end, connection, strlen(connection));
    if (copied)
        end = append(end, resource->reply, rest);
    http_output_add_text(&session->output, (size_t)(end - text));
    if (!copied && !http_output_add_reference(&session->output, &service->store, resource->reply, rest))
        session_abandon(session);
}

static void reply_unmodified(struct http_session *session, const struct http_resource *resource, bool keep_alive)
{
    struct http_service *service = session->service;
    char                *text = http_output_room(&session->output, &service->store, REPLY_LINES_BYTES_MAX);

    if (!text) {
        session_abandon(session);
        return;
    }
    http_output_add_text(&session->output,
                         (size_t)snprintf(text, REPLY_LINES_BYTES_MAX,
                                          "HTTP/1.1 304 Not Modified\r\nServer: %s\r\nDate: %s\r\nETag: %s\r\n%s\r\n",
                                          service->name, service->date, resource->etag,
                                          connection_header(session, keep_alive)));
}

/* A status with a line of text, e.g. "404 Not Found". */
static void reply_status(struct http_session *session, int status, bool with_body, bool keep_alive)
{
    enum { BYTES_MAX = 2 * REPLY_LINES_BYTES_MAX };
    struct http_service *service = session->service;
    char                *text = http_output_room(&session->output, &service->store, BYTES_MAX);
    char                 body[64];
    int                  body_size = snprintf(body, sizeof body, "%d %s\n", status, reason_of(status));
    int                  size;

    if (!text) {
        session_abandon(session);
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

static void reply_continue(struct http_session *session)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    char             *text = http_output_room(&session->output, &session->service->store, strlen(line));

    if (!text) {
        session_abandon(session);
        return;
    }
    memcpy(text, line, strlen(line));
    http_output_add_text(&session->output, strlen(line));
}

/* ---- requests */

static void forget_request(struct http_session *session)
{
    if (session->request != &session->service->request)
        free(session->request);
    session->request = NULL;
}

/* Answers what cannot be understood or served, and reads no further: where the next request begins is unknown. */
static void session_refuse(struct http_session *session, int status)
{
    forget_request(session);
    session->phase = HTTP_PHASE_LAST;
    session->input_left = true;
    reply_status(session, status, true, false);
}

static bool is_unmodified(const struct http_request *request, const struct http_resource *resource)
{
    if (request->none_match_size > 0)
        return request->none_match_size == strlen(resource->etag) &&
               memcmp(request->none_match, resource->etag, request->none_match_size) == 0;
    return request->modified_size > 0 && request->modified_size == strlen(resource->modified) &&
           memcmp(request->modified_since, resource->modified, request->modified_size) == 0;
}

/* Answers a complete request. */
static void session_reply(struct http_session *session, const struct http_request *request, bool keep_alive)
{
    bool                        get = session->parser.method == HTTP_GET;
    const struct http_resource *resource;
    char                        path[HTTP_TARGET_BYTES_MAX];
    int                         path_size;

    if (!get && session->parser.method != HTTP_HEAD) {
        reply_status(session, 405, true, keep_alive);
        return;
    }
    path_size = http_request_path(request, path);
    if (path_size < 0) {
        reply_status(session, 400, get, keep_alive);
        return;
    }
    resource = http_site_find(&session->service->site, path, (size_t)path_size);
    if (!resource)
        reply_status(session, 404, get, keep_alive);
    else if (is_unmodified(request, resource))
        reply_unmodified(session, resource, keep_alive);
    else
        reply_resource(session, resource, get, keep_alive);
}

/* ---- the parser's callbacks: 0 to go on; any other value makes it stop */

static struct http_session *session_of(http_library_parser *parser)
{
    return parser->data;
}

static int go_on_unless(struct http_session *session, int status)
{
    if (status == 0)
        return 0;
    session_refuse(session, status);
    return -1;
}

static int on_message_begin(http_library_parser *parser)
{
    struct http_session *session = session_of(parser);

    session->request = &session->service->request;
    session->request_ms = session->service->now_ms;
    http_request_reset(session->request);
    return 0;
}

static int on_url(http_library_parser *parser, const char *bytes, size_t size)
{
    struct http_session *session = session_of(parser);

    return go_on_unless(session, http_request_target(session->request, bytes, size));
}

static int on_header_field(http_library_parser *parser, const char *bytes, size_t size)
{
    struct http_session *session = session_of(parser);

    return go_on_unless(session, http_request_header_name(session->request, bytes, size));
}

static int on_header_value(http_library_parser *parser, const char *bytes, size_t size)
{
    struct http_session *session = session_of(parser);

    return go_on_unless(session, http_request_header_value(session->request, bytes, size));
}

static int on_headers_complete(http_library_parser *parser)
{
    struct http_session *session = session_of(parser);
    int                  status = http_request_head_done(session->request, parser->http_major, parser->http_minor,
                                                         http_library_content_length(parser));

    parser->upgrade = 0; /* offers to go on in another protocol are passed over, as HTTP allows */
    if (status == 0 && parser->method == HTTP_CONNECT)
        status = 501;
    if (status == 0 && session->request->expects_continue && parser->http_minor >= 1)
        reply_continue(session);
    return go_on_unless(session, status);
}

static int on_body(http_library_parser *parser, const char *bytes, size_t size)
{
    struct http_session *session = session_of(parser);

    (void)bytes;
    return go_on_unless(session, http_request_body(session->request, size));
}

static int on_message_complete(http_library_parser *parser)
{
    struct http_session *session = session_of(parser);
    bool                 keep_alive = http_library_keep_alive(parser);

    session_reply(session, session->request, keep_alive);
    session->answered_any = true;
    forget_request(session);
    if (!keep_alive && session->phase == HTTP_PHASE_OPEN)
        session->phase = HTTP_PHASE_LAST;
    return session->phase == HTTP_PHASE_OPEN ? 0 : -1;
}

static const http_library_callbacks callbacks = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- input */

/* The parser stops at an unknown method, but also where there is none. A word followed by a space may be a method. */
static bool is_method(const char *bytes, size_t size, size_t stop)
{
    size_t end = stop;

    while (end < size && ((bytes[end] >= 'A' && bytes[end] <= 'Z') || (bytes[end] >= 'a' && bytes[end] <= 'z')))
        end++;
    return end > stop && (end == size || bytes[end] == ' ');
}

/* A request goes on in bytes yet to come, but the shared one is needed for others: this session gets its own copy. */
static void keep_request(struct http_session *session)
{
    if (session->request != &session->service->request)
        return;
    session->request = malloc(sizeof *session->request);
    if (session->request)
        memcpy(session->request, &session->service->request, sizeof *session->request);
    else
        session_abandon(session);
}

void http_session_receive(struct http_session *session, const char *bytes, size_t size)
{
    size_t stop = 0;
    int    status;

    if (session->phase != HTTP_PHASE_OPEN)
        return;
    session->progress_ms = session->service->now_ms;
    if (http_library_execute(&session->parser, &callbacks, bytes, size, &stop)) {
        keep_request(session);
        return;
    }
    if (session->phase != HTTP_PHASE_OPEN) { /* one of our callbacks has stopped it */
        if (stop < size)
            session->input_left = true;
        return;
    }
    status = http_library_error_status(&session->parser);
    if (status == 501 && !is_method(bytes, size, stop))
        status = 400;
    session_refuse(session, status);
}

void http_session_end(struct http_session *session)
{
    if (session->phase == HTTP_PHASE_OPEN)
        session->phase = HTTP_PHASE_LAST;
    session->input_left = false;
}

/* ---- output */

unsigned http_session_segments(const struct http_session *session, struct iovec *segments)
{
    return http_output_next(&session->output, segments, HTTP_SEGMENTS_MAX, HTTP_SEND_BYTES_MAX);
}

void http_session_sent(struct http_session *session, size_t size)
{
    http_output_sent(&session->output, &session->service->store, size);
    session->progress_ms = session->service->now_ms;
    if (session->output.unsent_bytes == 0)
        session->request_ms = session->service->now_ms;
}

enum http_next http_session_next(const struct http_session *session)
{
    if (session->phase == HTTP_PHASE_ENDED)
        return HTTP_NEXT_CLOSE;
    if (session->output.unsent_bytes > 0)
        return HTTP_NEXT_SEND;
    if (session->phase == HTTP_PHASE_OPEN)
        return HTTP_NEXT_WAIT;
    return session->input_left ? HTTP_NEXT_SHUTDOWN : HTTP_NEXT_CLOSE;
}

bool http_session_wants_input(const struct http_session *session)
{
    return session->output.unsent_bytes <= HTTP_UNSENT_BYTES_MAX;
}

/* ---- life */

void http_session_open(struct http_session *session, struct http_service *service)
{
    *session = (struct http_session){
        .service = service,
        .next = service->sessions,
        .request_ms = service->now_ms,
        .progress_ms = service->now_ms,
    };
    if (service->sessions)
        service->sessions->previous = session;
    service->sessions = session;
    http_library_init(&session->parser, &callbacks);
    session->parser.data = session;
}

void http_session_close(struct http_session *session)
{
    if (session->previous)
        session->previous->next = session->next;
    else
        session->service->sessions = session->next;
    if (session->next)
        session->next->previous = session->previous;
    forget_request(session);
    http_output_clear(&session->output, &session->service->store);
}

/* ---- time */

static bool passed(const struct http_session *session, uint32_t since_ms, uint32_t limit_ms)
{
    return session->service->now_ms - since_ms >= limit_ms;
}

/* Ends a session whose peer took too long, for whatever it is that is waited for. Returns whether it did. */
static bool session_time_out(struct http_session *session)
{
    const struct http_service *service = session->service;

    if (session->output.unsent_bytes > 0) {
        if (!passed(session, session->progress_ms, HTTP_STALL_MS_MAX))
            return false;
        session_abandon(session);
    } else if (session->phase != HTTP_PHASE_OPEN) {
        if (!passed(session, session->progress_ms, HTTP_LINGER_MS_MAX))
            return false;
        session_abandon(session);
    } else if (session->request) {
        if (!passed(session, session->request_ms, service->header_timeout_ms))
            return false;
        session_refuse(session, 408);
    } else {
        if (!passed(session, session->request_ms,
                    session->answered_any ? HTTP_IDLE_MS_MAX : service->header_timeout_ms))
            return false;
        session_abandon(session);
    }
    return true;
}

static void refresh_date(struct http_service *service)
{
    time_t    now = time(NULL);
    struct tm when;

    if (now == service->date_second)
        return;
    service->date_second = now;
    gmtime_r(&now, &when);
    strftime(service->date, sizeof service->date, "%a, %d %b %Y %H:%M:%S GMT", &when);
    service->ok_head_size =
        (size_t)snprintf(service->ok_head, sizeof service->ok_head, "HTTP/1.1 200 OK\r\nServer: %s\r\nDate: %s\r\n",
                         service->name, service->date);
}

static void refresh_clock(struct http_service *service)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    service->now_ms = (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
    refresh_date(service);
}

void http_service_tick(struct http_service *service)
{
    struct http_session *session, *next;

    refresh_clock(service);
    for (session = service->sessions; session; session = next) {
        next = session->next; /* on_timeout may end this session, but no other */
        if (session_time_out(session))
            service->on_timeout(session);
    }
}

int http_service_open(struct http_service *service, const struct http_options *options, const char *name,
                      http_session_cb *on_timeout)
{
    *service = (struct http_service){
        .name = name,
        .header_timeout_ms = options->header_timeout_ms,
        .on_timeout = on_timeout,
    };
    refresh_clock(service);
    return http_site_load(&service->site, options->root);
}

void http_service_close(struct http_service *service)
{
    http_block_store_clear(&service->store);
    http_site_unload(&service->site);
}
