/* Records in memory, a queue of jobs, one thread that works it off in order.
 * Under the lock: the queue and the list of failures, nothing else. */
#include "guard/keeper.h"

#include "guard/priority.h"
#include "infer/image.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job {
    struct state_record record;
    int fd;         /* the image of record.current, ours; -1: only the record */
    uint8_t *probe; /* of a probe: that alone is written, for these contents of record.model */
    size_t probe_bytes;
    struct spawn_digests contents;
    struct err err;
    struct job *next;
};

struct list {
    struct job *first, **last;
};

struct keeper {
    int folder; /* -1: nothing is written */
    struct state_record **records;
    size_t n;
    int event;
    bool started;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under the lock */
    struct list jobs, failures;
    bool stopping;
};

/* --- the writer's thread --------------------------------------------------------------------- */

static void put(struct list *l, struct job *j) {
    j->next = NULL;
    *l->last = j;
    l->last = &j->next;
}

static struct job *take(struct list *l) {
    struct job *j = l->first;
    if (!j) return NULL;
    l->first = j->next;
    if (!l->first) l->last = &l->first;
    return j;
}

static void free_job(struct job *j) {
    if (j && j->fd >= 0) (void)close(j->fd);
    if (j) free(j->probe);
    free(j);
}

static void *work_off(void *arg) {
    struct keeper *k = arg;
    priority_lower(0, PRIORITY_LOW); /* requests come first, of the disk too */
    (void)pthread_mutex_lock(&k->lock);
    for (;;) {
        struct job *j = take(&k->jobs);
        if (!j && k->stopping) break;
        if (!j) {
            (void)pthread_cond_wait(&k->wake, &k->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&k->lock);
        const bool failed = (j->probe ? state_keep_probe(k->folder, j->record.model, &j->contents, j->probe,
                                                         j->probe_bytes, &j->err)
                                      : state_keep(k->folder, &j->record, j->fd, &j->err)) < 0;
        (void)pthread_mutex_lock(&k->lock);
        if (!failed) {
            free_job(j);
            continue;
        }
        put(&k->failures, j);
        (void)eventfd_write(k->event, 1);
    }
    (void)pthread_mutex_unlock(&k->lock);
    return NULL;
}

static void hand_over(struct keeper *k, struct job *j) {
    (void)pthread_mutex_lock(&k->lock);
    put(&k->jobs, j);
    (void)pthread_cond_signal(&k->wake);
    (void)pthread_mutex_unlock(&k->lock);
}

static void queue(struct keeper *k, const struct state_record *r, int fd) {
    if (!k->started) return;
    struct job *j = malloc(sizeof *j);
    if (!j) return; /* the state on disk stays as it was */
    *j = (struct job){.record = *r, .fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1};
    if (fd >= 0 && j->fd < 0) {
        free(j);
        return;
    }
    hand_over(k, j);
}

void keeper_keep_probe(struct keeper *k, const char *model, const struct spawn_digests *d, uint8_t *bytes,
                       size_t n) {
    struct job *j = k->started ? malloc(sizeof *j) : NULL;
    if (!j) {
        free(bytes);
        return;
    }
    *j = (struct job){.fd = -1, .probe = bytes, .probe_bytes = n, .contents = *d};
    (void)snprintf(j->record.model, sizeof j->record.model, "%s", model);
    hand_over(k, j);
}

uint8_t *keeper_load_probe(const struct keeper *k, const char *model, const struct spawn_digests *d,
                           size_t most, size_t *n, struct err *e) {
    return k->folder < 0 ? NULL : state_load_probe(k->folder, model, d, most, n, e);
}

/* --- beginning and end ------------------------------------------------------------------------- */

static int take_records(struct keeper *k, struct state_record *all, size_t n) {
    k->records = calloc(n + 1, sizeof *k->records);
    for (size_t i = 0; k->records && i < n; i++) {
        k->records[i] = malloc(sizeof *k->records[i]);
        if (!k->records[i]) return -1;
        *k->records[i] = all[i];
        k->n++;
    }
    return k->records ? 0 : -1;
}

static int read_folder(struct keeper *k, const char *folder, state_trouble_fn trouble, void *arg,
                       struct err *e) {
    struct state_record *all;
    k->folder = state_open(folder, e);
    if (k->folder < 0) return 0;
    int n = state_read_all(k->folder, &all, trouble, arg, e);
    if (n < 0) {
        (void)close(k->folder);
        k->folder = -1;
        return 0;
    }
    int rc = take_records(k, all, (size_t)n);
    free(all);
    return rc;
}

struct keeper *keeper_open(const char *folder, state_trouble_fn trouble, void *arg, struct err *e) {
    struct keeper *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    *k = (struct keeper){.folder = -1, .event = -1};
    k->jobs.last = &k->jobs.first;
    k->failures.last = &k->failures.first;
    (void)pthread_mutex_init(&k->lock, NULL);
    (void)pthread_cond_init(&k->wake, NULL);
    if (read_folder(k, folder, trouble, arg, e) < 0) {
        keeper_close(k);
        return NULL;
    }
    if (k->folder < 0) return k;
    k->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = k->event < 0 ? errno : pthread_create(&k->thread, NULL, work_off, k);
    k->started = rc == 0;
    if (rc)
        (void)err_set(e, ERR_SYSTEM, "the thread that keeps the state can't be started: %s", strerror(rc));
    return k;
}

void keeper_close(struct keeper *k) {
    if (!k) return;
    if (k->started) {
        (void)pthread_mutex_lock(&k->lock);
        k->stopping = true;
        (void)pthread_cond_signal(&k->wake);
        (void)pthread_mutex_unlock(&k->lock);
        (void)pthread_join(k->thread, NULL);
    }
    for (struct job *j; (j = take(&k->failures));) free_job(j);
    for (size_t i = 0; i < k->n; i++) free(k->records[i]);
    free(k->records);
    if (k->event >= 0) (void)close(k->event);
    if (k->folder >= 0) (void)close(k->folder);
    (void)pthread_cond_destroy(&k->wake);
    (void)pthread_mutex_destroy(&k->lock);
    free(k);
}

/* --- records ------------------------------------------------------------------------------------- */

size_t keeper_count(const struct keeper *k) {
    return k->n;
}

struct state_record *keeper_at(struct keeper *k, size_t i) {
    return k->records[i];
}

struct state_record *keeper_find(struct keeper *k, const char *model) {
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->records[i]->model, model) == 0) return k->records[i];
    return NULL;
}

