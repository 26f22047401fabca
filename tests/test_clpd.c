/* libclpd against a scripted peer: right frames out, right answers taken, every wrong answer refused. */
#include "client/clpd.h"
#include "tests/suite.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- the peer: the other end of the connection, in the same thread ---------------- */

struct peer {
    char dir[64], path[96];
    int listener, fd;
    struct clpd *c;
};

static int peer_open(struct peer *p) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memset(p, 0, sizeof *p);
    strcpy(p->dir, "/tmp/clpd-test-XXXXXX");
    if (!mkdtemp(p->dir)) return -1;
    (void)snprintf(p->path, sizeof p->path, "%s/s", p->dir);
    memcpy(a.sun_path, p->path, strlen(p->path) + 1);
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(p->listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(p->listener, 4) < 0) return -1;
    if (clpd_connect(p->path, &p->c) < 0) return -1;
    p->fd = accept(p->listener, NULL, NULL);
    return p->fd < 0 ? -1 : 0;
}

static void peer_close(struct peer *p) {
    clpd_close(p->c);
    if (p->fd >= 0) (void)close(p->fd);
    (void)close(p->listener);
    (void)unlink(p->path);
    (void)rmdir(p->dir);
}

static void peer_read(struct peer *p, void *to, size_t n) {
    CU_ASSERT_EQUAL_FATAL(recv(p->fd, to, n, MSG_WAITALL), (ssize_t)n);
}

/* Reads one request: its header, and the body up to 4 KiB. */
static struct clpd_header peer_request(struct peer *p, void *body) {
    struct clpd_header h;
    peer_read(p, &h, sizeof h);
    CU_ASSERT_FATAL(h.bytes <= 4096);
    if (h.bytes) peer_read(p, body, (size_t)h.bytes);
    return h;
}

static void peer_send(struct peer *p, uint8_t type, uint64_t id, const void *body, size_t n) {
    struct clpd_header h = {
        .magic = CLPD_MAGIC, .version = CLPD_WIRE_VERSION, .type = type, .id = id, .bytes = n};
    CU_ASSERT_EQUAL(send(p->fd, &h, sizeof h, MSG_NOSIGNAL), (ssize_t)sizeof h);
    if (n) CU_ASSERT_EQUAL(send(p->fd, body, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* A good answer for two pictures, three classes, two of them told, with scores. */
struct answer {
    struct clpd_reply reply;
    float scores[2][3];
    struct clpd_top top[2][2];
    char text[8];
} __attribute__((packed));
_Static_assert(sizeof(struct answer) == 96 + 24 + 64 + 8, "as the wire has it");

static struct answer good_answer(void) {
    return (struct answer){
        .reply = {.items = 2,
                  .classes = 3,
                  .top_k = 2,
                  .version = 5,
                  .batch = 2,
                  .has_scores = 1,
                  .text_bytes = 8,
                  .queue_ns = 11,
                  .compute_ns = 22,
                  .sha256 = {1, 2, 3}},
        .scores = {{0.5f, 2, 1}, {3, 2, 1}},
        .top = {{{1, 2, 0.6f, 4}, {2, 1, 0.3f, CLPD_NO_LABEL}}, {{0, 3, 0.7f, 0}, {1, 2, 0.2f, 4}}},
        .text = "cat\0dog",
    };
}

static uint8_t pixels[2 * 4 * 4 * 3];
static const struct clpd_request two_pictures = {.model = "m",
                                                 .format = CLPD_U8_NHWC,
                                                 .dims = {2, 4, 4, 3},
                                                 .data = pixels,
                                                 .top_k = 2,
                                                 .want_scores = 1,
                                                 .timeout_us = 77};

/* --- requests and answers ---------------------------------------------------------- */

static void test_request_bytes(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 7);
    uint64_t id = 0;
    CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id), 0);
    CU_ASSERT_NOT_EQUAL(id, 0);
    CU_ASSERT_EQUAL(clpd_pending(p.c), 1);
    struct {
        struct clpd_infer infer;
        uint8_t data[4000];
    } body;
    struct clpd_header h = peer_request(&p, &body);
    CU_ASSERT_EQUAL(h.magic, CLPD_MAGIC);
    CU_ASSERT_EQUAL(h.version, CLPD_WIRE_VERSION);
    CU_ASSERT_EQUAL(h.type, CLPD_INFER);
    CU_ASSERT_EQUAL(h.id, id);
    CU_ASSERT_EQUAL(h.bytes, sizeof(struct clpd_infer) + sizeof pixels);
    CU_ASSERT_EQUAL(h.flags | h.reserved, 0);
    CU_ASSERT_STRING_EQUAL(body.infer.model, "m");
    CU_ASSERT_EQUAL(body.infer.timeout_us, 77);
    CU_ASSERT_EQUAL(body.infer.top_k, 2);
    CU_ASSERT_EQUAL(body.infer.flags, CLPD_WANT_SCORES);
    CU_ASSERT_EQUAL(body.infer.format, CLPD_U8_NHWC);
    const uint32_t dims[CLPD_MAX_RANK] = {2, 4, 4, 3, 0, 0};
    CU_ASSERT_EQUAL(memcmp(body.infer.dims, dims, sizeof dims), 0);
    CU_ASSERT_EQUAL(memcmp(body.data, pixels, sizeof pixels), 0);
    peer_close(&p);
}

