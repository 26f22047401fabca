/* Constant tensors with their type: weights as float32, shape arithmetic as int64.
 *
 * Floats of every width become float32: float32 stays a view of the file where
 * it lies aligned there, float16 and bfloat16 are widened, double is narrowed
 * where each value fits. Integers of every width and booleans become int64.
 * What is not a view lies in the graph's memory, so it lives as long as the
 * graph. Single thread. */
#ifndef GUARD_TENSOR_H
#define GUARD_TENSOR_H

#include "guard/onnx_model.h"
#include "infer/graph.h"

#define TENSOR_UNCHECKED (-2)

struct tensor {
    struct text name;      /* of the initializer or value that it came from, for messages */
    struct shape shape;    /* dimensions may be 0 */
    int32_t type;          /* enum onnx_type, as declared */
    int64_t count;         /* elements */
    const float *f;        /* floats; else NULL */
    const int64_t *i;      /* integers and bool; else NULL. Both NULL: a value known by its shape only */
    int32_t source;        /* the initializer that it is a view of, or -1 */
    int32_t value;         /* its graph value, or -1 as long as it has none */
    bool own;              /* f is memory that nobody else looks into */
    int64_t bad;           /* first element that is not finite; -1: none; TENSOR_UNCHECKED */
    struct tensor *origin; /* the tensor that it is a view of, itself where it is none: `bad` counts there */
};

struct tensor_memory { /* where tensors are made */
    struct graph *g;
    int64_t left;     /* bytes that may still be used */
    uint8_t *weights; /* room for copies of the file's own float32, in one piece: see tensor_reserve */
    size_t weights_left;
};

struct tensor_external { /* the file beside the model; all zero: there is none */
    const uint8_t *bytes;
    size_t size;
    const char *name; /* as the model must call it */
};

bool tensor_type_is_float(int32_t type);
bool tensor_type_is_integer(int32_t type); /* bool too */
bool tensor_integer_fits(int32_t type, int64_t v);

/* Makes room for copies of `bytes` of float32 from the file, which may also come
 * in any other way once it is used up. One large piece of memory is several
 * times cheaper than many; what is not used of it is never touched. */
void tensor_reserve(struct tensor_memory *m, size_t bytes);
/* A tensor with room for its elements, to be filled through *f or *i. NULL: `e` is set. */
struct tensor *tensor_new(struct tensor_memory *m, int32_t type, const struct shape *s, float **f,
                          int64_t **i, struct err *e);
/* The same elements under another shape of as many elements. NULL: `e` is set. */
struct tensor *tensor_view(struct tensor_memory *m, const struct tensor *t, const struct shape *s,
                           struct err *e);
/* What the file says; every way in which it can contradict itself is refused. NULL: `e` is set. */
struct tensor *tensor_load(struct tensor_memory *m, const struct onnx_tensor *t,
                           const struct tensor_external *external, struct err *e);
/* Same type, shape and elements, bit by bit. */
bool tensor_equal(const struct tensor *a, const struct tensor *b);

/* Index of the first NaN or infinity, or -1. */
int64_t tensor_find_bad(const float *p, int64_t n);
/* The same for a tensor of floats; looked for once, however many views there are. */
int64_t tensor_first_bad(struct tensor *t);

/* Copies `n` floats that need not be aligned; the index of the first that is not finite, or -1. */
int64_t tensor_copy_and_find_bad(float *to, const uint8_t *from, int64_t n);

float tensor_widen_half(uint16_t half);

#endif
