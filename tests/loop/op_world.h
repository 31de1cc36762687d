/* tests/loop/op_world.h: one row for every function that starts an operation, and the little world that its success,
 * its failure and its waiting are played in.
 *
 * Whatever a call copies stands in world.args, which world_start() overwrites as soon as the call has returned: an
 * operation that still looked there would find rubbish. */
#ifndef RINGLOOP_TESTS_LOOP_OP_WORLD_H
#define RINGLOOP_TESTS_LOOP_OP_WORLD_H

#include "tests/support/test.h"

#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { WORLD_FILE_BYTES = 8192, WORLD_FDS_MAX = 64, WORLD_AUTOMATIC = 4 };

struct world_args {
    char                      path[PATH_MAX];
    char                      second[PATH_MAX];
    char                      name[32];
    struct iovec              iov[8];
    struct msghdr             msg;
    struct sockaddr_storage   address;
    struct open_how           how;
    struct epoll_event        event;
    struct futex_waitv        waiters[4];
    struct loop_match         match;
    int                       fds[4];
    struct io_uring_sqe       sqes[2];
    struct loop_uring_command command;
};

struct world {
    struct loop *loop;
    char         path[PATH_MAX]; /* a fresh directory on the file system of the working directory */
    int          directory;
    int          file; /* "file" in it: WORLD_FILE_BYTES of world_byte() */
    int          fds[WORLD_FDS_MAX];
    unsigned     fds_count;

    /* What an operation fills in, or is about. */
    char               bytes[4][64];
    char               lent[64]; /* the first bytes of what came in a buffer */
    struct statx       statx;
    siginfo_t          info;
    int                pipe[2];
    struct epoll_event events[4];
    struct msghdr      message; /* as received */
    uint32_t           futex[4];
    int                fd[2]; /* the descriptors that it works on */
    pid_t              child;
    void              *memory;
    int                fixed_index, slot, slot_empty; /* with NEEDS_TABLES: a buffer, the file, two own slots */
    char              *fixed_memory;
    struct loop       *other; /* another loop, for messages */
    uint64_t           other_value;
    uint32_t           other_count;
    int32_t            other_res;
    struct test_log    helper; /* of the operation that this one is about */
    struct test_log    log;    /* for world_result() */

    struct world_args args;
};

enum how { GOOD, BAD, BLOCK };

typedef loop_id row_start(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms);
typedef void    row_look(struct world *world, int32_t res);

enum row_flags {
    BLOCKS = 1 << 0,       /* has a BLOCK case: it waits until it is cancelled */
    COPIES = 1 << 1,       /* something is copied, or has to be known at the end: refused in direct mode */
    YIELDS_FD = 1 << 2,    /* its result is a descriptor */
    BREAKS_CHAIN = 1 << 3, /* its GOOD case counts as a failure in a chain */
    OWN_CHAIN = 1 << 4,    /* brings a chain of its own */
    NEEDS_XATTR = 1 << 5,  /* extended attributes, which a file system may lack */
    MAKES_HELPER = 1 << 6, /* its GOOD case starts another operation */
    FROM_6_1 = 1 << 7,     /* the oldest kernel has it */
    TAKES_POLL_FIRST = 1 << 8,
    GOES_ON = 1 << 9,         /* the kernel does not count its failure: a soft chain goes on behind it */
    FAILS_EARLY = 1 << 10,    /* the kernel refuses the BAD case when it reads the SQE: a chain is dropped whole */
    ON_WORKER = 1 << 11,      /* its BLOCK case waits in a worker */
    CANCEL_GOES_ON = 1 << 12, /* as GOES_ON, for its end by a cancel */
    NEEDS_TABLES = 1 << 13,   /* registered files and buffers */
    RELEASES = 1 << 14,       /* zero-copy: two callbacks, the result and the release */
    MULTISHOT = 1 << 15,      /* its GOOD case has one result with LOOP_MORE, then ends with 0 */
    ENDLESS = 1 << 16,        /* with MULTISHOT: it has to be cancelled */
    LENDS = 1 << 17,          /* the result comes in a buffer of the default group */
    NEEDS_CB = 1 << 18,       /* refused without a callback */
    WIDE = 1 << 19,           /* SQEs of 128 bytes: needs a ring for them */
    REFUSED = 1 << 20,        /* cannot be started without hardware: good is what the call returns */
    SINCE_6_7 = 1 << 21,      /* the opcode is older: another one tells */
    SINCE_6_15 = 1 << 22,     /* as above */
};

/* Any descriptor; the own slot that was empty; any automatic slot. */
enum { RES_FD = INT32_MAX, RES_SLOT = INT32_MAX - 1, RES_AUTOMATIC = INT32_MAX - 2 };

struct row {
    uint8_t     opcode;
    const char *name;
    row_start  *start;
    int32_t     good;
    int32_t     bad; /* 0: cannot fail in the kernel */
    unsigned    flags;
    row_look   *look;  /* compares what a success has done with what the system says */
    row_look   *nudge; /* what makes the GOOD case go on, after each turn */
    const char *kernel;
};

enum { ROWS = 90 };
extern const struct row rows[];        /* ROWS of them */
extern const uint8_t    rows_legacy[]; /* up to IORING_OP_LAST */

/* Byte number n of the file. */
static inline char world_byte(size_t n)
{
    return (char)(n * 7 + n / 251);
}

