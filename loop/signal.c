/* loop/signal.c: signals, told to any number of loops.
 *
 * The handler takes no lock and allocates nothing. It walks over the boxes, one for each loop that has ever watched a
 * signal, counts the delivery in those that watch this one, and wakes their loops. An object remembers how many it has
 * seen, so that nothing has to be reset, and no queue can be full.
 *
 * A box is freed with its loop. It is taken out of the list first, and then its loop waits until no handler runs any
 * more that may have seen it there.
 *
 * After fork(2) the child has copies of the boxes: there deliveries are counted from none on, and told after
 * loop_fork(). Until then nobody is woken, for the loop does not sleep: the eventfd is the parent's. Between the fork
 * and the handlers of pthread_atfork(3) in the child all signals are blocked. */
#include "loop/loop_private.h"
#include "loop/seam_process.h"

#include <errno.h>
#include <ringloop/signal.h>
#include <signal.h>
#include <string.h>

LIST_DEFINE(signal_node, struct loop_signal_node)

enum { SIGNALS_END = 65 };

/* Of one signal on one loop. Atomic but for watchers, which the handler may see late. */
struct signal_count {
    uint64_t arrived;
    uint64_t sender; /* of the last: pid, above it uid */
    uint32_t watchers;
};

struct signal_box {
    struct signal_box      *next; /* for the handler */
    struct loop            *loop;
    struct loop_signal_node signals; /* all that are active, in the order of their start */
    struct signal_count     counts[SIGNALS_END];
};

/* Of the process. */
static struct {
    pthread_mutex_t    lock;
    sigset_t           mask; /* of who holds it */
    struct signal_box *boxes;
    int                inside; /* atomic: handlers that run */
    bool               told_of_forks;
    uint32_t           watchers[SIGNALS_END]; /* of all loops */
    struct sigaction   before[SIGNALS_END];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- the handler */

/* For others than these si_pid is something else. */
static bool has_sender(const siginfo_t *info)
{
    return info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL ||
           info->si_code == SI_MESGQ || (info->si_signo == SIGCHLD && info->si_code > 0);
}

static void note(struct signal_box *box, int signum, uint64_t sender)
{
    struct signal_count *count = &box->counts[signum];

    if (__atomic_load_n(&count->watchers, __ATOMIC_RELAXED) == 0)
        return;
    __atomic_store_n(&count->sender, sender, __ATOMIC_RELAXED);
    __atomic_fetch_add(&count->arrived, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&box->loop->signaled, 1, __ATOMIC_SEQ_CST);
    wake_if_asleep(box->loop);
}

static void handle(int signum, siginfo_t *info, void *context)
{
    uint64_t sender = has_sender(info) ? (uint32_t)info->si_pid | (uint64_t)info->si_uid << 32 : 0;

    (void)context;
    __atomic_fetch_add(&table.inside, 1, __ATOMIC_SEQ_CST);
    for (struct signal_box *box = __atomic_load_n(&table.boxes, __ATOMIC_SEQ_CST); box != NULL;
         box = __atomic_load_n(&box->next, __ATOMIC_ACQUIRE))
        note(box, signum, sender);
    __atomic_fetch_sub(&table.inside, 1, __ATOMIC_RELEASE);
}

/* ---- the table */

/* With all signals blocked: a handler of the user's might fork, and wait for the lock that its own thread holds. */
static void lock(void)
{
    sigset_t mask;

    sys_signals_block(&mask);
    pthread_mutex_lock(&table.lock);
    table.mask = mask;
}

static void unlock(void)
{
    sigset_t mask = table.mask;

    pthread_mutex_unlock(&table.lock);
    sys_signals_unblock(&mask);
}

/* What was delivered before was the parent's; and no other thread is here that might be in the handler. */
static void forked(void)
{
    __atomic_store_n(&table.inside, 0, __ATOMIC_RELAXED);
    for (struct signal_box *box = table.boxes; box != NULL; box = box->next) {
        __atomic_store_n(&box->loop->signaled, 0, __ATOMIC_RELAXED);
        for (int i = 0; i < SIGNALS_END; i++)
            __atomic_store_n(&box->counts[i].arrived, 0, __ATOMIC_RELAXED);
    }
    unlock();
}

static void box_add(struct signal_box *box)
{
    lock();
    if (!table.told_of_forks)
        table.told_of_forks = sys_at_fork(lock, unlock, forked) == 0;
    box->next = table.boxes;
    __atomic_store_n(&table.boxes, box, __ATOMIC_SEQ_CST);
    unlock();
}

static void one_less(int signum)
{
    if (--table.watchers[signum] == 0)
        sys_signal_restore(signum, handle, &table.before[signum]);
}

/* In a child that lets go of a loop which it has never made its own, watchers are left. */
void signal_destroy(struct loop *loop)
{
    struct signal_box **at = &table.boxes, *box = loop->signals;

    if (box == NULL)
        return;
    lock();
    while (*at != box)
        at = &(*at)->next;
    __atomic_store_n(at, box->next, __ATOMIC_SEQ_CST);
    for (int signum = 0; signum < SIGNALS_END; signum++) {
        for (uint32_t left = box->counts[signum].watchers; left > 0; left--)
            one_less(signum);
    }
    unlock();
    while (__atomic_load_n(&table.inside, __ATOMIC_SEQ_CST) != 0)
        sys_nap();
    memory_free(loop, box);
    loop->signals = NULL;
}

static struct signal_box *box_of(struct loop *loop)
{
    struct signal_box *box = loop->signals;

