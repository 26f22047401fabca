/* The keys of a request, each by its own function; unknown ones are skipped, as the protocol wants it. */
#include "daemon/oip.h"

#include <string.h>

#define MAX_ELEMENTS (UINT64_C(1) << 40)

/* --- one tensor ------------------------------------------------------------------------- */

static bool read_name(struct json_read *j, char name[OIP_NAME]) {
    struct json_text t;
    if (name[0]) return json_read_fail(j, "\"name\" stands there twice");
    if (!json_read_text(j, &t)) return false;
    if (!json_text_copy(&t, name, OIP_NAME))
        return json_read_fail(j, "a tensor's name of more than 255 bytes, or with a NUL");
    return name[0] || json_read_fail(j, "a tensor's name is empty");
}

static bool read_shape(struct json_read *j, struct oip_request *q) {
    uint64_t d;
    if (q->rank) return json_read_fail(j, "\"shape\" stands there twice");
    if (!json_read_open(j, '[')) return false;
    q->elements = 1;
    while (json_read_next(j, ']')) {
        if (!json_read_u64(j, &d)) return false;
        if (q->rank == CLPD_MAX_RANK) return json_read_fail(j, "a shape of more than 6 dimensions");
        if (d == 0 || d > UINT32_MAX) return json_read_fail(j, "a dimension of 0, or over 2^32");
        if (__builtin_mul_overflow(q->elements, d, &q->elements) || q->elements > MAX_ELEMENTS)
            return json_read_fail(j, "a shape of more than 2^40 elements");
        q->dims[q->rank++] = (uint32_t)d;
    }
    if (j->what) return false;
    return q->rank || json_read_fail(j, "a shape without dimensions");
}

static bool read_type(struct json_read *j, struct oip_request *q, bool *has) {
    struct json_text t;
    if (*has) return json_read_fail(j, "\"datatype\" stands there twice");
    if (!json_read_text(j, &t)) return false;
    *has = true;
    q->type = json_text_is(&t, "UINT8") ? OIP_UINT8 : OIP_FP32;
    if (q->type == OIP_FP32 && !json_text_is(&t, "FP32"))
        return json_read_fail(j, "datatypes are FP32, or UINT8 for pictures [N,H,W,C]");
    return true;
}

static bool read_input_parameters(struct json_read *j, struct oip_request *q) {
    struct json_text key;
    if (!json_read_open(j, '{')) return false;
    while (json_read_next(j, '}')) {
        if (!json_read_key(j, &key)) return false;
        if (json_text_is(&key, "binary_data_size")) {
            if (!json_read_u64(j, &q->binary_bytes)) return false;
            q->has_binary = true;
        } else if (!json_read_skip(j)) {
            return false;
        }
    }
    return !j->what;
}

static bool read_data(struct json_read *j, struct oip_request *q) {
    if (q->data.at) return json_read_fail(j, "\"data\" stands there twice");
    if (json_read_kind(j) != '[') return json_read_fail(j, "\"data\" has to be an array");
    q->data = *j;
    return json_read_skip(j);
}

static bool read_input(struct json_read *j, struct oip_request *q) {
    struct json_text key;
    bool has_type = false;
    if (!json_read_open(j, '{')) return false;
    while (json_read_next(j, '}')) {
        if (!json_read_key(j, &key)) return false;
        const bool ok = json_text_is(&key, "name")         ? read_name(j, q->input)
                        : json_text_is(&key, "shape")      ? read_shape(j, q)
                        : json_text_is(&key, "datatype")   ? read_type(j, q, &has_type)
                        : json_text_is(&key, "parameters") ? read_input_parameters(j, q)
                        : json_text_is(&key, "data")       ? read_data(j, q)
                                                           : json_read_skip(j);
        if (!ok) return false;
    }
    if (j->what) return false;
    if (!q->input[0]) return json_read_fail(j, "an input without \"name\"");
    if (!q->rank) return json_read_fail(j, "an input without \"shape\"");
    if (!has_type) return json_read_fail(j, "an input without \"datatype\"");
    if (q->data.at && q->has_binary)
        return json_read_fail(j, "an input with both \"data\" and \"binary_data_size\"");
    return q->data.at || q->has_binary ||
           json_read_fail(j, "an input without \"data\" or \"binary_data_size\"");
}

static bool read_inputs(struct json_read *j, struct oip_request *q) {
    uint32_t n = 0;
    if (q->rank) return json_read_fail(j, "\"inputs\" stands there twice");
    if (!json_read_open(j, '[')) return false;
    for (; json_read_next(j, ']'); n++)
        if (n ? json_read_fail(j, "models take one input tensor") : !read_input(j, q)) return false;
    if (j->what) return false;
    return n == 1 || json_read_fail(j, "models take one input tensor");
}

/* --- what is asked for ---------------------------------------------------------------------- */

static bool read_output_parameters(struct json_read *j, struct oip_output *o) {
    struct json_text key;
    if (!json_read_open(j, '{')) return false;
    while (json_read_next(j, '}')) {
        if (!json_read_key(j, &key)) return false;
        if (json_text_is(&key, "binary_data")) {
            if (!json_read_bool(j, &o->binary)) return false;
            o->has_binary = true;
        } else if (json_text_is(&key, "classification")) {
            if (!json_read_u64(j, &o->classes)) return false;
        } else if (!json_read_skip(j)) {
            return false;
        }
    }
    return !j->what;
}

