/* clpctl on model files, as a script sees it: exit codes, what is on stdout, what is left on disk. */
#include "tests/clpctl_case.h"
#include "tests/onnx_bytes.h"
#include "tests/suite.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static json_t *json_of(const struct ran *r) {
    json_error_t e;
    json_t *v = json_loads(r->out, 0, &e);
    if (!v) fprintf(stderr, "\nno JSON (%s): %.400s\n%s\n", e.text, r->out, r->err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    return v;
}

static void scan(void) {
    clpctl_folder_begin();
    const struct ran *r = clpctl_ran("scan --json model.onnx");
    CU_ASSERT_EQUAL(r->status, 1);
    json_t *v = json_of(r);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(v, "verdict")), "pruned");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(v, "pruned_channels")), 1);
    json_t *layer = json_array_get(json_object_get(v, "layers"), 0);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(layer, "name")), "first/Conv");
    CU_ASSERT_EQUAL(json_integer_value(json_array_get(json_object_get(layer, "pruned"), 0)), 7);
    json_decref(v);
    r = clpctl_ran("scan model.onnx");
    CU_ASSERT_EQUAL(r->status, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->out, "first/Conv"));
    CU_ASSERT_PTR_NULL(strstr(r->err, "clpctl:"));
    r = clpctl_ran("scan --threshold 50 --html page.html model.onnx");
    CU_ASSERT_EQUAL(r->status, 0);
    CU_ASSERT_EQUAL(access("page.html", R_OK), 0);
    clpctl_folder_end();
}

static void scan_folders(void) {
    clpctl_folder_begin();
    CU_ASSERT_EQUAL(
        system("mkdir -p many/v/1 && cp model.onnx many/a.onnx && cp model.onnx many/v/1/model.onnx && "
               "echo rubbish > many/b.onnx && cp model.onnx many/.hidden.onnx && cp model.onnx many/c.txt"),
        0);
    const struct ran *r = clpctl_ran("scan many/ --json");
    CU_ASSERT_EQUAL(r->status, 2); /* one was refused: nothing unscanned counts as fine */
    int documents = 0;
    for (const char *at = r->out; (at = strstr(at, "{\"schema\":1,")); at++) documents++;
    CU_ASSERT_EQUAL(documents, 3);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->out, "\"model\":\"many/b.onnx\",\"error\":{\"code\":"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "3 models in"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "2 pruned"));
    CU_ASSERT_PTR_NULL(strstr(r->out, "hidden"));
    CU_ASSERT_EQUAL(clpctl_ran("scan --html x.html many")->status, 2);
    CU_ASSERT_EQUAL(system("mkdir empty"), 0);
    CU_ASSERT_EQUAL(clpctl_ran("scan empty")->status, 0);
    clpctl_folder_end();
}

static void prune(void) {
    clpctl_folder_begin();
    const struct ran *r = clpctl_ran("prune model.onnx repaired.onnx");
    CU_ASSERT_EQUAL(r->status, 0);
    CU_ASSERT_STRING_EQUAL(r->out, "");
    /* The repaired one, unguarded, gives what the guarded original gives, to the byte. */
    CU_ASSERT_EQUAL(clpctl_ran("run model.onnx --input x.npy --output guarded.npy")->status, 0);
    CU_ASSERT_EQUAL(clpctl_ran("run model.onnx --input x.npy --output raw.npy --guard off")->status, 0);
    CU_ASSERT_EQUAL(clpctl_ran("run repaired.onnx --input x.npy --output repaired.npy --guard off")->status,
                    0);
    CU_ASSERT_EQUAL(system("cmp -s guarded.npy repaired.npy"), 0);
    CU_ASSERT_NOT_EQUAL(system("cmp -s guarded.npy raw.npy"), 0);
    CU_ASSERT_EQUAL(clpctl_ran("scan repaired.onnx")->status, 0);
    clpctl_folder_end();
}

