/* Connections, over both back ends, with real models: right answers to right ids,
 * refusals that cost only what they must, and clients of every bad habit. */
#include "daemon/connection.h"
#include "tests/daemon_case.h"
#include "tests/mutate.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct case_network times_two = {.factor = 2, .labels = 4};

static struct clpd_infer ask(uint32_t n) {
    return (struct clpd_infer){
        .model = "two", .flags = CLPD_WANT_SCORES, .format = CLPD_F32_NCHW, .dims = {n, 1, 2, 2}};
}

struct answer {
    struct clpd_header h;
    struct clpd_reply r;
    float scores[1024];
    struct clpd_top top[64];
    char text[512];
};

/* The next answer, its parts checked against each other. */
static bool receive(struct rig *r, int fd, struct answer *a) {
    uint8_t *body;
    memset(a, 0, sizeof *a);
    if (!rig_receive(r, fd, &a->h, &body)) return false;
    CU_ASSERT_EQUAL(a->h.magic, CLPD_MAGIC);
    CU_ASSERT_EQUAL(a->h.version, CLPD_WIRE_VERSION);
    if (a->h.type == CLPD_JSON_REPLY) {
        (void)snprintf(a->text, sizeof a->text, "%s", (char *)body);
        free(body);
        return true;
    }
    memcpy(&a->r, body, sizeof a->r);
    const size_t scores = a->r.has_scores ? (size_t)a->r.items * a->r.classes * sizeof(float) : 0;
    const size_t top = (size_t)a->r.items * a->r.top_k * sizeof(struct clpd_top);
    CU_ASSERT_EQUAL(a->h.bytes, sizeof a->r + scores + top + a->r.text_bytes);
    if (scores <= sizeof a->scores) memcpy(a->scores, body + sizeof a->r, scores);
    if (top <= sizeof a->top) memcpy(a->top, body + sizeof a->r + scores, top);
    (void)snprintf(a->text, sizeof a->text, "%s", (char *)body + sizeof a->r + scores + top);
    if (a->r.text_bytes) CU_ASSERT_EQUAL(body[a->h.bytes - 1], 0);
    free(body);
    return true;
}

static void on_both(const struct rig_options *like, void (*test)(struct rig *r)) {
    for (int kind = LOOP_URING; kind <= LOOP_EPOLL; kind++) {
        struct rig r;
        struct rig_options o = *like;
        o.loop = (enum loop_kind)kind;
        if (!rig_open(&r, &o)) continue;
        CU_ASSERT_TRUE_FATAL(rig_load(&r, "two", 1, &times_two));
        test(&r);
        rig_close(&r);
    }
}
static const struct rig_options usual = {0};

/* --- answers --------------------------------------------------------------------------- */

static void pipelined(struct rig *r) {
    struct clpd_infer q = ask(1);
    struct answer a;
    bool seen[12] = {false};
    const int fd = rig_connect(r);
    for (uint64_t id = 0; id < 12; id++) {
        const float x[] = {(float)id, 1, 2, 3};
        CU_ASSERT_TRUE(rig_send_infer(r, fd, id + 100, &q, x, sizeof x));
    }
    for (int i = 0; i < 12; i++) {
        CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
        CU_ASSERT_EQUAL(a.h.type, CLPD_INFER_REPLY);
        CU_ASSERT_EQUAL(a.r.status, CLPD_OK);
        CU_ASSERT_TRUE_FATAL(a.h.id >= 100 && a.h.id < 112 && !seen[a.h.id - 100]);
        seen[a.h.id - 100] = true;
        CU_ASSERT_EQUAL(a.r.items, 1);
        CU_ASSERT_EQUAL(a.r.classes, 4);
        CU_ASSERT_EQUAL(a.r.version, 1);
        CU_ASSERT_TRUE(a.r.batch >= 1 && a.r.batch <= 8);
        CU_ASSERT_EQUAL(a.scores[0], 2.0f * (float)(a.h.id - 100));
        CU_ASSERT_EQUAL(a.scores[3], 6);
    }
    CU_ASSERT_EQUAL(r->server.counters.ok, 12);
    close(fd);
}
static void test_pipelined(void) {
    on_both(&usual, pipelined);
}

