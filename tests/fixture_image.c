/* Compiles the graphs of tests; see fixture_image.h. */
#include "tests/fixture_image.h"

#include "infer/image_internal.h"
#include "tests/fixture_graph.h"
#include "tests/suite.h"
#include "tests/twin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void must(int rc, const struct err *e) {
    if (rc) fprintf(stderr, "\nfixture: %s\n", e->text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static struct compiled compile(struct graph *g, const struct plan_options *o, const struct plan_metadata *m) {
    struct err e = {0};
    struct plan *p;
    struct compiled c = {0};
    must(plan_make(g, o, &p, &e), &e);
    c.size = plan_image_bytes(p, m);
    c.bytes = aligned_alloc(64, (c.size + 63) / 64 * 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.bytes);
    memset(c.bytes, 0, c.size);
    must(image_write(p, m, c.bytes, c.size, &e), &e);
    plan_free(p);
    must(image_check(c.bytes, c.size, &c.img, &e), &e);
    return c;
}

struct compiled fixture_compile_with(struct graph *g, bool reference, const struct plan_metadata *m) {
    return compile(g, &(struct plan_options){.isa = ISA_GENERIC, .reference = reference}, m);
}

struct compiled fixture_compile_here(struct graph *g) {
    return compile(g, &(struct plan_options){.isa = image_host_isa()}, &(struct plan_metadata){0});
}

struct compiled fixture_compile_masked(struct graph *g) {
    const struct plan_options o = {.isa = image_host_isa(), .keep_dead = true};
    return compile(g, &o, &(struct plan_metadata){0});
}

struct compiled fixture_compile_keep(struct graph *g, bool blocked) {
    const struct plan_options o = {.isa = blocked ? image_host_isa() : ISA_GENERIC, .keep = true};
    const struct plan_metadata m = {.preprocess = {.scale = 1.0f / 255, .std = {1, 1, 1, 1}}};
    return compile(g, &o, &m);
}

struct compiled fixture_compile(struct graph *g, bool reference) {
    static const char *const labels[] = {"stop", "give way"};
    return fixture_compile_with(
        g, reference,
        &(struct plan_metadata){.labels = labels, .n_labels = 2, .report = "report", .report_bytes = 6});
}

void fixture_discard(struct compiled *c) {
    image_unmap(c->img);
    free(c->bytes);
    *c = (struct compiled){0};
}

void fixture_reseal(uint8_t *bytes, size_t size) {
    uint8_t digest[32];
    image_checksum(bytes, size, digest);
    memcpy(fixture_header(bytes)->self_checksum, digest, sizeof digest);
}

struct image_header *fixture_header(uint8_t *bytes) {
    return (void *)bytes;
}
static void *section(uint8_t *bytes, int i) {
    return bytes + fixture_header(bytes)->sections[i].offset;
}
struct image_tensor *fixture_tensor(uint8_t *bytes, uint32_t index) {
    return (struct image_tensor *)section(bytes, SECTION_TENSORS) + index;
}
struct image_step *fixture_step(uint8_t *bytes, uint32_t index) {
    return (struct image_step *)section(bytes, SECTION_STEPS) + index;
}
uint32_t *fixture_operands(uint8_t *bytes) {
    return section(bytes, SECTION_OPERANDS);
}

uint32_t fixture_find_step(const struct image *img, enum op op, uint32_t nth) {
    for (uint32_t i = 0; i < image_header(img)->n_steps; i++)
        if (image_step_at(img, i)->op == op && nth-- == 0) return i;
    return UINT32_MAX;
}

uint32_t fixture_count_steps(const struct image *img, enum op op) {
    uint32_t n = 0;
    while (fixture_find_step(img, op, n) != UINT32_MAX) n++;
    return n;
}

struct results {
    float *numbers;
    size_t sizes[IMAGE_MAX_IO]; /* floats per output */
};

static struct results run(struct graph *g, bool reference) {
    struct compiled c = fixture_compile(g, reference);
    const struct image_header *h = image_header(c.img);
    struct results r = {0};
    float *inputs[IMAGE_MAX_IO] = {0};
    uint64_t seed = 42;
    for (uint32_t i = 0; i < h->n_inputs; i++) {
        const size_t floats = image_tensor_at(c.img, h->inputs[i])->bytes / sizeof(float);
        inputs[i] = malloc(floats * sizeof(float));
        CU_ASSERT_PTR_NOT_NULL_FATAL(inputs[i]);
        for (size_t k = 0; k < floats; k++) inputs[i][k] = fixture_float(&seed, -1, 1);
    }
    r.numbers = twin_run(c.img, (const float *const *)inputs);
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.numbers);
    for (uint32_t i = 0; i < h->n_outputs; i++)
        r.sizes[i] = image_tensor_at(c.img, h->outputs[i])->bytes / sizeof(float);
    for (uint32_t i = 0; i < h->n_inputs; i++) free(inputs[i]);
    fixture_discard(&c);
    return r;
}

static double difference(const float *a, const float *b, size_t n) {
    double worst = 0, largest = 1e-30;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

double fixture_difference(struct graph *g) {
    const struct results fast = run(g, false), plain = run(g, true);
    double worst = 0;
    for (size_t i = 0, at = 0; i < IMAGE_MAX_IO; at += plain.sizes[i++]) {
        CU_ASSERT_EQUAL_FATAL(fast.sizes[i], plain.sizes[i]);
        worst = fmax(worst, difference(fast.numbers + at, plain.numbers + at, plain.sizes[i]));
    }
    free(fast.numbers);
    free(plain.numbers);
    return worst;
}
