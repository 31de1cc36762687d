/* net/dial.c: connects to the addresses of a host in turn until one answers.
 *
 * What is in flight belongs to the race, which outlives the program's structure: that is told, and free, as soon as
 * there is a winner or an end; attempts and look-ups that were cancelled come back to the race alone. */
#include "loop/loop_private.h"
#include "net/socket.h"

#include <errno.h>
#include <ringloop/dial.h>
#include <string.h>

enum { ATTEMPTS_MAX = 16 };
static const uint64_t attempt_delay_default_ns = 250 * LOOP_MILLISECOND;
static const uint64_t attempt_delay_least_ns = 10 * LOOP_MILLISECOND;
static const uint64_t resolution_delay_ns = 50 * LOOP_MILLISECOND;

struct attempt {
    struct dial_race   *race;
    loop_id             id; /* 0: not in use */
    int                 fd;
    struct loop_address address;
};

/* Addresses of one family, or of all the others. */
struct lane {
    struct loop_address *addresses;
    size_t               count, next;
    struct loop_resolve  look_up; /* where they come from */
    bool                 pending;
    int                  error; /* of the look-up */
};

struct dial_race {
    struct loop        *loop;
    struct loop_dial   *dial;  /* NULL: it is decided */
    uint32_t            holds; /* attempts and look-ups in flight; the dial, until it is told */
    uint32_t            turn;  /* the lane that is to be taken next */
    bool                begun; /* an attempt has been made */
    int                 error; /* of attempts, the one that tells most */
    uint64_t            delay_ns;
    struct loop_timer   timer; /* for the next attempt */
    struct lane         lanes[2];
    struct attempt      attempts[ATTEMPTS_MAX];
    struct loop_address winner;
};

/* ---- the end */

static void race_release(struct dial_race *race)
{
    if (--race->holds > 0)
        return;
    memory_free(race->loop, race->lanes[0].addresses);
    memory_free(race->loop, race->lanes[1].addresses);
    memory_free(race->loop, race);
}

static void close_socket(struct loop *loop, int fd)
{
    sys_close(fd);
    starved_feed(loop);
}

static void tell(struct loop *loop, struct loop_task *task)
{
    struct loop_dial *dial = container_of(task, struct loop_dial, priv.task);
    struct dial_race *race = dial->priv.race;
    loop_dial_cb     *cb = dial->priv.cb;
    int               result = dial->priv.result;

    (void)loop;
    object_gone(&dial->priv.object, true);
    dial->priv.race = NULL;
    cb(dial, result, result < 0 ? NULL : &race->winner);
    race_release(race);
}

/* result: the winner's descriptor, or an error. */
static void decide(struct dial_race *race, int result)
{
    struct loop_dial *dial = race->dial;

    race->dial = NULL;
    dial->priv.result = result;
    loop_timer_stop(&dial->priv.deadline);
    loop_timer_stop(&race->timer);
    for (int i = 0; i < 2; i++) {
        if (race->lanes[i].pending)
            (void)loop_resolve_cancel(&race->lanes[i].look_up);
    }
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        if (race->attempts[i].id != 0)
            (void)loop_cancel(race->loop, race->attempts[i].id);
    }
    loop_task_add(race->loop, &dial->priv.task);
}

/* How much an error says about the host. */
static int weight(int error)
{
    switch (-error) {
    case 0: return -1;
    case EAFNOSUPPORT:
    case EADDRNOTAVAIL:
    case ENETUNREACH: return 0;
    case EHOSTUNREACH: return 1;
    }
    return 2;
}

/* Of the look-ups: that a name has no address of one family says less than anything else. */
static int look_up_error(const struct dial_race *race)
{
    int first = race->lanes[0].error, second = race->lanes[1].error;

    if (first == 0 || first == -ENOENT || (first == -ENODATA && second != 0 && second != -ENOENT))
        return second == 0 ? first : second;
    return first;
}

/* ---- attempts */

static void race_go_on(struct dial_race *race);

static void note_error(struct dial_race *race, int error)
{
    if (weight(error) >= weight(race->error))
        race->error = error;
}

static int attempt_start(struct attempt *attempt, const struct loop_address *address);

static void connect_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct attempt           *attempt = arg;
    struct dial_race         *race = attempt->race;
    const struct loop_address address = attempt->address;

    attempt->id = 0;
    if (race->dial != NULL && (result->res == -ERESTART || result->res == -EOWNERDEAD)) { /* a new ring */
        close_socket(loop, attempt->fd);
        if (attempt_start(attempt, &address) == 0)
            return;
        note_error(race, result->res);
        race_go_on(race);
        race_release(race);
        return;
    }
    if (race->dial != NULL && result->res == 0) {
        race->winner = attempt->address;
        decide(race, attempt->fd);
    } else {
        close_socket(loop, attempt->fd);
        if (race->dial != NULL) {
            note_error(race, result->res);
            loop_timer_stop(&race->timer); /* the next begins at once */
            race_go_on(race);
        }
    }
    race_release(race);
}

