/* tests/net/listener_setup_test.c: the way to a listening socket: steps, options, socket files, bind tried again. */
#include "tests/net/door.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- a listener that notes what happens */

static void note_listening_cb(struct loop_listener *listener, int error)
{
    callback_enter();
    (void)listener;
    note("listening %s", error_text(error));
}

static void note_close_cb(struct loop_listener *listener)
{
    door_close_cb(listener);
    note("close");
}

static int option(int fd, int level, int name)
{
    int       value = -1;
    socklen_t size = sizeof(value);

    ck_assert_int_eq(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

/* A path in a directory of its own. */
struct place {
    char                directory[32], path[48];
    struct loop_address address;
};

static void place_make(struct place *place)
{
    char text[64];

    strcpy(place->directory, "/tmp/ringloop-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place->directory));
    snprintf(place->path, sizeof(place->path), "%s/socket", place->directory);
    snprintf(text, sizeof(text), "unix:%s", place->path);
    place->address = net_parse(text, 0);
}

static bool place_filled(const struct place *place)
{
    struct stat status;

    return lstat(place->path, &status) == 0;
}

static void place_remove(struct place *place)
{
    unlink(place->path);
    ck_assert_int_eq(rmdir(place->directory), 0);
}

/* A socket bound there that nobody listens on any more. */
static void place_leave_stale(const struct place *place)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&place->address.storage, place->address.size), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    test_close(fd);
}

/* ---- steps */

static int fail_at, steps_seen;

static int noting_step(struct loop_listener *listener, enum loop_listener_step step, int fd)
{
    (void)listener;
    steps_seen++;
    note("step %d %s%s%s", (int)step, option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 0 ? "listens" : "",
         option(fd, SOL_SOCKET, SO_REUSEADDR) != 0 ? "set" : "",
         fcntl(fd, F_GETFD) == FD_CLOEXEC ? "" : " not close-on-exec");
    return (int)step == fail_at ? -EDOM : 0;
}

/* Goal: the hook sees each step when it is done, in order; from inside the call. Method: notes what is in force. */
START_TEST(steps_in_order)
{
    struct loop_listener_options options = {.on_step = noting_step};
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    int                          client;

    fail_at = -1;
    door_open_at(loop, &door, &address, &options, door_accept_cb);
    notes_are("step 0 ; step 1 set; step 2 set; step 3 listensset");
    client = net_dial(&door.address);
    run_until(loop, door.accepted == 1);
    test_close(client);
    door_close(loop, &door);
    notes_are("");
    test_loop_free(loop);
}
END_TEST

/* Goal: each step can be refused: the start returns that, and nothing is left, not even the file of a unix socket.
 * Method: each step, tcp and path; then a start without the hook. */
START_TEST(steps_abort)
{
    struct loop_listener_options options = {.on_step = noting_step};
    struct loop_address          tcp = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door = {0};
    struct place                 place;

    place_make(&place);
    for (fail_at = LOOP_LISTENER_MADE; fail_at <= (int)LOOP_LISTENER_LISTENING; fail_at++) {
        uint32_t descriptors = test_fd_count();

        steps_seen = 0;
        ck_assert_int_eq(loop_listener_start(loop, &door.listener, &tcp, &options, door_accept_cb), -EDOM);
        ck_assert_int_eq(loop_listener_start(loop, &door.listener, &place.address, &options, door_accept_cb), -EDOM);
        ck_assert_int_eq(steps_seen, 2 * (fail_at + 1));
        ck_assert(!place_filled(&place));
        ck_assert_uint_eq(test_fd_count(), descriptors);
        ck_assert_int_eq(loop_listener_fd(&door.listener), -EBADF);
        ck_assert_ptr_null(loop_listener_loop(&door.listener));
        ck_assert(!loop_alive(loop));
    }
    door_open_at(loop, &door, &place.address, NULL, door_accept_cb);
    door_close(loop, &door);
    place_remove(&place);
    test_loop_free(loop);
}
END_TEST

static int freebind_step(struct loop_listener *listener, enum loop_listener_step step, int fd)
{
    (void)listener;
    if (step == LOOP_LISTENER_MADE && setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &(int){1}, sizeof(int)) < 0)
        return -errno;
    return 0;
}

