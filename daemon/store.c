/* Names are what is kept: systemd gives them back as they were, and nothing else about a descriptor is known.
 */
#include "daemon/store.h"

#include "daemon/log.h"
#include "infer/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IMAGES       NOTIFY_KEPT "image."
#define LISTENERS    NOTIFY_KEPT "listen."
#define SEALS        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
#define MAGIC        0x53504c43u /* "CLPS" as bytes */
#define SHORT_DIGEST 12

struct record { /* what is known of an image besides itself */
    uint32_t magic, bytes;
    uint64_t since_ns; /* CLOCK_MONOTONIC: the store doesn't outlive the machine */
    struct link_message offer;
};

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- names ------------------------------------------------------------------------------- */

/* systemd takes printable ASCII without a colon; what a model's name may have besides is written as %XX. At
 * most 11 + 3 * 63 + 1 + 20 + 1 + 12 bytes. */
static void image_name(const char *model, uint64_t version, const uint8_t sha256[32], char out[NOTIFY_NAME]) {
    char digest[2 * DIGEST_BYTES + 1], clean[3 * LINK_MODEL];
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)model; *p && n + 4 < sizeof clean; p++)
        if (*p > ' ' && *p < 0x7f && *p != ':' && *p != '%')
            clean[n++] = (char)*p;
        else
            n += (size_t)snprintf(clean + n, 4, "%%%02X", *p);
    clean[n] = 0;
    (void)snprintf(out, NOTIFY_NAME, IMAGES "%s.%" PRIu64 ".%.*s", clean, version, SHORT_DIGEST,
                   digest_text(sha256, digest));
}

static void listener_name(const char *kind, const char *identity, char out[NOTIFY_NAME]) {
    (void)snprintf(out, NOTIFY_NAME, LISTENERS "%s.%s", kind, identity);
    for (char *p = out; *p; p++)
        if (*p == ':') *p = '-';
}

/* --- what was kept -------------------------------------------------------------------------- */

void store_open(struct store *s, struct notify_kept *kept, size_t n) {
    *s = (struct store){.kept = kept, .n = n};
}

static bool is_taken(const struct store *s, const char *name) {
    for (size_t i = 0; i < s->n; i++)
        if (s->kept[i].fd < 0 && strcmp(s->kept[i].name, name) == 0) return true;
    return false;
}

void store_close(struct store *s) {
    for (size_t i = 0; i < s->n; i++) {
        struct notify_kept *k = &s->kept[i];
        if (k->fd < 0) continue;
        if (!is_taken(s, k->name)) {
            log_debug("what systemd kept as %s is of no use", k->name);
            notify_forget(k->name);
        }
        (void)close(k->fd);
    }
    free(s->kept);
    *s = (struct store){0};
}

/* --- images ---------------------------------------------------------------------------------- */

static bool read_record(const struct notify_kept *k, struct record *r) {
    char name[NOTIFY_NAME];
    struct stat st;
    if (k->fd < 0 || strncmp(k->name, IMAGES, strlen(IMAGES)) != 0) return false;
    if (fstat(k->fd, &st) || !S_ISREG(st.st_mode) || st.st_size != (off_t)sizeof *r) return false;
    const int seals = fcntl(k->fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || pread(k->fd, r, sizeof *r, 0) != (ssize_t)sizeof *r)
        return false;
    if (r->magic != MAGIC || r->bytes != sizeof *r || !link_check(&r->offer, true)) return false;
    image_name(r->offer.model, r->offer.model_version, r->offer.sha256, name);
    return strcmp(name, k->name) == 0;
}

static struct notify_kept *find_other(const struct store *s, const struct notify_kept *record) {
    for (size_t i = 0; i < s->n; i++) {
        struct notify_kept *k = &s->kept[i];
        if (k != record && k->fd >= 0 && strcmp(k->name, record->name) == 0) return k;
    }
    return NULL;
}