/* The next address, of the lane whose turn it is, if that has any left. */
static const struct loop_address *next_address(struct dial_race *race)
{
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t     number = (race->turn + i) % 2;
        struct lane *lane = &race->lanes[number];

        if (lane->next < lane->count) {
            race->turn = 1 - number;
            return &lane->addresses[lane->next++];
        }
    }
    return NULL;
}

static int attempt_start(struct attempt *attempt, const struct loop_address *address)
{
    struct loop *loop = attempt->race->loop;
    loop_id      id;
    int          fd = socket_stream(address);

    if (fd < 0)
        return fd;
    id = loop_connect(loop, fd, (const struct sockaddr *)&address->storage, address->size, connect_done, attempt,
                      LOOP_TERMS(.flags = LOOP_UNCHAINED));
    if (id < 0) {
        close_socket(loop, fd);
        return (int)id;
    }
    attempt->id = op_of_object(loop, id);
    attempt->fd = fd;
    attempt->address = *address;
    return 0;
}

static struct attempt *free_attempt(struct dial_race *race)
{
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        if (race->attempts[i].id == 0)
            return &race->attempts[i];
    }
    return NULL;
}

static bool in_flight(const struct dial_race *race)
{
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        if (race->attempts[i].id != 0)
            return true;
    }
    return race->lanes[0].pending || race->lanes[1].pending;
}

static void timer_fired(struct loop_timer *timer)
{
    race_go_on(container_of(timer, struct dial_race, timer));
}

/* Makes the next attempt that can be made; without any, and with nothing in flight, it is over. */
static void race_go_on(struct dial_race *race)
{
    struct attempt            *attempt = free_attempt(race);
    const struct loop_address *address;

    while (attempt != NULL && (address = next_address(race)) != NULL) {
        int r = attempt_start(attempt, address);

        race->begun = true;
        if (r == 0) {
            race->holds++;
            (void)loop_timer_start(race->loop, &race->timer, race->delay_ns, 0, timer_fired);
            return;
        }
        note_error(race, r);
    }
    if (!in_flight(race))
        decide(race, race->error != 0 ? race->error : look_up_error(race));
}

/* ---- names */

static int lane_fill(struct dial_race *race, struct lane *lane, const struct loop_address *addresses, size_t count)
{
    lane->addresses = memory_resize(race->loop, NULL, count * sizeof(addresses[0]));
    if (lane->addresses == NULL)
        return -ENOMEM;
    memcpy(lane->addresses, addresses, count * sizeof(addresses[0]));
    lane->count = count;
    return 0;
}

static void looked_up(struct loop_resolve *request, int error, const struct loop_address *addresses, size_t count)
{
    struct dial_race *race = request->data;
    struct lane      *lane = container_of(request, struct lane, look_up);

    lane->pending = false;
    lane->error = error;
    if (race->dial != NULL && error == 0)
        lane->error = lane_fill(race, lane, addresses, count);
    if (race->dial != NULL && !race->begun && lane->count > 0 && race->lanes[0].pending)
        (void)loop_timer_start(race->loop, &race->timer, resolution_delay_ns, 0, timer_fired);
    else if (race->dial != NULL && (!race->begun || !loop_timer_active(&race->timer)))
        race_go_on(race);
    race_release(race);
}

static int look_up_start(struct dial_race *race, int number, const char *host, const char *service,
                         const struct loop_dial_options *options)
{
    static const int                  families[] = {AF_INET6, AF_INET};
    struct lane                      *lane = &race->lanes[number];
    const struct loop_resolve_options resolve = {
        .flags = options->flags,
        .family = families[number],
        .servers = options->servers,
    };
    int r = -EAFNOSUPPORT;

    lane->look_up.data = race;
    if (options->family == 0 || options->family == families[number])
        r = loop_resolve_start(race->loop, &lane->look_up, host, service, &resolve, looked_up);
    if (r == 0) {
        lane->pending = true;
        race->holds++;
    }
    return r;
}

/* ---- starting */

static const struct loop_dial_options defaults;

static void deadline_passed(struct loop_timer *timer)
{
    struct loop_dial *dial = container_of(timer, struct loop_dial, priv.deadline);

    decide(dial->priv.race, -ETIMEDOUT);
}