/* Goal: the hook is the place for options that the library does not know. Method: listens at an address that this
 * machine does not have, which only IP_FREEBIND allows. */
START_TEST(options_of_ones_own)
{
    struct loop_listener_options options = {.on_step = freebind_step};
    struct loop_address          address = net_parse("192.0.2.1", 0);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door = {0};

    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, NULL, door_accept_cb), -EADDRNOTAVAIL);
    door_open_at(loop, &door, &address, &options, door_accept_cb);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: errors of the address come from the call, and the structure can be used again. Method: an address not ours, a
 * family without listeners, a path without a directory, one too short. */
START_TEST(address_errors)
{
    struct loop_address foreign = net_parse(_i == NET_TCP6 ? "2001:db8::1" : "192.0.2.1", 0);
    struct loop_address nowhere = net_parse("unix:/tmp/ringloop-test-none/socket", 0);
    struct loop_address cut = foreign, none = {.size = sizeof(none.storage) + 1};
    struct loop        *loop = test_loop_new(NULL);
    struct door         door = {0};

    cut.size = 4;
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &foreign, NULL, door_accept_cb), -EADDRNOTAVAIL);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &nowhere, NULL, door_accept_cb), -ENOENT);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &cut, NULL, door_accept_cb), -EINVAL);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &none, NULL, door_accept_cb), -EINVAL);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, NULL, NULL, door_accept_cb), -EINVAL);
    door_open(loop, &door, _i);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* The text of the address where it listens, with the port as #. */
static void listens_at(struct loop *loop, const struct loop_address *address, const char *expected)
{
    struct loop_listener_options options = {.flags = LOOP_LISTENER_UNLINK};
    struct door                  door;
    char                         text[LOOP_ADDRESS_TEXT_MAX], *port;
    int                          client;

    door_open_at(loop, &door, address, &options, door_accept_cb);
    ck_assert_int_gt(loop_address_format(&door.address, text, sizeof(text)), 0);
    port = loop_address_port(&door.address) != 0 ? strrchr(text, ':') : NULL;
    if (port != NULL)
        strcpy(port, ":#");
    if (expected != NULL)
        ck_assert_str_eq(text, expected);
    else
        ck_assert_int_eq(strncmp(text, "unix:@", 6), 0);
    /* A path up to the end of sun_path is told with a zero byte more, which connect(2) does not take. */
    client = net_dial(door.address.size <= sizeof(struct sockaddr_un) ? &door.address : address);
    run_until(loop, door.accepted == 1);
    test_close(client);
    door_close(loop, &door);
}

/* Goal: the bound address is told in full. Method: wildcards, a port of the system's choice, an abstract name, the
 * longest path, which must be removed too, and a name that the kernel chooses. */
START_TEST(names)
{
    struct loop        *loop = test_loop_new(NULL);
    struct place        place;
    struct loop_address any = net_parse("0.0.0.0", 0), local = net_parse("127.0.0.1", 0), abstract, longest;
    struct loop_address chosen = {.storage.ss_family = AF_UNIX, .size = sizeof(sa_family_t)};
    char                text[160], file[160];

    listens_at(loop, &any, "0.0.0.0:#");
    listens_at(loop, &local, "127.0.0.1:#");
    snprintf(text, sizeof(text), "unix:@ringloop-test-%d", (int)getpid());
    abstract = net_parse(text, 0);
    listens_at(loop, &abstract, text);
    listens_at(loop, &chosen, NULL);
    place_make(&place);
    snprintf(text, sizeof(text), "unix:%s/%0*d", place.directory,
             (int)(sizeof(((struct sockaddr_un *)NULL)->sun_path) - strlen(place.directory) - 2), 7);
    strcpy(file, text + strlen("unix:"));
    longest = net_parse(text, 0);
    listens_at(loop, &longest, text);
    ck_assert_int_eq(access(file, F_OK), -1);
    /* One byte more fills sun_path to its end, without a zero. */
    strcat(file, "8");
    memcpy((char *)&longest.storage + offsetof(struct sockaddr_un, sun_path), file, strlen(file));
    longest.size = sizeof(struct sockaddr_un);
    strcat(text, "8");
    listens_at(loop, &longest, text);
    ck_assert_int_eq(access(file, F_OK), -1);
    place_remove(&place);
    test_loop_free(loop);
}
END_TEST

