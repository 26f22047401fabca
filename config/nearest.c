/* Edit distance over the key table, with a word for every case. */
#include "config/nearest.h"

#include <limits.h>
#include <string.h>

#define LONGEST 63

static unsigned least(unsigned a, unsigned b) {
    return a < b ? a : b;
}

/* Optimal string alignment: Levenshtein's three rows, and the one before them for swaps. */
unsigned nearest_distance(const char *a, const char *b) {
    unsigned rows[3][LONGEST + 1];
    size_t na = strlen(a), nb = strlen(b);
    if (na > LONGEST || nb > LONGEST) return UINT_MAX;
    unsigned *older = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++) last[j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], older[j - 2] + 1);
        }
        unsigned *spare = older;
        older = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

static const char *last_word(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

static void append(char *room, size_t bytes, const char *before, const char *text, size_t n) {
    size_t used = strlen(room), lead = strlen(before);
    if (used + lead + n + 4 >= bytes) return;
    memcpy(room + used, before, lead);
    memcpy(room + used + lead, text, n);
    room[used + lead + n] = 0;
}

bool nearest_list(const struct key_table *t, const char *group, char *room, size_t bytes) {
    size_t lead = strlen(group);
    const char *before = NULL;
    size_t n_before = 0;
    room[0] = 0;
    for (size_t i = 0; i < t->n; i++) {
        const char *p = t->keys[i].path;
        if (lead && (strncmp(p, group, lead) != 0 || p[lead] != '.')) continue;
        p += lead ? lead + 1 : 0;
        size_t n = strcspn(p, ".");
        if (before && n == n_before && memcmp(before, p, n) == 0) continue;
        append(room, bytes, before ? ", " : "", p, n);
        before = p;
        n_before = n;
    }
    return before != NULL;
}

struct guess {
    unsigned distance;
    const struct key *key; /* NULL: a group */
    char path[LONGEST + 1];
};

static void consider(struct guess *best, const struct key *key, const char *path, size_t n,
                     const char *wrong) {
    char candidate[LONGEST + 1];
    if (n > LONGEST) return;
    memcpy(candidate, path, n);
    candidate[n] = 0;
    unsigned d = nearest_distance(candidate, wrong);
    /* the right word in the wrong group is one mistake, however long the group's name */
    if (key && strcmp(last_word(candidate), last_word(wrong)) == 0) d = least(d, 2);
    if (d >= best->distance) return;
    best->distance = d;
    best->key = key;
    memcpy(best->path, candidate, n + 1);
}

static struct guess guess_at(const struct key_table *t, const char *wrong) {
    struct guess best = {.distance = UINT_MAX};
    for (size_t i = 0; i < t->n; i++) {
        const char *p = t->keys[i].path;
        for (const char *dot = strchr(p, '.'); dot; dot = strchr(dot + 1, '.'))
            consider(&best, NULL, p, (size_t)(dot - p), wrong);
        consider(&best, &t->keys[i], p, strlen(p), wrong);
    }
    return best;
}

static void list_around(const struct key_table *t, const char *path, char *room, size_t bytes) {
    char group[LONGEST + 1] = "", names[160];
    size_t n = strlen(path) - strlen(last_word(path));
    if (n > 0 && n <= LONGEST) memcpy(group, path, n - 1);
    nearest_list(t, group, names, sizeof names);
    (void)snprintf(room, bytes, "known%s%s: %s", *group ? " below " : "", group, names);
}

void nearest_hint(const struct key_table *t, const char *path, char *room, size_t bytes) {
    struct guess g = guess_at(t, path);
    char about[KEY_ACCEPTED];
    unsigned most = least(3, 1 + (unsigned)strlen(path) / 4);
    if (g.distance > most) {
        list_around(t, path, room, bytes);
    } else if (g.key) {
        (void)snprintf(room, bytes, "did you mean %s (%s; %s)?", g.path, g.key->meaning,
                       keys_accepted(g.key, about));
    } else {
        nearest_list(t, g.path, about, sizeof about);
        (void)snprintf(room, bytes, "did you mean %s (%s)?", g.path, about);
    }
}
