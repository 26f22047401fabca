/* A sorted array: files are few, and read far more often than they change. */
#include "daemon/file_table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Where `path` is, or would be. */
static size_t place_of(const struct file_table *t, const char *path, bool *found) {
    size_t low = 0, high = t->n;
    *found = false;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(t->lines[middle].path, path);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool grow(struct file_table *t) {
    if (t->n < t->room) return true;
    const size_t room = t->room ? 2 * t->room : 16;
    struct file_line *lines = room <= FILE_TABLE_MAX ? realloc(t->lines, room * sizeof *lines) : NULL;
    if (!lines) return false;
    t->lines = lines;
    t->room = room;
    return true;
}

void file_table_put(struct file_table *t, const struct link_message *m) {
    bool found;
    const size_t at = place_of(t, m->path, &found);
    if (!found && !grow(t)) {
        t->dropped++;
        return;
    }
    struct file_line *line = &t->lines[at];
    if (!found) {
        memmove(line + 1, line, (t->n - at) * sizeof *line);
        t->n++;
    }
    *line = (struct file_line){.state = m->state,
                               .verdict = m->verdict,
                               .pruned_channels = m->pruned_channels,
                               .total_channels = m->total_channels,
                               .version = m->model_version};
    memcpy(line->path, m->path, sizeof line->path); /* link_receive: terminated, no control characters */
    memcpy(line->model, m->model, sizeof line->model);
    memcpy(line->reason, m->reason, sizeof line->reason);
    memcpy(line->sha256, m->sha256, sizeof line->sha256);
}

void file_table_drop(struct file_table *t, const char *path) {
    bool found;
    const size_t at = place_of(t, path, &found);
    if (!found) return;
    t->n--;
    memmove(&t->lines[at], &t->lines[at + 1], (t->n - at) * sizeof *t->lines);
}

const struct file_line *file_table_find(const struct file_table *t, const char *path) {
    bool found;
    const size_t at = place_of(t, path, &found);
    return found ? &t->lines[at] : NULL;
}

void file_table_clear(struct file_table *t) {
    free(t->lines);
    *t = (struct file_table){0};
}