static void check_good(const struct clpd_result *r) {
    CU_ASSERT_EQUAL(r->status, CLPD_OK);
    CU_ASSERT_STRING_EQUAL(r->text, "");
    CU_ASSERT_EQUAL_FATAL(r->items, 2);
    CU_ASSERT_EQUAL_FATAL(r->classes, 3);
    CU_ASSERT_EQUAL_FATAL(r->top_k, 2);
    CU_ASSERT_EQUAL(r->version, 5);
    CU_ASSERT_EQUAL(r->queue_ns, 11);
    CU_ASSERT_EQUAL(r->compute_ns, 22);
    CU_ASSERT_EQUAL(r->sha256[2], 3);
    CU_ASSERT_EQUAL(r->scores[3], 3.0f);
    CU_ASSERT_EQUAL(r->top[2].index, 0);
    CU_ASSERT_STRING_EQUAL(clpd_result_label(r, &r->top[0]), "dog");
    CU_ASSERT_PTR_NULL(clpd_result_label(r, &r->top[1]));
    CU_ASSERT_STRING_EQUAL(clpd_result_label(r, &r->top[2]), "cat");
}

static void test_answers_in_any_order(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    uint64_t id[40], got[40];
    uint8_t body[4096];
    struct answer a = good_answer();
    for (int i = 0; i < 40; i++) {
        CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id[i]), 0);
        CU_ASSERT_EQUAL(peer_request(&p, body).id, id[i]);
    }
    struct clpd_result r;
    CU_ASSERT_EQUAL(clpd_poll(p.c, 0, &r), 0);
    for (int i = 39; i >= 0; i--) peer_send(&p, CLPD_INFER_REPLY, id[i], &a, sizeof a);
    for (int i = 0; i < 40; i++) {
        CU_ASSERT_EQUAL_FATAL(clpd_poll(p.c, 1000, &r), 1);
        check_good(&r);
        got[i] = r.id;
    }
    for (int i = 0; i < 40; i++) CU_ASSERT_EQUAL(got[i], id[39 - i]);
    CU_ASSERT_EQUAL(clpd_pending(p.c), 0);
    CU_ASSERT_EQUAL(clpd_poll(p.c, -1, &r), 0); /* nothing awaited: no endless wait */
    /* an id is not used again: a repeated answer hits nothing */
    CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id[1]), 0);
    CU_ASSERT_NOT_EQUAL(id[1], got[39]);
    peer_close(&p);
}