/* One piece, much of it for other slots than the one that it lands in: after a refusal the tensor lies
 * further back. */
static void in_one_piece(struct rig *r) {
    enum { FRAMES = 6, EACH = 4 * sizeof(float), WHOLE = FRAME_HEADER + FRAME_INFER + EACH };
    uint8_t bytes[FRAMES * WHOLE + FRAME_HEADER], *at = bytes;
    struct answer a;
    const int fd = rig_connect(r);
    for (uint32_t id = 1; id <= FRAMES; id++) {
        const float x[] = {(float)id, 1, 2, (float)id + 10};
        struct clpd_infer q = ask(1);
        if (id % 3 == 1) q.model[0] = '?';
        at += frame_write_header(at, CLPD_INFER, id, sizeof q + sizeof x);
        memcpy(at, &q, sizeof q);
        memcpy(at + sizeof q, x, sizeof x);
        at += sizeof q + sizeof x;
        if (id == 2) at += frame_write_header(at, CLPD_STATUS, 100, 0);
    }
    CU_ASSERT_TRUE(rig_send(r, fd, bytes, sizeof bytes));
    for (int i = 0; i <= FRAMES; i++) {
        CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
        if (a.h.id == 100) continue;
        CU_ASSERT_EQUAL(a.r.status, a.h.id % 3 == 1 ? CLPD_NO_MODEL : CLPD_OK);
        if (a.r.status != CLPD_OK) continue;
        CU_ASSERT_EQUAL(a.scores[0], 2 * (float)a.h.id);
        CU_ASSERT_EQUAL(a.scores[3], 2 * (float)a.h.id + 20);
    }
    close(fd);
}
static void test_one_piece(void) {
    on_both(&usual, in_one_piece);
}

static void top_and_labels(struct rig *r) {
    struct clpd_infer q = ask(2);
    struct answer a;
    const int fd = rig_connect(r);
    q.format = CLPD_U8_NHWC;
    q.dims[1] = q.dims[2] = 2, q.dims[3] = 1;
    q.top_k = 3;
    q.flags = 0;
    const uint8_t x[8] = {10, 40, 30, 20, 5, 6, 7, 8};
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 1, &q, x, sizeof x));
    CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
    CU_ASSERT_EQUAL(a.r.status, CLPD_OK);
    CU_ASSERT_EQUAL(a.r.items, 2);
    CU_ASSERT_EQUAL(a.r.top_k, 3);
    CU_ASSERT_EQUAL(a.r.has_scores, 0);
    CU_ASSERT_TRUE(a.top[0].index == 1 && a.top[1].index == 2 && a.top[2].index == 3);
    CU_ASSERT_TRUE(a.top[3].index == 3 && a.top[4].index == 2 && a.top[5].index == 1);
    CU_ASSERT_TRUE(a.top[0].probability > a.top[1].probability && a.top[0].probability <= 1);
    CU_ASSERT_EQUAL(a.top[0].label, a.top[5].label); /* each label once */
    CU_ASSERT_STRING_EQUAL(a.text + a.top[0].label, "class 1");
    q.top_k = CLPD_MAX_TOP_K; /* cut to the classes */
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 2, &q, x, sizeof x));
    CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
    CU_ASSERT_EQUAL(a.r.top_k, 4);
    close(fd);
}
static void test_top(void) {
    on_both(&usual, top_and_labels);
}

/* Far more pictures than a batch, more bytes than a chunk or a socket holds. */
static void large(struct rig *r) {
    enum { N = 10000 };
    struct clpd_infer q = ask(N);
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
    on_both(&usual, large);
}

static void byte_by_byte(struct rig *r) {
    struct clpd_infer q = ask(1);
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
    CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
    CU_ASSERT_TRUE(a.h.id == 5 && a.r.status == CLPD_OK && a.scores[2] == 6);
    close(fd);
}
static void test_bytes(void) {
    on_both(&usual, byte_by_byte);
}

