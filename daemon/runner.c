/* From a batch to replies: one engine run after the other, on the one version. */
#include "daemon/runner.h"

#include "daemon/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOWEST_MACS 1000000000u /* beyond RUNNER_STUCK_AFTER a run may take what 1 GMAC/s would need */
#define FORGET       8           /* a version's time per item follows that many batches */

int runner_open(struct runner *w, struct err *e) {
    w->engine = engine_new();
    return w->engine ? 0 : err_set(e, ERR_SYSTEM, "out of memory for an engine");
}

void runner_close(struct runner *w) {
    engine_free(w->engine);
    reply_scratch_free(&w->scratch);
    w->engine = NULL;
}

static uint64_t longest(const struct version *v, uint32_t items) {
    const double seconds = (double)image_header(v->image)->multiply_adds * items / SLOWEST_MACS;
    return RUNNER_STUCK_AFTER + (uint64_t)(seconds * 1e9);
}

/* `now`: not long ago. */
static int run_items(struct runner *w, const struct version *v, uint32_t n, uint64_t now) {
    atomic_store_explicit(&w->due, now + longest(v, n), memory_order_relaxed);
    int rc = engine_run(w->engine, v->image, n, w->items);
    atomic_store_explicit(&w->due, 0, memory_order_relaxed);
    return rc;
}

/* How long an item of v takes; 0: not known yet. */
static void learn_item_time(struct version *v, uint64_t ns, uint64_t items) {
    const uint64_t now = items ? ns / items : 0,
                   before = atomic_load_explicit(&v->item_ns, memory_order_relaxed);
    const uint64_t mean = before ? before - before / FORGET + now / FORGET : now;
    atomic_store_explicit(&v->item_ns, mean, memory_order_relaxed);
}

static uint64_t item_bytes(const struct version *v, uint32_t format) {
    return format == CLPD_U8_NHWC ? v->input.u8_bytes : v->input.f32_bytes;
}

static struct engine_item item_of(const struct version *v, const struct request *r, uint32_t i) {
    return (struct engine_item){.inputs = {r->input + (size_t)i * item_bytes(v, r->format)},
                                .format = r->format == CLPD_U8_NHWC ? INPUT_U8_NHWC : INPUT_F32_NCHW};
}

struct place { /* of an item in a batch */
    uint32_t request, item;
};

static void advance(struct place *p, const struct batch *b) {
    if (++p->item < b->requests[p->request]->items) return;
    p->item = 0;
    p->request++;
}

/* One run, but for requests larger than the largest batch: those take several, on the one version. */
static int run_all(struct runner *w, const struct version *v, const struct batch *b, uint64_t now) {
    struct place from = {0, 0}, to = {0, 0};
    while (from.request < b->n) {
        uint32_t n = 0;
        for (; n < v->max_items && to.request < b->n; advance(&to, b))
            w->items[n++] = item_of(v, b->requests[to.request], to.item);
        if (run_items(w, v, n, now)) return -EINVAL;
        if (to.request < b->n) now = loop_clock();
        for (uint32_t i = 0; i < n; i++, advance(&from, b))
            reply_put_item(v, b->requests[from.request], from.item, engine_output(w->engine, i, 0));
    }
    return 0;
}

void runner_run(struct runner *w, struct batch *b) {
    struct version *v = b->version;
    uint64_t pictures = 0;
    for (uint32_t k = 0; k < b->n; k++) pictures += (uint64_t)b->requests[k]->items * v->pictures;
    const uint64_t start = loop_clock();
    const int rc = run_all(w, v, b, start);
    struct reply_facts f = {.compute_ns = loop_clock() - start, .batch = (uint32_t)pictures};
    const uint64_t items = pictures / v->pictures;
    learn_item_time(v, f.compute_ns, items);
    if (items <= v->max_items) pace_learn(&v->pace, (uint32_t)items, f.compute_ns); /* it was one run */
    for (uint32_t k = 0; k < b->n; k++) {
        struct request *r = b->requests[k];
        r->status = CLPD_INTERNAL;
        if (rc) continue; /* what the image's check and the shape rules let through can't fail */
        f.queue_ns = start > r->arrived_ns ? start - r->arrived_ns : 0;
        metrics_count_wait(&v->metrics, f.queue_ns, f.compute_ns);
        reply_finish(v, r, &f, &w->scratch);
    }
    if (!rc) atomic_fetch_add_explicit(&v->requests, b->n, memory_order_relaxed);
    if (rc)
        metrics_count_failure(&v->metrics, b->n);
    else
        metrics_count_batch(&v->metrics, b->n, pictures, f.compute_ns);
    atomic_fetch_add_explicit(&w->n_batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->n_pictures, pictures, memory_order_relaxed);
}

/* --- warming --------------------------------------------------------------------------- */

int runner_reserve(struct runner *w, struct version *v, struct err *e) {
    if (engine_reserve(w->engine, v->image, v->max_items, e)) return -1;
    return reply_scratch_reserve(&w->scratch, v->classes, e);
}

int runner_warm(struct runner *w, struct version *v, struct err *e) {
    if (runner_reserve(w, v, e)) return -1;
    uint8_t *zeros = calloc(1, v->input.f32_bytes);
    if (!zeros) return err_set(e, ERR_SYSTEM, "out of memory for a first run");
    w->items[0] = (struct engine_item){.inputs = {zeros}, .format = INPUT_F32_NCHW};
    const uint64_t start = loop_clock();
    const int rc = run_items(w, v, 1, start);
    learn_item_time(v, loop_clock() - start, 1);
    free(zeros);
    if (rc) return err_set(e, ERR_INTERNAL, "the first run failed: %s", strerror(-rc));
    return 0;
}
