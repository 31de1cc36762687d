/* http_session.c: the life of sessions, what they send, and their time. */
#include "http_session.h"

#include "http_input.h"

#include <stdio.h>
#include <time.h>

void http_session_abandon(struct http_session *session)
{
    session->phase = HTTP_PHASE_ENDED;
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
    http_input_open(session);
}

void http_session_close(struct http_session *session)
{
    if (session->previous)
        session->previous->next = session->next;
    else
        session->service->sessions = session->next;
    if (session->next)
        session->next->previous = session->previous;
    http_input_forget(session);
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
        http_session_abandon(session);
    } else if (session->phase != HTTP_PHASE_OPEN) {
        if (!passed(session, session->progress_ms, HTTP_LINGER_MS_MAX))
            return false;
        http_session_abandon(session);
    } else if (session->request) {
        if (!passed(session, session->request_ms, service->header_timeout_ms))
            return false;
        http_input_refuse(session, 408);
    } else {
        if (!passed(session, session->request_ms,
                    session->answered_any ? HTTP_IDLE_MS_MAX : service->header_timeout_ms))
            return false;
        http_session_abandon(session);
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
