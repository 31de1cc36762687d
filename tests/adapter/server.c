/* tests/adapter/server.c: a server program of somebody else's, run by a test. */
#include "tests/adapter/server.h"

#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

bool server_find(const char *name, const char *pattern, char ret_path[256])
{
    const char *path = getenv("PATH");
    glob_t      found;
    bool        any;

    for (const char *end; path != NULL && *path != '\0'; path = *end == '\0' ? end : end + 1) {
        end = strchrnul(path, ':');
        snprintf(ret_path, 256, "%.*s/%s", (int)(end - path), path, name);
        if (access(ret_path, X_OK) == 0)
            return true;
    }
    if (pattern == NULL || glob(pattern, 0, NULL, &found) != 0)
        return false;
    any = found.gl_pathc > 0;
    if (any)
        snprintf(ret_path, 256, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return any;
}

void server_prepare(struct server *server, const char *user)
{
    const struct passwd *entry = getpwnam(user);

    *server = (struct server){.directory = "/tmp/ringloop-XXXXXX", .uid = getuid(), .gid = getgid()};
    ck_assert_ptr_nonnull(mkdtemp(server->directory));
    if (getuid() != 0)
        return;
    if (entry == NULL)
        entry = getpwnam("nobody");
    ck_assert_ptr_nonnull(entry);
    server->uid = entry->pw_uid;
    server->gid = entry->pw_gid;
    ck_assert_int_eq(chown(server->directory, server->uid, server->gid), 0);
}

static void become(const struct server *server, const char *const *command)
{
    int log, null;

    if (getuid() == 0 && (setgroups(0, NULL) < 0 || setgid(server->gid) < 0 || setuid(server->uid) < 0))
        _exit(126);
    if (prctl(PR_SET_PDEATHSIG, SIGQUIT) < 0 || chdir(server->directory) < 0)
        _exit(126);
    log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(log, 1);
    dup2(log, 2);
    closefrom(3);
    execv(command[0], (char **)command);
    _exit(127);
}

void server_start(struct server *server, const char *const *command)
{
    server->pid = fork();
    ck_assert_int_ge(server->pid, 0);
    if (server->pid == 0)
        become(server, command);
}

static void show_log(const struct server *server)
{
    char    path[64], text[4096];
    ssize_t size;
    int     fd;

    snprintf(path, sizeof(path), "%s/log", server->directory);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (size = read(fd, text, sizeof(text))) > 0)
        fprintf(stderr, "%.*s", (int)size, text);
    if (fd >= 0)
        close(fd);
}

int server_do(struct server *server, const char *const *command)
{
    int status = -1;

    server_start(server, command);
    ck_assert_int_eq(waitpid(server->pid, &status, 0), server->pid);
    server->pid = 0;
    if (status != 0)
        show_log(server);
    return status;
}

void server_end(struct server *server, int signal)
{
    if (server->pid <= 0)
        return;
    if (waitpid(server->pid, NULL, WNOHANG) != 0) {
        fprintf(stderr, "the server had ended:\n");
        show_log(server);
    } else {
        kill(server->pid, signal);
        waitpid(server->pid, NULL, 0);
    }
    server->pid = 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

void server_clean(struct server *server)
{
    server_end(server, SIGKILL);
    if (server->directory[0] != '\0')
        nftw(server->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    server->directory[0] = '\0';
}
