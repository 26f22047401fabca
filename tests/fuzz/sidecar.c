/* A NAME.yaml of any content: what is accepted has numbers and labels that can be used. */
#include "config/sidecar.h"
#include "tests/fuzz/support/fuzz.h"

#include <math.h>
#include <string.h>

static void check(const struct sidecar *s) {
    FUZZ_MUST(s->n_labels <= SIDECAR_MAX_LABELS, "%u", s->n_labels);
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const size_t n = strlen(s->labels[i]);
        FUZZ_MUST(n > 0 && n < 256, "label %u of %zu bytes", i, n);
    }
    for (int c = 0; c < 4; c++)
        FUZZ_MUST(isfinite(s->mean[c]) && s->std[c] > 0 && isfinite(s->std[c]), "channel %d", c);
    FUZZ_MUST(isfinite(s->scale) && isfinite(s->threshold) && s->n_mean <= 4 && s->n_std <= 4, "%g",
              (double)s->scale);
}

FUZZ(sidecar, 4096) {
    struct sidecar s;
    struct err e = {0};
    if (sidecar_parse(&s, "m.yaml", bytes, size, &e) == 0) {
        check(&s);
        sidecar_free(&s);
    } else {
        fuzz_check_refusal(&e);
    }
    return 0;
}
