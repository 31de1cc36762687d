/* http_session.h: the HTTP/1.1 side of one connection, without any idea of how bytes arrive and leave.
 *
 * A server has one http_service and, in each connection, one http_session. Per connection it does three things:
 *   bytes came        http_session_receive(), or http_session_end() if the peer has sent its last byte
 *   bytes left        http_session_sent()
 *   after each        what http_session_next() says
 * Four times a second it calls http_service_tick(), which keeps the clock and finds the connections that took too long.
 *
 * Requests are answered in order, all that have arrived together in one go. Bodies are read and discarded. */
#ifndef HTTP_SESSION_H
#define HTTP_SESSION_H

#include "http_library.h"
#include "http_options.h"
#include "http_output.h"
#include "http_request.h"
#include "http_site.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    HTTP_READ_BYTES = 16 * 1024,        /* what a server should read at a time at most */
    HTTP_UNSENT_BYTES_MAX = 256 * 1024, /* with more unsent, a server should read no more from this peer */
    HTTP_SEGMENTS_MAX = 64,             /* what a server sends at a time at most: so many segments ... */
    HTTP_SEND_BYTES_MAX = 256 * 1024,   /* ... and so many bytes, so that progress shows on long bodies too */
    HTTP_TICK_MS = 250,                 /* between calls of http_service_tick() */
    HTTP_IDLE_MS_MAX = 60 * 1000,       /* without a request */
    HTTP_STALL_MS_MAX = 30 * 1000,      /* without taking any of what is sent */
    HTTP_LINGER_MS_MAX = 2 * 1000,      /* without closing after the last reply */
};

struct http_session;

/* Called by http_service_tick(): the time is up for this session; look at http_session_next(). It may be closed. */
typedef void http_session_cb(struct http_session *session);

/* What all sessions of a server share. */
struct http_service {
    struct http_site        site;
    struct http_block_store store;
    struct http_request     request; /* the one being read, as long as no session has to keep it for later */
    struct http_session    *sessions;
    http_session_cb        *on_timeout;
    const char             *name; /* for the Server header */
    uint32_t                header_timeout_ms;
    uint32_t                now_ms;      /* as of the last tick */
    int64_t                 date_second; /* the one that date[] shows */
    char                    date[32];
    char                    ok_head[128]; /* of a reply with 200, up to and including the Date */
    size_t                  ok_head_size;
};

enum http_phase {
    HTTP_PHASE_OPEN,  /* requests are read and answered */
    HTTP_PHASE_LAST,  /* the last reply is queued; what still comes is discarded */
    HTTP_PHASE_ENDED, /* nothing more is to be sent or received */
};

struct http_session {
    struct http_service *service;
    struct http_session *next, *previous;
    struct http_request *request; /* between the first and the last byte of a request */
    struct http_output   output;
    http_library_parser  parser;
    uint32_t             request_ms;  /* when the request began to arrive, or began to be waited for */
    uint32_t             progress_ms; /* when bytes last came or left */
    uint8_t              phase;       /* enum http_phase */
    bool                 answered_any;
    bool                 input_left; /* after the last reply the peer may still be sending */
};

/* Loads the site. Returns 0, or -1 after having told stderr why not. Sessions point to service: it must not move. */
int  http_service_open(struct http_service *service, const struct http_options *options, const char *name,
                       http_session_cb *on_timeout);
void http_service_tick(struct http_service *service);
void http_service_close(struct http_service *service); /* after the last session */

void http_session_open(struct http_session *session, struct http_service *service);
void http_session_close(struct http_session *session);

/* Nothing of bytes is needed after the call. */
void http_session_receive(struct http_session *session, const char *bytes, size_t size);
void http_session_end(struct http_session *session);

/* What is to be sent next: fills segments[HTTP_SEGMENTS_MAX] and returns their number. The bytes stay valid until
 * http_session_sent() has been told that they, or the first part of them, have left. */
unsigned http_session_segments(const struct http_session *session, struct iovec *segments);
void     http_session_sent(struct http_session *session, size_t size);

enum http_next {
    HTTP_NEXT_WAIT,     /* for bytes */
    HTTP_NEXT_SEND,     /* what http_session_segments() returns; receive too while http_session_wants_input() */
    HTTP_NEXT_SHUTDOWN, /* all is sent: end our half, receive until the peer ends his (else the reply may be lost) */
    HTTP_NEXT_CLOSE,
};
enum http_next http_session_next(const struct http_session *session);

/* False while the peer is too slow in taking its replies. */
bool http_session_wants_input(const struct http_session *session);

/* No memory for a reply, or no patience: the connection can only be cut. What is unsent is kept until it is closed: the
 * kernel may be reading it just now. */
void http_session_abandon(struct http_session *session);

#endif