int loop_dial_cancel(struct loop_dial *dial)
{
    struct dial_race *race = dial->priv.race;

    if (race == NULL)
        return -ENOENT;
    loop_check_owner(race->loop, __func__);
    if (race->dial != NULL) {
        decide(race, -ECANCELED);
    } else if (dial->priv.result != -ECANCELED) {
        if (dial->priv.result >= 0)
            close_socket(race->loop, dial->priv.result);
        dial->priv.result = -ECANCELED;
    }
    return 0;
}

struct loop *loop_dial_loop(const struct loop_dial *dial)
{
    return dial->priv.object.loop;
}

static void close_object(struct loop_object *object)
{
    (void)loop_dial_cancel(container_of(object, struct loop_dial, priv.object));
}

static const struct loop_object_class dial_class = {.name = "dial", .close = close_object};

static int check(struct loop *loop, const struct loop_dial *dial, const struct loop_dial_options *options,
                 loop_dial_cb *cb)
{
    if (dial == NULL || cb == NULL || (options->flags & ~(uint32_t)(LOOP_RESOLVE_SYSTEM | LOOP_RESOLVE_NUMERIC)) != 0 ||
        (options->attempt_delay_ns != 0 && options->attempt_delay_ns < attempt_delay_least_ns))
        return -EINVAL;
    if (options->family != 0 && options->family != AF_INET && options->family != AF_INET6)
        return -EAFNOSUPPORT;
    if (dial->priv.race != NULL)
        return -EBUSY;
    return loop->destroying ? -ECANCELED : 0;
}

static struct dial_race *race_new(struct loop *loop, struct loop_dial *dial, const struct loop_dial_options *options)
{
    struct dial_race *race = memory_resize(loop, NULL, sizeof(*race));

    if (race == NULL)
        return NULL;
    memset(race, 0, sizeof(*race));
    race->loop = loop;
    race->dial = dial;
    race->holds = 1;
    race->delay_ns = options->attempt_delay_ns == 0 ? attempt_delay_default_ns : options->attempt_delay_ns;
    for (int i = 0; i < ATTEMPTS_MAX; i++)
        race->attempts[i].race = race;
    return race;
}

static void dial_open(struct dial_race *race, const struct loop_dial_options *options, loop_dial_cb *cb)
{
    struct loop_dial *dial = race->dial;

    dial->priv = (struct loop_dial_private){.task.run = tell, .race = race, .cb = cb};
    object_open(race->loop, &dial->priv.object, &dial_class, true);
    timer_of_object(&dial->priv.deadline);
    timer_of_object(&race->timer);
    if (options->timeout_ns != 0)
        (void)loop_timer_start(race->loop, &dial->priv.deadline, options->timeout_ns, 0, deadline_passed);
}

/* Those of the family of the first into one lane, the others into the other. */
static int fill_lanes(struct dial_race *race, const struct loop_address *addresses, size_t count)
{
    for (int i = 0; i < 2; i++) {
        race->lanes[i].addresses = memory_resize(race->loop, NULL, count * sizeof(addresses[0]));
        if (race->lanes[i].addresses == NULL)
            return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        struct lane *lane = &race->lanes[addresses[i].storage.ss_family != addresses[0].storage.ss_family];

        lane->addresses[lane->count++] = addresses[i];
    }
    return 0;
}

int loop_dial_start(struct loop *loop, struct loop_dial *dial, const struct loop_address *addresses, size_t count,
                    const struct loop_dial_options *options, loop_dial_cb *cb)
{
    struct dial_race *race;
    int               r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (addresses == NULL || count == 0 || count > LOOP_RESOLVE_ADDRESSES_MAX)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (!socket_address_valid(&addresses[i]))
            return -EINVAL;
    }
    r = check(loop, dial, options, cb);
    if (r < 0)
        return r;
    race = race_new(loop, dial, options);
    if (race == NULL)
        return -ENOMEM;
    r = fill_lanes(race, addresses, count);
    if (r < 0) {
        race_release(race);
        return r;
    }
    dial_open(race, options, cb);
    race_go_on(race);
    return 0;
}

int loop_dial_name(struct loop *loop, struct loop_dial *dial, const char *host, const char *service,
                   const struct loop_dial_options *options, loop_dial_cb *cb)
{
    struct dial_race *race;
    int               r, second;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    r = check(loop, dial, options, cb);
    if (r < 0)
        return r;
    race = race_new(loop, dial, options);
    if (race == NULL)
        return -ENOMEM;
    r = look_up_start(race, 0, host, service, options);
    second = look_up_start(race, 1, host, service, options);
    if (race->holds == 1) { /* neither could start */
        race_release(race);
        return r == -EAFNOSUPPORT ? second : r;
    }
    race->lanes[0].error = r == -EAFNOSUPPORT ? 0 : r; /* no such address was wanted, or can there be */
    race->lanes[1].error = second == -EAFNOSUPPORT ? 0 : second;
    dial_open(race, options, cb);
    return 0;
}
