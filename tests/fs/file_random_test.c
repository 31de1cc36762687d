/* tests/fs/file_random_test.c: file objects against a model in memory, by random numbers: TEST_SEED.
 *
 * The file has three parts. In the first all goes at the position; in the second reads and writes stand at offsets,
 * where those in flight do not overlap; the third begins at FIXED, grows by appends and is truncated. So whatever is in
 * flight together, a callback says what the file holds. */
#include "tests/fs/file_world.h"

#include <ringloop/fixed.h>

enum {
    AT_POSITION = 1 << 17,
    FIXED = 2 * AT_POSITION,
    TAIL_MOST = 1 << 20,
    RECORDS = 1000,
    SIZE_MOST = 5000,
    WAITING_MOST = 6,
    OPS_MOST = 4,
};

/* FEW: of those that wait; CROWDED: at the loop's limit of operations; SHORT: of memory. */
enum kind { PLAIN, SYNCED, FEW, CROWDED, SHORT_OF_MEMORY, KINDS };

enum act { READ, WRITE, APPEND, SEEK, SYNC, DATASYNC, TRUNCATE, SIZE };

struct record {
    enum act act;
    bool     at_position, may_cancel;
    uint32_t told;
    int64_t  offset;
    size_t   size;
    uint8_t *data;
};

static struct loop_file file;
static struct record    records[RECORDS + 1];
static enum kind        kind;
static uint64_t         random_state;
static uint32_t         made, told_count, closes, tail_users, truncating, inside, cancelled;
static uint64_t         position, position_most, model_size, size_most;
static uint8_t          model[FIXED + TAIL_MOST];

static uint32_t random_below(uint64_t limit)
{
    return (uint32_t)(test_random(&random_state) % limit);
}

/* ---- what the callbacks say */

static bool changes(const struct record *record)
{
    return record->act == WRITE || record->act == APPEND || record->act == TRUNCATE;
}

static bool in_tail(const struct record *record)
{
    return record->act == APPEND || record->act == SIZE || (!record->at_position && record->offset >= FIXED);
}

static void check_error(const struct record *record, int error, uint64_t count)
{
    bool whole = record->act == READ || record->act == WRITE || record->act == APPEND;

    ck_assert_msg(error == 0 || (error == -ECANCELED && record->may_cancel) ||
                      (error == -ENOMEM && kind == SHORT_OF_MEMORY),
                  "record %td: %d", record - records, error);
    if (whole && error == 0)
        ck_assert_uint_eq(count, record->size);
    if (whole)
        ck_assert_uint_le(count, record->size);
    cancelled += error == -ECANCELED;
}

/* A sync covers all that was called for before it. Writes that are synced are told after that. */
static void check_covered(const struct record *sync)
{
    if (kind == SYNCED)
        return;
    for (const struct record *record = records; record < sync; record++)
        ck_assert_msg(!changes(record) || record->told != 0, "sync %td was told before change %td", sync - records,
                      record - records);
}

/* Bytes moved, at their place in the model. */
static void moved(const struct record *record, size_t count)
{
    uint64_t at = record->at_position ? position : record->act == APPEND ? model_size : (uint64_t)record->offset;

    ck_assert_uint_le(at + count, sizeof(model));
    if (record->act == READ)
        ck_assert_msg(memcmp(model + at, record->data, count) == 0, "read %td at %ju", record - records, (uintmax_t)at);
    else
        memcpy(model + at, record->data, count);
    if (record->at_position)
        position += count;
    if (at + count > model_size)
        model_size = at + count;
}

static void truncated(uint64_t size)
{
    if (size < model_size)
        memset(model + size, 0, model_size - size);
    model_size = size;
}

static void apply(const struct record *record, int error, uint64_t count)
{
    switch (record->act) {
    case READ:
    case WRITE:
    case APPEND: moved(record, (size_t)count); break;
    case SEEK:
        if (error == 0) {
            ck_assert_uint_eq(count, (uint64_t)record->offset);
            position = count;
        }
        break;
    case SYNC:
    case DATASYNC:
        if (error == 0)
            check_covered(record);
        break;
    case TRUNCATE:
        if (error == 0)
            truncated((uint64_t)record->offset);
        break;
    case SIZE:
        if (error == 0)
            ck_assert_uint_eq(count, model_size);
        break;
    }
}

static void act_sometimes(void);

