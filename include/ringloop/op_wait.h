/* ringloop/op_wait.h: operations that wait for other threads and processes: futexes, children.
 *
 * What op.h says of all operations holds here. Kernel 6.7. */
#ifndef RINGLOOP_OP_WAIT_H
#define RINGLOOP_OP_WAIT_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

struct futex_waitv; /* <linux/futex.h> */

/* futex_wait(2), futex_wake(2), futex_waitv(2), the calls with sizes in their flags: FUTEX2_SIZE_U32 | FUTEX2_PRIVATE
 * and so on (<linux/futex.h>; 2 | 128). Borrow the futexes; waiters (at most 128) is copied.
 * loop_futex_wait() waits while *futex == value, for a wake of one of mask's bits (FUTEX_BITSET_MATCH_ANY: any); res 0,
 * or -EAGAIN if it holds something else. loop_futex_wake() wakes at most count; res: how many. loop_futex_waitv() waits
 * for any one of several; res: which. */
LOOP_API loop_id loop_futex_wait(struct loop *loop, uint32_t *futex, uint64_t value, uint64_t mask, uint32_t flags,
                                 loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_futex_wake(struct loop *loop, uint32_t *futex, uint64_t mask, int count, uint32_t flags,
                                 loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_futex_waitv(struct loop *loop, const struct futex_waitv *waiters, uint32_t count, loop_cb *cb,
                                  void *arg, const struct loop_terms *terms);

/* waitid(2), with idtype_t, id_t and siginfo_t of <sys/wait.h> under plain names, which strict C11 lacks. Borrows info,
 * a siginfo_t, which may be NULL. */
LOOP_API loop_id loop_waitid(struct loop *loop, int idtype, unsigned id, void *info, int options, loop_cb *cb,
                             void *arg, const struct loop_terms *terms);

LOOP_END_DECLS

#endif