static void test_answer_byte_by_byte(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    uint8_t body[4096];
    uint64_t id;
    struct answer a = good_answer();
    CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id), 0);
    (void)peer_request(&p, body);
    struct {
        struct clpd_header h;
        struct answer a;
    } __attribute__((packed))
    whole = {{.magic = CLPD_MAGIC, .version = 1, .type = CLPD_INFER_REPLY, .id = id, .bytes = sizeof a}, a};
    struct clpd_result r;
    for (size_t i = 0; i < sizeof whole; i++) {
        CU_ASSERT_EQUAL(clpd_poll(p.c, 0, &r), 0);
        CU_ASSERT_EQUAL(send(p.fd, (const char *)&whole + i, 1, MSG_NOSIGNAL), 1);
    }
    CU_ASSERT_EQUAL_FATAL(clpd_poll(p.c, 0, &r), 1);
    check_good(&r);
    peer_close(&p);
}

static void test_refusals_are_results(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    uint8_t body[4096];
    struct clpd_result r;
    uint64_t id;
    struct {
        struct clpd_reply reply;
        char text[12];
    } busy = {{.status = CLPD_BUSY, .text_bytes = 12}, "full\033[2Jup"};
    for (int type = CLPD_INFER_REPLY; type <= CLPD_ERROR; type += CLPD_ERROR - CLPD_INFER_REPLY) {
        CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id), 0);
        (void)peer_request(&p, body);
        peer_send(&p, (uint8_t)type, id, &busy, 96 + 12);
        CU_ASSERT_EQUAL_FATAL(clpd_poll(p.c, 1000, &r), 1);
        CU_ASSERT_EQUAL(r.status, CLPD_BUSY);
        CU_ASSERT_STRING_EQUAL(r.text, "full?[2Jup"); /* nothing that a terminal would obey */
        CU_ASSERT_EQUAL(r.items, 0);
        CU_ASSERT_PTR_NULL(r.top);
    }
    /* an error to no request in particular ends the connection, with the daemon's words */
    CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id), 0);
    peer_send(&p, CLPD_ERROR, 0, &busy, 96 + 12);
    CU_ASSERT_EQUAL(clpd_poll(p.c, 1000, &r), -EPROTO);
    CU_ASSERT_PTR_NOT_NULL(strstr(clpd_error(p.c), "full"));
    CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id), -EPROTO);
    peer_close(&p);
}

static void test_query(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    struct clpd_result r;
    clpd_set_timeout(p.c, 30);
    CU_ASSERT_EQUAL(clpd_query(p.c, CLPD_INFER, &r), -EINVAL);
    /* the id of the first request of a connection, as documented nowhere but stable here: generation 1, slot
     * 0 */
    peer_send(&p, CLPD_JSON_REPLY, (uint64_t)1 << 32, "{\"a\":1}", 7);
    CU_ASSERT_EQUAL_FATAL(clpd_query(p.c, CLPD_STATUS, &r), 0);
    CU_ASSERT_STRING_EQUAL(r.json, "{\"a\":1}");
    CU_ASSERT_EQUAL(r.json_bytes, 7);
    uint8_t body[16];
    CU_ASSERT_EQUAL(peer_request(&p, body).type, CLPD_STATUS);
    CU_ASSERT_EQUAL(clpd_query(p.c, CLPD_MODELS, &r), -ETIMEDOUT);
    CU_ASSERT_EQUAL(clpd_query(p.c, CLPD_MODELS, &r), -ETIMEDOUT); /* giving up is final */
    peer_close(&p);
}

static void test_classify_wants_quiet(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    struct clpd_result r;
    struct answer a = good_answer();
    peer_send(&p, CLPD_INFER_REPLY, (uint64_t)1 << 32, &a, sizeof a);
    CU_ASSERT_EQUAL_FATAL(clpd_classify(p.c, &two_pictures, &r), 0);
    check_good(&r);
    CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, NULL), 0);
    CU_ASSERT_EQUAL(clpd_classify(p.c, &two_pictures, &r), -EBUSY);
    CU_ASSERT_EQUAL(clpd_query(p.c, CLPD_STATUS, &r), -EBUSY);
    peer_close(&p);
}

