/* A scan report of any content: what is decoded can be shown everywhere, and encoded to
 * the same bytes again. */
#include "client/report_html.h"
#include "client/report_json.h"
#include "client/report_text.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

static void show(const struct report *r) {
    static const struct terminal rich = {.is_terminal = true, .colour = true, .unicode = true, .columns = 70};
    FILE *to = fopen("/dev/null", "w");
    if (!to) return;
    report_text_print(to, "m.onnx", r, &(struct terminal){0});
    report_text_print(to, "m.onnx", r, &rich);
    report_text_print_line(to, "m.onnx", 12, r, &rich);
    FUZZ_MUST(report_html_write(to, "m.onnx", r, 0) == 0, "html");
    FUZZ_MUST(report_json_put(to, report_json_make("m.onnx", r)) == 0, "json");
    (void)fclose(to);
}

FUZZ(report, 4096) {
    struct report r;
    struct err e = {0};
    if (report_decode(bytes, size, &r, &e) < 0) {
        fuzz_check_refusal(&e);
        return 0;
    }
    show(&r);
    struct report again;
    size_t n = 0, m = 0;
    uint8_t *once = report_encode(&r, &n), *twice = NULL;
    if (once) {
        FUZZ_MUST(report_decode(once, n, &again, &e) == 0, "%s", e.text);
        twice = report_encode(&again, &m);
        FUZZ_MUST(!twice || (n == m && memcmp(once, twice, n) == 0), "%zu and %zu bytes", n, m);
        report_free(&again);
    }
    free(once);
    free(twice);
    report_free(&r);
    return 0;
}
