/* tests/fs/scratch.c: a directory of the test's own. */
#include "tests/fs/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[SCRATCH_PATH_MAX];
static char before[SCRATCH_PATH_MAX];
static char mounted[2 * SCRATCH_PATH_MAX];

void scratch_make(void)
{
    ck_assert_ptr_nonnull(getcwd(before, sizeof(before)));
    ck_assert_int_lt(snprintf(path, sizeof(path), "%.4000s/scratch.XXXXXX", before), (int)sizeof(path));
    ck_assert_ptr_nonnull(mkdtemp(path));
    ck_assert_int_eq(chdir(path), 0);
}

static int remove_one(const char *name, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    (void)remove(name);
    return 0;
}

void scratch_remove(void)
{
    ck_assert_int_eq(chdir(before), 0);
    if (mounted[0] != '\0')
        (void)umount2(mounted, MNT_DETACH);
    mounted[0] = '\0';
    (void)nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

const char *scratch_path(void)
{
    return path;
}

char *scratch_read(const char *name, size_t *ret_size)
{
    struct stat stat;
    int         fd = open(name, O_RDONLY | O_CLOEXEC);
    char       *data;

    ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
    ck_assert_int_eq(fstat(fd, &stat), 0);
    data = malloc((size_t)stat.st_size + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_int_eq(read(fd, data, (size_t)stat.st_size), stat.st_size);
    data[stat.st_size] = '\0';
    close(fd);
    if (ret_size != NULL)
        *ret_size = (size_t)stat.st_size;
    return data;
}

void scratch_write(const char *name, const void *data, size_t size)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
    test_write(fd, data, size);
    close(fd);
}

bool scratch_mount(const char *name, size_t size)
{
    char options[64];

    ck_assert_int_eq(mkdir(name, 0755), 0);
    /* In a world of its own, which ends with the process, however that ends. */
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    (void)snprintf(options, sizeof(options), "size=%zu", size);
    if (mount("ringloop-test", name, "tmpfs", 0, options) < 0)
        return false;
    (void)snprintf(mounted, sizeof(mounted), "%s/%s", path, name);
    return true;
}

void scratch_unprivileged(void (*scenario)(void))
{
    const unsigned nobody = 65534;
    int            status = -1;
    pid_t          pid;

    ck_assert_int_eq(chmod(path, 0777), 0);
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        alarm(TEST_TIMEOUT_S);
        if (geteuid() == 0 &&
            (setgroups(0, NULL) < 0 || setresgid(nobody, nobody, nobody) < 0 || setresuid(nobody, nobody, nobody) < 0))
            _exit(3);
        scenario();
        fflush(NULL);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(status == 0, "the unprivileged child ended with status %#x", (unsigned)status);
}