static void prune_is_careful(void) {
    clpctl_folder_begin();
    CU_ASSERT_EQUAL(
        system(
            "cp model.onnx original && ln -s model.onnx link.onnx && ln model.onnx hard.onnx && mkdir dir"),
        0);
    static const char *const bad[] = {"model.onnx", "./model.onnx",        "link.onnx", "hard.onnx",
                                      "dir",        "no/such/folder.onnx", "/dev/null"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(clpctl_ran("prune model.onnx %s", bad[i])->status, 2);
    CU_ASSERT_EQUAL(system("cmp -s model.onnx original"), 0);
    CU_ASSERT_EQUAL(system("echo rubbish > bad.onnx && echo kept > out.onnx"), 0);
    CU_ASSERT_EQUAL(clpctl_ran("prune bad.onnx out.onnx")->status, 2);
    CU_ASSERT_EQUAL(system("grep -q kept out.onnx"), 0); /* a failure leaves what was there */
    CU_ASSERT_EQUAL(clpctl_ran("prune model.onnx out.onnx")->status, 0);
    CU_ASSERT_EQUAL(
        system("test -z \"$(ls -A | grep XXXX)\" && test \"$(ls -A | grep -c '^\\.out\\.onnx')\" = 0"), 0);
    struct stat st;
    CU_ASSERT_EQUAL(stat("out.onnx", &st), 0);
    mode_t mask = umask(0);
    (void)umask(mask);
    CU_ASSERT_EQUAL(st.st_mode & 0777, 0666 & ~mask);
    clpctl_folder_end();
}

static void prune_with_external_data(void) {
    static const float weights[4] = {1, 2, 3, 4};
    struct onnx_bytes m = onnx_add_model(weights, "w.bin", "");
    clpctl_folder_begin();
    FILE *f = fopen("e.onnx", "w"), *w = fopen("w.bin", "w");
    CU_ASSERT_FATAL(f && w);
    CU_ASSERT(fwrite(m.b, 1, m.n, f) == m.n && fwrite(weights, 1, sizeof weights, w) == sizeof weights);
    CU_ASSERT(fclose(f) == 0 && fclose(w) == 0);
    const struct ran *r = clpctl_ran("prune e.onnx here.onnx");
    CU_ASSERT_EQUAL(r->status, 0);
    CU_ASSERT_PTR_NULL(strstr(r->err, "copy that file"));
    CU_ASSERT_EQUAL(system("mkdir there"), 0);
    r = clpctl_ran("prune e.onnx there/e.onnx");
    CU_ASSERT_EQUAL(r->status, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "w.bin, too: copy that file beside it, to there/w.bin"));
    clpctl_folder_end();
}

static void run_prints_labels(void) {
    clpctl_folder_begin();
    const struct ran *r = clpctl_ran("run model.onnx --input input=x.npy -k 2");
    CU_ASSERT_EQUAL(r->status, 0);
    int lines = 0;
    for (const char *s = r->out; *s; s++) lines += *s == '\n';
    CU_ASSERT_EQUAL(lines, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->out, " %"));
    CU_ASSERT_EQUAL(clpctl_ran("run model.onnx --input other=x.npy")->status, 2);
    CU_ASSERT_EQUAL(clpctl_ran("run model.onnx")->status, 2);
    CU_ASSERT_EQUAL(clpctl_ran("run model.onnx -i x.npy -o scores=y.npy")->status, 0);
    CU_ASSERT_EQUAL(clpctl_ran("run model.onnx -i x.npy -o nope=y.npy")->status, 2);
    CU_ASSERT_EQUAL(clpctl_ran("run model.onnx -i x.npy -o no/such/y.npy")->status, 2);
    CU_ASSERT_EQUAL(clpctl_ran("run model.onnx -i model.yaml")->status, 2);
    clpctl_folder_end();
}

static void bench(void) {
    clpctl_folder_begin();
    const struct ran *r = clpctl_ran("bench model.onnx --json --runs 20 --threads 2 --batch 3 --profile");
    CU_ASSERT_EQUAL(r->status, 0);
    json_t *v = json_of(r);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(v, "model")), "model.onnx");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(v, "batch")), 3);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(v, "threads")), 2);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(v, "runs")), 40);
    CU_ASSERT(json_real_value(json_object_get(v, "median_ms")) > 0);
    CU_ASSERT(json_real_value(json_object_get(v, "p99_ms")) >=
              json_real_value(json_object_get(v, "median_ms")));
    json_decref(v);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "first/Conv"));
    clpctl_folder_end();
}

static void words(void) {
    clpctl_folder_begin();
    static const char *const commands[] = {"scan",   "prune",  "run",      "bench",
                                           "status", "models", "classify", "load"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        const struct ran *r = clpctl_ran("%s --help", commands[i]);
        CU_ASSERT_EQUAL(r->status, 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(r->out, "Example:\n  clpctl "));
        CU_ASSERT_EQUAL(clpctl_ran("%s --no-such-option", commands[i])->status, 2);
        CU_ASSERT_EQUAL(clpctl_ran("help %s", commands[i])->status, 0);
    }
    CU_ASSERT_EQUAL(clpctl_ran("--help")->status, 0);
    CU_ASSERT_EQUAL(clpctl_ran("help")->status, 0);
    CU_ASSERT_EQUAL(strncmp(clpctl_ran("--version")->out, "clpctl ", 7), 0);
    CU_ASSERT_EQUAL(clpctl_ran("%s", "")->status, 2);
    CU_ASSERT_EQUAL(clpctl_ran("rollback")->status, 2);
    CU_ASSERT_EQUAL(clpctl_ran("scan model.onnx --json > /dev/full; exit $?")->status == 0, 0);
    const struct ran *r = clpctl_ran("--socket ./none status");
    CU_ASSERT_EQUAL(r->status, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "no daemon answers at ./none; start it with"));
    r = clpctl_ran("status --socket ./none");
    CU_ASSERT_PTR_NOT_NULL(strstr(r->err, "./none"));
    clpctl_folder_end();
}

SUITE(clpctl, {"scan: exit code, JSON, table, page", scan},
      {"scan: folders, and what is refused", scan_folders}, {"prune: the same network, repaired", prune},
      {"prune: nothing is lost", prune_is_careful},
      {"prune: weights in another file", prune_with_external_data},
      {"run: labels, names of inputs and outputs", run_prints_labels}, {"bench: JSON and profile", bench},
      {"help, and a no that helps", words});
