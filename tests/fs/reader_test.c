/* tests/fs/reader_test.c: sequential reading: chunks, records, pause, seek, ends of all kinds. */
#include "tests/fs/file_world.h"

#include <sys/mman.h>

enum { GATHERED_MAX = 4 << 20 };

static struct loop_file   file;
static struct loop_reader reader;

/* What the callbacks of a reader were given. */
static struct {
    uint8_t *data;
    size_t   size;
    uint32_t pieces, ends;
    int      error;
    size_t   sizes[64];
    uint32_t act_at; /* piece at which act is called; 0: none */
    void (*act)(struct loop_reader *reader);
} gathered;

static void gather_open(void)
{
    world_open();
    memset(&gathered, 0, sizeof(gathered));
    memset(&reader, 0, sizeof(reader));
    gathered.data = malloc(GATHERED_MAX);
}

static void gather_close(void)
{
    free(gathered.data);
    world_close();
}

static void gather(struct loop_reader *of, int error, const void *data, size_t size)
{
    ck_assert_uint_eq(gathered.ends, 0);
    if (data == NULL) {
        ck_assert_uint_eq(size, 0);
        gathered.ends++;
        gathered.error = error;
        memset(of, 0x55, sizeof(*of)); /* it is ours again */
        return;
    }
    ck_assert_int_eq(error, 0);
    ck_assert_uint_gt(size, 0);
    ck_assert_uint_le(gathered.size + size, GATHERED_MAX);
    memcpy(gathered.data + gathered.size, data, size);
    if (gathered.pieces < TEST_COUNT(gathered.sizes))
        gathered.sizes[gathered.pieces] = size;
    gathered.size += size;
    gathered.pieces++;
    if (gathered.pieces == gathered.act_at)
        gathered.act(of);
}

static void start(const struct loop_reader_options *options)
{
    ck_assert_int_eq(loop_reader_start(&file, &reader, options, gather), 0);
    ck_assert_uint_eq(gathered.pieces, 0);
}

static void end_is(int error)
{
    test_run_until(world_loop, &gathered.ends, 1);
    ck_assert_int_eq(gathered.error, error);
    ck_assert_int_eq(file_close(&file), 0);
}

static void write_pattern(const char *name, size_t size)
{
    uint8_t *data = malloc(size + 1);

    pattern_fill(data, size, 3);
    scratch_write(name, data, size);
    free(data);
}

/* ---- chunks */

static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, 65536 * 3, 65536 * 3 + 1, 1 << 20, 3000017};

/* Goal: files of many sizes come whole and in order, then the end. */
START_TEST(chunks)
{
    static const uint32_t windows[] = {0, 1, 2, 64};

    for (size_t w = 0; w < TEST_COUNT(windows); w++) {
        gathered.size = gathered.ends = gathered.pieces = 0;
        memset(&reader, 0, sizeof(reader));
        write_pattern("a", sizes[_i]);
        file_open(&file, "a", O_RDONLY, NULL);
        start(&(struct loop_reader_options){.chunks_max = windows[w], .chunk_bytes = w == 3 ? 4096 : 0});
        end_is(0);
        ck_assert_uint_eq(gathered.size, sizes[_i]);
        ck_assert(pattern_is(gathered.data, gathered.size, 3));
    }
}
END_TEST

