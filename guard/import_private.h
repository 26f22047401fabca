/* What the parts of the importer itself share. Of guard/ only import.c,
 * import_node.c and import_table.c include this. */
#ifndef GUARD_IMPORT_PRIVATE_H
#define GUARD_IMPORT_PRIVATE_H

#include "guard/import_node.h"
#include "guard/names.h"

struct importer { /* one attempt at one model */
    struct onnx_model *model;
    struct tensor_external external;
    const struct import_options *options;
    struct graph *g;
    struct tensor_memory tensors;
    struct bump memory; /* of the attempt */
    int64_t opset;
    int lanes;
    struct names names; /* of values, to operands */
    struct operand *operands;
    int32_t n_operands;
    int32_t *refs;          /* per node input, then per node output: its operand; -1: absent */
    size_t *first_ref;      /* per node */
    bool *live;             /* per node */
    struct names row_names; /* of operators, to rows */
    const struct import_row **rows;
};

/* The table: rows by name. */
int import_find_rows(struct importer *im, struct err *e);
/* The row for this node, its attributes checked. NULL: `e` is set. */
const struct import_row *import_match_row(const struct importer *im, const struct onnx_node *node,
                                          struct err *e);
/* Loads an initializer that is used for the first time. */
int import_load_operand(struct importer *im, struct operand *o, struct err *e);
/* "name (op)", for messages. */
int import_prefix(const struct importer *im, int32_t node, struct err *e);
int import_out_of_memory(struct err *e);
/* The name of a value for the graph: a C string of at most GRAPH_NAME bytes. */
const char *import_c_name(struct text t, char *buf);

#endif
