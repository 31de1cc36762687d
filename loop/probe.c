/* loop/probe.c: USDT probes. Each is a nop, described in a note of the object file, at one place only. */
#include "loop/probe.h"

#include "loop/ring.h"

#ifdef RINGLOOP_PROBES

#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

/* A probe's semaphore is found by its name: all names are one word. */
#define SEMAPHORE_OF(probe)                                                                                            \
    extern __attribute__((visibility("hidden"),                                                                        \
                          alias("ringloop_probes_semaphore"))) volatile unsigned short ringloop_##probe##_semaphore

__attribute__((section(".probes"), used)) volatile unsigned short ringloop_probes_semaphore;
SEMAPHORE_OF(submit);
SEMAPHORE_OF(sqe);
SEMAPHORE_OF(complete);
SEMAPHORE_OF(callback__begin);
SEMAPHORE_OF(callback__end);

#else

#define STAP_PROBE3(provider, name, a, b, c)    ((void)(a), (void)(b), (void)(c))
#define STAP_PROBE4(provider, name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))

#endif

void probe_submit(const struct loop *loop, unsigned count, unsigned reason)
{
    STAP_PROBE3(ringloop, submit, loop, count, reason);
}

void probe_sqe(const struct loop *loop, const struct io_uring_sqe *sqe)
{
    STAP_PROBE4(ringloop, sqe, loop, (uint64_t)sqe->user_data, sqe->opcode, sqe->fd);
}

void probe_completion(const struct loop *loop, const struct completion *completion)
{
    STAP_PROBE4(ringloop, complete, loop, completion->user_data, completion->res, completion->flags);
}

void probe_callback_begin(const struct loop *loop, loop_id id, int32_t res)
{
    STAP_PROBE3(ringloop, callback__begin, loop, id, res);
}

void probe_callback_end(const struct loop *loop, loop_id id, int32_t res)
{
    STAP_PROBE3(ringloop, callback__end, loop, id, res);
}