static void json(struct rig *r) {
    struct answer a;
    uint8_t frames[2 * FRAME_HEADER];
    const int fd = rig_connect(r);
    (void)frame_write_header(frames, CLPD_STATUS, 1, 0);
    (void)frame_write_header(frames + FRAME_HEADER, CLPD_MODELS, 2, 0);
    CU_ASSERT_TRUE(rig_send(r, fd, frames, sizeof frames));
    CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_JSON_REPLY && a.h.id == 1);
    CU_ASSERT_STRING_EQUAL(a.text, "{\"status\":1}");
    CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_JSON_REPLY && a.h.id == 2);
    for (int i = 0; i < 100; i++) /* far more than may be unsent at once */
        CU_ASSERT_TRUE(rig_send(r, fd, frames, sizeof frames));
    for (int i = 0; i < 200; i++) CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
    close(fd);
}
static void test_json(void) {
    on_both(&usual, json);
}

/* --- refusals ----------------------------------------------------------------------------- */

static uint32_t status_of(struct rig *r, int fd, const struct clpd_infer *q, size_t bytes, const char *word) {
    struct answer a;
    uint8_t *tensor = calloc(1, bytes + 1);
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 9, q, tensor, bytes));
    free(tensor);
    if (!receive(r, fd, &a)) return UINT32_MAX;
    CU_ASSERT_EQUAL(a.h.id, 9);
    CU_ASSERT_EQUAL(a.h.type, CLPD_INFER_REPLY);
    CU_ASSERT_PTR_NOT_NULL(strstr(a.text, word));
    if (a.r.status != CLPD_OK) CU_ASSERT_EQUAL(a.r.text_bytes, strlen(a.text) + 1);
    return a.r.status;
}

static void refusals(struct rig *r) {
    const int fd = rig_connect(r);
    const struct clpd_infer good = ask(1);
    struct clpd_infer q = good;
    struct answer a;
    strcpy(q.model, "on\x1b[31me");
    CU_ASSERT_EQUAL(status_of(r, fd, &q, 16, "\"on?[31me\""), CLPD_NO_MODEL);
    q = good;
    memset(q.model, 0, sizeof q.model); /* the only one */
    CU_ASSERT_EQUAL(status_of(r, fd, &q, 16, ""), CLPD_OK);
    q.dims[3] = 3;
    CU_ASSERT_EQUAL(status_of(r, fd, &q, 24, "f32 [N,1,2,2]"), CLPD_BAD_SHAPE);
    CU_ASSERT_EQUAL(status_of(r, fd, &good, 100000, "100000"), CLPD_BAD_SHAPE); /* many chunks are dropped */
    CU_ASSERT_EQUAL(status_of(r, fd, &good, 0, "0"), CLPD_BAD_SHAPE);
    CU_ASSERT_EQUAL(status_of(r, fd, &good, (1 << 20) + 1, "limits.request_bytes"), CLPD_TOO_LARGE);
    q = ask(30000); /* the answer with top-k is far larger than the request */
    q.top_k = 4;
    CU_ASSERT_EQUAL(status_of(r, fd, &q, 30000 * 16, "answer"), CLPD_TOO_LARGE);
    q = good;
    q.format = 7;
    CU_ASSERT_EQUAL(status_of(r, fd, &q, 16, "format"), CLPD_BAD_REQUEST);
    uint8_t frame[FRAME_HEADER + 50] = {0};
    (void)frame_write_header(frame, 77, 3, 50); /* unknown, with a body */
    CU_ASSERT_TRUE(rig_send(r, fd, frame, sizeof frame));
    CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_ERROR && a.h.id == 3 && a.r.status == CLPD_BAD_REQUEST);
    (void)frame_write_header(frame, CLPD_INFER, 4, 50); /* too short for what it says it is */
    CU_ASSERT_TRUE(rig_send(r, fd, frame, sizeof frame));
    CU_ASSERT_TRUE_FATAL(receive(r, fd, &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_INFER_REPLY && a.h.id == 4 && a.r.status == CLPD_BAD_REQUEST);
    CU_ASSERT_EQUAL(status_of(r, fd, &good, 16, ""), CLPD_OK); /* after all that */
    CU_ASSERT_TRUE_FATAL(rig_load(r, "three", 1, &(struct case_network){.factor = 3}));
    q = good;
    memset(q.model, 0, sizeof q.model);
    CU_ASSERT_EQUAL(status_of(r, fd, &q, 16, "2 models"), CLPD_NO_MODEL);
    close(fd);
}
static void test_refusals(void) {
    on_both(&usual, refusals);
}

