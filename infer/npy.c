/* .npy: magic, version, the length of a header that is a Python dict, data.
 *
 *   \x93NUMPY 1 0 len16 {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n
 *   \x93NUMPY 2 0 len32 …                     3 0: the same, header in UTF-8
 *
 * The dict is read by a cursor that never passes the header's end; keys may come
 * in any order, each exactly once, and nothing else may be there. */
#include "infer/npy.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MAGIC      "\x93NUMPY"
#define HEADER_MAX 65536

static const struct {
    const char *name;
    size_t bytes;
} types[NPY_TYPES] = {
    [NPY_F32] = {"<f4", 4},  [NPY_F64] = {"<f8", 8}, [NPY_U8] = {"|u1", 1},  [NPY_I8] = {"|i1", 1},
    [NPY_BOOL] = {"|b1", 1}, [NPY_U16] = {"<u2", 2}, [NPY_I16] = {"<i2", 2}, [NPY_U32] = {"<u4", 4},
    [NPY_I32] = {"<i4", 4},  [NPY_U64] = {"<u8", 8}, [NPY_I64] = {"<i8", 8}};

const char *npy_type_name(enum npy_type type) {
    return (unsigned)type < NPY_TYPES ? types[type].name : "unknown";
}
size_t npy_type_bytes(enum npy_type type) {
    return (unsigned)type < NPY_TYPES ? types[type].bytes : 0;
}

/* --- the dict ------------------------------------------------------------------------- */

struct cursor {
    const uint8_t *at, *end;
};

static void skip_space(struct cursor *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t')) c->at++;
}

static bool take(struct cursor *c, char want) {
    skip_space(c);
    if (c->at >= c->end || *c->at != (uint8_t)want) return false;
    c->at++;
    return true;
}

static bool take_word(struct cursor *c, const char *word) {
    const size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) return false;
    c->at += n;
    return true;
}

/* 'text' without escapes, into buf. */
static bool take_string(struct cursor *c, char *buf, size_t cap) {
    size_t n = 0;
    skip_space(c);
    const char quote = take(c, '\'') ? '\'' : take(c, '"') ? '"' : 0;
    if (!quote) return false;
    for (; c->at < c->end && *c->at != (uint8_t)quote; c->at++) {
        if (n + 1 >= cap || *c->at == '\\' || *c->at < 0x20) return false;
        buf[n++] = (char)*c->at;
    }
    buf[n] = 0;
    return take(c, quote);
}

static bool take_number(struct cursor *c, int64_t *out) {
    int64_t n = 0;
    skip_space(c);
    const uint8_t *start = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *c->at - '0', &n)) return false;
    *out = n;
    return c->at > start;
}

/* (), (3,) or (3, 4), also with a comma at the end. */
static int parse_shape(struct cursor *c, struct shape *s, struct err *e) {
    *s = (struct shape){0};
    if (!take(c, '(')) return err_set(e, ERR_FORMAT, ".npy: the shape is not a tuple");
    while (!take(c, ')')) {
        int64_t n;
        if (!take_number(c, &n))
            return err_set(e, ERR_FORMAT, ".npy: the shape has an entry that is no number");
        if (s->rank == SHAPE_MAX_RANK)
            return err_set(e, ERR_UNSUPPORTED, ".npy: more than %d dimensions", SHAPE_MAX_RANK);
        s->dim[s->rank++] = n;
        if (take(c, ',')) continue;
        if (s->rank > 1 && take(c, ')')) break;
        return err_set(e, ERR_FORMAT, ".npy: the shape is not a tuple of numbers");
    }
    return 0;
}

static int parse_type(struct cursor *c, enum npy_type *type, struct err *e) {
    char text[32];
    if (!take_string(c, text, sizeof text))
        return err_set(e, ERR_UNSUPPORTED, ".npy: descr is not a simple type; save it as float32 or uint8");
    for (int t = 0; t < NPY_TYPES; t++) {
        const bool byte = types[t].bytes == 1; /* byte order does not matter, and NumPy writes '|' */
        if (strcmp(text, types[t].name) == 0 ||
            (byte && text[0] == '<' && strcmp(text + 1, types[t].name + 1) == 0)) {
            *type = (enum npy_type)t;
            return 0;
        }
    }
    return err_set(e, ERR_UNSUPPORTED, ".npy: type %s; save it as float32 or uint8", text);
}

enum { KEY_DESCR = 1, KEY_ORDER = 2, KEY_SHAPE = 4, KEY_ALL = 7 };

static int parse_value(struct cursor *c, const char *key, unsigned *seen, struct npy *out, struct err *e) {
    const unsigned bit = strcmp(key, "descr") == 0           ? KEY_DESCR
                         : strcmp(key, "fortran_order") == 0 ? KEY_ORDER
                         : strcmp(key, "shape") == 0         ? KEY_SHAPE
                                                             : 0;
    if (!bit || (*seen & bit)) return err_set(e, ERR_FORMAT, ".npy: key '%s' is unknown or there twice", key);
    *seen |= bit;
    if (bit == KEY_DESCR) return parse_type(c, &out->type, e);
    if (bit == KEY_SHAPE) return parse_shape(c, &out->shape, e);
    if (take_word(c, "False")) return 0;
    if (take_word(c, "True"))
        return err_set(e, ERR_UNSUPPORTED, ".npy: in Fortran order; save numpy.ascontiguousarray(x)");
    return err_set(e, ERR_FORMAT, ".npy: fortran_order is neither True nor False");
}

