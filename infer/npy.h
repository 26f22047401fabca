/* NumPy's .npy files: a strict reader over bytes, and a writer.
 *
 * Reader: versions 1.0 to 3.0, C order, little-endian; the data must have exactly
 * the bytes that the shape says. Pure: no descriptor, no global, nothing is
 * allocated; the result is a view of the bytes. Any thread. */
#ifndef INFER_NPY_H
#define INFER_NPY_H

#include "infer/op.h"

#include <stdio.h>

enum npy_type {
    NPY_F32,
    NPY_F64,
    NPY_U8,
    NPY_I8,
    NPY_BOOL,
    NPY_U16,
    NPY_I16,
    NPY_U32,
    NPY_I32,
    NPY_U64,
    NPY_I64,
    NPY_TYPES
};

struct npy {
    enum npy_type type;
    struct shape shape; /* dimensions may be 0 */
    int64_t elements;
    const uint8_t *data; /* into the bytes; may be unaligned */
    size_t bytes;        /* of the data */
};

/* 0; or -1 with `e` set. */
int npy_parse(const uint8_t *bytes, size_t size, struct npy *out, struct err *e);

/* "<f4", …: what NumPy calls it; and bytes per element. */
const char *npy_type_name(enum npy_type type);
size_t npy_type_bytes(enum npy_type type);

/* All elements as float32, rounded to nearest, into `to`. */
void npy_to_f32(const struct npy *a, float *to);

/* Version 1.0, C order, float32. 0, or -errno. */
int npy_write_f32(FILE *f, const struct shape *shape, const float *data);

#endif
