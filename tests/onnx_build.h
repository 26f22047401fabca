/* Small ONNX files for tests, written field by field.
 *
 * Two levels: raw protobuf fields into a growing buffer (pb_*), for messages
 * that no exporter writes; and a model under construction (onnx_*) for the
 * usual ones. Texts that list names are separated by blanks; "-" is the empty
 * name. Running out of memory ends the test run. Single thread. */
#ifndef TESTS_ONNX_BUILD_H
#define TESTS_ONNX_BUILD_H

#include <stddef.h>
#include <stdint.h>

struct pb { /* all zero: empty */
    uint8_t *p;
    size_t n, room;
};

void pb_free(struct pb *b);
void pb_raw(struct pb *b, const void *bytes, size_t n);
void pb_varint(struct pb *b, uint64_t v);
void pb_int(struct pb *b, uint32_t field, int64_t v);
void pb_float(struct pb *b, uint32_t field, float v);
void pb_bytes(struct pb *b, uint32_t field, const void *bytes, size_t n);
void pb_text(struct pb *b, uint32_t field, const char *s);
/* The message `inner` as field; inner is freed. */
void pb_message(struct pb *b, uint32_t field, struct pb *inner);

/* --- attributes: each a finished AttributeProto, consumed by onnx_node -------------------- */

struct pb attr_int(const char *name, int64_t v);
struct pb attr_float(const char *name, float v);
struct pb attr_text(const char *name, const char *v);
struct pb attr_ints(const char *name, int n, ...); /* n times int */
struct pb attr_tensor(const char *name, struct pb tensor);

/* --- tensors: each a finished TensorProto -------------------------------------------------- */

/* `dims` as "2x3", "" for a scalar. Raw data unless said otherwise. */
struct pb tensor_raw(const char *name, int type, const char *dims, const void *bytes, size_t n);
struct pb tensor_floats(const char *name, const char *dims, const float *v, size_t n);
struct pb tensor_ints(const char *name, const char *dims, const int64_t *v, size_t n);
/* All elements the same. */
struct pb tensor_fill(const char *name, const char *dims, float v);
/* 1, 2, 3, … times `step`. */
struct pb tensor_count(const char *name, const char *dims, float step);

/* --- models --------------------------------------------------------------------------------- */

struct onnx_build {
    int ir, opset;
    struct pb nodes, initializers, inputs, outputs, graph_rest,
        model_rest; /* the last two: raw fields to append */
};

struct onnx_build onnx_begin(int ir, int opset);
/* Dimensions as "Nx3x32x32": a letter is a symbol, "?" is unset; NULL: no shape at all. */
void onnx_input(struct onnx_build *m, const char *name, const char *dims);
void onnx_input_typed(struct onnx_build *m, const char *name, const char *dims, int type);
void onnx_output(struct onnx_build *m, const char *name);
void onnx_initializer(struct onnx_build *m, struct pb tensor);
/* The attributes end with an empty one: onnx_node(m, "Relu", "r", "x", "y", ATTR_END). */
void onnx_node(struct onnx_build *m, const char *op, const char *name, const char *inputs,
               const char *outputs, ...);
#define ATTR_END ((struct pb){0})
/* The file; everything else of `m` is freed. */
struct pb onnx_end(struct onnx_build *m);

#endif
