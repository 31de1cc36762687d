/* http_load.c: reads the files below a directory into a site.
 * openat2(2) with RESOLVE_BENEATH lets the kernel itself refuse links that lead out of the root (Linux 5.6). */
#include "http_load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

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

static int complain(const char *what, const char *path, const char *why)
{
    fprintf(stderr, "%s %s: %s\n", what, path, why);
    return -1;
}

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
    size_t size = (size_t)info->st_size;
    char  *body;
    int    r;

    if (site->resources_count == HTTP_SITE_FILES_MAX)
        return complain("--root: at", path, "more than the 4096 files that fit");
    if (size > HTTP_SITE_BYTES_MAX - site->bytes)
        return complain("--root: at", path, "more than the 256 MiB that fit");
    body = http_site_add(site, path, content_type(path), size, info->st_mtime);
    if (!body)
        return complain("--root: at", path, strerror(ENOMEM));
    r = read_whole(fd, body, size);
    if (r < 0)
        return complain("--root: cannot read", path, r == -ENODATA ? "shrank while it was read" : strerror(-r));
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

int http_load(struct http_site *site, const char *root)
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
