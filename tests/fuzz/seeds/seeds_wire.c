/* Seeds for the targets `frame`, `ring`, `report`, `worker_wire`, `probe_wire`, `probe_record`, `link`,
 * `state` and `clpd`: good messages of every kind. */
#include "client/ring.h"
#include "client/wire.h"
#include "guard/link.h"
#include "guard/probe_record.h"
#include "guard/probe_wire.h"
#include "guard/state.h"
#include "guard/worker_wire.h"
#include "tests/fuzz/seeds/seeds.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void frames(void) {
    struct {
        struct clpd_header h;
        struct clpd_infer q;
        uint64_t tensor;
        uint8_t model;
    } f;
    memset(&f, 0, sizeof f);
    f.h =
        (struct clpd_header){.magic = CLPD_MAGIC, .version = CLPD_WIRE_VERSION, .type = CLPD_STATUS, .id = 1};
    seed_write("frame", "status", &f, sizeof f.h);
    f.h.type = CLPD_INFER;
    f.h.bytes = sizeof f.q + 6912;
    f.q = (struct clpd_infer){.model = "signs", .top_k = 5, .format = CLPD_U8_NHWC, .dims = {1, 48, 48, 3}};
    f.tensor = 6912;
    seed_write("frame", "infer-u8", &f, offsetof(__typeof__(f), model) + 1);
    f.q.format = CLPD_F32_NCHW;
    memcpy(f.q.dims, (uint32_t[]){16, 1, 2, 2}, 16);
    f.tensor = 256;
    f.model = 1;
    seed_write("frame", "infer-f32", &f, offsetof(__typeof__(f), model) + 1);
}

static void rings(void) {
    struct {
        struct clpd_ring_open open;
        uint32_t counter;
        struct clpd_ring_request requests[2];
    } __attribute__((packed)) f;
    memset(&f, 0, sizeof f);
    f.open = (struct clpd_ring_open){.slots = 8, .tensor_bytes = 6912};
    f.counter = UINT32_MAX;
    for (uint32_t i = 0; i < 2; i++) {
        struct clpd_ring_request q = {.id = i, .slot = 1 - i, .tensor_bytes = 6912};
        q.infer =
            (struct clpd_infer){.model = "signs", .top_k = 5, .format = CLPD_U8_NHWC, .dims = {1, 48, 48, 3}};
        memcpy(&f.requests[i], &q, sizeof q);
    }
    seed_write("ring", "two", &f, sizeof f);
    f.open = (struct clpd_ring_open){.slots = 1024, .tensor_bytes = 1 << 30, .reply_bytes = 1 << 20};
    seed_write("ring", "large", &f, sizeof f - sizeof f.requests[0]);
}

static struct report make_report(void) {
    static float uclc[4] = {1, 1.5f, 2, 9};
    static int32_t pruned[1] = {3};
    static struct report_layer layers[2] = {{.name = "conv",
                                             .channels = 4,
                                             .scored = true,
                                             .norm = NORM_BN,
                                             .mean = 3,
                                             .std = 2,
                                             .cutoff = 8,
                                             .max_attainable_z = 1.5f,
                                             .uclc = uclc,
                                             .pruned = pruned,
                                             .n_pruned = 1},
                                            {.name = "gate", .channels = 2, .reason = "a gate"}};
    return (struct report){.source_sha256 = {1, 2, 3},
                           .threshold = 3,
                           .verdict = VERDICT_PRUNED,
                           .pruned_channels = 1,
                           .total_channels = 4,
                           .n_layers = 2,
                           .layers = layers};
}

