/* A kept record of a probe of any content, its digest made to agree: what is decoded is encoded to what means
 * the same, and names nothing outside. */
#include "guard/probe_record.h"
#include "infer/digest.h"
#include "tests/fuzz/support/fuzz.h"

#include <stdlib.h>
#include <string.h>

FUZZ(probe_record, 65536) {
    struct probe_record r, again;
    struct err e = {0};
    size_t n = 0;
    if (probe_record_decode(bytes, size, &r, &e) < 0)
        fuzz_check_refusal(&e);
    else
        probe_record_free(&r);
    uint8_t *sealed = malloc(size + DIGEST_BYTES);
    if (!sealed) return 0;
    if (size) memcpy(sealed, bytes, size);
    digest_sha256(sealed, size, sealed + size);
    if (probe_record_decode(sealed, size + DIGEST_BYTES, &r, &e) == 0) {
        FUZZ_MUST(r.model[0] && !strchr(r.model, '/'), "%s", r.model);
        uint8_t *encoded = probe_record_encode(&r, &n);
        FUZZ_MUST(encoded && probe_record_decode(encoded, n, &again, &e) == 0, "%s", e.text);
        FUZZ_MUST(again.known == r.known && again.report.n_pruned == r.report.n_pruned, "%s", r.model);
        probe_record_free(&again);
        probe_record_free(&r);
        free(encoded);
    }
    free(sealed);
    return 0;
}