/* Goal: a part of a file; the file's own position stays. */
START_TEST(part)
{
    char byte;

    scratch_write("a", "0123456789", 10);
    file_open(&file, "a", O_RDONLY, NULL);
    start(&(struct loop_reader_options){.offset = 3, .bytes_max = 4});
    test_run_until(world_loop, &gathered.ends, 1);
    ck_assert_int_eq(gathered.error, 0);
    ck_assert_int_eq(memcmp(gathered.data, "3456", 4), 0);
    ck_assert_uint_eq(gathered.size, 4);
    file_read_is(&file, &byte, 1, LOOP_FILE_POSITION, 0, 1);
    ck_assert_int_eq(byte, '0');
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: a file that is cut while it is read ends where it ends by then. Method: cut at the first chunk, with the
 * next ones in flight perhaps. */
static void cut(struct loop_reader *of)
{
    ck_assert_int_eq(ftruncate(loop_file_fd(loop_reader_file(of)), 5000), 0);
}

START_TEST(truncated_while_reading)
{
    write_pattern("a", 1 << 20);
    file_open(&file, "a", O_RDWR, NULL);
    gathered.act_at = 1;
    gathered.act = cut;
    start(&(struct loop_reader_options){.chunk_bytes = 4096});
    end_is(0);
    ck_assert_uint_ge(gathered.size, 5000);
    ck_assert_uint_lt(gathered.size, 1 << 20);
    ck_assert(pattern_is(gathered.data, 5000, 3));
}
END_TEST

static void delete_it(struct loop_reader *of)
{
    (void)of;
    ck_assert_int_eq(unlink("a"), 0);
}

/* Goal: a file that is deleted while it is open is read to its end. */
START_TEST(deleted_while_reading)
{
    write_pattern("a", 300000);
    file_open(&file, "a", O_RDONLY, NULL);
    gathered.act_at = 1;
    gathered.act = delete_it;
    start(&(struct loop_reader_options){.chunk_bytes = 4096});
    end_is(0);
    ck_assert_uint_eq(gathered.size, 300000);
    ck_assert(pattern_is(gathered.data, gathered.size, 3));
    ck_assert_int_eq(access("a", F_OK), -1);
}
END_TEST

/* Goal: an error comes after all that was read before it. Method: memory of this process, with none behind it. */
START_TEST(error_after_data)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t     *memory = mmap(NULL, page * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    ck_assert_int_eq(munmap(memory + page * 3, page), 0);
    pattern_fill(memory, page * 3, 3);
    file_open(&file, "/proc/self/mem", O_RDONLY, NULL);
    start(&(struct loop_reader_options){.offset = (int64_t)(uintptr_t)memory, .chunk_bytes = (uint32_t)page * 2});
    end_is(-EIO);
    ck_assert_uint_eq(gathered.size, page * 3);
    ck_assert(pattern_is(gathered.data, gathered.size, 3));
    ck_assert_int_eq(munmap(memory, page * 3), 0);
}
END_TEST

/* ---- pause, seek, cancel */

static void pause_it(struct loop_reader *of)
{
    ck_assert_int_eq(loop_reader_pause(of), 0);
}

/* Goal: nothing comes while it is paused, the end neither, and nothing is lost. */
START_TEST(pause_and_resume)
{
    write_pattern("a", 50000);
    file_open(&file, "a", O_RDONLY, NULL);
    gathered.act = pause_it;
    start(&(struct loop_reader_options){.chunk_bytes = 4096});
    for (uint32_t piece = 1; piece <= 13; piece++) {
        gathered.act_at = piece;
        test_run_until(world_loop, &gathered.pieces, piece);
        for (int i = 0; i < 5; i++)
            (void)loop_run(world_loop, LOOP_RUN_NOWAIT);
        ck_assert_uint_eq(gathered.pieces, piece);
        ck_assert_uint_eq(gathered.ends, 0);
        ck_assert(loop_alive(world_loop));
        ck_assert_int_eq(loop_reader_position(&reader), piece < 13 ? 4096 * piece : 50000);
        ck_assert_int_eq(loop_reader_resume(&reader), 0);
    }
    end_is(0);
    ck_assert_uint_eq(gathered.size, 50000);
    ck_assert(pattern_is(gathered.data, gathered.size, 3));
}
END_TEST

static void seek_it(struct loop_reader *of)
{
    ck_assert_int_eq(loop_reader_seek(of, 100), 0);
    ck_assert_int_eq(loop_reader_position(of), 100);
    ck_assert_int_eq(loop_reader_seek(of, -1), -EINVAL);
}

/* Goal: after a seek the bytes of the new place come, and none read ahead before it. */
START_TEST(seek)
{
    uint8_t *expected = malloc(200000);

    pattern_fill(expected, 200000, 3);
    write_pattern("a", 200000);
    file_open(&file, "a", O_RDONLY, NULL);
    gathered.act_at = 5;
    gathered.act = seek_it;
    start(&(struct loop_reader_options){.chunk_bytes = 4096, .chunks_max = 8});
    end_is(0);
    ck_assert_uint_eq(gathered.size, 5 * 4096 + 200000 - 100);
    ck_assert_int_eq(memcmp(gathered.data, expected, 5 * 4096), 0);
    ck_assert_int_eq(memcmp(gathered.data + 5 * 4096, expected + 100, 200000 - 100), 0);
    free(expected);
}
END_TEST

static void cancel_it(struct loop_reader *of)
{
    ck_assert_int_eq(loop_reader_cancel(of), 0);
    ck_assert_int_eq(loop_reader_cancel(of), 0);
}

static int64_t seek_to;

static void seek_far(struct loop_reader *of)
{
    ck_assert_int_eq(loop_reader_seek(of, seek_to), 0);
}

/* Goal: a seek to where there is nothing to be read, and a start there, are the end. Method: at bytes_max, beyond it,
 * beyond the file, at the last offset there is. */
START_TEST(seek_beyond_the_end)
{
    static const int64_t places[] = {10000, 10001, INT64_MAX, INT64_MAX - 1};

    write_pattern("a", 20000);
    file_open(&file, "a", O_RDONLY, NULL);
    gathered.act_at = 1;
    gathered.act = seek_far;
    seek_to = places[_i];
    start(&(struct loop_reader_options){.chunk_bytes = 4096, .bytes_max = _i < 2 ? 10000 : 0});
    test_run_until(world_loop, &gathered.ends, 1);
    ck_assert_int_eq(gathered.error, 0);
    ck_assert_uint_eq(gathered.size, 4096);
    memset(&reader, 0, sizeof(reader));
    gathered.ends = gathered.pieces = 0;
    gathered.act_at = 0;
    start(&(struct loop_reader_options){.offset = seek_to, .bytes_max = _i < 2 ? 1 : 0});
    end_is(0);
    ck_assert_uint_eq(gathered.size, 4096 + (_i < 2 ? 1 : 0));
}
END_TEST

/* Goal: after a cancel only the last callback comes, from a callback or from outside, paused or not. */
START_TEST(cancel)
{
    write_pattern("a", 200000);
    file_open(&file, "a", O_RDONLY, NULL);
    gathered.act_at = 3;
    gathered.act = _i == 0 ? cancel_it : pause_it;
    start(&(struct loop_reader_options){.chunk_bytes = 4096});
    if (_i == 2)
        ck_assert_int_eq(loop_reader_cancel(&reader), 0);
    if (_i == 1) {
        test_run_until(world_loop, &gathered.pieces, 3);
        ck_assert_int_eq(loop_reader_cancel(&reader), 0);
        ck_assert_uint_eq(gathered.ends, 0);
    }
    end_is(-ECANCELED);
    ck_assert_uint_eq(gathered.pieces, _i == 2 ? 0 : 3);
}
END_TEST

/* Goal: a reader whose file is closed, or whose loop ends, ends. */
START_TEST(file_or_loop_gone)
{
    write_pattern("a", 200000);
    file_open(&file, "a", O_RDONLY, NULL);
    gathered.act_at = 2;
    gathered.act = pause_it;
    start(&(struct loop_reader_options){.chunk_bytes = 4096});
    if (_i < 2)
        test_run_until(world_loop, &gathered.pieces, 2);
    if (_i % 2 == 0) {
        loop_file_close(&file, NULL);
        ck_assert_int_eq(loop_reader_resume(&reader), 0);
        test_run_until(world_loop, &gathered.ends, 1);
        ck_assert_int_eq(gathered.error, -ECANCELED);
        test_run(world_loop);
    } else {
        test_loop_drop(world_loop);
        ck_assert_uint_eq(gathered.ends, 1);
        ck_assert_int_eq(gathered.error, -ECANCELED);
        world_loop = test_loop_new(NULL);
    }
}
END_TEST

START_TEST(bad_arguments)
{
    int fds[2];

    memset(&file, 0, sizeof(file));
    ck_assert_int_eq(loop_reader_start(&file, &reader, NULL, gather), -EINVAL);
    ck_assert_int_eq(loop_reader_pause(&reader), -EINVAL);
    ck_assert_int_eq(loop_reader_resume(&reader), -EINVAL);
    ck_assert_int_eq(loop_reader_seek(&reader, 0), -EINVAL);
    ck_assert_int_eq(loop_reader_cancel(&reader), -ENOENT);
    test_pipe(fds);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, fds[0], NULL), 0);
    ck_assert_int_eq(loop_reader_start(&file, &reader, NULL, gather), -ESPIPE);
    ck_assert_int_eq(file_close(&file), 0);
    test_close(fds[1]);
    scratch_write("a", "1", 1);
    file_open(&file, "a", O_RDONLY, NULL);
    ck_assert_int_eq(loop_reader_start(&file, &reader, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_reader_start(&file, &reader, &(struct loop_reader_options){.offset = -1}, gather), -EINVAL);
    ck_assert_int_eq(loop_reader_start(&file, &reader, &(struct loop_reader_options){.chunks_max = 65}, gather),
                     -EINVAL);
    ck_assert_int_eq(loop_reader_start(&file, &reader, &(struct loop_reader_options){.delimiter = "x"}, gather),
                     -EINVAL);
    ck_assert_int_eq(loop_reader_start(&file, &reader,
                                       &(struct loop_reader_options){.delimiter = "x", .delimiter_size = 17}, gather),
                     -EINVAL);
    start(NULL);
    ck_assert_int_eq(loop_reader_start(&file, &reader, NULL, gather), -EBUSY);
    end_is(0);
}
END_TEST

