/* ringloop/adapter/postgres.h: a connection of libpq on a loop. Needs libpq of PostgreSQL 9.1 or later (pipelines: 14),
 * which the program links itself. Loop thread only.
 *
 * Life: zeroed > loop_postgres_connect > connected > (queries, results) > ended or not > loop_postgres_close; then it
 * may be used anew.
 *
 * Queries are sent by libpq's own functions on .connection, followed by loop_postgres_flush():
 *
 *     PQsendQueryParams(pg->connection, "select $1::int", ...);
 *     loop_postgres_flush(pg);
 *
 * All callbacks may do anything, closing included. libpq looks up host names by getaddrinfo(3), which blocks: give
 * hostaddr, a socket's directory, or an address that resolve.h found. It knows no deadline here: take a timer and
 * loop_postgres_close(). */
#ifndef RINGLOOP_ADAPTER_POSTGRES_H
#define RINGLOOP_ADAPTER_POSTGRES_H

#include <libpq-fe.h>

#include <errno.h>
#include <poll.h>
#include <ringloop/poll.h>
#include <ringloop/timer.h>
#include <string.h>

LOOP_BEGIN_DECLS

struct loop_postgres;

/* Any but connected may be NULL: results are cleared then. */
struct loop_postgres_callbacks {
    /* Once: 0, or -ECONNREFUSED for whatever libpq calls a failure (PQerrorMessage() has it), or as ended. */
    void (*connected)(struct loop_postgres *pg, int error) LOOP_NONE;

    /* Of the query: yours, PQclear() it. NULL: the query is over, and the next may be sent. */
    void (*result)(struct loop_postgres *pg, PGresult *result) LOOP_NONE;

    /* After the result that begins a COPY: there may be input, or room for output. Call PQgetCopyData(.., 1) until it
     * gives 0, or PQputCopyData(); and when it gave -1, or PQputCopyEnd() 1, loop_postgres_copied(). */
    void (*copy)(struct loop_postgres *pg) LOOP_NONE;

    /* Lent: PQfreemem() is called afterwards. */
    void (*notify)(struct loop_postgres *pg, PGnotify *notice) LOOP_NONE;

    /* Once, and last: -ECONNRESET: the connection that stood is lost; a query that was going on has been told an error
     * and its NULL. -ECANCELED: the loop is being destroyed. Still to be closed. */
    void (*ended)(struct loop_postgres *pg, int error) LOOP_NONE;
};

struct loop_postgres {
    void   *data;       /* yours; the library never reads it */
    PGconn *connection; /* NULL: closed. Not to be finished or reset */
    struct loop_postgres_private {
        struct loop                          *loop;
        struct loop_poll                      poll;
        struct loop_timer                     soon; /* libpq is to be asked, though its socket says nothing */
        const struct loop_postgres_callbacks *callbacks;
        bool                                 *gone; /* to be set by a close, while something is called */
        bool                                  connecting, idle,
            copying; /* idle: the last that PQgetResult() gave was NULL, and nothing was sent since */
    } priv;
};

static inline void loop_postgres_told(struct loop_poll *poll, int events);

static inline void loop_postgres_end(struct loop_postgres *pg, int error)
{
    bool connecting = pg->priv.connecting;

    loop_poll_stop(&pg->priv.poll);
    loop_timer_stop(&pg->priv.soon);
    pg->priv.connecting = false;
    if (connecting)
        pg->priv.callbacks->connected(pg, error);
    else if (pg->priv.callbacks->ended != NULL)
        pg->priv.callbacks->ended(pg, error);
}

/* ---- connecting: libpq closes and opens sockets on its way, which may get the same number */

static inline int loop_postgres_watch(struct loop_postgres *pg, uint32_t events)
{
    return loop_poll_start(pg->priv.loop, &pg->priv.poll, PQsocket(pg->connection), events, loop_postgres_told);
}

static inline void loop_postgres_go_on(struct loop_postgres *pg)
{
    PostgresPollingStatusType status;
    int                       r = -ECONNREFUSED;

    loop_poll_stop(&pg->priv.poll);
    status = PQconnectPoll(pg->connection);
    if (status == PGRES_POLLING_READING)
        r = loop_postgres_watch(pg, POLLIN);
    else if (status == PGRES_POLLING_WRITING)
        r = loop_postgres_watch(pg, POLLOUT);
    else if (status == PGRES_POLLING_OK)
        r = PQsetnonblocking(pg->connection, 1) == 0 ? loop_postgres_watch(pg, POLLIN) : -ECONNREFUSED;
    if (r < 0) {
        loop_postgres_end(pg, r);
    } else if (status == PGRES_POLLING_OK) {
        pg->priv.connecting = false;
        pg->priv.callbacks->connected(pg, 0);
    }
}

/* ---- connected */

static inline bool loop_postgres_lost(const struct loop_postgres *pg)
{
    return PQstatus(pg->connection) == CONNECTION_BAD;
}

/* False: closed by the callback. */
static inline bool loop_postgres_tell_notices(struct loop_postgres *pg)
{
    PGnotify   *notice;
    const bool *gone = pg->priv.gone;

    while (!*gone && (notice = PQnotifies(pg->connection)) != NULL) {
        if (pg->priv.callbacks->notify != NULL)
            pg->priv.callbacks->notify(pg, notice);
        PQfreemem(notice);
    }
    return !*gone;
}

static inline bool loop_postgres_is_copy(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return result != NULL && (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH);
}

