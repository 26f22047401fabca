/* Places tensors in the slab, the arena memory of one item.
 *
 * Every storage is live from the first step that writes into it to the last
 * that reads it; inputs (their converted copies) from before the first step,
 * outputs until after the last. Storages that are live at one time may not
 * overlap. Each goes into the smallest gap that holds it. No order to do this
 * in is always the best, so a few are tried and the smallest slab is taken. */
#include "infer/image_internal.h"
#include "infer/plan_internal.h"
#include "infer/sort.h"

/* --- liveness ------------------------------------------------------------------------------ */

/* In the order of time. */
static void touch(struct plan *p, int32_t tensor, int32_t time) {
    uint64_t shift;
    if (tensor < 0 || p->tensors[tensor].data) return;
    struct plan_tensor *t = &p->tensors[plan_storage(p, tensor, &shift)];
    if (t->last < 0) t->first = time;
    t->last = time;
}

/* Time 0 is before the first step, 1 + i step i. */
static void find_lifetimes(struct plan *p) {
    for (int32_t i = 0; i < p->graph->n_inputs; i++) touch(p, p->inputs[i], 0);
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        if (s->gone) continue;
        for (int32_t k = 0; k < s->n_inputs; k++) touch(p, s->inputs[k], 1 + i);
        touch(p, s->residual, 1 + i);
        touch(p, s->output, 1 + i);
    }
    for (int32_t i = 0; i < p->graph->n_outputs; i++) touch(p, p->outputs[i], 1 + p->n_steps);
    for (int32_t t = 0; p->options.keep && t < p->n_tensors; t++)
        if (p->tensors[t].last >= 0) p->tensors[t].first = 0, p->tensors[t].last = 1 + p->n_steps;
}

/* --- best fit -------------------------------------------------------------------------------- */

struct piece { /* of the slab, for a while */
    uint64_t from, to;
    int32_t first, last;
};

/* `placed` is sorted by where it begins. Of the gaps between what is live with
 * `t`, the smallest that holds it; or behind all of that. */
static uint64_t find_gap(const struct piece *placed, int32_t n, const struct plan_tensor *t) {
    const uint64_t need = image_align(t->bytes);
    uint64_t best = 0, best_size = UINT64_MAX, end = 0; /* of what has been passed */
    for (int32_t i = 0; i < n; i++) {
        const struct piece *other = &placed[i];
        if (t->first > other->last || other->first > t->last) continue;
        if (other->from >= end + need && other->from - end < best_size) {
            best = end;
            best_size = other->from - end;
        }
        if (other->to > end) end = other->to;
    }
    return best_size == UINT64_MAX ? end : best;
}

static void insert_piece(struct piece *placed, int32_t n, const struct plan_tensor *t) {
    const struct piece piece = {t->offset, t->offset + image_align(t->bytes), t->first, t->last};
    for (; n > 0 && placed[n - 1].from > piece.from; n--) placed[n] = placed[n - 1];
    placed[n] = piece;
}

/* --- orders ------------------------------------------------------------------------------------- */

struct candidate {
    int32_t tensor;
    uint64_t bytes;
    int32_t first, last;
};

static int by_size(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->tensor < y->tensor ? -1 : 1;
}

static int by_duration(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    const int32_t dx = x->last - x->first, dy = y->last - y->first;
    return dx != dy ? (dx < dy ? 1 : -1) : by_size(a, b);
}

static int by_time(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : by_size(a, b);
}

/* Places all in the order they come in; gives where the last one ends. */
static uint64_t place_all(struct plan *p, const struct candidate *todo, int32_t n, struct piece *placed) {
    uint64_t end = 0;
    for (int32_t i = 0; i < n; i++) {
        struct plan_tensor *t = &p->tensors[todo[i].tensor];
        t->offset = find_gap(placed, i, t);
        insert_piece(placed, i, t);
        if (t->offset + t->bytes > end) end = t->offset + t->bytes;
    }
    return end;
}

#define MANY 4000 /* placing is quadratic: for a hostile graph, one order has to do */

static uint64_t place_best(struct plan *p, struct candidate *todo, int32_t n, struct piece *placed) {
    int (*const orders[])(const void *, const void *) = {by_duration, by_time, by_size};
    const size_t n_orders = sizeof orders / sizeof orders[0];
    uint64_t best_end = UINT64_MAX, end = 0;
    size_t best = 0;
    for (size_t i = n > MANY ? n_orders - 1 : 0; i < n_orders; i++) {
        sort_records(todo, (size_t)n, sizeof *todo, orders[i]);
        end = place_all(p, todo, n, placed);
        if (end > best_end) continue;
        best_end = end;
        best = i;
    }
    if (end == best_end) return end; /* the last one was the best: it is in place */
    sort_records(todo, (size_t)n, sizeof *todo, orders[best]);
    return place_all(p, todo, n, placed);
}

/* A slab of a multiple of 4096 bytes would put the same tensor of all items of
 * a batch into the same lines of the first-level cache. */
static uint64_t slab_of(uint64_t end) {
    end = image_align(end);
    return end % 4096 == 0 ? end + IMAGE_ALIGN : end;
}

int plan_place(struct plan *p, struct err *e) {
    find_lifetimes(p);
    struct candidate *todo = bump_array(&p->bump, (size_t)p->n_tensors, sizeof *todo);
    struct piece *placed = bump_array(&p->bump, (size_t)p->n_tensors, sizeof *placed);
    int32_t n = 0;
    if (!todo || !placed) return plan_out_of_memory(e);
    for (int32_t i = 0; i < p->n_tensors; i++) {
        const struct plan_tensor *t = &p->tensors[i];
        if (t->storage == i && t->last >= 0) todo[n++] = (struct candidate){i, t->bytes, t->first, t->last};
    }
    /* At most 2^17 tensors of at most 2^33 bytes: no sum here comes near 2^64. */
    p->slab_bytes = slab_of(place_best(p, todo, n, placed));
    if (p->slab_bytes > IMAGE_MAX_SLAB)
        return err_set(e, ERR_LIMIT, "intermediate results need %llu GiB per picture; %llu are possible",
                       (unsigned long long)(p->slab_bytes >> 30), (unsigned long long)(IMAGE_MAX_SLAB >> 30));

    for (int32_t t = 0; t < p->n_tensors; t++) { /* the others lie in those */
        uint64_t shift;
        const int32_t storage = plan_storage(p, t, &shift);
        if (storage != t) p->tensors[t].offset = p->tensors[storage].offset + shift;
    }
    return 0;
}
