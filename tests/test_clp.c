/* CLP: the rule on hand-made graphs, the
 * pairing by edges, and the authors' own numbers on the shared networks. */
#include "guard/clp.h"
#include "guard/import.h"
#include "guard/onnx_model.h"
#include "tests/suite.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- graphs ---- */

#define CHANNELS 16

struct made {
    struct graph *g;
    struct report r;
    struct clp_result c;
    struct err e;
    float weight[CHANNELS * 3], bias[CHANNELS], gamma[CHANNELS], beta[CHANNELS], mean[CHANNELS],
        var[CHANNELS];
};

static int32_t constant(struct made *m, const char *name, const float *data, int rank, const int64_t *dims) {
    struct shape s = {.rank = rank};
    memcpy(s.dim, dims, sizeof *dims * (size_t)rank);
    return graph_add_constant(m->g, name, &s, data, -1, &m->e);
}

static int32_t node(struct made *m, const char *name, enum op op, union op_params p, int32_t n,
                    const int32_t *in) {
    int32_t index = graph_add_node(m->g, name, op, &p, in, n, name, 0, &m->e);
    CU_ASSERT_FATAL(index >= 0);
    return m->g->nodes[index].output;
}

static int32_t conv1x1(struct made *m, const char *name, int32_t x) {
    union op_params p = {
        .window = {
            .spatial = 2, .groups = 1, .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}}};
    int64_t in = m->g->values[x].shape.dim[1];
    int32_t w = constant(m, "w", m->weight, 4, (int64_t[]){CHANNELS, in, 1, 1});
    int32_t b = constant(m, "b", m->bias, 1, (int64_t[]){CHANNELS});
    return node(m, name, OP_CONV, p, 3, (int32_t[]){x, w, b});
}

static int32_t batch_norm(struct made *m, const char *name, int32_t x) {
    union op_params p = {.batch_norm = {.epsilon = 1e-5f}};
    int64_t n[] = {CHANNELS};
    int32_t in[] = {x, constant(m, "g", m->gamma, 1, n), constant(m, "be", m->beta, 1, n),
                    constant(m, "m", m->mean, 1, n), constant(m, "v", m->var, 1, n)};
    return node(m, name, OP_BATCH_NORM, p, 5, in);
}

/* One picture of `channels` 4x4 planes; weights such that channel 5's bound is far out. */
static int32_t begin(struct made *m, int64_t channels) {
    memset(m, 0, sizeof *m);
    m->g = graph_new();
    for (int k = 0; k < CHANNELS; k++) {
        m->gamma[k] = 1, m->beta[k] = 2, m->mean[k] = 0, m->var[k] = 4, m->bias[k] = 3;
        for (int64_t c = 0; c < channels && channels <= 3; c++)
            m->weight[k * channels + c] = 1.0f + 0.01f * (float)k;
    }
    struct shape s = {.rank = 4, .dim = {1, channels, 4, 4}};
    return graph_add_input(m->g, "x", &s, &m->e);
}

static int apply(struct made *m, int32_t output, float u) {
    struct clp_options o = {.threshold = u};
    /* Something that mixes the channels behind it, so that they aren't the class scores. */
    struct shape s = m->g->values[output].shape;
    static const float mix[CHANNELS * 8];
    if (s.rank == 4) {
        union op_params gap = {0}, flat = {.reshape = {.target = {.rank = 2, .dim = {1, s.dim[1]}}}};
        gap.window.spatial = 2;
        output = node(m, "gap", OP_GLOBAL_AVERAGE_POOL, gap, 1, &output);
        output = node(m, "flat", OP_RESHAPE, flat, 1, &output);
        int32_t w = constant(m, "mix", mix, 2, (int64_t[]){s.dim[1], 2});
        output = node(m, "fc", OP_MATMUL, (union op_params){0}, 2, (int32_t[]){output, w});
    }
    graph_add_output(m->g, output, &m->e);
    return clp_apply(m->g, &o, &m->r, &m->c, &m->e);
}

static void end(struct made *m) {
    clp_result_free(&m->c);
    report_free(&m->r);
    graph_free(m->g);
}

