/* http_library.h: the HTTP parser that the system offers, llhttp or its ancestor http_parser, under one set of names.
 * CMake defines HTTP_USE_LLHTTP where llhttp was found. Everything else that the examples use of the two is the same:
 * the fields method, http_major, http_minor, content_length and data, and the names of callbacks and methods. */
#ifndef HTTP_LIBRARY_H
#define HTTP_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef HTTP_USE_LLHTTP

#include <llhttp.h>

typedef llhttp_t          http_library_parser;
typedef llhttp_settings_t http_library_callbacks;

static inline void http_library_init(http_library_parser *parser, const http_library_callbacks *callbacks)
{
    llhttp_init(parser, HTTP_REQUEST, callbacks);
}

/* Returns true if all bytes were taken. Otherwise *ret_stop says how far it came, and the parser is of no more use. */
static inline bool http_library_execute(http_library_parser *parser, const http_library_callbacks *callbacks,
                                        const char *bytes, size_t size, size_t *ret_stop)
{
    (void)callbacks;
    if (llhttp_execute(parser, bytes, size) == HPE_OK)
        return true;
    *ret_stop = (size_t)(llhttp_get_error_pos(parser) - bytes);
    return false;
}

static inline bool http_library_keep_alive(const http_library_parser *parser)
{
    return llhttp_should_keep_alive(parser) != 0;
}

#else

#include <http_parser.h>

typedef http_parser          http_library_parser;
typedef http_parser_settings http_library_callbacks;

static inline void http_library_init(http_library_parser *parser, const http_library_callbacks *callbacks)
{
    (void)callbacks;
    http_parser_init(parser, HTTP_REQUEST);
}

static inline bool http_library_execute(http_library_parser *parser, const http_library_callbacks *callbacks,
                                        const char *bytes, size_t size, size_t *ret_stop)
{
    size_t taken = http_parser_execute(parser, callbacks, bytes, size);

    if (HTTP_PARSER_ERRNO(parser) == HPE_OK && taken == size)
        return true;
    *ret_stop = taken;
    return false;
}

static inline bool http_library_keep_alive(const http_library_parser *parser)
{
    return http_should_keep_alive(parser) != 0;
}

#endif

/* The status that answers what made http_library_execute() stop by itself. */
static inline int http_library_error_status(const http_library_parser *parser)
{
#ifdef HTTP_USE_LLHTTP
    llhttp_errno_t reason = llhttp_get_errno(parser);
#else
    enum http_errno reason = HTTP_PARSER_ERRNO(parser);

    if (reason == HPE_HEADER_OVERFLOW)
        return 431;
#endif
    if (reason == HPE_INVALID_METHOD)
        return 501;
    if (reason == HPE_INVALID_VERSION)
        return 505;
    return 400;
}

/* The Content-Length, or 0 if there is none (which http_parser writes as the highest number). */
static inline uint64_t http_library_content_length(const http_library_parser *parser)
{
    return parser->content_length == UINT64_MAX ? 0 : parser->content_length;
}

#endif
