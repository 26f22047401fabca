/* guard/tensor: what a TensorProto means, in each of its forms, and that every
 * contradiction in it is refused. */
#include "guard/tensor.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

#include <math.h>
#include <string.h>

static struct onnx_model model; /* for its memory */
static struct tensor_memory memory;
static struct err e;

static void set_up(void) {
    memset(&model, 0, sizeof model);
    memory = (struct tensor_memory){.g = graph_new(), .left = (int64_t)1 << 24};
    e = (struct err){0};
}

static void tear_down(void) {
    graph_free(memory.g);
    bump_free(&model.memory);
}

static const struct tensor *load_with(const struct pb *b, const struct tensor_external *external) {
    struct onnx_tensor t;
    if (onnx_tensor_read(&model, wire_view(b->p, b->n), &t, &e)) return NULL;
    return tensor_load(&memory, &t, external, &e);
}

static const struct tensor *load(const struct pb *b) {
    static const struct tensor_external none;
    return load_with(b, &none);
}

/* Frees b. */
static bool refuses(struct pb b, enum err_code code, const char *words) {
    set_up();
    const bool ok = !load(&b) && e.code == code && strstr(e.text, words);
    if (!ok) fprintf(stderr, "\nexpected …%s…, got %s: %s\n", words, err_code_name(e.code), e.text);
    tear_down();
    pb_free(&b);
    return ok;
}

static struct pb typed(int type, const char *dims, uint32_t field, const void *packed, size_t n) {
    struct pb b = tensor_raw("t", type, dims, "", 0);
    pb_bytes(&b, field, packed, n);
    return b;
}

/* --- floats ----------------------------------------------------------------------------- */

static void aligned_floats_are_a_view(void) {
    static const float v[] = {1, -2, 3.5f, 0, 5, 6};
    set_up();
    for (int shift = 0; shift < 4; shift++) {
        struct pb b = {0}, t = tensor_floats("t", "2x3", v, 6);
        _Alignas(8) uint8_t room[128];
        memcpy(room + shift, t.p, t.n);
        b = (struct pb){room + shift, t.n, 0};
        const struct tensor *got = load(&b);
        CU_ASSERT_PTR_NOT_NULL_FATAL(got);
        const bool inside = (const uint8_t *)got->f > room && (const uint8_t *)got->f < room + sizeof room;
        const bool aligned = (uintptr_t)(room + shift + t.n - sizeof v) % 4 == 0;
        CU_ASSERT_EQUAL(inside, aligned);
        CU_ASSERT_EQUAL((uintptr_t)got->f % 4, 0);
        CU_ASSERT(memcmp(got->f, v, sizeof v) == 0 && got->count == 6 && got->i == NULL);
        CU_ASSERT(got->shape.rank == 2 && got->shape.dim[0] == 2 && got->shape.dim[1] == 3);
        pb_free(&t);
    }
    tear_down();
}

static void floats_packed_and_scattered(void) {
    static const float v[] = {1.5f, 2.5f, -3};
    set_up();
    struct pb b = typed(ONNX_FLOAT, "3", 4, v, sizeof v), c = tensor_raw("t", ONNX_FLOAT, "3", "", 0);
    const struct tensor *got = load(&b);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT(memcmp(got->f, v, sizeof v) == 0);
    pb_float(&c, 4, v[0]); /* one by one, then the rest packed */
    pb_bytes(&c, 4, v + 1, 8);
    got = load(&c);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT(memcmp(got->f, v, sizeof v) == 0);
    pb_free(&b);
    pb_free(&c);
    tear_down();
}

static void halves_are_widened(void) {
    static const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x83ff, 0x7bff, 0x0400, 0x8000};
    static const float want[] = {1, -2, 0x1p-24f, -0x1.ff8p-15f, 65504, 0x1p-14f, -0.0f};
    static const uint16_t brain[] = {0x3f80, 0xc000, 0x0001};
    set_up();
    struct pb b = tensor_raw("t", ONNX_FLOAT16, "7", half, sizeof half), packed = {0}, c = {0};
    const struct tensor *got = load(&b);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT(memcmp(got->f, want, sizeof want) == 0);
    CU_ASSERT(isinf(tensor_widen_half(0x7c00)) && isnan(tensor_widen_half(0x7e00)));
    for (int i = 0; i < 7; i++) pb_varint(&packed, half[i]);
    c = typed(ONNX_FLOAT16, "7", 5, packed.p, packed.n);
    got = load(&c);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT(memcmp(got->f, want, sizeof want) == 0);
    pb_free(&b);
    b = tensor_raw("t", ONNX_BFLOAT16, "3", brain, sizeof brain);
    got = load(&b);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT(got->f[0] == 1 && got->f[1] == -2 && got->f[2] == 0x1p-133f);
    pb_free(&b);
    pb_free(&c);
    pb_free(&packed);
    tear_down();
}