static void prunes_the_outlier_through_its_norm(void) {
    struct made m;
    int32_t x = begin(&m, 3);
    m.gamma[5] = -40; /* far out by its scale alone, whatever the sign */
    int32_t y = batch_norm(&m, "bn", conv1x1(&m, "conv", x));
    CU_ASSERT_EQUAL_FATAL(apply(&m, y, 3), 0);
    CU_ASSERT_EQUAL_FATAL(m.r.n_layers, 1);
    struct report_layer *l = &m.r.layers[0];
    CU_ASSERT_EQUAL(l->norm, NORM_BN);
    CU_ASSERT_DOUBLE_EQUAL(l->uclc[0], sqrt(3) * 1 / 2, 1e-6); /* |(1,1,1)| * 1 / sqrt(4), no epsilon */
    CU_ASSERT_EQUAL_FATAL(l->n_pruned, 1);
    CU_ASSERT_EQUAL(l->pruned[0], 5);
    CU_ASSERT_EQUAL(m.r.verdict, VERDICT_PRUNED);
    const struct node *bn = &m.g->nodes[m.c.edits[0].norm];
    CU_ASSERT_EQUAL(m.g->values[bn->inputs[1]].data[5], 0);
    CU_ASSERT_EQUAL(m.g->values[bn->inputs[2]].data[5], 0);
    CU_ASSERT_EQUAL(m.g->values[bn->inputs[2]].data[4], 2);
    CU_ASSERT_EQUAL(m.gamma[5], -40); /* the file's own bytes are untouched */
    end(&m);
}

static void prunes_filters_where_the_norm_was_folded(void) {
    struct made m;
    int32_t x = begin(&m, 3);
    m.weight[5 * 3] = 90;
    CU_ASSERT_EQUAL_FATAL(apply(&m, conv1x1(&m, "conv", x), 3), 0);
    CU_ASSERT_EQUAL(m.r.layers[0].norm, NORM_FOLDED_OR_NONE);
    CU_ASSERT_EQUAL_FATAL(m.r.layers[0].n_pruned, 1);
    const struct node *conv = &m.g->nodes[m.c.edits[0].conv];
    for (int c = 0; c < 3; c++) CU_ASSERT_EQUAL(m.g->values[conv->inputs[1]].data[5 * 3 + c], 0);
    CU_ASSERT_EQUAL(m.g->values[conv->inputs[2]].data[5], 0);
    CU_ASSERT_EQUAL(m.g->values[conv->inputs[2]].data[6], 3);
    end(&m);
}

static void says_when_a_layer_is_too_small_to_fire(void) {
    struct made m;
    int32_t x = begin(&m, 3);
    m.weight[5 * 3] = 90;
    CU_ASSERT_EQUAL_FATAL(apply(&m, conv1x1(&m, "conv", x), 3.75f), 0); /* (16-1)/sqrt(16) = 3.75 */
    CU_ASSERT_DOUBLE_EQUAL(m.r.layers[0].max_attainable_z, 3.75, 1e-6);
    CU_ASSERT_TRUE(m.r.layers[0].scored);
    CU_ASSERT_PTR_NOT_NULL(m.r.layers[0].reason);
    CU_ASSERT_EQUAL(m.r.verdict, VERDICT_UNCHANGED);
    end(&m);
}

static void leaves_class_scores_alone(void) {
    struct made m;
    int32_t x = begin(&m, 3);
    m.weight[5 * 3] = 90;
    int32_t y = conv1x1(&m, "conv", x);
    graph_add_output(m.g, node(&m, "relu", OP_RELU, (union op_params){0}, 1, &y), &m.e);
    struct clp_options o = {.threshold = 3};
    CU_ASSERT_EQUAL_FATAL(clp_apply(m.g, &o, &m.r, &m.c, &m.e), 0);
    CU_ASSERT_FALSE(m.r.layers[0].scored);
    CU_ASSERT_PTR_NOT_NULL_FATAL(strstr(m.r.layers[0].reason, "class scores"));
    CU_ASSERT_EQUAL(m.r.verdict, VERDICT_NOT_APPLICABLE);
    end(&m);
}

