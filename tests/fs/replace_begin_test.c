/* tests/fs/replace_begin_test.c: atomic replacements whose content the user writes: an upload. */
#include "tests/fs/whole_world.h"

#include <ringloop/fork.h>
#include <ringloop/forward.h>
#include <ringloop/stream.h>
#include <sys/socket.h>
#include <sys/stat.h>

static struct loop_file *lent;  /* NULL: not yet */
static uint32_t          files; /* calls */

static void keep(struct loop_whole *whole, struct loop_file *file)
{
    ck_assert_ptr_eq(whole, &told.whole);
    ck_assert_uint_eq(told.calls, 0);
    files++;
    lent = file;
}

static void begin(const struct loop_whole_options *options, loop_whole_file_cb *on_file)
{
    memset(&told, 0, offsetof(struct told, data));
    lent = NULL;
    files = 0;
    ck_assert_int_eq(loop_whole_replace_begin(world_loop, &told.whole, AT_FDCWD, "a", options, on_file, tell_whole), 0);
    ck_assert_uint_eq(files, 0);
}

/* The file is ours to write; "a" was there before. */
static void begin_over(const char *old, const struct loop_whole_options *options)
{
    scratch_write("a", old, strlen(old));
    begin(options, keep);
    test_run_until(world_loop, &files, 1);
    ck_assert_uint_eq(whole_temporaries("."), 1);
}

static void ends(int error, size_t size, const char *content)
{
    char *found;

    test_run_until(world_loop, &told.calls, 1);
    ck_assert_int_eq(told.error, error);
    ck_assert_uint_eq(told.size, size);
    ck_assert_uint_eq(whole_temporaries("."), 0);
    found = scratch_read("a", NULL);
    ck_assert_str_eq(found, content);
    free(found);
    (void)loop_run(world_loop, LOOP_RUN_DEFAULT);
    ck_assert_uint_eq(told.calls, 1);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), -EINVAL);
}

/* ---- what it does */

static uint32_t     pieces;
static loop_file_cb written;

static void write_piece(struct loop_file *file)
{
    ck_assert_int_eq(loop_file_write(file, "piece", 5, LOOP_FILE_POSITION, 0, written, NULL), 0);
}

static void written(struct loop_file *file, int error, uint64_t count, void *arg)
{
    (void)arg;
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(count, 5);
    if (++pieces < 3)
        write_piece(file);
    else
        ck_assert_int_eq(loop_whole_replace_commit(&told.whole), 0);
}

static void write_pieces(struct loop_whole *whole, struct loop_file *file)
{
    keep(whole, file);
    write_piece(file);
}

static void commit_at_once(struct loop_whole *whole, struct loop_file *file)
{
    keep(whole, file);
    ck_assert_int_eq(loop_whole_replace_commit(whole), 0);
    ck_assert_uint_eq(told.calls, 0);
}

/* Goal: what was written takes the place of the old file when it is committed, in whatever callback; nothing is
 * content, too. */
START_TEST(commits)
{
    scratch_write("a", "old", 3);
    pieces = 0;
    begin(NULL, write_pieces);
    ends(0, 15, "piecepiecepiece");
    begin(NULL, commit_at_once);
    ends(0, 0, "");
    begin(&(struct loop_whole_options){.flags = LOOP_WHOLE_UNSYNCED}, write_pieces);
    pieces = 0;
    ends(0, 15, "piecepiecepiece");
}
END_TEST

static struct loop_stream from, to;
static uint32_t           forwarded, closed;

static void stream_closed(struct loop_stream *stream)
{
    (void)stream;
    closed++;
}

static void all_there(struct loop_stream *source, struct loop_stream *target, int error, uint64_t bytes, void *arg)
{
    (void)source;
    (void)arg;
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(bytes, 6);
    forwarded++;
    loop_stream_close(target, stream_closed);
}