static void closing_frames(struct rig *r) {
    struct clpd_header bad[4] = {
        {.magic = 0x20544547},
        {.magic = CLPD_MAGIC, .version = 2, .id = 5},
        {.magic = CLPD_MAGIC, .version = 1, .type = CLPD_INFER, .id = 5, .bytes = UINT64_MAX},
        {.magic = CLPD_MAGIC, .version = 1, .type = CLPD_STATUS, .id = 5, .bytes = 1ull << 40}};
    const struct clpd_infer q = ask(1);
    const float x[4] = {1, 1, 1, 1};
    struct answer a;
    for (int i = 0; i < 4; i++) {
        const int fd = rig_connect(r);
        CU_ASSERT_TRUE(rig_send_infer(r, fd, 1, &q, x, sizeof x)); /* what came before is answered */
        CU_ASSERT_TRUE(rig_send(r, fd, &bad[i], sizeof bad[i]));
        bool infer = false, error = false;
        while (receive(r, fd, &a)) {
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
    on_both(&usual, closing_frames);
}

/* --- limits ---------------------------------------------------------------------------------- */

/* A client that never reads: it is not read from beyond its limit, and others are served. */
static void no_reader(struct rig *r) {
    const struct clpd_infer q = ask(1);
    const float x[4] = {1, 1, 1, 1};
    struct answer a;
    const int fd = rig_connect(r), other = rig_connect(r);
    struct clpd_header h;
    (void)frame_write_header((uint8_t *)&h, CLPD_INFER, 1, sizeof q + sizeof x);
    size_t sent = 0;
    for (int idle = 0; idle < 20;) { /* until its socket is full and stays so */
        uint8_t frame[sizeof h + sizeof q + sizeof x];
        memcpy(frame, &h, sizeof h);
        memcpy(frame + sizeof h, &q, sizeof q);
        memcpy(frame + sizeof h + sizeof q, x, sizeof x);
        ssize_t n = send(fd, frame, sizeof frame, MSG_NOSIGNAL);
        if (n == (ssize_t)sizeof frame)
            sent++, idle = 0;
        else if (n > 0)
            break; /* a part: enough */
        else
            idle++, rig_turn(r, 1);
    }
    CU_ASSERT_TRUE(sent > 16);
    CU_ASSERT_TRUE(r->server.connections->n_inflight <= 16 && r->server.slots.n_taken <= 32);
    CU_ASSERT_TRUE(rig_send_infer(r, other, 2, &q, x, sizeof x));
    CU_ASSERT_TRUE(receive(r, other, &a) && a.r.status == CLPD_OK);
    for (size_t i = 0; i < sent; i++) /* it wakes up: every one is answered */
        if (!receive(r, fd, &a) || a.r.status != CLPD_OK) {
            CU_FAIL("an answer is missing");
            break;
        }
    close(fd);
    close(other);
}
static void test_no_reader(void) {
    on_both(&usual, no_reader);
}

/* Four slots, more clients: each request has an answer, OK or BUSY, and BUSY comes at once. */
static void busy(struct rig *r) {
    const struct clpd_infer q = ask(1000);
    uint8_t *tensor = calloc(1000, 16);
    struct answer *a = malloc(sizeof *a);
    int fds[6];
    unsigned statuses[2] = {0, 0};
    for (int i = 0; i < 6; i++) fds[i] = rig_connect(r);
    for (int i = 0; i < 6; i++)
        for (uint64_t k = 0; k < 3; k++) CU_ASSERT_TRUE(rig_send_infer(r, fds[i], k, &q, tensor, 16000));
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 3; k++) {
            CU_ASSERT_TRUE_FATAL(receive(r, fds[i], a));
            CU_ASSERT_TRUE_FATAL(a->r.status == CLPD_OK || a->r.status == CLPD_BUSY);
            statuses[a->r.status]++;
        }
    CU_ASSERT_TRUE(statuses[CLPD_OK] >= 4);
    CU_ASSERT_EQUAL(statuses[0] + statuses[1], 18);
    CU_ASSERT_EQUAL(r->server.counters.busy, statuses[1]);
    for (int i = 0; i < 6; i++) close(fds[i]);
    free(tensor);
    free(a);
}
static void test_busy(void) {
    on_both(&(struct rig_options){.queue = 4}, busy);
    /* with one slot, one after the other: never BUSY, the place is free before the answer is read */
    for (int kind = LOOP_URING; kind <= LOOP_EPOLL; kind++) {
        struct rig r;
        struct answer a;
        const struct clpd_infer q = ask(1);
        const float x[4] = {1, 1, 1, 1};
        if (!rig_open(&r, &(struct rig_options){.loop = (enum loop_kind)kind, .queue = 1})) continue;
        CU_ASSERT_TRUE_FATAL(rig_load(&r, "two", 1, &times_two));
        const int fd = rig_connect(&r);
        for (uint64_t i = 0; i < 200; i++) {
            CU_ASSERT_TRUE(rig_send_infer(&r, fd, i, &q, x, sizeof x));
            CU_ASSERT_TRUE_FATAL(receive(&r, fd, &a));
            CU_ASSERT_EQUAL(a.r.status, CLPD_OK);
        }
        close(fd);
        rig_close(&r);
    }
}

static void too_many(struct rig *r) {
    int fds[9];
    struct answer a;
    for (int i = 0; i < 8; i++) fds[i] = rig_connect(r);
    fds[8] = rig_connect(r);
    CU_ASSERT_TRUE_FATAL(receive(r, fds[8], &a));
    CU_ASSERT_TRUE(a.h.type == CLPD_ERROR && a.r.status == CLPD_BUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(a.text, "limits.connections"));
    CU_ASSERT_TRUE(rig_is_closed(r, fds[8]));
    close(fds[0]); /* and there is room again */
    rig_turn(r, 5);
    close(fds[8]);
    fds[0] = rig_connect(r);
    const struct clpd_infer q = ask(1);
    CU_ASSERT_EQUAL(status_of(r, fds[0], &q, 16, ""), CLPD_OK);
    for (int i = 0; i < 8; i++) close(fds[i]);
}
static void test_too_many(void) {
    on_both(&usual, too_many);
}

/* --- clients that leave ----------------------------------------------------------------------- */

static void cut_off(struct rig *r) {
    const struct clpd_infer q = ask(1000);
    uint8_t *frame = calloc(1, FRAME_HEADER + sizeof q + 16000);
    static const size_t cuts[] = {1, 31, 32, 33, 127, 128, 129, 4000, 9000, 15000, 16127};
    (void)frame_write_header(frame, CLPD_INFER, 1, sizeof q + 16000);
    memcpy(frame + FRAME_HEADER, &q, sizeof q);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++)
        for (int half = 0; half < 2; half++) {
            const int fd = rig_connect(r);
            CU_ASSERT_TRUE(rig_send(r, fd, frame, cuts[i]));
            if (i % 2) rig_turn(r, 1);
            if (half)
                (void)shutdown(fd, SHUT_WR); /* sends no more, but is there */
            else
                close(fd);
            for (int k = 0; k < 200 && r->server.n_connections; k++) rig_turn(r, 1);
            CU_ASSERT_EQUAL(r->server.slots.n_taken, 0);
            CU_ASSERT_EQUAL(r->server.n_connections, 0);
            if (half) close(fd);
        }
    free(frame);
}
static void test_cut_off(void) {
    on_both(&usual, cut_off);
}

