/* tests/loop/probe_test.c: the USDT probes: described in the library, reached when somebody is attached, and with what
 * they promise in their arguments.
 *
 * The test plays the tracer itself: it raises the semaphore, puts a breakpoint over each probe's nop, as the kernel
 * would, and reads the arguments where the probe's note says they are. */
#include "loop/probe.h"

#include "tests/support/test.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <liburing.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>

enum { PROBES_MAX = 32, ARGUMENTS_MAX = 4, HITS_MAX = 512 };

/* From the note. */
struct probe {
    uint64_t location, base, semaphore;
    char     name[32], arguments[160];
};

struct probes {
    struct probe all[PROBES_MAX];
    uint32_t     count;
    uint64_t     base; /* where the section that all are relative to stands in the file's addresses */
};

/* ---- the notes of a file */

static size_t padded(size_t size)
{
    return (size + 3) & ~(size_t)3;
}

static void read_note(struct probes *probes, const char *data)
{
    struct probe *probe = &probes->all[probes->count];
    uint64_t      words[3];
    const char   *provider = data + sizeof(words);
    const char   *name = provider + strlen(provider) + 1;
    const char   *arguments = name + strlen(name) + 1;

    memcpy(words, data, sizeof(words));
    if (strcmp(provider, "ringloop") != 0)
        return;
    ck_assert_uint_lt(probes->count, PROBES_MAX);
    *probe = (struct probe){.location = words[0], .base = words[1], .semaphore = words[2]};
    snprintf(probe->name, sizeof(probe->name), "%s", name);
    snprintf(probe->arguments, sizeof(probe->arguments), "%s", arguments);
    probes->count++;
}

static void read_notes(struct probes *probes, const char *section, size_t size)
{
    for (size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
        ElfW(Nhdr) header;
        const char *name = section + at + sizeof(header);

        memcpy(&header, section + at, sizeof(header));
        if (header.n_type == 3 && header.n_namesz == 8 && memcmp(name, "stapsdt", 8) == 0)
            read_note(probes, name + padded(header.n_namesz));
        at += sizeof(header) + padded(header.n_namesz) + padded(header.n_descsz);
    }
}

static void read_probes(struct probes *probes, const char *path)
{
    int         fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    const char *file;
    ElfW(Ehdr) header;

    memset(probes, 0, sizeof(*probes));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    ck_assert(file != MAP_FAILED);
    memcpy(&header, file, sizeof(header));
    for (unsigned i = 0; i < header.e_shnum; i++) {
        ElfW(Shdr) section, names;

        memcpy(&names, file + header.e_shoff + (size_t)header.e_shstrndx * header.e_shentsize, sizeof(names));
        memcpy(&section, file + header.e_shoff + (size_t)i * header.e_shentsize, sizeof(section));
        if (strcmp(file + names.sh_offset + section.sh_name, ".note.stapsdt") == 0)
            read_notes(probes, file + section.sh_offset, section.sh_size);
        if (strcmp(file + names.sh_offset + section.sh_name, ".stapsdt.base") == 0)
            probes->base = section.sh_addr;
    }
    munmap((void *)(uintptr_t)file, (size_t)status.st_size);
    test_close(fd);
}

/* Goal: all probes are in the shared library and in programs that link the static one, each once and with a semaphore:
 * the same for all. */
START_TEST(notes)
{
    static const struct {
        const char *name;
        unsigned    arguments;
    } table[] = {{"submit", 3}, {"sqe", 4}, {"complete", 4}, {"callback__begin", 3}, {"callback__end", 3}};
    static const char *const paths[] = {LIBRARY_PATH, "/proc/self/exe"};
    struct probes            probes;

    read_probes(&probes, paths[_i]);
    ck_assert_uint_eq(probes.count, TEST_COUNT(table));
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        uint32_t found = 0, arguments = 0;

        for (uint32_t n = 0; n < probes.count; n++) {
            if (strcmp(probes.all[n].name, table[i].name) != 0)
                continue;
            found++;
            for (const char *at = probes.all[n].arguments; (at = strchr(at, '@')) != NULL; at++)
                arguments++;
            ck_assert_uint_ne(probes.all[n].semaphore, 0);
            ck_assert_uint_eq(probes.all[n].semaphore, probes.all[0].semaphore);
        }
        ck_assert_msg(found == 1 && arguments == table[i].arguments, "%s", table[i].name);
    }
}
END_TEST

