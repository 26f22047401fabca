/* The image: a compiled model as one flat, position-independent file.
 *
 *   header | tensors[] | operands[] | steps[] | strings | report | constants
 *
 * Written by the import worker (image_write), sealed by the guard, mapped and
 * checked by clpd (image_map). Little-endian, offsets relative to the start,
 * sections and constants 64-byte aligned. docs/image.md has the tables.
 *
 * After image_map has said yes, nothing in the file can make the engine read
 * or write outside the image, the arena or the scratch: every index, offset,
 * size and parameter has been checked, and shapes were derived anew.
 * A mapped image is immutable; any thread may read it. */
#ifndef INFER_IMAGE_H
#define INFER_IMAGE_H

#include "infer/op.h"

#include <stddef.h>

#define IMAGE_MAGIC        "CLPDIMG\1"
#define IMAGE_VERSION      5
#define IMAGE_ALIGN        64
#define IMAGE_NAME         64
#define IMAGE_MAX_TENSORS  60000
#define IMAGE_MAX_STEPS    20000
#define IMAGE_MAX_OPERANDS 400000
#define IMAGE_MAX_IO       16
#define IMAGE_MAX_LABELS   100000
#define IMAGE_MAX_STRINGS  (32u << 20)
#define IMAGE_MAX_REPORT   (32u << 20)
#define IMAGE_MAX_SLAB     ((uint64_t)64 << 30)
#define IMAGE_MAX_WORK                                                                                       \
    ((uint64_t)1 << 38) /* multiply-adds, or elements touched, of one item: seconds; VGG-19 has 2^34 */
#define IMAGE_NO_TENSOR UINT32_MAX

/* ISA_AVX512_BF16: AVX512 with products of bfloat16 where that pays; never taken without being asked for. */
enum image_isa { ISA_GENERIC, ISA_AVX2, ISA_AVX512, ISA_NEON, ISA_AVX512_BF16, ISA_COUNT };
/* What this host runs best; the same where products may be of bfloat16, if it has them (else it is
 * image_host_isa()); and whether it can run `isa`. */
enum image_isa image_host_isa(void);
enum image_isa image_host_isa_for(bool bf16);
/* Whether its products of bfloat16 are faster than those of floats, too. */
bool image_bf16_pays(void);
bool image_isa_runs_here(uint32_t isa);
const char *image_isa_name(uint32_t isa);

enum image_place {
    PLACE_CONSTANT, /* offset from the start of the constants section */
    PLACE_ARENA,    /* offset into the item's slab of the arena */
    PLACE_INPUT     /* the caller's memory; offset into the slab is where a converted copy goes;
                     * exactly the tensors that header.inputs names */
};
/* Several tensors may be names of one range of the slab: a reshape has no step,
 * and the inputs of a concatenation are computed where they belong in its
 * output. The concat kernel skips an input that lies in its slice already. What
 * a step writes (of a concatenation: the other slices) overlaps none of its inputs. */

enum image_layout {                 /* layout.h has the rules */
                    LAYOUT_PLAIN,   /* row-major */
                    LAYOUT_BLOCKED, /* [N,C,H,W] as [N][C/16][H][W][16] */
                    LAYOUT_COUNT
};

struct image_tensor {   /* 128 bytes */
    struct shape shape; /* of one item */
    uint32_t place;     /* enum image_place */
    uint32_t layout;    /* enum image_layout; constants, inputs and outputs of the model are plain */
    uint64_t offset;    /* bytes */
    uint64_t bytes;     /* what the tensor occupies there */
    uint32_t name;      /* offset into strings, for profiles and errors */
    uint32_t reserved[7];
};
_Static_assert(sizeof(struct image_tensor) == 128, "image format");

enum activation { ACT_NONE, ACT_RELU, ACT_CLIP, ACT_FUNCTION, ACT_COUNT };

enum image_algorithm { /* per operator; ALG_DEFAULT where there is only one */
                       ALG_DEFAULT,
                       ALG_CONV_REFERENCE, /* plain loops: the twin that tests hold the others against */
                       ALG_CONV_IM2COL,    /* im2col + sgemm */
                       ALG_CONV_POINTWISE, /* 1x1, stride 1: sgemm on the tensor as it lies */
                       ALG_CONV_DEPTHWISE, /* one filter per channel, direct */
                       /* These take and give blocked tensors: */
                       ALG_CONV_DIRECT,      /* tile by tile, from packed weights */
                       ALG_CONV_FIRST,       /* the same, from a plain tensor of few channels */
                       ALG_CONV_CHANNELWISE, /* one filter per channel */
                       ALG_CONV_WINOGRAD_2,  /* F(2x2,3x3) */
                       ALG_CONV_WINOGRAD_4,  /* F(4x4,3x3) */
                       ALG_REORDER,          /* of OP_IDENTITY: from one layout to the other */
                       ALG_CONV_DIRECT_BF16, /* as DIRECT, products of bfloat16; under ISA_AVX512_BF16 only */
                       ALG_COUNT
};

