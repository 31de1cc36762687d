/* tests/fs/writer_random_test.c: the merging writer against a model in memory, by random numbers: TEST_SEED. */
#include "tests/fs/scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

enum {
    REGION = 1 << 16, /* all writes lie in there */
    WRITES = 3000,
    SIZE_MAX_HERE = 3000,
    BASE = 64 << 20, /* where that begins: beyond what libcheck writes, which RLIMIT_FSIZE would hit too */
};

enum kind { PLAIN, ONE_RUN, SYNCED, WAITING, TOO_BIG, FULL, KINDS };

struct record {
    uint32_t offset, size, told;
    char     byte; /* its bytes count up from here */
    bool     is_sync, may_cancel;
    int      error;
    size_t   bytes;
};

static struct loop       *loop;
static struct loop_writer writer;
static struct record      records[WRITES];
static uint32_t           made, told, closes;
static char               patterns[SIZE_MAX_HERE + 256];
static char               model[REGION];

static void written(struct loop_writer *by, int error, size_t bytes, void *arg)
{
    struct record *record = arg;

    (void)by;
    ck_assert_uint_eq(record->told, 0);
    record->told = ++told;
    record->error = error;
    record->bytes = bytes;
    ck_assert_uint_le(bytes, record->size);
    ck_assert(error != 0 || bytes == record->size);
    ck_assert(error != -ECANCELED || (record->may_cancel && bytes == 0));
    for (uint32_t i = 0; record->is_sync && &records[i] != record; i++)
        ck_assert_msg(records[i].told != 0, "sync %td was told before write %u", record - records, i);
}

static void closed(struct loop_writer *by)
{
    (void)by;
    closes++;
}

static void write_one(uint64_t *random)
{
    struct record           *record = &records[made];
    struct loop_writer_terms terms = {.flags = test_random(random) % 2 == 0 ? LOOP_WRITER_COPY : 0};
    bool                     at_position = test_random(random) % 3 != 0;
    struct iovec             iov[3];
    uint32_t                 count = 1, cut;
    int                      r;

    record->size = 1 + (uint32_t)(test_random(random) % (test_random(random) % 4 == 0 ? SIZE_MAX_HERE : 100));
    record->offset = (uint32_t)(test_random(random) % (REGION - record->size));
    if (at_position && loop_writer_position(&writer) + record->size > BASE + REGION)
        ck_assert_int_eq(loop_writer_seek(&writer, BASE + record->offset), 0);
    if (at_position)
        record->offset = (uint32_t)(loop_writer_position(&writer) - BASE);
    record->byte = (char)test_random(random);
    iov[0] = (struct iovec){patterns + (unsigned char)record->byte, record->size};
    cut = (uint32_t)(test_random(random) % record->size);
    if (test_random(random) % 4 == 0) {
        iov[0].iov_len = cut;
        iov[1] = (struct iovec){NULL, 0};
        iov[2] = (struct iovec){(char *)iov[0].iov_base + cut, record->size - cut};
        count = 3;
    }
    r = loop_writer_writev(&writer, iov, count, at_position ? LOOP_AT_POSITION : BASE + (int64_t)record->offset,
                           written, record, &terms);
    ck_assert_int_eq(r, 0);
    made++;
}

static void sync_one(void)
{
    records[made].is_sync = true;
    ck_assert_int_eq(loop_writer_sync(&writer, written, &records[made]), 0);
    made++;
}

static void cancel_some(uint64_t *random)
{
    uint32_t first = made < 20 ? 0 : made - 20, waiting = 0;
    int      count = 0;

    if (test_random(random) % 4 == 0) {
        for (uint32_t i = 0; i < made; i++) {
            records[i].may_cancel = true;
            waiting += records[i].told == 0;
        }
        ck_assert_int_le(loop_writer_cancel_all(&writer), (int)waiting);
        return;
    }
    for (uint32_t i = first; i < made; i += 3) {
        records[i].may_cancel = true;
        count = loop_writer_cancel(&writer, &records[i]);
        ck_assert(count == 0 || (count == 1 && records[i].told == 0));
    }
}

static void act(uint64_t *random)
{
    switch (test_random(random) % 64) {
    case 0: cancel_some(random); break;
    case 1: sync_one(); break;
    case 2: ck_assert_int_eq(loop_writer_flush(&writer), 0); break;
    case 3: ck_assert_int_eq(loop_writer_seek(&writer, BASE + (int64_t)(test_random(random) % REGION)), 0); break;
    case 4:
    case 5:
    case 6: test_turns(loop, 1 + (uint32_t)(test_random(random) % 5)); break;
    default: write_one(random); break;
    }
}

static bool is_expected(enum kind kind, int error)
{
    return error == 0 || error == -ECANCELED || (kind == TOO_BIG && error == -EFBIG) ||
           (kind == FULL && error == -ENOSPC);
}

/* What has landed of each, in the order they were queued. */
static void compare(enum kind kind, const char *name)
{
    static char found[REGION];
    uint32_t    failed = 0;
    int         fd = open(name, O_RDONLY | O_CLOEXEC);

    for (uint32_t i = 0; i < made; i++) {
        ck_assert_uint_ne(records[i].told, 0);
        ck_assert_int_eq(is_expected(kind, records[i].error), true);
        failed += records[i].error != 0 && records[i].error != -ECANCELED;
        for (size_t at = 0; at < records[i].bytes; at++)
            model[records[i].offset + at] = patterns[(unsigned char)records[i].byte + at];
    }
    ck_assert_int_eq(failed > 0, kind == TOO_BIG || kind == FULL);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(pread(fd, found, REGION, BASE), 0);
    for (uint32_t at = 0; at < REGION; at++)
        ck_assert_msg(found[at] == model[at], "byte %u is %d, not %d", at, found[at], model[at]);
    test_close(fd);
}

static void set_limit(enum kind kind)
{
    struct rlimit limit = {BASE + REGION / 2 + 17, RLIM_INFINITY};

    if (kind != TOO_BIG)
        return;
    ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Goal: whatever is asked for, each write is told once and truly, and the file is what the model says: overlapping
 * writes in their order, what failed not there but for its bytes. Method: 3000 random writes, cancels, syncs; several
 * kinds of writers and of troubles, ten seeds each. */
START_TEST(random_writes)
{
    enum kind                  kind = (enum kind)(_i % KINDS);
    const char                *name = kind == FULL ? "small/f" : "f";
    uint64_t                   random = test_env("TEST_SEED", 1) * 1000 + (uint64_t)_i;
    struct loop_writer_options options = {.position = BASE};
    int                        fd;

    if (kind == FULL && !scratch_mount("small", REGION / 4)) {
        test_skip("a tmpfs cannot be mounted");
        return;
    }
    options.runs_max = kind == ONE_RUN ? 1 : 0;
    options.flags = kind == SYNCED ? LOOP_WRITER_SYNC : 0;
    options.deadline_ns = kind == WAITING ? 200 * LOOP_MICROSECOND : 0;
    options.batch_bytes = kind == WAITING ? 5000 : 0;
    for (uint32_t i = 0; i < sizeof(patterns); i++)
        patterns[i] = (char)(1 + i % 255);
    set_limit(kind);
    loop = test_loop_new(NULL);
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(loop_writer_open(loop, &writer, fd, &options), 0);
    while (made < WRITES)
        act(&random);
    loop_writer_close(&writer, closed);
    test_run_until(loop, &closes, 1);
    ck_assert_uint_eq(told, made);
    compare(kind, name);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/writer_random");
    TCase *tc = test_case(suite, "random");

    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_loop_test(tc, random_writes, 0, 10 * KINDS);
    return suite;
}