/* After a crash between keeping an image and having its predecessor forgotten there are two. */
static bool is_newest(const struct store *s, const struct record *r) {
    struct record other;
    for (size_t i = 0; i < s->n; i++)
        if (read_record(&s->kept[i], &other) && strcmp(other.offer.model, r->offer.model) == 0 &&
            other.since_ns > r->since_ns)
            return false;
    return true;
}

static int take(struct notify_kept *k) {
    const int fd = k->fd;
    k->fd = -1;
    return fd;
}

static void drop_older(struct store *s, const char *model) {
    struct record other;
    for (size_t i = 0; i < s->n; i++) {
        struct notify_kept *k = &s->kept[i], *rest;
        if (!read_record(k, &other) || strcmp(other.offer.model, model) != 0) continue;
        notify_forget(k->name);
        while ((rest = find_other(s, k))) (void)close(take(rest));
        (void)close(take(k));
    }
}

bool store_next_image(struct store *s, struct link_message *offer, int *fd) {
    struct record r;
    for (size_t i = 0; i < s->n; i++) {
        struct notify_kept *record = &s->kept[i], *image;
        if (!read_record(record, &r) || !is_newest(s, &r) || !(image = find_other(s, record))) continue;
        *offer = r.offer;
        *fd = take(image);
        (void)close(take(record));
        drop_older(s, r.offer.model);
        return true;
    }
    return false;
}

static int make_record(const struct link_message *offer) {
    struct record r = {.magic = MAGIC, .bytes = sizeof r, .since_ns = now_ns(), .offer = *offer};
    r.offer.version = LINK_VERSION;
    r.offer.type = LINK_OFFER;
    r.offer.inherited = 1; /* for whoever reads it */
    const int fd = memfd_create("clpd-offer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    if (write(fd, &r, sizeof r) == (ssize_t)sizeof r && fcntl(fd, F_ADD_SEALS, SEALS) == 0) return fd;
    (void)close(fd);
    return -1;
}

void store_keep_image(const struct link_message *offer, int fd) {
    char name[NOTIFY_NAME];
    if (!notify_is_heard()) return;
    image_name(offer->model, offer->model_version, offer->sha256, name);
    const int fds[2] = {fd, make_record(offer)};
    if (fds[1] < 0) {
        log_warning("model %s: it can't be kept for the next start: %s", offer->model, strerror(errno));
        return;
    }
    notify_keep(name, fds, 2);
    (void)close(fds[1]);
}

void store_forget_image(const char *model, uint64_t version, const uint8_t sha256[32]) {
    char name[NOTIFY_NAME];
    image_name(model, version, sha256, name);
    notify_forget(name);
}

/* --- listening sockets ------------------------------------------------------------------------- */

int store_take_listener(struct store *s, const char *kind, const char *identity) {
    char name[NOTIFY_NAME];
    int listens = 0;
    socklen_t n = sizeof listens;
    listener_name(kind, identity, name);
    for (size_t i = 0; i < s->n; i++) {
        struct notify_kept *k = &s->kept[i];
        if (k->fd < 0 || strcmp(k->name, name) != 0) continue;
        if (getsockopt(k->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) || !listens) continue;
        return take(k);
    }
    return -1;
}

void store_keep_listener(const char *kind, const char *identity, int fd) {
    char name[NOTIFY_NAME];
    if (!notify_is_heard()) return;
    listener_name(kind, identity, name);
    notify_keep(name, &fd, 1);
}

int store_listen(struct store *s, const char *kind, struct socket_file *f, const char *path, uint32_t mode,
                 const char *group, struct err *e) {
    char identity[SOCKET_FILE_IDENTITY];
    int fd = -1;
    if (socket_file_identify(f, path, identity)) fd = store_take_listener(s, kind, identity);
    if (fd >= 0) {
        if (socket_file_adopt(f, mode, group, e) == 0) {
            log_info("%s goes on listening: systemd has kept it", path);
            return fd;
        }
        (void)close(fd);
        return -1;
    }
    fd = socket_file_make(f, path, mode, group, e);
    if (fd < 0 || !notify_is_heard() || !socket_file_identify(f, path, identity)) return fd;
    store_keep_listener(kind, identity, fd);
    f->kept = true;
    return fd;
}
