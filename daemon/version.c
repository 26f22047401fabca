/* From an image to what requests are held against. */
#include "daemon/version.h"

#include "infer/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int take_input(struct version *v, uint64_t request_bytes, struct err *e) {
    const struct image_header *h = image_header(v->image);
    if (h->n_inputs != 1)
        return err_set(e, ERR_UNSUPPORTED, "the network has %u inputs; requests carry one tensor",
                       h->n_inputs);
    const struct shape *s = &image_tensor_at(v->image, h->inputs[0])->shape;
    char text[96];
    if (s->rank < 1 || s->rank > FRAME_MAX_RANK)
        return err_set(e, ERR_UNSUPPORTED, "the input %s has rank %d; requests have 1 to %d dimensions",
                       shape_text(s, text, sizeof text), s->rank, FRAME_MAX_RANK);
    v->input.rank = (uint32_t)s->rank;
    for (int i = 0; i < s->rank; i++)
        v->input.dims[i] = (uint32_t)s->dim[i]; /* image_check: 1 .. INT32_MAX */
    v->input.f32_bytes = engine_input_bytes(v->image, 0, INPUT_F32_NCHW);
    v->input.u8_bytes = engine_input_bytes(v->image, 0, INPUT_U8_NHWC);
    const uint64_t least = v->input.u8_bytes ? v->input.u8_bytes : v->input.f32_bytes;
    if (least > request_bytes)
        return err_set(e, ERR_LIMIT,
                       "one input %s takes %" PRIu64 " bytes, over limits.request_bytes (%" PRIu64
                       "): raise that",
                       shape_text(s, text, sizeof text), least, request_bytes);
    return 0;
}

/* The first output is the one that is served: exporters put the class scores there. */
static int take_output(struct version *v, struct err *e) {
    const struct image_header *h = image_header(v->image);
    if (h->n_outputs < 1) return err_set(e, ERR_UNSUPPORTED, "the network has no output");
    const int64_t n = shape_elements(&image_tensor_at(v->image, h->outputs[0])->shape);
    v->pictures = h->item_images > 0 && n % h->item_images == 0 ? h->item_images : 1;
    if (n < 1 || n / v->pictures > UINT32_MAX)
        return err_set(e, ERR_UNSUPPORTED, "the network's output has %" PRId64 " elements", n);
    v->classes = (uint32_t)(n / v->pictures);
    v->is_probability = h->output_is_probability;
    return 0;
}

struct version *version_new(struct image *img, const struct link_message *offer, uint32_t max_batch,
                            uint64_t request_bytes, struct err *e) {
    const struct image_header *h = image_header(img);
    struct timespec now;
    struct version *v = calloc(1, sizeof *v);
    if (!v) {
        image_unmap(img);
        (void)err_set(e, ERR_SYSTEM, "out of memory for a model version");
        return NULL;
    }
    v->image = img;
    atomic_init(&v->references, 1);
    if (offer->model_version == 0) {
        (void)err_set(e, ERR_VALUE, "versions count from 1");
        goto refused;
    }
    if (memcmp(h->source_sha256, offer->sha256, sizeof v->sha256) != 0) {
        (void)err_set(e, ERR_VALUE, "the image was not made from the file that it is offered for");
        goto refused;
    }
    if (take_input(v, request_bytes, e) || take_output(v, e)) goto refused;
    v->max_items = max_batch / v->pictures ? max_batch / v->pictures : 1;
    v->number = offer->model_version;
    memcpy(v->sha256, offer->sha256, sizeof v->sha256);
    v->verdict = offer->verdict;
    v->pruned_channels = offer->pruned_channels;
    v->canary = offer->canary;
    v->total_channels = offer->total_channels;
    v->image_bytes = h->bytes;
    v->closed_ns = offer->closed_ns;
    v->identity = offer->identity;
    v->policy = offer->policy;
    v->build = offer->build;
    v->repaired = offer->repaired;
    v->probe = offer->probe;
    memcpy(v->beside, offer->beside, sizeof v->beside);
    v->inherited = offer->inherited;
    memcpy(v->path, offer->path, sizeof v->path);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    v->loaded_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return v;
refused:
    version_free(v);
    return NULL;
}

void version_free(struct version *v) {
    if (!v) return;
    image_unmap(v->image);
    free(v);
}

void version_get(struct version *v) {
    atomic_fetch_add_explicit(&v->references, 1, memory_order_relaxed);
}

void version_put(struct version *v) {
    if (atomic_fetch_sub_explicit(&v->references, 1, memory_order_acq_rel) == 1) v->retire(v);
}

bool version_same_signature(const struct version *a, const struct version *b) {
    return frame_input_equal(&a->input, &b->input) && a->pictures == b->pictures &&
           a->classes == b->classes && a->is_probability == b->is_probability;
}
