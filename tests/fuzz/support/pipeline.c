/* The import worker's steps one after the other; see pipeline.h. */
#include "tests/fuzz/support/pipeline.h"

#include "guard/onnx_prune.h"
#include "infer/plan.h"
#include "tests/fuzz/support/compare.h"
#include "tests/fuzz/support/fuzz.h"
#include "tests/fuzz/support/run_image.h"

#include <string.h>

#define MOST_IMAGE ((size_t)64 << 20) /* larger ones are for the worker, which is given a limit, too */
#define THRESHOLD  1.0f               /* so that small layers lose channels */

static const uint8_t *external(void) {
    static uint8_t bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i += 4) memcpy(bytes + i, &(float){(float)i * 0.01f}, 4);
    return bytes;
}

bool pipeline_begin(struct pipeline *p, const uint8_t *bytes, size_t size) {
    const struct import_options o = {
        .external = external(), .external_bytes = 4096, .external_name = "w.data"};
    struct err e = {0};
    *p = (struct pipeline){0};
    if (import_onnx(bytes, size, &o, &p->model, &p->graph, &e) == 0 &&
        clp_apply(p->graph, &(struct clp_options){.threshold = THRESHOLD}, &p->report, &p->clp, &e) == 0)
        return true;
    fuzz_check_refusal(&e);
    return false;
}

void pipeline_end(struct pipeline *p) {
    clp_result_free(&p->clp);
    report_free(&p->report);
    graph_free(p->graph);
    onnx_model_free(p->model);
}

/* --- image --------------------------------------------------------------------------------- */

struct written {
    uint8_t *bytes;
    struct image *img; /* NULL: refused, or too large for here */
};

/* What the writer wrote passes the check, always. */
static struct written write_image(const struct plan *plan, const struct plan_metadata *meta) {
    struct written w = {NULL, NULL};
    struct err e = {0};
    const size_t size = plan_image_bytes(plan, meta);
    if (size > MOST_IMAGE || posix_memalign((void **)&w.bytes, IMAGE_ALIGN, size)) return w;
    memset(w.bytes, 0, size);
    if (image_write(plan, meta, w.bytes, size, &e) < 0)
        fuzz_check_refusal(&e);
    else
        FUZZ_MUST(image_check(w.bytes, size, &w.img, &e) == 0, "the writer's image: %s", e.text);
    return w;
}

static struct written compile(struct pipeline *p, const struct plan_metadata *meta, bool reference) {
    const struct plan_options o = {.isa = image_host_isa(), .reference = reference};
    struct written w = {NULL, NULL};
    struct plan *plan = NULL;
    struct err e = {0};
    if (plan_make(p->graph, &o, &plan, &e) < 0)
        fuzz_check_refusal(&e);
    else
        w = write_image(plan, meta);
    plan_free(plan);
    return w;
}

static void discard(struct written *w) {
    image_unmap(w->img);
    free(w->bytes);
}

void pipeline_compile(struct pipeline *p) {
    struct plan_metadata meta = {.preprocess = {.scale = 1.0f / 255, .std = {1, 1, 1, 1}}};
    uint8_t *report = report_encode(&p->report, &meta.report_bytes);
    meta.report = report;
    if (!report) return;
    struct written planned = compile(p, &meta, false);
    if (planned.img && fuzz_image_is_small(planned.img)) {
        struct written plain = compile(p, &meta, true);
        fuzz_try_image(planned.img);
        if (plain.img && fuzz_image_is_small(plain.img)) fuzz_compare_plans(planned.img, plain.img);
        discard(&plain);
    }
    discard(&planned);
    free(report);
}

/* --- repaired file ---------------------------------------------------------------------------- */

struct file {
    uint8_t *bytes;
    size_t n;
};

static int append(void *ctx, const void *bytes, size_t n, struct err *e) {
    struct file *f = ctx;
    uint8_t *more = realloc(f->bytes, f->n + n + 1);
    if (!more) return err_set(e, ERR_LIMIT, "out of memory");
    memcpy(more + f->n, bytes, n);
    f->bytes = more;
    f->n += n;
    return 0;
}

/* A pruned channel has no gain any more. */
static void check_scores(const struct report *before, const struct report *after) {
    FUZZ_MUST(before->n_layers == after->n_layers, "%d layers of %d", after->n_layers, before->n_layers);
    for (int32_t i = 0; i < before->n_layers; i++) {
        const struct report_layer *l = &before->layers[i], *m = &after->layers[i];
        FUZZ_MUST(l->channels == m->channels && l->scored == m->scored, "layer %s", l->name);
        for (int32_t k = 0; k < l->n_pruned; k++)
            FUZZ_MUST(m->uclc[l->pruned[k]] == 0, "%s: channel %d is still there", l->name, l->pruned[k]);
    }
}

static void check_repaired(const struct pipeline *p, const struct file *f) {
    struct pipeline again;
    FUZZ_MUST(pipeline_begin(&again, f->bytes, f->n), "the repaired file is refused");
    FUZZ_MUST(again.graph->n_nodes == p->graph->n_nodes, "%d nodes of %d", again.graph->n_nodes,
              p->graph->n_nodes);
    check_scores(&p->report, &again.report);
    pipeline_end(&again);
}

void pipeline_repair(struct pipeline *p) {
    const struct prune_notes notes = {.threshold = (double)THRESHOLD};
    struct file f = {0};
    struct err e = {0};
    struct prune_edit *edits = calloc((size_t)p->clp.n_edits + 1, sizeof *edits);
    if (!edits) return;
    for (int32_t i = 0; i < p->clp.n_edits; i++) {
        const struct clp_edit *c = &p->clp.edits[i];
        edits[i] = (struct prune_edit){.conv = c->conv, .norm = c->norm, .channels = c->channels, .n = c->n};
    }
    if (onnx_prune(p->model, p->graph, edits, p->clp.n_edits, &notes, append, &f, &e) == 0)
        check_repaired(p, &f);
    else
        fuzz_check_refusal(&e);
    free(f.bytes);
    free(edits);
}