/* One that says it sends no more gets its answers; one that dies leaves nothing behind. */
static void half_closed(struct rig *r) {
    const struct clpd_infer q = ask(100);
    uint8_t tensor[1600] = {0};
    struct answer a;
    int fd = rig_connect(r);
    for (uint64_t i = 0; i < 8; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &q, tensor, sizeof tensor));
    CU_ASSERT_EQUAL(shutdown(fd, SHUT_WR), 0);
    for (int i = 0; i < 8; i++) CU_ASSERT_TRUE(receive(r, fd, &a) && a.r.status == CLPD_OK);
    CU_ASSERT_TRUE(rig_is_closed(r, fd));
    close(fd);
    for (int round = 0; round < 20; round++) {
        fd = rig_connect(r);
        for (uint64_t i = 0; i < 8; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &q, tensor, sizeof tensor));
        if (round % 2) rig_turn(r, 1);
        close(fd);
    }
    for (int i = 0; i < 200 && (r->server.n_connections || r->server.slots.n_taken); i++) rig_turn(r, 1);
    CU_ASSERT_EQUAL(r->server.n_connections, 0);
    CU_ASSERT_EQUAL(r->server.slots.n_taken, 0);
    CU_ASSERT_EQUAL(workers_queued(r->workers), 0);
}
static void test_half_closed(void) {
    on_both(&usual, half_closed);
}

