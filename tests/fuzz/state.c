/* A record of the state folder of any content, its digest made to agree: what is decoded is
 * encoded to the same bytes again, and names nothing outside. */
#include "guard/state.h"
#include "infer/digest.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

FUZZ(state, 2048) {
    struct state_record r;
    struct err e = {0};
    uint8_t sealed[STATE_RECORD_BYTES] = {0}, again[STATE_RECORD_BYTES];
    if (state_record_decode(bytes, size, &r, &e) < 0) fuzz_check_refusal(&e);
    memcpy(sealed, bytes, size < sizeof sealed ? size : sizeof sealed);
    digest_sha256(sealed, sizeof sealed - DIGEST_BYTES, sealed + sizeof sealed - DIGEST_BYTES);
    if (state_record_decode(sealed, sizeof sealed, &r, &e) < 0) return 0;
    FUZZ_MUST(r.model[0] && !strchr(r.model, '/') && r.current.path[0] != '/', "%s", r.model);
    FUZZ_MUST(!strstr(r.current.path, "..") && !strstr(r.other.path, "/."), "%s", r.current.path);
    state_record_encode(&r, again);
    FUZZ_MUST(memcmp(sealed, again, sizeof again) == 0, "%s", r.model);
    return 0;
}
