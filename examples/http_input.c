/* http_input.c: a session's requests: what the parser makes of the bytes that come. */
#include "http_input.h"

#include "http_reply.h"

#include <stdlib.h>
#include <string.h>

void http_input_forget(struct http_session *session)
{
    if (session->request != &session->service->request)
        free(session->request);
    session->request = NULL;
}

void http_input_refuse(struct http_session *session, int status)
{
    http_input_forget(session);
    session->phase = HTTP_PHASE_LAST;
    session->input_left = true;
    http_reply_status(session, status, true, false);
}

/* The parser's callbacks: 0 to go on; any other value makes it stop */

static struct http_session *session_of(http_library_parser *parser)
{
    return parser->data;
}

static int go_on_unless(struct http_session *session, int status)
{
    if (status == 0)
        return 0;
    http_input_refuse(session, status);
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
        http_reply_continue(session);
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

    http_reply(session, session->request, keep_alive);
    session->answered_any = true;
    http_input_forget(session);
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
        http_session_abandon(session);
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
    http_input_refuse(session, status);
}

void http_session_end(struct http_session *session)
{
    if (session->phase == HTTP_PHASE_OPEN)
        session->phase = HTTP_PHASE_LAST;
    session->input_left = false;
}

void http_input_open(struct http_session *session)
{
    http_library_init(&session->parser, &callbacks);
    session->parser.data = session;
}
