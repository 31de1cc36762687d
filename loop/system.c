/* loop/system.c: random bytes, the process's title, what it has used of the machine. */
#include "loop/call.h"
#include "loop/op_start.h"
#include "loop/quota.h"
#include "loop/seam_file.h"
#include "loop/seam_process.h"

#include <ringloop/system.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ---- random bytes */

enum { RANDOM_PIECE = 256 * 1024 };

int loop_random(void *buf, size_t size)
{
    char   *bytes = buf;
    ssize_t n;

    for (size_t at = 0; at < size; at += (size_t)n) {
        n = sys_random(bytes + at, size - at < RANDOM_PIECE ? size - at : RANDOM_PIECE, false);
        if (n < 0)
            return (int)n;
    }
    return 0;
}

struct random_call {
    struct call call;
    char       *bytes;
    size_t      size;
};

static int32_t run_random(struct call *base)
{
    struct random_call *call = container_of(base, struct random_call, call);
    ssize_t             n;

    while (call->size > 0) {
        if (call_stopped(base) != 0)
            return call_stopped(base);
        n = sys_random(call->bytes, call->size < RANDOM_PIECE ? call->size : RANDOM_PIECE, true);
        if (n < 0)
            return (int32_t)n;
        call->bytes += n;
        call->size -= (size_t)n;
    }
    return 0;
}

loop_id loop_random_wait(struct loop *loop, void *buf, size_t size, loop_cb *cb, void *arg,
                         const struct loop_terms *terms)
{
    struct random_call *call;

    loop_check_owner(loop, __func__);
    if (buf == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    call = call_new(loop, sizeof(*call));
    if (call != NULL) {
        call->bytes = buf;
        call->size = size;
    }
    return call_start(loop, __func__, LOOP_WORK_SLOW, call == NULL ? NULL : &call->call, run_random, cb, arg, terms);
}

/* ---- the title */

/* Of the process: guarded by the lock. */
static struct {
    pthread_mutex_t lock;
    char           *room; /* where the arguments were; NULL before loop_title_prepare() */
    size_t          size; /* of room, with the 0 at its end */
    size_t          used; /* of the title, without */
    char          **arguments;
} title = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* How much of the arguments lies in one piece, as the kernel has put it. */
static size_t room_of(int argc, char **argv)
{
    char *end = argv[0] + strlen(argv[0]) + 1;

    for (int i = 1; i < argc && argv[i] == end; i++)
        end += strlen(end) + 1;
    return (size_t)(end - argv[0]);
}

static char **copy_arguments(int argc, char **argv)
{
    size_t bytes = 0;
    char **copy, *text;

    for (int i = 0; i < argc; i++)
        bytes += strlen(argv[i]) + 1;
    copy = malloc(((size_t)argc + 1) * sizeof(copy[0]) + bytes);
    if (copy == NULL)
        return NULL;
    text = (char *)(copy + argc + 1);
    for (int i = 0; i < argc; i++) {
        copy[i] = strcpy(text, argv[i]);
        text += strlen(text) + 1;
    }
    copy[argc] = NULL;
    return copy;
}

char **loop_title_prepare(int argc, char **argv)
{
    char **arguments;

    pthread_mutex_lock(&title.lock);
    if (title.room == NULL && argc > 0 && argv != NULL && argv[0] != NULL)
        title.arguments = copy_arguments(argc, argv);
    arguments = title.arguments != NULL ? title.arguments : argv;
    if (title.room == NULL && title.arguments != NULL) {
        title.size = room_of(argc, argv);
        title.room = argv[0];
        title.used = title.size - 1;
    }
    pthread_mutex_unlock(&title.lock);
    return arguments;
}

int loop_title_set(const char *text)
{
    char name[16] = "";
    int  r = -ENOBUFS;

    if (text == NULL)
        return -EINVAL;
    pthread_mutex_lock(&title.lock);
    if (title.room != NULL) {
        title.used = strnlen(text, title.size - 1);
        memcpy(title.room, text, title.used);
        memset(title.room + title.used, 0, title.size - title.used);
        r = 0;
    }
    pthread_mutex_unlock(&title.lock);
    memcpy(name, text, strnlen(text, sizeof(name) - 1));
    if (r == 0)
        sys_thread_name(name);
    return r;
}

int loop_title_get(char *buf, size_t size)
{
    int r = -ENOBUFS;

    if (buf == NULL)
        return -EINVAL;
    pthread_mutex_lock(&title.lock);
    if (title.room != NULL && title.used >= size) {
        r = -ERANGE;
    } else if (title.room != NULL) {
        for (size_t i = 0; i < title.used; i++) /* a 0 is between arguments */
            buf[i] = (char)(title.room[i] == '\0' ? ' ' : title.room[i]);
        buf[title.used] = '\0';
        r = (int)title.used;
    }
    pthread_mutex_unlock(&title.lock);
    return r;
}

/* ---- what has been used */

static uint64_t ns_of(struct timeval time)
{
    return (uint64_t)time.tv_sec * LOOP_SECOND + (uint64_t)time.tv_usec * LOOP_MICROSECOND;
}

int loop_usage_get(enum loop_usage_of of, struct loop_usage *ret_usage)
{
    static const int whom[] = {RUSAGE_SELF, RUSAGE_THREAD, RUSAGE_CHILDREN};
    struct rusage    usage;
    int              r;

    if (ret_usage == NULL || (unsigned)of >= ARRAY_COUNT(whom))
        return -EINVAL;
    r = sys_usage(whom[of], &usage);
    if (r < 0)
        return r;
    *ret_usage = (struct loop_usage){
        .user_ns = ns_of(usage.ru_utime),
        .system_ns = ns_of(usage.ru_stime),
        .resident_max = (uint64_t)usage.ru_maxrss * 1024,
        .faults = (uint64_t)usage.ru_minflt,
        .faults_read = (uint64_t)usage.ru_majflt,
        .blocks_read = (uint64_t)usage.ru_inblock,
        .blocks_written = (uint64_t)usage.ru_oublock,
        .switches_waiting = (uint64_t)usage.ru_nvcsw,
        .switches_forced = (uint64_t)usage.ru_nivcsw,
    };
    return 0;
}

int loop_memory_resident(uint64_t *ret_bytes)
{
    char          text[256];
    char         *end;
    unsigned long pages;
    int           r;

    if (ret_bytes == NULL)
        return -EINVAL;
    r = sys_read_text("/proc/self/statm", text, sizeof(text));
    if (r < 0)
        return r;
    (void)strtoul(text, &end, 10); /* the size; what is resident follows */
    pages = strtoul(end, &end, 10);
    if (*end != ' ')
        return -EIO;
    *ret_bytes = pages * sys_page_size();
    return 0;
}

uint32_t loop_processors(void)
{
    uint32_t quota = quota_processors();
    int      count = sys_processors();

    if (count < 1)
        count = 1;
    return quota == QUOTA_NONE || quota > (uint32_t)count ? (uint32_t)count : quota;
}
