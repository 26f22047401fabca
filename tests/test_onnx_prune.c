/* guard/onnx_prune: pruned rows are zero in the file that comes out, and nothing else has changed. */
#include "guard/onnx_prune.h"
#include "guard/tensor.h"
#include "tests/import_case.h"

#include <stdlib.h>
#include <sys/stat.h>

static const struct prune_notes notes = {{0xab, 0xcd}, 3};
static const int32_t channels[] = {1, 3};

static int collect(void *ctx, const void *bytes, size_t n, struct err *e) {
    (void)e;
    pb_raw(ctx, bytes, n);
    return 0;
}

/* The repaired file, imported again. */
struct repaired {
    struct import_case before, after;
    bool ok;
};

static struct repaired repair(struct import_case before, const struct prune_edit *edits, int32_t n) {
    struct repaired r = {.before = before};
    CU_ASSERT_PTR_NOT_NULL_FATAL(before.g);
    const int rc = onnx_prune(before.model, before.g, edits, n, &notes, collect, &r.after.file, &r.before.e);
    if (rc) fprintf(stderr, "\n%s\n", r.before.e.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    r.ok = import_onnx(r.after.file.p, r.after.file.n, NULL, &r.after.model, &r.after.g, &r.after.e) == 0;
    if (!r.ok) fprintf(stderr, "\nrepaired file refused: %s\n", r.after.e.text);
    CU_ASSERT_TRUE_FATAL(r.ok);
    return r;
}

static void repaired_free(struct repaired *r) {
    import_case_free(&r->before);
    import_case_free(&r->after);
}

/* Rows 1 and 3 of this input are zero now, and all others as they were. */
static bool rows_are_zero(const struct repaired *r, int32_t node, int32_t slot) {
    const struct value *a = import_case_input(&r->before, &r->before.g->nodes[node], slot);
    const struct value *b = import_case_input(&r->after, &r->after.g->nodes[node], slot);
    const int64_t n = shape_elements(&a->shape), row = n / a->shape.dim[0];
    if (!shape_equal(&a->shape, &b->shape)) return false;
    for (int64_t i = 0; i < n; i++)
        if (b->data[i] != (i / row == 1 || i / row == 3 ? 0 : a->data[i])) return false;
    return true;
}

static bool unchanged(const struct repaired *r, int32_t node, int32_t slot) {
    const struct value *a = import_case_input(&r->before, &r->before.g->nodes[node], slot);
    const struct value *b = import_case_input(&r->after, &r->after.g->nodes[node], slot);
    return shape_equal(&a->shape, &b->shape) &&
           memcmp(a->data, b->data, (size_t)shape_elements(&a->shape) * sizeof *a->data) == 0;
}

/* The text of a metadata entry; NULL where there is none, or more than one. */
static const char *metadata(const struct pb *file, const char *key, char *buf, size_t cap) {
    struct wire w = wire_view(file->p, file->n), entry;
    struct wire_field f;
    const char *found = NULL;
    while (wire_take_field(&w, &f) == WIRE_OK) {
        if (f.number != 14) continue;
        struct wire parts[3] = {{0}};
        for (entry = f.bytes; wire_take_field(&entry, &f) == WIRE_OK;)
            if (f.number < 3) parts[f.number] = f.bytes;
        if (wire_left(&parts[1]) != strlen(key) || memcmp(parts[1].at, key, strlen(key)) != 0) continue;
        if (found) return NULL;
        (void)snprintf(buf, cap, "%.*s", (int)wire_left(&parts[2]), (const char *)parts[2].at);
        found = buf;
    }
    return found;
}

/* Convolution with bias (and a normalisation), its tensors `w`, `b`, `g`, `h`. */
static struct onnx_build network(int ir, bool norm) {
    struct onnx_build m = onnx_begin(ir, ir < 4 ? 8 : 13);
    onnx_input(&m, "x", "Nx2x4x4");
    onnx_output(&m, "y");
    onnx_node(&m, "Conv", "conv:1", "x w b", norm ? "c" : "y", ATTR_END);
    if (norm) onnx_node(&m, "BatchNormalization", "bn", "c g h mean var", "y", ATTR_END);
    return m;
}

static void add_tensors(struct onnx_build *m) {
    onnx_initializer(m, tensor_count("w", "5x2x3x3", 1));
    onnx_initializer(m, tensor_count("b", "5", 1));
    onnx_initializer(m, tensor_count("g", "5", 1));
    onnx_initializer(m, tensor_count("h", "5", -2));
    onnx_initializer(m, tensor_fill("mean", "5", 1));
    onnx_initializer(m, tensor_fill("var", "5", 2));
}

static void filters_in_place(void) {
    struct onnx_build m = network(8, false);
    add_tensors(&m);
    const struct prune_edit edit = {0, -1, channels, 2};
    struct repaired r = repair(import_case_make(&m), &edit, 1);
    CU_ASSERT(rows_are_zero(&r, 0, 1) && rows_are_zero(&r, 0, 2));
    /* Every byte but the rows is the same, and the metadata comes after them. */
    const uint8_t *a = r.before.file.p, *b = r.after.file.p;
    size_t changed = 0;
    for (size_t i = 0; i < r.before.file.n; i++) {
        if (a[i] == b[i]) continue;
        CU_ASSERT_EQUAL(b[i], 0);
        changed++;
    }
    CU_ASSERT(changed > 0 && changed <= 4 * 2 * (18 + 1));
    char text[128];
    CU_ASSERT_STRING_EQUAL(metadata(&r.after.file, "clpd.pruned", text, sizeof text), "conv%3A1:1,3");
    CU_ASSERT_STRING_EQUAL(metadata(&r.after.file, "clpd.threshold", text, sizeof text), "3");
    CU_ASSERT_PTR_NOT_NULL_FATAL(metadata(&r.after.file, "clpd.source_sha256", text, sizeof text));
    CU_ASSERT(strlen(text) == 64 && memcmp(text, "abcd00", 6) == 0);
    repaired_free(&r);
}

static void scale_and_bias_of_the_norm(void) {
    struct onnx_build m = network(8, true);
    add_tensors(&m);
    const struct prune_edit edit = {0, 1, channels, 2};
    struct repaired r = repair(import_case_make(&m), &edit, 1);
    CU_ASSERT(unchanged(&r, 0, 1) && unchanged(&r, 0, 2) && unchanged(&r, 1, 3) && unchanged(&r, 1, 4));
    CU_ASSERT(rows_are_zero(&r, 1, 1) && rows_are_zero(&r, 1, 2));
    CU_ASSERT_EQUAL(r.after.model->n_initializers, 6);
    repaired_free(&r);
}

static void edits_made_in_the_graph_do_no_harm(void) {
    struct onnx_build m = network(8, true);
    add_tensors(&m);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    float *g = graph_edit_input(c.g, 1, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    g[1] = g[3] = 0;
    const struct prune_edit edit = {0, 1, channels, 2};
    struct repaired r = repair(c, &edit, 1);
    CU_ASSERT(rows_are_zero(&r, 1, 1) && rows_are_zero(&r, 1, 2));
    repaired_free(&r);
}

/* One tensor is scale and bias at once, and of another node too. */
static void shared_tensors_stay(void) {
    for (int ir = 3; ir <= 8; ir += 5) {
        struct onnx_build m = onnx_begin(ir, 8);
        onnx_input(&m, "x", "Nx5x4x4");
        onnx_output(&m, "y");
        add_tensors(&m);
        onnx_initializer(&m, tensor_count("w5", "5x5x1x1", 1));
        onnx_initializer(&m, tensor_count("g.clpd", "1", 1)); /* the first choice of a name is taken */
        onnx_node(&m, "Conv", "one", "x w5 b", "c", ATTR_END);
        onnx_node(&m, "BatchNormalization", "n1", "c g g mean var", "d", ATTR_END);
        onnx_node(&m, "BatchNormalization", "n2", "d g h mean var", "y", ATTR_END);
        const struct prune_edit edit = {0, 1, channels, 2};
        struct repaired r = repair(import_case_make(&m), &edit, 1);
        CU_ASSERT(rows_are_zero(&r, 1, 1) && rows_are_zero(&r, 1, 2));
        CU_ASSERT(unchanged(&r, 2, 1) && unchanged(&r, 2, 2) && unchanged(&r, 0, 1));
        const struct onnx_node *n1 = &r.after.model->nodes[1];
        CU_ASSERT(text_is(n1->inputs[1], "g.clpd2") && text_is(n1->inputs[2], "g.clpd3"));
        CU_ASSERT(text_is(n1->inputs[3], "mean") && text_is(r.after.model->nodes[2].inputs[1], "g"));
        CU_ASSERT_EQUAL(r.after.model->n_initializers, 10);
        CU_ASSERT_EQUAL(r.after.model->n_inputs, ir < 4 ? 3 : 1); /* IR 3 wants initializers listed */
        CU_ASSERT_EQUAL(r.after.g->n_inputs, 1);
        repaired_free(&r);
    }
}

static void aliases_and_computed_constants(void) {
    static const int64_t shape[] = {5, 2, 3, 3};
    struct onnx_build m = network(8, false);
    onnx_initializer(&m, tensor_count("bias", "5", 1));
    onnx_initializer(&m, tensor_ints("shape", "4", shape, 4));
    struct pb later = m.nodes; /* the constants come first */
    m.nodes = (struct pb){0};
    onnx_node(&m, "ConstantOfShape", "", "shape", "w", attr_tensor("value", tensor_fill("", "1", 0.5f)),
              ATTR_END);
    onnx_node(&m, "Identity", "", "bias", "b", ATTR_END);
    pb_raw(&m.nodes, later.p, later.n);
    pb_free(&later);
    const struct prune_edit edit = {0, -1, channels, 2};
    struct repaired r = repair(import_case_make(&m), &edit, 1);
    CU_ASSERT(rows_are_zero(&r, 0, 1) && rows_are_zero(&r, 0, 2));
    CU_ASSERT(text_is(r.after.model->nodes[2].inputs[1], "w.clpd") &&
              text_is(r.after.model->nodes[2].inputs[2], "b.clpd"));
    CU_ASSERT(text_is(r.after.model->nodes[2].inputs[0], "x"));
    repaired_free(&r);
}

/* float16 and double keep their type: in place as raw data, or in a tensor of their own. */
static void other_float_types(void) {
    static const uint16_t half[] = {0x3c00, 0x4000, 0x0001, 0x7bff, 0xc500};
    static const double wide[] = {1.1, 2.2, 3.3, 4.4, 5.5};
    struct onnx_build m = network(8, true);
    add_tensors(&m);
    pb_free(&m.initializers);
    onnx_initializer(&m, tensor_count("w", "5x2x3x3", 1));
    onnx_initializer(&m, tensor_count("b", "5", 1));
    onnx_initializer(&m, tensor_raw("g", ONNX_FLOAT16, "5", half, sizeof half));
    struct pb typed = tensor_raw("h", ONNX_FLOAT16, "5", "", 0);
    for (int i = 0; i < 5; i++) pb_int(&typed, 5, half[i]);
    onnx_initializer(&m, typed);
    onnx_initializer(&m, tensor_fill("mean", "5", 1));
    onnx_initializer(&m, tensor_raw("var", ONNX_DOUBLE, "5", wide, sizeof wide));
    const struct prune_edit edit = {0, 1, channels, 2};
    struct repaired r = repair(import_case_make(&m), &edit, 1);
    CU_ASSERT(rows_are_zero(&r, 1, 1) && rows_are_zero(&r, 1, 2) && unchanged(&r, 1, 4));
    const struct onnx_model *after = r.after.model;
    CU_ASSERT(text_is(after->nodes[1].inputs[1], "g") && text_is(after->nodes[1].inputs[2], "h.clpd"));
    struct onnx_tensor t;
    struct err e;
    CU_ASSERT_EQUAL(onnx_tensor_read(r.after.model, after->initializers[6].body, &t, &e), 0);
    CU_ASSERT(t.type == ONNX_FLOAT16 && wire_left(&t.raw) == 10);
    static const uint16_t want[] = {0x3c00, 0, 0x0001, 0, 0xc500};
    CU_ASSERT(memcmp(t.raw.at, want, sizeof want) == 0);
    repaired_free(&r);

    m = network(8, true); /* a double that two nodes share: its digits stay */
    add_tensors(&m);
    onnx_initializer(&m, tensor_raw("d", ONNX_DOUBLE, "5", wide, sizeof wide));
    pb_free(&m.nodes);
    onnx_node(&m, "Conv", "c", "x w b", "c", ATTR_END);
    onnx_node(&m, "BatchNormalization", "bn", "c d d mean var", "y", ATTR_END);
    r = repair(import_case_make(&m), &edit, 1);
    CU_ASSERT_EQUAL(onnx_tensor_read(r.after.model, r.after.model->initializers[7].body, &t, &e), 0);
    CU_ASSERT(t.type == ONNX_DOUBLE && wire_left(&t.raw) == 40 && memcmp(t.raw.at, wide, 8) == 0);
    CU_ASSERT(memcmp(t.raw.at + 32, wide + 4, 8) == 0);
    repaired_free(&r);
}

static void floats_in_float_data(void) {
    static const float v[] = {1, 2, 3, 4, 5};
    for (int scattered = 0; scattered < 2; scattered++) {
        struct onnx_build m = network(8, false);
        struct pb bias = tensor_raw("b", ONNX_FLOAT, "5", "", 0);
        if (scattered)
            for (int i = 0; i < 5; i++) pb_float(&bias, 4, v[i]);
        else
            pb_bytes(&bias, 4, v, sizeof v);
        onnx_initializer(&m, tensor_count("w", "5x2x3x3", 1));
        onnx_initializer(&m, bias);
        const struct prune_edit edit = {0, -1, channels, 2};
        struct repaired r = repair(import_case_make(&m), &edit, 1);
        CU_ASSERT(rows_are_zero(&r, 0, 1) && rows_are_zero(&r, 0, 2));
        CU_ASSERT_EQUAL(r.after.model->n_initializers, scattered ? 3 : 2);
        repaired_free(&r);
    }
}

static void external_tensors_get_a_place_inside(void) {
    static float beside[90];
    const struct import_options o = {
        .external = (const uint8_t *)beside, .external_bytes = sizeof beside, .external_name = "w.data"};
    struct onnx_build m = network(8, false);
    struct pb w = {0}, pair = {0};
    static const int dims[] = {5, 2, 3, 3};
    for (int i = 0; i < 90; i++) beside[i] = (float)i + 1;
    for (int i = 0; i < 4; i++) pb_int(&w, 1, dims[i]);
    pb_int(&w, 2, ONNX_FLOAT);
    pb_text(&w, 8, "w");
    pb_text(&pair, 1, "location");
    pb_text(&pair, 2, "w.data");
    pb_message(&w, 13, &pair);
    pb_int(&w, 14, 1);
    onnx_initializer(&m, w);
    onnx_initializer(&m, tensor_count("b", "5", 1));
    const struct prune_edit edit = {0, -1, channels, 2};
    struct repaired r = repair(import_case_make_with(&m, &o), &edit, 1);
    CU_ASSERT(rows_are_zero(&r, 0, 1) && rows_are_zero(&r, 0, 2));
    CU_ASSERT(beside[18] == 19); /* the file beside it is nobody's to write */
    repaired_free(&r);
}

static void a_second_repair_replaces_the_first(void) {
    static const int32_t other[] = {0};
    struct onnx_build m = network(8, false);
    struct pb theirs = {0};
    add_tensors(&m);
    pb_text(&theirs, 1, "author");
    pb_text(&theirs, 2, "somebody");
    pb_message(&m.model_rest, 14, &theirs);
    const struct prune_edit edit = {0, -1, channels, 2}, again = {0, -1, other, 1};
    struct repaired first = repair(import_case_make(&m), &edit, 1);
    struct repaired second = repair(first.after, &again, 1);
    char text[128];
    CU_ASSERT_STRING_EQUAL(metadata(&second.after.file, "clpd.pruned", text, sizeof text), "conv%3A1:0");
    CU_ASSERT_STRING_EQUAL(metadata(&second.after.file, "author", text, sizeof text), "somebody");
    const struct value *w = import_case_input(&second.after, &second.after.g->nodes[0], 1);
    CU_ASSERT(w->data[0] == 0 && w->data[18] == 0 && w->data[36] == 37);
    import_case_free(&first.before);
    repaired_free(&second);
}

static void nothing_pruned(void) {
    struct onnx_build m = network(8, true);
    add_tensors(&m);
    const struct prune_edit edit = {0, 1, channels, 0};
    struct repaired r = repair(import_case_make(&m), &edit, 1);
    CU_ASSERT(memcmp(r.before.file.p, r.after.file.p, r.before.file.n) == 0);
    char text[128];
    CU_ASSERT_STRING_EQUAL(metadata(&r.after.file, "clpd.pruned", text, sizeof text), "");
    repaired_free(&r);
}

/* The graph in two parts, the metadata before it. */
static void a_file_in_odd_order(void) {
    struct onnx_build m = network(8, false), rest = {0};
    struct pb second = {0}, file = {0}, whole;
    add_tensors(&m);
    onnx_output(&rest, "z");
    onnx_node(&rest, "Relu", "r", "y", "z", ATTR_END);
    pb_raw(&second, rest.nodes.p, rest.nodes.n);
    pb_raw(&second, rest.outputs.p, rest.outputs.n);
    pb_free(&rest.nodes);
    pb_free(&rest.outputs);
    struct pb ours = {0};
    pb_text(&ours, 1, "clpd.pruned");
    pb_message(&file, 14, &ours);
    whole = onnx_end(&m);
    pb_raw(&file, whole.p, whole.n);
    pb_message(&file, 7, &second);
    pb_free(&whole);
    struct import_case c = {.file = file};
    CU_ASSERT_EQUAL_FATAL(import_onnx(file.p, file.n, NULL, &c.model, &c.g, &c.e), 0);
    const struct prune_edit edit = {0, -1, channels, 2};
    struct repaired r = repair(c, &edit, 1);
    CU_ASSERT(rows_are_zero(&r, 0, 1) && r.after.g->n_outputs == 2);
    char text[128];
    CU_ASSERT_PTR_NOT_NULL(metadata(&r.after.file, "clpd.pruned", text, sizeof text));
    repaired_free(&r);
}

static void edits_that_name_nothing(void) {
    static const int32_t outside[] = {5}, negative[] = {-1};
    const struct prune_edit bad[] = {{0, -1, outside, 1},
                                     {0, -1, negative, 1},
                                     {1, -1, channels, 1},
                                     {0, 0, channels, 1},
                                     {7, -1, channels, 1}};
    struct onnx_build m = network(8, true);
    add_tensors(&m);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pb out = {0};
        CU_ASSERT_EQUAL(onnx_prune(c.model, c.g, &bad[i], 1, &notes, collect, &out, &c.e), -1);
        CU_ASSERT_EQUAL(c.e.code, ERR_INTERNAL);
        pb_free(&out);
    }
    import_case_free(&c);
}

static int refuse(void *ctx, const void *bytes, size_t n, struct err *e) {
    (void)ctx, (void)bytes, (void)n;
    return err_set(e, ERR_SYSTEM, "disk full");
}

static void a_writer_that_fails(void) {
    struct onnx_build m = network(8, true);
    add_tensors(&m);
    struct import_case c = import_case_make(&m);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.g);
    CU_ASSERT_EQUAL(onnx_prune(c.model, c.g, NULL, 0, &notes, refuse, NULL, &c.e), -1);
    CU_ASSERT_STRING_EQUAL(c.e.text, "disk full");
    import_case_free(&c);
}

