/* Seeds for the targets `onnx` and `prune`: every operator of the importer, old and new forms, small shapes.
 */
#include "tests/fuzz/seeds/seeds.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

#include <string.h>

static void end(struct onnx_build *m, const char *name) {
    struct pb file = onnx_end(m);
    seed_write("onnx", name, file.p, file.n);
    pb_free(&file);
}

static struct onnx_build begin(int ir, int opset, const char *dims) {
    struct onnx_build m = onnx_begin(ir, opset);
    onnx_input(&m, "x", dims);
    onnx_output(&m, "y");
    return m;
}

static void add_norm(struct onnx_build *m, const char *channels) {
    onnx_initializer(m, tensor_fill("g", channels, 1));
    onnx_initializer(m, tensor_count("b", channels, 0.5f));
    onnx_initializer(m, tensor_fill("m", channels, 0.25f));
    onnx_initializer(m, tensor_fill("v", channels, 2));
}

static void convolutions(void) {
    struct onnx_build m = begin(8, 13, "Nx2x6x6");
    onnx_initializer(&m, tensor_count("w", "4x2x3x3", 0.01f));
    add_norm(&m, "4");
    onnx_initializer(&m, tensor_count("w2", "3x4", 0.1f));
    onnx_initializer(&m, tensor_count("b2", "3", 1));
    onnx_node(&m, "Conv", "conv", "x w", "c", attr_ints("pads", 4, 1, 1, 1, 1), attr_ints("strides", 2, 1, 1),
              ATTR_END);
    onnx_node(&m, "BatchNormalization", "bn", "c g b m v", "n", attr_float("epsilon", 1e-5f), ATTR_END);
    onnx_node(&m, "Relu", "", "n", "r", ATTR_END);
    onnx_node(&m, "GlobalAveragePool", "", "r", "p", ATTR_END);
    onnx_node(&m, "Flatten", "", "p", "f", attr_int("axis", 1), ATTR_END);
    onnx_node(&m, "Gemm", "", "f w2 b2", "s", attr_int("transB", 1), attr_float("alpha", 1), ATTR_END);
    onnx_node(&m, "Softmax", "", "s", "y", attr_int("axis", -1), ATTR_END);
    end(&m, "classifier");

    m = begin(8, 13, "1x4x7x7");
    onnx_initializer(&m, tensor_count("w", "4x1x3x3", 0.01f));
    onnx_initializer(&m, tensor_count("w2", "4x4x1x1", 0.01f));
    onnx_initializer(&m, tensor_count("w3", "4", 0.01f));
    onnx_initializer(&m, tensor_fill("lo", "", 0));
    onnx_initializer(&m, tensor_fill("hi", "", 6));
    onnx_node(&m, "Conv", "dw", "x w w3", "a", attr_int("group", 4), attr_text("auto_pad", "SAME_UPPER"),
              ATTR_END);
    onnx_node(&m, "Clip", "", "a lo hi", "c", ATTR_END);
    onnx_node(&m, "Conv", "pw", "c w2 w3", "d", attr_ints("kernel_shape", 2, 1, 1), ATTR_END);
    onnx_node(&m, "Add", "", "d x", "e", ATTR_END);
    onnx_node(&m, "MaxPool", "", "e", "f", attr_ints("kernel_shape", 2, 3, 3), attr_ints("strides", 2, 2, 2),
              attr_int("ceil_mode", 1), ATTR_END);
    onnx_node(&m, "AveragePool", "", "e", "g", attr_ints("kernel_shape", 2, 3, 3),
              attr_ints("strides", 2, 2, 2), attr_int("ceil_mode", 1), attr_int("count_include_pad", 1),
              ATTR_END);
    onnx_node(&m, "Concat", "", "f g", "h", attr_int("axis", 1), ATTR_END);
    onnx_node(&m, "Identity", "", "h", "y", ATTR_END);
    end(&m, "residual");

    m = begin(7, 11, "1x2x8");
    onnx_initializer(&m, tensor_count("w", "3x2x3", 0.1f));
    onnx_node(&m, "Conv", "", "x w", "c", attr_ints("dilations", 1, 2), ATTR_END);
    onnx_node(&m, "MaxPool", "", "c", "y", attr_ints("kernel_shape", 1, 2), ATTR_END);
    end(&m, "conv-1d");

    m = begin(7, 11, "1x2x3x3x3");
    onnx_initializer(&m, tensor_count("w", "2x2x2x2x2", 0.1f));
    onnx_node(&m, "Conv", "", "x w", "y", attr_ints("pads", 6, 1, 0, 0, 0, 0, 1), ATTR_END);
    end(&m, "conv-3d");
}

