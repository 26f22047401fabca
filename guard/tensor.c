/* Constant tensors: one pass over the weights that both copies (where the file
 * has them unaligned) and looks for values that are not finite. */
#include "guard/tensor.h"

#include <math.h>
#include <string.h>

#define BLOCK 1024 /* floats looked at together: they stay in the first-level cache after a copy */

bool tensor_type_is_float(int32_t type) {
    return type == ONNX_FLOAT || type == ONNX_FLOAT16 || type == ONNX_BFLOAT16 || type == ONNX_DOUBLE;
}

bool tensor_type_is_integer(int32_t type) {
    return (type >= ONNX_UINT8 && type <= ONNX_INT64) || type == ONNX_BOOL || type == ONNX_UINT32 ||
           type == ONNX_UINT64;
}

static size_t type_bytes(int32_t type) {
    switch (type) {
    case ONNX_UINT8:
    case ONNX_INT8:
    case ONNX_BOOL: return 1;
    case ONNX_UINT16:
    case ONNX_INT16:
    case ONNX_FLOAT16:
    case ONNX_BFLOAT16: return 2;
    case ONNX_DOUBLE:
    case ONNX_INT64:
    case ONNX_UINT64: return 8;
    default: return 4;
    }
}

/* --- finite? ---------------------------------------------------------------------- */

typedef uint32_t lanes __attribute__((vector_size(16)));

/* An exponent of all ones is NaN or infinity: adding one to it carries into the sign bit. */
static bool block_is_finite(const float *p) {
    lanes bad[4] = {{0}};
    for (int i = 0; i < BLOCK; i += 16) {
        lanes v[4];
        memcpy(v, p + i, sizeof v);
        for (int j = 0; j < 4; j++) bad[j] |= (v[j] & 0x7fffffffu) + 0x00800000u;
    }
    const lanes all = bad[0] | bad[1] | bad[2] | bad[3];
    return !((all[0] | all[1] | all[2] | all[3]) >> 31);
}

static int64_t find_bad_slowly(const float *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(p[i])) return i;
    return -1;
}

int64_t tensor_find_bad(const float *p, int64_t n) {
    int64_t at = 0;
    for (; n - at >= BLOCK; at += BLOCK)
        if (!block_is_finite(p + at)) return at + find_bad_slowly(p + at, BLOCK);
    const int64_t rest = find_bad_slowly(p + at, n - at);
    return rest < 0 ? -1 : at + rest;
}

int64_t tensor_first_bad(struct tensor *t) {
    if (t->origin->bad == TENSOR_UNCHECKED) t->origin->bad = tensor_find_bad(t->f, t->count);
    return t->origin->bad;
}

int64_t tensor_copy_and_find_bad(float *to, const uint8_t *from, int64_t n) {
    int64_t bad = -1;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t part = n - at < BLOCK ? n - at : BLOCK;
        memcpy(to + at, from + (size_t)at * sizeof *to, (size_t)part * sizeof *to);
        if (bad >= 0) continue;
        const int64_t found = tensor_find_bad(to + at, part);
        if (found >= 0) bad = at + found;
    }
    return bad;
}

/* --- making ------------------------------------------------------------------------ */

static void *take_memory(struct tensor_memory *m, int64_t bytes, struct err *e) {
    if (bytes > m->left) {
        (void)err_set(e, ERR_LIMIT,
                      "the constants of this model need too much memory once they are unpacked");
        return NULL;
    }
    m->left -= bytes;
    void *p = graph_alloc(m->g, (size_t)bytes);
    if (!p) (void)err_set(e, ERR_LIMIT, "out of memory for constants");
    return p;
}

static struct tensor *new_empty(struct tensor_memory *m, int32_t type, const struct shape *s, struct err *e) {
    const int64_t count = shape_elements(s);
    if (count < 0) {
        char text[128];
        (void)err_set(e, ERR_LIMIT, "a tensor cannot have shape %s: 0 to 2^31 elements are accepted",
                      shape_text(s, text, sizeof text));
        return NULL;
    }
    struct tensor *t = take_memory(m, sizeof *t, e);
    if (t)
        *t = (struct tensor){.name = {"", 0},
                             .shape = *s,
                             .type = type,
                             .count = count,
                             .source = -1,
                             .value = -1,
                             .bad = TENSOR_UNCHECKED,
                             .origin = t};
    return t;
}

static float *take_floats(struct tensor_memory *m, struct tensor *t, struct err *e) {
    float *f = take_memory(m, t->count * (int64_t)sizeof *f, e);
    t->f = f;
    return f;
}

