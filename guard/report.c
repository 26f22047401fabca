/* The scan record as bytes and back. Little-endian, no pointers:
 *
 *   "CLPR" | u32 format | fixed part | layers: fixed part, name, uclc[], pruned[]
 *
 * The decoder is pure, bounded by the bytes it is given (a count is believed
 * only once the bytes for it are seen to be there), and refuses leftovers. */
#include "guard/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME     256
#define MAX_REASON   256
#define MAX_CHANNELS (1 << 20)

/* Fixed records of the format; members are naturally aligned, so there is no padding. */
struct head {
    char magic[4];
    uint32_t schema;
    uint8_t source_sha256[32];
    float threshold;
    uint32_t verdict;
    int64_t pruned_channels, total_channels;
    uint64_t read_ns, import_ns, clp_ns, plan_ns, parameters, multiply_adds;
    uint64_t parameters_before, multiply_adds_before;
    uint32_t n_layers, statistic, probe, repaired;
};
struct layer_head {
    uint32_t name_bytes, reason_bytes, channels, scored, norm, n_pruned;
    float mean, std, cutoff, max_attainable_z;
};
_Static_assert(sizeof(struct head) == 144 && sizeof(struct layer_head) == 40, "report format");

const char *verdict_name(enum verdict v) {
    static const char *const names[VERDICT_COUNT] = {"pruned", "unchanged", "not-applicable", "off"};
    return (unsigned)v < VERDICT_COUNT ? names[v] : "unknown";
}

const char *report_statistic_name(enum policy_statistic s) {
    static const char *const names[STATISTIC_COUNT] = {"mean-std", "median-mad"};
    return (unsigned)s < STATISTIC_COUNT ? names[s] : "unknown";
}

const char *report_norm_name(enum report_norm n) {
    static const char *const names[NORM_COUNT] = {"bn", "folded-or-none"};
    return (unsigned)n < NORM_COUNT ? names[n] : "unknown";
}

void report_free(struct report *r) {
    for (int32_t i = 0; r->layers && i < r->n_layers; i++) {
        free(r->layers[i].name);
        free(r->layers[i].uclc);
        free(r->layers[i].pruned);
        if (r->decoded) free((char *)(uintptr_t)r->layers[i].reason);
    }
    free(r->layers);
    *r = (struct report){0};
}

static struct layer_head layer_head_of(const struct report_layer *l) {
    return (struct layer_head){.name_bytes = (uint32_t)strnlen(l->name, MAX_NAME),
                               .reason_bytes = l->reason ? (uint32_t)strnlen(l->reason, MAX_REASON) : 0,
                               .channels = (uint32_t)l->channels,
                               .scored = l->scored,
                               .norm = (uint32_t)l->norm,
                               .n_pruned = (uint32_t)l->n_pruned,
                               .mean = l->mean,
                               .std = l->std,
                               .cutoff = l->cutoff,
                               .max_attainable_z = l->max_attainable_z};
}

static uint8_t *put(uint8_t *at, const void *from, size_t bytes) {
    if (bytes) memcpy(at, from, bytes);
    return at + bytes;
}

uint8_t *report_encode(const struct report *r, size_t *bytes) {
    size_t size = sizeof(struct head);
    for (int32_t i = 0; i < r->n_layers; i++) {
        struct layer_head h = layer_head_of(&r->layers[i]);
        size +=
            sizeof h + h.name_bytes + h.reason_bytes + 4 * ((h.scored ? h.channels : 0) + (size_t)h.n_pruned);
    }
    uint8_t *buffer = malloc(size), *at = buffer;
    if (!buffer) return NULL;
    struct head head = {.magic = "CLPR",
                        .schema = REPORT_FORMAT,
                        .threshold = r->threshold,
                        .verdict = (uint32_t)r->verdict,
                        .pruned_channels = r->pruned_channels,
                        .total_channels = r->total_channels,
                        .read_ns = r->read_ns,
                        .import_ns = r->import_ns,
                        .clp_ns = r->clp_ns,
                        .plan_ns = r->plan_ns,
                        .parameters = r->parameters,
                        .multiply_adds = r->multiply_adds,
                        .parameters_before = r->parameters_before,
                        .multiply_adds_before = r->multiply_adds_before,
                        .n_layers = (uint32_t)r->n_layers,
                        .statistic = (uint32_t)r->statistic,
                        .probe = r->probe,
                        .repaired = r->repaired};
    memcpy(head.source_sha256, r->source_sha256, sizeof head.source_sha256);
    at = put(at, &head, sizeof head);
    for (int32_t i = 0; i < r->n_layers; i++) {
        const struct report_layer *l = &r->layers[i];
        struct layer_head h = layer_head_of(l);
        at = put(at, &h, sizeof h);
        at = put(at, l->name, h.name_bytes);
        at = put(at, l->reason, h.reason_bytes);
        at = put(at, l->uclc, h.scored ? 4 * (size_t)h.channels : 0);
        at = put(at, l->pruned, 4 * (size_t)h.n_pruned);
    }
    *bytes = size;
    return buffer;
}

struct reader {
    const uint8_t *at;
    size_t left;
};

