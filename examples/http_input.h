/* http_input.h: a session's requests; for the files of the session. http_session_receive() stands behind it. */
#ifndef HTTP_INPUT_H
#define HTTP_INPUT_H

#include "http_session.h"

void http_input_open(struct http_session *session);

/* Drops the request that is being read. */
void http_input_forget(struct http_session *session);

/* Answers what cannot be understood or served, and reads no further: where the next request begins is unknown. */
void http_input_refuse(struct http_session *session, int status);

#endif