static bool read_output(struct json_read *j, struct oip_output *o) {
    struct json_text key;
    if (!json_read_open(j, '{')) return false;
    while (json_read_next(j, '}')) {
        if (!json_read_key(j, &key)) return false;
        const bool ok = json_text_is(&key, "name")         ? read_name(j, o->name)
                        : json_text_is(&key, "parameters") ? read_output_parameters(j, o)
                                                           : json_read_skip(j);
        if (!ok) return false;
    }
    if (j->what) return false;
    return o->name[0] || json_read_fail(j, "an output without \"name\"");
}

static bool read_outputs(struct json_read *j, struct oip_request *q) {
    if (q->n_outputs) return json_read_fail(j, "\"outputs\" stands there twice");
    if (!json_read_open(j, '[')) return false;
    while (json_read_next(j, ']')) {
        if (q->n_outputs == OIP_OUTPUTS) return json_read_fail(j, "models give one output tensor");
        if (!read_output(j, &q->outputs[q->n_outputs++])) return false;
    }
    return !j->what;
}

static bool read_parameters(struct json_read *j, struct oip_request *q) {
    struct json_text key;
    if (!json_read_open(j, '{')) return false;
    while (json_read_next(j, '}')) {
        if (!json_read_key(j, &key)) return false;
        const bool ok = json_text_is(&key, "binary_data_output") ? json_read_bool(j, &q->binary_output)
                        : json_text_is(&key, "timeout")          ? json_read_u64(j, &q->timeout_us)
                                                                 : json_read_skip(j);
        if (!ok) return false;
    }
    return !j->what;
}

static bool read_id(struct json_read *j, struct oip_request *q) {
    q->has_id = true;
    return json_read_text(j, &q->id);
}

static bool read_request(struct json_read *j, struct oip_request *q) {
    struct json_text key;
    if (!json_read_open(j, '{')) return false;
    while (json_read_next(j, '}')) {
        if (!json_read_key(j, &key)) return false;
        const bool ok = json_text_is(&key, "id")           ? read_id(j, q)
                        : json_text_is(&key, "inputs")     ? read_inputs(j, q)
                        : json_text_is(&key, "outputs")    ? read_outputs(j, q)
                        : json_text_is(&key, "parameters") ? read_parameters(j, q)
                                                           : json_read_skip(j);
        if (!ok) return false;
    }
    if (j->what || !json_read_end(j)) return false;
    return q->rank || json_read_fail(j, "a request without \"inputs\"");
}

int oip_read(const uint8_t *bytes, size_t size, struct oip_request *q, struct err *e) {
    struct json_read j;
    memset(q, 0, sizeof *q);
    json_read_begin(&j, bytes, size);
    if (!read_request(&j, q)) return json_read_err(&j, e);
    if (q->has_binary && q->binary_bytes != oip_tensor_bytes(q))
        return err_set(e, ERR_VALUE, "binary_data_size is %llu, and the shape has %llu bytes",
                       (unsigned long long)q->binary_bytes, (unsigned long long)oip_tensor_bytes(q));
    return 0;
}

uint64_t oip_tensor_bytes(const struct oip_request *q) {
    return q->elements * (q->type == OIP_FP32 ? sizeof(float) : 1);
}

/* --- numbers ---------------------------------------------------------------------------------- */

static bool put_number(struct json_read *j, const struct oip_request *q, void *tensor, uint64_t at) {
    uint64_t byte;
    if (q->type == OIP_FP32) return json_read_float(j, (float *)tensor + at);
    if (!json_read_u64(j, &byte)) return false;
    if (byte > UINT8_MAX) return json_read_fail(j, "a number over 255 in a UINT8 tensor");
    ((uint8_t *)tensor)[at] = (uint8_t)byte;
    return true;
}

static bool put_row(struct json_read *j, const struct oip_request *q, uint64_t n, void *tensor,
                    uint64_t *at) {
    uint64_t had = 0;
    while (json_read_next(j, ']')) {
        if (had++ == n) return json_read_fail(j, "\"data\" has more numbers than the shape says");
        if (!put_number(j, q, tensor, (*at)++)) return false;
    }
    if (j->what) return false;
    return had == n || json_read_fail(j, "\"data\" has fewer numbers than the shape says");
}

/* The bracket of level `level` is open. As deep as the shape, which is at most CLPD_MAX_RANK. */
static bool put_nested(struct json_read *j, const struct oip_request *q, uint32_t level, void *tensor,
                       uint64_t *at) {
    uint32_t n = 0;
    if (level + 1 == q->rank) return put_row(j, q, q->dims[level], tensor, at);
    for (; json_read_next(j, ']'); n++) {
        if (n == q->dims[level]) return json_read_fail(j, "\"data\" has more rows than the shape says");
        if (!json_read_open(j, '[') || !put_nested(j, q, level + 1, tensor, at)) return false;
    }
    if (j->what) return false;
    return n == q->dims[level] || json_read_fail(j, "\"data\" has fewer rows than the shape says");
}

int oip_read_data(const struct oip_request *q, void *tensor, struct err *e) {
    struct json_read j = q->data;
    uint64_t at = 0;
    if (!json_read_open(&j, '[')) return json_read_err(&j, e);
    const bool nested = q->rank > 1 && json_read_kind(&j) == '[';
    const bool ok = nested ? put_nested(&j, q, 0, tensor, &at) : put_row(&j, q, q->elements, tensor, &at);
    return ok ? 0 : json_read_err(&j, e);
}
