/* The plan in the making: what plan_*.c and image_write.c share. Nobody else includes this.
 *
 * Tensors start as the graph's values, with the same indices; the planner adds
 * its own behind them (folded biases, packed weights). Steps start as the
 * graph's live nodes. Passes mark steps as gone instead of moving them about;
 * the graph itself stays as it was. */
#ifndef INFER_PLAN_INTERNAL_H
#define INFER_PLAN_INTERNAL_H

#include "infer/bump.h"
#include "infer/plan.h"

struct plan_pick {                 /* what stays of a constant [rows, columns, ...]; NULL: all of them */
    const int64_t *rows, *columns; /* ascending */
    int64_t all_columns;           /* that it has where it comes from */
};

struct plan_tensor {
    struct shape shape;
    const char *name;
    const float *data;            /* constants: a view of the model, or folded numbers in bump memory */
    const struct plan_pick *pick; /* weights: `shape` is what is left of `data` by it; or NULL */
    int32_t producer;             /* step that computes it, or -1 */
    int32_t uses;                 /* operands of live steps, and outputs of the model */
    int32_t user;                 /* the step that uses it, where that is the only use */
    int32_t same_as;              /* an identity's output: read that tensor instead; or -1 */
    int32_t storage;              /* tensor whose memory it lies in; itself: memory of its own */
    uint64_t shift;               /* bytes into that */
    int32_t constant;             /* index into plan->constants, or -1 */
    int32_t first, last;          /* memory of its own: steps between which it is live */
    uint64_t offset;              /* in the slab or in the constants */
    uint64_t bytes;
    uint32_t layout; /* enum image_layout */
    uint32_t index;  /* in the image, or IMAGE_NO_TENSOR */
    bool is_input, is_output;
};

struct plan_step {
    const char *name;
    enum op op;
    union op_params params;
    int32_t *inputs; /* tensors; -1: absent */
    int32_t n_inputs;
    int32_t residual; /* tensor or -1 */
    int32_t output;
    enum activation activation;
    float act_min, act_max;
    enum op act_op; /* ACT_FUNCTION; else 0 */
    struct op_function act_params;
    uint32_t algorithm;
    const double *scale; /* per output channel, multiplied into the weight while packing; or NULL */
    bool gone;           /* worked into another step, or not needed */
};

struct plan_constant { /* bytes of the constants section; several tensors may share them */
    const float *data;
    struct shape shape;
    const struct plan_pick *pick;
    const struct plan_step *packed_for; /* weights: the step whose algorithm packs it; or NULL: as it is */
    uint64_t offset, bytes;
    bool alone; /* no other constant is made of the same bytes, not even in part */
};

struct plan {
    const struct graph *graph;
    struct plan_options options;
    struct bump bump;
    struct plan_tensor *tensors;
    int32_t n_tensors, tensor_room;
    struct plan_step *steps;
    int32_t n_steps, step_room;
    int32_t inputs[GRAPH_MAX_IO], outputs[GRAPH_MAX_IO]; /* tensors */

    /* The result, for image_write. */
    struct plan_constant *constants;
    int32_t n_constants;
    uint64_t constant_bytes, parameters, slab_bytes;
    uint64_t removed_parameters, removed_multiply_adds; /* by plan_shrink */
    int32_t *order;                                     /* tensors by their index in the image */
    uint32_t n_image_tensors, n_image_operands, n_image_steps;
};

/* Each pass: 0, or -1 with `e` set. They run in this order. */
int plan_fold(struct plan *p, struct err *e);      /* plan_fold.c */
int plan_shrink(struct plan *p, struct err *e);    /* plan_shrink.c: zero channels out */
int plan_fuse(struct plan *p, struct err *e);      /* plan_fuse.c */
int plan_layout(struct plan *p, struct err *e);    /* plan_layout.c: after algorithms are chosen */
int plan_alias(struct plan *p, struct err *e);     /* plan_alias.c */
int plan_place(struct plan *p, struct err *e);     /* plan_place.c: the arena */
int plan_constants(struct plan *p, struct err *e); /* plan_constants.c */

/* A new tensor; data may be NULL. Its index, or -1 with `e` set. */
int32_t plan_add_tensor(struct plan *p, const char *name, const struct shape *s, const float *data,
                        struct err *e);
/* The only step that uses `tensor`, or -1 (several uses, none, or an output of the model). */
int32_t plan_only_user(const struct plan *p, int32_t tensor);
/* `step` takes over the output of `absorbed`, the only user of its own, which is gone
 * thereby. What else `absorbed` read is the caller's business. */
void plan_absorb(struct plan *p, int32_t step, int32_t absorbed);
/* Tensor whose memory `tensor` lies in, and how far into it. */
int32_t plan_storage(const struct plan *p, int32_t tensor, uint64_t *shift);
/* Shapes of a step's inputs; rank -1 where absent. `in` has room for OP_MAX_INPUTS. */
void plan_input_shapes(const struct plan *p, const struct plan_step *s, struct shape *in);

/* Of all steps, one item. */
uint64_t plan_multiply_adds(const struct plan *p);

int plan_out_of_memory(struct err *e);

/* Whether input `slot` is a weight that the step's algorithm packs. */
static inline bool plan_is_weight(const struct plan *p, const struct plan_step *s, int32_t slot) {
    return slot == 1 && (s->op == OP_CONV || s->op == OP_GEMM || s->op == OP_MATMUL) &&
           p->tensors[s->inputs[1]].data;
}

/* Bytes of `data` that the constant is made of, from its beginning on. */
size_t plan_source_bytes(const struct plan_constant *c);

#endif
