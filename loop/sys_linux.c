/* loop/sys_linux.c: seam 2 over the real system. */
#include "loop/seam_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int result(int r)
{
    return r < 0 ? -errno : r;
}

uint64_t sys_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t sys_clock_wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int sys_clock_watch(void)
{
    const struct itimerspec never = {.it_value.tv_sec = INT64_MAX / 1000000000};
    int                     fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    int                     r;

    if (fd < 0)
        return -errno;
    /* ECANCELED: the clock was set just now; the timer is armed all the same. */
    if (timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 && errno != ECANCELED) {
        r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

int sys_clock_watch_read(int fd)
{
    uint64_t ticks;
    int      r = result((int)read(fd, &ticks, sizeof(ticks)));

    return r == -ECANCELED ? 0 : r; /* what is read when the clock was set */
}

int sys_socket(int domain, int type, int protocol)
{
    return result(socket(domain, type, protocol));
}

int sys_bind(int fd, const struct sockaddr *addr, socklen_t size)
{
    return result(bind(fd, addr, size));
}

int sys_listen(int fd, int backlog)
{
    return result(listen(fd, backlog));
}

int sys_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    return result(connect(fd, addr, size));
}

int sys_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *addr, socklen_t addr_size)
{
    return result((int)sendto(fd, data, size, flags, addr, addr_size));
}

int sys_recvmsg(int fd, struct msghdr *msg, int flags)
{
    return result((int)recvmsg(fd, msg, flags));
}

int sys_sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags)
{
    return result(sendmmsg(fd, msgs, count, flags));
}

int sys_getsockname(int fd, struct sockaddr *addr, socklen_t *size)
{
    return result(getsockname(fd, addr, size));
}

int sys_getpeername(int fd, struct sockaddr *addr, socklen_t *size)
{
    return result(getpeername(fd, addr, size));
}

int sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    return result(setsockopt(fd, level, name, value, size));
}

int sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    return result(getsockopt(fd, level, name, value, size));
}

ssize_t sys_recv(int fd, void *data, size_t size, int flags)
{
    ssize_t r = recv(fd, data, size, flags);

    return r < 0 ? -errno : r;
}

int sys_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return result((int)sendmsg(fd, msg, flags));
}

int sys_shutdown(int fd, int how)
{
    return result(shutdown(fd, how));
}

int sys_close(int fd)
{
    return result(close(fd)); /* Linux closes the descriptor even when close(2) answers EINTR: never twice */
}

int sys_replace(int fd, int by)
{
    int r = result(dup3(by, fd, O_CLOEXEC));

    close(by);
    return r;
}

int sys_pipe(int ret_fds[2])
{
    return result(pipe2(ret_fds, O_CLOEXEC | O_NONBLOCK));
}

int sys_pipe_size_set(int fd, int bytes)
{
    return result(fcntl(fd, F_SETPIPE_SZ, bytes));
}