/* ---- options of tcp */

/* Goal: fast open, deferred accept and the shared port are set. Method: asks the kernel; on a unix socket they have no
 * effect. */
START_TEST(tcp_queues)
{
    struct loop_listener_options options = {
        .flags = LOOP_LISTENER_REUSEPORT, .fastopen_queue = 77, .defer_accept_s = 3};
    struct loop_address address = net_address(_i);
    struct loop        *loop = test_loop_new(NULL);
    struct door         door;

    door_open_at(loop, &door, &address, &options, door_accept_cb);
    ck_assert_int_eq(option(loop_listener_fd(&door.listener), SOL_SOCKET, SO_REUSEPORT), _i != NET_UNIX);
    if (_i != NET_UNIX) {
        ck_assert_int_eq(option(loop_listener_fd(&door.listener), IPPROTO_TCP, TCP_FASTOPEN), 77);
        ck_assert_int_ge(option(loop_listener_fd(&door.listener), IPPROTO_TCP, TCP_DEFER_ACCEPT), 3);
    }
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: with a deferred accept a connection is told when its data is there. Method: two clients; only one sends. */
START_TEST(deferred_accept)
{
    struct loop_listener_options options = {.defer_accept_s = 100};
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    int                          silent, client;
    char                         byte = 0;

    door_open_at(loop, &door, &address, &options, door_accept_cb);
    silent = net_dial(&door.address);
    client = net_dial(&door.address);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 0);
    test_write(client, "x", 1);
    run_until(loop, door.accepted == 1);
    ck_assert_int_eq(recv(door.fds[0], &byte, 1, MSG_DONTWAIT), 1);
    ck_assert_int_eq(byte, 'x');
    settle(loop);
    ck_assert_uint_eq(door.accepted, 1);
    test_close(silent);
    test_close(client);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* ---- socket files */

/* Goal: the file has the permissions asked for, whatever the umask; without, those of the umask. Method: three modes
 * under two umasks. */
START_TEST(file_mode)
{
    static const uint32_t modes[] = {0600, 0666, 0};
    struct loop          *loop = test_loop_new(NULL);
    struct place          place;
    struct stat           status;
    struct door           door;

    place_make(&place);
    for (uint32_t i = 0; i < 2 * TEST_COUNT(modes); i++) {
        uint32_t                     mode = modes[i / 2], mask = i % 2 == 0 ? 0077 : 0;
        struct loop_listener_options options = {.unix_mode = mode, .flags = LOOP_LISTENER_UNLINK};
        mode_t                       before = umask(mask);

        door_open_at(loop, &door, &place.address, &options, door_accept_cb);
        umask(before);
        ck_assert_int_eq(lstat(place.path, &status), 0);
        ck_assert_uint_eq(status.st_mode & 07777, mode != 0 ? mode : 0777 & ~mask);
        door_close(loop, &door);
    }
    place_remove(&place);
    test_loop_free(loop);
}
END_TEST

/* Goal: a socket file that nobody listens at is in the way without the flag, and is removed with it; at the end the
 * file is gone with the flag, and stays without. Method: a dead socket; i 0: without, 1: with. */
START_TEST(stale_file)
{
    struct loop_listener_options options = {.flags = LOOP_LISTENER_UNLINK};
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door = {0};
    struct place                 place;
    int                          client;

    place_make(&place);
    place_leave_stale(&place);
    if (_i == 0) {
        ck_assert_int_eq(loop_listener_start(loop, &door.listener, &place.address, NULL, door_accept_cb), -EADDRINUSE);
        ck_assert_int_eq(unlink(place.path), 0);
    }
    door_open_at(loop, &door, &place.address, _i == 0 ? NULL : &options, door_accept_cb);
    client = net_dial(&place.address);
    run_until(loop, door.accepted == 1);
    test_close(client);
    door_close(loop, &door);
    ck_assert_int_eq(place_filled(&place), _i == 0);
    place_remove(&place);
    test_loop_free(loop);
}
END_TEST

/* Goal: what is in use, or is no socket, is never removed. Method: i 0: another listens there, 1: with a full backlog,
 * 2: a file, 3: a link to a dead socket, 4: a directory, 5: a bound datagram socket. */
START_TEST(not_ours_to_remove)
{
    struct loop_listener_options options = {.flags = LOOP_LISTENER_UNLINK}, narrow = {.backlog = 1};
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door = {0}, other = {0};
    struct place                 place, target;
    int                          fd = -1, clients[8], error;
    size_t                       waiting = 0;

    place_make(&place);
    place_make(&target);
    if (_i <= 1)
        door_open_at(loop, &other, &place.address, &narrow, door_accept_cb);
    if (_i == 1) {
        ck_assert_int_eq(loop_listener_pause(&other.listener), 0);
        settle(loop);
        do {
            ck_assert_uint_lt(waiting, TEST_COUNT(clients));
            clients[waiting++] = net_dial_start(&place.address, &error);
        } while (error != EAGAIN && error != -EAGAIN);
    } else if (_i == 2) {
        fd = open(place.path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        test_close(fd);
    } else if (_i == 3) {
        place_leave_stale(&target);
        ck_assert_int_eq(symlink(target.path, place.path), 0);
    } else if (_i == 4) {
        ck_assert_int_eq(mkdir(place.path, 0700), 0);
    } else if (_i == 5) {
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&place.address.storage, place.address.size), 0);
    }
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &place.address, &options, door_accept_cb), -EADDRINUSE);
    ck_assert(place_filled(&place));
    ck_assert_int_eq(place_filled(&target), _i == 3);
    while (waiting > 0)
        test_close(clients[--waiting]);
    if (_i == 5)
        test_close(fd);
    if (_i <= 1)
        door_close(loop, &other);
    if (_i == 4)
        ck_assert_int_eq(rmdir(place.path), 0);
    place_remove(&place);
    place_remove(&target);
    test_loop_free(loop);
}
END_TEST

