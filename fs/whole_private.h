/* fs/whole_private.h: a whole file being read, written or replaced: a job that goes from step to step.
 *
 *   read     OPEN READ CLOSE END
 *   write    OPEN WRITE SYNC CLOSE END
 *   replace  DIRECTORY OLD OPEN WRITE OWN SYNC CLOSE RENAME (LINK UNLINK) SYNC_DIRECTORY END
 *   after a failure of any step before the new name stands: UNDO_CLOSE UNDO_UNLINK END
 *
 * Of a replacement that was begun the WRITE is the user's: it ends with the commit.
 *
 * A step begins when the one before has ended, in its callback: chains of the kernel's go on after a failed sync. */
#ifndef RINGLOOP_FS_WHOLE_PRIVATE_H
#define RINGLOOP_FS_WHOLE_PRIVATE_H

#include "loop/loop_private.h"

#include <errno.h>
#include <limits.h>
#include <ringloop/whole.h>
#include <sys/stat.h>

enum whole_kind { WHOLE_READ, WHOLE_WRITE, WHOLE_REPLACE };

enum whole_step {
    STEP_DIRECTORY,
    STEP_OLD,
    STEP_OPEN,
    STEP_READ,
    STEP_WRITE,
    STEP_OWN,
    STEP_SYNC,
    STEP_CLOSE,
    STEP_RENAME,
    STEP_LINK, /* and the next: where a rename can't be told not to replace */
    STEP_UNLINK,
    STEP_SYNC_DIRECTORY,
    STEP_END,
    STEP_UNDO_CLOSE,
    STEP_UNDO_UNLINK,
};

/* What a step returns if there is nothing for it to do. */
enum { STEP_SKIPPED = 1 };

struct whole_job {
    struct loop_whole        *whole;
    struct loop_whole_options options;
    struct loop_file          file;
    loop_id                   id;    /* of a step's own operation; 0: none */
    int                       error; /* to be told */
    int                       stop;  /* asked to end so; 0: not */
    int                       dirfd; /* the caller's */
    uint8_t                   kind, step;
    bool                      file_open, created, replaced, forked, sized;

    /* Reading. */
    char  *data;
    size_t room;

    /* Reading and writing. */
    const void *source;
    size_t      size; /* of source; of what was read */
    size_t      done; /* written */

    /* Replacing. */
    int              directory;       /* ours; -1: none */
    bool             has_old, owning; /* owning: the file is held for it */
    bool             linking;
    bool             lent; /* the file is the user's to write */
    int              own_fd;
    struct loop_task unlent; /* it was stopped meanwhile */
    struct statx     old;
    const char      *name; /* in path */
    char             temporary[NAME_MAX + 1];
    char            *directory_path; /* the rest of path */
    char             path[];
};

static inline struct loop *job_loop(const struct whole_job *job)
{
    return job->whole->priv.loop;
}

/* whole.c: a step has ended; goes on with the next. */
void    job_step_done(struct whole_job *job, int error);
/* For operations of steps: arg is the job. What the kernel has not begun is begun anew. */
loop_cb job_op_done;
/* Notes a started operation; 0, or its error. */
int     job_op(struct whole_job *job, loop_id id);
/* The step as such: 0: begun; STEP_SKIPPED; or an error. */
int     job_open(struct whole_job *job, int dirfd, const char *path, int flags, uint32_t mode, uint32_t resolve);

/* whole_read.c */
int whole_read_begin(struct whole_job *job);

/* replace.c: the steps that only a replacement has. */
int  replace_prepare(struct whole_job *job); /* splits the path: 0, -EISDIR, -EINVAL, -ENOMEM, -ENAMETOOLONG */
int  replace_directory(struct whole_job *job);
int  replace_old(struct whole_job *job);
int  replace_open(struct whole_job *job);
int  replace_write(struct whole_job *job);
void replace_stop(struct whole_job *job); /* while the file is lent */
int  replace_own(struct whole_job *job);
int  replace_rename(struct whole_job *job);
int  replace_link(struct whole_job *job);
int  replace_sync_directory(struct whole_job *job);
int  replace_unlink(struct whole_job *job);
/* What the result of an ended step means: an error, or 0. */
int  replace_step_done(struct whole_job *job, int error);
void replace_end(struct whole_job *job);

#endif
