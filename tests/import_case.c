/* A model under test, from building to import. */
#include "tests/import_case.h"

struct import_case import_case_make_with(struct onnx_build *m, const struct import_options *o) {
    struct import_case c = {.file = onnx_end(m)};
    (void)import_onnx(c.file.p, c.file.n, o, &c.model, &c.g, &c.e);
    return c;
}

struct import_case import_case_make(struct onnx_build *m) {
    return import_case_make_with(m, NULL);
}

void import_case_free(struct import_case *c) {
    graph_free(c->g);
    onnx_model_free(c->model);
    pb_free(&c->file);
}

bool import_case_refused(struct onnx_build *m, enum err_code code, const char *words) {
    struct import_case c = import_case_make(m);
    const bool ok = !c.model && !c.g && c.e.code == code && strstr(c.e.text, words);
    if (!ok)
        fprintf(stderr, "\nexpected %s: …%s…\n     got %s: %s\n", err_code_name(code), words,
                err_code_name(c.e.code), c.model ? "accepted" : c.e.text);
    import_case_free(&c);
    return ok;
}

bool import_case_accepted(struct onnx_build *m) {
    struct import_case c = import_case_make(m);
    const bool ok = c.model && c.g;
    if (!ok) fprintf(stderr, "\nrefused: %s\n", c.e.text);
    import_case_free(&c);
    return ok;
}

struct onnx_build import_case_begin(int opset, const char *dims) {
    struct onnx_build m = onnx_begin(opset < 9 ? 3 : opset < 13 ? 6 : 8, opset);
    onnx_input(&m, "x", dims);
    onnx_output(&m, "y");
    return m;
}

const struct node *import_case_last(const struct import_case *c) {
    return &c->g->nodes[c->g->values[c->g->outputs[0]].producer];
}

const struct value *import_case_input(const struct import_case *c, const struct node *n, int32_t slot) {
    return &c->g->values[n->inputs[slot]];
}

bool import_case_gives(const struct import_case *c, const char *shape) {
    char text[128] = "nothing";
    if (c->g) (void)shape_text(&c->g->values[c->g->outputs[0]].shape, text, sizeof text);
    if (strcmp(text, shape) == 0) return true;
    fprintf(stderr, "\nexpected %s, got %s %s\n", shape, text, c->g ? "" : c->e.text);
    return false;
}
