/* Nops on ringloop: with a callback and a context, or with --direct through a registered
 * handler, or with --deadline with a deadline on each that never comes. */
#include <ringloop.h>

#include "common/cli.h"
#include "common/clock.h"
#include "nop/nop.h"

static void on_nop(struct loop *loop, const struct loop_result *result, void *arg)
{
    uint64_t *finished = arg;

    (void)loop;
    if (result->res != 0)
        die_errno(-result->res, "nop");
    ++*finished;
}

static void run(struct loop *loop, loop_cb *cb, void *arg, const struct loop_terms *terms, const uint64_t *finished,
                uint64_t ops, uint32_t batch)
{
    uint64_t last = *finished + ops;

    while (*finished != last) {
        for (uint32_t i = 0; i < batch; i++) {
            if (loop_nop(loop, cb, arg, terms) < 0)
                die("loop_nop failed");
        }
        if (loop_run(loop, LOOP_RUN_ONCE) < 0)
            die("loop_run failed");
    }
}

int main(int argc, char **argv)
{
    struct nop_options options = nop_options_parse(argc, argv, true);
    uint64_t           finished = 0, start_ns;
    struct loop       *loop;
    loop_cb           *cb = on_nop;
    void              *arg = &finished;

    const struct loop_terms  far = {.timeout_ns = 10 * LOOP_SECOND};
    const struct loop_terms *terms = NULL;
    int                      result = loop_create(&loop, NULL);

    if (result < 0)
        die_errno(-result, "loop_create");
    if (options.deadline)
        terms = &far;
    if (options.direct) {
        result = loop_handler_register(loop, on_nop, &finished, 0);
        if (result < 0)
            die_errno(-result, "loop_handler_register");
        cb = LOOP_HANDLER(result);
        arg = LOOP_VALUE(1);
    }
    run(loop, cb, arg, terms, &finished, options.batch, options.batch);
    start_ns = clock_cpu_ns();
    run(loop, cb, arg, terms, &finished, options.ops, options.batch);
    nop_report(&options, clock_cpu_ns() - start_ns);
    result = loop_destroy(loop);
    if (result < 0)
        die_errno(-result, "loop_destroy");
    return 0;
}
