/* Versions: offered, checked, warmed, published, swapped under load, retired, unmapped. */
#include "daemon/models.h"
#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool open_rig(struct rig *r, uint32_t threads) {
    return rig_open(r, &(struct rig_options){.loop = LOOP_ANY, .threads = threads});
}

static void serving(void) {
    struct rig r;
    if (!open_rig(&r, 2)) return;
    CU_ASSERT_PTR_NULL(models_find(r.models, "a"));
    CU_ASSERT_PTR_NULL(models_find(r.models, ""));
    CU_ASSERT_TRUE(rig_load(&r, "a", 1, &(struct case_network){.factor = 2, .labels = 4}));
    struct version *v = models_find(r.models, "a");
    CU_ASSERT_PTR_NOT_NULL_FATAL(v);
    CU_ASSERT_PTR_EQUAL(models_find(r.models, ""), v);
    CU_ASSERT_EQUAL(v->number, 1);
    CU_ASSERT_EQUAL(v->classes, 4);
    CU_ASSERT_EQUAL(v->max_items, 8);
    CU_ASSERT_EQUAL(v->input.f32_bytes, 16);
    CU_ASSERT_EQUAL(v->input.u8_bytes, 4);
    CU_ASSERT_EQUAL(memcmp(v->sha256, r.answer.sha256, 32), 0);
    CU_ASSERT_EQUAL(v->pruned_channels, 3);
    CU_ASSERT_STRING_EQUAL(r.why, "");
    CU_ASSERT_TRUE(rig_load(&r, "b", 7, &(struct case_network){.factor = 3}));
    CU_ASSERT_PTR_NULL(models_find(r.models, "")); /* two: which? */
    CU_ASSERT_EQUAL(models_count(r.models), 2);
    CU_ASSERT_EQUAL(models_swaps(r.models), 0);
    CU_ASSERT_TRUE(rig_load(&r, "a", 2, &(struct case_network){.factor = 2}));
    CU_ASSERT_EQUAL(models_swaps(r.models), 1);
    CU_ASSERT_EQUAL(models_find(r.models, "a")->number, 2);
    rig_close(&r);
}

/* Each of these is refused with its own words, and nothing changes. */
static void refused(void) {
    struct rig r;
    uint64_t bytes;
    if (!open_rig(&r, 1)) return;
    CU_ASSERT_TRUE(rig_load(&r, "a", 1, &(struct case_network){.factor = 2}));
    const struct version *before = models_find(r.models, "a");
    for (int i = 0; i < 6; i++) {
        static const char *const words[] = {
            "sealed", "header", "made from", "count from 1", "limits.request_bytes", ""};
        const struct case_network huge = {.width = 1200, .factor = 1}, small = {.factor = 4};
        struct link_message offer;
        int fd = case_image(i == 4 ? &huge : &small, "x", &bytes);
        offer = case_offer("a", 2, "x", bytes);
        if (i == 0) {
            close(fd);
            fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
            CU_ASSERT_EQUAL(ftruncate(fd, 4096), 0);
        } else if (i == 1) {
            close(fd);
            fd = memfd_create("rubbish", MFD_CLOEXEC | MFD_ALLOW_SEALING);
            CU_ASSERT_EQUAL(ftruncate(fd, 4096), 0);
            CU_ASSERT_EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
                            0);
        } else if (i == 2) {
            offer.sha256[5] ^= 1;
        } else if (i == 3) {
            offer.model_version = 0;
        }
        const uint32_t answers = r.answers, accepted = r.accepted;
        CU_ASSERT_TRUE(models_offer(r.models, &offer, fd, 0));
        CU_ASSERT_TRUE_FATAL(rig_wait(&r, &r.answers, answers + 1));
        CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), -1); /* taken in every case */
        if (i == 5) {                            /* and the good one is accepted after all these */
            CU_ASSERT_EQUAL(r.accepted, accepted + 1);
            continue;
        }
        CU_ASSERT_EQUAL(r.accepted, accepted);
        if (i != 1) CU_ASSERT_PTR_NOT_NULL(strstr(r.why, words[i]));
        CU_ASSERT_TRUE(r.why[0] != 0);
        CU_ASSERT_PTR_EQUAL(models_find(r.models, "a"), before);
    }
    rig_close(&r);
}

