/* What a probe found: how easily each class is reached, whether one stands out, and what was done about it.
 *
 * clp-probe fills it and sends it encoded through a pipe; the reader treats
 * those bytes as hostile. Plain data; one owner. */
#ifndef GUARD_PROBE_REPORT_H
#define GUARD_PROBE_REPORT_H

#include "infer/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROBE_REPORT_MAX_CLASSES 100000
#define PROBE_REPORT_MAX_PRUNED  4096
#define PROBE_REPORT_MAX_NAME    64
#define PROBE_REPORT_MAX_SIDE    1024 /* of a trigger's picture */
#define PROBE_REPORT_MAX_BYTES   ((size_t)32 << 20)

enum probe_verdict {
    PROBE_CLEAR,    /* no class stands out */
    PROBE_REPAIRED, /* one stood out, and does no more, from any start */
    PROBE_SUSPECT,  /* one stands out, and pruning did not mend it */
    PROBE_UNKNOWN,  /* the time was too short to say, or too few classes were reached */
    PROBE_VERDICTS
};
const char *probe_verdict_name(enum probe_verdict v); /* "clear", "repaired", "suspect", "unknown" */
const char *probe_verdict_text(enum probe_verdict v); /* for people */

struct probe_class {
    bool covered;                       /* attacked at all, so that the numbers mean something */
    float patch;                        /* before: pixels of the smallest patch */
    float additive, wave, window, area; /* before: margins won, in spreads of the logits */
    float z; /* how far it stands out, in robust standard deviations; the largest of the five */
    float patch_after, z_after; /* once repaired; the same as before where nothing was */
};

struct probe_pruned {
    char step[PROBE_REPORT_MAX_NAME]; /* the convolution, by its name in the image */
    int32_t channel;
};

struct probe_report {
    enum probe_verdict verdict;
    int32_t target;               /* the class that stands out most (or did), or -1 */
    uint32_t rounds;              /* of attacking and pruning */
    uint32_t ways;                /* different triggers into the target that were found and pruned against */
    float success, success_after; /* of the best of them, on pictures it was not made on: 0..1 */
    float drift;                  /* of the answers on untouched pictures, in spreads of the logits */
    float away;  /* how far a place stands out by what sends pictures away from it, wherever to; where
                  * no class does */
    float limit; /* z above which a class stands out */
    uint32_t seed, seconds, budget; /* time taken, time allowed */
    bool cut;                       /* the time was up before all was done */
    int32_t n_classes, n_covered;
    struct probe_class *classes;
    int32_t n_pruned;
    struct probe_pruned *pruned;
    int32_t channels, height, width; /* of the trigger's picture: mask and pattern; 0: none */
    uint8_t *mask, *pattern;         /* [height,width], [channels,height,width], 0..255 */
};

void probe_report_free(struct probe_report *r); /* what it holds, not r itself */
/* malloc'ed; NULL: out of memory. */
uint8_t *probe_report_encode(const struct probe_report *r, size_t *bytes);
/* 0, or -1 with `e` set; leftover bytes are an error. */
int probe_report_decode(const uint8_t *bytes, size_t size, struct probe_report *out, struct err *e);

/* The pruned channels as the import worker reads them (guard/repair_list.h). malloc'ed; NULL: out of memory.
 */
char *probe_report_channels(const struct probe_report *p, size_t *bytes);
/* The same in a memfd, the caller's; -1 with `e` set. */
int probe_report_list(const struct probe_report *p, struct err *e);

#endif
