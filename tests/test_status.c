/* The daemon as JSON: every documented key is there, of its type, and hostile names do no harm. */
#include "daemon/status.h"
#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse(char *text, size_t bytes) {
    json_error_t e;
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_EQUAL(strlen(text), bytes);
    json_t *j = json_loads(text, 0, &e);
    if (!j) fprintf(stderr, "\n%s in %s\n", e.text, text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(j);
    free(text);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(j, "schema")), 1);
    return j;
}

static void expect(const json_t *o, const char *key, json_type type) {
    const json_t *v = json_object_get(o, key);
    if (!v || (json_typeof(v) != type && !(type == JSON_TRUE && json_is_boolean(v)))) {
        fprintf(stderr, "\nkey %s is missing or of another type\n", key);
        CU_FAIL("a documented key");
    }
}

static struct file_table files;

static struct status_facts facts(struct rig *r) {
    return (struct status_facts){.server = &r->server,
                                 .models = r->models,
                                 .workers = r->workers,
                                 .files = &files,
                                 .io_backend = loop_backend(r->loop),
                                 .guard_state = "up",
                                 .guard_watching = "inotify",
                                 .guard_restarts = 2,
                                 .started_ns = loop_clock(),
                                 .max_batch = 8};
}

static void status_keys(void) {
    struct rig r;
    size_t n;
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_ANY})) return;
    CU_ASSERT_TRUE(rig_load(&r, "a", 1, &(struct case_network){.factor = 2}));
    const struct status_facts f = facts(&r);
    char *text = status_text(&f, &n);
    json_t *j = parse(text, n);
    static const char *const numbers[] = {"pid",   "uptime_s",    "threads", "max_batch",
                                          "queue", "connections", "models"};
    static const char *const counters[] = {"requests", "ok",      "busy",  "deadline",
                                           "errors",   "batches", "items", "swaps"};
    expect(j, "version", JSON_STRING);
    expect(j, "io_backend", JSON_STRING);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) expect(j, numbers[i], JSON_INTEGER);
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        expect(json_object_get(j, "counters"), counters[i], JSON_INTEGER);
    expect(json_object_get(j, "guard"), "state", JSON_STRING);
    expect(json_object_get(j, "guard"), "watching", JSON_STRING);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(j, "guard"), "restarts")), 2);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(j, "models")), 1);
    json_decref(j);
    rig_close(&r);
}

static void model_keys(void) {
    struct rig r;
    size_t n;
    struct link_message m = case_offer("\xff\xfe model \"x\"", 4, "y", 1);
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_ANY})) return;
    CU_ASSERT_TRUE(rig_load(&r, "a", 1, &(struct case_network){.factor = 2, .labels = 4}));
    CU_ASSERT_TRUE(rig_load(&r, "b \xc3\x28", 3, &(struct case_network){.factor = 2}));
    m.state = FILE_REJECTED;
    (void)snprintf(m.reason, sizeof m.reason, "bytes \x80 that are no text");
    file_table_put(&files, &m);
    m = case_offer("c", 0, "z", 1);
    memset(m.sha256, 0, sizeof m.sha256);
    m.state = FILE_SEEN;
    file_table_put(&files, &m);
    const struct status_facts f = facts(&r);
    char *text = status_models_text(&f, &n);
    json_t *j = parse(text, n), *models = json_object_get(j, "models"), *lines = json_object_get(j, "files");
    CU_ASSERT_EQUAL(json_array_size(models), 2);
    CU_ASSERT_EQUAL(json_array_size(lines), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *o = json_array_get(models, i), *input = json_object_get(o, "input");
        static const char *const strings[] = {"name", "sha256", "state", "verdict", "loaded_at"};
        static const char *const numbers[] = {"version", "pruned_channels", "total_channels",
                                              "classes", "requests",        "image_bytes"};
        for (size_t k = 0; k < sizeof strings / sizeof *strings; k++) expect(o, strings[k], JSON_STRING);
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) expect(o, numbers[k], JSON_INTEGER);
        expect(o, "labels", JSON_TRUE);
        expect(input, "u8", JSON_TRUE);
        CU_ASSERT_EQUAL(json_array_size(json_object_get(input, "shape")), 4);
        static const char *const figures[] = {"ok", "failed", "pictures", "queue_ns", "compute_ns"};
        const json_t *done = json_object_get(o, "figures");
        for (size_t k = 0; k < sizeof figures / sizeof *figures; k++) expect(done, figures[k], JSON_INTEGER);
        expect(done, "latency_ns", JSON_ARRAY);
        expect(done, "batch_sizes", JSON_ARRAY);
    }
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json_array_get(models, 1), "name")), "b ?(");
    const json_t *rejected = json_array_get(lines, 1), *seen = json_array_get(lines, 0);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(rejected, "reason")),
                           "bytes ? that are no text");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(rejected, "model")), "?? model \"x\"");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(rejected, "state")), "rejected");
    CU_ASSERT_TRUE(json_is_null(json_object_get(seen, "reason")));
    CU_ASSERT_TRUE(json_is_null(json_object_get(seen, "sha256")));
    CU_ASSERT_TRUE(json_is_null(json_object_get(seen, "verdict")));
    json_decref(j);
    file_table_clear(&files);
    rig_close(&r);
}

SUITE(status, {"status: documented keys", status_keys},
      {"models and files: documented keys, hostile names", model_keys});
