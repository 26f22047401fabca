/* What somebody meant who wrote an unknown key: the row or group nearest to it.
 * Pure; any thread. */
#ifndef CONFIG_NEAREST_H
#define CONFIG_NEAREST_H

#include "config/keys.h"

/* How many characters have to be inserted, dropped, replaced or swapped with
 * their neighbour to make `b` of `a`; texts beyond 63 bytes are infinitely far. */
unsigned nearest_distance(const char *a, const char *b);

/* "did you mean engine.threads (…)?", or what the group knows, or what there is at all. */
void nearest_hint(const struct key_table *t, const char *path, char *room, size_t bytes);

/* The names directly below `group` ("" for the top), as "threads, pin, max_batch".
 * False where there is no such group. */
bool nearest_list(const struct key_table *t, const char *group, char *room, size_t bytes);

#endif
