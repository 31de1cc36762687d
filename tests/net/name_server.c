/* tests/net/name_server.c: a small DNS server for tests. */
#include "tests/net/name_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <ctype.h>

enum { HEADER_BYTES = 12, TYPE_A = 1, TYPE_CNAME = 5, TYPE_PTR = 12, TYPE_AAAA = 28, MANY = 60 };
enum { SERVFAIL = 2, NXDOMAIN = 3, REFUSED = 5 };

/* ---- answers */

struct answer {
    uint8_t bytes[2048];
    size_t  size;
    size_t  records;
};

static void put(struct answer *answer, const void *data, size_t size)
{
    if (answer->size + size > sizeof(answer->bytes))
        abort();
    memcpy(answer->bytes + answer->size, data, size);
    answer->size += size;
}

static void put16(struct answer *answer, unsigned value)
{
    put(answer, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

/* Of the name that was asked for. */
static void put_record(struct answer *answer, unsigned type, const void *data, size_t size)
{
    put16(answer, 0xc000 | HEADER_BYTES);
    put16(answer, type);
    put16(answer, 1);
    put(answer, "\0\0\0\x3c", 4);
    put16(answer, (unsigned)size);
    put(answer, data, size);
    answer->records++;
}

static void put_address(struct answer *answer, unsigned type, const char *four, const char *six)
{
    uint8_t bytes[16];

    if (type == TYPE_A && four != NULL && inet_pton(AF_INET, four, bytes) == 1)
        put_record(answer, type, bytes, 4);
    if (type == TYPE_AAAA && six != NULL && inet_pton(AF_INET6, six, bytes) == 1)
        put_record(answer, type, bytes, 16);
}

static void put_alias(struct answer *answer, unsigned type)
{
    static const char target[] = "\4both\4test";
    uint8_t           bytes[16];
    int               family = type == TYPE_A ? AF_INET : AF_INET6;

    put_record(answer, TYPE_CNAME, target, sizeof(target));
    if (inet_pton(family, family == AF_INET ? "192.0.2.1" : "2001:db8::1", bytes) != 1)
        abort();
    put(answer, target, sizeof(target));
    put16(answer, type);
    put16(answer, 1);
    put(answer, "\0\0\0\x3c", 4);
    put16(answer, family == AF_INET ? 4 : 16);
    put(answer, bytes, family == AF_INET ? 4 : 16);
    answer->records++;
}

static void put_many(struct answer *answer, unsigned type)
{
    for (unsigned i = 0; type == TYPE_A && i < MANY; i++)
        put_record(answer, type, (uint8_t[]){192, 0, 2, (uint8_t)(i + 1)}, 4);
}

static bool begins(const char *name, const char *word)
{
    return strncmp(name, word, strlen(word)) == 0;
}

/* Fills in the records and returns the code; negative: nothing is sent. */
static int answer_for(struct answer *answer, const char *name, unsigned type)
{
    const char *four = strstr(name, "loop") != NULL ? "127.0.0.1" : "192.0.2.1";
    const char *six = strstr(name, "loop") != NULL ? "::1" : "2001:db8::1";

    if (type == TYPE_PTR && (begins(name, "1.2.0.192.in-addr") || begins(name, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.")))
        put_record(answer, type, "\4both\4test", 11);
    else if (begins(name, "both.") || begins(name, "held") || begins(name, "loopback.") ||
             (begins(name, "mixed.") && type == TYPE_A))
        put_address(answer, type, four, six);
    else if (begins(name, "four.") || begins(name, "loop4."))
        put_address(answer, type, four, NULL);
    else if (begins(name, "six.") || begins(name, "loop6."))
        put_address(answer, type, NULL, six);
    else if (begins(name, "alias."))
        put_alias(answer, type);
    else if (begins(name, "many."))
        put_many(answer, type);
    else if (begins(name, "servfail.") || begins(name, "mixed.") || begins(name, "66.2.0.192."))
        return SERVFAIL;
    else if (begins(name, "refused."))
        return REFUSED;
    else if (begins(name, "silent."))
        return -1;
    else if (!begins(name, "none."))
        return NXDOMAIN;
    return 0;
}

/* ---- questions */

/* The name as text; returns its end, or 0 if it makes no sense. */
static size_t read_name(const struct name_question *question, char *name, size_t name_size)
{
    size_t at = HEADER_BYTES, length = 0;

    while (at < question->size && question->bytes[at] != 0) {
        size_t label = question->bytes[at++];

        if (label > 63 || at + label >= question->size || length + label + 2 > name_size)
            return 0;
        for (size_t i = 0; i < label; i++)
            name[length++] = (char)tolower(question->bytes[at + i]);
        name[length++] = '.';
        at += label;
    }
    name[length] = '\0';
    return at + 5 <= question->size ? at + 5 : 0;
}

static unsigned type_of(const struct name_question *question, size_t end)
{
    return (unsigned)question->bytes[end - 4] << 8 | question->bytes[end - 3];
}

static bool is_held(const char *name, unsigned type)
{
    if (begins(name, "held4"))
        return type == TYPE_A;
    return begins(name, "held6") ? type == TYPE_AAAA : begins(name, "held");
}

/* Returns whether there is an answer. */
static bool make_answer(struct answer *answer, const struct name_question *question, bool by_udp)
{
    char   name[300];
    size_t end = read_name(question, name, sizeof(name));
    int    code;

    memset(answer, 0, sizeof(*answer));
    if (end == 0)
        return false;
    put(answer, question->bytes, end); /* as it was written: some change the case to see whether it comes back */
    code = answer_for(answer, name, type_of(question, end));
    if (code < 0)
        return false;
    if (by_udp && answer->size > 512) { /* too much */
        answer->bytes[2] |= 2;
        answer->size = end;
        answer->records = 0;
    }
    answer->bytes[2] |= 0x80;
    answer->bytes[3] = (uint8_t)(0x80 | code);
    answer->bytes[4] = 0;
    answer->bytes[5] = 1;
    answer->bytes[6] = (uint8_t)(answer->records >> 8);
    answer->bytes[7] = (uint8_t)answer->records;
    memset(answer->bytes + 8, 0, 4);
    if (begins(name, "garbage."))
        answer->size = end / 2;
    return true;
}

static void answer_by_udp(struct name_server *server, const struct name_question *question)
{
    struct answer answer;

    if (make_answer(&answer, question, true))
        (void)!sendto(server->udp, answer.bytes, answer.size, 0, (const struct sockaddr *)&question->from,
                      sizeof(question->from));
}

static void take_udp(struct name_server *server)
{
    struct name_question question;
    socklen_t            from_size = sizeof(question.from);
    char                 name[300];
    size_t               end;
    ssize_t              n = recvfrom(server->udp, question.bytes, sizeof(question.bytes), MSG_DONTWAIT,
                                      (struct sockaddr *)&question.from, &from_size);

    if (n < HEADER_BYTES)
        return;
    question.size = (size_t)n;
    end = read_name(&question, name, sizeof(name));
    server->asked++;
    if (end > 0 && is_held(name, type_of(&question, end)) && !server->let) {
        if (server->held_count < NAME_SERVER_HELD_MAX)
            server->held[server->held_count++] = question;
        return;
    }
    answer_by_udp(server, &question);
}

static void let_held(struct name_server *server)
{
    for (uint32_t i = 0; i < server->held_count; i++)
        answer_by_udp(server, &server->held[i]);
    server->held_count = 0;
}

/* One question; it comes in one piece over loopback. Returns whether the connection goes on. */
static bool take_tcp(struct name_server *server, int fd)
{
    struct name_question question;
    struct answer        answer;
    uint8_t              size[2];

    if (recv(fd, size, 2, 0) != 2)
        return false;
    question.size = (size_t)size[0] << 8 | size[1];
    if (question.size < HEADER_BYTES || question.size > sizeof(question.bytes) ||
        recv(fd, question.bytes, question.size, 0) != (ssize_t)question.size)
        return false;
    server->asked++;
    server->asked_by_tcp++;
    if (!make_answer(&answer, &question, false))
        return true;
    size[0] = (uint8_t)(answer.size >> 8);
    size[1] = (uint8_t)answer.size;
    return send(fd, size, 2, MSG_NOSIGNAL | MSG_MORE) == 2 &&
           send(fd, answer.bytes, answer.size, MSG_NOSIGNAL) == (ssize_t)answer.size;
}

static void take_connection(struct name_server *server)
{
    int fd = accept4(server->tcp, NULL, NULL, SOCK_CLOEXEC);

    for (int i = 0; i < NAME_SERVER_TCP_MAX && fd >= 0; i++) {
        if (server->connections[i] < 0) {
            server->connections[i] = fd;
            return;
        }
    }
    if (fd >= 0)
        close(fd);
}

static void *serve(void *arg)
{
    struct name_server *server = arg;
    struct pollfd       polls[3 + NAME_SERVER_TCP_MAX];

    for (;;) {
        polls[0] = (struct pollfd){.fd = server->stop, .events = POLLIN};
        polls[1] = (struct pollfd){.fd = server->udp, .events = POLLIN};
        polls[2] = (struct pollfd){.fd = server->tcp, .events = POLLIN};
        for (int i = 0; i < NAME_SERVER_TCP_MAX; i++)
            polls[3 + i] = (struct pollfd){.fd = server->connections[i], .events = POLLIN};
        if (poll(polls, TEST_COUNT(polls), 5) < 0 && errno != EINTR)
            abort();
        if (polls[0].revents != 0)
            return NULL;
        if (server->let)
            let_held(server);
        if (polls[1].revents != 0)
            take_udp(server);
        if (polls[2].revents != 0)
            take_connection(server);
        for (int i = 0; i < NAME_SERVER_TCP_MAX; i++) {
            if (polls[3 + i].fd >= 0 && polls[3 + i].revents != 0 && !take_tcp(server, polls[3 + i].fd)) {
                close(server->connections[i]);
                server->connections[i] = -1;
            }
        }
    }
}

/* ---- life */

static int bound(int type, struct sockaddr_in *address)
{
    socklen_t size = sizeof(*address);
    int       one = 1;
    int       fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    if (bind(fd, (struct sockaddr *)address, sizeof(*address)) != 0) {
        close(fd);
        return -1;
    }
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, &size), 0);
    return fd;
}

void name_server_open(struct name_server *server, uint16_t port)
{
    struct sockaddr_in address;

    memset(server, 0, sizeof(*server));
    server->tcp = -1;
    for (int i = 0; i < 100 && server->tcp < 0; i++) { /* the same port must be free for both */
        address = test_localhost(port);
        server->udp = bound(SOCK_DGRAM, &address);
        ck_assert_int_ge(server->udp, 0);
        server->tcp = bound(SOCK_STREAM, &address);
        if (server->tcp < 0)
            close(server->udp);
    }
    ck_assert_int_ge(server->tcp, 0);
    ck_assert_int_eq(listen(server->tcp, 16), 0);
    server->stop = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_ge(server->stop, 0);
    memset(server->connections, 0xff, sizeof(server->connections));
    server->held = calloc(NAME_SERVER_HELD_MAX, sizeof(server->held[0]));
    ck_assert_ptr_nonnull(server->held);
    snprintf(server->servers, sizeof(server->servers), "127.0.0.1:%u", ntohs(address.sin_port));
    ck_assert_int_eq(pthread_create(&server->thread, NULL, serve, server), 0);
}

void name_server_close(struct name_server *server)
{
    test_write(server->stop, &(uint64_t){1}, sizeof(uint64_t));
    ck_assert_int_eq(pthread_join(server->thread, NULL), 0);
    for (int i = 0; i < NAME_SERVER_TCP_MAX; i++) {
        if (server->connections[i] >= 0)
            test_close(server->connections[i]);
    }
    test_close(server->udp);
    test_close(server->tcp);
    test_close(server->stop);
    free(server->held);
}

void name_server_let(struct name_server *server)
{
    server->let = true;
}

/* ---- a network of our own */

static bool write_file(const char *path, const char *text)
{
    int  fd = open(path, O_WRONLY | O_CLOEXEC);
    bool fine = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return fine;
}

/* Shows the text to this process alone where the file is. */
static bool replace_file(const char *path, const char *text)
{
    char temporary[] = "/tmp/ringloop-test-XXXXXX";
    int  fd = mkostemp(temporary, O_CLOEXEC);
    bool fine;

    if (fd < 0)
        return false;
    fine = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, 0644) == 0 &&
           mount(temporary, path, NULL, MS_BIND, NULL) == 0;
    close(fd);
    unlink(temporary);
    return fine;
}

static bool loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int          fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool         fine = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;

    request.ifr_flags |= IFF_UP;
    fine = fine && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    if (fd >= 0)
        close(fd);
    return fine;
}

static bool become_root(void)
{
    char map[64];

    if (geteuid() == 0)
        return unshare(CLONE_NEWNS | CLONE_NEWNET) == 0;
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) == 0 && write_file("/proc/self/uid_map", map);
}

bool name_world(void)
{
    return become_root() && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && loopback_up() &&
           replace_file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n") &&
           replace_file("/etc/nsswitch.conf",
                        "hosts: files dns\nservices: files\nnetworks: files\nprotocols: files\n") &&
           replace_file("/etc/hosts", "192.0.2.99 filehost\n127.0.0.1 localhost\n::1 localhost\n");
}
