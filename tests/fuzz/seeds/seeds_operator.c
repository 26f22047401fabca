/* Seeds for the targets `onnx` and `prune` from a table: a model per operator, as the network runs it
 * (y = op(x, constants)), and where all its inputs are constants, so that the importer computes it. */
#include "tests/fuzz/seeds/seeds.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *op;
    int opset;
    const char *dims;       /* of x */
    const char *constants;  /* "dims=type values": i whole numbers, f floats, s a scalar float */
    const char *attributes; /* "name=kind values": i, f, s, I, F */
};

static const struct row rows[] = {
    {"Reciprocal", 13, "1x2x3", "", ""},
    {"Exp", 13, "1x2x3", "", ""},
    {"Log", 13, "1x2x3", "", ""},
    {"Round", 13, "1x2x3", "", ""},
    {"Sign", 13, "1x2x3", "", ""},
    {"Sigmoid", 13, "1x2x3", "", ""},
    {"Tanh", 13, "1x2x3", "", ""},
    {"Erf", 13, "1x2x3", "", ""},
    {"Mish", 18, "1x2x3", "", ""},
    {"Softplus", 13, "1x2x3", "", ""},
    {"Softsign", 13, "1x2x3", "", ""},
    {"HardSigmoid", 13, "1x2x3", "", "alpha=f0.3 beta=f0.5"},
    {"HardSwish", 14, "1x2x3", "", ""},
    {"LeakyRelu", 13, "1x2x3", "", "alpha=f0.1"},
    {"Elu", 13, "1x2x3", "", "alpha=f2"},
    {"Selu", 13, "1x2x3", "", ""},
    {"Celu", 13, "1x2x3", "", ""},
    {"ThresholdedRelu", 13, "1x2x3", "", "alpha=f0.1"},
    {"Shrink", 13, "1x2x3", "", "lambd=f0.1 bias=f0.2"},
    {"Tan", 13, "1x2x3", "", ""},
    {"Atanh", 13, "1x2x3", "", ""},
    {"Gelu", 20, "1x2x3", "", "approximate=stanh"},
    {"IsNaN", 13, "1x2x3", "", ""},
    {"IsInf", 13, "1x2x3", "", "detect_negative=i0"},
    {"Div", 13, "1x2x3", "3=f1,2,4", ""},
    {"Pow", 13, "1x2x3", "1=f2", ""},
    {"Mod", 13, "1x2x3", "1=f2", "fmod=i1"},
    {"PRelu", 13, "1x2x3", "2x1=f0.1,0.2", ""},
    {"Min", 13, "1x2x3", "3=f0,1,2 1=f1", ""},
    {"Max", 13, "1x2x3", "3=f0,1,2", ""},
    {"Mean", 13, "1x2x3", "3=f0,1,2", ""},
    {"Sub", 13, "1x2x3", "3=f0,1,2", ""},
    {"LessOrEqual", 13, "1x2x3", "3=f0,1,2", ""},
    {"ReduceMean", 13, "1x2x3", "", "axes=I-1 keepdims=i1"},
    {"ReduceMax", 18, "1x2x3", "1=i1", "keepdims=i0"},
    {"ReduceL2", 13, "1x2x3", "", "axes=I1,2"},
    {"ReduceLogSumExp", 13, "1x2x3", "", "axes=I2"},
    {"ReduceSum", 13, "1x2x3", "1=i2", "keepdims=i1 noop_with_empty_axes=i0"},
    {"GlobalMaxPool", 13, "1x2x3x3", "", ""},
    {"GlobalLpPool", 13, "1x2x3x3", "", "p=i3"},
    {"LpNormalization", 13, "1x2x3", "", "axis=i1 p=i1"},
    {"LogSoftmax", 13, "1x2x3", "", "axis=i1"},
    {"Hardmax", 13, "1x2x3", "", "axis=i2"},
    {"MeanVarianceNormalization", 13, "1x2x3x3", "", ""},
    {"LRN", 13, "1x4x2x2", "", "size=i3 alpha=f0.1"},
    {"InstanceNormalization", 13, "1x2x3x3", "2=f1,2 2=f0,1", ""},
    {"GroupNormalization", 21, "1x4x3x3", "4=f1,2,1,1 4=f0,1,0,0", "num_groups=i2"},
    {"Transpose", 13, "1x2x3", "", "perm=I0,2,1"},
    {"Slice", 13, "1x4x5", "2=i0,4 2=i9,-6 2=i1,2 2=i2,-2", ""},
    {"Split", 13, "1x4x3", "2=i1,3", "axis=i1"},
    {"Split", 18, "1x5x3", "", "axis=i1 num_outputs=i2"},
    {"Gather", 13, "1x4x3", "2x1=i3,-1", "axis=i1"},
    {"Expand", 13, "1x1x3", "3=i1,4,1", ""},
    {"Tile", 13, "1x2x3", "3=i1,2,2", ""},
    {"Pad", 13, "1x2x3x3", "8=i0,0,1,1,0,0,1,2 s=f0.5", "mode=sconstant"},
    {"Pad", 18, "1x2x3x3", "4=i1,2,1,2 s=f0 2=i2,3", "mode=sreflect"},
    {"Pad", 10, "1x2x3", "", "pads=I0,0,1,0,0,1 mode=sedge"},
    {"Pad", 19, "1x2x3", "6=i0,0,3,0,0,2", "mode=swrap"},
    {"DepthToSpace", 13, "1x4x2x2", "", "blocksize=i2 mode=sCRD"},
    {"SpaceToDepth", 13, "1x1x4x4", "", "blocksize=i2"},
    {"Einsum", 13, "1x2x3", "3x2=f1,2,3,4,5,6", "equation=sbij,jk->bik"},
    {"Einsum", 13, "1x2x3", "", "equation=s...ij->...ji"},
    {"Upsample", 7, "1x1x2x2", "", "mode=snearest scales=F1,1,2,2"},
    {"Resize", 10, "1x1x2x2", "4=f1,1,2,3", "mode=slinear"},
    {"Resize", 13, "1x1x4x4", "0=f 4=f1,1,0.5,0.6",
     "mode=slinear coordinate_transformation_mode=shalf_pixel"},
    {"Resize", 13, "1x1x3x3", "0=f 0=f 4=i1,1,7,5",
     "mode=snearest nearest_mode=sfloor coordinate_transformation_mode=sasymmetric"},
    {"Resize", 18, "1x1x4x4", "0=f 2=f1.5,2", "mode=scubic axes=I2,3 antialias=i0"},
    {"ConvTranspose", 13, "1x2x3x3", "2x2x3x3=f1", "strides=I2,2 pads=I1,1,1,1 output_padding=I1,0 group=i1"},
    {"ConvTranspose", 13, "1x2x4", "2x1x2=f1,2", "group=i2 dilations=I2"},
    {"LpPool", 13, "1x2x4x4", "", "kernel_shape=I2,2 p=i3"},
    {"MaxPool", 13, "1x2x5x5", "",
     "kernel_shape=I2,2 strides=I2,2 dilations=I2,2 ceil_mode=i1 auto_pad=sSAME_LOWER"},
    {"QuantizeLinear", 13, "1x2x3", "s=f0.5", ""},
    {"QuantizeLinear", 13, "1x2x3", "2=f0.5,0.25", "axis=i1"},
    {"ScatterND", 13, "4x3", "2x1=i0,2 2x3=f1", ""},
    {"ScatterElements", 16, "3x3", "1x2=i0,2 1x2=f5,6", "axis=i1"},
    {"GatherElements", 13, "2x3", "2x1=i0,-1", "axis=i1"},
    {"GatherND", 13, "2x3", "2x2=i0,1,1,2", ""},
    {"NonZero", 13, "2x3", "", ""},
    {"Trilu", 14, "3x3", "s=i1", "upper=i1"},
    {"OneHot", 13, "3", "s=i4 2=f0,1", "axis=i0"},
    {"CumSum", 14, "2x3", "s=i1", "reverse=i1 exclusive=i1"},
    {"EyeLike", 13, "3x3", "", "k=i1"},
};

