/* The arena: what is live at one time never overlaps, and little is wasted. */
#include "infer/plan_internal.h"

#include "tests/fixture_graph.h"
#include "tests/suite.h"

static struct plan *plan_of(struct graph *g, bool reference) {
    struct err e = {0};
    struct plan *p;
    CU_ASSERT_EQUAL_FATAL(
        plan_make(g, &(struct plan_options){.isa = ISA_GENERIC, .reference = reference}, &p, &e), 0);
    return p;
}

static bool owns_memory(const struct plan *p, int32_t t) {
    return p->tensors[t].storage == t && p->tensors[t].last >= 0;
}

/* Every pair, by the definition. */
static void check_overlaps(const struct plan *p) {
    for (int32_t a = 0; a < p->n_tensors; a++) {
        const struct plan_tensor *x = &p->tensors[a];
        if (!owns_memory(p, a)) continue;
        CU_ASSERT_EQUAL_FATAL(x->offset % 64, 0);
        CU_ASSERT_FATAL(x->offset + x->bytes <= p->slab_bytes);
        for (int32_t b = 0; b < a; b++) {
            const struct plan_tensor *y = &p->tensors[b];
            if (!owns_memory(p, b) || x->first > y->last || y->first > x->last) continue;
            CU_ASSERT_FATAL(x->offset + x->bytes <= y->offset || y->offset + y->bytes <= x->offset);
        }
    }
}

/* Lifetimes again, from the steps: whatever a step touches is live then. */
static void check_lifetimes(const struct plan *p) {
    for (int32_t i = 0; i < p->n_steps; i++) {
        const struct plan_step *s = &p->steps[i];
        for (int32_t k = -2; !s->gone && k < s->n_inputs; k++) {
            const int32_t t = k == -2 ? s->output : k == -1 ? s->residual : s->inputs[k];
            uint64_t shift;
            if (t < 0 || p->tensors[t].data) continue;
            const struct plan_tensor *m = &p->tensors[plan_storage(p, t, &shift)];
            CU_ASSERT_FATAL(m->first <= i + 1 && i + 1 <= m->last);
            CU_ASSERT_FATAL(shift + p->tensors[t].bytes <= m->bytes);
            CU_ASSERT_EQUAL_FATAL(p->tensors[t].offset, m->offset + shift);
        }
    }
    for (int32_t i = 0; i < p->graph->n_outputs; i++) {
        uint64_t shift;
        CU_ASSERT_EQUAL_FATAL(p->tensors[plan_storage(p, p->outputs[i], &shift)].last, p->n_steps + 1);
    }
    for (int32_t i = 0; i < p->graph->n_inputs; i++) CU_ASSERT_EQUAL_FATAL(p->tensors[p->inputs[i]].first, 0);
}

/* The most that is live at one time: no placement can do with less. */
static uint64_t least_possible(const struct plan *p) {
    uint64_t most = 0;
    for (int32_t time = 0; time <= p->n_steps + 1; time++) {
        uint64_t sum = 0;
        for (int32_t t = 0; t < p->n_tensors; t++)
            if (owns_memory(p, t) && p->tensors[t].first <= time && time <= p->tensors[t].last)
                sum += (p->tensors[t].bytes + 63) / 64 * 64;
        if (sum > most) most = sum;
    }
    return most;
}

static void nothing_live_overlaps(void) {
    double waste = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct graph *g = fixture_random_graph(seed + 1000, 3 + (int32_t)seed);
        for (int reference = 0; reference < 2; reference++) {
            struct plan *p = plan_of(g, reference);
            check_overlaps(p);
            check_lifetimes(p);
            const double more = (double)p->slab_bytes / (double)least_possible(p) - 1;
            CU_ASSERT(more < 0.5);
            waste += more / 400;
            plan_free(p);
        }
        graph_free(g);
    }
    CU_ASSERT(waste < 0.05); /* on average */
}

/* A chain needs its two largest neighbours, however long it is. */
static void a_chain_needs_two_buffers(void) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 2, 16, 16));
    for (int i = 0; i < 40; i++) x = fixture_mul(g, x, fixture_relu(g, x));
    fixture_output(g, x);
    struct plan *p = plan_of(g, false);
    CU_ASSERT(p->slab_bytes <= 3 * 2048 + 64);
    plan_free(p);
    graph_free(g);
}

static void slabs_are_no_multiple_of_a_page(void) {
    for (int64_t floats = 16; floats <= 4096; floats += 16) {
        struct graph *g = fixture_graph();
        fixture_output(g, fixture_relu(g, fixture_input(g, SHAPE(1, floats))));
        struct plan *p = plan_of(g, false);
        CU_ASSERT_EQUAL_FATAL(p->slab_bytes % 64, 0);
        CU_ASSERT_NOT_EQUAL_FATAL(p->slab_bytes % 4096, 0);
        CU_ASSERT_FATAL(p->slab_bytes >= (uint64_t)floats * 8 && p->slab_bytes <= (uint64_t)floats * 8 + 64);
        plan_free(p);
        graph_free(g);
    }
}

static void too_large_an_arena_is_refused(void) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    struct plan *p;
    int32_t x = fixture_input(g, SHAPE(1, 1LL << 30)), in[20];
    for (int i = 0; i < 20; i++) in[i] = fixture_relu(g, x); /* 4 GiB each, and all needed at the end */
    for (int i = 0; i < 20; i++) x = fixture_add(g, x, in[i]);
    fixture_output(g, x);
    CU_ASSERT_EQUAL(plan_make(g, &(struct plan_options){.isa = ISA_GENERIC}, &p, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    graph_free(g);
}

SUITE(plan_place, {"nothing that is live overlaps", nothing_live_overlaps},
      {"a chain needs two buffers", a_chain_needs_two_buffers},
      {"slabs are no multiple of a page", slabs_are_no_multiple_of_a_page},
      {"too large an arena is refused", too_large_an_arena_is_refused});
