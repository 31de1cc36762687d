/* Pins the workers: they are one pool for each thread that has rings, so a ring made for this call is as good as any.
 */
#include "write/workers.h"

#include <errno.h>
#include <liburing.h>
#include <sched.h>

#include "common/cli.h"

void workers_pin(void)
{
    struct io_uring ring;
    cpu_set_t       cpus;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
        die_errno(errno, "sched_getaffinity");
    must(io_uring_queue_init(1, &ring, 0), "io_uring_queue_init");
    must(io_uring_register_iowq_aff(&ring, sizeof(cpus), &cpus), "io_uring_register_iowq_aff");
    io_uring_queue_exit(&ring);
}
