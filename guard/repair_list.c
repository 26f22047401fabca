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

void repair_list_instead(struct report *r, struct clp_result *out) {
    for (int32_t i = 0; i < r->n_layers; i++) r->layers[i].n_pruned = 0;
    r->pruned_channels = 0;
    if (r->verdict == VERDICT_PRUNED) r->verdict = VERDICT_UNCHANGED;
    r->repaired = true;
    out->n_edits = 0;
}

static struct report_layer *find_layer(const struct report *r, const char *name) {
    for (int32_t i = 0; i < r->n_layers; i++)
        if (strcmp(r->layers[i].name, name) == 0) return &r->layers[i];
    return NULL;
}

/* 1: noted; 0: it was pruned already; -1: out of memory. */
static int note_pruned(struct report *r, struct report_layer *l, int32_t channel) {
    int32_t at = l->n_pruned;
    while (at > 0 && l->pruned[at - 1] > channel) at--;
    if (at > 0 && l->pruned[at - 1] == channel) return 0;
    if (!l->scored && l->n_pruned == 0) {
        free(l->pruned);
        l->pruned = calloc((size_t)l->channels, sizeof *l->pruned);
        r->total_channels += l->channels;
    }
    if (!l->pruned) return -1;
    memmove(l->pruned + at + 1, l->pruned + at, (size_t)(l->n_pruned - at) * sizeof *l->pruned);
    l->pruned[at] = channel;
    l->n_pruned++;
    r->pruned_channels++;
    r->verdict = VERDICT_PRUNED;
    return 1;
}

/* The edit of this convolution names all that its layer loses. */
static int note_edit(struct clp_result *out, struct clp_edit edit) {
    for (int32_t i = 0; i < out->n_edits; i++)
        if (out->edits[i].conv == edit.conv) {
            out->edits[i] = edit;
            return 0;
        }
    struct clp_edit *more = realloc(out->edits, (size_t)(out->n_edits + 1) * sizeof *more);
    if (!more) return -1;
    out->edits = more;
    out->edits[out->n_edits++] = edit;
    return 0;
}

static int prune_one(struct graph *g, struct clp_uses *uses, int32_t conv, int32_t channel, struct report *r,
                     struct clp_result *out, struct err *e) {
    const char *name = g->nodes[conv].name;
    const int64_t filters = g->values[g->nodes[conv].inputs[1]].shape.dim[0];
    struct report_layer *l = find_layer(r, name);
    if (!l) return err_set(e, ERR_INTERNAL, "CLP has not looked at %s", name);
    if (channel >= filters)
        return err_set(e, ERR_VALUE, "%s has %lld channels; the probe names number %d", name,
                       (long long)filters, channel);
    const int fresh = note_pruned(r, l, channel);
    if (fresh == 0) return 0;
    struct clp_edit edit = {conv, clp_pair(g, uses, conv).norm, l->pruned, l->n_pruned};
    if (fresh < 0 || note_edit(out, edit))
        return err_set(e, ERR_LIMIT, "out of memory; raise guard.worker.memory");
    edit.channels = &channel;
    edit.n = 1;
    return clp_prune(g, &edit, e);
}

int repair_list_apply(struct graph *g, const uint8_t *bytes, size_t size, struct report *r,
                      struct clp_result *out, struct err *e) {
    struct clp_uses *uses = clp_uses_new(g);
    int rc = uses ? 0 : err_set(e, ERR_LIMIT, "out of memory; raise guard.worker.memory");
    for (size_t at = 0; rc == 0 && at < size;) {
        const uint8_t *name;
        size_t n;
        int32_t channel;
        if (read_line(bytes, size, &at, &channel, &name, &n)) {
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