static int parse_dict(struct cursor *c, struct npy *out, struct err *e) {
    unsigned seen = 0;
    if (!take(c, '{')) return err_set(e, ERR_FORMAT, ".npy: the header is not a dict");
    while (!take(c, '}')) {
        char key[32];
        if (!take_string(c, key, sizeof key) || !take(c, ':'))
            return err_set(e, ERR_FORMAT, ".npy: the header is not a dict with string keys");
        if (parse_value(c, key, &seen, out, e)) return -1;
        if (take(c, ',')) continue;
        if (take(c, '}')) break;
        return err_set(e, ERR_FORMAT, ".npy: the header is cut off or damaged");
    }
    if (seen != KEY_ALL)
        return err_set(e, ERR_FORMAT, ".npy: the header lacks descr, fortran_order or shape");
    skip_space(c);
    if (c->end - c->at != 1 || *c->at != '\n')
        return err_set(e, ERR_FORMAT, ".npy: something stands behind the header's dict");
    return 0;
}

/* --- the file --------------------------------------------------------------------------- */

/* Where the header lies. */
static int find_header(const uint8_t *b, size_t size, struct cursor *c, struct err *e) {
    const size_t magic = sizeof MAGIC - 1;
    if (size < magic + 4) return err_set(e, ERR_TRUNCATED, ".npy: %zu bytes are too few", size);
    if (memcmp(b, MAGIC, magic) != 0)
        return err_set(e, ERR_FORMAT, "not an .npy file: it does not start with NUMPY");
    const unsigned major = b[magic], minor = b[magic + 1];
    if (major < 1 || major > 3 || minor != 0)
        return err_set(e, ERR_UNSUPPORTED, ".npy: version %u.%u; 1.0 to 3.0 are supported", major, minor);
    const size_t fixed = magic + 2 + (major == 1 ? 2 : 4);
    if (size < fixed) return err_set(e, ERR_TRUNCATED, ".npy: %zu bytes are too few", size);
    uint32_t length = 0;
    for (size_t i = fixed; i-- > magic + 2;) length = length << 8 | b[i];
    if (length > HEADER_MAX) return err_set(e, ERR_LIMIT, ".npy: a header of %" PRIu32 " bytes", length);
    if (length > size - fixed)
        return err_set(e, ERR_TRUNCATED, ".npy: a header of %" PRIu32 " bytes in a file of %zu", length,
                       size);
    *c = (struct cursor){b + fixed, b + fixed + length};
    return 0;
}

int npy_parse(const uint8_t *bytes, size_t size, struct npy *out, struct err *e) {
    struct cursor c = {bytes, bytes};
    char text[128];
    memset(out, 0, sizeof *out);
    if (find_header(bytes, size, &c, e)) return -1;
    out->data = c.end;
    if (parse_dict(&c, out, e)) return -1;
    out->elements = shape_elements(&out->shape);
    if (out->elements < 0)
        return err_set(e, ERR_LIMIT, ".npy: shape %s is too large",
                       shape_text(&out->shape, text, sizeof text));
    out->bytes = (size_t)out->elements * types[out->type].bytes;
    const size_t left = size - (size_t)(out->data - bytes);
    if (left != out->bytes)
        return err_set(e, left < out->bytes ? ERR_TRUNCATED : ERR_FORMAT,
                       ".npy: %zu bytes of data where shape %s of %s has %zu", left,
                       shape_text(&out->shape, text, sizeof text), types[out->type].name, out->bytes);
    return 0;
}

#define CONVERT(TYPE)                                                                                        \
    do {                                                                                                     \
        TYPE v;                                                                                              \
        memcpy(&v, from, sizeof v);                                                                          \
        return (float)v;                                                                                     \
    } while (0)

static float convert(enum npy_type type, const uint8_t *from) {
    switch (type) {
    case NPY_F64: CONVERT(double);
    case NPY_U8: return (float)*from;
    case NPY_I8: CONVERT(int8_t);
    case NPY_BOOL: return *from ? 1 : 0;
    case NPY_U16: CONVERT(uint16_t);
    case NPY_I16: CONVERT(int16_t);
    case NPY_U32: CONVERT(uint32_t);
    case NPY_I32: CONVERT(int32_t);
    case NPY_U64: CONVERT(uint64_t);
    case NPY_I64: CONVERT(int64_t);
    case NPY_F32:
    default: CONVERT(float);
    }
}

void npy_to_f32(const struct npy *a, float *to) {
    if (a->type == NPY_F32) {
        if (a->bytes) memcpy(to, a->data, a->bytes);
        return;
    }
    const size_t step = types[a->type].bytes;
    for (int64_t i = 0; i < a->elements; i++) to[i] = convert(a->type, a->data + (size_t)i * step);
}

int npy_write_f32(FILE *f, const struct shape *shape, const float *data) {
    const int64_t n = shape_elements(shape);
    char header[512], dims[256] = "";
    if (n < 0) return -EINVAL;
    for (int32_t i = 0, at = 0; i < shape->rank; i++)
        at += snprintf(dims + at, sizeof dims - (size_t)at, "%s%" PRId64 "%s", i ? " " : "", shape->dim[i],
                       i + 1 < shape->rank || shape->rank == 1 ? "," : "");
    int used =
        snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", dims);
    const int fixed = 10, whole = (fixed + used + 1 + 63) / 64 * 64; /* data starts at a multiple of 64 */
    for (; used < whole - fixed - 1; used++) header[used] = ' ';
    header[used++] = '\n';
    const uint8_t start[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)(used & 255), (uint8_t)(used >> 8)};
    errno = 0;
    if (fwrite(start, sizeof start, 1, f) == 1 && fwrite(header, (size_t)used, 1, f) == 1 &&
        (n == 0 || fwrite(data, sizeof *data, (size_t)n, f) == (size_t)n) && fflush(f) == 0)
        return 0;
    return errno ? -errno : -EIO;
}
