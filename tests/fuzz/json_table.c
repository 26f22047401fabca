/* A daemon's JSON of any content, shown as clpctl shows it. */
#include "client/json_table.h"
#include "tests/fuzz/support/fuzz.h"

FUZZ(json_table, 2048) {
    static const struct terminal rich = {.is_terminal = true, .colour = true, .unicode = true, .columns = 60};
    static const char *const skip[] = {"sha256", NULL};
    json_t *j = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, NULL);
    FILE *to = j ? fopen("/dev/null", "w") : NULL;
    if (to) {
        if (json_is_object(j)) json_table_print_facts(to, &rich, j);
        if (json_is_array(j)) json_table_print_rows(to, &rich, j, skip);
        if (json_is_array(j)) json_table_print_rows(to, &(struct terminal){0}, j, skip);
        (void)fclose(to);
    }
    json_decref(j);
    return 0;
}