void tensor_reserve(struct tensor_memory *m, size_t bytes) {
    m->weights = graph_alloc(m->g, bytes);
    m->weights_left = m->weights ? bytes : 0;
}

/* For a copy of float32 from the file: no more than it has, so outside the limit. */
static float *take_weights(struct tensor_memory *m, struct tensor *t, struct err *e) {
    const size_t bytes = ((size_t)t->count * sizeof(float) + 63) / 64 * 64;
    if (bytes == 0 || bytes > m->weights_left) return take_floats(m, t, e);
    float *f = (float *)(void *)m->weights;
    m->weights += bytes;
    m->weights_left -= bytes;
    t->f = f;
    return f;
}

static int64_t *take_integers(struct tensor_memory *m, struct tensor *t, struct err *e) {
    int64_t *i = take_memory(m, t->count * (int64_t)sizeof *i, e);
    t->i = i;
    return i;
}

struct tensor *tensor_new(struct tensor_memory *m, int32_t type, const struct shape *s, float **f,
                          int64_t **i, struct err *e) {
    struct tensor *t = new_empty(m, type, s, e);
    if (!t) return NULL;
    if (tensor_type_is_float(type)) return (*f = take_floats(m, t, e)) ? t : NULL;
    return (*i = take_integers(m, t, e)) ? t : NULL;
}

struct tensor *tensor_view(struct tensor_memory *m, const struct tensor *t, const struct shape *s,
                           struct err *e) {
    if (shape_elements(s) != t->count) {
        char from[128], to[128];
        (void)err_set(e, ERR_FORMAT, "%s cannot become %s", shape_text(&t->shape, from, sizeof from),
                      shape_text(s, to, sizeof to));
        return NULL;
    }
    struct tensor *v = take_memory(m, sizeof *v, e);
    if (!v) return NULL;
    t->origin->own = false;
    if (t->origin->value >= 0) m->g->values[t->origin->value].writable = false;
    *v = *t;
    v->shape = *s;
    v->value = -1;
    v->own = false;
    return v;
}

bool tensor_equal(const struct tensor *a, const struct tensor *b) {
    if (a == b) return true;
    if (a->type != b->type || !shape_equal(&a->shape, &b->shape) || !a->f != !b->f) return false;
    if (a->f) return a->f == b->f || memcmp(a->f, b->f, (size_t)a->count * sizeof *a->f) == 0;
    return a->i == b->i || memcmp(a->i, b->i, (size_t)a->count * sizeof *a->i) == 0;
}

/* --- loading ----------------------------------------------------------------------- */

static int check_kind(const struct onnx_tensor *t, struct err *e) {
    if (t->has_strings || t->type == ONNX_STRING)
        return err_set(e, ERR_UNSUPPORTED, "it holds strings; only numbers are accepted");
    if (t->has_segment)
        return err_set(e, ERR_UNSUPPORTED, "it comes in segments; save the model with whole tensors");
    if (!tensor_type_is_float(t->type) && !tensor_type_is_integer(t->type))
        return err_set(
            e, ERR_UNSUPPORTED,
            "its type is %s (%d); accepted are float, float16, bfloat16, double, integers and bool",
            onnx_type_name(t->type), t->type);
    return 0;
}

static int read_shape(const struct onnx_tensor *t, struct shape *s, struct err *e) {
    if (t->n_dims > SHAPE_MAX_RANK)
        return err_set(e, ERR_LIMIT, "it has %d dimensions; at most %d are accepted", t->n_dims,
                       SHAPE_MAX_RANK);
    *s = (struct shape){.rank = t->n_dims};
    for (int32_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] < 0) return err_set(e, ERR_FORMAT, "dimension %d is %lld", i, (long long)t->dims[i]);
        s->dim[i] = t->dims[i];
    }
    char text[128];
    if (shape_elements(s) < 0)
        return err_set(e, ERR_LIMIT, "its shape %s has more than 2^31 elements",
                       shape_text(s, text, sizeof text));
    return 0;
}

static enum onnx_typed typed_field(int32_t type) {
    switch (type) {
    case ONNX_FLOAT: return TYPED_FLOAT;
    case ONNX_DOUBLE: return TYPED_DOUBLE;
    case ONNX_INT64: return TYPED_INT64;
    case ONNX_UINT32:
    case ONNX_UINT64: return TYPED_UINT64;
    default: return TYPED_INT32;
    }
}