/* Goal: at the end only the listener's own file is removed. Method: another takes the name meanwhile; i 1: the name is
 * gone by then. */
START_TEST(replaced_file)
{
    struct loop_listener_options options = {.flags = LOOP_LISTENER_UNLINK};
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door, second;
    struct place                 place;

    place_make(&place);
    door_open_at(loop, &door, &place.address, &options, door_accept_cb);
    ck_assert_int_eq(unlink(place.path), 0);
    if (_i == 0)
        door_open_at(loop, &second, &place.address, NULL, door_accept_cb);
    door_close(loop, &door);
    ck_assert_int_eq(place_filled(&place), _i == 0);
    if (_i == 0)
        door_close(loop, &second);
    place_remove(&place);
    test_loop_free(loop);
}
END_TEST

/* Goal: the flag and the mode do no harm where there is no file; loop_destroy() removes the file as well. Method: each
 * kind; then a path. */
START_TEST(no_file)
{
    struct loop_listener_options options = {.flags = LOOP_LISTENER_UNLINK, .unix_mode = 0600};
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    struct place                 place;

    for (int kind = 0; kind < net_kinds(); kind++) {
        struct loop_address address = net_address(kind);

        door_open_at(loop, &door, &address, &options, door_accept_cb);
        door_close(loop, &door);
    }
    place_make(&place);
    door_open_at(loop, &door, &place.address, &options, door_accept_cb);
    ck_assert(place_filled(&place));
    test_loop_drop(loop);
    ck_assert(!place_filled(&place));
    place_remove(&place);
}
END_TEST

/* ---- bind tried again */

static struct loop_listener_options retrying(uint64_t ns)
{
    return (struct loop_listener_options){.bind_retry_ns = ns, .on_listening = note_listening_cb};
}

/* Goal: the outcome is told once by the callback, never from inside the call, and connections come; nothing is accepted
 * before it. Method: a free port, with a client that waits. */
START_TEST(bound_at_once)
{
    struct loop_listener_options options = retrying(LOOP_SECOND);
    struct loop_address          address = net_address(_i);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    int                          client;

    door_open_at(loop, &door, &address, &options, door_accept_cb); /* knows its address by then */
    client = net_dial(&door.address);
    notes_are("");
    run_until(loop, door.accepted == 1);
    notes_are("listening ok");
    door_close(loop, &door);
    notes_are("");
    test_close(client);
    test_loop_free(loop);
}
END_TEST

