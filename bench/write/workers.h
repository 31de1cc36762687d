/* bench/write/workers.h: the kernel's threads that write for a ring. */
#ifndef BENCH_WRITE_WORKERS_H
#define BENCH_WRITE_WORKERS_H

/* Lets the workers of the calling thread's rings run only where the thread itself may; the kernel would choose among
 * all CPUs. For all rings, those made later as well. */
void workers_pin(void);

#endif
