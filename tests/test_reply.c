/* Replies: what lies where, probabilities, labels once each and only where they fit. */
#include "daemon/reply.h"
#include "daemon/request.h"
#include "tests/daemon_case.h"
#include "tests/mutate.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_retire(struct version *v) {
    version_free(v);
}

static struct version *load(const struct case_network *n) {
    struct err e = {0};
    struct image *img;
    uint64_t bytes;
    const int fd = case_image(n, "x", &bytes);
    const struct link_message offer = case_offer("m", 9, "x", bytes);
    CU_ASSERT_EQUAL_FATAL(image_map(fd, true, &img, &e), 0);
    close(fd);
    struct version *v = version_new(img, &offer, 8, 1 << 20, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    v->retire = on_retire;
    return v;
}

static const struct reply_facts facts = {.queue_ns = 5, .compute_ns = 6, .batch = 7};

/* Two pictures; `room` bytes for the answer, which begins aligned as slots are, and what is left before a
 * page that can't be touched stays untouched. */
static struct clpd_reply answer(const struct version *v, uint32_t k, bool scores, size_t room,
                                struct mutate_room *at, uint8_t **reply, size_t *bytes) {
    static const float x[2][4] = {{1, 4, 3, 2}, {0.5f, 0.25f, 0.125f, 0.75f}};
    struct reply_scratch s = {0};
    struct err e;
    struct clpd_reply head;
    const size_t aligned = (room + 15) & ~(size_t)15;
    uint8_t *zero = calloc(1, aligned);
    CU_ASSERT_EQUAL_FATAL(reply_scratch_reserve(&s, v->classes, &e), 0);
    *reply = mutate_room_put(at, zero, aligned);
    struct request r = {.items = 2, .top_k = k, .want_scores = scores, .reply = *reply, .reply_room = room};
    for (uint32_t i = 0; i < 2; i++) reply_put_item(v, &r, i, x[i]);
    reply_finish(v, &r, &facts, &s);
    CU_ASSERT_EQUAL(r.status, CLPD_OK);
    CU_ASSERT_TRUE(r.reply_bytes <= room);
    for (size_t i = room; i < aligned; i++) CU_ASSERT_EQUAL((*reply)[i], 0);
    *bytes = r.reply_bytes;
    memcpy(&head, *reply, sizeof head);
    reply_scratch_free(&s);
    free(zero);
    return head;
}

static struct clpd_top top_at(const uint8_t *reply, bool scores, uint32_t i) {
    struct clpd_top t;
    memcpy(&t, reply + sizeof(struct clpd_reply) + (scores ? 8 * sizeof(float) : 0) + i * sizeof t, sizeof t);
    return t;
}

static void parts(void) {
    struct version *v = load(&(struct case_network){.factor = 1, .labels = 4});
    struct mutate_room room;
    uint8_t *reply;
    size_t bytes;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, 4096), 0);
    const struct clpd_reply h = answer(v, 2, true, 4096, &room, &reply, &bytes);
    CU_ASSERT_TRUE(h.items == 2 && h.classes == 4 && h.top_k == 2 && h.has_scores == 1 && h.version == 9);
    CU_ASSERT_TRUE(h.queue_ns == 5 && h.compute_ns == 6 && h.batch == 7 && h.reserved == 0 &&
                   h.reserved2 == 0);
    CU_ASSERT_EQUAL(memcmp(h.sha256, v->sha256, 32), 0);
    CU_ASSERT_EQUAL(bytes, reply_bytes(v, 2, 2, true) + h.text_bytes);
    CU_ASSERT_EQUAL(h.text_bytes, 4 * sizeof "class 0"); /* 1, 2; 3, 0 */
    const struct clpd_top best = top_at(reply, true, 0), second = top_at(reply, true, 1),
                          other = top_at(reply, true, 2);
    CU_ASSERT_TRUE(best.index == 1 && best.score == 4 && second.index == 2 && other.index == 3);
    const double sum = exp(1) + exp(2) + exp(3) + exp(4);
    CU_ASSERT_DOUBLE_EQUAL(best.probability, exp(4) / sum, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(second.probability, exp(3) / sum, 1e-6);
    const char *text = (const char *)reply + bytes - h.text_bytes;
    CU_ASSERT_STRING_EQUAL(text + best.label, "class 1");
    CU_ASSERT_STRING_EQUAL(text + other.label, "class 3");
    mutate_room_close(&room);
    version_put(v);
}