static void doubles_are_narrowed(void) {
    static const double fits[] = {1.25, -1e30, 1e-320}, not [] = {1, 1e300};
    set_up();
    struct pb b = tensor_raw("t", ONNX_DOUBLE, "3", fits, sizeof fits);
    const struct tensor *got = load(&b);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT(got->f[0] == 1.25f && got->f[1] == -1e30f && got->f[2] == 0);
    pb_free(&b);
    b = typed(ONNX_DOUBLE, "3", 10, fits, sizeof fits);
    CU_ASSERT_PTR_NOT_NULL(load(&b));
    pb_free(&b);
    tear_down();
    CU_ASSERT(refuses(tensor_raw("t", ONNX_DOUBLE, "2", not, sizeof not ), ERR_VALUE, "element 1 is 1e+300"));
}

static void bad_floats_are_found(void) {
    static float v[5000];
    for (int64_t n = 4990; n <= 5000; n++) {
        CU_ASSERT_EQUAL(tensor_find_bad(v, n), -1);
        for (int64_t at = 0; at < n; at += 997) {
            v[at] = at % 2 ? INFINITY : -NAN;
            CU_ASSERT_EQUAL(tensor_find_bad(v, n), at);
            v[at] = -3.4e38f;
        }
        v[n - 1] = NAN;
        CU_ASSERT_EQUAL(tensor_find_bad(v, n), n - 1);
        CU_ASSERT_EQUAL(tensor_find_bad(v, n - 1), -1);
        v[n - 1] = 1e-45f;
    }
    CU_ASSERT_EQUAL(tensor_find_bad(v, 0), -1);
}

/* --- integers ---------------------------------------------------------------------------- */

static void integers_of_every_width(void) {
    static const struct {
        int type;
        const char *bytes;
        size_t n;
        int64_t want;
    } cases[] = {
        {ONNX_UINT8, "\xff", 1, 255},
        {ONNX_INT8, "\xff", 1, -1},
        {ONNX_UINT16, "\1\x80", 2, 32769},
        {ONNX_INT16, "\1\x80", 2, -32767},
        {ONNX_INT32, "\xfe\xff\xff\xff", 4, -2},
        {ONNX_UINT32, "\xfe\xff\xff\xff", 4, 4294967294},
        {ONNX_INT64, "\0\0\0\0\0\0\0\x80", 8, INT64_MIN},
        {ONNX_BOOL, "\2", 1, 1},
        {ONNX_UINT64, "\1\0\0\0\0\0\0\0", 8, 1},
    };
    set_up();
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct pb b = tensor_raw("t", cases[k].type, "", cases[k].bytes, cases[k].n);
        const struct tensor *got = load(&b);
        CU_ASSERT_PTR_NOT_NULL_FATAL(got);
        CU_ASSERT(got->count == 1 && got->f == NULL && got->i[0] == cases[k].want);
        pb_free(&b);
    }
    struct pb b = typed(ONNX_INT64, "3", 7, "\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\xac\2", 13);
    const struct tensor *got = load(&b);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT(got->i[0] == 1 && got->i[1] == -1 && got->i[2] == 300);
    pb_free(&b);
    b = typed(ONNX_INT32, "1", 5, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 10);
    got = load(&b);
    CU_ASSERT(got && got->i[0] == -1);
    pb_free(&b);
    tear_down();
    CU_ASSERT(refuses(typed(ONNX_UINT8, "1", 5, "\xac\2", 2), ERR_FORMAT, "does not fit its type"));
    CU_ASSERT(refuses(tensor_raw("t", ONNX_UINT64, "", "\0\0\0\0\0\0\0\x80", 8), ERR_FORMAT, "does not fit"));
}

static void empty_and_scalar(void) {
    set_up();
    struct pb b = tensor_raw("t", ONNX_INT64, "0", "", 0), c = tensor_raw("t", ONNX_FLOAT, "0x3", "", 0);
    const struct tensor *got = load(&b);
    CU_ASSERT(got && got->count == 0 && got->i);
    got = load(&c);
    CU_ASSERT(got && got->count == 0 && got->f);
    pb_free(&b);
    pb_free(&c);
    tear_down();
}

/* --- refusals ------------------------------------------------------------------------------ */

static struct pb with_int(struct pb b, uint32_t field, int64_t v) {
    pb_int(&b, field, v);
    return b;
}