static void retired(void) {
    struct rig r;
    if (!open_rig(&r, 1)) return;
    CU_ASSERT_TRUE(rig_load(&r, "a", 1, &(struct case_network){.factor = 2}));
    CU_ASSERT_TRUE(models_retire(r.models, "a"));
    CU_ASSERT_TRUE(models_retire(r.models, "nobody"));
    for (int i = 0; i < 3000 && models_count(r.models); i++) rig_turn(&r, 1);
    CU_ASSERT_EQUAL(models_count(r.models), 0);
    /* an offer that came before its model's retirement must not outlive it */
    uint64_t bytes;
    const int fd = case_image(&(struct case_network){.factor = 1}, "x", &bytes);
    const struct link_message offer = case_offer("a", 2, "x", bytes);
    CU_ASSERT_TRUE(models_offer(r.models, &offer, fd, 0));
    CU_ASSERT_TRUE(models_retire(r.models, "a"));
    CU_ASSERT_TRUE(rig_wait(&r, &r.answers, 2));
    for (int i = 0; i < 3000 && !models_are_idle(r.models); i++) rig_turn(&r, 1);
    CU_ASSERT_EQUAL(models_count(r.models), 0);
    /* places are used anew: more names over time than the table has places */
    for (uint32_t i = 0; i < MODELS_MAX + 20; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%u", i);
        CU_ASSERT_TRUE_FATAL(rig_load(&r, name, 1, &(struct case_network){.factor = 2}));
        CU_ASSERT_TRUE(models_retire(r.models, name));
    }
    for (int i = 0; i < 3000 && models_count(r.models); i++) rig_turn(&r, 1);
    CU_ASSERT_EQUAL(models_count(r.models), 0);
    rig_close(&r);
}

static void fill_table(struct rig *r) {
    char name[16];
    for (uint32_t i = 0; i < MODELS_MAX; i++) {
        (void)snprintf(name, sizeof name, "m%u", i);
        CU_ASSERT_TRUE_FATAL(rig_load(r, name, 1, &(struct case_network){.factor = 2}));
    }
}

static void full_table(void) {
    struct rig r;
    if (!open_rig(&r, 1)) return;
    fill_table(&r);
    CU_ASSERT_FALSE(rig_load(&r, "one-more", 1, &(struct case_network){.factor = 2}));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "256 models"));
    CU_ASSERT_TRUE(rig_load(&r, "m3", 2, &(struct case_network){.factor = 2})); /* a new version still fits */
    rig_close(&r);
}

/* --- swaps under load --------------------------------------------------------------------- */

enum { IN_FLIGHT = 12 };

