/* What every refusal must be, whoever refuses. */
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

void fuzz_check_refusal(const struct err *e) {
    FUZZ_MUST(e->code > ERR_NONE && e->code < ERR_CODES, "%d", (int)e->code);
    FUZZ_MUST(e->code != ERR_INTERNAL, "%s", e->text);
    const size_t n = strnlen(e->text, sizeof e->text);
    FUZZ_MUST(n > 0 && n < sizeof e->text, "%zu", n);
    for (size_t i = 0; i < n; i++)
        FUZZ_MUST((unsigned char)e->text[i] >= 0x20 && e->text[i] != 0x7f, "byte %zu of: %s", i, e->text);
}