/* Goal: an upload: what a peer sends goes into the file by a stream on a duplicate. */
START_TEST(takes_from_a_stream)
{
    const struct loop_forward_options six = {.bytes_max = 6, .flags = LOOP_FORWARD_NO_SHUTDOWN};
    int                               pair[2], fd;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(loop_stream_open(world_loop, &from, pair[0], NULL), 0);
    forwarded = closed = 0;
    begin_over("old", NULL);
    fd = fcntl(loop_file_fd(lent), F_DUPFD_CLOEXEC, 0);
    ck_assert_int_eq(loop_stream_open(world_loop, &to, fd, NULL), 0);
    ck_assert_int_eq(loop_stream_forward(&from, &to, &six, all_there, NULL), 0);
    ck_assert_int_eq(write(pair[1], "uploadrest", 10), 10);
    test_run_until(world_loop, &closed, 1);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), 0);
    test_run_until(world_loop, &told.calls, 1);
    loop_stream_close(&from, stream_closed);
    test_run_until(world_loop, &closed, 2);
    test_close(pair[1]);
    ends(0, 6, "upload");
}
END_TEST

/* ---- what goes wrong */

/* Goal: a commit when it can't be, and arguments that make no sense. */
START_TEST(refused)
{
    struct note note = {0};

    memset(&told, 0, offsetof(struct told, data));
    ck_assert_int_eq(loop_whole_replace_begin(world_loop, &told.whole, AT_FDCWD, "a", NULL, NULL, tell_whole), -EINVAL);
    ck_assert_int_eq(loop_whole_replace_begin(world_loop, &told.whole, AT_FDCWD, "a", NULL, keep, NULL), -EINVAL);
    ck_assert_int_eq(loop_whole_replace_begin(world_loop, &told.whole, AT_FDCWD, "a/", NULL, keep, tell_whole),
                     -EISDIR);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), -EINVAL);
    begin(NULL, keep);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), -EINVAL);
    test_run_until(world_loop, &files, 1);
    ck_assert_int_eq(loop_file_write(lent, "new", 3, 0, 0, note_cb, &note), 0);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), -EBUSY);
    note_is(&note, 0, 3);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), 0);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), -EINVAL);
    ends(0, 3, "new");
}
END_TEST

static void cancel_at_once(struct loop_whole *whole, struct loop_file *file)
{
    keep(whole, file);
    ck_assert_int_eq(loop_whole_cancel(whole), 0);
    ck_assert_int_eq(loop_whole_cancel(whole), 0);
    ck_assert_int_eq(loop_whole_replace_commit(whole), -ECANCELED);
    ck_assert_uint_eq(told.calls, 0);
}

/* Goal: a cancel leaves the old file and no temporary: before the file is there, in its callback, with a write in
 * flight, whose callback comes first, and after the commit, where it may come too late. */
START_TEST(cancelled)
{
    struct note note = {0};

    scratch_write("a", "old", 3);
    begin(NULL, keep);
    ck_assert_int_eq(loop_whole_cancel(&told.whole), 0);
    ends(-ECANCELED, 0, "old");
    begin(NULL, cancel_at_once);
    ends(-ECANCELED, 0, "old");
    begin_over("old", NULL);
    ck_assert_int_eq(loop_file_write(lent, "new", 3, 0, 0, note_cb, &note), 0);
    ck_assert_int_eq(loop_whole_cancel(&told.whole), 0);
    ck_assert_uint_eq(told.calls, 0);
    ends(-ECANCELED, 0, "old");
    ck_assert_uint_eq(note.calls, 1);
    begin_over("old", NULL);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), 0);
    ck_assert_int_eq(loop_whole_cancel(&told.whole), 0);
    ends(-ECANCELED, 0, "old");
}
END_TEST

/* Goal: the time counts while the user has the file, and while it has asked for nothing. */
START_TEST(times_out)
{
    begin_over("old", &(struct loop_whole_options){.timeout_ns = 5 * LOOP_MILLISECOND});
    ends(-ETIMEDOUT, 0, "old");
}
END_TEST