static struct pb with_text(struct pb b, uint32_t field, const char *v) {
    pb_text(&b, field, v);
    return b;
}

static void contradictions_are_refused(void) {
    static const float v[6];
    CU_ASSERT(
        refuses(tensor_floats("t", "2x3", v, 5), ERR_FORMAT, "20 bytes of data; its shape and type need 24"));
    CU_ASSERT(refuses(tensor_raw("t", ONNX_FLOAT, "2x3", v, 23), ERR_FORMAT, "23 bytes"));
    CU_ASSERT(refuses(typed(ONNX_FLOAT, "3", 4, v, 8), ERR_FORMAT, "3 values that its shape [3] needs"));
    CU_ASSERT(refuses(typed(ONNX_INT64, "3", 7, "\1\2", 2), ERR_FORMAT, "3 values"));
    CU_ASSERT(refuses(typed(ONNX_INT64, "1", 7, "\1\2", 2), ERR_FORMAT, "1 values"));
    CU_ASSERT(refuses(typed(ONNX_INT64, "1", 7, "\x80", 1), ERR_FORMAT, "1 values"));
    CU_ASSERT(refuses(typed(ONNX_FLOAT, "1", 7, "\1", 1), ERR_FORMAT, "data of another type than float"));
    CU_ASSERT(refuses(with_int(tensor_floats("t", "1", v, 1), 7, 3), ERR_FORMAT, "its data twice"));
    CU_ASSERT(refuses(tensor_raw("t", ONNX_FLOAT, "-1x2", v, 8), ERR_FORMAT, "dimension 0 is -1"));
    CU_ASSERT(
        refuses(tensor_raw("t", ONNX_FLOAT, "65536x65536x65536x65536", v, 0), ERR_LIMIT, "2^31 elements"));
    CU_ASSERT(refuses(tensor_raw("t", ONNX_FLOAT, "1x1x1x1x1x1x1x1x1", v, 4), ERR_LIMIT, "9 dimensions"));
}

static void kinds_that_are_not_accepted(void) {
    CU_ASSERT(refuses(tensor_raw("t", ONNX_STRING, "1", "", 0), ERR_UNSUPPORTED, "strings"));
    CU_ASSERT(
        refuses(with_text(tensor_raw("t", ONNX_FLOAT, "0", "", 0), 6, "x"), ERR_UNSUPPORTED, "strings"));
    CU_ASSERT(
        refuses(with_text(tensor_raw("t", ONNX_FLOAT, "0", "", 0), 3, ""), ERR_UNSUPPORTED, "segments"));
    CU_ASSERT(refuses(tensor_raw("t", ONNX_COMPLEX64, "0", "", 0), ERR_UNSUPPORTED, "complex64 (14)"));
    CU_ASSERT(refuses(tensor_raw("t", 17, "0", "", 0), ERR_UNSUPPORTED, "an unknown type (17)"));
    CU_ASSERT(refuses(tensor_raw("t", 0, "0", "", 0), ERR_UNSUPPORTED, "no type (0)"));
    CU_ASSERT(refuses(tensor_raw("t", -5, "0", "", 0), ERR_UNSUPPORTED, "unknown type (-5)"));
}

static void memory_is_bounded(void) {
    struct pb b = tensor_raw("t", ONNX_UINT8, "4096", NULL, 0);
    static const uint8_t bytes[4096];
    pb_bytes(&b, 9, bytes, sizeof bytes);
    set_up();
    memory.left = 20000; /* eight bytes for each, and the tensor itself, do not fit */
    CU_ASSERT_PTR_NULL(load(&b));
    CU_ASSERT(e.code == ERR_LIMIT && strstr(e.text, "too much memory"));
    tear_down();
    pb_free(&b);
}

/* --- external data --------------------------------------------------------------------------- */

