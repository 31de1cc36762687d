/* tests/adapter/web.h: a small web server on the loop of the test. What it does with a request is said by its path:
 *   /bytes/N   N bytes; the connection is kept
 *   /cut/N     N bytes of twice as many that it promises, then the end
 *   /reset     a reset
 *   /never     nothing
 *   others     404
 * The body of a POST is counted, and its size the answer. */
#ifndef RINGLOOP_TESTS_ADAPTER_WEB_H
#define RINGLOOP_TESTS_ADAPTER_WEB_H

#include "tests/net/net_test.h"

struct web {
    struct loop         *loop;
    struct loop_listener listener;
    uint16_t             port;
    uint32_t             connections, requests, open;
};

void web_open(struct loop *loop, struct web *web);
void web_close(struct web *web); /* waits until its clients have gone */

#endif
