/* tests/net/door.c: a listener that keeps what it accepts. */
#include "tests/net/door.h"

#include <fcntl.h>

struct door *door_of(struct loop_listener *listener)
{
    return (struct door *)(void *)((char *)listener - offsetof(struct door, listener));
}

void door_accept_cb(struct loop_listener *listener, int result)
{
    struct door *door = door_of(listener);

    callback_enter();
    ck_assert_uint_eq(door->closes, 0);
    if (result < 0) {
        door->errors++;
        door->error = result;
        return;
    }
    ck_assert_int_eq(fcntl(result, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_uint_lt(door->accepted, DOOR_ACCEPTED_MAX);
    door->fds[door->accepted++] = result;
}

void door_close_cb(struct loop_listener *listener)
{
    callback_enter();
    ck_assert_uint_eq(door_of(listener)->closes, 0);
    door_of(listener)->closes++;
}

void door_open_at(struct loop *loop, struct door *door, const struct loop_address *address,
                  const struct loop_listener_options *options, loop_listener_cb *on_accept)
{
    *door = (struct door){0};
    ck_assert_int_eq(CALL(loop_listener_start(loop, &door->listener, address, options, on_accept)), 0);
    ck_assert_int_eq(loop_listener_address(&door->listener, &door->address), 0);
}

void door_open(struct loop *loop, struct door *door, int kind)
{
    struct loop_address address = net_address(kind);

    door_open_at(loop, door, &address, NULL, door_accept_cb);
}

void door_close(struct loop *loop, struct door *door)
{
    if (door->closes == 0) {
        loop_listener_close(&door->listener, door_close_cb);
        run_until(loop, door->closes == 1);
    }
    while (door->accepted > 0)
        test_close(door->fds[--door->accepted]);
}
