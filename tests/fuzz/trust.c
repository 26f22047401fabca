/* Public keys and lists of digests of any content. */
#include "guard/trust.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

FUZZ(trust, 4096) {
    struct trust_keys k;
    struct trust_digests d;
    struct err e = {0};
    if (trust_read_keys(bytes, size, &k, &e) < 0)
        fuzz_check_refusal(&e);
    else
        FUZZ_MUST(k.n > 0 && k.n <= TRUST_KEYS, "%u", k.n);
    e = (struct err){0};
    if (trust_read_digests("list", bytes, size, &d, &e) < 0) {
        fuzz_check_refusal(&e);
        return 0;
    }
    for (size_t i = 0; i < d.n; i++) FUZZ_MUST(trust_allows(&d, d.list[i]), "%zu", i);
    trust_free_digests(&d);
    return 0;
}
