/* guard/worker_wire: what a worker says arrives; what a lying one says does not. */
#include "guard/worker_wire.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Everything that was written to the pipe since the last call. */
static uint8_t said[1 << 16];
static size_t n_said;
static int out_pipe[2];

static void begin(void) {
    CU_ASSERT_EQUAL_FATAL(pipe2(out_pipe, O_CLOEXEC), 0);
    n_said = 0;
}

static void collect(void) {
    (void)close(out_pipe[1]);
    ssize_t n;
    while ((n = read(out_pipe[0], said + n_said, sizeof said - n_said)) > 0) n_said += (size_t)n;
    (void)close(out_pipe[0]);
}

static const struct spawn_digests digests = {.model = {1, 2, 3}, .external = {9}};

static struct report small_report(void) {
    struct report r = {.threshold = 3, .verdict = VERDICT_NOT_APPLICABLE};
    memcpy(r.source_sha256, digests.model, sizeof r.source_sha256);
    return r;
}

static void good_talk(void) {
    struct report r = small_report();
    begin();
    CU_ASSERT_EQUAL(worker_send_digests(out_pipe[1], &digests), 0);
    CU_ASSERT_EQUAL(worker_send_note(out_pipe[1], "no Landlock here"), 0);
    CU_ASSERT_EQUAL(worker_send_done(out_pipe[1], 4096, &r), 0);
    collect();
}

static int feed(struct worker_wire *w, size_t step, struct err *e) {
    *w = (struct worker_wire){0};
    *e = (struct err){0};
    int rc = 0;
    for (size_t i = 0; i < n_said && rc == 0; i += step)
        rc = worker_wire_feed(w, said + i, n_said - i < step ? n_said - i : step, e);
    return rc;
}

static void arrives_in_any_pieces(void) {
    good_talk();
    for (size_t step = 1; step <= n_said; step += step < 40 ? 1 : 37) {
        struct worker_wire w;
        struct err e;
        CU_ASSERT_EQUAL(feed(&w, step, &e), 0);
        CU_ASSERT_TRUE(w.ended);
        CU_ASSERT_EQUAL(w.outcome, WORKER_DONE);
        CU_ASSERT_EQUAL(w.image_bytes, 4096);
        CU_ASSERT_EQUAL(memcmp(&w.digests, &digests, sizeof digests), 0);
        CU_ASSERT_STRING_EQUAL(w.notes[0], "no Landlock here");
        CU_ASSERT_EQUAL(w.report.verdict, VERDICT_NOT_APPLICABLE);
        worker_wire_free(&w);
    }
}

static void an_end_is_not_an_outcome(void) {
    good_talk();
    struct worker_wire w = {0};
    struct err e;
    CU_ASSERT_EQUAL(worker_wire_feed(&w, said, n_said - 1, &e), 0);
    CU_ASSERT_TRUE(w.has_digests);
    CU_ASSERT_FALSE(w.ended);
    worker_wire_free(&w);
}

static void errors_and_needs(void) {
    struct worker_wire w;
    struct err e, sent = {ERR_TRUNCATED, "ends\nearly"};
    begin();
    CU_ASSERT_EQUAL(worker_send_error(out_pipe[1], &sent), 0);
    collect();
    CU_ASSERT_EQUAL(feed(&w, n_said, &e), 0);
    CU_ASSERT_EQUAL(w.outcome, WORKER_ERROR);
    CU_ASSERT_EQUAL(w.error.code, ERR_TRUNCATED);
    CU_ASSERT_STRING_EQUAL(w.error.text, "ends?early");
    worker_wire_free(&w);

    begin();
    CU_ASSERT_EQUAL(worker_send_digests(out_pipe[1], &digests), 0);
    CU_ASSERT_EQUAL(worker_send_needs(out_pipe[1], "net.onnx.data"), 0);
    collect();
    CU_ASSERT_EQUAL(feed(&w, 7, &e), 0);
    CU_ASSERT_EQUAL(w.outcome, WORKER_NEEDS);
    CU_ASSERT_STRING_EQUAL(w.needs, "net.onnx.data");
    worker_wire_free(&w);
}

static void expect_broken(const char *what, const char *part) {
    struct worker_wire w;
    struct err e;
    collect();
    CU_ASSERT_EQUAL(feed(&w, n_said, &e), -1);
    if (!strstr(e.text, part)) fprintf(stderr, "%s: %s\n", what, e.text);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, part));
    worker_wire_free(&w);
}

static void put_frame(uint32_t magic, uint32_t type, uint32_t bytes) {
    uint32_t frame[3] = {magic, type, bytes};
    CU_ASSERT_EQUAL(write(out_pipe[1], frame, sizeof frame), sizeof frame);
}
#define MAGIC 0x31574c43u