struct image_step {         /* 256 bytes */
    uint32_t op;            /* enum op; OP_BATCH_NORM has the inputs X, scale', shift' (mean, variance
                             * and epsilon are worked in): y = x * scale'[c] + shift'[c] */
    uint32_t algorithm;     /* enum image_algorithm */
    uint32_t first_operand; /* into operands[]: inputs as op.h lists them, IMAGE_NO_TENSOR where absent */
    uint32_t n_inputs;
    uint32_t residual;      /* OP_CONV: tensor added before the activation, or IMAGE_NO_TENSOR */
    uint32_t output;        /* tensor */
    uint32_t activation;    /* enum activation */
    float act_min, act_max; /* ACT_CLIP */
    uint32_t name;          /* offset into strings */
    uint64_t multiply_adds; /* per item, for people */
    union op_params params;
    struct op_function act_params; /* ACT_FUNCTION: what act_op, one of OP_FUNCTION_*, computes by */
    uint32_t act_op;               /* else both are 0 */
    uint32_t reserved[15];
};
_Static_assert(sizeof(struct image_step) == 256, "image format");

enum image_channel_order { ORDER_RGB, ORDER_BGR };
struct image_preprocess { /* for uint8 pictures: (x * scale - mean[c]) / std[c] */
    float scale;
    float mean[4], std[4];
    uint32_t channel_order; /* enum image_channel_order: the order that the network wants */
    uint32_t reserved[6];
};
_Static_assert(sizeof(struct image_preprocess) == 64, "image format");

struct image_section {
    uint64_t offset, bytes;
};
enum {
    SECTION_TENSORS,
    SECTION_OPERANDS,
    SECTION_STEPS,
    SECTION_STRINGS,
    SECTION_REPORT,
    SECTION_CONSTANTS,
    SECTION_COUNT
};

struct image_header { /* 512 bytes */
    char magic[8];
    uint32_t version;
    uint32_t isa;
    uint64_t bytes;            /* of the whole file */
    uint8_t source_sha256[32]; /* of the ONNX file */
    uint8_t self_checksum[32]; /* of the whole file with this field zero */
    struct image_section sections[SECTION_COUNT];
    uint32_t n_tensors, n_operands, n_steps, n_labels;
    uint32_t inputs[IMAGE_MAX_IO], n_inputs; /* tensors */
    uint32_t outputs[IMAGE_MAX_IO], n_outputs;
    uint64_t slab_bytes;                /* arena per item */
    uint64_t parameters, multiply_adds; /* of the network as it runs, per item */
    uint32_t item_images;               /* pictures in one item: 1, or K for a batch fixed at K */
    uint32_t output_is_probability;     /* ends in Softmax */
    uint32_t labels;                    /* offset into strings: n_labels C strings in a row */
    uint32_t reserved0;
    struct image_preprocess preprocess;
    uint8_t reserved[72];
};
_Static_assert(sizeof(struct image_header) == 512, "image format");

struct image; /* a mapped and checked image */

/* Maps `fd` (a sealed memfd or a file; not taken), checks everything, and
 * prefaults it. `bytes` comes from fstat. Where `require_seals`, an fd without
 * SHRINK|GROW|WRITE|SEAL is refused, since its owner could change it later.
 * 0 and *out, to be freed with image_unmap; or -1 with `e` set. */
int image_map(int fd, bool require_seals, struct image **out, struct err *e);
/* The same over memory that the caller keeps (64-byte aligned) until image_unmap: tests, fuzzing. */
int image_check(const uint8_t *bytes, size_t size, struct image **out, struct err *e);

/* For those who want to go on while the bytes are summed up: image_map and image_check without the checksum,
 * and without prefaulting. What is left to find is damage to numbers, which can do no harm but be wrong:
 * nobody may hear an answer of such an image before image_verify (any thread) or image_sum_end has said 0. */
int image_map_ahead(int fd, bool require_seals, struct image **out, struct err *e);
int image_check_ahead(const uint8_t *bytes, size_t size, struct image **out, struct err *e);
int image_verify(const struct image *img, struct err *e);
void image_unmap(struct image *img); /* NULL is fine */

const struct image_header *image_header(const struct image *img);
const struct image_tensor *image_tensor_at(const struct image *img, uint32_t index);
const struct image_step *image_step_at(const struct image *img, uint32_t index);
const uint32_t *image_operands(const struct image *img, const struct image_step *s);
const void *image_constant(const struct image *img, const struct image_tensor *t);
const char *image_string(const struct image *img, uint32_t offset);
const char *image_label(const struct image *img, uint32_t index); /* NULL past the last one */
const void *image_report(const struct image *img, size_t *bytes); /* the worker's report, undecoded */
size_t image_scratch_bytes(const struct image *img);              /* derived, never read from the file */

#endif
