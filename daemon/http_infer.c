/* Inference over HTTP: the request is held against the model's names, and sent to the loop as a frame; what
 * the loop checks (shape, sizes, limits) is left to it. */
#include "daemon/http_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct catalogue_model *http_find_model(struct http_exchange *x, struct catalogue_list **list) {
    *list = catalogue_get(x->plane->all->catalogue);
    const struct catalogue_model *m = catalogue_find(*list, x->route.model);
    if (m && (x->route.version == 0 || x->route.version == m->version->number)) return m;
    if (m)
        http_fail(x, 404, "model \"%s\" is served in version %" PRIu64 ", not %" PRIu64, m->name,
                  m->version->number, x->route.version);
    else
        http_fail(x, 404, "no model \"%s\" is served", x->route.model);
    catalogue_put(*list);
    *list = NULL;
    return NULL;
}

/* --- the answer ------------------------------------------------------------------------------ */

/* The output's shape with the batch in front; where it does not fit the counts, [items, classes]. */
static void shape_answer(const struct http_exchange *x, const struct clpd_result *r, struct oip_answer *a) {
    uint64_t rest = 1;
    if (a->classes) {
        a->rank = 2;
        a->dims[0] = r->items;
        a->dims[1] = r->top_k;
        return;
    }
    for (uint32_t i = 1; i < x->rank; i++) rest *= x->dims[i];
    a->rank = 2;
    a->dims[0] = r->items;
    a->dims[1] = r->classes;
    if (x->rank < 1 || rest != r->classes) return;
    a->rank = x->rank;
    for (uint32_t i = 1; i < x->rank; i++) a->dims[i] = x->dims[i];
}

static void write_answer(struct http_exchange *x, const struct clpd_result *r) {
    struct oip_answer a = {.model = x->route.model,
                           .id = x->asked.has_id ? &x->asked.id : NULL,
                           .output = x->output,
                           .binary = x->binary,
                           .classes = x->classes != 0,
                           .result = r};
    char *text = NULL;
    size_t n = 0, json = 0;
    shape_answer(x, r, &a);
    FILE *to = open_memstream(&text, &n);
    int rc = to ? oip_write(to, &a, &json) : -ENOMEM;
    if (to && fclose(to)) rc = -ENOMEM;
    if (rc == 0) {
        http_answer(x, 200, x->binary ? HTTP_BINARY : HTTP_JSON, text, n);
        if (x->binary) x->answer_header = (int64_t)json;
        return;
    }
    free(text);
    if (rc == -EDOM)
        http_fail(x, 400, "a score is not finite, which JSON can't say: ask for binary_data");
    else
        http_fail(x, 503, "out of memory for the answer");
}

static void on_answer(struct http_exchange *x, const struct clpd_result *r) {
    if (r->status != CLPD_OK)
        http_fail(x, http_status_of(r->status), "%s", r->text);
    else if (x->route.version && r->version != x->route.version)
        http_fail(x, 404, "version %" PRIu64 " of \"%s\" was replaced by %" PRIu64 " meanwhile",
                  x->route.version, x->route.model, r->version);
    else
        write_answer(x, r);
}

/* --- the request ------------------------------------------------------------------------------- */

static void take_names(struct http_exchange *x, const struct version *v) {
    const struct image_header *h = image_header(v->image);
    const struct image_tensor *in = image_tensor_at(v->image, h->inputs[0]),
                              *out = image_tensor_at(v->image, h->outputs[0]);
    (void)snprintf(x->input, sizeof x->input, "%s", image_string(v->image, in->name));
    (void)snprintf(x->output, sizeof x->output, "%s", image_string(v->image, out->name));
    x->rank = out->shape.rank > 0 && out->shape.rank <= CLPD_MAX_RANK ? (uint32_t)out->shape.rank : 0;
    for (uint32_t i = 0; i < x->rank; i++) x->dims[i] = (uint32_t)out->shape.dim[i];
}

/* The whole body is the tensor, whose shape follows from its length. */
static bool read_raw(struct http_exchange *x, const struct version *v) {
    struct oip_request *q = &x->asked;
    const uint64_t each = v->input.f32_bytes, n = each ? x->body_bytes / each : 0;
    if (n == 0 || x->body_bytes % each || n * v->input.dims[0] > UINT32_MAX) {
        http_fail(x, 400, "a raw request of %zu bytes; one input of \"%s\" has %" PRIu64, x->body_bytes,
                  x->route.model, each);
        return false;
    }
    *q = (struct oip_request){.type = OIP_FP32,
                              .rank = v->input.rank,
                              .elements = x->body_bytes / sizeof(float),
                              .has_binary = true,
                              .binary_bytes = x->body_bytes,
                              .binary_output = true};
    memcpy(q->dims, v->input.dims, sizeof q->dims);
    q->dims[0] = (uint32_t)(n * v->input.dims[0]);
    (void)snprintf(q->input, sizeof q->input, "%s", x->input);
    return true;
}