/* ---- records */

/* Goal: every record comes whole, with its delimiter, wherever chunks end in it. Method: random records, chunks of
 * every small size, against a search in the whole text. */
START_TEST(records)
{
    static const char *const delimiters[] = {"\n", "\r\n", "aab", "--ab--ab"};
    const char              *delimiter = delimiters[_i];
    size_t                   delimiter_size = strlen(delimiter), size = 2000, at = 0;
    uint64_t                 seed = test_env("TEST_SEED", 1) + (uint64_t)_i;
    char                    *text = malloc(size + 1);

    for (size_t i = 0; i < size; i++)
        text[i] = "ab-\r\nx"[test_random(&seed) % 6];
    for (size_t i = 50; i + delimiter_size < size; i += 1 + test_random(&seed) % 60)
        memcpy(text + i, delimiter, delimiter_size);
    text[size] = '\0';
    scratch_write("a", text, size);
    for (uint32_t chunk = 1; chunk < 40; chunk++) {
        memset(&reader, 0, sizeof(reader));
        gathered.size = gathered.ends = gathered.pieces = 0;
        file_open(&file, "a", O_RDONLY, NULL);
        start(&(struct loop_reader_options){
            .chunk_bytes = chunk, .delimiter = delimiter, .delimiter_size = (uint32_t)delimiter_size});
        end_is(0);
        ck_assert_uint_eq(gathered.size, size);
        ck_assert_int_eq(memcmp(gathered.data, text, size), 0);
        at = 0;
        for (uint32_t i = 0; i < gathered.pieces && i < TEST_COUNT(gathered.sizes); i++) {
            const char *found = memmem(text + at, size - at, delimiter, delimiter_size);
            size_t      expected = found == NULL ? size - at : (size_t)(found - text) - at + delimiter_size;

            ck_assert_uint_eq(gathered.sizes[i], expected);
            at += expected;
        }
    }
    free(text);
}
END_TEST

