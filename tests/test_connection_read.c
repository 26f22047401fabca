/* What a client says, over both back ends: in pieces, in one piece, too much of it, and none of it right. */
#include "daemon/connection.h"
#include "tests/connection_case.h"
#include "tests/mutate.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct rig_options usual = {0};

/* --- pieces ------------------------------------------------------------------------------------ */

/* One piece, much of it for other slots than the one that it lands in; and tensors that lie behind their
 * place by less than they are long: 32 bytes after a question, a frame after a refusal. */
static void in_one_piece(struct rig *r) {
    enum { FRAMES = 6, N = 20, EACH = N * 4 * sizeof(float), WHOLE = FRAME_HEADER + FRAME_INFER + EACH };
    uint8_t bytes[FRAME_HEADER + FRAMES * WHOLE], *at = bytes;
    float x[N * 4];
    struct answer a;
    const int fd = rig_connect(r);
    at += frame_write_header(at, CLPD_STATUS, 100, 0);
    for (uint32_t id = 1; id <= FRAMES; id++) {
        struct clpd_infer q = case_ask(N);
        for (uint32_t i = 0; i < N * 4; i++) x[i] = (float)(id * 1000 + i);
        if (id % 3 == 2) q.model[0] = '?';
        at += frame_write_header(at, CLPD_INFER, id, sizeof q + sizeof x);
        memcpy(at, &q, sizeof q);
        memcpy(at + sizeof q, x, sizeof x);
        at += sizeof q + sizeof x;
    }
    CU_ASSERT_TRUE(rig_send(r, fd, bytes, sizeof bytes));
    for (int i = 0; i <= FRAMES; i++) {
        CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
        if (a.h.id == 100) continue;
        CU_ASSERT_EQUAL(a.r.status, a.h.id % 3 == 2 ? CLPD_NO_MODEL : CLPD_OK);
        for (uint32_t k = 0; a.r.status == CLPD_OK && k < N * 4; k++)
            CU_ASSERT_EQUAL(a.scores[k], 2 * (float)(a.h.id * 1000 + k));
    }
    close(fd);
}
static void test_one_piece(void) {
    case_on_both(&usual, in_one_piece);
}

/* Far more pictures than a batch, more bytes than a chunk or a socket holds. */
static void large(struct rig *r) {
    enum { N = 10000 };
    struct clpd_infer q = case_ask(N);
    struct clpd_header h;
    uint8_t *body;
    float *x = malloc(N * 4 * sizeof *x);
    for (size_t i = 0; i < N * 4; i++) x[i] = (float)(i % 977);
    const int fd = rig_connect(r);
    for (uint64_t id = 1; id <= 3; id++) {
        CU_ASSERT_TRUE(rig_send_infer(r, fd, id, &q, x, N * 4 * sizeof *x));
        CU_ASSERT_TRUE_FATAL(rig_receive(r, fd, &h, &body));
        CU_ASSERT_EQUAL(h.id, id);
        CU_ASSERT_EQUAL(h.bytes, sizeof(struct clpd_reply) + N * 4 * sizeof(float));
        bool right = true;
        for (size_t i = 0; i < N * 4; i++) {
            float score;
            memcpy(&score, body + sizeof(struct clpd_reply) + i * sizeof score, sizeof score);
            right = right && score == 2 * x[i];
        }
        CU_ASSERT_TRUE(right);
        free(body);
    }
    free(x);
    close(fd);
}
static void test_large(void) {
    case_on_both(&usual, large);
}

static void byte_by_byte(struct rig *r) {
    struct clpd_infer q = case_ask(1);
    struct answer a;
    const float x[] = {1, 2, 3, 4};
    uint8_t frame[FRAME_HEADER + sizeof q + sizeof x];
    (void)frame_write_header(frame, CLPD_INFER, 5, sizeof q + sizeof x);
    memcpy(frame + FRAME_HEADER, &q, sizeof q);
    memcpy(frame + FRAME_HEADER + sizeof q, x, sizeof x);
    const int fd = rig_connect(r);
    for (size_t i = 0; i < sizeof frame; i++) {
        CU_ASSERT_TRUE(rig_send(r, fd, frame + i, 1));
        CU_ASSERT_EQUAL(loop_turn(r->loop, 0), 0);
    }
    CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
    CU_ASSERT_TRUE(a.h.id == 5 && a.r.status == CLPD_OK && a.scores[2] == 6);
    close(fd);
}
static void test_bytes(void) {
    case_on_both(&usual, byte_by_byte);
}