static bool ask_once(struct rig *r, int fd, uint64_t id, uint32_t width) {
    const struct clpd_infer q = {
        .model = "s", .flags = CLPD_WANT_SCORES, .format = CLPD_F32_NCHW, .dims = {1, 1, width, width}};
    const float x[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    return rig_send_infer(r, fd, id, &q, x, width * width * sizeof(float));
}

/* 100 versions, each multiplies by its own number: no answer may fail, or not be that of the version it
 * names. */
static void swaps(void) {
    struct rig r;
    struct clpd_header h;
    uint8_t *body;
    uint64_t id = 0, answered = 0, seen_last = 0, versions = 0, wrong = 0;
    if (!open_rig(&r, 2)) return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "s", 1, &(struct case_network){.factor = 1, .work = 20}));
    const int fd = rig_connect(&r);
    for (int i = 0; i < IN_FLIGHT; i++) CU_ASSERT_TRUE(ask_once(&r, fd, id++, 2));
    for (uint64_t version = 2; version <= 100; version++) {
        char source[64];
        uint64_t bytes;
        (void)snprintf(source, sizeof source, "s %u", (unsigned)version);
        const int image =
            case_image(&(struct case_network){.factor = (float)version, .work = 20}, source, &bytes);
        const struct link_message offer = case_offer("s", version, source, bytes);
        const uint32_t answers = r.answers;
        CU_ASSERT_TRUE(models_offer(r.models, &offer, image, 0));
        while (r.answers == answers) {
            if (!rig_receive(&r, fd, &h, &body)) CU_FAIL_FATAL("an answer is missing");
            struct clpd_reply reply;
            float scores[4];
            memcpy(&reply, body, sizeof reply);
            memcpy(scores, body + sizeof reply, sizeof scores);
            free(body);
            wrong += reply.status != CLPD_OK || scores[0] != (float)reply.version || scores[3] != scores[0];
            versions += reply.version > seen_last;
            if (reply.version > seen_last) seen_last = reply.version;
            answered++;
            if (!ask_once(&r, fd, id++, 2)) CU_FAIL_FATAL("the connection is closed");
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_TRUE(versions > 50 && answered > versions);
    CU_ASSERT_EQUAL(models_swaps(r.models), 99);
    while (answered++ < id) {
        if (!rig_receive(&r, fd, &h, &body)) CU_FAIL_FATAL("an answer is missing");
        free(body);
    }
    for (int i = 0; i < 3000 && models_at(r.models, 0)->n_versions > 1; i++) rig_turn(&r, 1);
    CU_ASSERT_EQUAL(models_at(r.models, 0)->n_versions, 1); /* the old ones are gone */
    CU_ASSERT_EQUAL(models_requests(models_at(r.models, 0)), id);
    close(fd);
    rig_close(&r);
}

/* A large network serves before it has been run, and is answered for when it has. */
static void large(void) {
    const struct case_network n = {.width = 256, .factor = 2, .work = 60};
    struct rig r;
    if (!open_rig(&r, 2)) return;
    for (uint64_t version = 1; version <= 3; version++) {
        CU_ASSERT_TRUE_FATAL(rig_load(&r, "s", version, &n));
        struct version *v = models_find(r.models, "s");
        CU_ASSERT_PTR_NOT_NULL_FATAL(v);
        CU_ASSERT_EQUAL(v->number, version);
        CU_ASSERT_TRUE(v->item_ns > 0);
        CU_ASSERT_EQUAL(models_swaps(r.models), version - 1);
        for (int i = 0; i < 3000 && models_at(r.models, 0)->n_versions > 1; i++) rig_turn(&r, 1);
        CU_ASSERT_EQUAL(models_at(r.models, 0)->n_versions, 1);
    }
    rig_close(&r);
}

enum { WIDE = 192, PIXELS = WIDE * WIDE };

struct asker { /* of a large network; its answers have to be those of the version that they name */
    struct rig *r;
    int fd;
    uint64_t asked, answered, wrong;
    float ones[PIXELS];
};

static void ask_wide(struct asker *a) {
    const struct clpd_infer q = {
        .model = "s", .flags = CLPD_WANT_SCORES, .format = CLPD_F32_NCHW, .dims = {1, 1, WIDE, WIDE}};
    CU_ASSERT_TRUE_FATAL(rig_send_infer(a->r, a->fd, a->asked++, &q, a->ones, sizeof a->ones));
}

static void take_wide(struct asker *a) {
    struct clpd_header h;
    struct clpd_reply reply;
    uint8_t *body;
    float scores[PIXELS];
    CU_ASSERT_TRUE_FATAL(rig_receive(a->r, a->fd, &h, &body));
    memcpy(&reply, body, sizeof reply);
    if (reply.status == CLPD_OK) memcpy(scores, body + sizeof reply, sizeof scores);
    free(body);
    a->answered++;
    a->wrong +=
        reply.status != CLPD_OK || scores[0] != (float)reply.version || scores[PIXELS - 1] != scores[0];
}

/* Asks for as long as the version serves and has not been tried. Returns how often. */
static uint32_t ask_while_untried(struct asker *a, uint64_t version, uint32_t answers) {
    uint32_t early = 0;
    while (a->r->answers == answers) {
        const struct version *v = models_find(a->r->models, "s");
        const bool untried = v && v->number == version;
        if (untried && a->asked - a->answered < IN_FLIGHT) {
            early++;
            ask_wide(a);
        } else if (a->asked > a->answered) {
            take_wide(a);
        } else {
            rig_turn(a->r, 1);
        }
    }
    return early;
}

/* A large network is asked from when it serves, which is before its first run, and while that runs. The last
 * one is retired before it has been tried. */
static void large_under_load(void) {
    enum { VERSIONS = 8 };
    struct rig r;
    uint32_t early = 0;
    struct asker *a = calloc(1, sizeof *a);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    if (!open_rig(&r, 2)) {
        free(a);
        return;
    }
    a->r = &r;
    a->fd = rig_connect(&r);
    for (int i = 0; i < PIXELS; i++) a->ones[i] = 1;
    for (uint64_t version = 1; version <= VERSIONS; version++) {
        const struct case_network n = {.width = WIDE, .factor = (float)version, .work = 100};
        char source[64];
        uint64_t bytes;
        (void)snprintf(source, sizeof source, "s %u", (unsigned)version);
        const int image = case_image(&n, source, &bytes);
        const struct link_message offer = case_offer("s", version, source, bytes);
        const uint32_t answers = r.answers;
        CU_ASSERT_TRUE_FATAL(models_offer(r.models, &offer, image, 0));
        if (version == VERSIONS) CU_ASSERT_TRUE(models_retire(r.models, "s"));
        early += ask_while_untried(a, version, answers);
        while (a->asked > a->answered) take_wide(a);
    }
    CU_ASSERT_EQUAL(a->wrong, 0);
    CU_ASSERT_TRUE(early >= VERSIONS);
    CU_ASSERT_EQUAL(r.accepted, VERSIONS);
    for (int i = 0; i < 30000 && !models_are_idle(r.models); i++) rig_turn(&r, 1);
    CU_ASSERT_PTR_NULL(models_find(r.models, "s"));
    close(a->fd);
    rig_close(&r);
    free(a);
}

/* There is no place for it: it is tried all the same, and is gone then. */
static void large_without_a_place(void) {
    struct rig r;
    if (!open_rig(&r, 1)) return;
    fill_table(&r);
    CU_ASSERT_FALSE(
        rig_load(&r, "one-more", 1, &(struct case_network){.width = 256, .factor = 2, .work = 60}));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.why, "256 models"));
    rig_close(&r);
}

