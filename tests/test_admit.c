/* Admission: each check has its own status, and a request that passes holds its version. */
#include "daemon/admit.h"

#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <string.h>

static const struct admit_limits limits = {.tensor_bytes = 1 << 20, .reply_room = 4096};

static uint32_t status_of(const struct rig *r, const struct clpd_infer *q, uint64_t bytes) {
    struct admission a;
    struct frame_verdict v;
    admit(r->models, q, bytes, &limits, &a, &v);
    CU_ASSERT_EQUAL(v.fate == FRAME_TAKE, v.status == CLPD_OK);
    if (v.fate == FRAME_TAKE) admit_drop(&a);
    return v.status;
}

static void checks(void) {
    struct rig r;
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_EPOLL})) return;
    const struct clpd_infer good = {.model = "m", .top_k = 9, .timeout_us = 5, .dims = {2, 1, 2, 2}};
    struct clpd_infer q = good;
    CU_ASSERT_EQUAL(status_of(&r, &q, 32), CLPD_NO_MODEL);
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "m", 1, &(struct case_network){.factor = 2}));
    CU_ASSERT_EQUAL(status_of(&r, &q, 32), CLPD_OK);
    CU_ASSERT_EQUAL(status_of(&r, &q, 36), CLPD_BAD_SHAPE);
    CU_ASSERT_EQUAL(status_of(&r, &q, (1 << 20) + 1), CLPD_TOO_LARGE);
    q.model[0] = 'n';
    CU_ASSERT_EQUAL(status_of(&r, &q, 32), CLPD_NO_MODEL);
    q.model[0] = 0; /* the only one */
    CU_ASSERT_EQUAL(status_of(&r, &q, 32), CLPD_OK);
    q.format = 7;
    CU_ASSERT_EQUAL(status_of(&r, &q, 32), CLPD_BAD_REQUEST);
    q = good;
    q.dims[0] = 4096;
    q.flags = CLPD_WANT_SCORES; /* 64 KiB of scores */
    CU_ASSERT_EQUAL(status_of(&r, &q, 4096 * 16), CLPD_TOO_LARGE);
    rig_close(&r);
}

static void filling(void) {
    struct rig r;
    struct admission a;
    struct frame_verdict v;
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_EPOLL})) return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "m", 1, &(struct case_network){.factor = 2}));
    const struct clpd_infer q = {.model = "m", .top_k = 9, .timeout_us = 5, .dims = {2, 1, 2, 2}};
    struct version *version = models_find(r.models, "m");
    const uint32_t references = atomic_load(&version->references);
    admit(r.models, &q, 32, &limits, &a, &v);
    CU_ASSERT_EQUAL_FATAL(v.fate, FRAME_TAKE);
    CU_ASSERT_EQUAL(atomic_load(&version->references), references + 1);
    struct request request = {.items = 0};
    admit_fill(&a, &request, 1000);
    CU_ASSERT_TRUE(request.version == version && request.queue == &version->model->queue &&
                   request.key == version->signature);
    CU_ASSERT_TRUE(request.items == 2 && request.top_k == 4 && !request.want_scores &&
                   request.deadline_ns == 6000);
    admit_drop(&a);
    CU_ASSERT_EQUAL(atomic_load(&version->references), references);
    rig_close(&r);
}

SUITE(admit, {"every check has its status", checks}, {"what passes holds its version", filling});
