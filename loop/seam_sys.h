/* loop/seam_sys.h: seam 2: every system call that is not the ring's. sys_linux.c is the real one; tests may link
 * another.
 *
 * All return >= 0 or a negative errno. */
#ifndef RINGLOOP_LOOP_SEAM_SYS_H
#define RINGLOOP_LOOP_SEAM_SYS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

uint64_t sys_clock_ns(void);      /* CLOCK_MONOTONIC */
uint64_t sys_clock_wall_ns(void); /* CLOCK_REALTIME */

/* A descriptor that becomes readable when CLOCK_REALTIME is set, or has gone on while the machine slept, until that is
 * read: 0 or positive, or -EAGAIN if there is nothing. Non-blocking, close-on-exec. */
int sys_clock_watch(void);
int sys_clock_watch_read(int fd);

int     sys_socket(int domain, int type, int protocol);
int     sys_bind(int fd, const struct sockaddr *addr, socklen_t size);
int     sys_listen(int fd, int backlog);
int     sys_connect(int fd, const struct sockaddr *addr, socklen_t size);
int     sys_getsockname(int fd, struct sockaddr *addr, socklen_t *size);
int     sys_getpeername(int fd, struct sockaddr *addr, socklen_t *size);
int     sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int     sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
ssize_t sys_recv(int fd, void *data, size_t size, int flags);
int     sys_sendmsg(int fd, const struct msghdr *msg, int flags);
int     sys_shutdown(int fd, int how);
int     sys_close(int fd);
int     sys_replace(int fd, int by); /* fd is what by was, close-on-exec; by is closed in any case */
int     sys_socketpair(int domain, int type, int ret_fds[2]);

int sys_file_mode(int fd, mode_t *ret_mode); /* st_mode of fstat(2) */
int sys_file_flags(int fd);                  /* F_GETFL */

/* Reads what is there; -EAGAIN also where a read cannot be told not to wait. */
ssize_t sys_read_now(int fd, void *data, size_t size);
/* The same for writing; no SIGPIPE. */
ssize_t sys_write_now(int fd, const struct iovec *iov, size_t count);

/* Whether a read of this pipe can be told not to wait (RWF_NOWAIT): all that pipe(2) made, not those opened by name. 0
 * if it can, else -EOPNOTSUPP. Takes no byte. */
int sys_pipe_nowait(int fd);

int     sys_pipe(int ret_fds[2]); /* non-blocking, close-on-exec */
int     sys_pipe_size_set(int fd, int bytes);
int     sys_nonblocking_set(int fd); /* of the file, whoever else uses it */
/* Moves what there is, at most size bytes: into a pipe, or out of it to a socket (-EPIPE without a signal). Waits where
 * the socket is not non-blocking. */
ssize_t sys_splice_in(int fd, int pipe_fd, size_t size);
ssize_t sys_splice_out(int pipe_fd, int fd, size_t size);

/* Of datagrams. */
int sys_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *addr, socklen_t addr_size);
int sys_sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags);
int sys_recvmsg(int fd, struct msghdr *msg, int flags);

int  sys_eventfd(void);          /* for waking the loop: non-blocking, close-on-exec */
void sys_eventfd_drain(int fd);  /* takes what it has counted */
int  sys_eventfd_signal(int fd); /* async-signal-safe; a full counter counts as success */

/* Waits until fd can be read, at most timeout_ns (UINT64_MAX: without limit), and takes what the eventfd has counted.
 * 1, 0 when the time is over, -EINTR. */
int sys_eventfd_wait(int fd, uint64_t timeout_ns);
/* An epoll (close-on-exec), epoll_ctl(2), and what is ready in one, without waiting. */
struct epoll_event;
int         sys_epoll(void);
int         sys_epoll_change(int epoll_fd, int op, int fd, uint32_t events, uint64_t data);
int         sys_epoll_take(int epoll_fd, struct epoll_event *ret_events, int events_max);
/* Threads: all signals are blocked but those of a thread's own faults, which would kill the process unseen. */
int         sys_thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg);
int         sys_thread_join(pthread_t thread);
void        sys_thread_name(const char *name); /* of the calling thread; at most 15 characters */
/* Gives the CPU away for a moment while another thread is waited for; attempt counts from 0. */
void        sys_back_off(uint32_t attempt);
/* For a trace. environment: NULL without such a variable, and in programs that run with more rights than their user. */
const char *sys_environment(const char *name);
int         sys_open_to_append(const char *path); /* made where it is missing; close-on-exec */
int         sys_write(int fd, const void *data, size_t size);

/* What stands at a path itself: no link is followed. */
struct sys_file {
    uint64_t device, inode;
    uint32_t mode; /* st_mode */
};
int sys_file(const char *path, struct sys_file *ret_file);
int sys_chmod(const char *path, uint32_t mode);
int sys_unlink(const char *path);
/* getaddrinfo(3) and getnameinfo(3), which may block for long: any thread. Their errors as net/ tells them: resolve.h.
 * Of a name, what is of size 0 is not looked up. */
struct addrinfo;
int  sys_addresses(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list);
void sys_addresses_free(struct addrinfo *list);
int  sys_name(const struct sockaddr *addr, socklen_t size, char *host, size_t host_size, char *service,
              size_t service_size, int flags);

/* getifaddrs(3) */
struct ifaddrs;
int  sys_interfaces(struct ifaddrs **ret_list);
void sys_interfaces_free(struct ifaddrs *list);

/* Reads a small file as one decimal number, e.g. a sysctl. */
int sys_read_number(const char *path, long *ret_number);

#endif
