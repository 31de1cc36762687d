/* supervise.c: keeps worker processes alive: supervise COUNT PROGRAM [ARGUMENT...]
 *
 * Starts PROGRAM so many times. A worker that ends is started again: at once if it has lived for a while, else after a
 * delay that doubles each time. SIGHUP replaces the workers one by one, each when the one before has been replaced.
 * SIGTERM and SIGINT end all of them, with SIGTERM and after 5 s SIGKILL, and then the supervisor; a second one does
 * not wait. Workers die with the supervisor, whatever kills that. What happens is told on standard output. */
#include <ringloop.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_FIRST_NS (100 * LOOP_MILLISECOND)
#define DELAY_LAST_NS  (10 * LOOP_SECOND)
#define PROVEN_NS      (10 * LOOP_SECOND) /* a worker that has lived so long may be started again at once */
#define GRACE_NS       (5 * LOOP_SECOND)

enum { WORKERS_MAX = 1000 };

struct worker {
    struct loop_child child;
    struct loop_timer again;
    uint64_t          started_ns, delay_ns;
};

static struct {
    struct loop       *loop;
    const char *const *command;
    struct worker     *workers;
    int                count, replacing; /* the worker whose turn it is; count: none */
    bool               stopping;
    struct loop_signal term, interrupt, hangup;
} all;

static void start(struct worker *worker);

static int number(const struct worker *worker)
{
    return (int)(worker - all.workers);
}

static void try_again(struct loop_timer *timer)
{
    start(timer->data);
}

static void start_later(struct worker *worker, uint64_t delay_ns)
{
    worker->again.data = worker;
    (void)loop_timer_start(all.loop, &worker->again, delay_ns, 0, try_again);
}

/* Its replacement follows when it has ended. A worker that waits to be started is new enough. */
static void replace_next(void)
{
    while (all.replacing < all.count && !loop_child_active(&all.workers[all.replacing].child))
        all.replacing++;
    if (all.replacing < all.count)
        (void)loop_child_terminate(&all.workers[all.replacing].child, GRACE_NS);
    else
        printf("all replaced\n");
}

static void replaced(const struct worker *worker)
{
    if (number(worker) != all.replacing)
        return;
    all.replacing++;
    replace_next();
}

static uint64_t next_delay(struct worker *worker)
{
    if (loop_now(all.loop) - worker->started_ns >= PROVEN_NS)
        worker->delay_ns = 0;
    else if (worker->delay_ns == 0)
        worker->delay_ns = DELAY_FIRST_NS;
    else if (worker->delay_ns < DELAY_LAST_NS / 2)
        worker->delay_ns *= 2;
    else
        worker->delay_ns = DELAY_LAST_NS;
    return worker->delay_ns;
}

static void on_exit_of(struct loop_child *child, const struct loop_child_exit *exit)
{
    struct worker *worker = child->data;
    uint64_t       delay_ns;

    if (exit->error < 0)
        printf("worker %d has ended: %s\n", number(worker), strerror(-exit->error));
    else if (exit->signum != 0)
        printf("worker %d ended by signal %d\n", number(worker), exit->signum);
    else
        printf("worker %d ended with status %d\n", number(worker), exit->status);
    if (all.stopping)
        return; /* the loop ends with the last of them */
    if (number(worker) == all.replacing) {
        worker->delay_ns = 0;
        start(worker);
        replaced(worker);
        return;
    }
    delay_ns = next_delay(worker);
    start_later(worker, delay_ns);
}

static void start(struct worker *worker)
{
    enum loop_child_step            step;
    const struct loop_child_options options = {
        .file = all.command[0],
        .args = all.command,
        .flags = LOOP_CHILD_STDIO | LOOP_CHILD_GROUP,
        .death_signal = SIGKILL,
        .ret_step = &step,
    };
    int r;

    worker->child.data = worker;
    worker->started_ns = loop_now(all.loop);
    r = loop_child_spawn(all.loop, &worker->child, &options, on_exit_of);
    if (r == 0) {
        printf("worker %d started: %d\n", number(worker), (int)loop_child_pid(&worker->child));
        return;
    }
    printf("worker %d cannot be started%s: %s\n", number(worker),
           step == LOOP_CHILD_STEP_EXEC ? ", executing the program" : "", strerror(-r));
    start_later(worker, next_delay(worker));
}

/* SIGTERM, SIGINT: signals must not keep the loop alive from here on. */
static void on_stop(struct loop_signal *signal, const struct loop_signal_info *info)
{
    (void)signal;
    printf("stopping, by signal %d\n", info->signum);
    for (int i = 0; i < all.count; i++) {
        loop_timer_stop(&all.workers[i].again);
        (void)loop_child_terminate(&all.workers[i].child, all.stopping ? 0 : GRACE_NS);
    }
    all.stopping = true;
    loop_signal_unref(&all.term);
    loop_signal_unref(&all.interrupt);
    loop_signal_unref(&all.hangup);
}

static void on_hangup(struct loop_signal *signal, const struct loop_signal_info *info)
{
    (void)signal;
    (void)info;
    if (all.stopping || all.replacing < all.count)
        return;
    printf("replacing all\n");
    all.replacing = 0;
    replace_next();
}

static int watch_signals(void)
{
    int r = loop_signal_start(all.loop, &all.term, SIGTERM, 0, on_stop);

    if (r == 0)
        r = loop_signal_start(all.loop, &all.interrupt, SIGINT, 0, on_stop);
    if (r == 0)
        r = loop_signal_start(all.loop, &all.hangup, SIGHUP, 0, on_hangup);
    return r;
}

int main(int argc, char **argv)
{
    int r;

    setvbuf(stdout, NULL, _IOLBF, 0);
    all.count = argc < 3 ? 0 : atoi(argv[1]);
    if (all.count < 1 || all.count > WORKERS_MAX) {
        fprintf(stderr, "usage: supervise COUNT PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    all.command = (const char *const *)&argv[2];
    all.replacing = all.count;
    all.workers = calloc((size_t)all.count, sizeof(all.workers[0]));
    r = all.workers == NULL ? -1 : loop_create(&all.loop, NULL);
    if (r == 0)
        r = watch_signals();
    if (r < 0) {
        fprintf(stderr, "supervise: %s\n", strerror(-r));
        return 1;
    }
    for (int i = 0; i < all.count; i++)
        start(&all.workers[i]);
    loop_run(all.loop, LOOP_RUN_DEFAULT);
    printf("all ended\n");
    loop_destroy(all.loop);
    free(all.workers);
    return 0;
}
