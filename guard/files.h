/* What the guard knows of every model file, and what is to be done next.
 *
 *   seen -> importing -> sealed -> offered -> serving      seen: complete, in the queue
 *     `-> settling: somebody is at work on it, or a part is missing
 *                     any of them -> rejected, held, superseded
 *
 * Pure: scans, events, results and answers come in with the time, jobs and
 * messages come out; no system call but closing a descriptor that it owns. The
 * link is fed from this table, not from a queue, so a slow daemon costs no
 * memory. One owner, one thread. Times are milliseconds of a monotonic clock. */
#ifndef GUARD_FILES_H
#define GUARD_FILES_H

#include "guard/link.h"
#include "guard/spawn.h"
#include "guard/state.h"

#define FILES_MAX      4096 /* candidates in one folder; more are not looked at */
#define FILES_DISCARDS 3    /* imports thrown away in a row because the file had changed meanwhile */
#define FILES_ATTEMPTS 3    /* imports tried again because the system refused (no memory, no process) */
#define FILES_PASSES   8    /* smaller files that may be imported before one that has waited longer */
#define FILES_NEVER    UINT64_MAX

struct files;

struct files_options {
    uint32_t settle_ms, retire_ms;
    uint64_t policy, build; /* stand for the policy in force, and for what compiles: see struct state_image */
};

struct files *files_new(const struct files_options *o); /* NULL: out of memory */
void files_free(struct files *f);                       /* closes the images that it holds */
void files_set_options(struct files *f, const struct files_options *o);

/* Told of every step of a file, after it, for the log: the file as clpd will be told of it. `arg` is the
 * caller's. */
typedef void (*files_trace_fn)(void *arg, const struct link_message *m, uint32_t from);
void files_set_trace(struct files *f, files_trace_fn fn, void *arg);

/* Told when a version has been taken into service, or its file is known under another
 * identity: what is to be kept. `fd` is its sealed image (borrowed), or -1 where that is kept already. */
typedef void (*files_keep_fn)(void *arg, const char *model, const struct state_image *image, int fd);
void files_set_keep(struct files *f, files_keep_fn fn, void *arg);

/* --- what a scan sees ------------------------------------------------------------------ */

struct file_entry {    /* borrowed during the call */
    const char *path;  /* relative to the folder; printable */
    const char *model; /* its name; "": it can't have one, and `trouble` says why */
    uint64_t number;   /* of NAME/VERSION/model.onnx; 0: NAME.onnx */
    struct link_identity identity;
    uint64_t age_ms;     /* since the last write, by the files' own times */
    uint64_t closed_ns;  /* CLOCK_REALTIME of the last change */
    const char *trouble; /* why it is no model; NULL: nothing speaks against it */
    bool passing;        /* the trouble may pass by itself: wait for a change */
    bool complete;       /* an event said that whatever has changed is complete */
    bool written;        /* a writer has closed it: look again, even if the identity is the same */
};

void files_scan_begin(struct files *f);
void files_scan_entry(struct files *f, const struct file_entry *e, uint64_t now);
void files_scan_end(struct files *f, uint64_t now);
/* The folder is missing or can't be read: nothing is concluded from that. */
void files_scan_failed(struct files *f, const char *why, uint64_t now);
/* Name of the data file that this model has asked for, or NULL. */
const char *files_external(const struct files *f, const char *path);
/* When the folder should be scanned again because of what is being waited for. */
uint64_t files_next_scan(const struct files *f);

/* --- importing, several at a time; never two files of one model ------------------------- */

struct file;
struct file_job {
    struct file *file; /* stays in the table until the import has ended */
    char path[LINK_PATH], model[LINK_MODEL];
    char external[SPAWN_NAME]; /* empty: none known */
};

/* What to import now; its state is then `importing` until one of the four ends below.
 * The smallest file comes first, but none is passed over more than FILES_PASSES
 * times: neither does a large file hold up the small ones, nor do they starve it. */
bool files_next_import(struct files *f, struct file_job *job);
/* What was really opened. */
void files_import_opened(struct files *f, const struct file_job *job, const struct link_identity *identity,
                         uint64_t closed_ns);
/* The file that is being imported has changed or gone: it is better to stop. */
bool files_import_is_stale(const struct files *f, const struct file_job *job);
/* Its contents are those that its model is served from. */
bool files_import_is_served(const struct files *f, const struct file_job *job, const struct spawn_digests *d);

/* They are those that its model was rolled back from: to be ended with files_import_held. */
bool files_import_is_barred(const struct files *f, const struct file_job *job, const struct spawn_digests *d);