/* What CLP and the planner have rules for: a gate, a channel shuffle's reshapes, dense concatenations. */
static void blocks(void) {
    struct onnx_build m = begin(8, 13, "Nx4x5x5");
    onnx_initializer(&m, tensor_count("w", "4x4x3x3", 0.01f));
    onnx_initializer(&m, tensor_count("q", "2x4x1x1", 0.1f));
    onnx_initializer(&m, tensor_count("e", "4x2x1x1", 0.1f));
    onnx_node(&m, "Conv", "body", "x w", "c", attr_ints("pads", 4, 1, 1, 1, 1), ATTR_END);
    onnx_node(&m, "GlobalAveragePool", "", "c", "p", ATTR_END);
    onnx_node(&m, "Conv", "squeeze", "p q", "s", ATTR_END);
    onnx_node(&m, "Relu", "", "s", "r", ATTR_END);
    onnx_node(&m, "Conv", "excite", "r e", "k", ATTR_END);
    onnx_node(&m, "Mul", "", "c k", "g", ATTR_END);
    onnx_node(&m, "Add", "", "g x", "y", ATTR_END);
    end(&m, "gate");

    m = begin(8, 13, "1x4x4x4");
    onnx_initializer(&m, tensor_count("w", "4x4x3x3", 0.01f));
    onnx_initializer(&m, tensor_count("w2", "4x8x3x3", 0.01f));
    add_norm(&m, "4");
    onnx_initializer(&m, tensor_ints("s", "5", (int64_t[]){1, 2, 6, 4, 4}, 5));
    onnx_initializer(&m, tensor_ints("t", "2", (int64_t[]){0, -1}, 2));
    onnx_node(&m, "BatchNormalization", "", "x g b m v", "n", ATTR_END);
    onnx_node(&m, "Relu", "", "n", "r", ATTR_END);
    onnx_node(&m, "Conv", "one", "r w", "c", attr_ints("pads", 4, 1, 1, 1, 1), ATTR_END);
    onnx_node(&m, "Concat", "", "x c", "d", attr_int("axis", 1), ATTR_END);
    onnx_node(&m, "Conv", "two", "d w2", "e", attr_ints("pads", 4, 1, 1, 1, 1), ATTR_END);
    onnx_node(&m, "Concat", "", "d e", "f", attr_int("axis", 1), ATTR_END);
    onnx_node(&m, "Reshape", "", "f s", "h", ATTR_END);
    onnx_node(&m, "Reshape", "", "h t", "y", ATTR_END);
    end(&m, "dense");
}

/* Enough channels for the kernels that take them by sixteen. */
static void many_channels(void) {
    struct onnx_build m = begin(8, 13, "Nx3x8x8");
    onnx_initializer(&m, tensor_count("w", "16x3x3x3", 0.001f));
    onnx_initializer(&m, tensor_count("w2", "16x16x3x3", 0.0001f));
    onnx_initializer(&m, tensor_count("w3", "16x1x3x3", 0.01f));
    onnx_initializer(&m, tensor_count("w4", "10x16x1x1", 0.01f));
    onnx_initializer(&m, tensor_count("b", "16", 0.1f));
    onnx_node(&m, "Conv", "first", "x w b", "c", attr_ints("pads", 4, 1, 1, 1, 1), ATTR_END);
    onnx_node(&m, "Relu", "", "c", "r", ATTR_END);
    onnx_node(&m, "Conv", "second", "r w2 b", "d", attr_ints("pads", 4, 1, 1, 1, 1), ATTR_END);
    onnx_node(&m, "Add", "", "d r", "a", ATTR_END);
    onnx_node(&m, "Conv", "third", "a w3 b", "e", attr_int("group", 16), attr_ints("strides", 2, 2, 2),
              ATTR_END);
    onnx_node(&m, "Conv", "fourth", "e w4", "f", ATTR_END);
    onnx_node(&m, "AveragePool", "", "f", "p", attr_ints("kernel_shape", 2, 3, 3), ATTR_END);
    onnx_node(&m, "Flatten", "", "p", "y", ATTR_END);
    end(&m, "many-channels");
}

