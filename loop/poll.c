/* loop/poll.c: poll handles: one epoll for all of a loop, which the ring polls.
 *
 * The ring's poll is a one-shot, armed again after each look: so it completes at once while something stays ready, and
 * a turn costs one epoll_wait(2) and one SQE, however many handles are ready. The kernel has what it watches by number
 * and file. The number leads to the handle; what the kernel tells carries the generation of its start, too, so that an
 * event on its way for one that was stopped is known.
 *
 * A ghost: a number that was closed before its handle was stopped, while somebody else has the file open. The kernel
 * goes on telling of it, and nobody can take it out, since that takes the number. When one shows, the epoll is made
 * anew. */
#include "loop/op_start.h"

#include <poll.h>
#include <ringloop/poll.h>
#include <string.h>
#include <sys/epoll.h>

enum { LOOK_MAX = 256, SLOTS_FIRST = 64 };

enum poll_state {
    POLL_IDLE,
    POLL_STARTED,
    POLL_ENDED, /* to be told */
};

enum set_state {
    SET_GOOD,
    SET_HAUNTED, /* a ghost has shown: to be made anew */
    SET_LOST,    /* to be made anew before it is used: there is none, or it is not ours */
};

struct poll_set {
    struct loop_poll **slots; /* by descriptor; NULL: not watched */
    uint32_t           slots_count, count, generation;
    int                fd;
    bool               armed;  /* the ring polls it */
    bool               ghosts; /* there may be some */
    enum set_state     state;
    uint64_t           number; /* of the ring's poll, in its user_data: only its own completion counts */
    struct loop_task   task;   /* something is to be tried again */
};

static const uint32_t events_all = POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND |
                                   POLLMSG | POLLRDHUP | POLLERR | POLLHUP;

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLPRI == EPOLLPRI && POLLRDHUP == EPOLLRDHUP,
               "passed on as they are");

/* The number stands for another file by now, or for none. */
static bool says_closed(int error)
{
    return error == -EBADF || error == -ENOENT || error == -EPERM;
}

/* ---- the end of a handle */

static void tell(struct loop *loop, struct loop_task *task)
{
    struct loop_poll *poll = container_of(task, struct loop_poll, priv.task);

    poll->priv.state = POLL_IDLE;
    object_gone(&poll->priv.object, !poll->priv.unref);
    loop->happened = true;
    loop->stats.callbacks++;
    poll->priv.cb(poll, poll->priv.error);
}

/* It has no place in the epoll any more. */
static void end(struct loop_poll *poll, int error)
{
    struct loop *loop = poll->priv.object.loop;

    loop->polls->count--;
    poll->priv.state = POLL_ENDED;
    poll->priv.error = error;
    loop_task_add(loop, &poll->priv.task);
}

static void take_out(struct loop_poll *poll)
{
    struct poll_set *set = poll->priv.object.loop->polls;

    set->slots[poll->priv.fd] = NULL;
    if (set->state != SET_LOST && sys_epoll_change(set->fd, EPOLL_CTL_DEL, poll->priv.fd, 0, 0) < 0)
        set->ghosts = true;
}

static void close_object(struct loop_object *object)
{
    struct loop_poll *poll = container_of(object, struct loop_poll, priv.object);

    if (poll->priv.state != POLL_STARTED)
        return;
    take_out(poll);
    end(poll, -ECANCELED);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_poll *poll = container_of(object, struct loop_poll, priv.object);

    item->fd = poll->priv.fd;
    item->active = poll->priv.state == POLL_STARTED;
    item->closing = !item->active;
    item->ref = loop_poll_has_ref(poll);
}

static const struct loop_object_class poll_class = {.name = "poll", .close = close_object, .describe = describe};

/* ---- the epoll */

static int watch(int epoll_fd, int op, const struct loop_poll *poll, uint32_t events)
{
    return sys_epoll_change(epoll_fd, op, poll->priv.fd, events,
                            (uint64_t)poll->priv.generation << 32 | (uint32_t)poll->priv.fd);
}

/* Whose file has been closed does not come along: its number may stand for another. The old one knows. */
static int renew(struct loop *loop)
{
    struct poll_set *set = loop->polls;
    int              fd = sys_epoll();

    if (fd < 0)
        return fd;
    for (uint32_t i = 0; i < set->slots_count; i++) {
        struct loop_poll *poll = set->slots[i];
        int               r = 0;

        if (poll == NULL)
            continue;
        if (set->state == SET_HAUNTED)
            r = watch(set->fd, EPOLL_CTL_MOD, poll, poll->priv.events);
        if (r == 0)
            r = watch(fd, EPOLL_CTL_ADD, poll, poll->priv.events);
        if (r == 0)
            continue;
        set->slots[i] = NULL;
        end(poll, says_closed(r) ? -EBADF : r);
    }
    if (set->fd >= 0)
        sys_close(set->fd);
    set->fd = fd;
    set->ghosts = false;
    set->state = SET_GOOD;
    return 0;
}

