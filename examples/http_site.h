/* http_site.h: what the server has to show: the files below a directory, read once at start, or a fixed greeting.
 *
 * Requests are answered from memory by looking up their path in a table, so no request can reach a file that was not
 * loaded. Left out are names that begin with a dot, anything but regular files, symbolic links to directories, and
 * symbolic links to files outside the directory. */
#ifndef HTTP_SITE_H
#define HTTP_SITE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum {
    HTTP_SITE_FILES_MAX = 4096,
    HTTP_SITE_PATH_BYTES_MAX = 1024,
    HTTP_SITE_DEPTH_MAX = 16,
};
#define HTTP_SITE_BYTES_MAX ((size_t)256 << 20)

struct http_resource {
    char    *path; /* "/directory/name" */
    size_t   path_size;
    uint64_t hash;
    char    *reply;     /* the headers that never change, the empty line, and the body, in one piece */
    size_t   head_size; /* of the headers with the empty line */
    size_t   body_size;
    char     etag[40];
    char     modified[32]; /* Last-Modified */
};

struct http_site {
    struct http_resource *resources;
    uint32_t              resources_count;
    uint32_t              slots_count;
    uint32_t             *slots; /* hash table: index into resources plus one, or 0 */
    size_t                bytes; /* of all bodies */
};

/* Loads the files below root, or "Hello, World!" as / and /plaintext if root is NULL. Returns 0, or -1 after having
 * told stderr why not. */
int  http_site_load(struct http_site *site, const char *root);
void http_site_unload(struct http_site *site);

/* Adds a resource, while the site is being loaded. Returns room for its body, or NULL if memory is short. */
char *http_site_add(struct http_site *site, const char *path, const char *type, size_t body_size, time_t modified);

/* A path that ends in '/' means the index.html there. Returns NULL if there is no such resource. */
const struct http_resource *http_site_find(const struct http_site *site, const char *path, size_t path_size);

#endif