/* Goal: a file of that name that somebody else has made meanwhile stays with LOOP_WHOLE_NEW. */
START_TEST(was_made_meanwhile)
{
    begin(&(struct loop_whole_options){.flags = LOOP_WHOLE_NEW}, keep);
    test_run_until(world_loop, &files, 1);
    scratch_write("a", "other", 5);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), 0);
    ends(-EEXIST, 0, "other");
}
END_TEST

/* Goal: the end of the loop, with a write in flight or none. */
START_TEST(destroyed)
{
    for (int with_write = 0; with_write < 2; with_write++) {
        struct note note = {0};

        begin_over("old", NULL);
        if (with_write != 0)
            ck_assert_int_eq(loop_file_write(lent, "new", 3, 0, 0, note_cb, &note), 0);
        test_loop_drop(world_loop);
        world_loop = test_loop_new(NULL);
        ck_assert_uint_eq(note.calls, (uint32_t)with_write);
        ends(-ECANCELED, 0, "old");
    }
}
END_TEST

/* ---- elsewhere */

static void end_in_child(void *arg)
{
    struct note *note = arg;

    TEST_TRUE_IN_CHILD(loop_fork(world_loop) == 0);
    for (int i = 0; i < 1000 && told.calls == 0; i++)
        (void)loop_run(world_loop, LOOP_RUN_ONCE);
    TEST_TRUE_IN_CHILD(told.calls == 1 && told.error == -EOWNERDEAD && told.size == 0);
    TEST_TRUE_IN_CHILD(note->calls == 1);
    TEST_TRUE_IN_CHILD(loop_destroy(world_loop) == 0);
}

/* Goal: in a child of fork(2) it ends; the parent goes on with it, and its temporary file is still there. */
START_TEST(forked)
{
    struct note note = {0};

    begin_over("old", NULL);
    ck_assert_int_eq(loop_file_write(lent, "new", 3, 0, 0, note_cb, &note), 0);
    test_in_child(end_in_child, &note);
    note_is(&note, 0, 3);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), 0);
    ends(0, 3, "new");
}
END_TEST

static void let_go_in_child(void *arg)
{
    struct stat stat;

    TEST_TRUE_IN_CHILD(loop_destroy(world_loop) == 0);
    for (int fd = *(int *)arg; fd < *(int *)arg + 100; fd++)
        TEST_TRUE_IN_CHILD(fstat(fd, &stat) < 0 || !S_ISDIR(stat.st_mode));
}

/* Goal: a child that destroys the loop at once lets go of its descriptors, that of the directory too. Method: none is
 * open, of all from the first one up that was free before. */
START_TEST(let_go)
{
    int free_fd = dup(0);

    test_close(free_fd);
    begin_over("old", NULL);
    test_in_child(let_go_in_child, &free_fd);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), 0);
    ends(0, 0, "");
}
END_TEST

/* Goal: it goes on on a ring anew. */
START_TEST(moved)
{
    struct note note = {0};

    begin_over("old", NULL);
    ck_assert_int_eq(loop_disown(world_loop), 0);
    ck_assert_int_eq(loop_file_write(lent, "new", 3, 0, 0, note_cb, &note), 0);
    note_is(&note, 0, 3);
    ck_assert_int_eq(loop_whole_replace_commit(&told.whole), 0);
    ends(0, 3, "new");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("replace_begin");
    TCase *does = test_case(suite, "does");
    TCase *wrong = test_case(suite, "wrong");
    TCase *elsewhere = test_case(suite, "elsewhere");

    tcase_add_checked_fixture(does, world_open, world_close);
    tcase_add_test(does, commits);
    tcase_add_test(does, takes_from_a_stream);
    tcase_add_checked_fixture(wrong, world_open, world_close);
    tcase_add_test(wrong, refused);
    tcase_add_test(wrong, cancelled);
    tcase_add_test(wrong, times_out);
    tcase_add_test(wrong, was_made_meanwhile);
    tcase_add_test(wrong, destroyed);
    tcase_add_checked_fixture(elsewhere, world_open, world_close);
    tcase_add_test(elsewhere, forked);
    tcase_add_test(elsewhere, let_go);
    tcase_add_test(elsewhere, moved);
    return suite;
}
