/* Shapes: products that can't overflow, comparison, broadcasting, text. */
#include "infer/op.h"

#include <stdio.h>
#include <string.h>

int64_t shape_elements(const struct shape *s) {
    if (s->rank < 0 || s->rank > SHAPE_MAX_RANK) return -1;
    int64_t n = 1;
    bool empty = false;
    for (int32_t i = 0; i < s->rank; i++) {
        if (s->dim[i] < 0) return -1;
        if (s->dim[i] == 0) {
            empty = true;
        } else {
            if (n > SHAPE_MAX_ELEMENTS / s->dim[i]) return -1;
            n *= s->dim[i];
        }
    }
    return empty ? 0 : n;
}

bool shape_equal(const struct shape *a, const struct shape *b) {
    if (a->rank != b->rank || a->rank < 0 || a->rank > SHAPE_MAX_RANK) return false;
    return memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

bool shape_valid(const struct shape *s) {
    if (s->rank < 0 || s->rank > SHAPE_MAX_RANK) return false;
    for (int32_t i = 0; i < SHAPE_MAX_RANK; i++)
        if (i < s->rank ? s->dim[i] < 1 || s->dim[i] > INT32_MAX : s->dim[i] != 0) return false;
    return shape_elements(s) > 0;
}

int64_t shape_product(const struct shape *s, int32_t from, int32_t to) {
    int64_t n = 1;
    for (int32_t i = from; i < to; i++) n *= s->dim[i];
    return n;
}

bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out) {
    const int32_t rank = a->rank > b->rank ? a->rank : b->rank;
    struct shape r = {.rank = rank};
    for (int32_t i = 0; i < rank; i++) { /* aligned at the last axis */
        const int32_t ia = i - (rank - a->rank), ib = i - (rank - b->rank);
        const int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];
        if (da != db && da != 1 && db != 1) return false;
        r.dim[i] = da == 1 ? db : da;
    }
    *out = r;
    return true;
}

char *shape_text(const struct shape *s, char *buf, int cap) {
    if (cap <= 0) return buf;
    if (s->rank < 0 || s->rank > SHAPE_MAX_RANK) {
        (void)snprintf(buf, (size_t)cap, "absent");
        return buf;
    }
    int at = snprintf(buf, (size_t)cap, "[");
    for (int32_t i = 0; i < s->rank && at < cap; i++)
        at += snprintf(buf + at, (size_t)(cap - at), i ? ",%lld" : "%lld", (long long)s->dim[i]);
    if (at < cap) (void)snprintf(buf + at, (size_t)(cap - at), "]");
    return buf;
}
