/* loop/seam_file.h: the part of seam 2 that is about files and directories. sys_file.c is the real one.
 *
 * All return >= 0 or a negative errno. Those with a dirfd take AT_FDCWD, too. */
#ifndef RINGLOOP_LOOP_SEAM_FILE_H
#define RINGLOOP_LOOP_SEAM_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int sys_fsync(int fd); /* may wait for long: on the work pool only, or when the loop ends */

/* Of watches. The inotify descriptor is non-blocking and close-on-exec. mask: IN_*; sys_inotify_add returns the watch's
 * number, and adds the mask to one that the inode has. */
int     sys_inotify_open(void);
int     sys_inotify_add(int fd, const char *path, uint32_t mask);
int     sys_inotify_remove(int fd, int number); /* -EINVAL: its inode has gone */
ssize_t sys_inotify_read(int fd, void *data, size_t size);
int     sys_inotify_pending(int fd);                                 /* bytes that can be read now */
int     sys_absolute(const char *path, char *ret_path, size_t size); /* a relative one after getcwd(3) */
ssize_t sys_link_target(const char *path, char *ret_target, size_t size);
/* Whether the path leads to something: 0, or why not; *ret_link: whether it is a symbolic link itself. */
int     sys_look(const char *path, bool *ret_link, bool *ret_directory);
int     sys_file_system(const char *path, uint32_t *ret_magic); /* f_type of statfs(2) */

/* Directories and trees. */
struct statx;
struct timespec;
int     sys_open_at(int dirfd, const char *path, int flags, mode_t mode); /* close-on-exec */
/* The same within dirfd: no way leads out of it, by "..", by links or from the root. */
int     sys_open_beneath(int dirfd, const char *path, int flags, mode_t mode);
/* getdents64(2) */
ssize_t sys_entries_read(int fd, void *buffer, size_t size);
int64_t sys_seek(int fd, int64_t offset, int whence);
int     sys_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *ret_stat);
int     sys_unlink_at(int dirfd, const char *path, int flags);
int     sys_mkdir_at(int dirfd, const char *path, mode_t mode);
int     sys_link_at(int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, int flags);
int     sys_rename_at(int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, unsigned flags);
int     sys_descriptor_link(int fd, int dirfd, const char *path); /* gives a file without a name one */
/* getrandom(2); up to 256 bytes come whole. wait: until the machine has gathered enough to begin with. */
ssize_t sys_random(void *data, size_t size, bool wait);

/* Paths. */
int     sys_access_at(int dirfd, const char *path, int mode, int flags);
int     sys_chmod_at(int dirfd, const char *path, mode_t mode, int flags);
int     sys_chmod_fd(int fd, mode_t mode);
int     sys_chown_at(int dirfd, const char *path, uid_t user, gid_t group, int flags);
int     sys_times_at(int dirfd, const char *path, const struct timespec times[2], int flags);
int     sys_times_fd(int fd, const struct timespec times[2]);
ssize_t sys_readlink_at(int dirfd, const char *path, char *buffer, size_t size);
int     sys_realpath(const char *path, char *buffer); /* PATH_MAX bytes */
struct statfs;
int sys_statfs(const char *path, struct statfs *ret_statfs);
int sys_statfs_fd(int fd, struct statfs *ret_statfs);

/* Copies. */
int     sys_clone(int to_fd, int from_fd); /* FICLONE */
ssize_t sys_copy_range(int from_fd, int64_t from_offset, int to_fd, int64_t to_offset, size_t size);
ssize_t sys_read_at(int fd, void *data, size_t size, int64_t offset);
ssize_t sys_write_at(int fd, const void *data, size_t size, int64_t offset);
int     sys_size_set(int fd, int64_t size); /* ftruncate(2) */

int sys_device_size(int fd, uint64_t *ret_size); /* of a block device, which stat(2) does not tell */

#endif