static void arm(struct loop *loop)
{
    struct poll_set     *set = loop->polls;
    struct io_uring_sqe *sqe;

    if (set->armed || set->count == 0 || loop->destroying || loop->moving)
        return;
    sqe = submit_sqe(loop, true);
    if (sqe == NULL) {
        loop_task_retry(loop, &set->task);
        return;
    }
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_POLL_ADD,
        .fd = set->fd,
        .poll32_events = op_poll_mask(POLLIN),
        .user_data = user_data_direct(IORING_OP_POLL_ADD, HANDLER_WAKE, ++set->number),
    };
    set->armed = true;
    submit_sqe_done(loop);
}

static void try_again(struct loop *loop, struct loop_task *task);

static struct poll_set *set_of(struct loop *loop)
{
    struct poll_set *set = loop->polls;

    if (set != NULL)
        return set;
    set = memory_resize(loop, NULL, sizeof(*set));
    if (set == NULL)
        return NULL;
    *set = (struct poll_set){.fd = -1, .state = SET_LOST, .task.run = try_again};
    loop->polls = set;
    return set;
}

void polls_destroy(struct loop *loop)
{
    struct poll_set *set = loop->polls;

    if (set == NULL)
        return;
    if (set->fd >= 0)
        sys_close(set->fd);
    memory_free(loop, set->slots);
    memory_free(loop, set);
}

void polls_rehome(struct loop *loop, bool forked)
{
    struct poll_set *set = loop->polls;

    if (set == NULL)
        return;
    set->armed = false;
    if (forked) {
        if (set->fd >= 0)
            sys_close(set->fd); /* the parent's goes on */
        set->fd = -1;
        set->state = SET_LOST;
    }
    loop_task_add(loop, &set->task);
}

/* ---- events */

static void look_at(struct loop *loop, uint64_t data, uint32_t events)
{
    struct poll_set  *set = loop->polls;
    uint32_t          fd = (uint32_t)data;
    struct loop_poll *poll = set->slots[fd];

    if (poll == NULL || poll->priv.generation != data >> 32) {
        if (set->ghosts) /* else it was stopped a moment ago */
            set->state = SET_HAUNTED;
        return;
    }
    events &= poll->priv.events | POLLERR | POLLHUP; /* they may have been changed a moment ago */
    if (events == 0)
        return;
    loop->happened = true;
    loop->stats.callbacks++;
    poll->priv.cb(poll, (int)events);
}

/* Somebody has closed what is not theirs; the number may stand for anything. */
static void lose(struct poll_set *set)
{
    set->fd = -1;
    set->state = SET_LOST;
}

static void look(struct loop *loop)
{
    struct epoll_event events[LOOK_MAX];
    int                count = sys_epoll_take(loop->polls->fd, events, LOOK_MAX);

    for (int i = 0; i < count; i++)
        look_at(loop, events[i].data.u64, events[i].events);
    if (count == -EBADF || count == -EINVAL)
        lose(loop->polls);
}

/* Without a descriptor for a new epoll the old one is looked at now and then: polled, it would be ready all the time.
 */
static void go_on(struct loop *loop)
{
    struct poll_set *set = loop->polls;

    if (set->state != SET_GOOD && renew(loop) < 0)
        loop_task_retry(loop, &set->task);
    else
        arm(loop);
}

static void try_again(struct loop *loop, struct loop_task *task)
{
    (void)task;
    if (loop->destroying)
        return;
    if (loop->polls->state == SET_HAUNTED)
        look(loop);
    go_on(loop);
}

void polls_ready(struct loop *loop, const struct completion *completion)
{
    struct poll_set *set = loop->polls;

    if (set == NULL || !set->armed || user_data_value(completion->user_data) != set->number)
        return;
    set->armed = false;
    if (loop->destroying)
        return;
    if (completion->res >= 0) {
        look(loop);
    } else if (completion->res != -ECANCELED) {
        if (completion->res == -EBADF)
            lose(set);
        loop_task_retry(loop, &set->task);
        return;
    }
    go_on(loop);
}

/* ---- calls */

/* A place for the number: 0 or -ENOMEM. */
static int make_room(struct loop *loop, int fd)
{
    struct poll_set   *set = loop->polls;
    uint32_t           count = set->slots_count == 0 ? SLOTS_FIRST : set->slots_count;
    struct loop_poll **slots;

    while (count <= (uint32_t)fd)
        count *= 2;
    if (count == set->slots_count)
        return 0;
    slots = memory_resize(loop, set->slots, count * sizeof(slots[0]));
    if (slots == NULL)
        return -ENOMEM;
    memset(slots + set->slots_count, 0, (count - set->slots_count) * sizeof(slots[0]));
    set->slots = slots;
    set->slots_count = count;
    return 0;
}