/* Whatever room there is for labels: none goes past it, and what is left out says so. */
static void little_room(void) {
    struct version *v = load(&(struct case_network){.factor = 1, .labels = 4});
    struct mutate_room room;
    uint8_t *reply;
    size_t bytes;
    const size_t least = reply_bytes(v, 2, 4, false);
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, 4096), 0);
    for (size_t extra = 0; extra <= 4 * sizeof "class 0" + 1; extra++) {
        const struct clpd_reply h = answer(v, 4, false, least + extra, &room, &reply, &bytes);
        uint32_t named = 0;
        for (uint32_t i = 0; i < 8; i++) {
            const struct clpd_top t = top_at(reply, false, i);
            named += t.label != CLPD_NO_LABEL;
            CU_ASSERT_TRUE(t.label == CLPD_NO_LABEL || t.label + sizeof "class 0" <= h.text_bytes);
        }
        CU_ASSERT_EQUAL(named, 2 * (extra / sizeof "class 0" < 4 ? extra / sizeof "class 0" : 4));
    }
    mutate_room_close(&room);
    version_put(v);
}

static void probabilities(void) {
    struct version *v = load(&(struct case_network){.factor = 1, .softmax = true});
    struct mutate_room room;
    uint8_t *reply;
    size_t bytes;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, 4096), 0);
    CU_ASSERT_TRUE(v->is_probability);
    const struct clpd_reply h = answer(v, 4, false, 4096, &room, &reply, &bytes);
    CU_ASSERT_EQUAL(h.text_bytes, 0);
    const struct clpd_top t = top_at(reply, false, 4); /* the second picture's best */
    CU_ASSERT_TRUE(t.index == 3 && t.score == 0.75f && t.probability == 0.75f && t.label == CLPD_NO_LABEL);
    mutate_room_close(&room);
    version_put(v);
}

static void sizes(void) {
    struct version v = {.classes = 1000, .pictures = 1};
    CU_ASSERT_EQUAL(reply_bytes(&v, 3, 5, true), sizeof(struct clpd_reply) + 3 * (4000 + 80));
    CU_ASSERT_EQUAL(reply_bytes(&v, 3, 0, false), sizeof(struct clpd_reply));
    v.classes = UINT32_MAX;
    v.pictures = 1000;
    CU_ASSERT_EQUAL(reply_bytes(&v, UINT32_MAX, 1000, true), SIZE_MAX);
}

/* The marks of 2^32 replies are used up: labels of old replies must not be taken for this one's. */
static void marks_wrap(void) {
    struct version *v = load(&(struct case_network){.factor = 1, .labels = 4});
    struct reply_scratch s = {0};
    struct err e;
    uint8_t reply[1024];
    const float x[4] = {1, 2, 3, 4};
    CU_ASSERT_EQUAL_FATAL(reply_scratch_reserve(&s, v->classes, &e), 0);
    s.reply = UINT32_MAX - 1;
    for (int i = 0; i < 4; i++) {
        struct request r = {.items = 1, .top_k = 4, .reply = reply, .reply_room = sizeof reply};
        struct clpd_reply h;
        s.label_of[i] = 1; /* a mark of 2^32 replies ago */
        reply_put_item(v, &r, 0, x);
        reply_finish(v, &r, &facts, &s);
        memcpy(&h, reply, sizeof h);
        CU_ASSERT_TRUE(i == 2 || h.text_bytes == 4 * sizeof "class 0");
    }
    reply_scratch_free(&s);
    version_put(v);
}

SUITE(reply, {"its parts", parts}, {"little room for labels", little_room},
      {"a network that ends in Softmax", probabilities}, {"sizes", sizes}, {"marks wrap", marks_wrap});
