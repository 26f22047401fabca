/* Reads and applies the list of a probe; see repair_list.h. */
#include "guard/repair_list.h"

#include "guard/clp_pairing.h"

#include <stdlib.h>
#include <string.h>

/* The convolution of that name; -1: none, -2: several. */
static int32_t find_conv(const struct graph *g, const uint8_t *name, size_t n) {
    int32_t found = -1;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const struct node *node = &g->nodes[i];
        if (node->dead || node->op != OP_CONV || strncmp(node->name, (const char *)name, n) != 0) continue;
        if (node->name[n] && n + 4 < PROBE_REPORT_MAX_NAME)
            continue; /* only names that long are cut, by whole characters */
        if (found >= 0) return -2;
        found = i;
    }
    return found;
}

/* "12 name\n" at *at; moves on. */
static int read_line(const uint8_t *bytes, size_t size, size_t *at, int32_t *channel, const uint8_t **name,
                     size_t *n) {
    size_t i = *at;
    int64_t number = 0;
    for (; i < size && bytes[i] >= '0' && bytes[i] <= '9'; i++) {
        number = number * 10 + bytes[i] - '0';
        if (number > INT32_MAX) return -1;
    }
    if (i == *at || i == size || bytes[i] != ' ') return -1;
    *name = bytes + ++i;
    while (i < size && bytes[i] != '\n') i++;
    *n = (size_t)(bytes + i - *name);
    if (i == size || *n == 0 || *n >= PROBE_REPORT_MAX_NAME) return -1;
    *channel = (int32_t)number;
    *at = i + 1;
    return 0;
}

static int prune_one(struct graph *g, struct clp_uses *uses, int32_t conv, int32_t *channel, struct report *r,
                     struct clp_result *out, struct err *e) {
    const int64_t filters = g->values[g->nodes[conv].inputs[1]].shape.dim[0];
    if (*channel >= filters)
        return err_set(e, ERR_VALUE, "%s has %lld channels; the probe names number %d", g->nodes[conv].name,
                       (long long)filters, *channel);
    struct clp_edit *more = realloc(out->edits, (size_t)(out->n_edits + 1) * sizeof *more);
    if (!more) return err_set(e, ERR_LIMIT, "out of memory; raise guard.worker.memory");
    out->edits = more;
    out->edits[out->n_edits] = (struct clp_edit){conv, clp_pair(g, uses, conv).norm, channel, 1};
    r->pruned_channels++;
    r->verdict = VERDICT_PRUNED;
    return clp_prune(g, &out->edits[out->n_edits++], e);
}

int repair_list_apply(struct graph *g, const uint8_t *bytes, size_t size, struct report *r,
                      struct clp_result *out, struct err *e) {
    struct clp_uses *uses = clp_uses_new(g);
    int rc = uses ? 0 : err_set(e, ERR_LIMIT, "out of memory; raise guard.worker.memory");
    for (size_t at = 0; rc == 0 && at < size;) {
        const uint8_t *name;
        size_t n;
        int32_t *channel = graph_alloc(g, sizeof *channel); /* lives as long as the edit */
        if (!channel) {
            rc = err_set(e, ERR_LIMIT, "out of memory; raise guard.worker.memory");
        } else if (read_line(bytes, size, &at, channel, &name, &n)) {
            rc = err_set(e, ERR_FORMAT, "the probe's list of channels is damaged");
        } else {
            const int32_t conv = find_conv(g, name, n);
            rc = conv < 0 ? err_set(e, ERR_VALUE,
                                    "%s convolution is called %.*s: what the probe found can't be pruned",
                                    conv == -1 ? "no" : "more than one", (int)n, (const char *)name)
                          : prune_one(g, uses, conv, channel, r, out, e);
        }
    }
    clp_uses_free(uses);
    return rc;
}
