/* An ONNX file as arrays of views: what the messages say, nothing interpreted.
 *
 *   ModelProto -> GraphProto -> NodeProto -> AttributeProto
 *                            -> TensorProto (initializers), ValueInfoProto
 *
 * Every text, tensor and list is a view of the file's bytes, which must outlive
 * the model. Only what protobuf allows to lie scattered (a singular message
 * sent in several parts, repeated numbers sent one by one) is gathered into
 * memory of the model. There is one reader function per message and no
 * recursion: sub-graphs are noticed, never entered. Counts are capped, and the
 * memory used stays below 64 times the size of the file.
 * One owner, one thread. */
#ifndef GUARD_ONNX_MODEL_H
#define GUARD_ONNX_MODEL_H

#include "guard/onnx_wire.h"
#include "infer/bump.h"
#include "infer/err.h"
#include "infer/op.h"

#define ONNX_MAX_NODES           100000
#define ONNX_MAX_INITIALIZERS    100000
#define ONNX_MAX_VALUE_INFOS     100000  /* graph inputs, graph outputs: IR 3 lists initializers too */
#define ONNX_MAX_OPERANDS        1000000 /* inputs and outputs of all nodes together */
#define ONNX_MAX_ATTRIBUTES      400000  /* of all nodes together */
#define ONNX_MAX_NODE_ATTRIBUTES 64      /* of one node; LSTM, the richest, has 8 */

struct text { /* a view; not terminated, may hold any byte */
    const char *p;
    size_t n;
};
bool text_is(struct text t, const char *s);
bool text_equal(struct text a, struct text b);
/* For "%.*s"; long names are cut, a message has little room. */
#define TEXT_ARGS(t) (int)((t).n > 120 ? 120 : (t).n), (t).p

enum onnx_type { /* TensorProto.DataType */
                 ONNX_FLOAT = 1,
                 ONNX_UINT8,
                 ONNX_INT8,
                 ONNX_UINT16,
                 ONNX_INT16,
                 ONNX_INT32,
                 ONNX_INT64,
                 ONNX_STRING,
                 ONNX_BOOL,
                 ONNX_FLOAT16,
                 ONNX_DOUBLE,
                 ONNX_UINT32,
                 ONNX_UINT64,
                 ONNX_COMPLEX64,
                 ONNX_COMPLEX128,
                 ONNX_BFLOAT16,
                 ONNX_TYPES
};
const char *onnx_type_name(int32_t type);

enum onnx_typed { TYPED_FLOAT, TYPED_INT32, TYPED_INT64, TYPED_DOUBLE, TYPED_UINT64, TYPED_COUNT };

struct onnx_tensor { /* TensorProto */
    struct text name;
    int32_t type;   /* enum onnx_type, or any other number */
    int32_t n_dims; /* may exceed SHAPE_MAX_RANK; dims then holds the first ones */
    int64_t dims[SHAPE_MAX_RANK];
    bool has_raw, has_strings, has_segment, is_external;
    struct wire raw;                      /* raw_data */
    struct wire typed[TYPED_COUNT];       /* float_data, int32_data, …, in packed form */
    struct text location, offset, length; /* of external data; empty where not given */
};

enum onnx_attribute_kind { /* AttributeProto.AttributeType */
                           ATTR_NONE,
                           ATTR_FLOAT,
                           ATTR_INT,
                           ATTR_STRING,
                           ATTR_TENSOR,
                           ATTR_GRAPH,
                           ATTR_FLOATS,
                           ATTR_INTS,
                           ATTR_STRINGS,
                           ATTR_TENSORS,
                           ATTR_GRAPHS,
                           ATTR_SPARSE,
                           ATTR_SPARSES,
                           ATTR_TYPE,
                           ATTR_TYPES,
                           ATTR_KINDS
};

struct onnx_attribute {
    struct text name;
    int32_t kind;      /* as declared; where nothing is, as the value says; ATTR_NONE: neither */
    uint32_t present;  /* bit per kind: which values the message holds */
    bool is_reference; /* to an attribute of a function */
    float f;
    int64_t i;
    struct text s;
    struct wire t;            /* a TensorProto, for onnx_tensor_read */
    struct wire ints, floats; /* packed */
};

struct onnx_node {
    struct text name, op_type, domain;
    const struct text *inputs, *outputs; /* an absent optional one is an empty text */
    int32_t n_inputs, n_outputs;
    const struct onnx_attribute *attributes;
    int32_t n_attributes;
    struct wire body;
};

struct onnx_initializer {
    struct text name;
    struct wire body;   /* for onnx_tensor_read */
    const float *moved; /* its float32, where the importer has brought them to an aligned place; else NULL */
    int64_t bad;        /* of those the first that is not finite, or -1 */
};

struct onnx_value_info {
    struct text name;
    struct wire type; /* for onnx_value_type_read */
};

struct onnx_value_type {
    bool is_tensor, has_shape;
    int32_t elem_type;
    int32_t rank; /* may exceed SHAPE_MAX_RANK */
    struct {
        int64_t value;
        struct text symbol;
    } dims[SHAPE_MAX_RANK]; /* value 0: not fixed */
};

struct onnx_opset {
    struct text domain;
    int64_t version;
};

#define ONNX_MAX_OPSETS 64

struct onnx_model {
    const uint8_t *bytes; /* the file; where its graph came in parts, a copy with them joined */
    size_t size;
    int64_t ir_version;
    struct text producer, producer_version;
    struct onnx_opset opsets[ONNX_MAX_OPSETS];
    int32_t n_opsets;
    int32_t n_functions, n_sparse;
    struct wire graph;
    struct onnx_node *nodes;
    int32_t n_nodes;
    struct onnx_initializer *initializers;
    int32_t n_initializers;
    struct onnx_value_info *inputs, *outputs;
    int32_t n_inputs, n_outputs;
    struct bump memory;
    uint8_t *room; /* for initializers that are moved, in one piece */
    size_t room_left;
};

/* Borrows `bytes` until onnx_model_free. ERR_TRUNCATED where the file ends too early. */
int onnx_model_read(const uint8_t *bytes, size_t size, struct onnx_model **out, struct err *e);
void onnx_model_free(struct onnx_model *m); /* NULL is fine */

/* Parts that are read only where something uses them. */
int onnx_tensor_read(struct onnx_model *m, struct wire body, struct onnx_tensor *out, struct err *e);
int onnx_value_type_read(struct onnx_model *m, struct wire body, struct onnx_value_type *out, struct err *e);

#endif
