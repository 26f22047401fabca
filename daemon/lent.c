/* Two counters. */
#include "daemon/lent.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

static void get(_Atomic uint32_t *references) {
    (void)atomic_fetch_add_explicit(references, 1, memory_order_relaxed);
}

/* Whether that was the last one. */
static bool put(_Atomic uint32_t *references) {
    return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

struct lent_line *lent_line_new(void) {
    struct lent_line *l = calloc(1, sizeof *l);
    if (l) atomic_init(&l->references, 1);
    return l;
}

struct lent_line *lent_line_get(struct lent_line *l) {
    get(&l->references);
    return l;
}

void lent_line_put(struct lent_line *l) {
    if (l && put(&l->references)) free(l);
}

struct lent *lent_new(void *memory, const void *tensor, size_t bytes) {
    struct lent *t = calloc(1, sizeof *t);
    assert(((uintptr_t)tensor & 3) == 0);
    if (!t) return NULL;
    atomic_init(&t->references, 1);
    t->memory = memory;
    t->tensor = tensor;
    t->bytes = bytes;
    return t;
}

struct lent *lent_get(struct lent *t) {
    get(&t->references);
    return t;
}

void lent_put(struct lent *t) {
    if (!t || !put(&t->references)) return;
    lent_line_put(t->line);
    free(t->memory);
    free(t);
}
