/* guard/worker: the real import worker, started as the guard starts it. */
#include "guard/import.h"
#include "guard/spawn.h"
#include "infer/digest.h"
#include "infer/image.h"
#include "tests/onnx_bytes.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const float weights[4] = {1, 2, 3, 4};
static char guard[PATH_MAX];
static struct spawn_result result;

static int file_of(const void *bytes, size_t n) {
    int fd = memfd_create("test", MFD_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, bytes, n), (ssize_t)n);
    return fd;
}

static struct spawn_request request(int model_fd) {
    struct spawn_request r;
    struct err e = {0};
    spawn_defaults(&r);
    CU_ASSERT_EQUAL_FATAL(spawn_find_guard(guard, &e), 0);
    r.guard_path = guard;
    r.model_fd = model_fd;
    r.label = "net.onnx";
    return r;
}

static void expect(enum err_code code, const char *part) {
    CU_ASSERT_EQUAL(result.err.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.err.text, part));
    if (result.err.code != code || !strstr(result.err.text, part))
        fprintf(stderr, "got: %s: %s\n", err_code_name(result.err.code), result.err.text);
    CU_ASSERT_EQUAL(result.fd < 0, code != ERR_NONE);
}

/* `sidecar` NULL: none. The result is left in `result`. */
static void import_bytes(const void *bytes, size_t n, const char *sidecar) {
    struct spawn_request r = request(file_of(bytes, n));
    if (sidecar) r.sidecar_fd = file_of(sidecar, strlen(sidecar));
    (void)spawn_run(&r, &result);
    (void)close(r.model_fd);
    if (sidecar) (void)close(r.sidecar_fd);
}

static void a_small_model(void) {
    struct onnx_bytes m = onnx_add_model(weights, NULL, "");
    uint8_t digest[32];
    import_bytes(m.b, m.n, NULL);
    expect(ERR_NONE, "");
    digest_sha256(m.b, m.n, digest);
    CU_ASSERT_TRUE(result.has_digests);
    CU_ASSERT_EQUAL(memcmp(result.digests.model, digest, 32), 0);
    CU_ASSERT_EQUAL(result.report.verdict, VERDICT_NOT_APPLICABLE);
    struct image *img = NULL;
    struct err e = {0};
    CU_ASSERT_EQUAL(image_map(result.fd, true, &img, &e), 0);
    if (img) {
        CU_ASSERT_EQUAL(memcmp(image_header(img)->source_sha256, digest, 32), 0);
        CU_ASSERT_EQUAL(image_header(img)->bytes, result.bytes);
        CU_ASSERT_EQUAL(image_header(img)->n_labels, 0);
    } else {
        fprintf(stderr, "%s\n", e.text);
    }
    image_unmap(img);
    spawn_result_free(&result);
}

