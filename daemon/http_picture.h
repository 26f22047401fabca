/* Pictures decoded for the HTTP plane, each by a process of its own in a sandbox (client/picture_worker.c).
 *
 *   one waits, sandboxed already -> question and file go out -> pixels come in -> it ends, the next is
 * started
 *
 * At most http.pictures at once. The plane's thread only. */
#ifndef DAEMON_HTTP_PICTURE_H
#define DAEMON_HTTP_PICTURE_H

#include "infer/err.h"

#include <stddef.h>
#include <stdint.h>

struct http_exchange;
struct http_plane;
struct picture_pool;
struct picture_job;

struct picture_pool *picture_pool_new(struct http_plane *p, struct err *e); /* NULL: out of memory */
void picture_pool_free(struct picture_pool *p);                             /* NULL is fine */
/* Ends what takes longer than http.picture_s, and buries the dead. */
void picture_pool_sweep(struct picture_pool *p, uint64_t now);
/* Ends it; its exchange hears nothing. */
void picture_job_drop(struct picture_job *j);

#endif