/* One that has as many requests under way as it may is not read from; it leaves, and what waits is not
 * computed. */
static void left_in_the_middle(struct rig *r) {
    struct clpd_infer slow = ask(30);
    uint8_t *tensor = calloc(30, 16384);
    CU_ASSERT_TRUE_FATAL(rig_load(r, "slow", 1, &(struct case_network){.width = 64, .work = 8, .factor = 1}));
    strcpy(slow.model, "slow");
    slow.flags = 0;
    slow.dims[2] = slow.dims[3] = 64;
    const int fd = rig_connect(r);
    for (uint64_t i = 0; i < 4; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &slow, tensor, 30 * 16384));
    for (int i = 0; i < 200 && r->server.slots.n_taken < 4; i++) rig_turn(r, 1);
    close(fd);
    for (int i = 0; i < 2000 && r->server.n_connections; i++) rig_turn(r, 1);
    CU_ASSERT_EQUAL(r->server.n_connections, 0);
    CU_ASSERT_EQUAL(r->server.slots.n_taken, 0);
    CU_ASSERT_EQUAL(workers_queued(r->workers), 0);
    free(tensor);
}
static void test_left(void) {
    on_both(&(struct rig_options){.inflight = 4}, left_in_the_middle);
}

/* --- time ----------------------------------------------------------------------------------------- */

static void late(struct rig *r) {
    struct clpd_infer slow = ask(60), quick = ask(1);
    struct answer *a = malloc(sizeof *a);
    uint8_t *tensor = calloc(60, 65536);
    unsigned deadline = 0, ok = 0;
    CU_ASSERT_TRUE_FATAL(rig_load(r, "slow", 1, &(struct case_network){.width = 64, .work = 8, .factor = 1}));
    strcpy(slow.model, "slow");
    slow.flags = 0;
    slow.dims[2] = slow.dims[3] = 64;
    quick.timeout_us = 1;
    const int fd = rig_connect(r);
    for (uint64_t i = 0; i < 2; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &slow, tensor, 60 * 16384));
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 7, &quick, tensor, 16));
    CU_ASSERT_TRUE_FATAL(receive(r, fd, a));
    for (int i = 0; i < 3; i++) {
        deadline += a->r.status == CLPD_DEADLINE && a->h.id == 7;
        ok += a->r.status == CLPD_OK && a->h.id < 2;
        if (i < 2) CU_ASSERT_TRUE_FATAL(receive(r, fd, a));
    }
    CU_ASSERT_EQUAL(deadline, 1);
    CU_ASSERT_EQUAL(ok, 2);
    close(fd);
    free(a);
    free(tensor);
}
static void test_late(void) {
    on_both(&(struct rig_options){.threads = 1, .request_bytes = 1 << 22}, late);
}

