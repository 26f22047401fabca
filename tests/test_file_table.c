/* The table of files: put, replaced, dropped, bounded. */
#include "daemon/file_table.h"
#include "tests/mutate.h"
#include "tests/suite.h"

static struct link_message file(const char *path, uint32_t state) {
    struct link_message m = {.type = LINK_FILE, .state = state, .model_version = 3};
    (void)snprintf(m.path, sizeof m.path, "%s", path);
    (void)snprintf(m.model, sizeof m.model, "model of %s", path);
    return m;
}

static void put_and_drop(void) {
    struct file_table t = {0};
    static const char *const names[] = {"m.onnx", "a.onnx", "z/1/model.onnx", "b.onnx"};
    for (int i = 0; i < 4; i++) {
        const struct link_message m = file(names[i], FILE_SEEN);
        file_table_put(&t, &m);
    }
    CU_ASSERT_EQUAL(t.n, 4);
    for (size_t i = 1; i < t.n; i++) CU_ASSERT_TRUE(strcmp(t.lines[i - 1].path, t.lines[i].path) < 0);
    const struct link_message again = file("m.onnx", FILE_REJECTED);
    file_table_put(&t, &again);
    CU_ASSERT_EQUAL(t.n, 4);
    CU_ASSERT_EQUAL(file_table_find(&t, "m.onnx")->state, FILE_REJECTED);
    CU_ASSERT_STRING_EQUAL(file_table_find(&t, "m.onnx")->model, "model of m.onnx");
    file_table_drop(&t, "a.onnx");
    file_table_drop(&t, "a.onnx");
    CU_ASSERT_EQUAL(t.n, 3);
    CU_ASSERT_PTR_NULL(file_table_find(&t, "a.onnx"));
    CU_ASSERT_PTR_NOT_NULL(file_table_find(&t, "b.onnx"));
    file_table_clear(&t);
    CU_ASSERT_EQUAL(t.n, 0);
    file_table_clear(&t);
}

static void bounded(void) {
    struct file_table t = {0};
    uint64_t seed = 7;
    char name[32];
    for (int i = 0; i < FILE_TABLE_MAX + 100; i++) {
        (void)snprintf(name, sizeof name, "%016llx-%d", (unsigned long long)mutate_random(&seed), i);
        const struct link_message m = file(name, FILE_SEEN);
        file_table_put(&t, &m);
    }
    CU_ASSERT_EQUAL(t.n, FILE_TABLE_MAX);
    CU_ASSERT_EQUAL(t.dropped, 100);
    const struct link_message m = file(t.lines[17].path, FILE_SERVING); /* what is there can still change */
    file_table_put(&t, &m);
    CU_ASSERT_EQUAL(t.lines[17].state, FILE_SERVING);
    for (size_t i = 1; i < t.n; i++) CU_ASSERT_TRUE(strcmp(t.lines[i - 1].path, t.lines[i].path) < 0);
    file_table_clear(&t);
}

SUITE(file_table, {"put, replaced, dropped", put_and_drop}, {"bounded", bounded});
