/* tests/loop/op_rows_path.c: operations on paths. */
#include "tests/loop/op_world.h"

#include <sys/xattr.h>

/* A path to be copied; overwritten after the call. */
static const char *path(struct world *world, const char *name)
{
    return strcpy(world->args.path, name);
}

static const char *second(struct world *world, const char *name)
{
    return strcpy(world->args.second, name);
}

/* A FIFO that nobody writes to. Its opening waits only in a worker: the kernel's first attempt is made with O_NONBLOCK,
 * with which a FIFO opens at once; O_CREAT sends it to a worker. */
static const char *fifo(struct world *world)
{
    if (faccessat(world->directory, "fifo", F_OK, 0) != 0)
        ck_assert_int_eq(mkfifoat(world->directory, "fifo", 0600), 0);
    return path(world, "fifo");
}

static const char *to_open(struct world *world, enum how how)
{
    switch (how) {
    case GOOD: return path(world, "file");
    case BAD: return path(world, "missing");
    case BLOCK: return fifo(world);
    }
    return NULL;
}

loop_id start_openat(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_openat(world->loop, world->directory, to_open(world, how), how == BLOCK ? O_RDONLY | O_CREAT : O_RDONLY,
                       0, cb, arg, terms);
}

/* The bad one tries to get out of the directory. */
loop_id start_openat2(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    const char *name = how == BAD ? path(world, "../out") : to_open(world, how);

    world->args.how =
        (struct open_how){.flags = how == BLOCK ? O_RDONLY | O_CREAT : O_RDONLY, .resolve = RESOLVE_BENEATH};
    return loop_openat2(world->loop, world->directory, name, &world->args.how, sizeof(world->args.how), cb, arg, terms);
}

void look_opened(struct world *world, int32_t res)
{
    struct stat here, there;

    ck_assert_int_eq(fstat(world->file, &here), 0);
    ck_assert_int_eq(fstat(res, &there), 0);
    ck_assert_uint_eq(here.st_ino, there.st_ino);
    ck_assert_int_eq(fcntl(res, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(fcntl(res, F_GETFL) & O_ACCMODE, O_RDONLY);
}

loop_id start_statx(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_statx(world->loop, world->directory, path(world, how == BAD ? "missing" : "file"), 0, STATX_ALL,
                      &world->statx, cb, arg, terms);
}

void look_statx(struct world *world, int32_t res)
{
    struct statx expected;

    (void)res;
    memset(&expected, 0, sizeof(expected));
    ck_assert_int_eq(statx(world->directory, "file", 0, STATX_ALL, &expected), 0);
    ck_assert_mem_eq(&world->statx, &expected, sizeof(expected));
    ck_assert_uint_eq(expected.stx_size, WORLD_FILE_BYTES);
}

static bool is_there(struct world *world, const char *name)
{
    return faccessat(world->directory, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

loop_id start_renameat(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_renameat(world->loop, world->directory, path(world, how == BAD ? "missing" : "file"), world->directory,
                         second(world, "renamed"), RENAME_NOREPLACE, cb, arg, terms);
}

void look_renamed(struct world *world, int32_t res)
{
    (void)res;
    ck_assert(!is_there(world, "file"));
    ck_assert(is_there(world, "renamed"));
}

loop_id start_unlinkat(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_unlinkat(world->loop, world->directory, path(world, how == BAD ? "missing" : "file"), 0, cb, arg,
                         terms);
}

void look_unlinked(struct world *world, int32_t res)
{
    (void)res;
    ck_assert(!is_there(world, "file"));
}

loop_id start_mkdirat(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_mkdirat(world->loop, world->directory, path(world, how == BAD ? "file" : "made"), 0751, cb, arg, terms);
}

void look_directory(struct world *world, int32_t res)
{
    struct stat stat;
    mode_t      mask = umask(0);

    (void)res;
    umask(mask);
    ck_assert_int_eq(fstatat(world->directory, "made", &stat, 0), 0);
    ck_assert_uint_eq(stat.st_mode, S_IFDIR | (0751 & ~mask));
}

loop_id start_symlinkat(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_symlinkat(world->loop, path(world, "where it points"), world->directory,
                          second(world, how == BAD ? "file" : "symlink"), cb, arg, terms);
}

void look_symlink(struct world *world, int32_t res)
{
    char target[32] = "";

    (void)res;
    ck_assert_int_eq(readlinkat(world->directory, "symlink", target, sizeof(target) - 1), 15);
    ck_assert_str_eq(target, "where it points");
}

loop_id start_linkat(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_linkat(world->loop, world->directory, path(world, how == BAD ? "missing" : "file"), world->directory,
                       second(world, "link"), 0, cb, arg, terms);
}

void look_linked(struct world *world, int32_t res)
{
    struct stat stat;

    (void)res;
    ck_assert_int_eq(fstatat(world->directory, "link", &stat, 0), 0);
    ck_assert_uint_eq(stat.st_nlink, 2);
}

/* ---- extended attributes */

static const char value[] = "a value";

static const char *file_path(struct world *world)
{
    int size = snprintf(world->args.path, sizeof(world->args.path), "%s/file", world->path);

    ck_assert_int_lt(size, (int)sizeof(world->args.path));
    return world->args.path;
}

static const char *attribute(struct world *world, enum how how)
{
    return strcpy(world->args.name, how == BAD ? "user.missing" : "user.ringloop");
}

/* The bad ones want to replace what is not there. */
loop_id start_setxattr(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_setxattr(world->loop, file_path(world), attribute(world, how), value, sizeof(value),
                         how == BAD ? XATTR_REPLACE : XATTR_CREATE, cb, arg, terms);
}

loop_id start_fsetxattr(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_fsetxattr(world->loop, world->file, attribute(world, how), value, sizeof(value),
                          how == BAD ? XATTR_REPLACE : XATTR_CREATE, cb, arg, terms);
}

void look_set(struct world *world, int32_t res)
{
    char found[32] = "";

    (void)res;
    ck_assert_int_eq(fgetxattr(world->file, "user.ringloop", found, sizeof(found)), sizeof(value));
    ck_assert_str_eq(found, value);
}

static void set_beforehand(struct world *world, enum how how)
{
    if (how == GOOD)
        ck_assert_int_eq(fsetxattr(world->file, "user.ringloop", value, sizeof(value), 0), 0);
}

loop_id start_getxattr(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    set_beforehand(world, how);
    return loop_getxattr(world->loop, file_path(world), attribute(world, how), world->bytes[0], 32, cb, arg, terms);
}

loop_id start_fgetxattr(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    set_beforehand(world, how);
    return loop_fgetxattr(world->loop, world->file, attribute(world, how), world->bytes[0], 32, cb, arg, terms);
}

void look_got(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_str_eq(world->bytes[0], value);
}