/* --- what may not be ---------------------------------------------------------------- */

static void test_bad_requests(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    struct clpd_request q = two_pictures;
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    q.model = name;
    CU_ASSERT_EQUAL(clpd_submit(p.c, &q, NULL), -EINVAL);
    q = two_pictures;
    q.dims[1] = 0; /* a hole */
    CU_ASSERT_EQUAL(clpd_submit(p.c, &q, NULL), -EINVAL);
    q = two_pictures;
    q.dims[3] = 0; /* uint8 pictures have rank 4 */
    CU_ASSERT_EQUAL(clpd_submit(p.c, &q, NULL), -EINVAL);
    q = two_pictures;
    q.dims[0] = q.dims[1] = q.dims[2] = q.dims[3] = UINT32_MAX;
    CU_ASSERT_EQUAL(clpd_submit(p.c, &q, NULL), -EINVAL);
    q = two_pictures;
    q.format = 2;
    CU_ASSERT_EQUAL(clpd_submit(p.c, &q, NULL), -EINVAL);
    q = two_pictures;
    q.top_k = CLPD_MAX_TOP_K + 1;
    CU_ASSERT_EQUAL(clpd_submit(p.c, &q, NULL), -EINVAL);
    q = two_pictures;
    q.data = NULL;
    CU_ASSERT_EQUAL(clpd_submit(p.c, &q, NULL), -EINVAL);
    CU_ASSERT_EQUAL(clpd_pending(p.c), 0);
    CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, NULL), 0); /* the connection is none the worse */
    peer_close(&p);
}

typedef void (*spoil)(struct clpd_header *h, struct answer *a);
static void bad_magic(struct clpd_header *h, struct answer *a) {
    (void)a, h->magic ^= 1;
}
static void bad_version(struct clpd_header *h, struct answer *a) {
    (void)a, h->version = 2;
}
static void bad_type(struct clpd_header *h, struct answer *a) {
    (void)a, h->type = CLPD_INFER;
}
static void bad_flags(struct clpd_header *h, struct answer *a) {
    (void)a, h->flags = 1;
}
static void bad_id(struct clpd_header *h, struct answer *a) {
    (void)a, h->id += 1;
}
static void old_id(struct clpd_header *h, struct answer *a) {
    (void)a, h->id -= (uint64_t)1 << 32;
}
static void json_type(struct clpd_header *h, struct answer *a) {
    (void)a, h->type = CLPD_JSON_REPLY;
}
static void huge(struct clpd_header *h, struct answer *a) {
    (void)a, h->bytes = UINT64_MAX;
}
static void tiny(struct clpd_header *h, struct answer *a) {
    (void)a, h->bytes = 95;
}
static void short_body(struct clpd_header *h, struct answer *a) {
    (void)a, h->bytes--;
}
static void more_items(struct clpd_header *h, struct answer *a) {
    (void)h, a->reply.items = 3;
}
static void more_classes(struct clpd_header *h, struct answer *a) {
    (void)h, a->reply.classes = 4;
}
static void wrap_classes(struct clpd_header *h, struct answer *a) {
    (void)h, a->reply.classes = UINT32_MAX;
}
static void more_top(struct clpd_header *h, struct answer *a) {
    (void)h, a->reply.top_k = 3;
}
static void no_scores(struct clpd_header *h, struct answer *a) {
    (void)h, a->reply.has_scores = 0;
}
static void odd_scores(struct clpd_header *h, struct answer *a) {
    (void)h, a->reply.has_scores = 2;
}
static void more_text(struct clpd_header *h, struct answer *a) {
    (void)h, a->reply.text_bytes = UINT32_MAX;
}
static void no_end(struct clpd_header *h, struct answer *a) {
    (void)h, a->text[7] = 'x';
}
static void bad_index(struct clpd_header *h, struct answer *a) {
    (void)h, a->top[1][1].index = 3;
}
static void bad_label(struct clpd_header *h, struct answer *a) {
    (void)h, a->top[1][1].label = 8;
}
static void bad_error(struct clpd_header *h, struct answer *a) {
    (void)h, a->reply.status = CLPD_BUSY;
}
static void ok_error(struct clpd_header *h, struct answer *a) {
    (void)a, h->type = CLPD_ERROR;
}

