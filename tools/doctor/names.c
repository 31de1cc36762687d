/* names.c: names of errors, signals, opcodes and flags, whatever the age of the headers that this was built with. */
#include "doctor.h"

#include <errno.h>
#include <signal.h>

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct name {
    int         number;
    const char *text;
};

#define NAME(number)                                                                                                   \
    {                                                                                                                  \
        number, #number                                                                                                \
    }
static const struct name errors[] = {
    NAME(EPERM),      NAME(ENOENT),       NAME(EIO),          NAME(EBADF),         NAME(EAGAIN),    NAME(ENOMEM),
    NAME(EACCES),     NAME(EFAULT),       NAME(EBUSY),        NAME(EEXIST),        NAME(ENODEV),    NAME(EINVAL),
    NAME(ENFILE),     NAME(EMFILE),       NAME(ENOSPC),       NAME(EPIPE),         NAME(ENOSYS),    NAME(EPROTO),
    NAME(EOPNOTSUPP), NAME(EAFNOSUPPORT), NAME(EADDRINUSE),   NAME(EADDRNOTAVAIL), NAME(ENETDOWN),  NAME(ENETUNREACH),
    NAME(ECONNRESET), NAME(ENOBUFS),      NAME(ECONNREFUSED), NAME(ETIMEDOUT),     NAME(ECANCELED), NAME(EBADMSG),
};
static const struct name signals[] = {
    NAME(SIGSYS), NAME(SIGKILL), NAME(SIGABRT), NAME(SIGSEGV), NAME(SIGBUS),
    NAME(SIGILL), NAME(SIGTRAP), NAME(SIGTERM), NAME(SIGXCPU), NAME(SIGALRM),
};

/* The kernel never renumbers them. */
static const char *const opcodes[] = {
    "NOP",
    "READV",
    "WRITEV",
    "FSYNC",
    "READ_FIXED",
    "WRITE_FIXED",
    "POLL_ADD",
    "POLL_REMOVE",
    "SYNC_FILE_RANGE",
    "SENDMSG",
    "RECVMSG",
    "TIMEOUT",
    "TIMEOUT_REMOVE",
    "ACCEPT",
    "ASYNC_CANCEL",
    "LINK_TIMEOUT",
    "CONNECT",
    "FALLOCATE",
    "OPENAT",
    "CLOSE",
    "FILES_UPDATE",
    "STATX",
    "READ",
    "WRITE",
    "FADVISE",
    "MADVISE",
    "SEND",
    "RECV",
    "OPENAT2",
    "EPOLL_CTL",
    "SPLICE",
    "PROVIDE_BUFFERS",
    "REMOVE_BUFFERS",
    "TEE",
    "SHUTDOWN",
    "RENAMEAT",
    "UNLINKAT",
    "MKDIRAT",
    "SYMLINKAT",
    "LINKAT",
    "MSG_RING",
    "FSETXATTR",
    "SETXATTR",
    "FGETXATTR",
    "GETXATTR",
    "SOCKET",
    "URING_CMD",
    "SEND_ZC",
    "SENDMSG_ZC",
    "READ_MULTISHOT",
    "WAITID",
    "FUTEX_WAIT",
    "FUTEX_WAKE",
    "FUTEX_WAITV",
    "FIXED_FD_INSTALL",
    "FTRUNCATE",
    "BIND",
    "LISTEN",
    "RECV_ZC",
    "EPOLL_WAIT",
    "READV_FIXED",
    "WRITEV_FIXED",
    "PIPE",
    "NOP128",
    "URING_CMD128",
};
static const char *const setup_flags[] = {
    "IOPOLL",        "SQPOLL",        "SQ_AFF",     "CQSIZE",
    "CLAMP",         "ATTACH_WQ",     "R_DISABLED", "SUBMIT_ALL",
    "COOP_TASKRUN",  "TASKRUN_FLAG",  "SQE128",     "CQE32",
    "SINGLE_ISSUER", "DEFER_TASKRUN", "NO_MMAP",    "REGISTERED_FD_ONLY",
    "NO_SQARRAY",    "HYBRID_IOPOLL", "CQE_MIXED",  "SQE_MIXED",
    "SQ_REWIND",
};
static const char *const features[] = {
    "SINGLE_MMAP", "NODROP",          "SUBMIT_STABLE",   "RW_CUR_POS",     "CUR_PERSONALITY", "FAST_POLL",
    "POLL_32BITS", "SQPOLL_NONFIXED", "EXT_ARG",         "NATIVE_WORKERS", "RSRC_TAGS",       "CQE_SKIP",
    "LINKED_FILE", "REG_REG_RING",    "RECVSEND_BUNDLE", "MIN_TIMEOUT",    "RW_ATTR",         "NO_IOWAIT",
};

const char *const level_names[] = {"works", "restricted", "broken"};

static const char *find(const struct name *names, size_t count, int number)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].number == number)
            return names[i].text;
    return NULL;
}

const char *error_name(int error, char space[NAME_MAX_BYTES])
{
    const char *name = find(errors, ARRAY_COUNT(errors), -error);

    if (name != NULL)
        return name;
    snprintf(space, NAME_MAX_BYTES, "errno %d", -error);
    return space;
}

const char *signal_name(int number, char space[NAME_MAX_BYTES])
{
    const char *name = find(signals, ARRAY_COUNT(signals), number);

    if (name != NULL)
        return name;
    snprintf(space, NAME_MAX_BYTES, "signal %d", number);
    return space;
}

const char *opcode_name(unsigned opcode)
{
    return opcode < ARRAY_COUNT(opcodes) ? opcodes[opcode] : NULL;
}

const char *setup_flag_name(unsigned bit)
{
    return bit < ARRAY_COUNT(setup_flags) ? setup_flags[bit] : NULL;
}

const char *feature_name(unsigned bit)
{
    return bit < ARRAY_COUNT(features) ? features[bit] : NULL;
}

const char *obstacle_name(enum loop_obstacle obstacle)
{
    switch (obstacle) {
    case LOOP_OBSTACLE_NONE: return "NONE";
    case LOOP_OBSTACLE_NO_KERNEL: return "NO_KERNEL";
    case LOOP_OBSTACLE_OLD_KERNEL: return "OLD_KERNEL";
    case LOOP_OBSTACLE_SYSCTL: return "SYSCTL";
    case LOOP_OBSTACLE_FILTER: return "FILTER";
    case LOOP_OBSTACLE_MEMLOCK: return "MEMLOCK";
    case LOOP_OBSTACLE_FILES: return "FILES";
    }
    return "NONE";
}