static const void *take(struct reader *r, size_t bytes) {
    if (bytes > r->left) return NULL;
    const void *p = r->at;
    r->at += bytes;
    r->left -= bytes;
    return p;
}

static void *take_copy(struct reader *r, size_t bytes, size_t extra) {
    const void *from = take(r, bytes);
    uint8_t *to = from ? malloc(bytes + extra + 1) : NULL;
    if (!to) return NULL;
    memcpy(to, from, bytes);
    memset(to + bytes, 0, extra + 1);
    return to;
}

static bool channels_ascend(const int32_t *pruned, uint32_t n, uint32_t channels) {
    for (uint32_t i = 0; i < n; i++)
        if (pruned[i] < 0 || (uint32_t)pruned[i] >= channels || (i && pruned[i] <= pruned[i - 1]))
            return false;
    return true;
}

/* A terminal and a page will show these. */
static void clean_text(char *s, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) s[i] = '?';
}

static bool decode_layer(struct reader *r, struct report_layer *l) {
    struct layer_head h;
    const void *p = take(r, sizeof h);
    if (!p) return false;
    memcpy(&h, p, sizeof h);
    if (h.name_bytes > MAX_NAME || h.reason_bytes > MAX_REASON || h.channels > MAX_CHANNELS ||
        h.n_pruned > h.channels || h.scored > 1 || h.norm >= NORM_COUNT)
        return false;
    if (!isfinite(h.mean) || !isfinite(h.std) || !isfinite(h.cutoff) || !isfinite(h.max_attainable_z))
        return false;
    l->channels = (int32_t)h.channels;
    l->scored = h.scored;
    l->norm = (enum report_norm)h.norm;
    l->n_pruned = (int32_t)h.n_pruned;
    l->mean = h.mean, l->std = h.std, l->cutoff = h.cutoff, l->max_attainable_z = h.max_attainable_z;
    if (!(l->name = take_copy(r, h.name_bytes, 0))) return false;
    clean_text(l->name, h.name_bytes);
    if (h.reason_bytes) {
        char *reason = take_copy(r, h.reason_bytes, 0);
        if (!reason) return false;
        clean_text(reason, h.reason_bytes);
        l->reason = reason;
    }
    if (h.scored && !(l->uclc = take_copy(r, 4 * (size_t)h.channels, 0))) return false;
    for (uint32_t k = 0; h.scored && k < h.channels; k++)
        if (!isfinite(l->uclc[k])) return false;
    l->pruned = take_copy(r, 4 * (size_t)h.n_pruned, 0);
    return l->pruned && channels_ascend(l->pruned, h.n_pruned, h.channels);
}

static int refuse(struct report *r, struct err *e, const char *what) {
    report_free(r);
    return err_set(e, ERR_FORMAT, "scan report: %s", what);
}

int report_decode(const uint8_t *bytes, size_t size, struct report *out, struct err *e) {
    struct reader r = {bytes, size};
    struct head h;
    *out = (struct report){.decoded = true};
    const void *p = size <= REPORT_MAX_BYTES ? take(&r, sizeof h) : NULL;
    if (!p) return refuse(out, e, "wrong size");
    memcpy(&h, p, sizeof h);
    if (memcmp(h.magic, "CLPR", 4) != 0 || h.schema != REPORT_FORMAT)
        return refuse(out, e, "not a report of this version");
    if (h.verdict >= VERDICT_COUNT || h.statistic >= STATISTIC_COUNT || h.probe > 1 + PROBE_BEFORE_SERVING ||
        h.repaired > 1 || h.n_layers > REPORT_MAX_LAYERS || !isfinite(h.threshold) ||
        h.n_layers > r.left / sizeof(struct layer_head))
        return refuse(out, e, "a field is out of range");
    out->layers = calloc((size_t)h.n_layers + 1, sizeof *out->layers);
    if (!out->layers) return refuse(out, e, "out of memory");
    memcpy(out->source_sha256, h.source_sha256, sizeof out->source_sha256);
    out->threshold = h.threshold;
    out->verdict = (enum verdict)h.verdict;
    out->statistic = (enum policy_statistic)h.statistic;
    out->probe = h.probe;
    out->repaired = h.repaired;
    out->pruned_channels = h.pruned_channels, out->total_channels = h.total_channels;
    out->read_ns = h.read_ns, out->import_ns = h.import_ns, out->clp_ns = h.clp_ns, out->plan_ns = h.plan_ns;
    out->parameters = h.parameters, out->multiply_adds = h.multiply_adds;
    out->parameters_before = h.parameters_before, out->multiply_adds_before = h.multiply_adds_before;
    int64_t pruned = 0, total = 0;
    for (uint32_t i = 0; i < h.n_layers; i++) {
        struct report_layer *l = &out->layers[out->n_layers++];
        if (!decode_layer(&r, l)) return refuse(out, e, "a layer is cut off or out of range");
        pruned += l->n_pruned;
        total += l->scored || l->n_pruned ? l->channels : 0;
    }
    if (r.left) return refuse(out, e, "bytes are left over");
    if (pruned != h.pruned_channels || total != h.total_channels ||
        (pruned > 0) != (h.verdict == VERDICT_PRUNED))
        return refuse(out, e, "its totals contradict its layers");
    return 0;
}
