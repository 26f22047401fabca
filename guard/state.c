/* Files of the state folder, by openat below one descriptor: nothing here follows
 * a link, and a name is made from a model's checked name and a number. */
#include "guard/state.h"

#include "guard/model_file.h"
#include "infer/digest.h"
#include "infer/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define NAME  128 /* NAME@18446744073709551615.image */
#define INDEX "@index"
#define IMAGE ".image"
#define PROBE ".probe"
#define TEMP  ".new" /* behind the name of what it is to become; never the end of a name that is kept */

/* --- names --------------------------------------------------------------------------------- */

static void index_name(char out[NAME], const char *model) {
    (void)snprintf(out, NAME, "%s" INDEX, model);
}

static void image_name(char out[NAME], const char *model, uint64_t version) {
    (void)snprintf(out, NAME, "%s@%llu" IMAGE, model, (unsigned long long)version);
}

/* By contents, not by version: a file that is imported again finds its own. */
static void probe_name(char out[NAME], const char *model, const struct spawn_digests *d) {
    uint8_t hash[DIGEST_BYTES];
    char text[2 * DIGEST_BYTES + 1];
    digest_sha256((const uint8_t *)d, sizeof *d, hash);
    (void)snprintf(out, NAME, "%s@%.16s" PROBE, model, digest_text(hash, text));
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

/* Whether a name is one of ours, so that somebody else's file is never removed. */
static bool is_ours(const char *name, char model[LINK_MODEL]) {
    size_t n = strcspn(name, "@");
    if (n >= LINK_MODEL || name[n] != '@') return false;
    memcpy(model, name, n);
    model[n] = 0;
    return model_file_name_is_valid(model) && (ends_with(name, INDEX) || ends_with(name, IMAGE) ||
                                               ends_with(name, PROBE) || ends_with(name, TEMP));
}

static bool is_named(const struct state_record *r, const char *name) {
    char image[NAME], probe[NAME];
    const struct state_image *const images[] = {&r->current, &r->other};
    for (int i = 0; i < 2; i++) {
        image_name(image, r->model, images[i]->version);
        probe_name(probe, r->model, &images[i]->digests);
        if (images[i]->version && (strcmp(image, name) == 0 || strcmp(probe, name) == 0)) return true;
    }
    return false;
}

/* --- writing ------------------------------------------------------------------------------- */

static int write_all(int fd, const void *bytes, size_t n) {
    for (const char *p = bytes; n > 0;) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -errno;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

/* From the start of `from`, `n` bytes; -EIO where it has fewer. */
static int copy_all(int to, int from, uint64_t n) {
    for (off_t at = 0; (uint64_t)at < n;) {
        ssize_t done =
            sendfile(to, from, &at, n - (uint64_t)at > (1u << 30) ? 1u << 30 : (size_t)(n - (uint64_t)at));
        if (done < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (done < 0) return -errno;
        if (done == 0) return -EIO;
    }
    return 0;
}

/* Under its temporary name, then renamed; what was there stays until then. `from` -1: `bytes` is what is
 * written. */
static int replace(int folder, const char *name, const void *bytes, int from, uint64_t n, struct err *e) {
    char temp[NAME + 8];
    (void)snprintf(temp, sizeof temp, "%s" TEMP, name);
    (void)unlinkat(folder, temp, 0);
    int fd = openat(folder, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return err_set(e, ERR_SYSTEM, "%s: %s", temp, strerror(errno));
    int rc = from >= 0 ? copy_all(fd, from, n) : write_all(fd, bytes, n);
    if (rc == 0 && fsync(fd) < 0) rc = -errno;
    if (close(fd) < 0 && rc == 0) rc = -errno;
    if (rc == 0 && renameat(folder, temp, folder, name) < 0) rc = -errno;
    if (rc == 0) return 0;
    (void)unlinkat(folder, temp, 0);
    return err_set(e, ERR_SYSTEM, "%s: %s", name, strerror(-rc));
}

static void remove_unnamed(int folder, const struct state_record *r) {
    char model[LINK_MODEL];
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0) (void)close(fd);
    for (const struct dirent *d; dir && (d = readdir(dir));)
        if ((ends_with(d->d_name, IMAGE) || ends_with(d->d_name, PROBE)) && is_ours(d->d_name, model) &&
            strcmp(model, r->model) == 0 && !is_named(r, d->d_name))
            (void)unlinkat(folder, d->d_name, 0);
    if (dir) (void)closedir(dir);
}

int state_keep(int folder, const struct state_record *r, int fd, struct err *e) {
    char name[NAME];
    uint8_t record[STATE_RECORD_BYTES];
    image_name(name, r->model, r->current.version);
    if (fd >= 0 && replace(folder, name, NULL, fd, r->current.bytes, e) < 0) return -1;
    /* The image's name has to be on the disk before the record that speaks of it. */
    if (fd >= 0 && fsync(folder) < 0) return err_set(e, ERR_SYSTEM, "fsync: %s", strerror(errno));
    state_record_encode(r, record);
    char index[NAME];
    index_name(index, r->model);
    if (replace(folder, index, record, -1, sizeof record, e) < 0) {
        if (fd >= 0) (void)unlinkat(folder, name, 0);
        return -1;
    }
    if (fsync(folder) < 0) return err_set(e, ERR_SYSTEM, "fsync: %s", strerror(errno));
    remove_unnamed(folder, r);
    return 0;
}

/* --- reading ------------------------------------------------------------------------------- */

/* A plain file of our own, that nobody else can have put here under another name. */
static int open_own(int folder, const char *name, uint64_t *bytes, struct err *e) {
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return err_set(e, ERR_SYSTEM, "%s: %s", name, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_size >= 0 &&
        (st.st_uid == geteuid() || st.st_uid == 0)) {
        *bytes = (uint64_t)st.st_size;
        return fd;
    }
    (void)close(fd);
    return err_set(e, ERR_VALUE, "%s is not a plain file of the user that clpd runs as", name);
}

int state_open(const char *folder, struct err *e) {
    struct stat st;
    (void)mkdir(folder, 0700); /* what can't be made can't be opened either */
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_set(e, ERR_SYSTEM, "the state folder %s: %s", folder, strerror(errno));
    if (fstat(fd, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == 0) && !(st.st_mode & S_IWOTH))
        return fd;
    (void)close(fd);
    return err_set(
        e, ERR_VALUE,
        "the state folder %s belongs to somebody else, or anyone may write to it: what is kept there is "
        "served after a restart; chown it to clpd's user and take the others' right to write",
        folder);
}

static int read_record(int folder, const char *name, struct state_record *out, struct err *e) {
    uint8_t bytes[STATE_RECORD_BYTES + 1];
    char expected[NAME];
    uint64_t size;
    int fd = open_own(folder, name, &size, e);
    if (fd < 0) return -1;
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    int error = errno;
    (void)close(fd);
    if (n < 0) return err_set(e, ERR_SYSTEM, "reading it: %s", strerror(error));
    if (state_record_decode(bytes, (size_t)n, out, e) < 0) return -1;
    index_name(expected, out->model);
    return strcmp(expected, name) == 0 ? 0 : err_set(e, ERR_VALUE, "it is of the model %s", out->model);
}

static int by_model(const void *a, const void *b) {
    return strcmp(((const struct state_record *)a)->model, ((const struct state_record *)b)->model);
}

static const struct state_record *find(const struct state_record *list, size_t n, const char *model) {
    struct state_record key = {0};
    (void)snprintf(key.model, sizeof key.model, "%s", model);
    return n ? bsearch(&key, list, n, sizeof *list, by_model) : NULL;
}

struct names {
    char (*list)[NAME];
    size_t n;
};

static int list_ours(int folder, struct names *out, struct err *e) {
    char model[LINK_MODEL];
    *out = (struct names){0};
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        (void)err_set(e, ERR_SYSTEM, "the state folder can't be read: %s", strerror(errno));
        if (fd >= 0) (void)close(fd);
        return -1;
    }
    for (const struct dirent *d; out->n < 4 * STATE_MODELS && (d = readdir(dir));) {
        const size_t length = strlen(d->d_name);
        if (!is_ours(d->d_name, model) || length >= NAME) continue;
        void *bigger = realloc(out->list, (out->n + 1) * sizeof *out->list);
        if (!bigger) break;
        out->list = bigger;
        memcpy(out->list[out->n++], d->d_name, length + 1);
    }
    (void)closedir(dir);
    return 0;
}

int state_read_all(int folder, struct state_record **out, state_trouble_fn trouble, void *arg,
                   struct err *e) {
    struct names names;
    size_t n = 0;
    *out = NULL;
    if (list_ours(folder, &names, e) < 0) return -1;
    *out = calloc(names.n + 1, sizeof **out);
    if (!*out) {
        free(names.list);
        return err_set(e, ERR_SYSTEM, "out of memory for the state folder");
    }
    for (size_t i = 0; i < names.n; i++) {
        struct err why = {0};
        if (!ends_with(names.list[i], INDEX) || n == STATE_MODELS) continue;
        if (read_record(folder, names.list[i], &(*out)[n], &why) == 0) {
            n++;
            continue;
        }
        trouble(arg, names.list[i], why.text);
        (void)unlinkat(folder, names.list[i], 0);
    }
    qsort(*out, n, sizeof **out, by_model);
    for (size_t i = 0; i < names.n; i++) {
        char model[LINK_MODEL];
        (void)is_ours(names.list[i], model);
        const struct state_record *r = find(*out, n, model);
        if (ends_with(names.list[i], TEMP) ||
            (!ends_with(names.list[i], INDEX) && (!r || !is_named(r, names.list[i]))))
            (void)unlinkat(folder, names.list[i], 0);
    }
    free(names.list);
    return (int)n;
}

/* Who still has the file open could change it while it is looked at; the copy is ours alone. */
static int copy_sealed(int from, uint64_t bytes, struct err *e) {
    int fd = memfd_create("clpd-image", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) fd = memfd_create("clpd-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return err_set(e, ERR_SYSTEM, "memfd_create: %s", strerror(errno));
    int rc = copy_all(fd, from, bytes);
    if (rc == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0) rc = -errno;
    if (rc == 0) return fd;
    (void)close(fd);
    return err_set(e, ERR_SYSTEM, "copying it: %s", strerror(-rc));
}

/* What clpd can't know: whether this is the image that the record means. All else it checks itself, the
 * checksum over all bytes with it. */
static int check_header(int fd, const struct state_image *image, struct err *e) {
    struct image_header h;
    if (pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || memcmp(h.magic, IMAGE_MAGIC, sizeof h.magic) != 0)
        return err_set(e, ERR_FORMAT, "it is no image");
    if (h.version != IMAGE_VERSION)
        return err_set(e, ERR_UNSUPPORTED, "it is of another clpd (image version %u, here %u)", h.version,
                       IMAGE_VERSION);
    /* In either precision: with the other one it serves until its file has been compiled anew. */
    if (!image_isa_runs_here(h.isa) || h.isa != (uint32_t)image_host_isa_for(h.isa == ISA_AVX512_BF16))
        return err_set(e, ERR_UNSUPPORTED, "it was compiled for another CPU (for %s, here %s)",
                       image_isa_name(h.isa), image_isa_name(image_host_isa()));
    if (h.bytes != image->bytes ||
        memcmp(h.self_checksum, image->image_checksum, sizeof h.self_checksum) != 0 ||
        memcmp(h.source_sha256, image->digests.model, sizeof h.source_sha256) != 0)
        return err_set(e, ERR_VALUE, "it is not the image that was kept");
    return 0;
}

int state_load(int folder, const struct state_record *r, const struct state_image *image, struct err *e) {
    char name[NAME];
    uint64_t bytes;
    int sealed = -1;
    image_name(name, r->model, image->version);
    int fd = open_own(folder, name, &bytes, e);
    if (fd < 0) return -1;
    if (bytes != image->bytes)
        (void)err_set(e, ERR_FORMAT, "it has %llu bytes instead of %llu", (unsigned long long)bytes,
                      (unsigned long long)image->bytes);
    else
        sealed = copy_sealed(fd, bytes, e);
    (void)close(fd);
    if (sealed >= 0 && check_header(sealed, image, e) == 0) return sealed;
    if (sealed >= 0) (void)close(sealed);
    return -1;
}

/* --- probes ---------------------------------------------------------------------------------- */

int state_keep_probe(int folder, const char *model, const struct spawn_digests *d, const uint8_t *bytes,
                     size_t n, struct err *e) {
    char name[NAME];
    probe_name(name, model, d);
    if (replace(folder, name, bytes, -1, n, e) < 0) return -1;
    return fsync(folder) < 0 ? err_set(e, ERR_SYSTEM, "fsync: %s", strerror(errno)) : 0;
}

uint8_t *state_load_probe(int folder, const char *model, const struct spawn_digests *d, size_t most,
                          size_t *n, struct err *e) {
    char name[NAME];
    uint64_t size;
    probe_name(name, model, d);
    if (faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0) return NULL;
    const int fd = open_own(folder, name, &size, e);
    if (fd < 0) return NULL;
    uint8_t *bytes = size <= most ? malloc((size_t)size + 1) : NULL;
    const ssize_t got = bytes ? pread(fd, bytes, (size_t)size, 0) : -1;
    (void)close(fd);
    *n = (size_t)size;
    if (got == (ssize_t)size) return bytes;
    (void)err_set(e, ERR_FORMAT, "%s can't be read whole", name);
    free(bytes);
    return NULL;
}