static void reports(void) {
    struct report r = make_report();
    size_t n;
    uint8_t *bytes = report_encode(&r, &n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    seed_write("report", "pruned", bytes, n);
    free(bytes);
    r = (struct report){.threshold = 3, .verdict = VERDICT_NOT_APPLICABLE};
    bytes = report_encode(&r, &n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    seed_write("report", "not-applicable", bytes, n);
    free(bytes);
}

static void keep_pipe(int fd[2], const char *name) {
    uint8_t bytes[4096];
    (void)close(fd[1]);
    const ssize_t n = read(fd[0], bytes, sizeof bytes);
    CU_ASSERT_FATAL(n > 0);
    seed_write("worker_wire", name, bytes, (size_t)n);
    (void)close(fd[0]);
}

static void workers(void) {
    const struct spawn_digests d = {.model = {1, 2, 3}};
    const struct report r = make_report();
    struct err e;
    int fd[2];
    CU_ASSERT_FATAL(pipe(fd) == 0 && worker_send_digests(fd[1], &d) == 0 &&
                    worker_send_note(fd[1], "a note") == 0 && worker_send_done(fd[1], 4096, &r) == 0);
    keep_pipe(fd, "done");
    CU_ASSERT_FATAL(pipe(fd) == 0 && worker_send_digests(fd[1], &d) == 0 &&
                    worker_send_needs(fd[1], "w.data") == 0);
    keep_pipe(fd, "needs");
    (void)err_set(&e, ERR_FORMAT, "node 3 (Conv): no");
    CU_ASSERT_FATAL(pipe(fd) == 0 && worker_send_error(fd[1], &e) == 0);
    keep_pipe(fd, "error");
}

static void states(void) {
    struct state_record r = {.model = "signs", .last_version = 9};
    uint8_t bytes[STATE_RECORD_BYTES];
    state_record_encode(&r, bytes);
    seed_write("state", "retired", bytes, sizeof bytes);
    r.current =
        (struct state_image){.version = 9, .bytes = 100, .path = "signs.onnx", .total = 5, .pruned = 2};
    state_record_encode(&r, bytes);
    seed_write("state", "one", bytes, sizeof bytes);
    r.other = (struct state_image){.version = 7, .bytes = 90, .path = "signs/7/model.onnx"};
    (void)snprintf(r.barred_reason, sizeof r.barred_reason, "rolled back");
    state_record_encode(&r, bytes);
    seed_write("state", "two", bytes, sizeof bytes);
}

static void links(void) {
    struct {
        uint8_t descriptors;
        struct link_message m;
    } __attribute__((packed)) p = {.m = {.version = LINK_VERSION, .type = LINK_HELLO}};
    seed_write("link", "hello", &p, sizeof p);
    p.m.type = LINK_FILE;
    p.m.state = FILE_REJECTED;
    strcpy(p.m.model, "signs");
    strcpy(p.m.path, "signs.onnx");
    strcpy(p.m.reason, "not a model");
    seed_write("link", "file", &p, sizeof p);
    p.descriptors = 1;
    p.m.type = LINK_OFFER;
    seed_write("link", "offer", &p, sizeof p);
}

struct answer {
    uint8_t requests;
    struct clpd_header h;
    struct clpd_reply r;
    float scores[2][3];
    struct clpd_top top[2][2];
    char text[8];
} __attribute__((packed));

static void answers(void) {
    struct answer a = {
        .requests = 1,
        .h = {.magic = CLPD_MAGIC,
              .version = CLPD_WIRE_VERSION,
              .type = CLPD_INFER_REPLY,
              .id = (uint64_t)1 << 32,
              .bytes = sizeof a - 1 - sizeof a.h},
        .r = {.items = 2,
              .classes = 3,
              .top_k = 2,
              .version = 5,
              .batch = 2,
              .has_scores = 1,
              .text_bytes = 8},
        .top = {{{1, 2, 0.6f, 4}, {2, 1, 0.3f, CLPD_NO_LABEL}}, {{0, 3, 0.7f, 0}, {1, 2, 0.2f, 4}}},
        .text = "cat\0dog"};
    seed_write("clpd", "classes", &a, sizeof a);
    struct {
        uint8_t requests;
        struct clpd_header h;
        char json[2];
    } __attribute__((packed)) j = {.h = a.h, .json = {'[', ']'}};
    j.h.type = CLPD_JSON_REPLY;
    j.h.bytes = sizeof j.json;
    seed_write("clpd", "json", &j, sizeof j);
    a.r = (struct clpd_reply){.status = CLPD_BUSY, .text_bytes = 5};
    a.h.bytes = sizeof a.r + 5;
    memcpy(a.scores, "busy", 5);
    seed_write("clpd", "busy", &a, 1 + sizeof a.h + sizeof a.r + 5);
    a.h.type = CLPD_ERROR;
    a.requests = 3;
    seed_write("clpd", "error", &a, 1 + sizeof a.h + sizeof a.r + 5);
}

static void probes(void) {
    static struct probe_class classes[5] = {
        {.covered = true, .patch = 90, .additive = -1, .wave = 4, .window = -2, .z = 0.1f}};
    static struct probe_pruned pruned[2] = {{"conv1", 3}, {"conv2", 9}};
    static uint8_t mask[4] = {255, 0, 7, 9}, pattern[12] = {1, 2, 3};
    const struct probe_report r = {.verdict = PROBE_REPAIRED,
                                   .target = 1,
                                   .n_classes = 5,
                                   .n_covered = 5,
                                   .classes = classes,
                                   .n_pruned = 2,
                                   .pruned = pruned,
                                   .channels = 3,
                                   .height = 2,
                                   .width = 2,
                                   .mask = mask,
                                   .pattern = pattern};
    static uint8_t bytes[4096];
    struct err e;
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    (void)probe_send_progress(ends[1], 0.5f, "pruning");
    (void)probe_send_note(ends[1], "note");
    (void)probe_send_done(ends[1], &r);
    seed_write("probe_wire", "report", bytes, (size_t)read(ends[0], bytes, sizeof bytes));
    (void)err_set(&e, ERR_UNSUPPORTED, "no slope");
    (void)probe_send_error(ends[1], &e);
    seed_write("probe_wire", "error", bytes, (size_t)read(ends[0], bytes, sizeof bytes));
    for (int known = 0; known < 2; known++) {
        struct probe_record record = {.model = "signs", .known = known, .declined = !known};
        size_t n = 0;
        if (known) record.report = r;
        (void)snprintf(record.why, sizeof record.why, "%s", known ? "" : "it crashed");
        uint8_t *encoded = probe_record_encode(&record, &n);
        CU_ASSERT_PTR_NOT_NULL_FATAL(encoded);
        seed_write("probe_record", known ? "report" : "crash", encoded, n);
        free(encoded);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
}

SUITE(corpus_wire, {"frames", frames}, {"rings", rings}, {"reports", reports}, {"workers", workers},
      {"states", states}, {"probes", probes}, {"links", links}, {"answers", answers});
