/* Nops on ringloop: with a callback and a context, or with --direct through a registered handler. With --sequel each is
 * started by the callback of one before it, as servers do, and with --deadline each has a deadline, which never comes.
 */
#include <ringloop.h>

#include "common/cli.h"
#include "common/clock.h"
#include "nop/nop.h"

struct work {
    loop_cb                 *cb;
    void                    *arg;
    const struct loop_terms *terms;
    uint64_t                 finished;
    uint64_t                 left; /* to be started by callbacks */
};

static void start(struct loop *loop, const struct work *work)
{
    if (loop_nop(loop, work->cb, work->arg, work->terms) < 0)
        die("loop_nop failed");
}

static void on_nop(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct work *work = arg;

    (void)loop;
    if (result->res != 0)
        die_errno(-result->res, "nop");
    work->finished++;
}

static void on_nop_with_sequel(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct work *work = arg;

    on_nop(loop, result, work);
    if (work->left > 0) {
        work->left--;
        start(loop, work);
    }
}

static void run_batches(struct loop *loop, struct work *work, uint64_t ops, uint32_t batch)
{
    uint64_t last = work->finished + ops;

    while (work->finished != last) {
        for (uint32_t i = 0; i < batch; i++)
            start(loop, work);
        if (loop_run(loop, LOOP_RUN_ONCE) < 0)
            die("loop_run failed");
    }
}

static void run_sequel(struct loop *loop, struct work *work, uint64_t ops, uint32_t batch)
{
    uint64_t last = work->finished + ops;

    work->left = ops - batch;
    for (uint32_t i = 0; i < batch; i++)
        start(loop, work);
    if (loop_run(loop, LOOP_RUN_DEFAULT) < 0 || work->finished != last)
        die("loop_run failed");
}

static void prepare(struct loop *loop, const struct nop_options *options, struct work *work)
{
    int number;

    *work = (struct work){.cb = options->sequel ? on_nop_with_sequel : on_nop, .arg = work};
    if (!options->direct)
        return;
    number = loop_handler_register(loop, work->cb, work, 0);
    must(number, "loop_handler_register");
    work->cb = LOOP_HANDLER(number);
    work->arg = LOOP_VALUE(1);
}

int main(int argc, char **argv)
{
    struct nop_options      options = nop_options_parse(argc, argv, true);
    const struct loop_terms far = {.timeout_ns = 10 * LOOP_SECOND};
    void (*run)(struct loop *, struct work *, uint64_t, uint32_t) = options.sequel ? run_sequel : run_batches;
    struct work  work;
    uint64_t     start_ns;
    struct loop *loop;

    must(loop_create(&loop, NULL), "loop_create");
    prepare(loop, &options, &work);
    if (options.deadline)
        work.terms = &far;
    run(loop, &work, options.batch, options.batch);
    start_ns = clock_cpu_ns();
    run(loop, &work, options.ops, options.batch);
    nop_report(&options, clock_cpu_ns() - start_ns);
    must(loop_destroy(loop), "loop_destroy");
    return 0;
}
