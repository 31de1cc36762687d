/* bench/post/post.h: the post bench: what it costs to reach a loop from another thread; each library supplies struct
 * post_library and calls post_main.
 *
 * PROGRAM --mode wake|flood|pingpong [--ops N] [--cpus A,B]
 * wake      the loop's thread is held in a callback, so that a wake is pending and nobody has to be woken: CPU time of
 *           the sending thread for each send
 * flood     one thread sends numbers as fast as it can, the loop's thread takes them: CPU time of the process for each
 *           number that has come. Each must come, once and in order; where a library only wakes, the numbers go through
 *           a queue with a mutex (queue.h)
 * pingpong  two loops on two threads, one message to and fro: CPU time of the process for each round, and its median
 *           duration
 * The first CPU is the loop's (both loops' with pingpong), the second the sender's. Prints one JSON line. */
#ifndef BENCH_POST_POST_H
#define BENCH_POST_POST_H

#include <stdbool.h>
#include <stdint.h>

enum post_mode { POST_WAKE, POST_FLOOD, POST_PINGPONG };

/* The calls under test. Loop 0 receives; loop 1 exists for pingpong only. */
struct post_library {
    bool merges; /* sends are merged: one callback for all that are pending */
    void (*open)(enum post_mode mode, unsigned index);
    /* Runs loop index until post_stop() has returned true in one of its callbacks. */
    void (*run)(unsigned index);
    /* wake: count sends to loop 0, each of which calls post_woken(), or all together do. */
    void (*send)(uint64_t count);
    /* flood: sends the numbers 0 to count - 1 to loop 0, whose callbacks call post_came(number) for each. */
    void (*flood)(uint64_t count);
    /* pingpong: one message to loop index, whose callback calls post_pinged(index). */
    void (*ping)(unsigned index);
};

int post_main(int argc, char **argv, const struct post_library *library);

/* Called by callbacks. Each returns whether its loop shall stop. */
bool post_woken(void);
bool post_pinged(unsigned index);

extern uint64_t                post_next, post_end;
__attribute__((noreturn)) void post_out_of_order(uint64_t number);

static inline bool post_came(uint64_t number)
{
    if (number != post_next)
        post_out_of_order(number);
    return ++post_next == post_end;
}

#endif
