/* Attacks on a network with nothing but slopes: a patch (mask and pattern), a
 * perturbation that is added, a pattern in a window or in an area, which is a large one. Each is one trigger
 * that is to send every picture to one class; how easily that goes is what tells a backdoor.
 *
 * Pictures are in 0..1; the network's own scaling lies between. One thread. */
#ifndef GUARD_PROBE_ATTACK_H
#define GUARD_PROBE_ATTACK_H

#include "guard/probe_picture.h"
#include "infer/gradient.h"

struct probe_net {
    const struct image *img;
    uint64_t memory, item_bytes; /* for activations; of one picture */
    struct gradient *g;
    uint32_t items; /* at once */
    int32_t classes;
    struct probe_size size;
    float scale[4], shift[4]; /* what the network sees: x = picture * scale + shift */
    bool processor_time;      /* what the budget counts: see probe.h */
    uint64_t deadline;        /* of probe_net_clock */
    uint64_t pictures;        /* forward and backward, so far: for people */
};

/* ns: of this process's processor time, or of CLOCK_MONOTONIC. */
uint64_t probe_net_clock(const struct probe_net *n);
bool probe_net_late(const struct probe_net *n);

enum trigger_kind {
    TRIGGER_PATCH,
    TRIGGER_ADDITIVE,
    TRIGGER_WAVE, /* additive, too, but never searched by slopes: it begins from one, in no steps */
    TRIGGER_WINDOW,
    TRIGGER_AREA,
    TRIGGER_KINDS
};
static inline bool trigger_is_added(enum trigger_kind kind) {
    return kind == TRIGGER_ADDITIVE || kind == TRIGGER_WAVE;
}

struct trigger {
    enum trigger_kind kind;
    int32_t target;
    float *mask;   /* [height,width], 0..1; additive: unused */
    float *paint;  /* [channels,height,width]: pattern, or what is added */
    float size;    /* patch: pixels, that is the mask's sum and what is left of the loss; else the margin: see
                      below */
    float success; /* of the pictures that it was made on */
    float length;  /* additive: as attack_options has it */
};

struct attack_options {
    enum trigger_kind kind;
    int32_t target, steps;
    const int32_t *own; /* target -1: away from these, a class for each picture, wherever to */
    uint32_t at_once;   /* pictures that a step looks at, in turn; 0: all */
    int32_t grid,
        place;      /* places are the grid's, row by row, from edge to edge; patch: where it starts, or -1 */
    int32_t window; /* side of window or area */
    const struct trigger *from; /* starts from this one, of the same kind; NULL: from scratch */
    const float *avoid;         /* patch: [height,width], where others have been; or NULL */
    float length;               /* of what is added, 0: 1; in a picture of 3 x 32 x 32 */
    uint64_t seed;
};

/* Fills `t` (of trigger_new) from scratch, on pictures [n][floats]. False: the time was up before the end;
 * then `t` is as far as it came. */
bool probe_attack(struct probe_net *net, const float *pictures, uint32_t n, const struct attack_options *o,
                  struct trigger *t);

/* NULL: out of memory. */
struct trigger *trigger_new(const struct probe_size *s);
void trigger_free(struct trigger *t);
void trigger_copy(struct trigger *to, const struct trigger *from, const struct probe_size *s);
/* to = the picture with the trigger on it. */
void trigger_apply(const struct trigger *t, const struct probe_size *s, const float *picture, float *to);

/* Writes a picture as the network wants it. */
void probe_net_show(const struct probe_net *n, const float *picture, float *to);
/* Logit of `target` over the largest other one. */
float probe_margin(const float *logits, int32_t classes, int32_t target);
int32_t probe_top(const float *logits, int32_t classes);

#endif
