/* The probe: attacks a network class by class, says whether one falls too easily,
 * silences the channels that its triggers live on, and attacks again.
 *
 *   screen all classes -> none stands out: clear
 *        -> the one that does: triggers from several starts
 *        -> prune (probe_repair.c) -> attack again, every start: as hard as the others? repaired
 *
 * The same seed and enough time give the same result. One thread. */
#ifndef GUARD_PROBE_H
#define GUARD_PROBE_H

#include "guard/probe_attack.h"
#include "guard/probe_report.h"
#include "infer/image.h"

struct probe_options {
    uint32_t seconds; /* the budget: of wall-clock time, or … */
    bool processor_time;
    uint32_t seed;
    uint64_t memory;                                           /* for activations, about; bytes */
    void (*progress)(void *ctx, float done, const char *what); /* 0..1; or NULL */
    void *ctx;
};

/* `img` is one of plan_options.keep. 0, and `out` to be freed; or -1 with `e` set:
 * the network is of a kind that can't be probed. */
int probe_run(const struct image *img, const struct probe_options *o, struct probe_report *out,
              struct err *e);

#endif
