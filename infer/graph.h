/* A network as values and nodes, between import and plan.
 *
 * Built by the importer (guard/import.c), read and edited by CLP (guard/clp.c),
 * consumed by the planner (infer/plan.c). Shapes are those of ONE ITEM: the
 * network at batch 1. A batch is a loop over items that the engine runs; the
 * importer has made sure that no operator mixes items, by inferring every
 * shape at batch 1 and 2 and following the batch axis. A model whose batch is
 * fixed at K > 1 and can't be freed is one item of K images.
 * One owner, one thread. */
#ifndef INFER_GRAPH_H
#define INFER_GRAPH_H

#include "infer/op.h"

#include <stddef.h>

#define GRAPH_MAX_NODES  20000
#define GRAPH_MAX_VALUES 60000
#define GRAPH_MAX_IO     16
#define GRAPH_NAME       256 /* longer names are cut when they come in */

struct value {
    char *name;         /* owned by the graph */
    struct shape shape; /* of one item; constants: as they are */
    const float *data;  /* constants only: float32, shape_elements(shape) of them, 4-byte aligned */
    int32_t producer;   /* node index, or -1 for inputs and constants */
    int32_t uses;       /* how many node inputs and graph outputs refer to it */
    int32_t source;     /* constants: index of the ONNX initializer they are a view of, or -1 */
    bool writable;      /* data is memory that nothing else looks into, no view of the file */
    bool is_input;
};

struct node {
    char *name; /* owned by the graph; the ONNX node name, or "op#index" */
    enum op op;
    union op_params params;
    int32_t n_inputs;
    int32_t *inputs; /* value indices; -1: an optional input that is absent */
    int32_t output;  /* value index */
    int32_t source;  /* index of the ONNX node */
    bool dead;       /* taken out; skipped by everyone */
};

struct graph {
    struct value *values;
    int32_t n_values;
    struct node *nodes; /* in topological order */
    int32_t n_nodes;
    int32_t inputs[GRAPH_MAX_IO], n_inputs;
    int32_t outputs[GRAPH_MAX_IO], n_outputs;
    int32_t item_images; /* 1; K where one item is a fixed batch of K */
    bool batch_is_dynamic;
    struct graph_memory *memory; /* names and tensors that the graph owns */
};

struct graph *graph_new(void);    /* NULL: out of memory */
void graph_free(struct graph *g); /* NULL is fine */

/* Bump memory that lives as long as the graph; 64-byte aligned; NULL: out of memory. */
void *graph_alloc(struct graph *g, size_t bytes);

/* Each returns the new index, or -1 with `e` set. Names are copied. */
int32_t graph_add_input(struct graph *g, const char *name, const struct shape *s, struct err *e);
/* `data` is borrowed and must outlive the graph. */
int32_t graph_add_constant(struct graph *g, const char *name, const struct shape *s, const float *data,
                           int32_t source, struct err *e);
/* Infers the output's shape by op_check; returns the index of the node. */
int32_t graph_add_node(struct graph *g, const char *name, enum op op, const union op_params *p,
                       const int32_t *inputs, int32_t n_inputs, const char *output_name, int32_t source,
                       struct err *e);
int graph_add_output(struct graph *g, int32_t value, struct err *e);

/* The constant behind input `slot` of `node`, for writing: a private copy in
 * the graph's memory, made the first time; where other nodes use the constant
 * too (exporters alias equal tensors) this node gets one of its own.
 * NULL: out of memory, or not a constant. */
float *graph_edit_input(struct graph *g, int32_t node, int32_t slot);

/* The node that is the only use of `value`, or -1 (several uses, none, or a graph output). */
int32_t graph_only_consumer(const struct graph *g, int32_t value);

#endif