int sys_nonblocking_set(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || (flags & O_NONBLOCK) != 0 ? result(flags) : result(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

static ssize_t splice_now(int in_fd, int out_fd, size_t size)
{
    ssize_t r = splice(in_fd, NULL, out_fd, NULL, size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

    return r < 0 ? -errno : r;
}

ssize_t sys_splice_in(int fd, int pipe_fd, size_t size)
{
    return splice_now(fd, pipe_fd, size);
}

/* splice(2) has no MSG_NOSIGNAL: with -EPIPE comes SIGPIPE, to this thread; also with the count of what went before it.
 * One that was pending before stays so. */
ssize_t sys_splice_out(int pipe_fd, int fd, size_t size)
{
    sigset_t pipe_signal, before, pending;
    ssize_t  r;

    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigemptyset(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    if (sigismember(&before, SIGPIPE))
        sigpending(&pending);
    r = splice_now(pipe_fd, fd, size);
    if ((r == -EPIPE || (r >= 0 && (size_t)r < size)) && !sigismember(&pending, SIGPIPE))
        (void)sigtimedwait(&pipe_signal, NULL, &(const struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int sys_socketpair(int domain, int type, int ret_fds[2])
{
    return result(socketpair(domain, type, 0, ret_fds));
}

int sys_file_mode(int fd, mode_t *ret_mode)
{
    struct stat status;
    int         r = result(fstat(fd, &status));

    if (r == 0)
        *ret_mode = status.st_mode;
    return r;
}

int sys_file_flags(int fd)
{
    return result(fcntl(fd, F_GETFL));
}

ssize_t sys_read_now(int fd, void *data, size_t size)
{
    struct iovec iov = {.iov_base = data, .iov_len = size};
    ssize_t      done = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

    if (done >= 0)
        return done;
    return errno == EOPNOTSUPP ? -EAGAIN : -errno;
}

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100 /* Linux 6.18: no SIGPIPE */
#endif
ssize_t sys_write_now(int fd, const struct iovec *iov, size_t count)
{
    ssize_t done = pwritev2(fd, iov, (int)count, -1, RWF_NOWAIT | RWF_NOSIGNAL);

    if (done >= 0)
        return done;
    return errno == EOPNOTSUPP ? -EAGAIN : -errno;
}

/* Flags are looked at first, and bytes that nobody can write down stay where they are. */
int sys_pipe_nowait(int fd)
{
    struct iovec nowhere = {.iov_base = NULL, .iov_len = 1};

    return preadv2(fd, &nowhere, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP ? -EOPNOTSUPP : 0;
}

int sys_eventfd(void)
{
    return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int sys_eventfd_signal(int fd)
{
    uint64_t one = 1;
    int      saved = errno; /* signal handlers must leave it alone */
    int      r = result((int)write(fd, &one, sizeof(one)));

    errno = saved;
    return r == -EAGAIN ? 0 : r;
}

void sys_eventfd_drain(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
}

int sys_eventfd_wait(int fd, uint64_t timeout_ns)
{
    struct pollfd   pollfd = {.fd = fd, .events = POLLIN};
    struct timespec timeout = {
        .tv_sec = (time_t)(timeout_ns / 1000000000u),
        .tv_nsec = (long)(timeout_ns % 1000000000u),
    };
    uint64_t count;
    int      r = result(ppoll(&pollfd, 1, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL));

    if (r > 0 && read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        return -errno;
    return r;
}

int sys_epoll(void)
{
    return result(epoll_create1(EPOLL_CLOEXEC));
}

int sys_epoll_change(int epoll_fd, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};

    return result(epoll_ctl(epoll_fd, op, fd, &event));
}

int sys_epoll_take(int epoll_fd, struct epoll_event *ret_events, int events_max)
{
    return result(epoll_wait(epoll_fd, ret_events, events_max, 0));
}

int sys_thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t         blocked, before;
    pthread_t        thread;
    int              r;

    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before); /* inherited */
    r = pthread_create(&thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        *ret_thread = thread;
    return -r;
}

int sys_thread_join(pthread_t thread)
{
    return -pthread_join(thread, NULL);
}

void sys_back_off(uint32_t attempt)
{
    struct timespec pause = {.tv_nsec = 50000};

    /* To yield lets no thread of lower real-time priority run, nor always another of the same: sleeping does. */
    if (attempt < 16)
        (void)sched_yield();
    else
        (void)nanosleep(&pause, NULL);
}

void sys_thread_name(const char *name)
{
    (void)pthread_setname_np(pthread_self(), name);
}

const char *sys_environment(const char *name)
{
    return secure_getenv(name);
}

int sys_open_to_append(const char *path)
{
    return result(open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600));
}

int sys_write(int fd, const void *data, size_t size)
{
    return result((int)write(fd, data, size));
}

int sys_file(const char *path, struct sys_file *ret_file)
{
    struct stat status;

    if (lstat(path, &status) < 0)
        return -errno;
    *ret_file = (struct sys_file){.device = status.st_dev, .inode = status.st_ino, .mode = status.st_mode};
    return 0;
}

int sys_chmod(const char *path, uint32_t mode)
{
    return result(chmod(path, mode));
}

int sys_unlink(const char *path)
{
    return result(unlink(path));
}

int sys_read_number(const char *path, long *ret_number)
{
    char    text[32];
    ssize_t size;
    int     fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    size = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (size <= 0)
        return -EIO;
    text[size] = '\0';
    *ret_number = strtol(text, NULL, 10);
    return 0;
}

static int name_error(int eai)
{
    switch (eai) {
    case 0: return 0;
    case EAI_NONAME: return -ENOENT;
    case EAI_NODATA:
    case EAI_ADDRFAMILY: return -ENODATA;
    case EAI_AGAIN: return -EAGAIN;
    case EAI_FAIL: return -EPROTO;
    case EAI_SERVICE: return -ESRCH;
    case EAI_BADFLAGS: return -EINVAL;
    case EAI_FAMILY:
    case EAI_SOCKTYPE: return -EAFNOSUPPORT;
    case EAI_OVERFLOW: return -EOVERFLOW;
    case EAI_MEMORY: return -ENOMEM;
    case EAI_SYSTEM: return errno > 0 ? -errno : -EIO;
    }
    return -EIO;
}

int sys_addresses(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
    return name_error(getaddrinfo(host, service, hints, ret_list));
}

void sys_addresses_free(struct addrinfo *list)
{
    freeaddrinfo(list);
}

int sys_name(const struct sockaddr *addr, socklen_t size, char *host, size_t host_size, char *service,
             size_t service_size, int flags)
{
    return name_error(getnameinfo(addr, size, host, (socklen_t)host_size, service, (socklen_t)service_size, flags));
}

int sys_interfaces(struct ifaddrs **ret_list)
{
    return result(getifaddrs(ret_list));
}

void sys_interfaces_free(struct ifaddrs *list)
{
    freeifaddrs(list);
}
