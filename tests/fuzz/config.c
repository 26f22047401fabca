/* A configuration of any content: what is accepted, printed and read again is the same. */
#include "config/config.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

static void print_and_read(const struct config *c) {
    char *text = NULL;
    size_t n = 0;
    struct config again;
    struct err e = {0};
    FILE *to = open_memstream(&text, &n);
    if (!to) return;
    config_print(c, to);
    (void)fclose(to);
    memset(&again, 0, sizeof again);
    FUZZ_MUST(config_parse(&again, "printed", (const uint8_t *)text, n, &e) == 0, "%s\n%s", e.text, text);
    FUZZ_MUST(memcmp(c, &again, sizeof again) == 0, "%s", text);
    free(text);
}

FUZZ(config, 4096) {
    struct config c;
    struct err e = {0};
    memset(&c, 0, sizeof c); /* padding, too */
    if (config_parse(&c, "clpd.yaml", bytes, size, &e) == 0)
        print_and_read(&c);
    else
        fuzz_check_refusal(&e);
    return 0;
}
