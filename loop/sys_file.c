/* loop/sys_file.c: files and directories over the real system. */
#include "loop/seam_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/random.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { BENEATH_TRIES = 16 };

static int result(int r)
{
    return r < 0 ? -errno : r;
}

static ssize_t size_result(ssize_t r)
{
    return r < 0 ? -errno : r;
}

int sys_fsync(int fd)
{
    return result(fsync(fd));
}

/* ---- watches */

int sys_inotify_open(void)
{
    return result(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
}

int sys_inotify_add(int fd, const char *path, uint32_t mask)
{
    return result(inotify_add_watch(fd, path, mask | IN_MASK_ADD));
}

int sys_inotify_remove(int fd, int number)
{
    return result(inotify_rm_watch(fd, number));
}

ssize_t sys_inotify_read(int fd, void *data, size_t size)
{
    ssize_t r = read(fd, data, size);

    return r < 0 ? -errno : r;
}

int sys_inotify_pending(int fd)
{
    int bytes = 0;

    return ioctl(fd, FIONREAD, &bytes) < 0 ? -errno : bytes;
}

int sys_absolute(const char *path, char *ret_path, size_t size)
{
    size_t before = 0, length = strlen(path);

    if (path[0] != '/') {
        if (getcwd(ret_path, size) == NULL)
            return errno == ERANGE ? -ENAMETOOLONG : -errno;
        before = strlen(ret_path);
        if (before + 1 < size)
            ret_path[before++] = '/';
    }
    if (length >= size - before)
        return -ENAMETOOLONG;
    memcpy(ret_path + before, path, length + 1);
    return 0;
}

ssize_t sys_link_target(const char *path, char *ret_target, size_t size)
{
    ssize_t r = readlink(path, ret_target, size);

    return r < 0 ? -errno : r;
}

int sys_look(const char *path, bool *ret_link, bool *ret_directory)
{
    struct stat stat;

    if (lstat(path, &stat) < 0)
        return -errno;
    *ret_link = S_ISLNK(stat.st_mode);
    *ret_directory = S_ISDIR(stat.st_mode);
    return 0;
}

int sys_file_system(const char *path, uint32_t *ret_magic)
{
    struct statfs statfs_now;

    if (statfs(path, &statfs_now) < 0)
        return -errno;
    *ret_magic = (uint32_t)statfs_now.f_type;
    return 0;
}

int64_t sys_seek(int fd, int64_t offset, int whence)
{
    int64_t r = lseek(fd, offset, whence);

    return r < 0 ? -errno : r;
}

int sys_size_set(int fd, int64_t size)
{
    return result(ftruncate(fd, size));
}

int sys_device_size(int fd, uint64_t *ret_size)
{
    return result(ioctl(fd, BLKGETSIZE64, ret_size));
}

int sys_unlink_at(int dirfd, const char *path, int flags)
{
    return result(unlinkat(dirfd, path, flags));
}

int sys_chmod_fd(int fd, mode_t mode)
{
    return result(fchmod(fd, mode));
}

int sys_chown_at(int dirfd, const char *path, uid_t user, gid_t group, int flags)
{
    return result(fchownat(dirfd, path, user, group, flags));
}

ssize_t sys_random(void *data, size_t size, bool wait)
{
    return size_result(getrandom(data, size, wait ? 0 : GRND_NONBLOCK));
}

/* ---- directories and trees */

int sys_open_at(int dirfd, const char *path, int flags, mode_t mode)
{
    return result(openat(dirfd, path, flags | O_CLOEXEC, mode));
}

int sys_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    int r = -EAGAIN;

    for (int tries = 0; tries < BENEATH_TRIES && r == -EAGAIN; tries++) /* a rename elsewhere got in the way */
        r = result((int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
    return r;
}

ssize_t sys_entries_read(int fd, void *buffer, size_t size)
{
    return size_result(syscall(SYS_getdents64, fd, buffer, size));
}

int sys_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *ret_stat)
{
    return result(statx(dirfd, path, flags, mask, ret_stat));
}

int sys_mkdir_at(int dirfd, const char *path, mode_t mode)
{
    return result(mkdirat(dirfd, path, mode));
}

int sys_link_at(int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, int flags)
{
    return result(linkat(old_dirfd, old_path, new_dirfd, new_path, flags));
}

int sys_rename_at(int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, unsigned flags)
{
    return result(renameat2(old_dirfd, old_path, new_dirfd, new_path, flags));
}

/* By descriptor it needs a right that few have, or kernel 6.10; by way of /proc, that is mounted. */
int sys_descriptor_link(int fd, int dirfd, const char *path)
{
    char name[32];
    int  r = result(linkat(fd, "", dirfd, path, AT_EMPTY_PATH));

    if (r != -ENOENT)
        return r;
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    return result(linkat(AT_FDCWD, name, dirfd, path, AT_SYMLINK_FOLLOW));
}

/* ---- paths */

int sys_access_at(int dirfd, const char *path, int mode, int flags)
{
    return result(faccessat(dirfd, path, mode, flags));
}

int sys_chmod_at(int dirfd, const char *path, mode_t mode, int flags)
{
    return result(fchmodat(dirfd, path, mode, flags));
}

int sys_times_at(int dirfd, const char *path, const struct timespec times[2], int flags)
{
    return result(utimensat(dirfd, path, times, flags));
}

int sys_times_fd(int fd, const struct timespec times[2])
{
    return result(futimens(fd, times));
}

ssize_t sys_readlink_at(int dirfd, const char *path, char *buffer, size_t size)
{
    return size_result(readlinkat(dirfd, path, buffer, size));
}

int sys_realpath(const char *path, char *buffer)
{
    return realpath(path, buffer) == NULL ? -errno : 0;
}

int sys_statfs(const char *path, struct statfs *ret_statfs)
{
    return result(statfs(path, ret_statfs));
}

int sys_statfs_fd(int fd, struct statfs *ret_statfs)
{
    return result(fstatfs(fd, ret_statfs));
}

/* ---- copies */

int sys_clone(int to_fd, int from_fd)
{
    return result(ioctl(to_fd, FICLONE, from_fd));
}

ssize_t sys_copy_range(int from_fd, int64_t from_offset, int to_fd, int64_t to_offset, size_t size)
{
    return size_result(copy_file_range(from_fd, &from_offset, to_fd, &to_offset, size, 0));
}

ssize_t sys_read_at(int fd, void *data, size_t size, int64_t offset)
{
    return size_result(pread(fd, data, size, offset));
}

ssize_t sys_write_at(int fd, const void *data, size_t size, int64_t offset)
{
    return size_result(pwrite(fd, data, size, offset));
}