static void old_forms(void) {
    struct onnx_build m = begin(3, 7, "2x3x4x4");
    onnx_input(&m, "w", "3x3x1x1");
    onnx_initializer(&m, tensor_count("w", "3x3x1x1", 0.1f));
    add_norm(&m, "3");
    onnx_node(&m, "Conv", "", "x w", "c", ATTR_END);
    onnx_node(&m, "BatchNormalization", "", "c g b m v", "n", attr_int("spatial", 1), ATTR_END);
    onnx_node(&m, "Clip", "", "n", "k", attr_float("min", 0), attr_float("max", 6), ATTR_END);
    onnx_node(&m, "Dropout", "", "k", "d", attr_float("ratio", 0.5f), ATTR_END);
    onnx_node(&m, "GlobalAveragePool", "", "d", "p", ATTR_END);
    onnx_node(&m, "Squeeze", "", "p", "s", attr_ints("axes", 2, 2, 3), ATTR_END);
    onnx_node(&m, "Unsqueeze", "", "s", "u", attr_ints("axes", 1, 2), ATTR_END);
    onnx_node(&m, "Softmax", "", "u", "y", attr_int("axis", 1), ATTR_END);
    end(&m, "opset-7");

    m = begin(8, 17, "Nx4x6");
    onnx_initializer(&m, tensor_count("w", "6x6", 0.1f));
    onnx_initializer(&m, tensor_count("g", "6", 0.1f));
    onnx_initializer(&m, tensor_count("b", "6", 0.1f));
    onnx_node(&m, "MatMul", "", "x w", "a", ATTR_END);
    onnx_node(&m, "LayerNormalization", "", "a g b", "n", attr_int("axis", -1), attr_float("epsilon", 1e-5f),
              ATTR_END);
    onnx_node(&m, "Mul", "", "n g", "k", ATTR_END);
    onnx_node(&m, "Sum", "", "k b x", "y", ATTR_END);
    end(&m, "attention");
}

static void shapes_computed(void) {
    struct onnx_build m = begin(8, 13, "Nx2x3");
    onnx_initializer(&m, tensor_ints("i", "", (int64_t[]){0}, 1));
    onnx_initializer(&m, tensor_ints("z", "1", (int64_t[]){0}, 1));
    onnx_initializer(&m, tensor_ints("t", "1", (int64_t[]){-1}, 1));
    onnx_node(&m, "Shape", "", "x", "s", ATTR_END);
    onnx_node(&m, "Gather", "", "s i", "n", attr_int("axis", 0), ATTR_END);
    onnx_node(&m, "Unsqueeze", "", "n z", "u", ATTR_END);
    onnx_node(&m, "Concat", "", "u t", "r", attr_int("axis", 0), ATTR_END);
    onnx_node(&m, "Reshape", "", "x r", "y", ATTR_END);
    end(&m, "shape-gather");

    m = begin(8, 13, "1x2x3");
    onnx_initializer(&m, tensor_ints("s", "1", (int64_t[]){3}, 1));
    onnx_initializer(&m, tensor_ints("a", "", (int64_t[]){0}, 1));
    onnx_initializer(&m, tensor_ints("e", "", (int64_t[]){6}, 1));
    onnx_initializer(&m, tensor_ints("d", "", (int64_t[]){2}, 1));
    onnx_initializer(&m, tensor_ints("z", "1", (int64_t[]){0}, 1));
    onnx_node(&m, "ConstantOfShape", "", "s", "c", attr_tensor("value", tensor_fill("", "1", 2)), ATTR_END);
    onnx_node(&m, "Range", "", "a e d", "r", ATTR_END);
    onnx_node(&m, "Slice", "", "r z s z", "k", ATTR_END);
    onnx_node(&m, "Cast", "", "k", "f", attr_int("to", 1), ATTR_END);
    onnx_node(&m, "Mul", "", "f c", "m", ATTR_END);
    onnx_node(&m, "Add", "", "x m", "y", ATTR_END);
    end(&m, "range");

    m = begin(8, 13, "1x2x3");
    onnx_initializer(&m, tensor_count("w", "3x2", 1));
    onnx_initializer(&m, tensor_ints("s", "3", (int64_t[]){1, 2, 3}, 3));
    onnx_node(&m, "Transpose", "", "w", "t", attr_ints("perm", 2, 1, 0), ATTR_END);
    onnx_node(&m, "Expand", "", "t s", "e", ATTR_END);
    onnx_node(&m, "Greater", "", "e t", "g", ATTR_END);
    onnx_node(&m, "Where", "", "g e t", "k", ATTR_END);
    onnx_node(&m, "Constant", "", "", "c", attr_tensor("value", tensor_count("", "3", 0.5f)), ATTR_END);
    onnx_node(&m, "Mul", "", "k c", "l", ATTR_END);
    onnx_node(&m, "Add", "", "x l", "y", ATTR_END);
    end(&m, "where");
}

