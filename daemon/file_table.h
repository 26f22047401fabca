/* What the guard last said of each file in the model folder: for CLPD_MODELS and
 * for people; nothing is decided by it. Bounded, since the guard is not trusted
 * to be. The loop's thread only. */
#ifndef DAEMON_FILE_TABLE_H
#define DAEMON_FILE_TABLE_H

#include "guard/link.h"

#include <stddef.h>

#define FILE_TABLE_MAX 4096

struct file_line {
    char path[LINK_PATH], model[LINK_MODEL], reason[LINK_REASON];
    uint32_t state, verdict;
    int64_t pruned_channels, total_channels;
    uint64_t version;
    uint8_t sha256[32];
};

struct file_table {
    struct file_line *lines; /* sorted by path */
    size_t n, room;
    uint64_t dropped; /* messages that found no room */
};

void file_table_put(struct file_table *t, const struct link_message *m);               /* LINK_FILE */
void file_table_drop(struct file_table *t, const char *path);                          /* LINK_FILE_GONE */
const struct file_line *file_table_find(const struct file_table *t, const char *path); /* or NULL */
void file_table_clear(struct file_table *t);

#endif