static struct pb external(const char *location, const char *offset, const char *length) {
    const char *const pairs[][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    struct pb b = {0};
    pb_int(&b, 1, 4);
    pb_int(&b, 2, ONNX_FLOAT);
    pb_text(&b, 8, "t");
    for (int i = 0; i < 3; i++) {
        struct pb pair = {0};
        if (!pairs[i][1]) continue;
        pb_text(&pair, 1, pairs[i][0]);
        pb_text(&pair, 2, pairs[i][1]);
        pb_message(&b, 13, &pair);
    }
    pb_int(&b, 14, 1);
    return b;
}

static const float outside[8] = {0, 1, 2, 3, 4, 5, 6, 7};
static const struct tensor_external beside = {(const uint8_t *)outside, sizeof outside, "m.onnx.data"};

static bool refuses_external(const char *location, const char *offset, const char *length, enum err_code code,
                             const char *words) {
    struct pb b = external(location, offset, length);
    set_up();
    const bool ok = !load_with(&b, &beside) && e.code == code && strstr(e.text, words);
    if (!ok) fprintf(stderr, "\nexpected …%s…, got %s: %s\n", words, err_code_name(e.code), e.text);
    tear_down();
    pb_free(&b);
    return ok;
}

static void data_beside_the_model(void) {
    set_up();
    struct pb b = external("m.onnx.data", "8", "16");
    const struct tensor *got = load_with(&b, &beside);
    CU_ASSERT(got && got->f == outside + 2);
    pb_free(&b);
    b = external("m.onnx.data", NULL, NULL);
    got = load_with(&b, &beside);
    CU_ASSERT(got && got->f == outside);
    pb_free(&b);
    tear_down();
    CU_ASSERT(refuses(external("m.onnx.data", "0", "16"), ERR_UNSUPPORTED, "second file, 'm.onnx.data'"));
}

static void every_way_out_of_the_file(void) {
    static const char *const paths[] = {"../m.onnx.data", "/etc/passwd", "a/b", "..", ".", "",
                                        "a\\b",           "a\nb"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        CU_ASSERT(refuses_external(paths[i], "0", "16", ERR_UNSUPPORTED, "without a path"));
    CU_ASSERT(
        refuses_external("other.data", "0", "16", ERR_UNSUPPORTED, "accepted is one file, 'm.onnx.data'"));
    CU_ASSERT(refuses_external("m.onnx.data", "17", "16", ERR_TRUNCATED, "17 + 16"));
    CU_ASSERT(refuses_external("m.onnx.data", "33", "16", ERR_TRUNCATED, "not finished"));
    CU_ASSERT(refuses_external("m.onnx.data", "18446744073709551608", "16", ERR_TRUNCATED, "not finished"));
    CU_ASSERT(refuses_external("m.onnx.data", "18446744073709551616", "16", ERR_FORMAT, "not a number"));
    CU_ASSERT(refuses_external("m.onnx.data", "-8", "16", ERR_FORMAT, "not a number"));
    CU_ASSERT(refuses_external("m.onnx.data", "0x8", "16", ERR_FORMAT, "not a number"));
    CU_ASSERT(refuses_external("m.onnx.data", "0", "15", ERR_FORMAT, "has 15 bytes"));
    CU_ASSERT(refuses_external("m.onnx.data", "0", "32", ERR_FORMAT, "has 32 bytes"));
}

/* --- views -------------------------------------------------------------------------------------- */

static void views_and_equality(void) {
    set_up();
    float *f;
    int64_t *i;
    const struct shape six = {.rank = 1, .dim = {6}}, pairs = {.rank = 2, .dim = {3, 2}},
                       five = {.rank = 1, .dim = {5}};
    struct tensor *t = tensor_new(&memory, ONNX_FLOAT, &six, &f, &i, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    f[2] = 7;
    struct tensor *v = tensor_view(&memory, t, &pairs, &e);
    CU_ASSERT(v && v->f == t->f && v->shape.rank == 2 && v->count == 6);
    CU_ASSERT(tensor_equal(t, t) && !tensor_equal(t, v));
    CU_ASSERT_PTR_NULL(tensor_view(&memory, t, &five, &e));
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "[6] cannot become [5]"));
    struct tensor *u = tensor_new(&memory, ONNX_FLOAT, &six, &f, &i, &e);
    CU_ASSERT(u && !tensor_equal(t, u));
    f[2] = 7;
    CU_ASSERT(tensor_equal(t, u));
    u = tensor_new(&memory, ONNX_INT32, &six, &f, &i, &e);
    CU_ASSERT(u && u->i && !u->f && !tensor_equal(t, u));
    tear_down();
}

SUITE(tensor, {"aligned floats are a view, others a copy", aligned_floats_are_a_view},
      {"floats may be packed or scattered", floats_packed_and_scattered},
      {"halves are widened", halves_are_widened},
      {"doubles are narrowed where they fit", doubles_are_narrowed},
      {"values that are not finite are found", bad_floats_are_found},
      {"integers of every width", integers_of_every_width},
      {"no elements, and no dimensions", empty_and_scalar},
      {"contradictions are refused", contradictions_are_refused},
      {"kinds that are not accepted", kinds_that_are_not_accepted}, {"memory is bounded", memory_is_bounded},
      {"data beside the model", data_beside_the_model},
      {"every way out of the data file is closed", every_way_out_of_the_file},
      {"views and equality", views_and_equality});