/* Goal: a port that is busy at first is had when it is free; until then there is no socket to ask, and a pause holds.
 * Method: another listener is there, tcp or unix, and is closed after some turns; i / 2 == 1: paused meanwhile. */
START_TEST(bound_later)
{
    struct loop_listener_options options = retrying(60 * LOOP_SECOND);
    struct loop_tcp_options      tcp = {.flags = LOOP_TCP_NODELAY};
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  other, door = {0};
    struct loop_address          address;
    int                          client;

    door_open(loop, &other, _i % 2);
    options.tcp = &tcp;
    ck_assert_int_eq(CALL(loop_listener_start(loop, &door.listener, &other.address, &options, door_accept_cb)), 0);
    memset(&tcp, 0xff, sizeof(tcp)); /* was copied */
    memset(&options, 0xff, sizeof(options));
    ck_assert_int_eq(loop_listener_fd(&door.listener), -EBADF);
    ck_assert_int_eq(loop_listener_address(&door.listener, &address), -EINVAL);
    ck_assert_ptr_eq(loop_listener_loop(&door.listener), loop);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &other.address, NULL, door_accept_cb), -EBUSY);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    if (_i / 2 == 1)
        ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    run_for(loop, 20 * LOOP_MILLISECOND); /* some attempts */
    notes_are("");
    address = other.address;
    door_close(loop, &other);
    run_until(loop, loop_listener_fd(&door.listener) >= 0);
    notes_are("listening ok");
    client = net_dial(&address);
    if (_i / 2 == 1) {
        settle(loop);
        ck_assert_uint_eq(door.accepted, 0);
        ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    }
    run_until(loop, door.accepted == 1);
    if (_i % 2 == NET_TCP4)
        ck_assert_int_ne(option(door.fds[0], IPPROTO_TCP, TCP_NODELAY), 0);
    test_close(client);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: when the time is over that is said, once; the number of attempts is bounded by the growing delay; the listener
 * has to be closed, and refuses what needs a socket. Method: a busy port for 100 ms; counts attempts by the hook. */
START_TEST(never_bound)
{
    struct loop_listener_options options = retrying(100 * LOOP_MILLISECOND);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  other, door = {0};

    door_open(loop, &other, NET_TCP4);
    options.on_step = noting_step;
    fail_at = -1;
    steps_seen = 0;
    ck_assert_int_eq(CALL(loop_listener_start(loop, &door.listener, &other.address, &options, door_accept_cb)), 0);
    run_for(loop, 200 * LOOP_MILLISECOND);
    /* Made and set for each of: 0, 1, 3, 7, 15, 31, 63, 100 ms; fewer if turns were late. */
    ck_assert_int_ge(steps_seen, 2 * 2);
    ck_assert_int_le(steps_seen, 2 * 8);
    ck_assert(loop_alive(loop));
    ck_assert_int_eq(loop_listener_fd(&door.listener), -EBADF);
    ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    ck_assert_int_eq(CALL(loop_listener_limit(&door.listener, 3)), 0);
    settle(loop);
    ck_assert_int_le(steps_seen, 2 * 8);
    loop_listener_close(&door.listener, note_close_cb);
    run_until(loop, door.closes == 1);
    door_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same, as told. Method: notes only. */
START_TEST(never_bound_is_told)
{
    struct loop_listener_options options = retrying(20 * LOOP_MILLISECOND);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  other, door = {0};

    door_open(loop, &other, _i);
    ck_assert_int_eq(CALL(loop_listener_start(loop, &door.listener, &other.address, &options, door_accept_cb)), 0);
    run_for(loop, 60 * LOOP_MILLISECOND);
    notes_are("listening EADDRINUSE");
    loop_listener_close(&door.listener, note_close_cb);
    run_until(loop, door.closes == 1);
    notes_are("close");
    door_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

/* Goal: closing before the outcome tells -ECANCELED, then the close. Method: i 0: while it is tried again, 1: bound at
 * once and not told yet, 2 and 3: the same by loop_destroy(). */
START_TEST(closed_before_the_outcome)
{
    struct loop_listener_options options = retrying(60 * LOOP_SECOND);
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  other = {0}, door = {0};

    options.on_close = note_close_cb;
    if (_i % 2 == 0) {
        door_open(loop, &other, NET_TCP4);
        address = other.address;
    }
    ck_assert_int_eq(CALL(loop_listener_start(loop, &door.listener, &address, &options, door_accept_cb)), 0);
    if (_i % 2 == 0)
        run_for(loop, 5 * LOOP_MILLISECOND);
    if (_i < 2) {
        loop_listener_close(&door.listener, NULL);
        notes_are("");
        run_until(loop, door.closes == 1);
    } else {
        test_loop_drop(loop);
    }
    notes_are("listening ECANCELED; close");
    if (_i == 0)
        door_close(loop, &other);
    if (_i < 2)
        test_loop_free(loop);
}
END_TEST

/* Goal: other errors come from the call; the callback is needed. Method: each. */
START_TEST(retry_errors)
{
    struct loop_listener_options options = retrying(LOOP_SECOND), mute = {.bind_retry_ns = LOOP_SECOND};
    struct loop_address          address = net_address(NET_TCP4), foreign = net_parse("192.0.2.1", 0);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door = {0};

    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, &mute, door_accept_cb), -EINVAL);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &foreign, &options, door_accept_cb), -EADDRNOTAVAIL);
    test_turns(loop, 3);
    notes_are("");
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

