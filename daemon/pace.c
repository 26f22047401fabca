#include "daemon/pace.h"

#define RUN_NS 2000 /* what a run costs beside computing: taking it, answering */
#define FORGET 4    /* the average follows that many runs */
#define WORTH  32   /* more at once has to be better by one part in so many: whoever waits, waits longer */

static uint32_t size_of(uint64_t items) {
    const uint32_t i = 63 - (uint32_t)__builtin_clzll(items | 1);
    return i < PACE_SIZES ? i : PACE_SIZES - 1;
}

uint32_t pace_items(struct pace *p, uint32_t most, uint64_t waiting) {
    const uint32_t top = size_of(waiting < most ? waiting : most), run = p->runs++;
    uint64_t best_ns = UINT64_MAX;
    uint32_t best = top;
    for (uint32_t i = top + 1; i-- > 0;) {
        if (p->asked >> i & 1) continue;
        p->asked |= 1u << i;
        return i == top ? most : 1u << i;
    }
    if (run % PACE_TRY == 0) return 1u << run / PACE_TRY % (top + 1);
    for (uint32_t i = 0; i <= top; i++) {
        const uint64_t ns = atomic_load_explicit(&p->item_ns[i], memory_order_relaxed);
        if (ns == 0 || ns >= best_ns - best_ns / WORTH) continue;
        best_ns = ns;
        best = i;
    }
    return best == top ? most : 1u << best;
}

void pace_learn(struct pace *p, uint32_t items, uint64_t ns) {
    _Atomic uint64_t *mean = &p->item_ns[size_of(items)];
    const uint64_t now = (ns + RUN_NS) / items, before = atomic_load_explicit(mean, memory_order_relaxed);
    atomic_store_explicit(mean, before ? before - before / FORGET + now / FORGET : now, memory_order_relaxed);
}
