/* Small ONNX files made by hand, for tests that need a model but no network: protobuf as nested byte strings. */
#ifndef TESTS_ONNX_BYTES_H
#define TESTS_ONNX_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct onnx_bytes {
    uint8_t b[4096];
    size_t n;
};

static inline void onnx_varint(struct onnx_bytes *to, uint64_t v) {
    for (; v > 127; v >>= 7) to->b[to->n++] = (uint8_t)(v | 128);
    to->b[to->n++] = (uint8_t)v;
}
static inline void onnx_number(struct onnx_bytes *to, unsigned field, uint64_t v) {
    onnx_varint(to, field << 3);
    onnx_varint(to, v);
}
static inline void onnx_blob(struct onnx_bytes *to, unsigned field, const void *p, size_t n) {
    onnx_varint(to, field << 3 | 2);
    onnx_varint(to, n);
    memcpy(to->b + to->n, p, n);
    to->n += n;
}
static inline void onnx_text(struct onnx_bytes *to, unsigned field, const char *s) { onnx_blob(to, field, s, strlen(s)); }
static inline void onnx_sub(struct onnx_bytes *to, unsigned field, const struct onnx_bytes *m) {
    onnx_blob(to, field, m->b, m->n);
}

/* ValueInfoProto: float32 [1, 4] */
static inline struct onnx_bytes onnx_value(const char *name) {
    struct onnx_bytes one = {.n = 0}, four = {.n = 0}, shape = {.n = 0}, tensor = {.n = 0}, type = {.n = 0},
                      value = {.n = 0};
    onnx_number(&one, 1, 1);
    onnx_number(&four, 1, 4);
    onnx_sub(&shape, 1, &one);
    onnx_sub(&shape, 1, &four);
    onnx_number(&tensor, 1, 1);
    onnx_sub(&tensor, 2, &shape);
    onnx_sub(&type, 1, &tensor);
    onnx_text(&value, 1, name);
    onnx_sub(&value, 2, &type);
    return value;
}

/* y[1,4] = x + w; w lies in the file `location` from byte 0 on, or inside where that is NULL.
 * `note` makes the same network another file. */
static inline struct onnx_bytes onnx_add_model(const float w[4], const char *location, const char *note) {
    struct onnx_bytes node = {.n = 0}, tensor = {.n = 0}, graph = {.n = 0}, opset = {.n = 0}, model = {.n = 0};
    const struct onnx_bytes x = onnx_value("x"), y = onnx_value("y");
    onnx_text(&node, 1, "x");
    onnx_text(&node, 1, "w");
    onnx_text(&node, 2, "y");
    onnx_text(&node, 3, "add");
    onnx_text(&node, 4, "Add");
    onnx_number(&tensor, 1, 4);
    onnx_number(&tensor, 2, 1);
    onnx_text(&tensor, 8, "w");
    if (location) {
        struct onnx_bytes entry = {.n = 0};
        onnx_text(&entry, 1, "location");
        onnx_text(&entry, 2, location);
        onnx_sub(&tensor, 13, &entry);
        onnx_number(&tensor, 14, 1);
    } else {
        onnx_blob(&tensor, 9, w, 4 * sizeof *w);
    }
    onnx_sub(&graph, 1, &node);
    onnx_text(&graph, 2, "g");
    onnx_sub(&graph, 5, &tensor);
    onnx_sub(&graph, 11, &x);
    onnx_sub(&graph, 12, &y);
    onnx_number(&opset, 2, 13);
    onnx_number(&model, 1, 8);
    onnx_text(&model, 6, note);
    onnx_sub(&model, 7, &graph);
    onnx_sub(&model, 8, &opset);
    return model;
}

#endif