/* ---- hits */

#ifdef __x86_64__

struct hit {
    const char *name;
    uint64_t    arguments[ARGUMENTS_MAX];
};

static struct probes probes_here;
static uint64_t      bias; /* from addresses of the file to those of this process */
static struct hit    hits[HITS_MAX];
static uint32_t      hits_count;

static uint64_t register_value(const ucontext_t *context, const char *name)
{
    static const struct {
        char name[3];
        int  number;
    } table[] = {{"ax", REG_RAX}, {"bx", REG_RBX}, {"cx", REG_RCX}, {"dx", REG_RDX}, {"si", REG_RSI}, {"di", REG_RDI},
                 {"bp", REG_RBP}, {"sp", REG_RSP}, {"8", REG_R8},   {"9", REG_R9},   {"10", REG_R10}, {"11", REG_R11},
                 {"12", REG_R12}, {"13", REG_R13}, {"14", REG_R14}, {"15", REG_R15}};

    name += *name == 'r' || *name == 'e';
    for (size_t i = 0; i < TEST_COUNT(table); i++)
        if (strncmp(name, table[i].name, strlen(table[i].name)) == 0)
            return (uint64_t)context->uc_mcontext.gregs[table[i].number];
    abort();
}

/* One "SIZE@OPERAND": a register, or memory that one points to. A negative size is that of a signed number. */
static uint64_t argument_value(const ucontext_t *context, const char *text)
{
    int      size = (int)strtol(text, NULL, 10), bytes = size < 0 ? -size : size;
    char    *operand = strchr(text, '@') + 1, *name = strchr(operand, '%');
    uint64_t value;

    if (name == NULL)
        abort();
    value = register_value(context, name + 1);
    if (name != operand) {
        const char *place = (const char *)(uintptr_t)(value + (uint64_t)strtol(operand, NULL, 10));

        value = 0;
        memcpy(&value, place, (size_t)bytes);
    }
    if (bytes < 8)
        value &= (UINT64_C(1) << 8 * bytes) - 1;
    return size == -4 ? (uint64_t)(int64_t)(int32_t)value : value;
}

static void trapped(int signal_number, siginfo_t *info, void *arg)
{
    const ucontext_t *context = arg;
    uint64_t          address = (uint64_t)context->uc_mcontext.gregs[REG_RIP] - 1;

    (void)signal_number;
    (void)info;
    for (uint32_t i = 0; i < probes_here.count; i++) {
        const struct probe *probe = &probes_here.all[i];
        const char         *text = probe->arguments;
        struct hit         *hit = &hits[hits_count];

        if (probe->location + probes_here.base - probe->base + bias != address)
            continue;
        if (hits_count++ == HITS_MAX)
            abort();
        hit->name = probe->name;
        for (unsigned n = 0; n < ARGUMENTS_MAX && text != NULL; n++) {
            hit->arguments[n] = argument_value(context, text);
            text = strchr(text, ' ');
            text += text != NULL;
        }
        return;
    }
    abort();
}

static int note_bias(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    *(uint64_t *)arg = info->dlpi_addr;
    return 1; /* the program itself comes first */
}