static void json(struct rig *r) {
    struct answer a;
    uint8_t frames[2 * FRAME_HEADER];
    const int fd = rig_connect(r);
    (void)frame_write_header(frames, CLPD_STATUS, 1, 0);
    (void)frame_write_header(frames + FRAME_HEADER, CLPD_MODELS, 2, 0);
    CU_ASSERT_TRUE(rig_send(r, fd, frames, sizeof frames));
    CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_JSON_REPLY && a.h.id == 1);
    CU_ASSERT_STRING_EQUAL(a.text, "{\"status\":1}");
    CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_JSON_REPLY && a.h.id == 2);
    for (int i = 0; i < 100; i++) /* far more than may be unsent at once */
        CU_ASSERT_TRUE(rig_send(r, fd, frames, sizeof frames));
    for (int i = 0; i < 200; i++) CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
    close(fd);
}
static void test_json(void) {
    case_on_both(&usual, json);
}

/* --- refusals ----------------------------------------------------------------------------- */

static void refusals(struct rig *r) {
    const int fd = rig_connect(r);
    const struct clpd_infer good = case_ask(1);
    struct clpd_infer q = good;
    struct answer a;
    strcpy(q.model, "on\x1b[31me");
    CU_ASSERT_EQUAL(case_status(r, fd, &q, 16, "\"on?[31me\""), CLPD_NO_MODEL);
    q = good;
    memset(q.model, 0, sizeof q.model); /* the only one */
    CU_ASSERT_EQUAL(case_status(r, fd, &q, 16, ""), CLPD_OK);
    q.dims[3] = 3;
    CU_ASSERT_EQUAL(case_status(r, fd, &q, 24, "f32 [N,1,2,2]"), CLPD_BAD_SHAPE);
    CU_ASSERT_EQUAL(case_status(r, fd, &good, 100000, "100000"),
                    CLPD_BAD_SHAPE); /* many chunks are dropped */
    CU_ASSERT_EQUAL(case_status(r, fd, &good, 0, "0"), CLPD_BAD_SHAPE);
    CU_ASSERT_EQUAL(case_status(r, fd, &good, (1 << 20) + 1, "limits.request_bytes"), CLPD_TOO_LARGE);
    q = case_ask(30000); /* the answer with top-k is far larger than the request */
    q.top_k = 4;
    CU_ASSERT_EQUAL(case_status(r, fd, &q, 30000 * 16, "answer"), CLPD_TOO_LARGE);
    q = good;
    q.format = 7;
    CU_ASSERT_EQUAL(case_status(r, fd, &q, 16, "format"), CLPD_BAD_REQUEST);
    uint8_t frame[FRAME_HEADER + 50] = {0};
    (void)frame_write_header(frame, 77, 3, 50); /* unknown, with a body */
    CU_ASSERT_TRUE(rig_send(r, fd, frame, sizeof frame));
    CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_ERROR && a.h.id == 3 && a.r.status == CLPD_BAD_REQUEST);
    (void)frame_write_header(frame, CLPD_INFER, 4, 50); /* too short for what it says it is */
    CU_ASSERT_TRUE(rig_send(r, fd, frame, sizeof frame));
    CU_ASSERT_TRUE_FATAL(case_hear(r, fd, &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_INFER_REPLY && a.h.id == 4 && a.r.status == CLPD_BAD_REQUEST);
    CU_ASSERT_EQUAL(case_status(r, fd, &good, 16, ""), CLPD_OK); /* after all that */
    CU_ASSERT_TRUE_FATAL(rig_load(r, "three", 1, &(struct case_network){.factor = 3}));
    q = good;
    memset(q.model, 0, sizeof q.model);
    CU_ASSERT_EQUAL(case_status(r, fd, &q, 16, "2 models"), CLPD_NO_MODEL);
    close(fd);
}
static void test_refusals(void) {
    case_on_both(&usual, refusals);
}