    if (box != NULL)
        return box;
    box = memory_resize(loop, NULL, sizeof(*box));
    if (box == NULL)
        return NULL;
    memset(box, 0, sizeof(*box));
    box->loop = loop;
    signal_node_list_init(&box->signals);
    box_add(box);
    loop->signals = box;
    return box;
}

/* One watcher more of the process. */
static int watch(struct signal_box *box, int signum)
{
    int r = 0;

    lock();
    if (table.watchers[signum] == 0)
        r = sys_signal_catch(signum, handle, &table.before[signum]);
    if (r == 0) {
        table.watchers[signum]++;
        __atomic_fetch_add(&box->counts[signum].watchers, 1, __ATOMIC_RELAXED);
    }
    unlock();
    return r;
}

static void watch_no_more(struct signal_box *box, int signum)
{
    lock();
    one_less(signum);
    __atomic_fetch_sub(&box->counts[signum].watchers, 1, __ATOMIC_RELAXED);
    unlock();
}

/* ---- objects */

static struct loop_signal *signal_of(struct loop_signal_node *node)
{
    return container_of(node, struct loop_signal, priv.node);
}

static void close_object(struct loop_object *object)
{
    loop_signal_stop(container_of(object, struct loop_signal, priv.object));
}

/* Counting has begun anew in the child. */
static void rehome(struct loop_object *object, bool was_forked)
{
    struct loop_signal *signal = container_of(object, struct loop_signal, priv.object);

    if (!was_forked)
        return;
    signal->priv.seen = 0;
    __atomic_store_n(&object->loop->signaled, 1, __ATOMIC_SEQ_CST);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_signal *signal = container_of(object, struct loop_signal, priv.object);

    item->ref = loop_signal_has_ref(signal);
}

static const struct loop_object_class signal_class = {
    .name = "signal", .close = close_object, .rehome = rehome, .describe = describe};

/* A handler that returns from a fault comes back at once, to the same fault. */
static bool may_be_watched(int signum)
{
    switch (signum) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS: return false;
    default: return signum > 0 && signum < SIGNALS_END;
    }
}

