/* inotify and scanning of the model folder. See watch.h. */
#include "guard/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_HINTS   256 /* of one round; what is beyond them has to be quiet for a while instead */
#define MAX_FOLDERS 1024
#define HINT_PATH   (2 * LINK_PATH)
/* IN_MODIFY is missed on purpose: a copy of a gigabyte would send a million. */
#define FOLDER_EVENTS                                                                                        \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF |     \
     IN_MOVE_SELF)
#define PARENT_EVENTS                                                                                        \
    (IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

struct hint { /* something was said about this name since the last scan */
    char path[HINT_PATH];
    uint64_t inode; /* of a file that was made without a name (O_TMPFILE) and has now been closed; else 0 */
    bool written;   /* by a writer who has closed it; else it was moved here */
};

struct folder {
    char path[LINK_PATH]; /* relative; "": the model folder itself */
    int wd;
    bool seen;
};

struct watch {
    char root[PATH_MAX], parent[PATH_MAX];
    const char *base; /* of root */
    int inotify, parent_wd;
    struct folder *folders;
    size_t n_folders;
    struct hint hints[MAX_HINTS];
    size_t n_hints;
    bool all_complete; /* a "..data" was swapped: all of it changed at once */
    bool had_models;
    dev_t device; /* where they were */
    watch_pulse_fn pulse;
    void *pulse_arg;
    char backend[160];
    bool limited;
};

/* What one scan carries about. */
struct scan {
    struct watch *w;
    struct files *f;
    uint64_t salt, now;
    int64_t clock_ns; /* CLOCK_REALTIME */
    size_t found;
};

static void limit(struct watch *w, const char *what, const char *why) {
    if (!w->limited) (void)snprintf(w->backend, sizeof w->backend, "polling: %s: %s", what, why);
    w->limited = true;
}

/* Limits pass: each scan tries again. */
static void start_inotify(struct watch *w) {
    if (w->inotify < 0) w->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    w->limited = false;
    if (w->inotify >= 0)
        (void)snprintf(w->backend, sizeof w->backend, "inotify");
    else
        limit(w, "inotify",
              errno == EMFILE ? "fs.inotify.max_user_instances is used up; raise it" : strerror(errno));
}

struct watch *watch_new(const char *folder) {
    struct watch *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    (void)snprintf(w->root, sizeof w->root, "%s", folder);
    for (size_t n = strlen(w->root); n > 1 && w->root[n - 1] == '/'; n--) w->root[n - 1] = 0;
    char *slash = strrchr(w->root, '/');
    w->base = slash ? slash + 1 : w->root;
    if (slash)
        (void)snprintf(w->parent, sizeof w->parent, "%.*s", slash == w->root ? 1 : (int)(slash - w->root),
                       w->root);
    else
        strcpy(w->parent, ".");
    w->parent_wd = -1;
    w->inotify = -1;
    start_inotify(w);
    return w;
}

void watch_free(struct watch *w) {
    if (!w) return;
    if (w->inotify >= 0) (void)close(w->inotify);
    free(w->folders);
    free(w);
}

void watch_set_pulse(struct watch *w, watch_pulse_fn fn, void *arg) {
    w->pulse = fn;
    w->pulse_arg = arg;
}

int watch_fd(const struct watch *w) {
    return w->inotify;
}
const char *watch_backend(const struct watch *w) {
    return w->backend;
}
bool watch_is_limited(const struct watch *w) {
    return w->limited;
}

/* --- events ------------------------------------------------------------------------------ */

static void add_hint(struct watch *w, const char *folder, const char *name, bool written) {
    if (strncmp(name, "..", 2) == 0)
        w->all_complete = true; /* Kubernetes: the files are links through ..data */
    if (w->n_hints == MAX_HINTS) return;
    struct hint *h = &w->hints[w->n_hints];
    h->inode = written && name[0] == '#' ? strtoull(name + 1, NULL, 10) : 0; /* so the kernel calls it */
    int n = snprintf(h->path, sizeof h->path, "%s%s%s", folder, *folder ? "/" : "", name);
    h->written = written;
    if (n < (int)sizeof h->path) w->n_hints++;
}

static bool take_folder_event(struct watch *w, const struct inotify_event *ev) {
    const char *name = ev->len ? ev->name : "";
    bool relevant = false;
    for (size_t i = 0; i < w->n_folders; i++) {
        if (w->folders[i].wd != ev->wd) continue;
        if (ev->mask & IN_IGNORED) w->folders[i].wd = -1;
        /* Files that somebody is still at work on come under names that are none of ours. */
        if (*name && model_file_is_ignored(name) && strncmp(name, "..", 2) != 0) continue;
        if (*name && ev->mask & (IN_CLOSE_WRITE | IN_MOVED_TO))
            add_hint(w, w->folders[i].path, name, ev->mask & IN_CLOSE_WRITE);
        relevant = true;
    }
    return relevant;
}

static bool take_event(struct watch *w, const struct inotify_event *ev) {
    if (ev->mask & IN_Q_OVERFLOW) return true; /* what got lost, the scan finds */
    bool relevant = take_folder_event(w, ev);
    if (ev->wd != w->parent_wd) return relevant;
    if (ev->mask & IN_IGNORED) w->parent_wd = -1;
    return relevant || !ev->len || strcmp(ev->name, w->base) == 0;
}

bool watch_read(struct watch *w) {
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool relevant = false;
    for (int round = 0; round < 64 && w->inotify >= 0; round++) { /* then the loop gets its turn */
        ssize_t n = read(w->inotify, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* EAGAIN */
        for (char *p = buffer; p < buffer + n;) {
            const struct inotify_event *ev = (const struct inotify_event *)(void *)p;
            relevant |= take_event(w, ev);
            p += sizeof *ev + ev->len;
        }
    }
    return relevant;
}

/* --- arming ------------------------------------------------------------------------------ */

/* The descriptor names the folder that will be read, whatever its path means by now. */
static void arm_folder(struct watch *w, const char *path, int fd) {
    char magic[64];
    struct folder *x = NULL;
    if (w->inotify < 0) return;
    for (size_t i = 0; i < w->n_folders && !x; i++)
        if (strcmp(w->folders[i].path, path) == 0) x = &w->folders[i];
    if (!x) {
        struct folder *bigger =
            w->n_folders < MAX_FOLDERS ? realloc(w->folders, (w->n_folders + 1) * sizeof *bigger) : NULL;
        if (!bigger) {
            limit(w, "inotify", "there are too many folders in it to watch each");
            return;
        }
        w->folders = bigger;
        x = &bigger[w->n_folders++];
        *x = (struct folder){.wd = -1};
        (void)snprintf(x->path, sizeof x->path, "%s", path);
    }
    (void)snprintf(magic, sizeof magic, "/proc/self/fd/%d", fd);
    int wd = inotify_add_watch(w->inotify, magic, FOLDER_EVENTS | IN_MASK_ADD);
    if (wd < 0)
        limit(w, "inotify",
              errno == ENOSPC ? "fs.inotify.max_user_watches is used up; raise it" : strerror(errno));
    if (x->wd >= 0 && x->wd != wd)
        (void)inotify_rm_watch(w->inotify, x->wd); /* another folder of that name */
    x->wd = wd;
    x->seen = true;
}

static void arm_parent(struct watch *w) {
    if (w->inotify < 0) return;
    int wd = inotify_add_watch(w->inotify, w->parent, PARENT_EVENTS | IN_ONLYDIR | IN_MASK_ADD);
    if (w->parent_wd >= 0 && w->parent_wd != wd) (void)inotify_rm_watch(w->inotify, w->parent_wd);
    w->parent_wd = wd; /* -1: it isn't there either; the caller scans again in a while */
}

static void disarm_unseen(struct watch *w) {
    size_t kept = 0;
    for (size_t i = 0; i < w->n_folders; i++) {
        if (w->folders[i].seen)
            w->folders[kept++] = w->folders[i];
        else if (w->folders[i].wd >= 0)
            (void)inotify_rm_watch(w->inotify, w->folders[i].wd);
    }
    w->n_folders = kept;
}

/* --- scanning ---------------------------------------------------------------------------- */

/* What is not printable ASCII as \xNN: the name goes to logs, terminals and JSON. */
static void clean_name(const char *from, char to[LINK_PATH]) {
    size_t used = 0;
    for (; *from; from++) {
        unsigned char c = (unsigned char)*from;
        bool printable = c >= 0x20 && c < 0x7f;
        if (used + (printable ? 1 : 4) >= LINK_PATH) break;
        if (printable)
            to[used++] = (char)c;
        else
            used += (size_t)snprintf(to + used, LINK_PATH - used, "\\x%02x", c);
    }
    to[used] = 0;
}

static void apply_hint(const struct watch *w, const char *path, bool file, struct file_entry *e) {
    for (size_t i = 0; i < w->n_hints; i++) {
        const bool unnamed = w->hints[i].inode && w->hints[i].inode == e->identity.inode;
        if (!unnamed && strcmp(w->hints[i].path, path) != 0) continue;
        e->complete = true;
        if (file && w->hints[i].written) e->written = true;
    }
}

/* Hints about the file, what lies beside it, and the folders on the way to it. */
static void apply_hints(const struct watch *w, const char *folder, const char *name, const char *external,
                        struct file_entry *e) {
    char path[HINT_PATH], sidecar[MODEL_FILE_NAME], canary[MODEL_FILE_NAME];
    const char *slash = *folder ? "/" : "";
    e->complete = w->all_complete;
    if (w->n_hints == 0) return;
    model_file_sidecar_name(name, sidecar);
    model_file_canary_name(name, canary);
    (void)snprintf(path, sizeof path, "%s%s%s", folder, slash, name), apply_hint(w, path, true, e);
    (void)snprintf(path, sizeof path, "%s%s%s", folder, slash, sidecar), apply_hint(w, path, true, e);
    (void)snprintf(path, sizeof path, "%s%s%s.sig", folder, slash, name), apply_hint(w, path, true, e);
    (void)snprintf(path, sizeof path, "%s%s%s", folder, slash, canary), apply_hint(w, path, true, e);
    if (external)
        (void)snprintf(path, sizeof path, "%s%s%s", folder, slash, external);
    else
        (void)snprintf(path, sizeof path, "%s%s%s.data", folder, slash, name);
    apply_hint(w, path, true, e);
    (void)snprintf(path, sizeof path, "%s", folder);
    for (char *end = path + strlen(path); end; *end = 0) {
        if (*path) apply_hint(w, path, false, e);
        end = strrchr(path, '/');
        if (!end) break;
    }
}

static void see_file(struct scan *s, int dirfd, const char *folder, const char *name, const char *model,
                     uint64_t number) {
    struct model_stat st;
    char raw[HINT_PATH], path[LINK_PATH], bad[LINK_REASON];
    if (s->found >= FILES_MAX) return;
    (void)snprintf(raw, sizeof raw, "%s%s%s", folder, *folder ? "/" : "", name);
    clean_name(raw, path);
    const char *external = files_external(s->f, path);
    if (s->w->pulse) s->w->pulse(s->w->pulse_arg);
    model_file_stat(dirfd, name, external, s->salt, &st);
    if (!st.exists) return;
    s->found++;
    int64_t age = (s->clock_ns - st.newest_mtime_ns) / 1000000;
    struct file_entry e = {.path = path,
                           .model = model,
                           .number = number,
                           .identity = st.identity,
                           .age_ms = age > 0 ? (uint64_t)age : 0,
                           .closed_ns = st.closed_ns,
                           .trouble = st.trouble[0] ? st.trouble : NULL,
                           .passing = st.passing};
    if (!model_file_name_is_valid(model)) {
        (void)snprintf(bad, sizeof bad,
                       "a model's name is 1 to %d letters, digits, '.', '_' or '-', and starts with none "
                       "of the dots: rename the file",
                       LINK_MODEL - 1);
        e.model = "";
        e.trouble = bad;
        e.passing = false;
    }
    apply_hints(s->w, folder, name, external, &e);
    files_scan_entry(s->f, &e, s->now);
}

typedef void (*name_fn)(struct scan *s, int dirfd, const char *folder, const struct dirent *d);

/* Arms and reads one folder; takes `fd`. 0 or -errno. */
static int read_folder(struct scan *s, int fd, const char *folder, name_fn each) {
    arm_folder(s->w, folder, fd);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    const struct dirent *d;
    while (errno = 0, (d = readdir(dir)) != NULL)
        if (!model_file_is_ignored(d->d_name)) each(s, dirfd(dir), folder, d);
    int rc = -errno;
    (void)closedir(dir);
    return rc;
}

static int open_below(int dirfd, const struct dirent *d) {
    if (d->d_type != DT_DIR && d->d_type != DT_LNK && d->d_type != DT_UNKNOWN) return -1;
    return openat(dirfd, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
}

/* "17", without a leading zero, as in other servers' model repositories. */
static uint64_t version_of(const char *name) {
    size_t n = strspn(name, "0123456789");
    if (name[n] || n == 0 || n > 18 || name[0] == '0') return 0;
    return strtoull(name, NULL, 10);
}

static void see_version(struct scan *s, int dirfd, const char *folder, const struct dirent *d) {
    char path[LINK_PATH + 32];
    uint64_t number = version_of(d->d_name);
    int fd = number ? open_below(dirfd, d) : -1;
    if (fd < 0) return;
    (void)snprintf(path, sizeof path, "%s/%s", folder, d->d_name);
    if (strlen(path) < LINK_PATH) {
        arm_folder(s->w, path, fd);
        see_file(s, fd, path, "model.onnx", folder, number);
    }
    (void)close(fd);
}

static void see_name(struct scan *s, int dirfd, const char *folder, const struct dirent *d) {
    char model[LINK_PATH];
    if (model_file_stem(d->d_name, model, sizeof model)) {
        see_file(s, dirfd, folder, d->d_name, model, 0);
        return;
    }
    int fd = open_below(dirfd, d);
    if (fd >= 0)
        (void)read_folder(s, fd, d->d_name,
                          see_version); /* a folder that goes away is found gone next time */
}

static int fail(struct scan *s, struct err *e, const char *what, int error) {
    (void)err_set(e, ERR_SYSTEM, "the model folder %s %s%s%s", s->w->root, what, error ? ": " : "",
                  error ? strerror(error) : "");
    files_scan_failed(s->f, e->text, s->now);
    return -1;
}

static int scan_root(struct scan *s, struct err *e) {
    struct watch *w = s->w;
    struct stat st;
    arm_parent(w);
    int fd = open(w->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return fail(s, e, "is missing", 0);
    if (fd < 0) return fail(s, e, "can't be read", errno);
    if (fstat(fd, &st) < 0) st.st_dev = 0;
    files_scan_begin(s->f);
    int rc = read_folder(s, fd, "", see_name);
    if (rc < 0) return fail(s, e, "can't be read", -rc);
    if (s->found == 0 && w->had_models && st.st_dev != w->device)
        return fail(s, e, "is empty and on another file system (not mounted?)", 0);
    w->had_models = s->found > 0;
    if (w->had_models) w->device = st.st_dev;
    files_scan_end(s->f, s->now);
    return 0;
}

int watch_scan(struct watch *w, struct files *f, uint64_t salt, uint64_t now, struct err *e) {
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    struct scan s = {
        .w = w, .f = f, .salt = salt, .now = now, .clock_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec};
    start_inotify(w);
    for (size_t i = 0; i < w->n_folders; i++) w->folders[i].seen = false;
    int rc = scan_root(&s, e);
    if (rc == 0 && s.found >= FILES_MAX) {
        (void)snprintf(w->backend, sizeof w->backend, "more than %d models: the rest is not looked at",
                       FILES_MAX);
        w->limited = true;
    }
    disarm_unseen(w);
    w->n_hints = 0;
    w->all_complete = false;
    return rc;
}

int watch_open_folder(const struct watch *w, const char *path, const char **name) {
    char folder[PATH_MAX + LINK_PATH];
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    (void)snprintf(folder, sizeof folder, "%s/%.*s", w->root, slash ? (int)(slash - path) : 0, path);
    return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
