/* The import worker's steps one after the other; see pipeline.h. */
#include "tests/fuzz/support/pipeline.h"

#include "guard/onnx_prune.h"
#include "infer/plan.h"
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

static void check_image(const uint8_t *image, size_t size) {
    struct image *img;
    struct err e = {0};
    FUZZ_MUST(image_check(image, size, &img, &e) == 0, "the writer's image: %s", e.text);
    fuzz_try_image(img);
    image_unmap(img);
}

static void write_image(struct plan *plan, const struct plan_metadata *meta) {
    struct err e = {0};
    const size_t size = plan_image_bytes(plan, meta);
    void *image = NULL;
    if (size > MOST_IMAGE || posix_memalign(&image, IMAGE_ALIGN, size)) return;
    memset(image, 0, size);
    if (image_write(plan, meta, image, size, &e) == 0)
        check_image(image, size);
    else
        fuzz_check_refusal(&e);
    free(image);
}

void pipeline_compile(struct pipeline *p) {
    struct plan_metadata meta = {.preprocess = {.scale = 1.0f / 255, .std = {1, 1, 1, 1}}};
    struct plan *plan = NULL;
    struct err e = {0};
    if (plan_make(p->graph, &(struct plan_options){.isa = image_host_isa()}, &plan, &e) < 0) {
        fuzz_check_refusal(&e);
        return;
    }
    uint8_t *report = report_encode(&p->report, &meta.report_bytes);
    meta.report = report;
    if (report) write_image(plan, &meta);
    free(report);
    plan_free(plan);
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

static void check_repaired(const struct pipeline *p, const struct file *f) {
    struct pipeline again;
    struct err e = {0};
    const struct import_options o = {
        .external = external(), .external_bytes = 4096, .external_name = "w.data"};
    again = (struct pipeline){0};
    FUZZ_MUST(import_onnx(f->bytes, f->n, &o, &again.model, &again.graph, &e) == 0, "repaired: %s", e.text);
    FUZZ_MUST(again.graph->n_nodes == p->graph->n_nodes, "%d nodes of %d", again.graph->n_nodes,
              p->graph->n_nodes);
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