static void closing_frames(struct rig *r) {
    struct clpd_header bad[4] = {
        {.magic = 0x20544547},
        {.magic = CLPD_MAGIC, .version = 2, .id = 5},
        {.magic = CLPD_MAGIC, .version = 1, .type = CLPD_INFER, .id = 5, .bytes = UINT64_MAX},
        {.magic = CLPD_MAGIC, .version = 1, .type = CLPD_STATUS, .id = 5, .bytes = 1ull << 40}};
    const struct clpd_infer q = case_ask(1);
    const float x[4] = {1, 1, 1, 1};
    struct answer a;
    for (int i = 0; i < 4; i++) {
        const int fd = rig_connect(r);
        CU_ASSERT_TRUE(rig_send_infer(r, fd, 1, &q, x, sizeof x)); /* what came before is answered */
        CU_ASSERT_TRUE(rig_send(r, fd, &bad[i], sizeof bad[i]));
        bool infer = false, error = false;
        while (case_hear(r, fd, &a)) {
            if (a.h.type == CLPD_INFER_REPLY) infer = a.r.status == CLPD_OK;
            if (a.h.type != CLPD_ERROR) continue;
            error = true;
            CU_ASSERT_EQUAL(a.h.id, i == 0 ? 0 : 5);
            CU_ASSERT_EQUAL(a.r.status, i < 2 ? CLPD_BAD_FRAME : CLPD_TOO_LARGE);
        }
        CU_ASSERT_TRUE(infer && error);
        CU_ASSERT_TRUE(rig_is_closed(r, fd));
        close(fd);
    }
    for (int k = 0; k < 200 && r->server.n_connections; k++) rig_turn(r, 1);
    CU_ASSERT_EQUAL(r->server.n_connections, 0);
}
static void test_closing(void) {
    case_on_both(&usual, closing_frames);
}

/* --- rubbish --------------------------------------------------------------------------------------- */

/* Streams of good frames with damage in them: the daemon lives, and serves the next. */
static void damaged(struct rig *r) {
    uint64_t seed = 4711;
    const struct clpd_infer q = case_ask(3);
    struct answer a;
    uint8_t stream[4096], good[FRAME_HEADER + sizeof q + 48];
    memset(good, 0, sizeof good);
    (void)frame_write_header(good, CLPD_INFER, 1, sizeof q + 48);
    memcpy(good + FRAME_HEADER, &q, sizeof q);
    for (int round = 0; round < 150; round++) {
        size_t n = 0;
        while (n + sizeof good <= sizeof stream) {
            memcpy(stream + n, good, sizeof good);
            n += sizeof good;
        }
        for (size_t k = 1 + mutate_below(&seed, 4); k > 0; k--)
            n = mutate_once(stream, n, sizeof stream, NULL, &seed);
        const int fd = rig_connect(r);
        if (n) (void)send(fd, stream, n, MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);
        rig_turn(r, 1);
        while (case_hear(r, fd, &a))
            CU_ASSERT_TRUE(a.h.type == CLPD_JSON_REPLY || a.r.status <= CLPD_FORBIDDEN);
        close(fd);
    }
    const int fd = rig_connect(r);
    CU_ASSERT_EQUAL(case_status(r, fd, &q, 48, ""), CLPD_OK);
    close(fd);
}
static void test_damaged(void) {
    case_on_both(&usual, damaged);
}

SUITE(connection_read, {"frames of one piece, some refused", test_one_piece},
      {"10,000 pictures in a request", test_large}, {"a byte at a time", test_bytes},
      {"JSON, also when much is asked", test_json},
      {"refusals after which the stream goes on", test_refusals}, {"refusals that close it", test_closing},
      {"damaged streams", test_damaged});
