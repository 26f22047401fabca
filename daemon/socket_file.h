/* The file of the listening socket. Plain data; one owner. */
#ifndef DAEMON_SOCKET_FILE_H
#define DAEMON_SOCKET_FILE_H

#include "config/config.h"

struct socket_file {
    char path[CONFIG_SOCKET_PATH];
    bool made; /* by us: it is ours to remove */
    uint64_t device, inode;
    int64_t made_ns;
};

/* Makes the socket and listens. A file that nobody answers on is replaced; one
 * that a daemon answers on is an error. The descriptor, or -1 with `e` set. */
int socket_file_make(struct socket_file *f, const char *path, uint32_t mode, const char *group,
                     struct err *e);
/* Removes the file if it is still the one that was made. */
void socket_file_remove(struct socket_file *f);

#endif