/* Into the epoll. What stands there under its number and has no handle is a ghost of the same file. */
static int put_in(struct poll_set *set, struct loop_poll *poll, uint32_t events)
{
    struct loop_poll *before = set->slots[poll->priv.fd];
    int               r = watch(set->fd, EPOLL_CTL_ADD, poll, events);

    if (r == -EEXIST && before == NULL)
        r = watch(set->fd, EPOLL_CTL_MOD, poll, events);
    if (r < 0)
        return r;
    if (before != NULL) { /* its file has been closed, or the number would be taken */
        set->ghosts = true;
        end(before, -EBADF);
    }
    set->slots[poll->priv.fd] = poll;
    return 0;
}

static int check(struct loop *loop, const struct loop_poll *poll, int fd, uint32_t events, loop_poll_cb *cb)
{
    if (poll == NULL || cb == NULL || (events & ~events_all) != 0)
        return -EINVAL;
    if (fd < 0 || (fd & LOOP_FIXED_FLAG) != 0)
        return -EBADF;
    if (poll->priv.state != POLL_IDLE)
        return -EBUSY;
    if (ring_has(&loop->ring, IORING_SETUP_IOPOLL))
        return -EOPNOTSUPP;
    return loop->destroying ? -ECANCELED : 0;
}

/* So that not any number asks for memory: it has to be open. */
static int prepare(struct loop *loop, int fd)
{
    struct poll_set *set = set_of(loop);
    int              r = 0;

    if (set == NULL)
        return -ENOMEM;
    if ((uint32_t)fd >= set->slots_count)
        r = sys_file_flags(fd);
    if (r >= 0 && set->state == SET_LOST)
        r = renew(loop);
    return r < 0 ? r : make_room(loop, fd);
}

int loop_poll_start(struct loop *loop, struct loop_poll *poll, int fd, uint32_t events, loop_poll_cb *cb)
{
    struct loop_poll_private before;
    int                      r;

    loop_check_owner(loop, __func__);
    r = check(loop, poll, fd, events, cb);
    if (r == 0)
        r = prepare(loop, fd);
    if (r < 0)
        return r;
    before = poll->priv;
    poll->priv = (struct loop_poll_private){
        .task.run = tell,
        .cb = cb,
        .fd = fd,
        .events = events,
        .generation = ++loop->polls->generation,
        .state = POLL_STARTED,
        .unref = before.unref,
    };
    r = put_in(loop->polls, poll, events);
    if (r < 0) {
        poll->priv = before;
        return r;
    }
    loop->polls->count++;
    object_open(loop, &poll->priv.object, &poll_class, !poll->priv.unref);
    arm(loop);
    return 0;
}

int loop_poll_change(struct loop_poll *poll, uint32_t events)
{
    int r;

    if (poll == NULL || poll->priv.state == POLL_IDLE || (events & ~events_all) != 0)
        return -EINVAL;
    loop_check_owner(poll->priv.object.loop, __func__);
    if (poll->priv.state == POLL_ENDED)
        return poll->priv.error;
    if (events == poll->priv.events)
        return 0;
    r = poll->priv.object.loop->polls->state == SET_LOST
            ? 0 /* it will be put in with the new ones */
            : watch(poll->priv.object.loop->polls->fd, EPOLL_CTL_MOD, poll, events);
    if (r < 0)
        return says_closed(r) ? -EBADF : r;
    poll->priv.events = events;
    return 0;
}

void loop_poll_stop(struct loop_poll *poll)
{
    if (poll == NULL || poll->priv.state == POLL_IDLE)
        return;
    loop_check_owner(poll->priv.object.loop, __func__);
    if (poll->priv.state == POLL_STARTED) {
        take_out(poll);
        poll->priv.object.loop->polls->count--;
    } else {
        task_list_remove(&poll->priv.task);
    }
    poll->priv.state = POLL_IDLE;
    object_gone(&poll->priv.object, !poll->priv.unref);
}

bool loop_poll_active(const struct loop_poll *poll)
{
    return poll->priv.state != POLL_IDLE;
}

int loop_poll_fd(const struct loop_poll *poll)
{
    return poll->priv.fd;
}

uint32_t loop_poll_events(const struct loop_poll *poll)
{
    return poll->priv.events;
}

struct loop *loop_poll_loop(const struct loop_poll *poll)
{
    return poll->priv.object.loop;
}

static void set_ref(struct loop_poll *poll, const char *call, bool ref)
{
    if (poll->priv.unref == !ref)
        return;
    poll->priv.unref = !ref;
    if (poll->priv.state == POLL_IDLE)
        return;
    loop_check_owner(poll->priv.object.loop, call);
    if (ref)
        object_hold(&poll->priv.object);
    else
        object_release(&poll->priv.object);
}

void loop_poll_ref(struct loop_poll *poll)
{
    set_ref(poll, __func__, true);
}

void loop_poll_unref(struct loop_poll *poll)
{
    set_ref(poll, __func__, false);
}

bool loop_poll_has_ref(const struct loop_poll *poll)
{
    return !poll->priv.unref;
}