/* Code has no shadow for ThreadSanitizer to write to. */
static __attribute__((no_sanitize("thread"))) void attach(void)
{
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};

    read_probes(&probes_here, "/proc/self/exe");
    dl_iterate_phdr(note_bias, &bias);
    ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
    for (uint32_t i = 0; i < probes_here.count; i++) {
        const struct probe *probe = &probes_here.all[i];
        uintptr_t           address = probe->location + probes_here.base - probe->base + bias;
        uint8_t            *place = (uint8_t *)address;

        ck_assert_int_eq(mprotect((void *)(address & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
        ck_assert_uint_eq(*place, 0x90);
        *place = 0xcc;
    }
    ringloop_probes_semaphore = 1;
}

static uint32_t count_hits(const char *name)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < hits_count; i++)
        count += strcmp(hits[i].name, name) == 0;
    return count;
}

static const struct hit *hit_number(const char *name, uint32_t n)
{
    for (uint32_t i = 0; i < hits_count; i++)
        if (strcmp(hits[i].name, name) == 0 && n-- == 0)
            return &hits[i];
    ck_abort_msg("%s was not hit that often", name);
    return NULL;
}

static void direct_done(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, 0);
    (*(uint32_t *)arg)++;
}

/* Goal: with the semaphore raised every SQE, completion and callback of an operation hits its probe, with its values;
 * afterwards none does. */
START_TEST(fire)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log log[3] = {0};
    uint32_t        direct = 0;
    int             handler = loop_handler_register(loop, direct_done, &direct, 0);
    loop_id         ids[3];

    attach();
    ids[0] = loop_nop(loop, test_log_cb, &log[0], NULL);
    ids[1] = loop_send(loop, 1000, "x", 1, 0, test_log_cb, &log[1], NULL);
    ids[2] = loop_nop(loop, test_log_cb, &log[2], LOOP_TERMS(.flags = LOOP_EXTENDED));
    ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(handler), LOOP_VALUE(5), NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(count_hits("sqe"), 5); /* and the wake poll */
    ck_assert_uint_eq(count_hits("complete"), 4);
    ck_assert_uint_eq(count_hits("callback__begin"), 4);
    ck_assert_uint_eq(count_hits("callback__end"), 4);
    ck_assert_uint_eq(count_hits("submit"), test_stats(loop).enters);
    ck_assert_uint_eq(hit_number("submit", 0)->arguments[0], (uintptr_t)loop);
    for (int i = 0; i < 3; i++) {
        const struct hit *sqe = hit_number("sqe", (uint32_t)i);

        ck_assert_uint_eq(sqe->arguments[0], (uintptr_t)loop);
        ck_assert_uint_eq(sqe->arguments[1], (uint64_t)ids[i]);
        ck_assert_uint_eq(sqe->arguments[2], i == 1 ? IORING_OP_SEND : IORING_OP_NOP);
    }
    ck_assert_int_eq((int)hit_number("sqe", 1)->arguments[3], 1000);
    for (uint32_t i = 0; i < 4; i++) { /* each callback follows its completion */
        const struct hit *completion = hit_number("complete", i), *begin = hit_number("callback__begin", i);

        ck_assert_uint_eq(completion->arguments[1], begin->arguments[1]);
        ck_assert_uint_eq(completion->arguments[2], begin->arguments[2]);
        ck_assert_uint_eq(completion->arguments[1], hit_number("callback__end", i)->arguments[1]);
        if (completion->arguments[1] == (uint64_t)ids[1])
            ck_assert_int_eq((int)completion->arguments[2], -EBADF);
    }
    ringloop_probes_semaphore = 0;
    hits_count = 0;
    ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(handler), LOOP_VALUE(5), NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(hits_count, 0);
    ck_assert_uint_eq(direct, 2);
    test_log_is(&log[0], 0);
    test_log_is(&log[1], -EBADF);
    test_log_is(&log[2], 0);
    test_loop_free(loop);
}
END_TEST

#else

START_TEST(fire)
{
    test_skip("breakpoints are set on x86-64 only");
}
END_TEST

#endif

Suite *test_suite(void)
{
    Suite *suite = suite_create("probe");
    TCase *tcase = test_case(suite, "probe");

    tcase_add_loop_test(tcase, notes, 0, 2);
    tcase_add_test(tcase, fire);
    return suite;
}