static void a_norm_behind_a_sum_scores_nothing(void) {
    struct made m;
    int32_t x = begin(&m, CHANNELS); /* pre-activation: x + conv(x), then BN */
    static const float zeros[CHANNELS * CHANNELS];
    union op_params p = {
        .window = {
            .spatial = 2, .groups = 1, .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}}};
    int32_t w = constant(&m, "w", zeros, 4, (int64_t[]){CHANNELS, CHANNELS, 1, 1});
    int32_t y = node(&m, "conv", OP_CONV, p, 2, (int32_t[]){x, w});
    y = node(&m, "add", OP_ADD, (union op_params){0}, 2, (int32_t[]){x, y});
    CU_ASSERT_EQUAL_FATAL(apply(&m, batch_norm(&m, "bn", y), 3), 0);
    CU_ASSERT_FALSE(m.r.layers[0].scored);
    CU_ASSERT_PTR_NOT_NULL(strstr(m.r.layers[0].reason, "sum"));
    end(&m);
}

static void a_shared_norm_scores_nothing(void) {
    struct made m;
    int32_t x = begin(&m, 3), y = conv1x1(&m, "conv", x), n = batch_norm(&m, "bn", y);
    n = node(&m, "add", OP_ADD, (union op_params){0}, 2, (int32_t[]){n, y});
    CU_ASSERT_EQUAL_FATAL(apply(&m, n, 3), 0);
    CU_ASSERT_FALSE(m.r.layers[0].scored);
    end(&m);
}

/* conv -> relu -> concat with the picture's own channels -> norm: a folded DenseNet's stem. */
static void a_norm_behind_an_activation_is_anothers(void) {
    struct made m;
    int32_t x = begin(&m, 3), y = conv1x1(&m, "conv", x);
    y = node(&m, "relu", OP_RELU, (union op_params){0}, 1, &y);
    int32_t other = node(&m, "other", OP_RELU, (union op_params){0}, 1, &y);
    union op_params axis = {.axis = {.axis = 2}}; /* along the height: batch_norm has CHANNELS */
    y = node(&m, "concat", OP_CONCAT, axis, 2, (int32_t[]){y, other});
    CU_ASSERT_EQUAL_FATAL(apply(&m, batch_norm(&m, "bn", y), 3), 0);
    CU_ASSERT_TRUE(m.r.layers[0].scored);
    CU_ASSERT_EQUAL(m.r.layers[0].norm, NORM_FOLDED_OR_NONE);
    end(&m);
}

static void a_norm_of_the_activation_scores_nothing(void) {
    struct made m;
    int32_t x = begin(&m, 3), y = conv1x1(&m, "conv", x);
    y = node(&m, "relu", OP_RELU, (union op_params){0}, 1, &y);
    CU_ASSERT_EQUAL_FATAL(apply(&m, batch_norm(&m, "bn", y), 3), 0);
    CU_ASSERT_FALSE(m.r.layers[0].scored);
    CU_ASSERT_PTR_NOT_NULL(strstr(m.r.layers[0].reason, "activation"));
    end(&m);
}

static void a_layer_norm_spelled_out_scores_nothing(void) {
    struct made m;
    int32_t x = begin(&m, 3), y = conv1x1(&m, "conv", x);
    union op_params mean = {.reduce = {.axes = 1u << 1, .keep = 1}};
    int32_t middle = node(&m, "mean", OP_REDUCE_MEAN, mean, 1, &y);
    y = node(&m, "sub", OP_SUB, (union op_params){0}, 2, (int32_t[]){y, middle});
    CU_ASSERT_EQUAL_FATAL(apply(&m, y, 3), 0);
    CU_ASSERT_FALSE(m.r.layers[0].scored);
    CU_ASSERT_PTR_NOT_NULL(strstr(m.r.layers[0].reason, "LayerNormalization"));
    end(&m);
}

static void refuses_what_would_switch_it_off(void) {
    static const float bad[] = {0, -1, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        struct made m;
        int32_t x = begin(&m, 3);
        if (i < 3)
            m.var[7] = bad[i];
        else
            m.gamma[7] = bad[i];
        CU_ASSERT_EQUAL(apply(&m, batch_norm(&m, "bn", conv1x1(&m, "conv", x)), 3), -1);
        CU_ASSERT_EQUAL(m.e.code, ERR_VALUE);
        CU_ASSERT_PTR_NOT_NULL(strstr(m.e.text, "channel 7"));
        end(&m);
    }
}

/* ---- the authors' numbers ---- */

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*size);
    if (fread(bytes, 1, *size, f) != *size) *size = 0;
    fclose(f);
    return bytes;
}

