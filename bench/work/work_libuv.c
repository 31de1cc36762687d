/* The work bench on libuv. */
#include <uv.h>

#include "common/cli.h"
#include "work/work.h"

static uv_loop_t *loop;
static uv_work_t  requests[WORK_N_MAX];

static void open_loop(void)
{
    loop = uv_default_loop();
}

static void run_item(uv_work_t *request)
{
    work_run((uint32_t)(request - requests));
}

static void told(uv_work_t *request, int status)
{
    if (status != 0)
        die("an item ended with %s", uv_strerror(status));
    work_told((uint32_t)(request - requests));
}

static void start(uint32_t slot)
{
    if (uv_queue_work(loop, &requests[slot], run_item, told) != 0)
        die("uv_queue_work failed");
}

static void run(void)
{
    uv_run(loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    const struct work_library library = {open_loop, start, run};

    return work_main(argc, argv, &library);
}
