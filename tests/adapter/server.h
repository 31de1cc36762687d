/* tests/adapter/server.h: a server program of somebody else's, run by a test in a directory of its own. */
#ifndef RINGLOOP_TESTS_ADAPTER_SERVER_H
#define RINGLOOP_TESTS_ADAPTER_SERVER_H

#include "tests/support/test.h"

#include <sys/types.h>

struct server {
    pid_t pid;           /* 0: none runs */
    char  directory[32]; /* of scratch files; "": none */
    uid_t uid;           /* whose it is, and the server: not root's, some refuse that */
    gid_t gid;
};

/* The path of the first program found: name in PATH, or what the pattern of glob(3) matches last. False: none. */
bool server_find(const char *name, const char *pattern, char ret_path[256]);

/* Makes the directory. As root: for the user of that name if there is one, else for nobody. */
void server_prepare(struct server *server, const char *user);

/* Runs a program in the directory and waits for its end; its output goes to the file log there. Returns its status. */
int server_do(struct server *server, const char *const *command);

/* The same, and it goes on until server_end(), or until this process ends. */
void server_start(struct server *server, const char *const *command);

/* Ends it by this signal, waits for that, and shows the log if it was not going any more. */
void server_end(struct server *server, int signal);

/* And removes the directory. */
void server_clean(struct server *server);

#endif