/* Every convolution of a real network, with its normalisation where it has one. */
static void a_whole_network(void) {
    const char *shared = suite_shared();
    char path[512];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/models/rn16_badnets.onnx", shared ? shared : "");
    FILE *f = shared ? fopen(path, "rb") : NULL;
    if (!f || fstat(fileno(f), &st) != 0) {
        suite_skip("onnx_prune", "../shared absent");
        return;
    }
    struct import_case c = {0};
    struct prune_edit edits[64];
    int32_t n = 0;
    c.file.p = malloc((size_t)st.st_size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.file.p);
    c.file.n = fread(c.file.p, 1, (size_t)st.st_size, f);
    (void)fclose(f);
    CU_ASSERT_EQUAL_FATAL(import_onnx(c.file.p, c.file.n, NULL, &c.model, &c.g, &c.e), 0);
    for (int32_t i = 0; i < c.g->n_nodes && n < 64; i++)
        if (c.g->nodes[i].op == OP_CONV)
            edits[n++] = (struct prune_edit){i, graph_only_consumer(c.g, c.g->nodes[i].output), channels, 2};
    struct repaired r = repair(c, edits, n);
    for (int32_t i = 0; i < n; i++) {
        CU_ASSERT(rows_are_zero(&r, edits[i].norm, 1) && rows_are_zero(&r, edits[i].norm, 2));
        CU_ASSERT(unchanged(&r, edits[i].norm, 3) && unchanged(&r, edits[i].conv, 1));
    }
    CU_ASSERT_EQUAL(r.after.g->n_nodes, r.before.g->n_nodes);
    repaired_free(&r);
}

SUITE(onnx_prune, {"filters and bias, in place", filters_in_place},
      {"scale and bias of the normalisation", scale_and_bias_of_the_norm},
      {"edits made in the graph do no harm", edits_made_in_the_graph_do_no_harm},
      {"shared tensors stay as they are", shared_tensors_stay},
      {"aliases and computed constants", aliases_and_computed_constants},
      {"other float types keep their type", other_float_types},
      {"floats in float_data", floats_in_float_data},
      {"external tensors get a place inside", external_tensors_get_a_place_inside},
      {"a second repair replaces the first one's notes", a_second_repair_replaces_the_first},
      {"nothing pruned, nothing changed", nothing_pruned}, {"a file in odd order", a_file_in_odd_order},
      {"edits that name nothing", edits_that_name_nothing}, {"a writer that fails", a_writer_that_fails},
      {"a whole network", a_whole_network});
