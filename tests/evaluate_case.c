/* One operator on constants: the result is added to the input, so that it ends up as a constant of the graph.
 */
#include "tests/evaluate_case.h"

#include <stdarg.h>

struct onnx_build evaluate_case_begin(int opset) {
    return import_case_begin(opset, "1");
}

void evaluate_case_ints(struct onnx_build *m, const char *name, const char *dims, int n, ...) {
    int64_t v[64] = {0};
    va_list ap;
    va_start(ap, n);
    for (int i = 0; i < n; i++) v[i] = va_arg(ap, int);
    va_end(ap);
    onnx_initializer(m, tensor_ints(name, dims, v, (size_t)n));
}

void evaluate_case_floats(struct onnx_build *m, const char *name, const char *dims, int n, ...) {
    float v[64] = {0};
    va_list ap;
    va_start(ap, n);
    for (int i = 0; i < n; i++) v[i] = (float)va_arg(ap, double);
    va_end(ap);
    onnx_initializer(m, tensor_floats(name, dims, v, (size_t)n));
}

static void finish(struct onnx_build *m) {
    onnx_node(m, "Cast", "cast", "r", "r_float", attr_int("to", 1), ATTR_END);
    onnx_node(m, "Add", "add", "x r_float", "y", ATTR_END);
}

bool evaluate_case_gives(struct onnx_build *m, const char *shape, int n, ...) {
    char text[128];
    finish(m);
    struct import_case c = import_case_make(m);
    if (!c.g) {
        fprintf(stderr, "\nrefused: %s\n", c.e.text);
        import_case_free(&c);
        return false;
    }
    const struct value *r = import_case_input(&c, import_case_last(&c), 1);
    bool ok = strcmp(shape_text(&r->shape, text, sizeof text), shape) == 0 && shape_elements(&r->shape) == n;
    if (!ok) fprintf(stderr, "\nexpected %s, got %s\n", shape, text);
    va_list ap;
    va_start(ap, n);
    for (int i = 0; ok && i < n; i++) {
        const float want = (float)va_arg(ap, double);
        ok = r->data[i] == want;
        if (!ok) fprintf(stderr, "\nelement %d: expected %g, got %g\n", i, (double)want, (double)r->data[i]);
    }
    va_end(ap);
    import_case_free(&c);
    return ok;
}

bool evaluate_case_refused(struct onnx_build *m, enum err_code code, const char *words) {
    finish(m);
    return import_case_refused(m, code, words);
}