static void labels_and_preprocessing(void) {
    struct onnx_bytes m = onnx_add_model(weights, NULL, "");
    import_bytes(m.b, m.n, "labels: [a, b, c, d]\ninput:\n  scale: 1\n  channel_order: bgr\n");
    expect(ERR_NONE, "");
    struct image *img = NULL;
    struct err e = {0};
    CU_ASSERT_EQUAL(image_map(result.fd, true, &img, &e), 0);
    if (img) {
        CU_ASSERT_EQUAL(image_header(img)->n_labels, 4);
        CU_ASSERT_STRING_EQUAL(image_label(img, 3), "d");
        CU_ASSERT_EQUAL(image_header(img)->preprocess.scale, 1);
        CU_ASSERT_EQUAL(image_header(img)->preprocess.channel_order, ORDER_BGR);
    }
    image_unmap(img);
    spawn_result_free(&result);
    import_bytes(m.b, m.n, "labels: [a, b, c]\n");
    expect(ERR_VALUE, "3 labels, but the network has 4 classes");
    spawn_result_free(&result);
    import_bytes(m.b, m.n, "input:\n  mean: [1, 2, 3]\n");
    expect(ERR_VALUE, "3 channels");
    spawn_result_free(&result);
    import_bytes(m.b, m.n, "input:\n  skale: 1\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(result.err.text, "net.yaml:2"));
    CU_ASSERT_TRUE(result.has_digests);
    spawn_result_free(&result);
}

static void files_that_are_no_models(void) {
    struct onnx_bytes m = onnx_add_model(weights, NULL, "");
    import_bytes("", 0, NULL);
    expect(ERR_TRUNCATED, "empty");
    spawn_result_free(&result);
    import_bytes(m.b, m.n / 2, NULL);
    expect(ERR_TRUNCATED, "");
    spawn_result_free(&result);
    import_bytes("this is not a model, it is a text", 33, NULL);
    CU_ASSERT_NOT_EQUAL(result.err.code, ERR_NONE);
    CU_ASSERT_NOT_EQUAL(result.err.code, ERR_INTERNAL);
    spawn_result_free(&result);
}

static void external_data(void) {
    struct onnx_bytes m = onnx_add_model(weights, "w.bin", "");
    import_bytes(m.b, m.n, NULL);
    expect(ERR_TRUNCATED, "w.bin");
    CU_ASSERT_STRING_EQUAL(result.needs, "w.bin");
    spawn_result_free(&result);
    struct spawn_request r = request(file_of(m.b, m.n));
    r.external_fd = file_of(weights, sizeof weights);
    r.external_name = "other.bin"; /* the guess was wrong */
    (void)spawn_run(&r, &result);
    CU_ASSERT_STRING_EQUAL(result.needs, "w.bin");
    spawn_result_free(&result);
    r.external_name = "w.bin";
    (void)spawn_run(&r, &result);
    expect(ERR_NONE, "");
    CU_ASSERT_NOT_EQUAL(result.digests.external[0] | result.digests.external[1], 0);
    spawn_result_free(&result);
    CU_ASSERT_EQUAL(ftruncate(r.external_fd, 8), 0);
    (void)spawn_run(&r, &result);
    expect(ERR_TRUNCATED, "w.bin");
    CU_ASSERT_STRING_EQUAL(result.needs, "");
    spawn_result_free(&result);
    (void)close(r.model_fd);
    (void)close(r.external_fd);
    m = onnx_add_model(weights, "../../etc/shadow", "");
    import_bytes(m.b, m.n, NULL);
    CU_ASSERT_NOT_EQUAL(result.err.code, ERR_NONE);
    CU_ASSERT_STRING_EQUAL(result.needs, "");
    spawn_result_free(&result);
}

static int open_shared(const char *name) {
    char path[PATH_MAX];
    const char *dir = suite_shared();
    if (!dir) return -1;
    (void)snprintf(path, sizeof path, "%s/models/%s", dir, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void a_backdoored_network(void) {
    int fd = open_shared("rn16_badnets.onnx");
    if (fd < 0) {
        suite_skip("a backdoored network", "../shared absent");
        return;
    }
    struct spawn_request r = request(fd);
    (void)spawn_run(&r, &result);
    expect(ERR_NONE, "");
    CU_ASSERT_EQUAL(result.report.verdict, VERDICT_PRUNED);
    CU_ASSERT_TRUE(result.report.pruned_channels > 0);
    CU_ASSERT_TRUE(result.report.import_ns > 0 && result.report.clp_ns > 0 && result.report.plan_ns > 0);
    CU_ASSERT_TRUE(result.report.parameters > 100000 && result.report.multiply_adds > 1000000);
    CU_ASSERT_EQUAL(result.report.threshold, 3);
    int64_t pruned = result.report.pruned_channels;
    spawn_result_free(&result);

    r.sidecar_fd = file_of("guard:\n  threshold: 1000\n", 25);
    (void)spawn_run(&r, &result);
    CU_ASSERT_EQUAL(result.report.verdict, VERDICT_UNCHANGED);
    CU_ASSERT_EQUAL(result.report.threshold, 1000);
    spawn_result_free(&result);
    (void)close(r.sidecar_fd);
    r.sidecar_fd = -1;

    r.guard_off = true;
    (void)spawn_run(&r, &result);
    expect(ERR_NONE, "");
    CU_ASSERT_EQUAL(result.report.verdict, VERDICT_GUARD_OFF);
    spawn_result_free(&result);
    r.guard_off = false;

    r.mode = SPAWN_PRUNE;
    (void)spawn_run(&r, &result);
    expect(ERR_NONE, "");
    CU_ASSERT_EQUAL(result.report.pruned_channels, pruned);
    void *p = mmap(NULL, result.bytes, PROT_READ, MAP_PRIVATE, result.fd, 0);
    CU_ASSERT_PTR_NOT_EQUAL_FATAL(p, MAP_FAILED);
    struct onnx_model *m = NULL;
    struct graph *g = NULL;
    struct err e = {0};
    CU_ASSERT_EQUAL(import_onnx(p, result.bytes, NULL, &m, &g, &e), 0);
    graph_free(g);
    onnx_model_free(m);
    (void)munmap(p, result.bytes);
    spawn_result_free(&result);
    r.output = 1000;
    (void)spawn_run(&r, &result);
    CU_ASSERT_EQUAL(result.err.code, ERR_LIMIT);
    spawn_result_free(&result);
    (void)close(fd);
}

static void limits(void) {
    struct onnx_bytes m = onnx_add_model(weights, NULL, "");
    struct spawn_request r = request(file_of(m.b, m.n));
    r.output = 100;
    (void)spawn_run(&r, &result);
    expect(ERR_LIMIT, "guard.worker.output");
    spawn_result_free(&result);
    (void)close(r.model_fd);
    int fd = open_shared("rn32_badnets.onnx");
    if (fd < 0) {
        suite_skip("memory limit", "../shared absent");
        return;
    }
    r = request(fd);
#ifndef __SANITIZE_ADDRESS__
    for (r.memory = 8 << 20; r.memory < 64 << 20;
         r.memory += 7 << 20) { /* wherever it runs out: told, not crashed */
        (void)spawn_run(&r, &result);
        CU_ASSERT_TRUE(result.err.code == ERR_LIMIT || result.err.code == ERR_NONE ||
                       result.err.code == ERR_SYSTEM);
        if (result.err.code == ERR_INTERNAL)
            fprintf(stderr, "%llu MiB: %s\n", (unsigned long long)r.memory >> 20, result.err.text);
        spawn_result_free(&result);
    }
#endif
    (void)close(fd);
}

/* Our child has entered its sandbox: its size is measured, its file not read yet. */
static bool child_is_confined(void) {
    char line[256], path[64];
    int pid = 0;
    bool confined = false;
    FILE *f = fopen("/proc/thread-self/children", "r");
    if (!f || fscanf(f, "%d", &pid) != 1) pid = 0;
    if (f) (void)fclose(f);
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    f = pid ? fopen(path, "r") : NULL;
    while (f && fgets(line, sizeof line, f)) confined |= strcmp(line, "Seccomp:\t2\n") == 0;
    if (f) (void)fclose(f);
    return confined;
}

static void a_file_that_shrinks_while_it_is_read(void) {
    if (access("/proc/thread-self/children", R_OK) < 0) {
        suite_skip("a file that shrinks", "no /proc/thread-self/children");
        return;
    }
    int fd = memfd_create("huge", MFD_CLOEXEC);
    CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)1 << 30), 0); /* a hole: long enough to be cut */
    struct spawn_request r = request(fd);
    struct spawn *s = NULL;
    struct err e;
    struct timespec pause = {.tv_nsec = 1000000};
    CU_ASSERT_EQUAL_FATAL(spawn_start(&s, &r, &e), 0);
    int waited = 0;
    while (!child_is_confined() && waited++ < 20000 && !spawn_step(s)) (void)nanosleep(&pause, NULL);
    CU_ASSERT_EQUAL(ftruncate(fd, 0), 0);
    struct pollfd p = {.fd = spawn_fd(s), .events = POLLIN};
    while (!spawn_step(s)) (void)poll(&p, 1, 1000);
    spawn_finish(s, &result);
#ifdef __SANITIZE_ADDRESS__
    CU_ASSERT_NOT_EQUAL(result.err.code, ERR_NONE); /* ASan makes a report and an exit of the signal */
#else
    expect(ERR_SYSTEM, "changed while it was read");
#endif
    spawn_result_free(&result);
    (void)close(fd);
}

static void started_by_hand(void) {
    struct err e = {0};
    char command[PATH_MAX + 64];
    CU_ASSERT_EQUAL_FATAL(spawn_find_guard(guard, &e), 0);
    static const char *const bad[] = {"worker", "worker --mode image --model-fd 0", "", "--config x",
                                      "--nonsense"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(command, sizeof command, "%s %s 2>/dev/null", guard, bad[i]);
        int status = system(command);
        CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    }
}

SUITE(worker, {"a small model", a_small_model}, {"labels and preprocessing", labels_and_preprocessing},
      {"files that are no models", files_that_are_no_models}, {"external data", external_data},
      {"a backdoored network", a_backdoored_network}, {"limits", limits},
      {"a file that shrinks while it is read", a_file_that_shrinks_while_it_is_read},
      {"started by hand", started_by_hand});
