/* The file of the listening socket. Plain data; one owner. */
#ifndef DAEMON_SOCKET_FILE_H
#define DAEMON_SOCKET_FILE_H

#include "config/config.h"

struct socket_file {
    char path[CONFIG_SOCKET_PATH];
    bool made; /* by us: it is ours to remove */
    bool kept; /* the next clpd goes on listening behind it: it stays */
    uint64_t device, inode;
    int64_t made_ns;
};

/* Makes the socket and listens. A file that nobody answers on is replaced; one
 * that a daemon answers on is an error. The descriptor, or -1 with `e` set. */
int socket_file_make(struct socket_file *f, const char *path, uint32_t mode, const char *group,
                     struct err *e);
/* Which file lies at `path` now, in words that no other file has; also in `f`, as if it had been made. false:
 * none. */
#define SOCKET_FILE_IDENTITY 64
bool socket_file_identify(struct socket_file *f, const char *path, char identity[SOCKET_FILE_IDENTITY]);
/* The file in `f` is behind a socket that listens already: mode and group as configured. 0, or -1 with `e`
 * set. */
int socket_file_adopt(struct socket_file *f, uint32_t mode, const char *group, struct err *e);
/* Removes the file if it is still the one that was made, and is not kept. */
void socket_file_remove(struct socket_file *f);

#endif
