/* fs/whole_read.c: reading a whole file into memory that grows. What a file says of its size is only believed when a
 * first piece has shown that it is no small one: so a small file costs no stat(2), and those of /proc are read right.
 */
#include "fs/whole_private.h"

enum { FIRST_ROOM = 16 << 10 };

static void read_more(struct whole_job *job);

/* Room for bytes, but for no more than shows that there are too many; behind it stands the zero byte. */
static int grow(struct whole_job *job, uint64_t bytes)
{
    char *data;

    if (bytes > job->options.bytes_max)
        bytes = job->options.bytes_max + 1;
    data = memory_resize(job_loop(job), job->data, bytes + 1);
    if (data == NULL)
        return -ENOMEM;
    job->data = data;
    job->room = bytes;
    return 0;
}

static void sized(struct loop_file *file, int error, uint64_t count, void *arg)
{
    struct whole_job *job = arg;
    uint64_t          least = (uint64_t)job->room * 2;

    (void)file;
    job->sized = true;
    if (error == 0 && count > job->options.bytes_max)
        error = -EFBIG;
    if (error == 0 && job->stop == 0)
        error = grow(job, count >= least ? count + 1 : least); /* one more, to see the end in the same read */
    if (error < 0 || job->stop != 0)
        job_step_done(job, error);
    else
        read_more(job);
}

static void got(struct loop_file *file, int error, uint64_t count, void *arg)
{
    struct whole_job *job = arg;
    bool              full;
    int               r;

    job->size += (size_t)count;
    full = job->size == job->room;
    if (error == 0 && job->size > job->options.bytes_max)
        error = -EFBIG;
    if (error < 0 || !full || job->stop != 0) {
        job->data[job->size] = '\0';
        job_step_done(job, error);
        return;
    }
    r = job->sized ? grow(job, (uint64_t)job->room * 2) : loop_file_size(file, sized, job);
    if (r < 0)
        job_step_done(job, r);
    else if (job->sized)
        read_more(job);
}

static int read_start(struct whole_job *job)
{
    return loop_file_read(&job->file, job->data + job->size, job->room - job->size, (int64_t)job->size, 0, got, job);
}

static void read_more(struct whole_job *job)
{
    int r = read_start(job);

    if (r < 0)
        job_step_done(job, r);
}

int whole_read_begin(struct whole_job *job)
{
    int r = grow(job, FIRST_ROOM);

    return r < 0 ? r : read_start(job);
}
