/* Sees what is in the model folder, and when something in it has changed.
 *
 * Events of inotify are hints that it is time to look; what counts is what a
 * scan finds. Watched are the folder, its parent (so that a replaced or created
 * folder is noticed), and NAME/ and NAME/VERSION/. Every scan arms all of them
 * anew before it reads, so nothing can slip through between the two.
 * Single-threaded; reads names and metadata only. */
#ifndef GUARD_WATCH_H
#define GUARD_WATCH_H

#include "guard/files.h"
#include "guard/model_file.h"

struct watch;

/* `folder` is absolute, and need not exist yet. NULL: out of memory. Without
 * inotify (a limit of the system) it still scans; see watch_backend. */
struct watch *watch_new(const char *folder);
void watch_free(struct watch *w);

/* Called for every file of a scan, which may take long where the file system is slow. */
typedef void (*watch_pulse_fn)(void *arg);
void watch_set_pulse(struct watch *w, watch_pulse_fn fn, void *arg);

/* Readable: call watch_read; -1: there is no inotify. A scan may have got one meanwhile. */
int watch_fd(const struct watch *w);
/* Takes the events that have come. True: something may have changed. Never blocks. */
bool watch_read(struct watch *w);

/* Tells `f` what is there. 0; or -1 with `e` set where the folder can't be read,
 * which `f` has been told, too. `now` as in files.h. */
int watch_scan(struct watch *w, struct files *f, uint64_t salt, uint64_t now, struct err *e);

/* "inotify", or why there are no events: how changes are noticed, for people. */
const char *watch_backend(const struct watch *w);
bool watch_is_limited(const struct watch *w); /* some changes come without an event: scan more often */

/* The folder of `path` (as in struct file_job), opened, to be closed by the
 * caller; *name points into `path`. -1 with errno. */
int watch_open_folder(const struct watch *w, const char *path, const char **name);

#endif