/* Of a lost connection PQgetResult() does not wait. */
static inline bool loop_postgres_tell_results(struct loop_postgres *pg)
{
    PGresult   *result;
    const bool *gone = pg->priv.gone;

    while (!*gone && !pg->priv.copying && (!PQisBusy(pg->connection) || loop_postgres_lost(pg))) {
        result = PQgetResult(pg->connection);
        if (result == NULL && pg->priv.idle)
            break;
        pg->priv.idle = result == NULL;
        pg->priv.copying = loop_postgres_is_copy(result) && !loop_postgres_lost(pg);
        if (pg->priv.callbacks->result != NULL)
            pg->priv.callbacks->result(pg, result);
        else
            PQclear(result);
    }
    if (!*gone && pg->priv.copying && pg->priv.callbacks->copy != NULL)
        pg->priv.callbacks->copy(pg);
    return !*gone;
}

/* What the server said before the end is told before it. */
static inline void loop_postgres_tell(struct loop_postgres *pg)
{
    bool gone = false;

    pg->priv.gone = &gone;
    if (loop_postgres_lost(pg))
        pg->priv.copying = false;
    if (!loop_postgres_tell_notices(pg) || !loop_postgres_tell_results(pg) || !loop_postgres_tell_notices(pg))
        return;
    pg->priv.gone = NULL;
    if (loop_postgres_lost(pg))
        loop_postgres_end(pg, -ECONNRESET);
}

static inline void loop_postgres_soon(struct loop_timer *timer)
{
    loop_postgres_tell((struct loop_postgres *)timer->data);
}

/* libpq closes its socket when it finds the connection lost, and then nothing tells of it any more. */
static inline int loop_postgres_send(struct loop_postgres *pg)
{
    int left = PQflush(pg->connection);

    (void)loop_poll_change(&pg->priv.poll, left == 1 ? POLLIN | POLLOUT : POLLIN);
    if (loop_postgres_lost(pg))
        (void)loop_timer_start(pg->priv.loop, &pg->priv.soon, 0, 0, loop_postgres_soon);
    return left < 0 ? -ECONNRESET : 0;
}

static inline void loop_postgres_told(struct loop_poll *poll, int events)
{
    struct loop_postgres *pg = (struct loop_postgres *)poll->data;

    if (events < 0) {
        loop_postgres_end(pg, events == -EBADF ? -ECONNRESET : events);
        return;
    }
    if (pg->priv.connecting) {
        loop_postgres_go_on(pg);
        return;
    }
    if ((events & ~POLLOUT) != 0)
        (void)PQconsumeInput(pg->connection);
    if ((events & POLLOUT) != 0 && !loop_postgres_lost(pg))
        (void)loop_postgres_send(pg);
    loop_postgres_tell(pg);
}

/* ---- calls */

/* Sends what libpq has queued; to be called after each PQsend...(), PQputCopyData() and the like. Returns 0 (what does
 * not leave now leaves later), -ENOTCONN (not connected), or -ECONNRESET: it has failed, PQerrorMessage() says why;
 * what the server had to say, and ended, come later. */
static inline int loop_postgres_flush(struct loop_postgres *pg)
{
    if (pg->connection == NULL || pg->priv.connecting || !loop_poll_active(&pg->priv.poll))
        return -ENOTCONN;
    pg->priv.idle = false;
    return loop_postgres_send(pg);
}

/* The COPY is over: results come again, in the next turn. */
static inline int loop_postgres_copied(struct loop_postgres *pg)
{
    int r = loop_postgres_flush(pg);

    if (r != -ENOTCONN) {
        pg->priv.copying = false;
        (void)loop_timer_start(pg->priv.loop, &pg->priv.soon, 0, 0, loop_postgres_soon);
    }
    return r;
}

/* Begins to connect; conninfo as for PQconnectdb(). Borrows pg and callbacks until the close. It keeps the loop alive
 * until it is closed or has ended: loop_poll_unref(&pg->priv.poll) once connected, where that is not wanted. Returns 0,
 * -EINVAL, -EBUSY (not closed), -ENOMEM, -ECONNREFUSED (libpq refuses conninfo, or fails at once), or what
 * loop_poll_start() gave; then no callback comes, and it is closed. */
LOOP_MUST_USE static inline int loop_postgres_connect(struct loop *loop, struct loop_postgres *pg, const char *conninfo,
                                                      const struct loop_postgres_callbacks *callbacks)
{
    int r = -ECONNREFUSED;

    if (loop == NULL || conninfo == NULL || callbacks == NULL || callbacks->connected == NULL)
        return -EINVAL;
    if (pg->connection != NULL)
        return -EBUSY;
    memset(&pg->priv, 0, sizeof(pg->priv));
    pg->priv.loop = loop;
    pg->priv.callbacks = callbacks;
    pg->priv.poll.data = pg;
    pg->priv.soon.data = pg;
    pg->priv.connecting = true;
    pg->priv.idle = true;
    pg->connection = PQconnectStart(conninfo);
    if (pg->connection == NULL)
        return -ENOMEM;
    if (!loop_postgres_lost(pg))
        r = loop_postgres_watch(pg, POLLOUT);
    if (r < 0) {
        PQfinish(pg->connection);
        pg->connection = NULL;
    }
    return r;
}

/* Ends the connection, now; no callback comes after it, and the memory is yours. Closing a closed one does nothing.
 * After loop_destroy() it may still be closed, and must be. */
static inline void loop_postgres_close(struct loop_postgres *pg)
{
    if (pg->connection == NULL)
        return;
    loop_poll_stop(&pg->priv.poll);
    loop_timer_stop(&pg->priv.soon);
    PQfinish(pg->connection);
    pg->connection = NULL;
    if (pg->priv.gone != NULL)
        *pg->priv.gone = true;
}

LOOP_END_DECLS

#endif
