/* Names, identities and safe opening of a model and what lies beside it. */
#include "guard/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUFFIX ".onnx"

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

bool model_file_is_ignored(const char *name) {
    return name[0] == '.' || ends_with(name, "~") || ends_with(name, ".tmp") || ends_with(name, ".part");
}

bool model_file_stem(const char *name, char *stem, size_t cap) {
    if (!ends_with(name, SUFFIX)) return false;
    (void)snprintf(stem, cap, "%.*s", (int)(strlen(name) - strlen(SUFFIX)), name);
    return true;
}

bool model_file_name_is_valid(const char *model) {
    size_t n = strspn(model, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n > 0 && n < LINK_MODEL && model[n] == 0 && model[0] != '.';
}

void model_file_canary_name(const char *name, char out[MODEL_FILE_NAME]) {
    size_t n = strlen(name);
    if (ends_with(name, SUFFIX)) n -= strlen(SUFFIX);
    if (snprintf(out, MODEL_FILE_NAME, "%.*s.canary.npy", (int)n, name) >= MODEL_FILE_NAME)
        out[0] = 0; /* no file has that name */
}

void model_file_sidecar_name(const char *name, char out[MODEL_FILE_NAME]) {
    size_t n = strlen(name);
    if (ends_with(name, SUFFIX)) n -= strlen(SUFFIX); /* clpctl takes files of any name */
    (void)snprintf(out, MODEL_FILE_NAME, "%.*s.yaml", (int)n, name);
}

bool model_file_same(const struct link_identity *a, const struct link_identity *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

static int64_t nanoseconds(struct timespec t) {
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* FNV-1a over words: not against attackers (who may change the file itself), only against chance. */
static uint64_t mix(uint64_t h, uint64_t word) {
    for (int i = 0; i < 8; i++, word >>= 8) h = (h ^ (word & 255)) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t mix_companion(uint64_t h, const struct stat *st) {
    h = mix(mix(mix(h, st->st_dev), st->st_ino), (uint64_t)st->st_size);
    return mix(mix(h, (uint64_t)nanoseconds(st->st_mtim)), (uint64_t)nanoseconds(st->st_ctim));
}

static void note_times(struct model_stat *out, const struct stat *st) {
    int64_t m = nanoseconds(st->st_mtim), c = nanoseconds(st->st_ctim), last = m > c ? m : c;
    if (m > out->newest_mtime_ns) out->newest_mtime_ns = m;
    if (last > 0 && (uint64_t)last > out->closed_ns) out->closed_ns = (uint64_t)last;
}

/* NULL members: that companion isn't there. */
static void identify(const struct stat *model, const struct stat *sidecar, const struct stat *external,
                     const struct stat *canary, const struct stat *signature, uint64_t salt,
                     struct model_stat *out) {
    uint64_t h = mix(UINT64_C(0xcbf29ce484222325), salt);
    const struct stat *const all[] = {model, sidecar, external, canary, signature};
    for (int i = 0; i < 5; i++) {
        h = mix(h, all[i] != NULL);
        if (i > 0 && all[i]) h = mix_companion(h, all[i]);
        if (all[i]) note_times(out, all[i]);
    }
    out->identity = (struct link_identity){.device = model->st_dev,
                                           .inode = model->st_ino,
                                           .size = (uint64_t)model->st_size,
                                           .mtime_ns = nanoseconds(model->st_mtim),
                                           .ctime_ns = (int64_t)((uint64_t)nanoseconds(model->st_ctim) ^ h)};
}

/* Whether it is any good is policy's to say; that it came or changed is a reason to look again. */
static const struct stat *stat_signature(int dirfd, const char *name, struct stat *st) {
    char signature[MODEL_FILE_NAME];
    if (snprintf(signature, sizeof signature, "%s.sig", name) >= MODEL_FILE_NAME) return NULL;
    return fstatat(dirfd, signature, st, AT_SYMLINK_NOFOLLOW) == 0 ? st : NULL;
}

static void set_trouble(struct model_stat *out, bool passing, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void set_trouble(struct model_stat *out, bool passing, const char *fmt, ...) {
    struct err clean;
    va_list ap;
    char text[ERR_TEXT];
    if (out->trouble[0]) return; /* the first is enough */
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)err_set(&clean, ERR_VALUE, "%s", text);
    memcpy(out->trouble, clean.text, sizeof out->trouble);
    out->passing = passing;
}

static const char *kind_of(mode_t mode) {
    return S_ISDIR(mode)                    ? "a directory"
           : S_ISFIFO(mode)                 ? "a pipe"
           : S_ISSOCK(mode)                 ? "a socket"
           : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
           : S_ISLNK(mode)                  ? "a symbolic link"
                                            : "something else";
}

static void judge_model(const char *name, const struct stat *st, struct model_stat *out) {
    if (!S_ISREG(st->st_mode))
        set_trouble(out, false, "%s is %s; a model is a regular file", name, kind_of(st->st_mode));
    else if (st->st_size == 0)
        set_trouble(out, true, "the file is empty: waiting for its contents");
}

static void judge_sidecar(const char *name, const struct stat *st, struct model_stat *out) {
    if (!S_ISREG(st->st_mode))
        set_trouble(out, false, "%s is %s; it has to be a regular file", name, kind_of(st->st_mode));
}

/* The data file is the one whose name comes out of a hostile file: through a link
 * of either kind it could be any file that the guard can read. */
static bool judge_external(const char *name, const struct stat *st, bool wanted, struct model_stat *out) {
    if (S_ISREG(st->st_mode) && st->st_nlink == 1) return true;
    if (wanted)
        set_trouble(out, false, "%s is %s; the data of a model has to be a plain file of its own beside it",
                    name, S_ISREG(st->st_mode) ? "a hard link" : kind_of(st->st_mode));
    return false;
}

/* As with the data file: through a link of either kind it could be any file that the guard can read. */
static bool judge_canary(const char *name, const struct stat *st, struct model_stat *out) {
    if (S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_size > 0) return true;
    if (S_ISREG(st->st_mode) && st->st_size == 0)
        set_trouble(out, true, "%s is empty: waiting for its contents", name);
    else
        set_trouble(out, false, "%s is %s; samples have to be a plain file of their own beside the model",
                    name, S_ISREG(st->st_mode) ? "a hard link" : kind_of(st->st_mode));
    return false;
}

/* NULL: there is none. */
static const struct stat *stat_canary(int dirfd, const char *name, struct stat *st, struct model_stat *out) {
    char canary[MODEL_FILE_NAME];
    model_file_canary_name(name, canary);
    if (!canary[0] || fstatat(dirfd, canary, st, AT_SYMLINK_NOFOLLOW) < 0) return NULL;
    (void)judge_canary(canary, st, out);
    return st;
}

static const char *external_or_guess(const char *name, const char *external, char guess[MODEL_FILE_NAME]) {
    if (external && external[0]) return external;
    if (snprintf(guess, MODEL_FILE_NAME, "%s.data", name) >= MODEL_FILE_NAME)
        guess[0] = 0; /* no file has that name */
    return guess;
}

void model_file_stat(int dirfd, const char *name, const char *external, uint64_t salt,
                     struct model_stat *out) {
    struct stat model, link, sidecar, data, canary, signature;
    char sidecar_name[MODEL_FILE_NAME], guess[MODEL_FILE_NAME];
    *out = (struct model_stat){0};
    if (fstatat(dirfd, name, &link, AT_SYMLINK_NOFOLLOW) < 0) return;
    out->exists = true;
    if (fstatat(dirfd, name, &model, 0) < 0) {
        bool dangling = errno == ENOENT;
        set_trouble(out, dangling,
                    dangling ? "%s is a symbolic link to something that is not there: waiting for it"
                             : "%s: %s",
                    name, strerror(errno));
        identify(&link, NULL, NULL, NULL, NULL, salt, out);
        return;
    }
    judge_model(name, &model, out);
    model_file_sidecar_name(name, sidecar_name);
    bool has_sidecar = fstatat(dirfd, sidecar_name, &sidecar, 0) == 0;
    if (has_sidecar) judge_sidecar(sidecar_name, &sidecar, out);
    const char *data_name = external_or_guess(name, external, guess);
    bool has_data = fstatat(dirfd, data_name, &data, AT_SYMLINK_NOFOLLOW) == 0;
    /* Even one that may not be used counts as a change when it goes or comes. */
    if (has_data) (void)judge_external(data_name, &data, external && external[0], out);
    const struct stat *samples = stat_canary(dirfd, name, &canary, out);
    identify(&model, has_sidecar ? &sidecar : NULL, has_data ? &data : NULL, samples,
             stat_signature(dirfd, name, &signature), salt, out);
}

/* --- opening --------------------------------------------------------------------------- */

/* -1 with `e` set, or the descriptor. The look beforehand keeps devices from
 * being opened at all, since that alone can have effects; the one after it
 * is on what was really opened. */
static int open_regular(int dirfd, const char *name, int flags, struct stat *st, struct err *e) {
    if (fstatat(dirfd, name, st, flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) < 0) goto err;
    if (!S_ISREG(st->st_mode))
        return err_set(e, ERR_UNSUPPORTED, "%s is %s, not a regular file", name, kind_of(st->st_mode));
    int fd = openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | flags);
    if (fd < 0) goto err;
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode)) return fd;
    (void)close(fd);
    return err_set(e, ERR_SYSTEM, "%s was replaced while it was opened", name);
err:
    return err_set(e, errno == ENOENT ? ERR_TRUNCATED : ERR_SYSTEM, "%s: %s%s", name, strerror(errno),
                   errno == EACCES ? "; make it readable for the user that clpd runs as" : "");
}

void model_file_close(struct model_files *f) {
    const int fds[] = {f->model_fd, f->sidecar_fd, f->external_fd, f->canary_fd};
    for (int i = 0; i < 4; i++)
        if (fds[i] >= 0) (void)close(fds[i]);
    *f = MODEL_FILES_NONE;
}

/* A companion that isn't there is fine; one that can't be opened is not. */
static int open_companion(int dirfd, const char *name, int flags, struct stat *st, int *fd, struct err *e) {
    struct stat found;
    if (fstatat(dirfd, name, &found, flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) < 0 && errno == ENOENT)
        return 0;
    *fd = open_regular(dirfd, name, flags, st, e);
    return *fd < 0 ? -1 : 0;
}

static int open_external(int dirfd, const char *name, bool wanted, struct model_files *out, struct stat *st,
                         struct err *e) {
    struct stat found;
    if (fstatat(dirfd, name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        !judge_external(name, &found, wanted, &out->stat))
        return out->stat.trouble[0] ? err_set(e, ERR_UNSUPPORTED, "%s", out->stat.trouble) : 0;
    if (open_companion(dirfd, name, O_NOFOLLOW, st, &out->external_fd, e) < 0) return -1;
    if (out->external_fd < 0) return 0;
    if (!judge_external(name, st, true, &out->stat))
        return err_set(e, ERR_UNSUPPORTED, "%s", out->stat.trouble);
    (void)snprintf(out->external_name, sizeof out->external_name, "%s", name);
    return 0;
}

static int open_canary(int dirfd, const char *name, struct model_files *out, struct stat *st, struct err *e) {
    char canary[MODEL_FILE_NAME];
    model_file_canary_name(name, canary);
    if (!canary[0] || fstatat(dirfd, canary, st, AT_SYMLINK_NOFOLLOW) < 0) return 0;
    if (judge_canary(canary, st, &out->stat) &&
        open_companion(dirfd, canary, O_NOFOLLOW, st, &out->canary_fd, e) < 0)
        return -1;
    if (out->canary_fd < 0 || !judge_canary(canary, st, &out->stat))
        return err_set(e, ERR_UNSUPPORTED, "%s",
                       out->stat.trouble[0] ? out->stat.trouble : "the samples went away: trying again");
    return 0;
}

/* A sidecar may be a link, as the model may (Kubernetes makes both so). Through a link out of the folder, or
 * a hard link, whoever can write to the folder would read other files in the messages about them. */
static bool leads_elsewhere(int dirfd, const char *name, const struct stat *opened) {
    const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    struct stat st;
    const int fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
    const bool same =
        fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == opened->st_dev && st.st_ino == opened->st_ino;
    if (fd >= 0) (void)close(fd);
    return !same || opened->st_nlink > 1;
}

int model_file_open(int dirfd, const char *name, const char *external, uint64_t salt, struct model_files *out,
                    struct err *e) {
    struct stat model, sidecar, data, canary, signature, *has_data = NULL;
    char sidecar_name[MODEL_FILE_NAME], guess[MODEL_FILE_NAME];
    *out = MODEL_FILES_NONE;
    out->model_fd = open_regular(dirfd, name, 0, &model, e);
    if (out->model_fd < 0) return -1;
    model_file_sidecar_name(name, sidecar_name);
    const char *data_name = external_or_guess(name, external, guess);
    if (open_companion(dirfd, sidecar_name, 0, &sidecar, &out->sidecar_fd, e) < 0 ||
        open_external(dirfd, data_name, external && external[0], out, &data, e) < 0 ||
        open_canary(dirfd, name, out, &canary, e) < 0) {
        model_file_close(out);
        return -1;
    }
    out->sidecar_elsewhere = out->sidecar_fd >= 0 && leads_elsewhere(dirfd, sidecar_name, &sidecar);
    /* As model_file_stat does it: a data file that was left aside is part of the identity, too. */
    if (out->external_fd >= 0 || fstatat(dirfd, data_name, &data, AT_SYMLINK_NOFOLLOW) == 0) has_data = &data;
    out->stat.exists = true;
    identify(&model, out->sidecar_fd >= 0 ? &sidecar : NULL, has_data, out->canary_fd >= 0 ? &canary : NULL,
             stat_signature(dirfd, name, &signature), salt, &out->stat);
    return 0;
}
