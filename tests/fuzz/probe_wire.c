/* What a probe says, of any content: in one piece and byte by byte it is understood alike, and what is
 * understood can be encoded again and read by the import worker. */
#include "guard/probe_wire.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

static int feed(struct probe_wire *w, const uint8_t *bytes, size_t size, size_t piece, struct err *e) {
    int rc = 0;
    for (size_t at = 0; at < size && rc == 0; at += piece)
        rc = probe_wire_feed(w, bytes + at, piece < size - at ? piece : size - at, e);
    return rc;
}

static void check(const struct probe_wire *w) {
    size_t n = 0, lines = 0;
    FUZZ_MUST(memchr(w->what, 0, sizeof w->what) && memchr(w->note, 0, ERR_TEXT), "unterminated");
    FUZZ_MUST(w->done >= 0 && w->done <= 1, "%g", (double)w->done);
    if (!w->ended || w->failed) return;
    const struct probe_report *r = &w->report;
    FUZZ_MUST(r->target < r->n_classes || r->target == -1, "%d of %d", r->target, r->n_classes);
    uint8_t *again = probe_report_encode(r, &n);
    free(again);
    char *text = probe_report_channels(r, &n);
    for (size_t i = 0; text && i < n; i++) lines += text[i] == '\n';
    FUZZ_MUST(!text || lines >= (size_t)r->n_pruned, "%zu", lines);
    free(text);
}

FUZZ(probe_wire, 4096) {
    struct probe_wire a = {0}, b = {0};
    struct err ea = {0}, eb = {0};
    const int rc = feed(&a, bytes, size, size ? size : 1, &ea);
    FUZZ_MUST(feed(&b, bytes, size, 7, &eb) == rc, "%s / %s", ea.text, eb.text);
    FUZZ_MUST(a.ended == b.ended && a.failed == b.failed, "%d", rc);
    check(&a);
    probe_wire_free(&a);
    probe_wire_free(&b);
    return 0;
}
