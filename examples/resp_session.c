/* resp_session.c: requests are read where they were received; only what is left of an incomplete one is copied. */
#include "resp_session.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_FIRST = 4096 };

static bool keep(struct resp_session *session, const char *bytes, size_t size)
{
    size_t capacity = session->capacity == 0 ? CAPACITY_FIRST : session->capacity;
    char  *input;

    while (capacity < session->size + size)
        capacity *= 2;
    if (capacity != session->capacity) {
        input = realloc(session->input, capacity);
        if (input == NULL)
            return false;
        session->input = input;
        session->capacity = capacity;
    }
    memcpy(session->input + session->size, bytes, size);
    session->size += size;
    return true;
}

/* Carries out what is complete in bytes; *ret_used of them are done with. */
static enum resp_state carry_out(struct resp_session *session, struct resp_store *store, const char *bytes, size_t size,
                                 struct resp_output *output, size_t *ret_used)
{
    static struct resp_request request; /* large; valid during a call of resp_command only */
    const char                *error;
    size_t                     length, used = 0;
    enum resp_state            state = RESP_MORE;

    session->needed = 0;
    while (used < size && state == RESP_MORE) {
        enum resp_parsed parsed;

        if (output->size >= RESP_OUTPUT_ENOUGH) {
            state = RESP_FULL;
            break;
        }
        parsed = resp_parse(bytes + used, size - used, &request, &length, &error);
        if (parsed == RESP_INCOMPLETE) {
            session->needed = length;
            break;
        }
        if (parsed == RESP_MALFORMED) {
            resp_reply_error(output, error);
            state = RESP_END;
        } else {
            used += length;
            if (request.count > 0 && !resp_command(store, &request, output))
                state = RESP_END;
        }
    }
    *ret_used = used;
    return output->failed ? RESP_END : state;
}

enum resp_state resp_session_receive(struct resp_session *session, struct resp_store *store, const void *bytes,
                                     size_t size, struct resp_output *output)
{
    enum resp_state state;
    size_t          used;

    if (session->size == 0) {
        state = carry_out(session, store, bytes, size, output, &used);
        if (state != RESP_END && used < size && !keep(session, (const char *)bytes + used, size - used))
            return RESP_END;
        return state;
    }
    if (size > 0 && !keep(session, bytes, size))
        return RESP_END;
    if (session->size < session->needed)
        return RESP_MORE;
    state = carry_out(session, store, session->input, session->size, output, &used);
    session->size -= used;
    if (session->size == 0)
        resp_session_end(session);
    else
        memmove(session->input, session->input + used, session->size);
    return state;
}

void resp_session_end(struct resp_session *session)
{
    free(session->input);
    *session = (struct resp_session){0};
}