/* It is imported with the channels that its probe named, or (each import begins so) without. */
void files_import_repairs(struct files *f, const struct file_job *job, bool repairs);

/* `after`: the identity as it is now, NULL: gone. `intact`: what was read did not
 * change under the reader (it may have been replaced). The image is taken out of `r`. */
void files_import_done(struct files *f, const struct file_job *job, struct spawn_result *r,
                       const struct link_identity *after, bool intact, uint64_t now);
void files_import_failed(struct files *f, const struct file_job *job, const struct spawn_result *r,
                         const struct link_identity *after, uint64_t now);
/* It waits for a person; `r` tells what was found, NULL: it is barred. */
void files_import_held(struct files *f, const struct file_job *job, const struct spawn_result *r,
                       const char *why, const struct link_identity *after, uint64_t now);
void files_import_same(struct files *f, const struct file_job *job, const struct spawn_digests *d,
                       const struct link_identity *after, uint64_t now);
void files_import_stopped(struct files *f, const struct file_job *job, uint64_t now);
/* As files_import_done, but it is not offered before files_probed. */
void files_import_waits(struct files *f, const struct file_job *job, struct spawn_result *r,
                        const struct link_identity *after, bool intact, uint64_t now);
/* To be imported once more, at once: otherwise than this time (files_import_repairs). */
void files_import_again(struct files *f, const struct file_job *job, uint64_t now);

/* --- probes ------------------------------------------------------------------------------ */

struct files_subject { /* a file that may be probed */
    struct file_job job;
    struct link_identity identity;
    struct spawn_digests digests;
    uint64_t version; /* 0: it waits for its verdict */
    uint32_t asked;   /* as in struct report: by its NAME.yaml */
    bool repaired, initial;
};
/* The i-th file of the table; false: there are no more. job.file is NULL where it is neither served nor waits
 * for its verdict, or its contents are not known. */
bool files_subject(const struct files *f, size_t i, struct files_subject *out);
/* What its model is served from; job.file as above. */
void files_subject_of(const struct files *f, const char *model, struct files_subject *out);
struct files_served {
    struct spawn_digests digests;
    uint64_t version;
    bool repaired;
};
/* False: nothing of it is served. */
bool files_served(const struct files *f, const char *model, struct files_served *out);
/* How far the probe of a file that waits is. */
void files_probe_progress(struct files *f, const char *path, const char *words);
/* The file that waits, of these contents: on to clpd, or held with its reason. */
void files_probed(struct files *f, const char *path, const struct spawn_digests *d, const char *held,
                  uint64_t now);
/* A file that is served or waits is imported once more, since what it is to be repaired by has changed. */
void files_repair(struct files *f, const char *path, uint64_t now);

/* --- the link -------------------------------------------------------------------------- */

/* The next message for clpd, *fd to go with it (stays ours) or -1. The same one
 * is given until files_message_sent. */
bool files_next_message(struct files *f, struct link_message *m, int *fd);
void files_message_sent(struct files *f, const struct link_message *m);
void files_on_answer(struct files *f, const struct link_message *m, uint64_t now);
/* A model that is being served since before this guard was started. false: no memory to know it. */
bool files_on_serving(struct files *f, const struct link_message *m);
/* What is kept about a model that clpd serves since before this guard: another identity of its file may have
 * been seen since it was offered. */
void files_on_record(struct files *f, const struct state_record *r);
/* A kept image that clpd has taken: `current` of this record is served. */
void files_on_kept(struct files *f, const struct state_record *r);
bool files_serves(const struct files *f, const char *model);

/* --- what people ask for ----------------------------------------------------------------- */

/* The version that was left in a rollback is not to be served again by itself; as in `other` and
 * barred_reason of the record. A record without: nothing is barred any more. */
void files_bar(struct files *f, const struct state_record *r);
/* The held file of this model, or NULL; valid until the next call. */
const char *files_held(const struct files *f, const char *model, struct spawn_digests *digests);
/* Looks at a held file again. */
void files_release(struct files *f, const char *path, uint64_t now);
bool files_knows(const struct files *f, const char *path);
/* Whether a version of this model is on its way to clpd. */
bool files_is_offering(const struct files *f, const char *model);
/* Nothing of this model is offered meanwhile. */
void files_set_busy(struct files *f, const char *model, bool busy);
/* The highest version that this model ever had: the next one is counted from it. */
void files_count_from(struct files *f, const char *model, uint64_t last_version);
/* Everything that the first scan found has been dealt with, or has a version of its model that serves
 * meanwhile. */
bool files_settled(const struct files *f);

#endif