/* --- the table's language --------------------------------------------------------------------- */

#define MOST 64
struct numbers {
    size_t n;
    double v[MOST];
};

static const char *read_numbers(const char *at, struct numbers *to) {
    char *end;
    for (to->n = 0; to->n < MOST && *at && *at != ' '; at = *end == ',' ? end + 1 : end) {
        to->v[to->n++] = strtod(at, &end);
        CU_ASSERT_FATAL(end != at);
    }
    return at;
}

static struct pb tensor_of(const char *name, const char *text, const char **end) {
    char dims[16] = "";
    const size_t n = strcspn(text, "=");
    struct numbers given;
    float f[MOST];
    int64_t i[MOST];
    const bool whole = text[n + 1] == 'i', scalar = *text == 's';
    size_t count = 1;
    CU_ASSERT_FATAL(n < sizeof dims);
    if (!scalar) memcpy(dims, text, n);
    *end = read_numbers(text + n + 2, &given);
    for (const char *d = text; !scalar && d < text + n; d += strcspn(d, "x=") + 1)
        count *= strtoul(d, NULL, 10);
    CU_ASSERT_FATAL(count <= MOST);
    for (size_t k = 0; k < count; k++) {
        f[k] = given.n ? (float)given.v[k % given.n] : 0;
        i[k] = (int64_t)f[k];
    }
    return whole ? tensor_ints(name, dims, i, count) : tensor_floats(name, dims, f, count);
}