static void draining(struct rig *r) {
    const struct clpd_infer q = ask(1000);
    uint8_t *tensor = calloc(1000, 16);
    struct answer *a = malloc(sizeof *a);
    const int fd = rig_connect(r);
    unsigned ok = 0, told = 0;
    for (uint64_t i = 0; i < 10; i++) CU_ASSERT_TRUE(rig_send_infer(r, fd, i, &q, tensor, 16000));
    rig_turn(r, 1);
    server_drain(&r->server);
    CU_ASSERT_TRUE(rig_send_infer(r, fd, 10, &q, tensor, 16000));
    for (int i = 0; i < 11; i++) {
        CU_ASSERT_TRUE_FATAL(receive(r, fd, a));
        ok += a->r.status == CLPD_OK;
        told += a->r.status == CLPD_SHUTTING_DOWN;
    }
    CU_ASSERT_EQUAL(ok + told, 11);
    CU_ASSERT_TRUE(told >= 1);
    for (int k = 0; k < 200 && !server_is_drained(&r->server); k++) rig_turn(r, 1);
    CU_ASSERT_TRUE(server_is_drained(&r->server));
    close(fd);
    free(tensor);
    free(a);
}
static void test_draining(void) {
    on_both(&usual, draining);
}

static void stalled(struct rig *r) {
    const struct clpd_infer q = ask(1);
    const int idle = rig_connect(r), middle = rig_connect(r);
    uint8_t frame[FRAME_HEADER];
    (void)frame_write_header(frame, CLPD_INFER, 1, sizeof q + 16);
    CU_ASSERT_TRUE(rig_send(r, middle, frame, 20));
    rig_turn(r, 2);
    const uint64_t now = loop_clock();
    unsigned stalls = 0;
    for (const struct connection *c = r->server.connections; c; c = c->next) {
        CU_ASSERT_FALSE(connection_is_stalled(c, now));
        stalls +=
            connection_is_stalled(c, now + 2 * SERVER_STALL); /* only who is in the middle of something */
    }
    CU_ASSERT_EQUAL(stalls, 1);
    close(idle);
    close(middle);
}
static void test_stalled(void) {
    on_both(&usual, stalled);
}

/* --- rubbish --------------------------------------------------------------------------------------- */

/* Streams of good frames with damage in them: the daemon lives, and serves the next. */
static void damaged(struct rig *r) {
    uint64_t seed = 4711;
    const struct clpd_infer q = ask(3);
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
        while (receive(r, fd, &a))
            CU_ASSERT_TRUE(a.h.type == CLPD_JSON_REPLY || a.r.status <= CLPD_FORBIDDEN);
        close(fd);
    }
    const int fd = rig_connect(r);
    CU_ASSERT_EQUAL(status_of(r, fd, &q, 48, ""), CLPD_OK);
    close(fd);
}
static void test_damaged(void) {
    on_both(&usual, damaged);
}

SUITE(connection, {"pipelined requests, answers by id", test_pipelined},
      {"frames of one piece, some refused", test_one_piece}, {"best classes and labels", test_top},
      {"10,000 pictures in a request", test_large}, {"a byte at a time", test_bytes},
      {"JSON, also when much is asked", test_json},
      {"refusals after which the stream goes on", test_refusals}, {"refusals that close it", test_closing},
      {"a client that does not read", test_no_reader}, {"BUSY where the slots are used up", test_busy},
      {"one connection too many", test_too_many}, {"frames that are cut off", test_cut_off},
      {"half closed, and dead", test_half_closed}, {"left in the middle", test_left},
      {"deadlines", test_late}, {"draining", test_draining}, {"stalls", test_stalled},
      {"damaged streams", test_damaged});