/* Goal: a record that is too long ends it; one that just fits does not. */
START_TEST(record_max)
{
    scratch_write("a", "12\n1234\n12345\n1\n", 16);
    file_open(&file, "a", O_RDONLY, NULL);
    start(&(struct loop_reader_options){
        .delimiter = "\n", .delimiter_size = 1, .record_max = 5, .chunk_bytes = 1 + (uint32_t)_i});
    end_is(-EMSGSIZE);
    ck_assert_uint_eq(gathered.pieces, 2);
    ck_assert_int_eq(memcmp(gathered.data, "12\n1234\n", 8), 0);
}
END_TEST

/* Goal: pausing between records of one chunk; what stands behind the last delimiter comes, and then the end. */
START_TEST(pause_between_records)
{
    scratch_write("a", "a\nb\nc\nrest", 10);
    file_open(&file, "a", O_RDONLY, NULL);
    gathered.act = pause_it;
    start(&(struct loop_reader_options){.delimiter = "\n", .delimiter_size = 1});
    for (uint32_t piece = 1; piece <= 4; piece++) {
        gathered.act_at = piece;
        test_run_until(world_loop, &gathered.pieces, piece);
        test_turns(world_loop, 3);
        ck_assert_uint_eq(gathered.pieces, piece);
        ck_assert_uint_eq(gathered.ends, 0);
        ck_assert_int_eq(loop_reader_position(&reader), piece < 4 ? 2 * piece : 10);
        ck_assert_int_eq(loop_reader_resume(&reader), 0);
    }
    end_is(0);
    ck_assert_uint_eq(gathered.size, 10);
}
END_TEST

