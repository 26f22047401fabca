/* One ONNX node while it is imported: what the operator table's functions see.
 *
 * A row of the table is an operator (over a range of operator sets) with the
 * attributes that it may have and up to two functions: `emit` appends run-time
 * nodes, `evaluate` computes the outputs right now, and is taken where every
 * input is constant. Everything is done at two batch sizes at once ("lanes"):
 * lane 0 is batch 1, lane 1 is batch 2 and only checked, never kept. Where the
 * batch is fixed there is lane 0 alone.
 *
 * To add an operator: one row in the family's file, one function; for a new
 * `enum op` also its rule in import_batch.c. Only guard/import*.c and
 * guard/evaluate*.c include this. */
#ifndef GUARD_IMPORT_NODE_H
#define GUARD_IMPORT_NODE_H

#include "guard/import.h"
#include "guard/tensor.h"

enum operand_kind { OPERAND_UNSET, OPERAND_CONSTANT, OPERAND_RUNTIME };

struct operand { /* a named value of the ONNX graph, or one made in between */
    struct text name;
    enum operand_kind kind;
    struct tensor *constant[2]; /* per lane; the same pointer where the batch makes no difference */
    int32_t value;              /* run-time: the graph's value */
    int32_t batch_axis;         /* run-time: which axis is the batch; -1: none */
    int64_t batch_outer;        /* elements of that axis before the batch: see guard/import_batch.h */
    int32_t type; /* run-time: of the ONNX value; all are floats, truth and bytes hold whole numbers */
    struct shape shape[2]; /* run-time: per lane */
    int32_t initializer;   /* index, or -1 */
    int32_t definer;       /* ONNX node that defines it; -1: an input or initializer */
    bool live;             /* a graph output depends on it */
};

struct importer;
struct import_row;

struct import_node {
    struct importer *im;
    const struct onnx_node *onnx;
    int32_t index;
    int64_t opset;
    int lanes; /* 1 or 2 */
    const struct import_row *row;
    struct operand *in[OP_MAX_INPUTS]; /* NULL: absent */
    int32_t n_in;                      /* trailing absent ones are not counted */
    int32_t emitted;                   /* run-time nodes so far */
    bool any_type;                     /* emit looks after its inputs' types; else they must be float */
    int32_t gives; /* type of what is emitted, where emit says so; 0: float, or its input's */
    struct err *e;
};

struct evaluation { /* one node at one batch size */
    const struct import_node *node;
    int lane;
    struct tensor *in[OP_MAX_INPUTS]; /* NULL: absent */
    int32_t n_in;
    struct tensor *out[OP_MAX_INPUTS]; /* to be set by the function */
    int32_t n_out;
    struct tensor_memory *memory;
    struct err *e;
};

struct import_row {
    const char *name;
    int32_t since, until;           /* operator sets, both inclusive; the same name's rows stand together */
    int32_t min_inputs, max_inputs; /* the first min_inputs must be present */
    const char *attributes; /* "axis:i pads:I": i f s t for one int, float, string, tensor; I F for several */
    int (*emit)(struct import_node *n);    /* NULL: cannot run, only be evaluated */
    int (*evaluate)(struct evaluation *v); /* NULL: not evaluated */
    bool shape_only;                       /* evaluate needs shapes only, so the input need not be constant */
};

#define OPSET_ANY 1, 1000

/* The families: arrays that end with a NULL name. */
extern const struct import_row import_rows_window[], import_rows_elementwise[], import_rows_shape[],
    import_rows_matrix[], import_rows_norm[], import_rows_function[], import_rows_pair[],
    import_rows_reduce[], import_rows_move[], import_rows_space[], import_rows_resize[],
    import_rows_quantize[], evaluate_rows[], evaluate_rows_scatter[];

/* --- attributes: kinds were checked against the row before the function runs ---------- */