/* Names c0, c1, … appended to `inputs`. */
static void add_constants(struct onnx_build *m, const char *text, char *inputs, size_t room) {
    for (int k = 0; *text; k++) {
        char name[16];
        (void)snprintf(name, sizeof name, "c%d", k);
        const size_t used = strlen(inputs);
        (void)snprintf(inputs + used, room - used, " %s", name);
        onnx_initializer(m, tensor_of(name, text, &text));
        while (*text == ' ') text++;
    }
}

static struct pb attribute_of(const char *text, const char **end) {
    char name[64] = "", word[32] = "";
    const size_t n = strcspn(text, "=");
    struct numbers v = {0};
    CU_ASSERT_FATAL(n < sizeof name);
    memcpy(name, text, n);
    const char kind = text[n + 1], *value = text + n + 2;
    *end = kind == 's' ? value + strcspn(value, " ") : read_numbers(value, &v);
    if (kind == 'i') return attr_int(name, (int64_t)v.v[0]);
    if (kind == 'f') return attr_float(name, (float)v.v[0]);
    if (kind == 's') {
        memcpy(word, value, (size_t)(*end - value));
        return attr_text(name, word);
    }
    struct pb list = {0};
    pb_text(&list, 1, name);
    for (size_t k = 0; k < v.n; k++) {
        if (kind == 'I')
            pb_int(&list, 8, (int64_t)v.v[k]);
        else
            pb_float(&list, 7, (float)v.v[k]);
    }
    pb_int(&list, 20, kind == 'I' ? 7 : 6);
    return list;
}

static void add_operator(struct onnx_build *m, const struct row *r, const char *inputs, const char *output) {
    struct pb a[5] = {{0}};
    int n = 0;
    for (const char *at = r->attributes; *at; n++) {
        CU_ASSERT_FATAL(n < 5);
        a[n] = attribute_of(at, &at);
        while (*at == ' ') at++;
    }
    char outputs[16];
    (void)snprintf(outputs, sizeof outputs, strcmp(r->op, "Split") == 0 ? "%s second" : "%s", output);
    onnx_node(m, r->op, "n", inputs, outputs, a[0], a[1], a[2], a[3], a[4], ATTR_END);
}

/* --- the models ------------------------------------------------------------------------------------ */

static void end(struct onnx_build *m, const struct row *r, size_t index, const char *how) {
    char name[64];
    struct pb file = onnx_end(m);
    (void)snprintf(name, sizeof name, "%s-%zu%s", r->op, index, how);
    seed_write("onnx", name, file.p, file.n);
    pb_free(&file);
}

static void run_time(void) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct onnx_build m = onnx_begin(8, rows[i].opset);
        char inputs[64] = "x";
        onnx_input(&m, "x", rows[i].dims);
        onnx_output(&m, "y");
        add_constants(&m, rows[i].constants, inputs, sizeof inputs);
        add_operator(&m, &rows[i], inputs, "a");
        onnx_node(&m, "Cast", "", "a", "y", attr_int("to", 1), ATTR_END); /* of truths; else nothing */
        end(&m, &rows[i], i, "");
    }
}

/* z = x + the first number of op(k, constants) */
static void at_import(void) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct onnx_build m = onnx_begin(8, rows[i].opset);
        char inputs[64] = "k";
        onnx_input(&m, "x", "1x2");
        onnx_output(&m, "z");
        onnx_initializer(&m, tensor_count("k", rows[i].dims, 0.25f));
        add_constants(&m, rows[i].constants, inputs, sizeof inputs);
        onnx_initializer(&m, tensor_ints("all", "1", (int64_t[]){-1}, 1));
        onnx_initializer(&m, tensor_ints("first", "1", (int64_t[]){0}, 1));
        add_operator(&m, &rows[i], inputs, "a");
        onnx_node(&m, "Cast", "", "a", "b", attr_int("to", 1), ATTR_END);
        onnx_node(&m, "Reshape", "", "b all", "c", ATTR_END);
        onnx_node(&m, "Gather", "", "c first", "d", attr_int("axis", 0), ATTR_END);
        onnx_node(&m, "Add", "", "x d", "z", ATTR_END);
        end(&m, &rows[i], i, "-constant");
    }
}

SUITE(corpus_operator, {"as the network runs", run_time}, {"at import", at_import});
