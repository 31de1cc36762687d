/* ringloop/version.h: the version of these headers, and of the library in use. Any thread. */
#ifndef RINGLOOP_VERSION_H
#define RINGLOOP_VERSION_H

#include <ringloop/types.h>

#define LOOP_VERSION_MAJOR  0
#define LOOP_VERSION_MINOR  1
#define LOOP_VERSION_PATCH  0
#define LOOP_VERSION_STRING "0.1.0"

LOOP_BEGIN_DECLS

/* Returns the version of the library that is linked, e.g. "0.1.0"; a static string. */
LOOP_API const char *loop_version(void);

LOOP_END_DECLS

#endif