static int parse_decimal(struct text t, uint64_t absent, uint64_t *out) {
    uint64_t v = 0;
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] < '0' || t.p[i] > '9' || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(t.p[i] - '0'), &v))
            return -1;
    *out = t.n ? v : absent;
    return 0;
}

static bool is_bare_file_name(struct text t) {
    if (t.n == 0 || t.n > 255 || text_is(t, ".") || text_is(t, "..")) return false;
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] == '/' || t.p[i] == '\\' || (unsigned char)t.p[i] < 0x20) return false;
    return true;
}

/* One file, named without a folder, and every range inside it. */
static int find_external(const struct onnx_tensor *t, const struct tensor_external *x, size_t bytes,
                         struct wire *raw, struct err *e) {
    uint64_t offset, length;
    if (!is_bare_file_name(t->location))
        return err_set(
            e, ERR_UNSUPPORTED,
            "its data lies in '%.*s'; accepted is one file in the model's own folder, without a path",
            TEXT_ARGS(t->location));
    if (!x->bytes)
        return err_set(e, ERR_UNSUPPORTED,
                       "its data lies in a second file, '%.*s', which was not given along with the model",
                       TEXT_ARGS(t->location));
    if (!text_is(t->location, x->name))
        return err_set(e, ERR_UNSUPPORTED, "its data lies in '%.*s'; accepted is one file, '%s'",
                       TEXT_ARGS(t->location), x->name);
    if (parse_decimal(t->offset, 0, &offset) || parse_decimal(t->length, bytes, &length))
        return err_set(e, ERR_FORMAT, "offset or length of its external data is not a number");
    if (length != bytes)
        return err_set(e, ERR_FORMAT, "its external data has %llu bytes; its shape and type need %zu",
                       (unsigned long long)length, bytes);
    if (offset > x->size || length > x->size - offset)
        return err_set(e, ERR_TRUNCATED,
                       "its data ends at byte %llu + %llu of '%s', which has %zu; the copy is not finished",
                       (unsigned long long)offset, (unsigned long long)length, x->name, x->size);
    *raw = wire_view(x->bytes + offset, bytes);
    return 0;
}

/* Raw bytes of the tensor, or with *packed its numbers in protobuf's packed form. */
static int find_data(const struct onnx_tensor *t, int64_t count, const struct tensor_external *x,
                     struct wire *data, bool *packed, struct err *e) {
    const size_t bytes = (size_t)count * type_bytes(t->type);
    const struct wire *typed = &t->typed[typed_field(t->type)];
    const bool raw_given = wire_left(&t->raw) > 0;
    *packed = false;
    for (int i = 0; i < TYPED_COUNT; i++)
        if (wire_left(&t->typed[i]) && (raw_given || t->is_external || &t->typed[i] != typed))
            return err_set(e, ERR_FORMAT, "it holds data of another type than %s, or holds its data twice",
                           onnx_type_name(t->type));
    if (t->is_external) {
        if (raw_given)
            return err_set(e, ERR_FORMAT, "it holds its data twice: inside the file and beside it");
        return find_external(t, x, bytes, data, e);
    }
    if (wire_left(typed)) {
        *data = *typed;
        *packed = true;
        return 0;
    }
    *data = t->raw;
    if (wire_left(data) != bytes)
        return err_set(e, ERR_FORMAT, "it holds %zu bytes of data; its shape and type need %zu",
                       wire_left(data), bytes);
    return 0;
}

static int wrong_count(const struct tensor *t, struct err *e) {
    char text[128];
    return err_set(e, ERR_FORMAT, "it does not hold the %lld values that its shape %s needs",
                   (long long)t->count, shape_text(&t->shape, text, sizeof text));
}

float tensor_widen_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
                   mantissa = half & 0x3ff;
    uint32_t bits;
    if (exponent == 0) { /* subnormal: exact as a float32 */
        const float f = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &f, sizeof bits);
        bits |= sign;
    } else {
        bits = sign | (exponent == 31 ? 0xffu : exponent + 112) << 23 | mantissa << 13;
    }
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static float widen(int32_t type, uint16_t bits) {
    if (type == ONNX_FLOAT16) return tensor_widen_half(bits);
    const uint32_t wide = (uint32_t)bits << 16;
    float out;
    memcpy(&out, &wide, sizeof out);
    return out;
}

static int load_doubles(const struct tensor *t, const uint8_t *from, float *to, struct err *e) {
    for (int64_t i = 0; i < t->count; i++) {
        double d;
        memcpy(&d, from + (size_t)i * sizeof d, sizeof d);
        to[i] = (float)d;
        if (isfinite(d) && !isfinite(to[i]))
            return err_set(e, ERR_VALUE, "element %lld is %g, which float32 cannot hold", (long long)i, d);
    }
    return 0;
}

