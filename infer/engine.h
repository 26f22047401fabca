/* Runs images. One engine per thread: it owns an arena and a scratch buffer,
 * sized beforehand by engine_reserve; engine_run allocates nothing, takes no
 * lock and makes no system call. The image is shared and read-only. */
#ifndef INFER_ENGINE_H
#define INFER_ENGINE_H

#include "infer/image.h"

struct engine;

enum input_format {
    INPUT_F32_NCHW, /* float32 as the network wants it; read in place; 4-byte aligned */
    INPUT_U8_NHWC   /* uint8 pictures; preprocessed as image_preprocess says; C = 1, 3 or 4 of one item
                       [*,C,H,W] */
};

struct engine_item {
    const void *inputs[IMAGE_MAX_IO]; /* one pointer per input of the model; borrowed during the run */
    uint32_t format;                  /* enum input_format; U8 only for models of one input of rank 4 */
};

struct engine *engine_new(void); /* NULL: out of memory */
void engine_free(struct engine *e);

/* What a thread needs only once, before its first run: OpenBLAS's buffer, and the pages of its stack. */
void engine_warm_thread(void);

/* Lets the team's helpers work on this engine's steps, from the next engine_reserve on, which
 * makes scratch memory for each. The team outlives the engine. false: it has no seat left. */
struct team;
bool engine_join(struct engine *en, struct team *t);

/* Makes room for batches of up to `items` on `img`; never shrinks; prefaults.
 * May be called again for other images; where it has to grow, the outputs of the
 * last run are gone. 0, or -1 with `e` set. */
int engine_reserve(struct engine *en, const struct image *img, uint32_t items, struct err *e);

/* Runs `n` items (<= what was reserved for this image). Outputs stay valid
 * until the next run. 0, or -EINVAL where n or a format is not possible. */
int engine_run(struct engine *en, const struct image *img, uint32_t n, const struct engine_item *items);

/* Output `k` of item `i` of the last run; float32, shape of the image's output tensor. */
const float *engine_output(const struct engine *en, uint32_t i, uint32_t k);

/* Bytes that one item of input `k` has in this format; 0 where the format is not possible. */
size_t engine_input_bytes(const struct image *img, uint32_t k, uint32_t format);

/* Time per step of the runs since profiling was switched on, in ns; NULL: off. */
void engine_profile(struct engine *en, uint64_t *ns_per_step, uint32_t n_steps);

#endif
