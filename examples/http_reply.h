/* http_reply.h: what is answered. A session whose reply finds no memory is abandoned. */
#ifndef HTTP_REPLY_H
#define HTTP_REPLY_H

#include "http_session.h"

#include <stdbool.h>

/* Answers a complete request, as the site has it. */
void http_reply(struct http_session *session, const struct http_request *request, bool keep_alive);

/* A status with a line of text, e.g. "404 Not Found". */
void http_reply_status(struct http_session *session, int status, bool with_body, bool keep_alive);

/* "100 Continue", before the reply. */
void http_reply_continue(struct http_session *session);

#endif
