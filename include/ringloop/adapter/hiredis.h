/* ringloop/adapter/hiredis.h: asynchronous contexts of hiredis on a loop. Needs hiredis 0.14 or later, which the
 * program links itself. Loop thread only.
 *
 * Life: redisAsyncConnect() > loop_redis_attach > (commands, replies) > the context ends, as hiredis has it: by
 * redisAsyncDisconnect(), redisAsyncFree(), or the end of the connection; then what belongs to it here is freed.
 *
 * An attached context keeps the loop alive. hiredis 1.0 and later keeps timeouts of its own (redisAsyncSetTimeout()),
 * 0.14 has none. What is allocated here comes from malloc(3).
 *
 * The end of the loop: loop_destroy() ends each context that is attached by redisAsyncFree(): callbacks of commands
 * that wait come with a NULL reply, then the one for the disconnection, if it was connected. */
#ifndef RINGLOOP_ADAPTER_HIREDIS_H
#define RINGLOOP_ADAPTER_HIREDIS_H

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <errno.h>
#include <poll.h>
#include <ringloop/poll.h>
#include <ringloop/timer.h>
#include <stdlib.h>
#include <sys/time.h>

LOOP_BEGIN_DECLS

struct loop_redis {
    struct loop_poll   poll;
    struct loop_timer  timer; /* hiredis 1.0 */
    redisAsyncContext *context;
    bool              *gone; /* to be set by the end, while hiredis is called */
};

static inline void loop_redis_watch(struct loop_redis *redis, uint32_t add, uint32_t remove)
{
    if (loop_poll_active(&redis->poll))
        (void)loop_poll_change(&redis->poll, (loop_poll_events(&redis->poll) | add) & ~remove);
}

static inline void loop_redis_add_read(void *arg)
{
    loop_redis_watch((struct loop_redis *)arg, POLLIN, 0);
}

static inline void loop_redis_del_read(void *arg)
{
    loop_redis_watch((struct loop_redis *)arg, 0, POLLIN);
}

static inline void loop_redis_add_write(void *arg)
{
    loop_redis_watch((struct loop_redis *)arg, POLLOUT, 0);
}

static inline void loop_redis_del_write(void *arg)
{
    loop_redis_watch((struct loop_redis *)arg, 0, POLLOUT);
}

static inline void loop_redis_cleanup(void *arg)
{
    struct loop_redis *redis = (struct loop_redis *)arg;

    loop_poll_stop(&redis->poll);
    loop_timer_stop(&redis->timer);
    if (redis->gone != NULL)
        *redis->gone = true;
    free(redis);
}

/* Reading shows an error, too. */
static inline void loop_redis_told(struct loop_poll *poll, int events)
{
    struct loop_redis *redis = (struct loop_redis *)poll->data;
    redisAsyncContext *context = redis->context;
    bool               gone = false;

    if (events < 0) {
        redisAsyncFree(context);
        return;
    }
    redis->gone = &gone;
    if ((events & ~POLLOUT) != 0)
        redisAsyncHandleRead(context);
    if (!gone && (events & POLLOUT) != 0 && (loop_poll_events(poll) & POLLOUT) != 0)
        redisAsyncHandleWrite(context);
    if (!gone)
        redis->gone = NULL;
}

#if HIREDIS_MAJOR >= 1
static inline void loop_redis_timer_fired(struct loop_timer *timer)
{
    redisAsyncHandleTimeout(((struct loop_redis *)timer->data)->context);
}

static inline void loop_redis_schedule(void *arg, struct timeval time)
{
    struct loop_redis *redis = (struct loop_redis *)arg;

    (void)loop_timer_start(loop_poll_loop(&redis->poll), &redis->timer,
                           (uint64_t)time.tv_sec * LOOP_SECOND + (uint64_t)time.tv_usec * LOOP_MICROSECOND, 0,
                           loop_redis_timer_fired);
}
#endif

/* Lets loop drive the context, which must be attached to nothing else: before its callbacks are set, and before the
 * first command. Returns 0, -EINVAL (none, or one that has failed: look at its errstr), -EBUSY (attached already),
 * -ENOMEM, or what loop_poll_start() gave; then the context is as it was, and yours to free. */
LOOP_MUST_USE static inline int loop_redis_attach(struct loop *loop, redisAsyncContext *context)
{
    struct loop_redis *redis;
    int                r;

    if (loop == NULL || context == NULL || context->err != 0)
        return -EINVAL;
    if (context->ev.data != NULL)
        return -EBUSY;
    redis = (struct loop_redis *)calloc(1, sizeof(*redis));
    if (redis == NULL)
        return -ENOMEM;
    redis->context = context;
    redis->poll.data = redis;
    redis->timer.data = redis;
    r = loop_poll_start(loop, &redis->poll, context->c.fd, 0, loop_redis_told);
    if (r < 0) {
        free(redis);
        return r;
    }
    context->ev.data = redis;
    context->ev.addRead = loop_redis_add_read;
    context->ev.delRead = loop_redis_del_read;
    context->ev.addWrite = loop_redis_add_write;
    context->ev.delWrite = loop_redis_del_write;
    context->ev.cleanup = loop_redis_cleanup;
#if HIREDIS_MAJOR >= 1
    context->ev.scheduleTimer = loop_redis_schedule;
#endif
    return 0;
}

LOOP_END_DECLS

#endif
