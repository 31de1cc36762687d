/* resp_protocol.c: RESP2: *COUNT, then $SIZE and that many bytes for each argument, each line ended by CR LF. */
#include "resp_protocol.h"

#include <string.h>

enum { LENGTH_DIGITS_MAX = 10 };

struct reader {
    const char *at, *end;
    const char *error;
    size_t      missing; /* at least so many bytes, when they are not all there */
};

/* A length and its CR LF. */
static enum resp_parsed read_length(struct reader *reader, int64_t *ret_length)
{
    const char *at = reader->at;
    bool        negative = at < reader->end && *at == '-';
    int64_t     value = 0;
    int         digits = 0;

    at += negative;
    for (; at < reader->end && *at >= '0' && *at <= '9'; at++) {
        if (++digits > LENGTH_DIGITS_MAX)
            return RESP_MALFORMED;
        value = value * 10 + (*at - '0');
    }
    if (at < reader->end && (*at != '\r' || digits == 0))
        return RESP_MALFORMED;
    if (reader->end - at < 2) {
        reader->missing = (size_t)(2 - (reader->end - at));
        return RESP_INCOMPLETE;
    }
    if (at[1] != '\n')
        return RESP_MALFORMED;
    reader->at = at + 2;
    *ret_length = negative ? -value : value;
    return RESP_COMPLETE;
}

static enum resp_parsed read_bulk(struct reader *reader, struct resp_slice *ret_argument)
{
    int64_t          length;
    enum resp_parsed parsed;
    size_t           wanted;

    reader->missing = 4;
    if (reader->at == reader->end)
        return RESP_INCOMPLETE;
    reader->error = "ERR Protocol error: expected '$'";
    if (*reader->at++ != '$')
        return RESP_MALFORMED;
    reader->error = "ERR Protocol error: invalid bulk length";
    parsed = read_length(reader, &length);
    if (parsed != RESP_COMPLETE)
        return parsed;
    if (length < 0 || length > RESP_BULK_MAX)
        return RESP_MALFORMED;
    wanted = (size_t)length + 2;
    if ((size_t)(reader->end - reader->at) < wanted) {
        reader->missing = wanted - (size_t)(reader->end - reader->at);
        return RESP_INCOMPLETE;
    }
    reader->error = "ERR Protocol error: a bulk is longer than it says";
    if (memcmp(reader->at + length, "\r\n", 2) != 0)
        return RESP_MALFORMED;
    *ret_argument = (struct resp_slice){.bytes = reader->at, .size = (size_t)length};
    reader->at += wanted;
    return RESP_COMPLETE;
}

static enum resp_parsed read_array(struct reader *reader, struct resp_request *request)
{
    int64_t          count;
    enum resp_parsed parsed;

    reader->at++;
    reader->error = "ERR Protocol error: invalid multibulk length";
    parsed = read_length(reader, &count);
    if (parsed != RESP_COMPLETE)
        return parsed;
    if (count > RESP_ARGUMENTS_MAX)
        return RESP_MALFORMED;
    for (int64_t i = 0; i < count && parsed == RESP_COMPLETE; i++)
        parsed = read_bulk(reader, &request->arguments[request->count++]);
    return parsed;
}

/* A line of words, as one types it into telnet; without quotes. */
static enum resp_parsed read_inline(struct reader *reader, struct resp_request *request)
{
    size_t      size = (size_t)(reader->end - reader->at);
    const char *line_end = memchr(reader->at, '\n', size < RESP_INLINE_MAX ? size : RESP_INLINE_MAX);
    const char *at = reader->at;

    reader->missing = 1;
    reader->error = "ERR Protocol error: too big inline request";
    if (line_end == NULL)
        return size < RESP_INLINE_MAX ? RESP_INCOMPLETE : RESP_MALFORMED;
    while (at < line_end) {
        const char *word = at;

        while (at < line_end && *at != ' ' && *at != '\t' && *at != '\r')
            at++;
        if (at > word) {
            if (request->count == RESP_ARGUMENTS_MAX)
                return RESP_MALFORMED;
            request->arguments[request->count++] = (struct resp_slice){.bytes = word, .size = (size_t)(at - word)};
        }
        at += at < line_end;
    }
    reader->at = line_end + 1;
    return RESP_COMPLETE;
}

enum resp_parsed resp_parse(const char *bytes, size_t size, struct resp_request *request, size_t *ret_size,
                            const char **ret_error)
{
    struct reader    reader = {.at = bytes, .end = bytes + size, .missing = 1};
    enum resp_parsed parsed = RESP_INCOMPLETE;

    request->count = 0;
    if (size > 0)
        parsed = *bytes == '*' ? read_array(&reader, request) : read_inline(&reader, request);
    *ret_size = parsed == RESP_COMPLETE ? (size_t)(reader.at - bytes) : size + reader.missing;
    *ret_error = reader.error;
    if (parsed == RESP_INCOMPLETE && *ret_size > RESP_REQUEST_MAX) {
        *ret_error = "ERR Protocol error: too big request";
        return RESP_MALFORMED;
    }
    return parsed;
}

bool resp_integer(struct resp_slice text, int64_t *ret_value)
{
    bool    negative = text.size > 0 && text.bytes[0] == '-';
    size_t  first = negative;
    /* Kept negative, since that is where there is one more. */
    int64_t value = 0;

    if (text.size == first || text.size > 20 || (text.bytes[first] == '0' && text.size > 1))
        return false;
    for (size_t i = first; i < text.size; i++) {
        int digit = text.bytes[i] - '0';

        if (digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value))
            return false;
    }
    if (!negative && value == INT64_MIN)
        return false;
    *ret_value = negative ? value : -value;
    return true;
}