int loop_signal_start(struct loop *loop, struct loop_signal *signal, int signum, uint32_t flags, loop_signal_cb *cb)
{
    struct signal_box *box;
    uint64_t           seen;
    int                r;

    loop_check_owner(loop, __func__);
    if (cb == NULL || (flags & ~(uint32_t)LOOP_SIGNAL_ONCE) != 0 || !may_be_watched(signum))
        return -EINVAL;
    if (loop->destroying)
        return -ECANCELED;
    box = box_of(loop);
    if (box == NULL)
        return -ENOMEM;
    seen = __atomic_load_n(&box->counts[signum].arrived, __ATOMIC_ACQUIRE);
    r = watch(box, signum);
    if (r < 0)
        return r;
    loop_signal_stop(signal); /* only now: so the signal is never without a watcher */
    signal->priv.cb = cb;
    signal->priv.flags = flags;
    signal->priv.signum = (uint8_t)signum;
    signal->priv.seen = seen;
    signal_node_list_append(&box->signals, &signal->priv.node);
    object_open(loop, &signal->priv.object, &signal_class, !signal->priv.unref);
    return 0;
}

void loop_signal_stop(struct loop_signal *signal)
{
    struct loop *loop = signal->priv.object.loop;
    int          signum = signal->priv.signum;

    if (signum == 0)
        return;
    loop_check_owner(loop, __func__);
    signal->priv.signum = 0;
    signal_node_list_remove(&signal->priv.node);
    object_gone(&signal->priv.object, !signal->priv.unref);
    watch_no_more(loop->signals, signum);
}

static void tell(struct loop *loop, struct loop_signal *signal)
{
    struct signal_count    *count = &loop->signals->counts[signal->priv.signum];
    uint64_t                arrived = __atomic_load_n(&count->arrived, __ATOMIC_ACQUIRE);
    uint64_t                sender = __atomic_load_n(&count->sender, __ATOMIC_RELAXED);
    struct loop_signal_info info = {
        .signum = signal->priv.signum,
        .count = arrived - signal->priv.seen,
        .pid = (pid_t)(uint32_t)sender,
        .uid = (uid_t)(sender >> 32),
    };

    if (info.count == 0)
        return;
    signal->priv.seen = arrived;
    if ((signal->priv.flags & LOOP_SIGNAL_ONCE) != 0)
        loop_signal_stop(signal);
    loop->stats.callbacks++;
    loop->happened = true;
    signal->priv.cb(signal, &info);
}

/* Callbacks may stop any of them; those that they start have nothing to be told yet. The exchange, other than a store,
 * shows whatever was counted before the word that it takes away. */
void signal_run_slowly(struct loop *loop)
{
    struct loop_signal_node signals, *node;

    (void)__atomic_exchange_n(&loop->signaled, 0, __ATOMIC_SEQ_CST);
    if (loop->signals == NULL)
        return;
    signal_node_list_init(&signals);
    signal_node_list_move(&loop->signals->signals, &signals);
    while ((node = signal_node_list_pop(&signals)) != NULL) {
        signal_node_list_append(&loop->signals->signals, node);
        tell(loop, signal_of(node));
    }
}

bool loop_signal_active(const struct loop_signal *signal)
{
    return signal->priv.signum != 0;
}

int loop_signal_number(const struct loop_signal *signal)
{
    return signal->priv.signum;
}

struct loop *loop_signal_loop(const struct loop_signal *signal)
{
    return signal->priv.object.loop;
}

bool loop_signal_has_ref(const struct loop_signal *signal)
{
    return !signal->priv.unref;
}

static void set_ref(struct loop_signal *signal, const char *call, bool ref)
{
    if (signal->priv.unref != ref)
        return;
    if (signal->priv.signum != 0) {
        loop_check_owner(signal->priv.object.loop, call);
        if (ref)
            object_hold(&signal->priv.object);
        else
            object_release(&signal->priv.object);
    }
    signal->priv.unref = !ref;
}

void loop_signal_ref(struct loop_signal *signal)
{
    set_ref(signal, __func__, true);
}

void loop_signal_unref(struct loop_signal *signal)
{
    set_ref(signal, __func__, false);
}
