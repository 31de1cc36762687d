/* http_options.c: the command line of the HTTP servers. */
#include "http_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char usage_text[] =
    "  --port N            TCP port, 0 for any free one (default 8080)\n"
    "  --address A         IPv4 or IPv6 address to listen on (default 127.0.0.1)\n"
    "  --root DIR          serve the files below DIR, read into memory now (default: a fixed greeting)\n"
    "  --header-timeout S  seconds a client may take to send a request (default 10)\n"
    "  --help              show this\n"
    "Prints \"ready PORT\" when it listens. SIGTERM or SIGINT ends it.\n";

static _Noreturn void usage(FILE *stream, const char *program, int status)
{
    fprintf(stream, "usage: %s [options]\n%s", program, usage_text);
    exit(status);
}

static _Noreturn void misuse(const char *option, const char *value)
{
    fprintf(stderr, "%s: not a usable value: %s\n", option, value);
    exit(2);
}

static uint16_t parse_port(const char *text)
{
    char         *end;
    unsigned long port;

    errno = 0;
    port = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || port > UINT16_MAX)
        misuse("--port", text);
    return (uint16_t)port;
}

static uint32_t parse_seconds(const char *text)
{
    char  *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds >= 0.1 && seconds <= 3600))
        misuse("--header-timeout", text);
    return (uint32_t)(seconds * 1000);
}

static void parse_address(struct http_options *options, const char *text)
{
    struct sockaddr_in  *v4 = (struct sockaddr_in *)&options->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&options->address;

    memset(&options->address, 0, sizeof options->address);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(options->port);
        options->address_size = sizeof *v4;
    } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(options->port);
        options->address_size = sizeof *v6;
    } else {
        misuse("--address", text);
    }
}

void http_options_parse(struct http_options *options, int argc, char **argv)
{
    static const struct option long_options[] = {
        {"port", required_argument, NULL, 'p'},           {"address", required_argument, NULL, 'a'},
        {"root", required_argument, NULL, 'r'},           {"help", no_argument, NULL, 'h'},
        {"header-timeout", required_argument, NULL, 't'}, {NULL, 0, NULL, 0},
    };
    const char *address = "127.0.0.1";
    int         option;

    *options = (struct http_options){.port = 8080, .header_timeout_ms = 10000};
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'p': options->port = parse_port(optarg); break;
        case 'a': address = optarg; break;
        case 'r': options->root = optarg; break;
        case 't': options->header_timeout_ms = parse_seconds(optarg); break;
        case 'h': usage(stdout, argv[0], 0);
        default: usage(stderr, argv[0], 2);
        }
    }
    if (optind < argc)
        usage(stderr, argv[0], 2);
    parse_address(options, address);
}

void http_prepare_process(void)
{
    struct rlimit files;

    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

void http_announce(unsigned port)
{
    printf("ready %u\n", port);
    fflush(stdout);
}