/* The new version takes another shape: what was accepted before still runs, on the version that takes it. */
static void other_shape(void) {
    struct rig r;
    struct clpd_header h;
    uint8_t *body;
    if (!open_rig(&r, 1)) return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "s", 1, &(struct case_network){.factor = 2}));
    const int fd = rig_connect(&r);
    /* half of a request has arrived when the model changes */
    const struct clpd_infer q = {
        .model = "s", .flags = CLPD_WANT_SCORES, .format = CLPD_F32_NCHW, .dims = {1, 1, 2, 2}};
    uint8_t frame[FRAME_HEADER + sizeof q + 16] = {0};
    (void)frame_write_header(frame, CLPD_INFER, 1, sizeof q + 16);
    memcpy(frame + FRAME_HEADER, &q, sizeof q);
    CU_ASSERT_TRUE(rig_send(&r, fd, frame, sizeof frame - 4));
    rig_turn(&r, 2);
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "s", 2, &(struct case_network){.factor = 3, .width = 4}));
    CU_ASSERT_EQUAL(models_at(r.models, 0)->n_versions, 2);
    CU_ASSERT_TRUE(rig_send(&r, fd, frame + sizeof frame - 4, 4));
    CU_ASSERT_TRUE(ask_once(&r, fd, 2, 4)); /* and one for the new shape right behind */
    CU_ASSERT_TRUE(ask_once(&r, fd, 3, 2)); /* the old shape is refused from now on */
    for (int i = 0; i < 3; i++) {
        struct clpd_reply reply;
        CU_ASSERT_TRUE_FATAL(rig_receive(&r, fd, &h, &body));
        memcpy(&reply, body, sizeof reply);
        free(body);
        CU_ASSERT_EQUAL(reply.status, h.id == 3 ? CLPD_BAD_SHAPE : CLPD_OK);
        CU_ASSERT_EQUAL(reply.version, h.id == 3 ? 0 : h.id);
        CU_ASSERT_EQUAL(reply.classes, h.id == 1 ? 4 : h.id == 2 ? 16 : 0);
    }
    for (int i = 0; i < 3000 && models_at(r.models, 0)->n_versions > 1; i++) rig_turn(&r, 1);
    CU_ASSERT_EQUAL(models_at(r.models, 0)->n_versions, 1);
    close(fd);
    rig_close(&r);
}

