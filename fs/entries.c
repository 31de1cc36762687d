/* fs/entries.c: types of directory entries. */
#include "fs/entries.h"

#include "loop/seam_file.h"

#include <fcntl.h>
#include <ringloop/directory.h>
#include <sys/stat.h>

uint8_t entry_type(int dirfd, const char *name)
{
    struct statx stat;
    int          r = sys_statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &stat);

    return r < 0 ? LOOP_ENTRY_UNKNOWN : (uint8_t)(stat.stx_mode >> 12);
}
