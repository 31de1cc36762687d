/* fs/random_name.c: names that nobody can guess. */
#include "fs/random_name.h"

#include "loop/base.h"
#include "loop/seam_file.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

enum { LETTERS = 32, LETTERS_MOST = 256 };

/* As many as divide 256, so that none is more frequent. */
static const char letters_known[LETTERS + 1] = "abcdefghijkmnpqrstuvwxyz23456789";

int random_name(char *letters, size_t size)
{
    uint8_t bytes[LETTERS_MOST];
    ssize_t r;

    if (size > sizeof(bytes))
        return -EINVAL;
    r = sys_random(bytes, size, true);
    for (size_t i = 0; r >= 0 && i < size; i++)
        letters[i] = letters_known[bytes[i] % LETTERS];
    return r < 0 ? (int)r : 0;
}

bool random_name_fits(const char *letters, size_t size)
{
    return strspn(letters, letters_known) >= size;
}
