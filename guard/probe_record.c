/* One record as bytes and back, little-endian:
 *
 *   head (fixed) | the encoded report, where there is one | SHA-256 of all before it
 *
 * The digest tells damage, not malice; so every field is checked as well. Pure. */
#include "guard/probe_record.h"

#include "guard/model_file.h"
#include "infer/digest.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC "CLPPROB\3"

struct head {
    char magic[8], model[LINK_MODEL];
    struct spawn_digests digests;
    uint64_t report_bytes;
    uint32_t known, declined;
    char why[ERR_TEXT];
};

void probe_record_free(struct probe_record *r) {
    probe_report_free(&r->report);
    *r = (struct probe_record){.report.target = -1};
}

uint8_t *probe_record_encode(const struct probe_record *r, size_t *bytes) {
    struct head h = {.magic = MAGIC, .digests = r->digests, .known = r->known, .declined = r->declined};
    size_t n = 0;
    uint8_t *report = r->known ? probe_report_encode(&r->report, &n) : NULL;
    if (r->known && !report) return NULL;
    (void)memcpy(h.model, r->model, sizeof h.model);
    (void)memcpy(h.why, r->why, strnlen(r->why, sizeof h.why - 1));
    h.report_bytes = n;
    uint8_t *out = malloc(sizeof h + n + DIGEST_BYTES);
    if (out) {
        memcpy(out, &h, sizeof h);
        if (n) memcpy(out + sizeof h, report, n);
        digest_sha256(out, sizeof h + n, out + sizeof h + n);
        *bytes = sizeof h + n + DIGEST_BYTES;
    }
    free(report);
    return out;
}

static bool text_is_clean(const char *s, size_t cap) {
    const size_t n = strnlen(s, cap);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) return false;
    return n < cap;
}

int probe_record_decode(const uint8_t *bytes, size_t size, struct probe_record *out, struct err *e) {
    struct head h;
    uint8_t digest[DIGEST_BYTES];
    *out = (struct probe_record){.report.target = -1};
    if (size < sizeof h + sizeof digest) return err_set(e, ERR_FORMAT, "it is no record of a probe");
    memcpy(&h, bytes, sizeof h);
    const size_t n = size - sizeof h - sizeof digest;
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || h.report_bytes != n)
        return err_set(e, ERR_FORMAT, "it is no record of a probe of this version of clpd");
    digest_sha256(bytes, size - sizeof digest, digest);
    if (memcmp(digest, bytes + size - sizeof digest, sizeof digest) != 0)
        return err_set(e, ERR_FORMAT, "it is damaged: its digest is another");
    if (h.known > 1 || h.declined > 1 || (h.known == 0) != (n == 0) ||
        !text_is_clean(h.model, sizeof h.model) || !model_file_name_is_valid(h.model) ||
        !text_is_clean(h.why, sizeof h.why))
        return err_set(e, ERR_VALUE, "what it says can't be");
    if (h.known && probe_report_decode(bytes + sizeof h, n, &out->report, e)) return -1;
    memcpy(out->model, h.model, sizeof out->model);
    memcpy(out->why, h.why, sizeof out->why);
    out->digests = h.digests;
    out->known = h.known;
    out->declined = h.declined;
    return 0;
}

bool probe_record_repairs(const struct probe_record *r) {
    return r->known && r->report.verdict == PROBE_REPAIRED && r->report.n_pruned > 0;
}

const char *probe_record_words(const struct probe_record *r) {
    return r->known ? probe_verdict_text(r->report.verdict) : r->why;
}
