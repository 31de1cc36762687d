/* Bytes of libev's structures. */
#include <ev.h>
#include <stdio.h>

int main(void)
{
    printf("{\"ev_timer\": %zu, \"ev_io\": %zu}\n", sizeof(ev_timer), sizeof(ev_io));
    return 0;
}
