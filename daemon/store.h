/* What outlives this process in systemd's descriptor store, so that the next clpd serves at once.
 *
 *   kept.image.MODEL.VERSION.DIGEST   an image that serves (its sealed memfd) and the guard's offer of it
 * (another) kept.listen.KIND.IDENTITY         a listening socket that clpd made itself
 *
 *   at the start   passed -> paired and checked -> store_next_image -> offered like any image
 *   while serving  begun -> store_keep_image; ceased, or refused at the start -> store_forget_image
 *
 * The store is kept over a restart and a crash; a service that is stopped loses it, and starts from the state
 * folder. Where both have an image of a model, the store's counts: it is what served last, and the guard is
 * told so. What comes from the store is checked like what comes from anywhere. The loop's thread only. */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include "daemon/notify.h"
#include "daemon/socket_file.h"
#include "guard/link.h"

struct store {
    struct notify_kept *kept; /* its `fd` is -1 once it is taken */
    size_t n;
};

/* Takes what notify_passed_sockets has found. */
void store_open(struct store *s, struct notify_kept *kept, size_t n);
/* Has everything forgotten that nobody took. */
void store_close(struct store *s);

/* A kept image that can be offered, the newest of its model; fd is the caller's. false: no more. */
bool store_next_image(struct store *s, struct link_message *offer, int *fd);
void store_keep_image(const struct link_message *offer, int fd);
void store_forget_image(const char *model, uint64_t version, const uint8_t sha256[32]);

/* socket_file_make, but where the socket behind that file is kept, it goes on listening. */
int store_listen(struct store *s, const char *kind, struct socket_file *f, const char *path, uint32_t mode,
                 const char *group, struct err *e);
/* Another kind of socket, known by its address; -1: it is not kept. */
int store_take_listener(struct store *s, const char *kind, const char *identity);
void store_keep_listener(const char *kind, const char *identity, int fd);

#endif
