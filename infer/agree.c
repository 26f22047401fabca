/* The first class of each sample, by either network. See agree.h. */
#include "infer/agree.h"

#include "infer/engine.h"
#include "infer/npy.h"
#include "infer/topk.h"

#include <stdlib.h>
#include <string.h>

struct network {
    const struct image *image;
    struct engine *engine;
    uint32_t classes;
};

static const struct shape *input_of(const struct image *img) {
    return &image_tensor_at(img, image_header(img)->inputs[0])->shape;
}

static int open_network(struct network *n, const struct image *img, struct err *e) {
    const struct image_header *h = image_header(img);
    n->image = img;
    if (h->n_inputs != 1)
        return err_set(e, ERR_UNSUPPORTED, "the network has %u inputs; samples are for one", h->n_inputs);
    const int64_t classes = shape_elements(&image_tensor_at(img, h->outputs[0])->shape);
    if (h->item_images > 1 || classes < 1 || classes > INT32_MAX)
        return err_set(e, ERR_UNSUPPORTED,
                       "the network takes several pictures at once; samples are single ones");
    n->classes = (uint32_t)classes;
    n->engine = engine_new();
    if (!n->engine) return err_set(e, ERR_SYSTEM, "out of memory for the samples");
    return engine_reserve(n->engine, img, 1, e);
}

/* Which way the pictures lie, by their shape. */
static int match(const struct npy *a, const struct shape *in, enum input_format *format, struct err *e) {
    char have[128], want[128];
    const int64_t each = shape_elements(in);
    const bool same_rank = a->shape.rank == in->rank && in->rank >= 1;
    bool floats = a->type == NPY_F32 && same_rank, bytes = a->type == NPY_U8 && same_rank && in->rank == 4;
    for (int d = 1; floats && d < in->rank; d++) floats = a->shape.dim[d] == in->dim[d];
    if (bytes)
        bytes =
            a->shape.dim[1] == in->dim[2] && a->shape.dim[2] == in->dim[3] && a->shape.dim[3] == in->dim[1];
    *format = bytes ? INPUT_U8_NHWC : INPUT_F32_NCHW;
    if ((!floats && !bytes) || (bytes && (in->dim[1] == 2 || in->dim[1] > 4)))
        return err_set(
            e, ERR_VALUE,
            "the samples are %s of %s, the network takes float32 [n, ...] of %s, or uint8 [n,H,W,C]",
            shape_text(&a->shape, have, sizeof have), npy_type_name(a->type),
            shape_text(in, want, sizeof want));
    if (a->shape.dim[0] < 1 || a->shape.dim[0] > AGREE_MAX_SAMPLES || a->elements / a->shape.dim[0] != each)
        return err_set(e, ERR_VALUE, "there are %lld samples; 1 to %d are taken", (long long)a->shape.dim[0],
                       AGREE_MAX_SAMPLES);
    return 0;
}

static int classify(const struct network *n, const void *sample, enum input_format format, uint32_t *class,
                    struct err *e) {
    const struct engine_item item = {.inputs = {sample}, .format = (uint32_t)format};
    struct topk best;
    if (engine_run(n->engine, n->image, 1, &item)) return err_set(e, ERR_INTERNAL, "the network did not run");
    (void)topk_select(engine_output(n->engine, 0, 0), n->classes, 1, &best);
    *class = best.index;
    return 0;
}

static int compare(const struct network n[2], const struct npy *a, enum input_format format,
                   struct agree *out, struct err *e) {
    const size_t each = a->bytes / (size_t)a->shape.dim[0];
    void *sample = aligned_alloc(64, (each + 63) / 64 * 64);
    if (!sample) return err_set(e, ERR_SYSTEM, "out of memory for a sample");
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < (uint32_t)a->shape.dim[0]; i++) {
        uint32_t class[2] = {0, 0};
        memcpy(sample, a->data + i * each, each);
        for (int k = 0; rc == 0 && k < 2; k++) rc = classify(&n[k], sample, format, &class[k], e);
        out->samples++;
        out->agreed += class[0] == class[1];
        if (class[0] == class[1] || out->n_flips == AGREE_FLIPS) continue;
        out->flips[out->n_flips].sample = i;
        out->flips[out->n_flips].before = class[0];
        out->flips[out->n_flips++].after = class[1];
    }
    free(sample);
    return rc;
}

int agree_measure(const struct image *before, const struct image *after, const uint8_t *bytes, size_t size,
                  struct agree *out, struct err *e) {
    struct network n[2] = {{.engine = NULL}, {.engine = NULL}};
    struct npy a;
    enum input_format format;
    *out = (struct agree){0};
    int rc = npy_parse(bytes, size, &a, e);
    if (rc == 0 && a.shape.rank < 1) rc = err_set(e, ERR_VALUE, "the samples are a single number");
    if (rc == 0) rc = open_network(&n[0], before, e);
    if (rc == 0) rc = open_network(&n[1], after, e);
    if (rc == 0 && (n[0].classes != n[1].classes || !shape_equal(input_of(before), input_of(after))))
        rc = err_set(e, ERR_INTERNAL, "the two networks are not of one model");
    if (rc == 0) rc = match(&a, input_of(after), &format, e);
    if (rc == 0) rc = compare(n, &a, format, out, e);
    engine_free(n[0].engine);
    engine_free(n[1].engine);
    return rc ? -1 : 0;
}
