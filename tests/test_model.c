/* Model files through the real worker: companions, refusals, the image. */
#include "client/model.h"
#include "tests/onnx_bytes.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char before[4096];
static const float weights[4] = {1, 2, 3, 4};
static struct clpctl quiet;
static struct spawn_result result;

static void put(const char *name, const void *bytes, size_t n) {
    FILE *f = fopen(name, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(bytes, 1, n, f), n);
    (void)fclose(f);
}

static void begin(void) {
    char folder[] = "/tmp/clpd-test-model-XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(before, sizeof before));
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    CU_ASSERT_EQUAL_FATAL(chdir(folder), 0);
}

static void end(void) {
    char folder[4096], command[8192];
    CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(folder, sizeof folder));
    CU_ASSERT_EQUAL_FATAL(chdir(before), 0);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void expect(struct model_import m, int rc, const char *part) {
    CU_ASSERT_EQUAL(model_import(&quiet, &m, &result), rc);
    if (!strstr(result.err.text, part)) fprintf(stderr, "\n%s: %s\n", m.path, result.err.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.err.text, part));
    spawn_result_free(&result);
}

static void plain(void) {
    begin();
    struct onnx_bytes m = onnx_add_model(weights, NULL, "");
    struct model model;
    put("a.onnx", m.b, m.n);
    CU_ASSERT_EQUAL(system("mkdir sub && cp a.onnx sub/b.onnx"), 0);
    CU_ASSERT_EQUAL_FATAL(model_load(&quiet, &(struct model_import){.path = "sub/b.onnx"}, &model), 0);
    CU_ASSERT_EQUAL(image_header(model.image)->n_inputs, 1);
    CU_ASSERT_EQUAL(model.result.report.verdict, VERDICT_NOT_APPLICABLE);
    model_free(&model);
    CU_ASSERT_EQUAL_FATAL(
        model_load(&quiet, &(struct model_import){.path = "./a.onnx", .guard_off = true}, &model), 0);
    CU_ASSERT_EQUAL(model.result.report.verdict, VERDICT_GUARD_OFF);
    model_free(&model);
    end();
}

static void refusals(void) {
    begin();
    put("text.onnx", "hello, this is text\n", 20);
    expect((struct model_import){.path = "nothere.onnx"}, -1, "No such file");
    CU_ASSERT_PTR_NULL(strstr(result.err.text, "nothere")); /* whoever tells it puts the path in front */
    expect((struct model_import){.path = "no/such/folder.onnx"}, -1, "no/such: No such file");
    expect((struct model_import){.path = ""}, -1, "not the name of a file");
    expect((struct model_import){.path = "./"}, -1, "not the name of a file");
    expect((struct model_import){.path = "/tmp"}, -1, "directory");
    expect((struct model_import){.path = "text.onnx"}, -1, "text");
    end();
}

static void sidecar(void) {
    begin();
    struct onnx_bytes m = onnx_add_model(weights, NULL, "");
    struct model model;
    put("a.onnx", m.b, m.n);
    put("a.yaml", "labels: [p, q, r, s]\n", 21);
    CU_ASSERT_EQUAL_FATAL(model_load(&quiet, &(struct model_import){.path = "a.onnx"}, &model), 0);
    CU_ASSERT_STRING_EQUAL(image_label(model.image, 2), "r");
    model_free(&model);
    put("a.yaml", "guard:\n  threshold: 7\n", 22);
    struct model_import i = {.path = "a.onnx"};
    CU_ASSERT_EQUAL(model_import(&quiet, &i, &result), 0);
    CU_ASSERT_EQUAL(result.report.threshold, 7);
    spawn_result_free(&result);
    i = (struct model_import){.path = "a.onnx", .has_threshold = true, .threshold = 2.5};
    CU_ASSERT_EQUAL(model_import(&quiet, &i, &result), 0);
    CU_ASSERT_EQUAL(result.report.threshold, 2.5f); /* the user has the last word */
    spawn_result_free(&result);
    put("a.yaml", "lables: [p]\n", 12);
    expect((struct model_import){.path = "a.onnx"}, -1, "a.yaml:1");
    end();
}

static void external(void) {
    begin();
    struct onnx_bytes usual = onnx_add_model(weights, "a.onnx.data", ""),
                      other = onnx_add_model(weights, "w.bin", "");
    put("a.onnx", usual.b, usual.n);
    put("b.onnx", other.b, other.n);
    expect((struct model_import){.path = "a.onnx"}, -1, "a.onnx.data");
    expect((struct model_import){.path = "b.onnx"}, -1, "w.bin");
    put("a.onnx.data", weights, sizeof weights);
    put("w.bin", weights, sizeof weights);
    expect((struct model_import){.path = "a.onnx"}, 0, "");
    struct model_import m = {.path = "b.onnx"};
    CU_ASSERT_EQUAL(model_import(&quiet, &m, &result), 0);
    CU_ASSERT_STRING_EQUAL(m.external, "w.bin");
    spawn_result_free(&result);
    CU_ASSERT_EQUAL(system("mv w.bin real && ln -s real w.bin"), 0);
    expect((struct model_import){.path = "b.onnx"}, -1, "symbolic link");
    end();
}

SUITE(model, {"to an image, guarded or not", plain}, {"what is no model", refusals}, {"the sidecar", sidecar},
      {"weights in another file", external});
