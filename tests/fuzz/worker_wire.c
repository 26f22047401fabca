/* What a worker says, of any content: in one piece and byte by byte it is understood alike. */
#include "guard/worker_wire.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

static void check(const struct worker_wire *w) {
    FUZZ_MUST(w->n_notes <= SPAWN_NOTES, "%u", w->n_notes);
    for (uint32_t i = 0; i < w->n_notes; i++) FUZZ_MUST(memchr(w->notes[i], 0, ERR_TEXT), "note %u", i);
    FUZZ_MUST(memchr(w->error.text, 0, ERR_TEXT) && memchr(w->needs, 0, SPAWN_NAME), "unterminated");
    FUZZ_MUST(!w->needs[0] || worker_wire_name_is_bare(w->needs), "%s", w->needs);
    FUZZ_MUST(w->capacity <= 4096 + 4 * (w->used + sizeof w->report + 4096) || w->used == 0, "%zu",
              w->capacity);
}

static int feed(struct worker_wire *w, const uint8_t *bytes, size_t size, size_t piece, struct err *e) {
    int rc = 0;
    for (size_t at = 0; at < size && rc == 0; at += piece) {
        uint8_t *exact = malloc(piece); /* a read beyond a piece shows */
        const size_t n = piece < size - at ? piece : size - at;
        if (!exact) return 0;
        memcpy(exact + piece - n, bytes + at, n);
        rc = worker_wire_feed(w, exact + piece - n, n, e);
        free(exact);
    }
    return rc;
}

FUZZ(worker_wire, 4096) {
    struct worker_wire a = {0}, b = {0};
    struct err ea = {0}, eb = {0};
    const int rc = feed(&a, bytes, size, size ? size : 1, &ea);
    FUZZ_MUST(feed(&b, bytes, size, 7, &eb) == rc, "%s / %s", ea.text, eb.text);
    FUZZ_MUST(strcmp(ea.text, eb.text) == 0, "%s / %s", ea.text, eb.text);
    FUZZ_MUST(a.ended == b.ended && a.outcome == b.outcome && a.n_notes == b.n_notes, "%d", rc);
    check(&a);
    worker_wire_free(&a);
    worker_wire_free(&b);
    return 0;
}