const struct onnx_attribute *import_attribute(const struct import_node *n, const char *name);
int64_t import_int(const struct import_node *n, const char *name, int64_t absent);
float import_float(const struct import_node *n, const char *name, float absent);
struct text import_text(const struct import_node *n, const char *name, const char *absent);
/* A 0/1 attribute. -1 where it is neither. */
int import_flag(const struct import_node *n, const char *name, int absent, int32_t *out);
/* How many there are, at most `most`, into out; 0 where absent; -1 with the error set. */
int import_ints(const struct import_node *n, const char *name, int64_t *out, int most);

/* --- inputs --------------------------------------------------------------------------- */

struct operand *import_input(const struct import_node *n, int32_t i); /* NULL: absent */
const struct shape *import_shape(const struct operand *o, int lane);
/* A constant list of integers, such as axes or a shape: as import_ints. */
int import_int_input(const struct import_node *n, const struct operand *o, int lane, int64_t *out, int most);
/* A constant with one element that is the same at every batch size. */
int import_scalar_input(const struct import_node *n, const struct operand *o, const char *what, float *out);
/* Floats of an input that is present and must be constant, such as weights. NULL: `e` is set. */
const struct tensor *import_weights(const struct import_node *n, int32_t i, const char *what);
/* The constant in a tensor attribute. NULL: `e` is set. */
struct tensor *import_tensor(const struct import_node *n, const char *name);
/* -rank … rank - 1 are taken; *axis is 0 … rank - 1. */
int import_axis(int64_t given, int32_t rank, int32_t *axis, struct err *e);
/* The axes from attribute `axes` or from input `slot`, as a set of bits; *given: there are any. */
int import_axes(const struct import_node *n, int32_t slot, int lane, int32_t rank, unsigned *set,
                bool *given);
/* Attribute `perm`, or the axes in reverse. */
int import_perm(const struct import_node *n, int32_t rank, int32_t perm[SHAPE_MAX_RANK]);
/* What Slice's attributes or inputs make of an input of this shape. *out may be empty. */
int import_slice(const struct import_node *n, int lane, const struct shape *in, int64_t start[SHAPE_MAX_RANK],
                 int64_t step[SHAPE_MAX_RANK], struct shape *out);
/* How long each of `parts` outputs of Split is along *axis of an input of this shape. */
int import_split(const struct import_node *n, int lane, const struct shape *in, int32_t *axis, int32_t parts,
                 int64_t *lengths);
int32_t import_type(const struct operand *o); /* enum onnx_type */
/* An index as the engine has it: a float, so that past 2^24 not every one can be told. */
int import_index(const struct import_node *n, int64_t index, float *out);

/* --- results -------------------------------------------------------------------------- */

/* Appends a run-time node; `output` is the ONNX output that it makes, or -1
 * for a value in between. p1 holds lane 1's parameters, NULL: the same.
 * NULL: `e` is set. */
struct operand *import_emit(struct import_node *n, int32_t output, enum op op, const union op_params *p0,
                            const union op_params *p1, struct operand *const *in, int32_t n_in);
/* A constant made by the importer, to be filled through *data. NULL: `e` is set. */
struct operand *import_new_constant(struct import_node *n, const struct shape *s, float **data);
/* A tensor of integers that only the importer itself sees. NULL: `e` is set. */
struct tensor *import_new_integers(struct import_node *n, const struct shape *s, int64_t **data);
struct tensor_memory *import_memory(const struct import_node *n);
/* One number, of rank 0. */
struct operand *import_new_number(struct import_node *n, float number);
/* A constant of truth or whole numbers as floats; others are passed through. NULL: `e` is set. */
struct operand *import_as_float(struct import_node *n, struct operand *o);
/* One node on one or two inputs. */
struct operand *import_emit_one(struct import_node *n, int32_t output, enum op op, const union op_params *p,
                                struct operand *in);
struct operand *import_emit_two(struct import_node *n, int32_t output, enum op op, struct operand *a,
                                struct operand *b);
/* `in` under the shapes s[lane]. */
struct operand *import_emit_reshape(struct import_node *n, int32_t output, struct operand *in,
                                    const struct shape s[2]);
/* The usual case: all inputs, output 0, one parameter record (or NULL). */
int import_emit_simple(struct import_node *n, enum op op, const union op_params *p, int32_t n_in);

#endif