static void done(struct loop_file *of, int error, uint64_t count, void *arg)
{
    struct record *record = arg;

    ck_assert_ptr_eq(of, &file);
    ck_assert_uint_eq(inside, 0);
    ck_assert_uint_eq(closes, 0);
    ck_assert_uint_eq(record->told, 0);
    record->told = ++told_count;
    check_error(record, error, count);
    apply(record, error, count);
    tail_users -= in_tail(record);
    truncating -= record->act == TRUNCATE;
    free(record->data);
    record->data = NULL;
    act_sometimes();
}

/* ---- what is asked for */

static bool is_free(int64_t offset, size_t size)
{
    for (const struct record *record = records; record < records + made; record++) {
        if (record->told == 0 && !record->at_position && record->size > 0 &&
            (record->act == READ || record->act == WRITE) && offset < record->offset + (int64_t)record->size &&
            record->offset < offset + (int64_t)size)
            return false;
    }
    return true;
}

static int transfer(struct record *record)
{
    int64_t offset = record->at_position ? LOOP_FILE_POSITION : record->act == APPEND ? LOOP_FILE_END : record->offset;
    size_t  cut = random_below(record->size + 1);
    struct iovec iov[3] = {{record->data, cut}, {NULL, 0}, {record->data + cut, record->size - cut}};

    if (random_below(3) != 0)
        return record->act == READ ? loop_file_read(&file, record->data, record->size, offset, 0, done, record)
                                   : loop_file_write(&file, record->data, record->size, offset, 0, done, record);
    return record->act == READ ? loop_file_readv(&file, iov, 3, offset, 0, done, record)
                               : loop_file_writev(&file, iov, 3, offset, 0, done, record);
}

static int start(struct record *record)
{
    switch (record->act) {
    case READ:
    case WRITE:
    case APPEND: return transfer(record);
    case SEEK: return loop_file_seek(&file, record->offset, SEEK_SET, done, record);
    case SYNC: return loop_file_sync(&file, done, record);
    case DATASYNC: return loop_file_datasync(&file, done, record);
    case TRUNCATE: return loop_file_truncate(&file, record->offset, done, record);
    case SIZE: return loop_file_size(&file, done, record);
    }
    return -EINVAL;
}

/* Writes that are told after a sync are told too late to say what others in the same place have found. */
static bool has_to_be_alone(const struct record *record)
{
    return kind == SYNCED && (record->at_position || record->act == SEEK || in_tail(record));
}

/* Whether it can be told what it will do, beside what is in flight. */
static bool place(struct record *record)
{
    uint64_t begin = AT_POSITION, end = FIXED;

    record->size = 1 + random_below(random_below(8) == 0 ? SIZE_MOST : 200);
    switch (record->act) {
    case READ:
    case WRITE:
        record->at_position = random_below(2) == 0;
        if (record->at_position)
            return position_most + record->size <= AT_POSITION;
        if (record->act == READ && truncating == 0 && random_below(4) == 0) {
            begin = FIXED;
            end = model_size;
        }
        if (end - begin < record->size)
            return false;
        record->offset = (int64_t)(begin + random_below(end - begin - record->size + 1));
        return is_free(record->offset, record->size);
    case APPEND: return truncating == 0 && size_most + record->size <= sizeof(model);
    case SEEK: record->offset = (int64_t)random_below(AT_POSITION / 2); return true;
    case SYNC:
    case DATASYNC: return true;
    case TRUNCATE:
        record->offset = (int64_t)(FIXED + random_below(model_size - FIXED + 1000));
        return tail_users == 0 && truncating == 0;
    case SIZE: return truncating == 0 && tail_users == 0;
    }
    return false;
}

static void note_started(const struct record *record)
{
    if (record->at_position)
        position_most += record->size;
    if (record->act == SEEK && (uint64_t)record->offset > position_most)
        position_most = (uint64_t)record->offset;
    size_most = tail_users == 0 ? model_size : size_most;
    if (record->act == APPEND)
        size_most += record->size;
    if (record->act == TRUNCATE)
        size_most = (uint64_t)record->offset > size_most ? (uint64_t)record->offset : size_most;
    tail_users += in_tail(record);
    truncating += record->act == TRUNCATE;
}

static void start_one(void)
{
    static const enum act acts[] = {READ,   READ, WRITE, WRITE,    WRITE,    APPEND,
                                    APPEND, SEEK, SYNC,  DATASYNC, TRUNCATE, SIZE};
    struct record        *record = &records[made];
    int                   r;

    *record = (struct record){.act = acts[random_below(TEST_COUNT(acts))]};
    if (!place(record) || (has_to_be_alone(record) && told_count < made))
        return;
    record->data = malloc(record->size);
    pattern_fill(record->data, record->size, random_below(256));
    if (kind == SHORT_OF_MEMORY && random_below(8) == 0)
        test_memory.fail_at = test_memory.calls + 1 + random_below(3);
    inside++;
    r = start(record);
    inside--;
    if (r < 0) {
        ck_assert_msg((r == -ENOBUFS && (kind == FEW || kind == CROWDED)) || (r == -ENOMEM && kind == SHORT_OF_MEMORY),
                      "%d", r);
        free(record->data);
        return;
    }
    note_started(record);
    made++;
}