static void test_wrong_answers(void) {
    static const spoil ways[] = {bad_magic,    bad_version, bad_type,  bad_flags,  bad_id,     old_id,
                                 json_type,    huge,        tiny,      short_body, more_items, more_classes,
                                 wrap_classes, more_top,    no_scores, odd_scores, more_text,  no_end,
                                 bad_index,    bad_label,   bad_error, ok_error};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct peer p;
        CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
        uint64_t id;
        CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id), 0);
        struct answer a = good_answer();
        struct clpd_header h = {
            .magic = CLPD_MAGIC, .version = 1, .type = CLPD_INFER_REPLY, .id = id, .bytes = sizeof a};
        ways[i](&h, &a);
        CU_ASSERT_EQUAL(send(p.fd, &h, sizeof h, MSG_NOSIGNAL), (ssize_t)sizeof h);
        CU_ASSERT_EQUAL(send(p.fd, &a, sizeof a, MSG_NOSIGNAL), (ssize_t)sizeof a);
        struct clpd_result r;
        int rc = clpd_poll(p.c, 1000, &r);
        if (rc != -EPROTO) fprintf(stderr, "\nspoilt in way %zu: %d\n", i, rc);
        CU_ASSERT_EQUAL(rc, -EPROTO);
        CU_ASSERT_EQUAL(clpd_poll(p.c, 1000, &r), -EPROTO);
        peer_close(&p);
    }
}

/* Every single byte of a good answer changed: never a crash (ASan), never out of bounds. */
static void test_every_byte_flipped(void) {
    struct answer good = good_answer();
    for (size_t at = 0; at < sizeof good; at++) {
        struct peer p;
        CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
        uint64_t id;
        CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id), 0);
        struct answer a = good;
        ((uint8_t *)&a)[at] ^= 0xff;
        peer_send(&p, CLPD_INFER_REPLY, id, &a, sizeof a);
        struct clpd_result r;
        int rc = clpd_poll(p.c, 1000, &r);
        CU_ASSERT(rc == 1 || rc == -EPROTO);
        for (uint32_t i = 0; rc == 1 && i < r.items * r.top_k; i++) {
            const char *label = clpd_result_label(&r, &r.top[i]);
            CU_ASSERT(!label || strlen(label) < 8);
        }
        peer_close(&p);
    }
}

static void test_peer_goes(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    uint64_t id;
    struct clpd_result r;
    CU_ASSERT_EQUAL(clpd_submit(p.c, &two_pictures, &id), 0);
    struct {
        struct clpd_reply reply;
        char text[5];
    } stop = {{.status = CLPD_SHUTTING_DOWN, .text_bytes = 5}, "stop"};
    peer_send(&p, CLPD_INFER_REPLY, id, &stop, 96 + 5);
    (void)close(p.fd);
    p.fd = -1;
    (void)clpd_submit(p.c, &two_pictures,
                      &id); /* into a closed socket: no signal, and what was said is still read */
    CU_ASSERT_EQUAL(clpd_poll(p.c, 1000, &r), 1);
    CU_ASSERT_EQUAL(r.status, CLPD_SHUTTING_DOWN);
    CU_ASSERT_EQUAL(clpd_poll(p.c, 1000, &r), -ECONNRESET);
    CU_ASSERT(strlen(clpd_error(p.c)) > 0);
    CU_ASSERT(clpd_submit(p.c, &two_pictures, &id) < 0);
    peer_close(&p);
}

