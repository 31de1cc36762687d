/* http_load.h: reads the files below a directory into a site. */
#ifndef HTTP_LOAD_H
#define HTTP_LOAD_H

#include "http_site.h"

/* Returns 0, or -1 after having told stderr why not. */
int http_load(struct http_site *site, const char *root);

#endif
