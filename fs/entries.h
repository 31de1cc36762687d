/* fs/entries.h: what getdents64(2) writes. */
#ifndef RINGLOOP_FS_ENTRIES_H
#define RINGLOOP_FS_ENTRIES_H

#include <stdbool.h>
#include <stdint.h>

struct raw_entry {
    uint64_t inode;
    int64_t  next; /* the position behind it */
    uint16_t size; /* of all of it */
    uint8_t  type; /* enum loop_entry_type */
    char     name[];
};

static inline bool raw_entry_is_dots(const struct raw_entry *entry)
{
    const char *name = entry->name;

    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* entries.c: for what the file system does not tell; 0 where that can't be found out either. */
uint8_t entry_type(int dirfd, const char *name);

#endif