static void refuses_frames(void) {
    begin(), put_frame(MAGIC + 1, WORKER_DIGEST, 96), expect_broken("magic", "not a frame");
    begin(), put_frame(MAGIC, 0, 96), expect_broken("type 0", "unknown type");
    begin(), put_frame(MAGIC, WORKER_FRAMES, 96), expect_broken("type", "unknown type");
    begin(), put_frame(MAGIC, WORKER_DIGEST, sizeof(struct spawn_digests) + 1),
        expect_broken("long", "impossible length");
    begin(), put_frame(MAGIC, WORKER_NOTE, 0), expect_broken("empty", "impossible length");
    begin(), put_frame(MAGIC, WORKER_DONE, UINT32_MAX), expect_broken("4 GiB", "impossible length");
}

static void claims_cost_no_memory(void) {
    struct worker_wire w;
    struct err e;
    begin();
    (void)worker_send_digests(out_pipe[1], &digests);
    put_frame(MAGIC, WORKER_DONE, (uint32_t)REPORT_MAX_BYTES);
    collect();
    CU_ASSERT_EQUAL(feed(&w, n_said, &e), 0);
    CU_ASSERT_TRUE(w.capacity <= 4096);
    worker_wire_free(&w);
}

static void refuses_a_wrong_order(void) {
    struct report r = small_report();
    struct err sent = {ERR_FORMAT, "x"};
    begin(), (void)worker_send_note(out_pipe[1], "x"), expect_broken("note first", "no digest");
    begin(), (void)worker_send_done(out_pipe[1], 1, &r), expect_broken("done first", "no digest");
    begin(), (void)worker_send_digests(out_pipe[1], &digests),
        (void)worker_send_digests(out_pipe[1], &digests);
    expect_broken("digest twice", "second digest");
    begin(), (void)worker_send_error(out_pipe[1], &sent), (void)worker_send_digests(out_pipe[1], &digests);
    expect_broken("after the end", "after its last word");
    begin(), (void)worker_send_digests(out_pipe[1], &digests);
    for (int i = 0; i <= SPAWN_NOTES; i++) (void)worker_send_note(out_pipe[1], "x");
    expect_broken("notes", "too many notes");
}

static void refuses_lies(void) {
    struct report r = small_report();
    struct err sent = {ERR_CODES, "x"};
    r.source_sha256[0] = 77;
    begin(), (void)worker_send_digests(out_pipe[1], &digests), (void)worker_send_done(out_pipe[1], 1, &r);
    expect_broken("other file", "another file");
    r = small_report();
    r.pruned_channels = 3;
    begin(), (void)worker_send_digests(out_pipe[1], &digests), (void)worker_send_done(out_pipe[1], 1, &r);
    expect_broken("totals", "totals");
    begin(), (void)worker_send_error(out_pipe[1], &sent), expect_broken("code", "unknown kind");
    begin(), (void)worker_send_digests(out_pipe[1], &digests), (void)worker_send_needs(out_pipe[1], "../x");
    expect_broken("path", "bare file name");
}

static void bare_names(void) {
    static const char *const bad[] = {"", ".", "..", ".hidden", "a/b", "/etc/shadow", "a\nb", "a\\b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CU_ASSERT_FALSE(worker_wire_name_is_bare(bad[i]));
    CU_ASSERT_TRUE(worker_wire_name_is_bare("net.onnx.data"));
    char name[SPAWN_NAME + 1] = {0};
    memset(name, 'n', SPAWN_NAME);
    CU_ASSERT_FALSE(worker_wire_name_is_bare(name));
    name[SPAWN_NAME - 1] = 0;
    CU_ASSERT_TRUE(worker_wire_name_is_bare(name));
}

/* Any single flipped bit may change what is said, never what is held or read. */
static void survives_flipped_bits(void) {
    good_talk();
    for (size_t bit = 0; bit < n_said * 8; bit++) {
        struct worker_wire w;
        struct err e;
        said[bit / 8] ^= (uint8_t)(1u << bit % 8);
        (void)feed(&w, n_said, &e);
        worker_wire_free(&w);
        said[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

SUITE(worker_wire, {"arrives in any pieces", arrives_in_any_pieces},
      {"an end is not an outcome", an_end_is_not_an_outcome}, {"errors and needs", errors_and_needs},
      {"refuses frames that can't be", refuses_frames}, {"claims cost no memory", claims_cost_no_memory},
      {"refuses a wrong order", refuses_a_wrong_order}, {"refuses lies", refuses_lies},
      {"bare names of external data", bare_names}, {"survives flipped bits", survives_flipped_bits});
