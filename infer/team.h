/* Threads that help engines with single steps: a fork and a join that cost less
 * than a microsecond while everybody is awake.
 *
 * A team has helpers of its own and a seat for each engine that they help. A step
 * is cut into parts, which the engine's own thread and whoever is free take one
 * by one; which thread computes a part changes nothing in it, so results do not
 * depend on how many there are. While an engine runs, helpers look for parts without
 * sleeping; between runs they sleep. Nothing here allocates after team_new.
 *
 * Seats are taken and run by one thread each; team_free when all have left. */
#ifndef INFER_TEAM_H
#define INFER_TEAM_H

#include "infer/err.h"

#include <stdbool.h>
#include <stdint.h>

#define TEAM_MAX_HELPERS 63
#define TEAM_MAX_SEATS   256

struct team;
struct team_seat;

/* `cpus`: where each helper is to stay, -1 for anywhere; or NULL. NULL with `e` set. */
struct team *team_new(uint32_t helpers, const int *cpus, struct err *e);
void team_free(struct team *t); /* NULL is fine */

/* NULL where all seats are taken. */
struct team_seat *team_sit(struct team *t);
void team_leave(struct team_seat *s); /* NULL is fine */

/* Hands that may work on a step: helpers, and the one who asks. 1 without a seat. */
uint32_t team_hands(const struct team_seat *s);

/* Parts that a step of any kind should have at least: some for each hand, so that none waits long for
 * another's last one. 1 without a seat. */
uint32_t team_parts(const struct team_seat *s);

/* Around the steps of a run: wakes the helpers, and lets them sleep. */
void team_begin(struct team_seat *s);
void team_end(struct team_seat *s);

/* `part` runs once for each of [0, parts), `hand` < team_hands() is nobody else's meanwhile;
 * returns when all are through. Without a seat one after the other, by hand 0. */
typedef void (*team_fn)(const void *work, uint32_t part, uint32_t hand);
void team_run(struct team_seat *s, team_fn fn, const void *work, uint32_t parts);

/* Parts of a step write a line of the arena each, of which engine_reserve gives no more than 2^31. */
static inline void team_run_all(struct team_seat *s, team_fn fn, const void *work, int64_t parts) {
    team_run(s, fn, work, (uint32_t)parts);
}

#endif