/* ---- memory */

/* Goal: without memory at any point it ends once, or never begins. Method: the n-th allocation fails, for each n. */
START_TEST(no_memory)
{
    write_pattern("a", 100000);
    for (uint64_t n = 1; n < 200; n++) {
        struct note opened = {0};
        int         r;

        memset(&reader, 0, sizeof(reader));
        memset(&file, 0, sizeof(file));
        gathered.size = gathered.ends = gathered.pieces = 0;
        file.data = &opened;
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + n;
        r = loop_file_open(world_loop, &file, AT_FDCWD, "a", O_RDONLY, 0, NULL, note_event);
        if (r < 0) {
            ck_assert_int_eq(r, -ENOMEM);
            continue;
        }
        test_run_until(world_loop, &opened.calls, 1);
        r = loop_reader_start(
            &file, &reader, &(struct loop_reader_options){.chunk_bytes = 4096, .delimiter = "\n", .delimiter_size = 1},
            gather);
        if (r == 0)
            test_run_until(world_loop, &gathered.ends, 1);
        test_memory.fail_at = 0;
        ck_assert_int_eq(file_close(&file), 0);
        if (r == 0 && gathered.error == 0) {
            ck_assert_uint_eq(gathered.size, 100000);
            ck_assert(pattern_is(gathered.data, gathered.size, 3));
        } else {
            ck_assert_int_eq(r == 0 ? gathered.error : r, -ENOMEM);
        }
        if (test_memory.failed == 0) {
            ck_assert_uint_gt(n, 5);
            return;
        }
    }
    ck_abort_msg("the sweep has no end");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("reader");
    TCase *chunk = test_case(suite, "chunks");
    TCase *control = test_case(suite, "control");
    TCase *record = test_case(suite, "records");
    TCase *memory = test_case(suite, "memory");

    tcase_add_checked_fixture(chunk, gather_open, gather_close);
    tcase_add_loop_test(chunk, chunks, 0, (int)TEST_COUNT(sizes));
    tcase_add_test(chunk, part);
    tcase_add_test(chunk, truncated_while_reading);
    tcase_add_test(chunk, deleted_while_reading);
    tcase_add_test(chunk, error_after_data);
    tcase_add_checked_fixture(control, gather_open, gather_close);
    tcase_add_test(control, pause_and_resume);
    tcase_add_test(control, seek);
    tcase_add_loop_test(control, seek_beyond_the_end, 0, 4);
    tcase_add_loop_test(control, cancel, 0, 3);
    tcase_add_loop_test(control, file_or_loop_gone, 0, 4);
    tcase_add_test(control, bad_arguments);
    tcase_add_checked_fixture(record, gather_open, gather_close);
    tcase_add_loop_test(record, records, 0, 4);
    tcase_add_loop_test(record, record_max, 0, 6);
    tcase_add_test(record, pause_between_records);
    tcase_add_checked_fixture(memory, gather_open, gather_close);
    tcase_add_test(memory, no_memory);
    return suite;
}