struct world *world_new(const struct loop_options *options);
void          world_free(struct world *world);      /* nothing may be in flight */
void          world_drop_loop(struct world *world); /* the loop only, whatever is going on */

/* Closed with the world. */
int  world_fd(struct world *world, int fd);
/* Not any more. */
void world_fd_gone(struct world *world, int fd);

/* Open files and pipes, closed with the world. */
int  world_open(struct world *world, const char *name, int flags);
void world_pipe(struct world *world, int ret_fds[2]);
/* Of a pipe that is full, or a stream socket whose peer's window is closed. */
int  world_full_pipe(struct world *world);
int  world_full_socket(struct world *world);
/* A tcp socket that is not connected yet, since the listener's queue is full: sends wait. */
int  world_connecting_tcp(struct world *world);
/* A connected pair of stream sockets. */
void world_pair(struct world *world, int ret_fds[2]);
void world_tcp_pair(struct world *world, int ret_fds[2]);

/* Starts the case; NULL row->start is not allowed. */
loop_id world_start(struct world *world, const struct row *row, enum how how, loop_cb *cb, void *arg,
                    const struct loop_terms *terms);

/* The same into log; fails where it does not start, or calls back from inside the call. */
loop_id world_start_logged(struct world *world, const struct row *row, enum how how, struct test_log *log,
                           const struct loop_terms *terms);

/* Turns until log has its final callback; fails after a while. What is endless is cancelled after its first result. */
void world_finish(struct world *world, const struct row *row, enum how how, const struct test_log *log);

/* Fails, with the row's name, unless log holds what belongs to an end with res and flags: one final callback; or the
 * result and the release; or, if res is that of the GOOD case, the first result of a multishot and its end. */
void world_expect(struct world *world, const struct row *row, const struct test_log *log, int32_t res, uint32_t flags);

/* Whether got is expected, which may be one of RES_*. Takes a descriptor to be closed. */
bool world_takes(struct world *world, int32_t expected, int32_t got);

/* A world with what the row needs; the second gives NULL if it can't be tried here. */
struct world *world_with(const struct row *row, const struct loop_options *options);
struct world *world_for(const struct row *row, const struct loop_options *options);

/* Runs what was started with test_log_cb and world->log to its end; its result, which must be its only callback. */
int32_t world_result(struct world *world, loop_id id);

/* Checks that a call with world_never as its callback was refused with error, and has left nothing in flight. */
void    world_refused(struct world *world, loop_id id, int error);
loop_cb world_never;

/* The descriptor of a loop's ring, which has no public name. Called right after it was made. */
int world_ring_fd(void);

/* op_rows_file.c */
row_start start_readv, start_writev, start_read, start_write, start_fsync, start_fdatasync, start_sync_file_range,
    start_fallocate, start_ftruncate, start_fadvise, start_madvise, start_splice, start_tee, start_pipe;
row_look look_read, look_written, look_size, look_madvise, look_spliced, look_teed, look_pipe;

/* op_rows_fixed.c */
row_start start_read_fixed, start_write_fixed, start_readv_fixed, start_writev_fixed, start_files_update,
    start_fixed_fd_install, start_setsockopt, start_getsockopt, start_socket_inq, start_socket_outq;
row_look look_read_fixed, look_updated, look_option_set, look_option;

/* op_rows_device.c */
row_start start_uring_cmd, start_uring_cmd128, start_nop128, start_raw, start_raw128;

/* op_rows_multishot.c */
row_start start_accept_multishot, start_accept_multishot_direct, start_recv_multishot, start_recvmsg_multishot,
    start_read_multishot, start_poll_add_multishot, start_timeout_multishot;
row_look look_lent;

/* op_rows_slot.c */
row_start start_socket_direct, start_socket_of_kind, start_socket_of_kind_direct, start_accept_direct,
    start_openat_direct, start_openat2_direct, start_pipe_direct;
row_look look_socket_slot, look_stream_socket, look_accepted_slot, look_opened_slot, look_pipe_slots;

/* op_rows_zero_copy.c */
row_start start_send_zc, start_send_zc_fixed, start_sendto, start_sendto_zc, start_sendmsg_zc, start_sendmsg_zc_fixed,
    start_recv_zc;

/* op_rows_path.c */
row_start start_openat, start_openat2, start_statx, start_renameat, start_unlinkat, start_mkdirat, start_symlinkat,
    start_linkat, start_setxattr, start_fsetxattr, start_getxattr, start_fgetxattr;
row_look look_opened, look_statx, look_renamed, look_unlinked, look_directory, look_symlink, look_linked, look_set,
    look_got;

/* op_rows_socket.c */
row_start start_nop, start_socket, start_bind, start_listen, start_connect, start_accept, start_shutdown, start_close,
    start_send, start_recv, start_sendmsg, start_recvmsg;
row_look look_socket, look_bound, look_listening, look_connected, look_shutdown, look_closed, look_sent, look_received;

/* op_rows_wait.c */
row_start start_poll_add, start_poll_remove, start_poll_update, start_timeout, start_timeout_remove,
    start_timeout_update, start_link_timeout, start_async_cancel, start_epoll_ctl, start_epoll_wait, start_msg_ring,
    start_msg_ring_fd, start_futex_wait, start_futex_wake, start_futex_waitv, start_waitid;
row_look look_helper_canceled, look_helper_polled, look_helper_timed, look_epoll_ctl, look_epoll_wait, look_message,
    look_message_fd, look_waitid, nudge_futex;

#endif