static uint32_t closing_steps;
static int      closing_answer;

static int closing_step(struct loop_listener *listener, enum loop_listener_step step, int fd)
{
    (void)fd;
    if (step != LOOP_LISTENER_SET || ++closing_steps != 3)
        return 0;
    loop_listener_close(listener, note_close_cb);
    return closing_answer;
}

/* Goal: a hook may close the listener while bind is tried again. Method: at the third attempt; i 1: and refuses. */
START_TEST(closed_by_the_hook)
{
    struct loop_listener_options options = retrying(60 * LOOP_SECOND);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  other, door = {0};

    door_open(loop, &other, NET_TCP4);
    options.on_step = closing_step;
    closing_answer = _i == 1 ? -EDOM : 0;
    ck_assert_int_eq(CALL(loop_listener_start(loop, &door.listener, &other.address, &options, door_accept_cb)), 0);
    run_until(loop, door.closes == 1);
    notes_are("listening ECANCELED; close");
    door_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/listener_setup");
    TCase *tcase = test_case(suite, "steps");
    int    kinds = net_kinds();

    tcase_add_test(tcase, steps_in_order);
    tcase_add_test(tcase, steps_abort);
    tcase_add_test(tcase, options_of_ones_own);
    tcase_add_loop_test(tcase, address_errors, NET_TCP4, NET_TCP4 + 1);
    if (kinds == NET_KINDS)
        tcase_add_loop_test(tcase, address_errors, NET_TCP6, NET_TCP6 + 1);
    tcase_add_test(tcase, names);
    tcase = test_case(suite, "tcp");
    tcase_add_loop_test(tcase, tcp_queues, 0, kinds);
    tcase_add_test(tcase, deferred_accept);
    tcase = test_case(suite, "files");
    tcase_add_test(tcase, file_mode);
    tcase_add_loop_test(tcase, stale_file, 0, 2);
    tcase_add_loop_test(tcase, not_ours_to_remove, 0, 6);
    tcase_add_loop_test(tcase, replaced_file, 0, 2);
    tcase_add_test(tcase, no_file);
    tcase = test_case(suite, "retry");
    tcase_add_loop_test(tcase, bound_at_once, 0, kinds);
    tcase_add_loop_test(tcase, bound_later, 0, 4);
    tcase_add_test(tcase, never_bound);
    tcase_add_loop_test(tcase, never_bound_is_told, 0, kinds);
    tcase_add_loop_test(tcase, closed_before_the_outcome, 0, 4);
    tcase_add_test(tcase, retry_errors);
    tcase_add_loop_test(tcase, closed_by_the_hook, 0, 2);
    return suite;
}
