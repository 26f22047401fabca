/* Rounds blocked pixels to pairs of bfloat16. Any thread; no state. */
#ifndef INFER_KERNELS_BF16_H
#define INFER_KERNELS_BF16_H

#include <stdint.h>

/* from: [n][16 channels], of which the first `channels` exist; to: [n][8 words] (bf16.h), zeros for those
 * that don't, whatever their lanes hold. Needs AVX512-BF16. */
void bf16_pack_pixels(const float *from, int64_t n, int64_t channels, float *to);
/* Its twin in plain C. */
void bf16_pack_pixels_plainly(const float *from, int64_t n, int64_t channels, float *to);

#endif
