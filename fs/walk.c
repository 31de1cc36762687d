/* fs/walk.c: walks through trees. A thread gathers visits up to the next directory that may be entered; the loop tells
 * them and brings back the answer. */
#include "fs/descent.h"
#include "fs/job.h"
#include "loop/call.h"
#include "loop/seam_file.h"

#include <fcntl.h>
#include <ringloop/tree.h>
#include <string.h>
#include <sys/stat.h>

enum {
    NOTES = 128,
    NAMES_BYTES = 16 * 1024 + 2 * DESCENT_NAME_BYTES,
    PATH_FIRST = 1024,
    NOTE_OPENED = 100, /* among enum loop_visit_kind: a directory has been entered, which nobody is told */
};

struct note {
    uint64_t inode;
    int32_t  error;
    uint32_t depth;
    uint16_t name_at;
    uint8_t  kind, type;
    bool     has_stat;
};

struct walk_job {
    struct loop_job        job;
    struct loop_tree_walk *walk;
    loop_tree_walk_cb     *cb;
    loop_tree_walk_end_cb *end_cb;
    uint64_t               visits_left;
    uint32_t               depth_max, flags;
    int                    dirfd;
    bool                   begun, stopped;
    bool                   enter; /* the answer to the last note, if that is an ENTER */
    struct statx          *stats; /* of the notes; NULL: not wanted */
    char                  *path;  /* of the directory that the visits told have come to */
    size_t                 path_size, path_room;
    uint32_t               path_depth;  /* 0: none */
    uint32_t               told, noted; /* notes */
    uint32_t               names_size;
    struct note            notes[NOTES];
    char                   names[NAMES_BYTES];
    struct descent         descent;
    char                   start[]; /* the path it was started with */
};

static const uint32_t walk_flags = LOOP_TREE_WALK_FOLLOW | LOOP_TREE_WALK_ONE_SYSTEM | LOOP_TREE_WALK_STAT |
                                   LOOP_TREE_WALK_NOFOLLOW | LOOP_TREE_WALK_BENEATH;

/* ---- on a thread */

static struct note *note(struct walk_job *walk, int kind, uint32_t depth, const char *name)
{
    struct note *visit = &walk->notes[walk->noted++];
    size_t       size = strlen(name) + 1;

    *visit = (struct note){
        .kind = (uint8_t)kind,
        .type = LOOP_ENTRY_DIRECTORY,
        .depth = depth,
        .name_at = (uint16_t)walk->names_size,
    };
    memcpy(walk->names + walk->names_size, name, size);
    walk->names_size += (uint32_t)size;
    return visit;
}

/* For an ERROR and a LEAVE, or an OPENED and an ENTER. */
static bool room(const struct walk_job *walk)
{
    return walk->noted + 2 <= NOTES && walk->names_size + 2 * DESCENT_NAME_BYTES <= NAMES_BYTES;
}

/* The first directory has its name in start, which may be long. */
static void note_level(struct walk_job *walk, int kind, int error)
{
    const struct descent *descent = &walk->descent;

    note(walk, kind, descent->depth - 1, descent->depth == 1 ? "" : descent_name(descent))->error = error;
}

static void add_stat(struct walk_job *walk, struct note *visit, int dirfd, const char *name, int flags)
{
    struct statx *stat = walk->stats == NULL ? NULL : &walk->stats[visit - walk->notes];

    visit->has_stat = stat != NULL && sys_statx(dirfd, name, AT_NO_AUTOMOUNT | flags, STATX_BASIC_STATS, stat) == 0;
}

static int begin(struct walk_job *walk)
{
    int r = descent_begin(&walk->descent, walk->dirfd, walk->start);

    if (r < 0)
        return r;
    walk->begun = true;
    note_level(walk, LOOP_VISIT_ENTER, 0);
    add_stat(walk, &walk->notes[0], descent_fd(&walk->descent), "", AT_EMPTY_PATH);
    return 1;
}

/* Into the directory of the last note, if the answer was yes. */
static void follow_answer(struct walk_job *walk, const struct note *last)
{
    char name[DESCENT_NAME_BYTES];
    int  r = 0;

    if (!walk->enter || (walk->depth_max != 0 && last->depth >= walk->depth_max)) {
        if (last->depth == 0) /* which is open already */
            descent_leave(&walk->descent);
        return;
    }
    strcpy(name, walk->names + last->name_at);
    walk->names_size = 0;
    if (last->depth > 0)
        r = descent_enter(&walk->descent, name);
    if (r == 0)
        note_level(walk, NOTE_OPENED, 0);
    else if (r != -EXDEV || (walk->flags & LOOP_TREE_WALK_ONE_SYSTEM) == 0)
        note(walk, LOOP_VISIT_ERROR, walk->descent.depth, name)->error = r;
}

static uint8_t followed_type(int dirfd, const char *name, uint8_t type)
{
    struct statx stat;

    if (type != LOOP_ENTRY_LINK || sys_statx(dirfd, name, 0, STATX_TYPE, &stat) < 0 || !S_ISDIR(stat.stx_mode))
        return type;
    return LOOP_ENTRY_DIRECTORY;
}