static void compare_layer(const struct report_layer *l, json_t *want) {
    json_t *uclc = json_object_get(want, "uclc"), *pruned = json_object_get(want, "pruned");
    CU_ASSERT_TRUE_FATAL(l->scored);
    CU_ASSERT_EQUAL_FATAL((size_t)l->channels, json_array_size(uclc));
    for (int32_t k = 0; k < l->channels; k++) {
        double w = json_number_value(json_array_get(uclc, (size_t)k));
        CU_ASSERT_TRUE(fabs((double)l->uclc[k] - w) <= 1e-4 * fabs(w));
    }
    CU_ASSERT_EQUAL_FATAL((size_t)l->n_pruned, json_array_size(pruned));
    for (int32_t k = 0; k < l->n_pruned; k++)
        CU_ASSERT_EQUAL(l->pruned[k], json_integer_value(json_array_get(pruned, (size_t)k)));
}

static void compare_network(const char *folder, const char *name, bool folded) {
    char path[600];
    size_t size = 0;
    struct err e = {0};
    struct onnx_model *model = NULL;
    struct graph *g = NULL;
    struct report r = {0};
    struct clp_result c = {0};
    snprintf(path, sizeof path, "%s/models/%s%s.onnx", folder, name, folded ? ".folded" : "");
    uint8_t *bytes = read_file(path, &size);
    snprintf(path, sizeof path, "%s/models/%s.clp.json", folder, name);
    json_t *want = json_load_file(path, 0, NULL), *layers = json_object_get(want, "layers");
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(layers);
    CU_ASSERT_EQUAL_FATAL(import_onnx(bytes, size, &(struct import_options){0}, &model, &g, &e), 0);
    CU_ASSERT_EQUAL_FATAL(clp_apply(g, &(struct clp_options){.threshold = 3}, &r, &c, &e), 0);
    CU_ASSERT_EQUAL_FATAL((size_t)r.n_layers, json_array_size(layers));
    for (size_t i = 0; i < json_array_size(layers); i++) {
        json_t *layer = json_array_get(layers, i);
        const char *node_name = json_string_value(json_object_get(layer, "node"));
        bool found = false;
        for (int32_t k = 0; k < r.n_layers; k++) {
            if (strcmp(r.layers[k].name, node_name) != 0) continue;
            found = true;
            compare_layer(&r.layers[k], folded ? json_object_get(layer, "folded") : layer);
            CU_ASSERT_EQUAL(r.layers[k].norm, folded ? NORM_FOLDED_OR_NONE : NORM_BN);
        }
        CU_ASSERT_TRUE(found);
    }
    clp_result_free(&c);
    report_free(&r);
    graph_free(g);
    onnx_model_free(model);
    json_decref(want);
    free(bytes);
}

static void finds_what_the_authors_find(void) {
    const char *folder = suite_shared();
    if (!folder) {
        suite_skip("finds_what_the_authors_find", "../shared is absent");
        return;
    }
    compare_network(folder, "rn16_badnets", false);
    compare_network(folder, "rn16_badnets", true);
    compare_network(folder, "rn32_badnets", false);
    compare_network(folder, "rn32_badnets", true);
}

SUITE(clp, {"prunes the outlier through its normalisation", prunes_the_outlier_through_its_norm},
      {"prunes filters and bias where the normalisation was folded",
       prunes_filters_where_the_norm_was_folded},
      {"says when a layer is too small to fire", says_when_a_layer_is_too_small_to_fire},
      {"never touches the class scores", leaves_class_scores_alone},
      {"a normalisation behind a sum scores nothing", a_norm_behind_a_sum_scores_nothing},
      {"a shared normalisation scores nothing", a_shared_norm_scores_nothing},
      {"a normalisation behind activation and concatenation is another's",
       a_norm_behind_an_activation_is_anothers},
      {"a normalisation of the activation scores nothing", a_norm_of_the_activation_scores_nothing},
      {"a LayerNormalization spelled out scores nothing", a_layer_norm_spelled_out_scores_nothing},
      {"refuses variances and scales that would switch it off", refuses_what_would_switch_it_off},
      {"finds what the authors' code finds, kept and folded", finds_what_the_authors_find});
