/* ringloop/system.h: small things that servers ask of the system: random bytes, the process's title, what it has used
 * of the machine. Any thread, unless a call says otherwise; without a loop, but for loop_random_wait(). */
#ifndef RINGLOOP_SYSTEM_H
#define RINGLOOP_SYSTEM_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

/* ---- random bytes, fit for keys: getrandom(2) */

/* Fills buf. Never waits; 32 MiB take about 0.1 s, during which it is the caller who is busy. Returns 0; -EAGAIN while
 * the machine boots and has not gathered enough yet: then loop_random_wait(). */
LOOP_API LOOP_MUST_USE int loop_random(void *buf, size_t size);

/* The same on the work pool, and waits if it must: an operation like loop_work(), in the slow class. Loop thread only.
 * Borrows buf. res: 0. Cancel and deadline end it between two pieces; what buf holds then is undefined. -EINVAL: no
 * buf. */
LOOP_API loop_id loop_random_wait(struct loop *loop, void *buf, size_t size, loop_cb *cb, void *arg,
                                  const struct loop_terms *terms);

/* ---- the title: what ps(1) and top(1) show
 *
 * Linux shows the memory that the arguments of main() are in. So main() gives that away first, and uses copies: */

/* Copies the arguments, which go on at what it returns, for as long as the process lives, with a NULL behind the last;
 * the memory of the old ones becomes that of titles. Call it at the beginning of main(), before anybody keeps a pointer
 * into argv, and once; later calls return what the first did. Returns argv itself, and has done nothing, without
 * memory or arguments. */
LOOP_API char **loop_title_prepare(int argc, char **argv);

/* Sets the title, cut to the room that the arguments had, and the name of the calling thread, cut to 15 bytes, which
 * top(1) shows if that is the main thread. Children of fork(2) have it, too. Returns 0, -EINVAL for NULL, -ENOBUFS
 * without loop_title_prepare(). */
LOOP_API LOOP_MUST_USE int loop_title_set(const char *title);

/* The title as it was set, or the arguments joined by spaces, with a 0 behind it. Returns its size, -ERANGE if it does
 * not fit into size bytes, -EINVAL for NULL, -ENOBUFS as above. */
LOOP_API LOOP_MUST_USE int loop_title_get(char *buf, size_t size);

/* ---- what has been used: getrusage(2) */

enum loop_usage_of {
    LOOP_USAGE_PROCESS,
    LOOP_USAGE_THREAD,   /* the calling one */
    LOOP_USAGE_CHILDREN, /* that have ended and been waited for, with theirs */
};

struct loop_usage {
    uint64_t user_ns;
    uint64_t system_ns;
    uint64_t resident_max; /* bytes; of threads: of the process; of children: of the largest */
    uint64_t faults;       /* without reading from a disk */
    uint64_t faults_read;
    uint64_t blocks_read; /* of 512 bytes, from disks */
    uint64_t blocks_written;
    uint64_t switches_waiting; /* of context, since it waited; a loop with nothing to do */
    uint64_t switches_forced;  /* since its time was over, or others more urgent */
};

/* Returns 0, or -EINVAL. */
LOOP_API LOOP_MUST_USE int loop_usage_get(enum loop_usage_of of, struct loop_usage *ret_usage);

/* Bytes of the process's memory that are in RAM now, shared ones with it. Reads /proc/self/statm: 0, or why it can't.
 */
LOOP_API LOOP_MUST_USE int loop_memory_resident(uint64_t *ret_bytes);

/* How many loops are of use: the processors that the calling thread may run on (sched_getaffinity(2)), or what quotas
 * of the process's control groups and those above them allow, rounded up, if that is less; at least 1. Of both versions
 * of control groups, where they are mounted in /sys/fs/cgroup. Reads some files: ask once. */
LOOP_API uint32_t loop_processors(void);

LOOP_END_DECLS

#endif
