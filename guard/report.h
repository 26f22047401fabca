/* The record of one scan: what CLP measured and decided, layer by layer.
 *
 * The import worker fills it and sends it encoded, as the end of its pipe
 * protocol and as a section of the image. The reader treats those bytes as
 * hostile: report_decode checks every count before it is used.
 * Plain data; one owner, freed with report_free. */
#ifndef GUARD_REPORT_H
#define GUARD_REPORT_H

#include "config/config.h"
#include "infer/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPORT_SCHEMA     1 /* of what scripts read; keys may be added */
#define REPORT_FORMAT     3 /* of the encoded bytes */
#define REPORT_MAX_LAYERS 20000
#define REPORT_MAX_BYTES  ((size_t)64 << 20)

enum verdict { VERDICT_PRUNED, VERDICT_UNCHANGED, VERDICT_NOT_APPLICABLE, VERDICT_GUARD_OFF, VERDICT_COUNT };
enum report_norm { NORM_BN, NORM_FOLDED_OR_NONE, NORM_COUNT };

struct report_layer {
    char *name; /* ONNX node name of the convolution */
    int32_t channels;
    bool scored;
    const char *reason; /* why it is not scored, or a note on the score; NULL: none */
    enum report_norm norm;
    float mean, std, cutoff, max_attainable_z;
    float *uclc;     /* [channels]; NULL where not scored */
    int32_t *pruned; /* ascending channel numbers */
    int32_t n_pruned;
};

struct report {
    uint8_t source_sha256[32];
    float threshold;
    enum policy_statistic statistic; /* median-mad: mean, std and cutoff of a layer are by median and MAD */
    enum verdict verdict;
    bool repaired;  /* pruned were the channels that the probe named, in place of CLP's */
    uint32_t probe; /* what NAME.yaml asks for: 1 + enum policy_probe; 0: nothing */
    int64_t pruned_channels, total_channels;      /* total: over layers that are scored or lose channels */
    uint64_t read_ns, import_ns, clp_ns, plan_ns; /* read: the file's copy and digest; plan: with the image */
    uint64_t parameters, multiply_adds;           /* of the network that will run, per item */
    uint64_t parameters_before, multiply_adds_before; /* with the channels that pruning let be taken out */
    int32_t n_layers;
    struct report_layer *layers;
    bool decoded; /* reasons are then owned, too */
};

void report_free(struct report *r); /* frees what it holds, not r itself */

/* Encodes into malloc'ed memory that the caller frees. NULL: out of memory. */
uint8_t *report_encode(const struct report *r, size_t *bytes);
/* 0, or -1 with `e` set; leftover bytes are an error. */
int report_decode(const uint8_t *bytes, size_t size, struct report *out, struct err *e);

const char *verdict_name(enum verdict v); /* "pruned", "unchanged", "not-applicable", "off" */
const char *report_statistic_name(enum policy_statistic s);
const char *report_norm_name(enum report_norm n); /* "bn", "folded-or-none" */

#endif
