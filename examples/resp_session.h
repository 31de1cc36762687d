/* resp_session.h: one client of a RESP server: requests in, replies out. Knows nothing of sockets, so that servers on
 * different event loops can be compared. */
#ifndef RESP_SESSION_H
#define RESP_SESSION_H

#include "resp_protocol.h"
#include "resp_store.h"

enum { RESP_OUTPUT_ENOUGH = 256 << 10 }; /* with more replies than this, the rest of the requests waits */

/* All zero is a new one. Holds only what has come of a request that is not complete, or waits. */
struct resp_session {
    char  *input;
    size_t size, capacity;
    size_t needed; /* bytes of input, before it is worth another look */
};

enum resp_state {
    RESP_MORE, /* everything complete has been carried out */
    RESP_FULL, /* output is full: once it has been sent call again, with no bytes */
    RESP_END,  /* send output, then close: the client asked for it, or does not speak RESP, or memory is short */
};

/* Takes bytes that were received (size may be 0), carries out the requests that are complete, and adds the replies to
 * output. */
enum resp_state resp_session_receive(struct resp_session *session, struct resp_store *store, const void *bytes,
                                     size_t size, struct resp_output *output);

void resp_session_end(struct resp_session *session); /* frees what it holds */

/* Carries out one request, count > 0, and adds its reply. False: it was the last one of this client. */
bool resp_command(struct resp_store *store, const struct resp_request *request, struct resp_output *output);

#endif