/* Returns whether an answer is needed. */
static bool note_entry(struct walk_job *walk, const struct raw_entry *entry)
{
    int          dirfd = descent_fd(&walk->descent);
    uint8_t      type = entry->type == LOOP_ENTRY_UNKNOWN ? entry_type(dirfd, entry->name) : entry->type;
    bool         follow = (walk->flags & LOOP_TREE_WALK_FOLLOW) != 0;
    struct note *visit;

    if (follow)
        type = followed_type(dirfd, entry->name, type);
    visit = note(walk, type == LOOP_ENTRY_DIRECTORY ? LOOP_VISIT_ENTER : LOOP_VISIT_ENTRY, walk->descent.depth,
                 entry->name);
    visit->type = type;
    visit->inode = entry->inode;
    add_stat(walk, visit, dirfd, entry->name, follow && type == LOOP_ENTRY_DIRECTORY ? 0 : AT_SYMLINK_NOFOLLOW);
    return type == LOOP_ENTRY_DIRECTORY;
}

/* Returns 0 at the end of the walk. */
static int walk_step(struct loop_job *job)
{
    struct walk_job        *walk = container_of(job, struct walk_job, job);
    const struct raw_entry *entry;
    struct note             last;
    int                     r;

    if (!walk->begun)
        return begin(walk);
    last = walk->notes[walk->noted - 1];
    walk->told = walk->noted = 0;
    if (last.kind == LOOP_VISIT_ENTER)
        follow_answer(walk, &last);
    if (walk->noted == 0)
        walk->names_size = 0;
    while (walk->descent.depth > 0 && room(walk)) {
        if (job_stopped(job) != 0)
            return job_stopped(job);
        r = descent_next(&walk->descent, &entry);
        if (r > 0) {
            if (note_entry(walk, entry))
                return 1;
            continue;
        }
        if (r < 0)
            note_level(walk, LOOP_VISIT_ERROR, r);
        note_level(walk, LOOP_VISIT_LEAVE, 0);
        descent_leave(&walk->descent);
    }
    return walk->descent.depth > 0;
}

/* ---- on the loop */

/* name behind the path; path_size stays. */
static int path_append(struct walk_job *walk, const char *name, size_t *ret_name_at)
{
    size_t name_size = strlen(name) + 1, at = walk->path_size, room = walk->path_room;
    char  *path;

    while (room < at + 1 + name_size)
        room = room == 0 ? PATH_FIRST : 2 * room;
    if (room != walk->path_room) {
        path = memory_resize(walk->job.loop, walk->path, room);
        if (path == NULL)
            return -ENOMEM;
        walk->path = path;
        walk->path_room = room;
    }
    if (at > 0 && walk->path[at - 1] != '/')
        walk->path[at++] = '/';
    memcpy(walk->path + at, name, name_size);
    *ret_name_at = at;
    return 0;
}

static void path_shorten(struct walk_job *walk, const char *name)
{
    walk->path_size -= strlen(name);
    if (walk->path_size > strlen(walk->start))
        walk->path_size--; /* the slash, if it was not the user's */
    walk->path_depth--;
}

static enum loop_tree_walk_answer visit(struct walk_job *walk, const struct note *note, size_t name_at)
{
    struct loop_visit visit = {
        .path = walk->path,
        .name = walk->path + name_at,
        .stat = note->has_stat ? &walk->stats[note - walk->notes] : NULL,
        .inode = note->inode,
        .kind = (enum loop_visit_kind)note->kind,
        .type = note->type,
        .depth = note->depth,
        .error = note->error,
    };

    return walk->cb(walk->walk, &visit);
}

/* Tells one note: 0, or the errno with which the walk ends. */
static int tell_one(struct walk_job *walk, const struct note *note)
{
    const char                *name = note->depth == 0 ? walk->start : walk->names + note->name_at;
    bool                       own = note->depth < walk->path_depth; /* it is about the directory of the path */
    size_t                     name_at = walk->path_size - (own ? strlen(name) : 0);
    enum loop_tree_walk_answer answer;

    if (own)
        walk->path[walk->path_size] = '\0';
    else if (path_append(walk, name, &name_at) < 0)
        return -ENOMEM;
    if (note->kind == NOTE_OPENED) {
        walk->path_size = strlen(walk->path);
        walk->path_depth++;
        return 0;
    }
    if (walk->visits_left-- == 0) {
        walk->job.loop->stats.walks_over++;
        return -EOVERFLOW;
    }
    answer = visit(walk, note, name_at);
    walk->enter = answer == LOOP_TREE_WALK_GO_ON;
    if (note->kind == LOOP_VISIT_LEAVE)
        path_shorten(walk, name);
    walk->stopped = answer == LOOP_TREE_WALK_STOP && job_stopped(&walk->job) == 0;
    return answer == LOOP_TREE_WALK_STOP ? -ECANCELED : 0;
}