static void test_no_daemon(void) {
    struct clpd *c;
    CU_ASSERT_EQUAL(clpd_connect("/nonexistent/clpd.sock", &c), -ENOENT);
    CU_ASSERT_PTR_NULL(c);
    char long_path[200];
    memset(long_path, 'x', sizeof long_path);
    long_path[199] = 0;
    CU_ASSERT_EQUAL(clpd_connect(long_path, &c), -ENAMETOOLONG);
    clpd_close(NULL);
}

/* --- both directions full ------------------------------------------------------------ */

enum { MANY = 400, BIG = 200 * 1000 };

/* A daemon that reads nothing while it has something to say: each answer is as long as the request. */
static void *echo_slowly(void *arg) {
    struct peer *p = arg;
    static uint8_t body[sizeof(struct clpd_infer) + BIG];
    static uint8_t reply[96 + BIG];
    for (int i = 0; i < MANY; i++) {
        struct clpd_header h;
        if (recv(p->fd, &h, sizeof h, MSG_WAITALL) != sizeof h) return NULL;
        if (recv(p->fd, body, (size_t)h.bytes, MSG_WAITALL) != (ssize_t)h.bytes) return NULL;
        struct clpd_reply a = {.items = 1, .classes = BIG / 4, .has_scores = 1};
        memcpy(reply, &a, sizeof a);
        memcpy(reply + 96, body + sizeof(struct clpd_infer), BIG);
        h.type = CLPD_INFER_REPLY;
        h.bytes = sizeof reply;
        if (send(p->fd, &h, sizeof h, MSG_NOSIGNAL) != sizeof h) return NULL;
        if (send(p->fd, reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply) return NULL;
    }
    return NULL;
}

static void test_no_deadlock(void) {
    struct peer p;
    CU_ASSERT_EQUAL_FATAL(peer_open(&p), 0);
    clpd_set_timeout(p.c, 20000);
    pthread_t t;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, echo_slowly, &p), 0);
    static float data[BIG / 4];
    static uint64_t id[MANY];
    struct clpd_request q = {.dims = {1, BIG / 4}, .data = data, .want_scores = 1};
    for (int i = 0; i < MANY; i++) {
        data[0] = (float)i;
        CU_ASSERT_EQUAL_FATAL(clpd_submit(p.c, &q, &id[i]), 0);
    }
    struct clpd_result r;
    for (int i = 0; i < MANY; i++) {
        CU_ASSERT_EQUAL_FATAL(clpd_poll(p.c, 20000, &r), 1);
        CU_ASSERT_EQUAL(r.id, id[i]);
        CU_ASSERT_EQUAL(r.scores[0], (float)i);
    }
    (void)pthread_join(t, NULL);
    peer_close(&p);
}

static void test_names(void) {
    CU_ASSERT_STRING_EQUAL(clpd_status_name(CLPD_OK), "ok");
    CU_ASSERT_STRING_EQUAL(clpd_status_name(CLPD_FORBIDDEN), "forbidden");
    CU_ASSERT_STRING_EQUAL(clpd_status_name(CLPD_CONFLICT), "conflict");
    CU_ASSERT_STRING_EQUAL(clpd_status_name(12), "unknown");
}

SUITE(clpd, {"a request is the wire's bytes", test_request_bytes},
      {"answers come in any order", test_answers_in_any_order},
      {"an answer may come byte by byte", test_answer_byte_by_byte},
      {"a refusal is a result", test_refusals_are_results},
      {"queries give JSON, within their time", test_query},
      {"classify needs a quiet connection", test_classify_wants_quiet},
      {"impossible requests are not sent", test_bad_requests},
      {"a wrong answer ends the connection", test_wrong_answers},
      {"any flipped byte is harmless", test_every_byte_flipped},
      {"what was said before the end is heard", test_peer_goes}, {"no daemon, no connection", test_no_daemon},
      {"full in both directions does not block", test_no_deadlock}, {"status names", test_names});
