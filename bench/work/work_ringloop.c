/* The work bench on ringloop. */
#include <ringloop.h>

#include "common/cli.h"
#include "work/work.h"

static struct loop *loop;

static void open_loop(void)
{
    must(loop_create(&loop, NULL), "loop_create");
}

static int32_t run_item(void *arg)
{
    work_run((uint32_t)(uintptr_t)arg);
    return 0;
}

static void told(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    must(result->res, "an item");
    work_told((uint32_t)(uintptr_t)arg);
}

static void start(uint32_t slot)
{
    must(loop_work(loop, LOOP_WORK_DEFAULT, run_item, told, (void *)(uintptr_t)slot, NULL), "loop_work");
}

static void run(void)
{
    must(loop_run(loop, LOOP_RUN_DEFAULT), "loop_run");
}

int main(int argc, char **argv)
{
    const struct work_library library = {open_loop, start, run};

    return work_main(argc, argv, &library);
}
