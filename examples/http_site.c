/* http_site.c: files of a directory in memory.
 * openat2(2) with RESOLVE_BENEATH lets the kernel itself refuse links that lead out of the root (Linux 5.6). */
#include "http_site.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char index_name[] = "index.html";

static const struct {
    const char *suffix;
    const char *type;
} content_types[] = {
    {".html", "text/html; charset=utf-8"},
    {".htm", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".txt", "text/plain; charset=utf-8"},
    {".md", "text/markdown; charset=utf-8"},
    {".json", "application/json"},
    {".xml", "application/xml"},
    {".pdf", "application/pdf"},
    {".wasm", "application/wasm"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".jpg", "image/jpeg"},
    {".jpeg", "image/jpeg"},
    {".gif", "image/gif"},
    {".webp", "image/webp"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
};

static const char *content_type(const char *path)
{
    const char *suffix = strrchr(path, '.');

    for (size_t i = 0; suffix && i < sizeof content_types / sizeof *content_types; i++)
        if (strcasecmp(suffix, content_types[i].suffix) == 0)
            return content_types[i].type;
    return "application/octet-stream";
}

/* FNV-1a, 64 bits. */
static uint64_t hash_path(const char *path, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)path[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* ---- adding resources */

static int complain(const char *what, const char *path, const char *why)
{
    fprintf(stderr, "%s %s: %s\n", what, path, why);
    return -1;
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

static int add_greeting(struct http_site *site, const char *path)
{
    static const char     greeting[] = "Hello, World!";
    size_t                size = strlen(greeting);
    struct http_resource *resource = add_resource(site, path);

    if (!resource || !make_reply(resource, "text/plain; charset=utf-8", size, time(NULL)))
        return complain("site", path, strerror(ENOMEM));
    memcpy(resource->reply + resource->head_size, greeting, size);
    return 0;
}

/* ---- reading files */

static int read_whole(int fd, char *to, size_t size)
{
    while (size > 0) {
        ssize_t n = read(fd, to, size);
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ENODATA;
        to += n;
        size -= (size_t)n;
    }
    return 0;
}

static int load_open_file(struct http_site *site, int fd, const struct stat *info, const char *path)
{
    size_t                size = (size_t)info->st_size;
    struct http_resource *resource;
    int                   r;

    if (site->resources_count == HTTP_SITE_FILES_MAX)
        return complain("--root: at", path, "more than the 4096 files that fit");
    if (size > HTTP_SITE_BYTES_MAX - site->bytes)
        return complain("--root: at", path, "more than the 256 MiB that fit");
    resource = add_resource(site, path);
    if (!resource || !make_reply(resource, content_type(path), size, info->st_mtime))
        return complain("--root: at", path, strerror(ENOMEM));
    r = read_whole(fd, resource->reply + resource->head_size, size);
    if (r < 0)
        return complain("--root: cannot read", path, r == -ENODATA ? "shrank while it was read" : strerror(-r));
    site->bytes += size;
    return 0;
}

/* Opens path (which begins with '/') below root_fd; symbolic links are followed as long as they stay below it. */
static int open_beneath(int root_fd, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };

    return (int)syscall(SYS_openat2, root_fd, path + 1, &how, sizeof how);
}

static int load_file(struct http_site *site, int root_fd, const char *path)
{
    struct stat info;
    int         r = 0;
    int         fd = open_beneath(root_fd, path);

    if (fd < 0) {
        if (errno == EXDEV || errno == ENOENT || errno == ELOOP)
            return 0; /* a link that leads outside, or nowhere */
        return complain("--root: cannot open", path, strerror(errno));
    }
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
        r = load_open_file(site, fd, &info, path);
    close(fd);
    return r;
}

static int load_directory(struct http_site *site, int root_fd, char *path, int depth);

/* path[] has room for HTTP_SITE_PATH_BYTES_MAX; name is appended to it for the time of the call. */
static int load_entry(struct http_site *site, int root_fd, char *path, const struct dirent *entry, int depth)
{
    size_t      end = strlen(path);
    size_t      room = HTTP_SITE_PATH_BYTES_MAX - end;
    struct stat info;
    int         r = 0;

    if (entry->d_name[0] == '.')
        return 0;
    if ((size_t)snprintf(path + end, room, "/%s", entry->d_name) >= room)
        r = complain("--root: too long a path:", path, "more than 1023 bytes");
    else if (fstatat(root_fd, path + 1, &info, AT_SYMLINK_NOFOLLOW) < 0)
        r = complain("--root: cannot examine", path, strerror(errno));
    else if (S_ISDIR(info.st_mode))
        r = load_directory(site, root_fd, path, depth + 1);
    else if (S_ISREG(info.st_mode) || S_ISLNK(info.st_mode))
        r = load_file(site, root_fd, path);
    path[end] = '\0';
    return r;
}

/* path is "" for the root itself. */
static int load_directory(struct http_site *site, int root_fd, char *path, int depth)
{
    const struct dirent *entry;
    DIR                 *directory;
    int                  fd, r = 0;

    if (depth > HTTP_SITE_DEPTH_MAX)
        return complain("--root: at", path, "more than 16 directories deep");
    fd = openat(root_fd, path[0] ? path + 1 : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        r = complain("--root: cannot open directory", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return r;
    }
    while (r == 0 && (entry = readdir(directory)))
        r = load_entry(site, root_fd, path, entry, depth);
    closedir(directory);
    return r;
}

static int load_tree(struct http_site *site, const char *root)
{
    char path[HTTP_SITE_PATH_BYTES_MAX] = "";
    int  r;
    int  root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (root_fd < 0)
        return complain("--root", root, strerror(errno));
    r = load_directory(site, root_fd, path, 0);
    close(root_fd);
    return r;
}

/* ---- the table */

/* Linear probing, at most half full. */
static int build_table(struct http_site *site)
{
    site->slots_count = 16;
    while (site->slots_count < 2 * site->resources_count)
        site->slots_count *= 2;
    site->slots = calloc(site->slots_count, sizeof *site->slots);
    if (!site->slots)
        return complain("--root:", "table", strerror(ENOMEM));
    for (uint32_t i = 0; i < site->resources_count; i++) {
        uint32_t slot = (uint32_t)site->resources[i].hash & (site->slots_count - 1);
        while (site->slots[slot] != 0)
            slot = (slot + 1) & (site->slots_count - 1);
        site->slots[slot] = i + 1;
    }
    return 0;
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

int http_site_load(struct http_site *site, const char *root)
{
    int r;

    *site = (struct http_site){0};
    if (root) {
        r = load_tree(site, root);
    } else {
        r = add_greeting(site, "/index.html");
        if (r == 0)
            r = add_greeting(site, "/plaintext");
    }
    if (r == 0)
        r = build_table(site);
    if (r < 0)
        http_site_unload(site);
    return r;
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
