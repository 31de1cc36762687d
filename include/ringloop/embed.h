/* ringloop/embed.h: a loop inside another one: epoll, poll(2), libuv, libev, a game's or a GUI's own. Loop thread only.
 *
 * In place of a blocking loop_run() the other loop waits, for the descriptor and at most for the time, and then lets
 * the loop take a turn that does not wait:
 *
 *     fd = loop_backend_fd(loop);                     once
 *     for (;;) {
 *         timeout_ns = loop_backend_timeout(loop);    before each wait: also sends what was started meanwhile
 *         ... wait until fd is readable, or for timeout_ns ...
 *         loop_run(loop, LOOP_RUN_NOWAIT);
 *     }
 *
 * Completions, posts, sends of async handles, signals, loop_wake(), loop_stop() and results of work end such a wait.
 * Ready-made for libuv and libev: ringloop/adapter/. For the other way round, another loop inside this one, see there
 * and docs/embedding.md. */
#ifndef RINGLOOP_EMBED_H
#define RINGLOOP_EMBED_H

#include <ringloop/types.h>

#include <limits.h>

LOOP_BEGIN_DECLS

/* A descriptor that is readable as long as the loop has something to do: for poll(2), epoll (level- or edge-triggered)
 * and the like, with POLLIN. It is the loop's: never read or close it. Made by the first call, before or after the
 * first run; from then on it is the same, and each run, also one that waits by itself, costs one system call more, with
 * completions three. In a child loop_fork() puts a new one at the same number. Valid for a wait after
 * loop_backend_timeout() or a run. Returns it, or -EOPNOTSUPP with LOOP_MODE_IOPOLL, whose completions wake nobody, or
 * what eventfd(2) or io_uring_register(2) gave, e.g. -EMFILE. */
LOOP_API int loop_backend_fd(struct loop *loop);

/* Sends what was started since the last run, and says how long, in ns, the other loop may wait: 0 if there is something
 * to do at once, UINT64_MAX without limit. Calls nobody back. To be called before each wait, as the last of what may
 * start operations; what is started afterwards needs another call, or loop_submit(). Makes the calling thread the
 * owner, as a first run would; if that fails it is 0, and the run tells the error. 0 from inside a callback. */
LOOP_API uint64_t loop_backend_timeout(struct loop *loop);

/* The same in ms, rounded up, as epoll_wait(2), poll(2) and libuv take it: -1 without limit. */
static inline int loop_backend_timeout_ms(struct loop *loop)
{
    uint64_t timeout_ns = loop_backend_timeout(loop);

    if (timeout_ns == UINT64_MAX)
        return -1;
    if (timeout_ns > (uint64_t)(INT_MAX - 1) * LOOP_MILLISECOND)
        return INT_MAX;
    return (int)((timeout_ns + LOOP_MILLISECOND - 1) / LOOP_MILLISECOND);
}

LOOP_END_DECLS

#endif