/* Retired while requests wait: they are computed, on the version they came for. */
static void retired_under_load(void) {
    struct rig r;
    struct clpd_header h;
    uint8_t *body;
    unsigned ok = 0, none = 0;
    if (!open_rig(&r, 1)) return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "s", 1, &(struct case_network){.factor = 2}));
    const int fd = rig_connect(&r);
    for (uint64_t i = 0; i < 8; i++) CU_ASSERT_TRUE(ask_once(&r, fd, i, 2));
    rig_turn(&r, 1);
    CU_ASSERT_TRUE(models_retire(r.models, "s"));
    for (int i = 0; i < 3000 && models_count(r.models); i++) rig_turn(&r, 1);
    for (uint64_t i = 8; i < 10; i++) CU_ASSERT_TRUE(ask_once(&r, fd, i, 2));
    for (int i = 0; i < 10; i++) {
        struct clpd_reply reply;
        CU_ASSERT_TRUE_FATAL(rig_receive(&r, fd, &h, &body));
        memcpy(&reply, body, sizeof reply);
        free(body);
        ok += reply.status == CLPD_OK && h.id < 8;
        none += reply.status == CLPD_NO_MODEL && h.id >= 8;
    }
    CU_ASSERT_TRUE(ok == 8 && none == 2);
    close(fd);
    rig_close(&r);
}

/* Pictures that come in threes only. */
static void fixed_batch(void) {
    struct rig r;
    struct clpd_header h;
    uint8_t *body;
    struct clpd_reply reply;
    float x[24], scores[24];
    if (!open_rig(&r, 2)) return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "s", 1, &(struct case_network){.factor = 5, .pictures = 3}));
    CU_ASSERT_EQUAL(models_find(r.models, "s")->max_items, 2);
    const int fd = rig_connect(&r);
    for (int i = 0; i < 24; i++) x[i] = (float)i;
    struct clpd_infer q = {
        .model = "s", .flags = CLPD_WANT_SCORES, .format = CLPD_F32_NCHW, .dims = {6, 1, 2, 2}};
    CU_ASSERT_TRUE(rig_send_infer(&r, fd, 1, &q, x, sizeof x));
    CU_ASSERT_TRUE_FATAL(rig_receive(&r, fd, &h, &body));
    memcpy(&reply, body, sizeof reply);
    memcpy(scores, body + sizeof reply, sizeof scores);
    free(body);
    CU_ASSERT_TRUE(reply.status == CLPD_OK && reply.items == 6 && reply.classes == 4 && reply.batch == 6);
    for (int i = 0; i < 24; i++) CU_ASSERT_EQUAL(scores[i], 5 * x[i]);
    q.dims[0] = 4;
    CU_ASSERT_TRUE(rig_send_infer(&r, fd, 1, &q, x, 64));
    CU_ASSERT_TRUE_FATAL(rig_receive(&r, fd, &h, &body));
    memcpy(&reply, body, sizeof reply);
    CU_ASSERT_EQUAL(reply.status, CLPD_BAD_SHAPE);
    CU_ASSERT_PTR_NOT_NULL(strstr((char *)body + sizeof reply, "[3N,1,2,2]"));
    free(body);
    close(fd);
    rig_close(&r);
}

SUITE(models, {"offers that are accepted", serving}, {"offers that are refused", refused},
      {"retired models", retired}, {"a full table", full_table}, {"100 swaps under load", swaps},
      {"a large network", large}, {"a large network under load", large_under_load},
      {"a large network without a place", large_without_a_place}, {"a version of another shape", other_shape},
      {"retired under load", retired_under_load}, {"pictures in threes", fixed_batch});
