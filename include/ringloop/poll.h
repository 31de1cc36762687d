/* ringloop/poll.h: readiness of descriptors that others read and write: other libraries, mostly. Loop thread only.
 *
 * Life: zeroed > start > (callbacks, changes) > stop; may be started again, also in its callback.
 *
 * Level-triggered, with the meaning that epoll(7) gives each word, because an epoll is what stands behind it: one for
 * all handles of a loop, polled by the ring. So no operation of the ring holds the file: a descriptor may be closed as
 * soon as its handle is stopped, and where somebody closes it before, the file is let go of all the same. Of the loop's
 * own operations there are loop_poll_add() (once) and loop_subscribe_poll() (many times), which hold it.
 * Adapters to other libraries: ringloop/adapter/, docs/adapters.md. */
#ifndef RINGLOOP_POLL_H
#define RINGLOOP_POLL_H

#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

struct loop_poll;

/* events > 0: what it is ready for, of what was asked, and POLLERR and POLLHUP, which are always told (<poll.h>). It
 * comes once a turn for as long as that lasts. events < 0: it has ended by itself, this is the last callback, and the
 * memory is yours: -EBADF (it was found out that the descriptor was closed while the handle was started), -ECANCELED
 * (the loop is being destroyed), -ENOMEM or -ENOSPC (after loop_fork(): no new place among what is watched). */
typedef void loop_poll_cb(struct loop_poll *poll, int events);

struct loop_poll {
    void *data; /* yours; the library never reads it */
    struct loop_poll_private {
        struct loop_object object;
        struct loop_task   task;
        loop_poll_cb      *cb;
        int                fd;
        uint32_t           events;
        uint32_t           generation; /* of this start */
        int                error;      /* to be told */
        uint8_t            state;
        bool               unref;
    } priv;
};

/* Watches fd for events: POLLIN, POLLOUT, POLLPRI, POLLRDHUP and the rarer ones of poll(2); 0: POLLERR and POLLHUP
 * alone. Borrows poll until it is stopped or has ended; fd stays yours. Returns 0, or
 *   -EINVAL      no cb, bits that are no events of poll(2)
 *   -EBADF       fd is no open descriptor; a registered file can't be polled so
 *   -EPERM       what can't be waited for: regular files, directories
 *   -EEXIST      another handle of this loop watches fd: stop that, or watch a dup(2)
 *   -EBUSY       it is started already: loop_poll_change()
 *   -ELOOP       fd is an epoll that contains others, three deep
 *   -ENOSPC      the user's limit of watches, /proc/sys/fs/epoll/max_user_watches
 *   -EMFILE, -ENFILE  the first of a loop takes a descriptor
 *   -EOPNOTSUPP  a loop of LOOP_MODE_IOPOLL
 *   -ENOMEM, -ECANCELED (the loop is being destroyed). */
LOOP_API LOOP_MUST_USE int loop_poll_start(struct loop *loop, struct loop_poll *poll, int fd, uint32_t events,
                                           loop_poll_cb *cb);

/* Watches for other events from now on: no callback comes for those left out. One system call, none if they are the
 * same. Returns 0, -EINVAL (not started, bits as above), -EBADF (the descriptor was closed since the start, even if
 * the number is in use again: stop it), -ENOMEM; after an error it waits for what it did. */
LOOP_API int loop_poll_change(struct loop_poll *poll, uint32_t events);

/* No callback comes after it, the memory is yours, and nothing of the loop's holds the file: the descriptor may be
 * closed and its number reused at once. Also in its own callback. Stopping a stopped or zeroed one does nothing. */
LOOP_API void loop_poll_stop(struct loop_poll *poll);

/* Started, and its last callback has not come. */
LOOP_API bool loop_poll_active(const struct loop_poll *poll);

/* What it watches, or watched last; of a zeroed one 0. */
LOOP_API int      loop_poll_fd(const struct loop_poll *poll);
LOOP_API uint32_t loop_poll_events(const struct loop_poll *poll);

/* The loop that it was last started on; NULL before the first time. */
LOOP_API struct loop *loop_poll_loop(const struct loop_poll *poll);

/* Whether it keeps the loop alive while active (default: it does). Before or after the start. */
LOOP_API void loop_poll_ref(struct loop_poll *poll);
LOOP_API void loop_poll_unref(struct loop_poll *poll);
LOOP_API bool loop_poll_has_ref(const struct loop_poll *poll);

LOOP_END_DECLS

#endif
