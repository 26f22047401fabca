/* NAME.yaml beside NAME.onnx: labels, preprocessing, threshold, probe. Parsed in the
 * import worker's sandbox, since it arrives with the model and is as hostile.
 * Same strictness and the same key table code as config.h. */
#ifndef CONFIG_SIDECAR_H
#define CONFIG_SIDECAR_H

#include "infer/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIDECAR_MAX_LABELS 100000
#define SIDECAR_MAX_BYTES  ((size_t)8 << 20)

struct sidecar {
    char **labels; /* owned; n_labels of them; each 1..255 bytes of UTF-8 without control characters */
    uint32_t n_labels;
    float scale;            /* input.scale; default 1/255 */
    float mean[4], std[4];  /* input.mean, input.std; default 0 and 1; one value is taken for all channels */
    uint32_t n_mean, n_std; /* how many were given: 0, 1, 3 or 4 */
    bool bgr;               /* input.channel_order: rgb | bgr */
    bool has_threshold;
    float threshold; /* guard.threshold */
    bool has_probe;
    uint32_t probe; /* guard.probe: enum policy_probe */
};

void sidecar_defaults(struct sidecar *s);
int sidecar_parse(struct sidecar *s, const char *name, const uint8_t *bytes, size_t size, struct err *e);
void sidecar_free(struct sidecar *s);

#endif
