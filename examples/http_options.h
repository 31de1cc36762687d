/* http_options.h: the command line that all HTTP servers here have in common. */
#ifndef HTTP_OPTIONS_H
#define HTTP_OPTIONS_H

#include <netinet/in.h>
#include <stdint.h>

struct http_options {
    const char             *root; /* NULL: a fixed greeting */
    struct sockaddr_storage address;
    socklen_t               address_size;
    uint16_t                port; /* 0: any */
    uint32_t                header_timeout_ms;
};

/* Fills options, or ends the process: with 0 after --help, with 2 after telling stderr what is wrong. */
void http_options_parse(struct http_options *options, int argc, char **argv);

/* A write to a closed connection shall be an error, not a signal; and as many descriptors as the system allows. */
void http_prepare_process(void);

/* Tells whoever started the server that it listens on port. */
void http_announce(unsigned port);

#endif
