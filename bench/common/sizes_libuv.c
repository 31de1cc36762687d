/* Bytes of libuv's structures. */
#include <stdio.h>
#include <uv.h>

int main(void)
{
    printf("{\"uv_timer_t\": %zu, \"uv_tcp_t\": %zu, \"uv_write_t\": %zu}\n", sizeof(uv_timer_t), sizeof(uv_tcp_t),
           sizeof(uv_write_t));
    return 0;
}