/* y = x + op(constants), an operator each. */
static void evaluated(void) {
    static const char *const two[] = {"Sub", "Div", "Mod", "Equal", "Less", "Greater", "Add", "Mul"};
    static const char *const one[] = {"Neg",      "Abs",     "Floor", "Ceil", "Sqrt",
                                      "Identity", "Flatten", "Not",   "Size"};
    for (size_t i = 0; i < sizeof two / sizeof *two + sizeof one / sizeof *one; i++) {
        const size_t n = sizeof two / sizeof *two;
        const char *op = i < n ? two[i] : one[i - n];
        struct onnx_build m = begin(8, 13, "1x2x3");
        char name[32];
        onnx_initializer(&m, tensor_count("a", "2x3", 1.5f));
        onnx_initializer(&m, tensor_count("b", "3", 1));
        onnx_node(&m, "Cast", "", "a", "k",
                  attr_int("to", strcmp(op, "Not") == 0              ? 9
                                 : i % 2 || strstr("Floor Sqrt", op) ? 1
                                                                     : 7),
                  ATTR_END);
        onnx_node(&m, "Cast", "", "b", "l", attr_int("to", i % 2 ? 1 : 7), ATTR_END);
        onnx_node(&m, op, "", i < n ? "k l" : "k", "c", ATTR_END);
        onnx_node(&m, "Cast", "", "c", "f", attr_int("to", 1), ATTR_END);
        onnx_node(&m, "Add", "", "x f", "y", ATTR_END);
        (void)snprintf(name, sizeof name, "evaluate-%s", op);
        end(&m, name);
    }
}

/* Weights in every type that can be one, and in typed fields. */
static void weights(void) {
    static const struct {
        int type;
        size_t bytes;
    } types[] = {{1, 4}, {2, 1},  {3, 1},  {4, 2},  {5, 2},  {6, 4}, {7, 8},
                 {9, 1}, {10, 2}, {11, 8}, {12, 4}, {13, 8}, {16, 2}};
    static const uint8_t zeros[16];
    struct onnx_build m = begin(8, 13, "1x2");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char w[8], f[8], s[8], in[24], to[8];
        (void)snprintf(w, sizeof w, "w%zu", i);
        (void)snprintf(f, sizeof f, "f%zu", i);
        (void)snprintf(s, sizeof s, "s%zu", i);
        (void)snprintf(in, sizeof in, "%s %s", s, f);
        (void)snprintf(to, sizeof to, "s%zu", i + 1);
        onnx_initializer(&m, tensor_raw(w, types[i].type, "2", zeros, 2 * types[i].bytes));
        onnx_node(&m, "Cast", "", w, f, attr_int("to", 1), ATTR_END);
        onnx_node(&m, "Add", "", i ? in : "x f0", i + 1 < sizeof types / sizeof *types ? to : "y", ATTR_END);
    }
    end(&m, "types");

    struct pb t = {0}, packed = {0}, entry = {0};
    m = begin(8, 13, "1x3");
    pb_int(&t, 1, 3);
    pb_int(&t, 2, 1);
    pb_raw(&packed, (float[]){1, 2, 3}, 12);
    pb_message(&t, 4, &packed);
    pb_text(&t, 8, "w");
    onnx_initializer(&m, t);
    t = (struct pb){0};
    pb_int(&t, 1, 3);
    pb_int(&t, 2, 1);
    pb_text(&t, 8, "b");
    pb_text(&entry, 1, "location");
    pb_text(&entry, 2, "w.data");
    pb_message(&t, 13, &entry);
    pb_text(&entry, 1, "offset");
    pb_text(&entry, 2, "64");
    pb_message(&t, 13, &entry);
    pb_int(&t, 14, 1);
    onnx_initializer(&m, t);
    onnx_node(&m, "Mul", "", "x w", "k", ATTR_END);
    onnx_node(&m, "Add", "", "k b", "y", ATTR_END);
    end(&m, "external");
}

SUITE(corpus_onnx, {"convolutions", convolutions}, {"blocks", blocks}, {"many channels", many_channels},
      {"old forms", old_forms}, {"computed shapes", shapes_computed}, {"evaluated", evaluated},
      {"weights", weights});