static int load_halves(const struct tensor *t, struct wire data, bool packed, float *to, struct err *e) {
    for (int64_t i = 0; i < t->count; i++) {
        uint64_t v;
        if (packed) {
            if (wire_take_varint(&data, &v) != WIRE_OK || v > UINT16_MAX) return wrong_count(t, e);
        } else if (wire_take_fixed(&data, 2, &v) != WIRE_OK) {
            return wrong_count(t, e);
        }
        to[i] = widen(t->type, (uint16_t)v);
    }
    return data.at == data.end ? 0 : wrong_count(t, e);
}

static int load_floats(struct tensor_memory *m, struct tensor *t, struct wire data, bool packed,
                       struct err *e) {
    const size_t wide = t->type == ONNX_DOUBLE ? 8 : 4;
    const bool half = t->type == ONNX_FLOAT16 || t->type == ONNX_BFLOAT16;
    if (!half && wire_left(&data) != (size_t)t->count * wide) return wrong_count(t, e);
    if (t->type == ONNX_FLOAT && t->count && (uintptr_t)data.at % _Alignof(float) == 0) {
        t->f = (const float *)(const void *)data.at;
        return 0;
    }
    float *to = t->type == ONNX_FLOAT ? take_weights(m, t, e) : take_floats(m, t, e);
    if (!to) return -1;
    if (half) return load_halves(t, data, packed, to, e);
    if (t->type == ONNX_DOUBLE) return load_doubles(t, data.at, to, e);
    if (t->count) t->bad = tensor_copy_and_find_bad(to, data.at, t->count);
    return 0;
}

/* From the bits of an integer of the type's width. */
static int64_t sign_extend(int32_t type, uint64_t bits) {
    switch (type) {
    case ONNX_INT8: return (int8_t)bits;
    case ONNX_INT16: return (int16_t)bits;
    case ONNX_INT32: return (int32_t)bits;
    case ONNX_BOOL: return bits != 0;
    default: return (int64_t)bits;
    }
}

bool tensor_integer_fits(int32_t type, int64_t v) {
    switch (type) {
    case ONNX_INT8: return v == (int8_t)v;
    case ONNX_INT16: return v == (int16_t)v;
    case ONNX_INT32: return v == (int32_t)v;
    case ONNX_UINT8: return v == (uint8_t)v;
    case ONNX_UINT16: return v == (uint16_t)v;
    case ONNX_UINT32: return v == (uint32_t)v;
    case ONNX_UINT64: return v >= 0; /* 2^63 and more have no place in int64 */
    case ONNX_BOOL: return v == 0 || v == 1;
    default: return true;
    }
}

static int load_integers(struct tensor_memory *m, struct tensor *t, struct wire data, bool packed,
                         struct err *e) {
    int64_t *to = take_integers(m, t, e);
    if (!to) return -1;
    const unsigned wide = (unsigned)type_bytes(t->type);
    for (int64_t i = 0; i < t->count; i++) {
        uint64_t v = 0;
        if (packed ? wire_take_varint(&data, &v) != WIRE_OK : wire_left(&data) < wide)
            return wrong_count(t, e);
        for (unsigned b = 0; !packed && b < wide; b++) v |= (uint64_t)*data.at++ << (8 * b);
        to[i] = packed ? (int64_t)v : sign_extend(t->type, v);
        if (t->type == ONNX_BOOL) to[i] = to[i] != 0;
        if (!tensor_integer_fits(t->type, to[i]))
            return err_set(e, ERR_FORMAT, "element %lld does not fit its type, %s", (long long)i,
                           onnx_type_name(t->type));
    }
    return data.at == data.end ? 0 : wrong_count(t, e);
}

struct tensor *tensor_load(struct tensor_memory *m, const struct onnx_tensor *t,
                           const struct tensor_external *external, struct err *e) {
    struct shape s;
    struct wire data = {0};
    bool packed;
    if (check_kind(t, e) || read_shape(t, &s, e)) return NULL;
    struct tensor *out = new_empty(m, t->type, &s, e);
    if (!out || find_data(t, out->count, external, &data, &packed, e)) return NULL;
    out->name = t->name;
    const int r = tensor_type_is_float(t->type) ? load_floats(m, out, data, packed, e)
                                                : load_integers(m, out, data, packed, e);
    return r ? NULL : out;
}
