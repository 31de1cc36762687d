/* consumer.c: a program that uses the installed library: status 0 if a timer and an operation have called back. */
#include <ringloop.h>

#include <string.h>

static int called;

static void on_nop(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    (void)arg;
    called += result->res == 0;
}

static void on_timer(struct loop_timer *timer)
{
    (void)timer;
    called++;
}

int main(void)
{
    struct loop_timer timer = {0};
    struct loop      *loop;

    if (strcmp(loop_version(), LOOP_VERSION_STRING) != 0 || loop_create(&loop, NULL) < 0)
        return 1;
    if (loop_nop(loop, on_nop, NULL, NULL) < 0 || loop_timer_start(loop, &timer, LOOP_MILLISECOND, 0, on_timer) < 0 ||
        loop_run(loop, LOOP_RUN_DEFAULT) != 0)
        return 1;
    return loop_destroy(loop) < 0 || called != 2;
}