static bool walk_tell(struct loop_job *job)
{
    struct walk_job *walk = container_of(job, struct walk_job, job);
    int              r;

    while (walk->told < walk->noted && !job->paused && job_stopped(job) == 0) {
        r = tell_one(walk, &walk->notes[walk->told++]);
        if (r < 0)
            job_cancel(job, r);
    }
    return walk->told == walk->noted;
}

static void walk_free(struct walk_job *walk)
{
    descent_close(&walk->descent);
    memory_free(walk->job.loop, walk->path);
    memory_free(walk->job.loop, walk->stats);
    job_free(&walk->job);
}

static void walk_end(struct loop_job *job, int error)
{
    struct walk_job       *own = container_of(job, struct walk_job, job);
    struct loop_tree_walk *walk = own->walk;
    loop_tree_walk_end_cb *end_cb = own->end_cb;

    if (own->stopped)
        error = 0;
    walk_free(own);
    walk->priv.job = NULL;
    end_cb(walk, error);
}

static void walk_describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct walk_job *own = container_of(object, struct walk_job, job.object);

    item->object = own->walk;
    job_describe(&own->job, item);
}

static const struct job_class walk_class = {
    .object = {.name = "walk", .close = job_close, .rehome = job_rehome, .describe = walk_describe},
    .work_class = LOOP_WORK_DEFAULT,
    .step = walk_step,
    .tell = walk_tell,
    .end = walk_end,
};

/* ---- the calls */

static const struct loop_tree_walk_options walk_defaults;

static uint32_t descent_flags(uint32_t flags)
{
    return ((flags & LOOP_TREE_WALK_FOLLOW) != 0 ? (uint32_t)DESCENT_FOLLOW : 0) |
           ((flags & LOOP_TREE_WALK_ONE_SYSTEM) != 0 ? (uint32_t)DESCENT_ONE_SYSTEM : 0) |
           ((flags & LOOP_TREE_WALK_NOFOLLOW) != 0 ? (uint32_t)DESCENT_TOP_NOFOLLOW : 0) |
           ((flags & LOOP_TREE_WALK_BENEATH) != 0 ? (uint32_t)DESCENT_TOP_BENEATH : 0);
}

static struct walk_job *walk_new(struct loop *loop, const char *path, uint32_t flags)
{
    struct walk_job *walk = job_new(loop, &walk_class, sizeof(*walk) + strlen(path) + 1);

    if (walk == NULL)
        return NULL;
    descent_init(&walk->descent, loop, descent_flags(flags));
    walk->flags = flags;
    strcpy(walk->start, path);
    if ((flags & LOOP_TREE_WALK_STAT) == 0)
        return walk;
    walk->stats = memory_resize(loop, NULL, NOTES * sizeof(walk->stats[0]));
    if (walk->stats != NULL)
        return walk;
    walk_free(walk);
    return NULL;
}

int loop_tree_walk_start(struct loop *loop, struct loop_tree_walk *walk, int dirfd, const char *path,
                         const struct loop_tree_walk_options *options, loop_tree_walk_cb *cb,
                         loop_tree_walk_end_cb *end_cb)
{
    struct walk_job *own;
    int              r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &walk_defaults;
    r = call_check_path(dirfd, path);
    if (r < 0)
        return r;
    if (walk == NULL || cb == NULL || end_cb == NULL || (options->flags & ~walk_flags) != 0)
        return -EINVAL;
    if (walk->priv.job != NULL)
        return -EBUSY;
    own = walk_new(loop, path, options->flags);
    if (own == NULL)
        return -ENOMEM;
    own->walk = walk;
    own->cb = cb;
    own->end_cb = end_cb;
    own->dirfd = dirfd;
    own->depth_max = options->depth_max;
    own->visits_left = options->visits_max == 0 ? UINT64_MAX : options->visits_max;
    r = job_start(&own->job, options->timeout_ns);
    if (r < 0) {
        walk_free(own);
        return r;
    }
    walk->priv = (struct loop_tree_walk_private){.loop = loop, .job = &own->job};
    return 0;
}

static int with_job(const char *call, struct loop_tree_walk *walk, void (*act)(struct loop_job *job))
{
    if (walk->priv.job == NULL)
        return -ENOENT;
    loop_check_owner(walk->priv.loop, call);
    act(walk->priv.job);
    return 0;
}

int loop_tree_walk_pause(struct loop_tree_walk *walk)
{
    return with_job(__func__, walk, job_pause);
}

int loop_tree_walk_resume(struct loop_tree_walk *walk)
{
    return with_job(__func__, walk, job_resume);
}

static void cancel(struct loop_job *job)
{
    job_cancel(job, -ECANCELED);
}

int loop_tree_walk_cancel(struct loop_tree_walk *walk)
{
    return with_job(__func__, walk, cancel);
}

struct loop *loop_tree_walk_loop(const struct loop_tree_walk *walk)
{
    return walk->priv.loop;
}