static bool read_body(struct http_exchange *x) {
    const bool binary = x->header_bytes != HTTP_NO_HEADER;
    const size_t json = binary ? (size_t)x->header_bytes : x->body_bytes;
    struct err e = {0};
    if (json > x->body_bytes) {
        http_fail(x, 400, "Inference-Header-Content-Length is over the body's %zu bytes", x->body_bytes);
        return false;
    }
    if (oip_read(x->body, json, &x->asked, &e)) {
        http_fail(x, 400, "%s", e.text);
        return false;
    }
    const uint64_t behind = x->asked.has_binary ? x->asked.binary_bytes : 0;
    if (behind == x->body_bytes - json) return true;
    if (binary || !x->asked.has_binary)
        http_fail(x, 400, "%zu bytes stand behind the JSON, and binary_data_size says %" PRIu64,
                  x->body_bytes - json, behind);
    else
        http_fail(x, 400, "binary_data_size needs the header Inference-Header-Content-Length");
    return false;
}

/* What is asked of the outputs; false: x has its answer. */
static bool take_outputs(struct http_exchange *x) {
    const struct oip_request *q = &x->asked;
    x->binary = q->binary_output;
    if (q->n_outputs > 1) {
        http_fail(x, 400, "\"%s\" has one output, \"%s\"", x->route.model, x->output);
        return false;
    }
    if (q->n_outputs == 0) return true;
    const struct oip_output *o = &q->outputs[0];
    if (strcmp(o->name, x->output) != 0) {
        http_fail(x, 400, "\"%s\" has no output \"%s\"; its output is \"%s\"", x->route.model, o->name,
                  x->output);
        return false;
    }
    if (o->has_binary) x->binary = o->binary;
    if (o->classes > CLPD_MAX_TOP_K) {
        http_fail(x, 400, "\"classification\" goes up to %d", CLPD_MAX_TOP_K);
        return false;
    }
    x->classes = (uint32_t)o->classes;
    return true;
}

/* The tensor where it lies, or decoded into new memory, *own. NULL: x has its answer. */
static const void *find_tensor(struct http_exchange *x, void **own) {
    const struct oip_request *q = &x->asked;
    const uint64_t bytes = oip_tensor_bytes(q), most = x->plane->all->config->limit_request_bytes;
    struct err e = {0};
    *own = NULL;
    if (bytes > most) {
        http_fail(x, 413, "a tensor of %" PRIu64 " bytes; limits.request_bytes is %" PRIu64, bytes, most);
        return NULL;
    }
    if (q->has_binary) return x->body + (x->body_bytes - bytes);
    if (!http_hold(x, bytes) || !(*own = malloc(bytes))) {
        http_fail(x, 503, "no memory for a tensor of %" PRIu64 " bytes (http.memory): try again later",
                  bytes);
        return NULL;
    }
    if (oip_read_data(q, *own, &e) == 0) return *own;
    http_fail(x, 400, "%s", e.text);
    return NULL;
}

static void ask(struct http_exchange *x, struct version *v, const void *tensor, void *own) {
    const struct oip_request *q = &x->asked;
    struct clpd_request c = {.model = x->route.model,
                             .format = q->type == OIP_FP32 ? CLPD_F32_NCHW : CLPD_U8_NHWC,
                             .data = tensor,
                             .timeout_us = q->timeout_us < UINT32_MAX ? (uint32_t)q->timeout_us : UINT32_MAX,
                             .top_k = (uint16_t)x->classes,
                             .want_scores = x->classes == 0};
    memcpy(c.dims, q->dims, sizeof c.dims);
    if (http_run_here(x, v, &c, on_answer))
        free(own);
    else
        http_line_lend(x, &c, oip_tensor_bytes(q), own, on_answer);
}

static void infer(struct http_exchange *x, struct version *v) {
    void *own = NULL;
    take_names(x, v);
    const bool ok = x->header_bytes == 0 ? read_raw(x, v) : read_body(x);
    if (!ok || !take_outputs(x)) return;
    if (strcmp(x->asked.input, x->input) != 0) {
        http_fail(x, 400, "\"%s\" has no input \"%s\"; its input is \"%s\"", x->route.model, x->asked.input,
                  x->input);
        return;
    }
    const void *tensor = find_tensor(x, &own);
    if (tensor)
        ask(x, v, tensor, own);
    else
        free(own);
}

void http_infer(struct http_exchange *x) {
    struct catalogue_list *list;
    const struct catalogue_model *m = http_find_model(x, &list);
    if (!m) return;
    infer(x, m->version);
    catalogue_put(list);
}
