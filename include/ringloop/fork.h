/* ringloop/fork.h: a loop that goes on in a child of fork(2), or on another thread: on a ring of its own there.
 *
 * A ring belongs to the process and the thread that uses it. Where a loop gets a new one, everything that can be asked
 * for again is: multishots, subscriptions and what objects wait for are armed again, timers stand where they stood,
 * buffer groups, registered files (as far as they were registered by their number) and registered buffers are there
 * again. What may have been done already, by the old ring, is not done a second time: see below. */
#ifndef RINGLOOP_FORK_H
#define RINGLOOP_FORK_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

/* In a child of fork(2): gives the loop a ring of its own. Until then every call on it aborts with a message, but for
 * this one and loop_destroy(), which then just lets go of the loop's memory, its descriptors and those of open objects,
 * without a callback; what these have on the heap stays.
 * Afterwards nobody owns the loop: the thread that first runs it does. The parent's loop is not touched.
 *
 * The parent goes on with everything that was under way. In the child
 *   - multishots and subscriptions are armed again, as are listeners, reading streams and datagram sockets, polls,
 *     signals, watches: from now on both processes get what comes, each some of it. So close in the child what it shall
 *     not have.
 *   - other operations in flight end with -ECANCELED in the next turn, those not submitted yet as well; work that was
 *     running on a thread, too. Work that had not begun runs in both.
 *   - writes of streams and datagram sockets that had not ended do so with -EOWNERDEAD: the parent sends them. A stream
 *     of which some were queued takes no more writes.
 *   - files and what is built on them: what changes a file, or goes at its position, ends with -EOWNERDEAD, and so do
 *     listings, walks and copies that have begun; reads are begun anew. Children of the parent are none of the child's.
 *   - posts that were waiting are run by the parent only.
 *   - operations in direct mode and foreign ones are forgotten: nobody is told of them.
 *   - registered files of which the loop does not know a number (accepted or opened directly), personalities and
 *     registered NAPI settings are gone.
 *
 * Not from inside a callback: -EBUSY. Fork only while no other thread is inside a call of this loop but loop_post(),
 * loop_wake(), loop_stop(), loop_async_send(). Returns 0, also if there was nothing to do because this is no child;
 * -EOPNOTSUPP for loops with LOOP_MODE_SHARED or a zero-copy receive queue; or what loop_create() returns; then it may
 * be tried again. Children made by clone(2) without the handlers of pthread_atfork(3) are not recognised. */
LOOP_API LOOP_MUST_USE int loop_fork(struct loop *loop);

/* Gives the loop up, on the thread that owns it: the next thread that runs it owns it. Nothing is lost: what was in
 * flight is taken back from the kernel, and calls back first, from inside this call, where it has completed; the rest
 * is armed again by the new owner. Operations of yours that are no multishots and wait for something end with
 * -ECANCELED: start them again. Until another thread runs the loop any one thread may use it, as before the first run.
 *
 * Returns 0, also if nobody owns it; -EBUSY from inside a callback, or if the kernel did not let go of everything for
 * some time (a disk that does not answer, zero-copy sends that the peer has not taken): the loop is still this
 * thread's, and all goes on as it would elsewhere, so try again; -EOPNOTSUPP as above; or what loop_create() returns:
 * then the loop has no ring, and loop_rehome() tries again, as does loop_destroy(). */
LOOP_API LOOP_MUST_USE int loop_disown(struct loop *loop);

/* The same on another thread, after that of the owner has ended, without having given the loop up: it makes the loop
 * nobody's. What had completed calls back from inside this call; of the rest the kernel tells nobody any more: it is
 * armed again or ends, as in a child, and a file that was just being opened may stay open. So rather disown. Returns 0,
 * -EBUSY as long as the owner's thread is alive (the main thread counts as alive to the end of the process), or as
 * above. loop_destroy() on another thread does this by itself. */
LOOP_API LOOP_MUST_USE int loop_rehome(struct loop *loop);

LOOP_END_DECLS

#endif
