/* http_site.c: what can be asked for, by its path. */
#include "http_site.h"

#include "http_load.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char index_name[] = "index.html";

/* FNV-1a, 64 bits. */
static uint64_t hash_path(const char *path, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)path[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Appends a resource without a reply yet. */
static struct http_resource *add_resource(struct http_site *site, const char *path)
{
    size_t                count = site->resources_count;
    struct http_resource *resource;

    if (count % 64 == 0) {
        resource = realloc(site->resources, (count + 64) * sizeof *resource);
        if (!resource)
            return NULL;
        site->resources = resource;
    }
    resource = &site->resources[count];
    *resource = (struct http_resource){.path = strdup(path), .path_size = strlen(path)};
    if (!resource->path)
        return NULL;
    resource->hash = hash_path(path, resource->path_size);
    site->resources_count++;
    return resource;
}

/* Writes the unchanging headers and leaves room for body_size bytes behind them. */
static bool make_reply(struct http_resource *resource, const char *type, size_t body_size, time_t modified)
{
    char      head[512];
    struct tm when;
    int       head_size;

    gmtime_r(&modified, &when);
    strftime(resource->modified, sizeof resource->modified, "%a, %d %b %Y %H:%M:%S GMT", &when);
    snprintf(resource->etag, sizeof resource->etag, "\"%llx-%zx\"", (unsigned long long)modified, body_size);
    head_size =
        snprintf(head, sizeof head, "Content-Type: %s\r\nContent-Length: %zu\r\nLast-Modified: %s\r\nETag: %s\r\n\r\n",
                 type, body_size, resource->modified, resource->etag);
    resource->head_size = (size_t)head_size;
    resource->body_size = body_size;
    resource->reply = malloc(resource->head_size + body_size);
    if (!resource->reply)
        return false;
    memcpy(resource->reply, head, resource->head_size);
    return true;
}

char *http_site_add(struct http_site *site, const char *path, const char *type, size_t body_size, time_t modified)
{
    struct http_resource *resource = add_resource(site, path);

    if (!resource || !make_reply(resource, type, body_size, modified))
        return NULL;
    site->bytes += body_size;
    return resource->reply + resource->head_size;
}

/* ---- the table */

/* Linear probing, at most half full. */
static bool build_table(struct http_site *site)
{
    site->slots_count = 16;
    while (site->slots_count < 2 * site->resources_count)
        site->slots_count *= 2;
    site->slots = calloc(site->slots_count, sizeof *site->slots);
    if (!site->slots)
        return false;
    for (uint32_t i = 0; i < site->resources_count; i++) {
        uint32_t slot = (uint32_t)site->resources[i].hash & (site->slots_count - 1);
        while (site->slots[slot] != 0)
            slot = (slot + 1) & (site->slots_count - 1);
        site->slots[slot] = i + 1;
    }
    return true;
}

static const struct http_resource *find_exact(const struct http_site *site, const char *path, size_t size)
{
    uint64_t hash = hash_path(path, size);
    uint32_t slot = (uint32_t)hash & (site->slots_count - 1);

    for (; site->slots[slot] != 0; slot = (slot + 1) & (site->slots_count - 1)) {
        const struct http_resource *resource = &site->resources[site->slots[slot] - 1];
        if (resource->hash == hash && resource->path_size == size && memcmp(resource->path, path, size) == 0)
            return resource;
    }
    return NULL;
}

const struct http_resource *http_site_find(const struct http_site *site, const char *path, size_t path_size)
{
    char index[HTTP_SITE_PATH_BYTES_MAX + sizeof index_name];

    if (path_size == 0 || path_size > HTTP_SITE_PATH_BYTES_MAX)
        return NULL;
    if (path[path_size - 1] != '/')
        return find_exact(site, path, path_size);
    memcpy(index, path, path_size);
    memcpy(index + path_size, index_name, strlen(index_name));
    return find_exact(site, index, path_size + strlen(index_name));
}

/* ---- life */

static bool add_greeting(struct http_site *site, const char *path)
{
    static const char greeting[] = "Hello, World!";
    char             *body = http_site_add(site, path, "text/plain; charset=utf-8", strlen(greeting), time(NULL));

    if (body)
        memcpy(body, greeting, strlen(greeting));
    return body != NULL;
}

int http_site_load(struct http_site *site, const char *root)
{
    *site = (struct http_site){0};
    if (root && http_load(site, root) < 0)
        goto fail;
    if ((!root && !(add_greeting(site, "/index.html") && add_greeting(site, "/plaintext"))) || !build_table(site)) {
        fprintf(stderr, "no memory for the site\n");
        goto fail;
    }
    return 0;
fail:
    http_site_unload(site);
    return -1;
}

void http_site_unload(struct http_site *site)
{
    for (uint32_t i = 0; i < site->resources_count; i++) {
        free(site->resources[i].path);
        free(site->resources[i].reply);
    }
    free(site->resources);
    free(site->slots);
    *site = (struct http_site){0};
}
