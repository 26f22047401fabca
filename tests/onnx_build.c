/* Small ONNX files for tests, written field by field. */
#include "tests/onnx_build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pb_free(struct pb *b) {
    free(b->p);
    *b = (struct pb){0};
}

void pb_raw(struct pb *b, const void *bytes, size_t n) {
    if (b->n + n > b->room) {
        b->room = (b->n + n) * 2 + 64;
        b->p = realloc(b->p, b->room);
        if (!b->p) abort();
    }
    if (n) memcpy(b->p + b->n, bytes, n);
    b->n += n;
}

void pb_varint(struct pb *b, uint64_t v) {
    do {
        const uint8_t byte = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        pb_raw(b, &byte, 1);
        v >>= 7;
    } while (v);
}

void pb_int(struct pb *b, uint32_t field, int64_t v) {
    pb_varint(b, field << 3);
    pb_varint(b, (uint64_t)v);
}

void pb_float(struct pb *b, uint32_t field, float v) {
    pb_varint(b, field << 3 | 5);
    pb_raw(b, &v, sizeof v);
}

void pb_bytes(struct pb *b, uint32_t field, const void *bytes, size_t n) {
    pb_varint(b, field << 3 | 2);
    pb_varint(b, n);
    pb_raw(b, bytes, n);
}

void pb_text(struct pb *b, uint32_t field, const char *s) {
    pb_bytes(b, field, s, strlen(s));
}

void pb_message(struct pb *b, uint32_t field, struct pb *inner) {
    pb_bytes(b, field, inner->p, inner->n);
    pb_free(inner);
}

/* --- attributes --------------------------------------------------------------------------- */

static struct pb attr(const char *name, int kind) {
    struct pb b = {0};
    pb_text(&b, 1, name);
    pb_int(&b, 20, kind);
    return b;
}

struct pb attr_int(const char *name, int64_t v) {
    struct pb b = attr(name, 2);
    pb_int(&b, 3, v);
    return b;
}

struct pb attr_float(const char *name, float v) {
    struct pb b = attr(name, 1);
    pb_float(&b, 2, v);
    return b;
}

struct pb attr_text(const char *name, const char *v) {
    struct pb b = attr(name, 3);
    pb_text(&b, 4, v);
    return b;
}

struct pb attr_ints(const char *name, int n, ...) {
    struct pb b = attr(name, 7);
    va_list ap;
    va_start(ap, n);
    for (int i = 0; i < n; i++) pb_int(&b, 8, va_arg(ap, int));
    va_end(ap);
    return b;
}

struct pb attr_tensor(const char *name, struct pb tensor) {
    struct pb b = attr(name, 4);
    pb_message(&b, 5, &tensor);
    return b;
}

/* --- tensors -------------------------------------------------------------------------------- */

static size_t put_dims(struct pb *b, const char *dims) {
    size_t elements = 1;
    for (char *end; *dims; dims = *end ? end + 1 : end) {
        const long d = strtol(dims, &end, 10);
        pb_int(b, 1, d);
        elements *= (size_t)d;
    }
    return elements;
}

struct pb tensor_raw(const char *name, int type, const char *dims, const void *bytes, size_t n) {
    struct pb b = {0};
    (void)put_dims(&b, dims);
    pb_int(&b, 2, type);
    pb_text(&b, 8, name);
    pb_bytes(&b, 9, bytes, n);
    return b;
}

struct pb tensor_floats(const char *name, const char *dims, const float *v, size_t n) {
    return tensor_raw(name, 1, dims, v, n * sizeof *v);
}

struct pb tensor_ints(const char *name, const char *dims, const int64_t *v, size_t n) {
    return tensor_raw(name, 7, dims, v, n * sizeof *v);
}

static struct pb tensor_made(const char *name, const char *dims, float first, float step) {
    struct pb shape = {0};
    const size_t n = put_dims(&shape, dims);
    float *v = calloc(n ? n : 1, sizeof *v);
    if (!v) abort();
    for (size_t i = 0; i < n; i++) v[i] = first + (float)i * step;
    struct pb b = tensor_floats(name, dims, v, n);
    free(v);
    pb_free(&shape);
    return b;
}

struct pb tensor_fill(const char *name, const char *dims, float v) {
    return tensor_made(name, dims, v, 0);
}

struct pb tensor_count(const char *name, const char *dims, float step) {
    return tensor_made(name, dims, step, step);
}

/* --- models --------------------------------------------------------------------------------- */

struct onnx_build onnx_begin(int ir, int opset) {
    return (struct onnx_build){.ir = ir, .opset = opset};
}

static void put_dim(struct pb *shape, const char *at, size_t n) {
    struct pb dim = {0};
    char text[32];
    (void)snprintf(text, sizeof text, "%.*s", (int)n, at);
    if (*text == '-' || (*text >= '0' && *text <= '9'))
        pb_int(&dim, 1, strtol(text, NULL, 10));
    else if (*text != '?')
        pb_text(&dim, 2, text);
    pb_message(shape, 1, &dim);
}

void onnx_input_typed(struct onnx_build *m, const char *name, const char *dims, int type) {
    struct pb shape = {0}, tensor = {0}, whole = {0}, info = {0};
    pb_int(&tensor, 1, type);
    for (const char *at = dims; at && *at;) {
        const size_t n = strcspn(at, "x");
        put_dim(&shape, at, n);
        at += n + (at[n] == 'x');
    }
    if (dims) pb_message(&tensor, 2, &shape);
    pb_message(&whole, 1, &tensor);
    pb_text(&info, 1, name);
    pb_message(&info, 2, &whole);
    pb_message(&m->inputs, 11, &info);
}

void onnx_input(struct onnx_build *m, const char *name, const char *dims) {
    onnx_input_typed(m, name, dims, 1);
}

void onnx_output(struct onnx_build *m, const char *name) {
    struct pb info = {0};
    pb_text(&info, 1, name);
    pb_message(&m->outputs, 12, &info);
}

void onnx_initializer(struct onnx_build *m, struct pb tensor) {
    pb_message(&m->initializers, 5, &tensor);
}

static void put_names(struct pb *node, uint32_t field, const char *names) {
    while (*names) {
        const size_t n = strcspn(names, " ");
        pb_bytes(node, field, names, n == 1 && *names == '-' ? 0 : n);
        names += n + (names[n] == ' ');
    }
}

void onnx_node(struct onnx_build *m, const char *op, const char *name, const char *inputs,
               const char *outputs, ...) {
    struct pb node = {0};
    put_names(&node, 1, inputs);
    put_names(&node, 2, outputs);
    if (*name) pb_text(&node, 3, name);
    pb_text(&node, 4, op);
    va_list ap;
    va_start(ap, outputs);
    for (struct pb a; (a = va_arg(ap, struct pb)).n;) pb_message(&node, 5, &a);
    va_end(ap);
    pb_message(&m->nodes, 1, &node);
}

struct pb onnx_end(struct onnx_build *m) {
    struct pb graph = {0}, opset = {0}, model = {0};
    struct pb *parts[] = {&m->nodes, &m->initializers, &m->inputs, &m->outputs, &m->graph_rest};
    pb_int(&model, 1, m->ir);
    pb_text(&model, 2, "clpd-tests");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        pb_raw(&graph, parts[i]->p, parts[i]->n);
        pb_free(parts[i]);
    }
    pb_message(&model, 7, &graph);
    pb_int(&opset, 2, m->opset);
    pb_message(&model, 8, &opset);
    pb_raw(&model, m->model_rest.p, m->model_rest.n);
    pb_free(&m->model_rest);
    return model;
}