struct state_record *keeper_add(struct keeper *k, const char *model) {
    struct state_record *r = keeper_find(k, model);
    if (r) return r;
    struct state_record **bigger = realloc(k->records, (k->n + 1) * sizeof(struct state_record *));
    if (!bigger) return NULL;
    k->records = bigger;
    r = calloc(1, sizeof *r);
    if (!r) return NULL;
    (void)snprintf(r->model, sizeof r->model, "%s", model);
    k->records[k->n++] = r;
    return r;
}

void keeper_write(struct keeper *k, const struct state_record *r) {
    queue(k, r, -1);
}

void keeper_serves(struct keeper *k, const char *model, const struct state_image *image, int fd) {
    struct state_record *r = keeper_add(k, model);
    if (!r || (fd < 0 && r->current.version != image->version)) return; /* nothing of it is kept */
    if (r->current.version != image->version) {
        /* After a rollback: the one that was left is not what to go back to. */
        if (r->current.version) r->other = r->current;
        r->barred_identity = (struct link_identity){0};
        r->barred = (struct spawn_digests){0};
        memset(r->barred_reason, 0, sizeof r->barred_reason);
    }
    struct image_header header;
    if (fd < 0)
        memcpy(header.self_checksum, r->current.image_checksum, sizeof header.self_checksum);
    else if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header)
        return;
    r->current = *image;
    memcpy(r->current.image_checksum, header.self_checksum, sizeof r->current.image_checksum);
    if (r->last_version < image->version) r->last_version = image->version;
    queue(k, r, fd);
}

void keeper_retired(struct keeper *k, const char *model) {
    struct state_record *r = keeper_find(k, model);
    if (!r) return;
    const struct state_record left = {.last_version = r->last_version};
    char name[LINK_MODEL];
    memcpy(name, r->model, sizeof name);
    *r = left;
    memcpy(r->model, name, sizeof r->model);
    keeper_write(k, r);
}

int keeper_load(struct keeper *k, const struct state_record *r, const struct state_image *image,
                struct err *e) {
    if (k->folder < 0) return err_set(e, ERR_SYSTEM, "there is no state folder");
    return state_load(k->folder, r, image, e);
}

/* --- what went wrong -------------------------------------------------------------------------------- */

int keeper_fd(const struct keeper *k) {
    return k->event;
}

bool keeper_failure(struct keeper *k, char model[LINK_MODEL], struct err *e) {
    eventfd_t times;
    (void)eventfd_read(k->event, &times); /* first: what comes after the look at the list rings again */
    (void)pthread_mutex_lock(&k->lock);
    struct job *j = take(&k->failures);
    (void)pthread_mutex_unlock(&k->lock);
    if (!j) return false;
    memcpy(model, j->record.model, LINK_MODEL);
    *e = j->err;
    free_job(j);
    return true;
}

struct link_message keeper_offer(const char model[LINK_MODEL], const struct state_image *i) {
    struct link_message m = {.version = LINK_VERSION,
                             .type = LINK_OFFER,
                             .verdict = i->verdict,
                             .model_version = i->version,
                             .image_bytes = i->bytes,
                             .pruned_channels = i->pruned,
                             .canary = i->canary,
                             .total_channels = i->total,
                             .closed_ns = i->closed_ns,
                             .policy = i->policy,
                             .build = i->build,
                             .repaired = i->repaired,
                             .probe = i->probe,
                             .identity = i->identity};
    state_digests_put(&i->digests, &m);
    memcpy(m.model, model, sizeof m.model);
    memcpy(m.path, i->path, sizeof m.path);
    return m;
}