static void cancel_some(void)
{
    struct record *record = &records[made - 1 - random_below(made < 10 ? made : 10)];
    bool           all = random_below(6) == 0;
    uint32_t       waiting = 0;
    int            count;

    for (struct record *each = all ? records : record; each < (all ? records + made : record + 1); each++) {
        each->may_cancel = true;
        waiting += each->told == 0;
    }
    inside++;
    count = all ? loop_file_cancel_all(&file) : loop_file_cancel(&file, record);
    inside--;
    ck_assert_int_ge(count, 0);
    ck_assert_uint_le((uint32_t)count, waiting);
}

/* Until nothing is in flight; then the position is known. */
static void settle(void)
{
    test_run_until(world_loop, &told_count, made);
    position_most = position;
}

static void act_sometimes(void)
{
    if (made == RECORDS || loop_file_closing(&file))
        return;
    if (random_below(4) == 0)
        start_one();
    if (made > 0 && random_below(40) == 0)
        cancel_some();
}

static void act(void)
{
    if (position_most > AT_POSITION - SIZE_MOST || (kind == SYNCED && random_below(6) == 0))
        settle();
    if (made == RECORDS)
        return;
    start_one();
    if (random_below(30) == 0 && made > 0)
        cancel_some();
    if (random_below(6) == 0)
        test_turns(world_loop, 1 + random_below(4));
}

/* ---- the test */

static void closed(struct loop_file *of, int error)
{
    ck_assert_ptr_eq(of, &file);
    ck_assert_int_eq(error, 0);
    closes++;
}

static void open_file(void)
{
    struct loop_file_options options = {.flags = kind == SYNCED ? LOOP_FILE_SYNC_EACH | LOOP_FILE_SYNC_DATA : 0,
                                        .waiting_max = kind == FEW ? WAITING_MOST : 0};

    if (random_below(2) == 0)
        options.flags |= LOOP_FILE_REGISTERED;

    test_loop_free(world_loop);
    world_loop = test_loop_new(&(struct loop_options){.ops_max = kind == CROWDED ? OPS_MOST : 0});
    ck_assert_int_eq(loop_files_init(world_loop, NULL), 0);
    scratch_write("a", model, FIXED);
    model_size = size_most = FIXED;
    file_open(&file, "a", O_RDWR, &options);
}

/* With what is in flight cancelled by it, or not. */
static void close_file(void)
{
    if (random_below(2) == 0)
        settle();
    for (uint32_t i = 0; i < made; i++)
        records[i].may_cancel = true;
    inside++;
    loop_file_close(&file, closed);
    inside--;
    test_run_until(world_loop, &closes, 1);
    test_memory.fail_at = 0;
    ck_assert_uint_eq(told_count, made);
}

/* Goal: whatever is asked for, each operation is told once, truly and not from inside a call; the file is what the
 * model says; what goes at the position does so in turn; syncs come after what they are for. Method: random reads,
 * writes, appends, seeks, truncations, syncs and cancels, also from callbacks; a close in their midst. Several kinds of
 * files and of troubles, six seeds each. */
START_TEST(random_operations)
{
    size_t size;
    char  *found;

    kind = (enum kind)(_i % KINDS);
    random_state = test_env("TEST_SEED", 1) * 1000 + (uint64_t)_i;
    open_file();
    for (int i = 0; i < 100 * RECORDS && made < RECORDS; i++)
        act();
    ck_assert_uint_eq(made, RECORDS);
    ck_assert_uint_gt(cancelled, 0);
    ck_assert(kind != FEW || test_stats(world_loop).files_full > 0);
    ck_assert(kind != CROWDED || test_stats(world_loop).ops_full > 0);
    ck_assert(kind != SHORT_OF_MEMORY || test_memory.failed > 0);
    close_file();
    found = scratch_read("a", &size);
    ck_assert_uint_eq(size, model_size);
    ck_assert_int_eq(memcmp(found, model, size), 0);
    free(found);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file_random");
    TCase *tc = test_case(suite, "random");

    tcase_add_checked_fixture(tc, world_open, world_close);
    tcase_add_loop_test(tc, random_operations, 0, 6 * KINDS);
    return suite;
}
