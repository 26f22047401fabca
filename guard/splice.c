/* A byte range rewritten without being copied first. */
#include "guard/splice.h"

#include "infer/sort.h"

#include <stdlib.h>

struct splice {
    size_t at, drop, n;
    const void *put;
    size_t order; /* of adding: the sort need not be stable */
};

int splice_add(struct splices *s, size_t at, size_t drop, const void *put, size_t n) {
    if (s->n == s->room) {
        const size_t room = s->room ? s->room * 2 : 64;
        struct splice *items = reallocarray(s->items, room, sizeof *items);
        if (!items) return -1;
        s->items = items;
        s->room = room;
    }
    s->items[s->n] = (struct splice){at, drop, n, put, s->n};
    s->n++;
    return 0;
}

size_t splice_growth(const struct splices *s, size_t from, size_t to) {
    size_t growth = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].at >= from && s->items[i].at <= to) growth += s->items[i].n - s->items[i].drop;
    return growth;
}

static int compare(const void *a, const void *b) {
    const struct splice *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int write_zeros(size_t n, splice_write_fn write, void *ctx, struct err *e) {
    static const uint8_t zeros[4096];
    for (size_t part; n; n -= part) {
        part = n < sizeof zeros ? n : sizeof zeros;
        if (write(ctx, zeros, part, e)) return -1;
    }
    return 0;
}

int splice_write(struct splices *s, const uint8_t *bytes, size_t size, splice_write_fn write, void *ctx,
                 struct err *e) {
    size_t done = 0;
    sort_records(s->items, s->n, sizeof *s->items, compare);
    for (size_t i = 0; i < s->n; i++) {
        const struct splice *p = &s->items[i];
        if (p->at < done || p->at > size || p->drop > size - p->at)
            return err_set(e, ERR_INTERNAL, "replacements overlap at byte %zu", p->at);
        if (p->at > done && write(ctx, bytes + done, p->at - done, e)) return -1;
        if (p->put ? p->n && write(ctx, p->put, p->n, e) : write_zeros(p->n, write, ctx, e)) return -1;
        done = p->at + p->drop;
    }
    return size > done ? write(ctx, bytes + done, size - done, e) : 0;
}

void splice_free(struct splices *s) {
    free(s->items);
    *s = (struct splices){0};
}
