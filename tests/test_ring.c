/* Rings of a served daemon: answers in place, refusals that cost one request, clients that mean harm, ends.
 */
#include "daemon/ring.h"

#include "daemon/admit.h"
#include "tests/ring_case.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WIDTH = 4, PIXELS = WIDTH * WIDTH };

static const struct clpd_ring_open eight = {.slots = 8, .tensor_bytes = 4 * PIXELS * 4};

static bool open_rig(struct rig *r, struct ring_client *c, uint64_t spin_ns) {
    if (!rig_open(r, &(struct rig_options){.loop = LOOP_EPOLL, .spin_ns = spin_ns, .inflight = 64}))
        return false;
    CU_ASSERT_TRUE_FATAL(rig_load(r, "m", 1, &(struct case_network){.factor = 2, .width = WIDTH}));
    CU_ASSERT_TRUE_FATAL(ring_client_open(r, c, rig_connect(r), &eight));
    return true;
}

static void close_rig(struct rig *r, struct ring_client *c) {
    ring_client_close(c);
    rig_close(r);
    CU_ASSERT_EQUAL(r->server.n_rings, 0);
}

static void many_answers(uint64_t spin_ns) {
    struct rig r;
    struct ring_client c;
    if (!open_rig(&r, &c, spin_ns)) return;
    unsigned wrong = 0;
    for (uint32_t n = 0; n < 400; n++) {
        const uint32_t slot = n * 3 % 8;
        const struct clpd_ring_request q =
            ring_client_request(&c, slot, n % 2 ? "m" : "", 1, WIDTH, (float)n);
        ring_client_submit(&c, &q);
        CU_ASSERT_TRUE_FATAL(ring_client_wait(&r, &c, n + 1));
        const struct clpd_ring_answer a = ring_client_answer(&c, n);
        const struct clpd_reply reply = ring_client_reply(&c, slot);
        wrong += a.id != 1000 + slot || a.slot != slot || a.bytes != sizeof reply + PIXELS * sizeof(float);
        wrong += reply.status != CLPD_OK || reply.items != 1 || reply.version != 1 || reply.batch != 1;
        wrong += ring_client_score(&c, slot, 5) != 2 * ((float)n + 5);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(atomic_load(&r.server.counters.ok), 400);
    close_rig(&r, &c);
}

static void answers_to_a_sleeper(void) {
    many_answers(0);
}

static void answers_to_a_spinner(void) {
    many_answers(1000000);
}

/* All slots at once, several times over: each is answered once, whatever the order. */
static void all_slots(void) {
    struct rig r;
    struct ring_client c;
    if (!open_rig(&r, &c, 0)) return;
    for (uint32_t round = 0; round < 50; round++) {
        uint32_t seen = 0;
        for (uint32_t i = 0; i < 8; i++) {
            struct clpd_ring_request q =
                ring_client_request(&c, i, "m", 1 + i % 4, WIDTH, (float)(round * 8 + i));
            q.infer.top_k = 3;
            ring_client_submit(&c, &q);
        }
        CU_ASSERT_TRUE_FATAL(ring_client_wait(&r, &c, 8 * (round + 1)));
        for (uint32_t i = 0; i < 8; i++) {
            const struct clpd_ring_answer a = ring_client_answer(&c, 8 * round + i);
            const struct clpd_reply reply = ring_client_reply(&c, a.slot);
            CU_ASSERT_TRUE(reply.status == CLPD_OK && reply.items == 1 + a.slot % 4 && reply.top_k == 3);
            CU_ASSERT_EQUAL(ring_client_score(&c, a.slot, 1), 2 * (float)(round * 8 + a.slot + 1));
            seen |= 1u << a.slot;
        }
        CU_ASSERT_EQUAL(seen, 0xff);
    }
    close_rig(&r, &c);
}

static void refusals_go_on(void) {
    struct rig r;
    struct ring_client c;
    if (!open_rig(&r, &c, 0)) return;
    struct clpd_ring_request good = ring_client_request(&c, 0, "m", 1, WIDTH, 1), q;
    const struct {
        size_t offset, n;
        uint64_t value;
        uint32_t status;
    } cases[] = {
        {offsetof(struct clpd_ring_request, infer.model), 8, 'x', CLPD_NO_MODEL},
        {offsetof(struct clpd_ring_request, infer.dims), 4, 0, CLPD_BAD_SHAPE},
        {offsetof(struct clpd_ring_request, infer.dims[1]), 4, UINT32_MAX, CLPD_BAD_SHAPE},
        {offsetof(struct clpd_ring_request, infer.dims[0]), 4, 1u << 30, CLPD_BAD_SHAPE},
        {offsetof(struct clpd_ring_request, infer.format), 1, 9, CLPD_BAD_REQUEST},
        {offsetof(struct clpd_ring_request, infer.flags), 1, 0x80, CLPD_BAD_REQUEST},
        {offsetof(struct clpd_ring_request, infer.top_k), 2, 60000, CLPD_BAD_REQUEST},
        {offsetof(struct clpd_ring_request, tensor_bytes), 8, 4, CLPD_BAD_SHAPE},
        {offsetof(struct clpd_ring_request, tensor_bytes), 8, UINT64_MAX, CLPD_TOO_LARGE},
        {offsetof(struct clpd_ring_request, tensor_bytes), 8, 1 << 20, CLPD_TOO_LARGE},
    };
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        q = good;
        memcpy((uint8_t *)&q + cases[i].offset, &cases[i].value, cases[i].n);
        ring_client_submit(&c, &q);
        CU_ASSERT_TRUE_FATAL(ring_client_wait(&r, &c, ++n));
        const struct clpd_reply reply = ring_client_reply(&c, 0);
        CU_ASSERT_EQUAL(reply.status, cases[i].status);
        CU_ASSERT_EQUAL(ring_client_answer(&c, n - 1).bytes, sizeof reply + reply.text_bytes);
        CU_ASSERT_EQUAL(strlen((char *)ring_client_slot(&c, 0) + sizeof reply) + 1, reply.text_bytes);
        ring_client_submit(&c, &good);
        CU_ASSERT_TRUE_FATAL(ring_client_wait(&r, &c, ++n));
        CU_ASSERT_EQUAL(ring_client_reply(&c, 0).status, CLPD_OK);
    }
    memset(q.infer.model, 'a', sizeof q.infer.model); /* without an end */
    ring_client_submit(&c, &q);
    CU_ASSERT_TRUE_FATAL(ring_client_wait(&r, &c, ++n));
    CU_ASSERT_EQUAL(ring_client_reply(&c, 0).status, CLPD_BAD_REQUEST);
    CU_ASSERT_EQUAL(c.head->closed, 0);
    close_rig(&r, &c);
}

/* What no client of good will writes closes its ring, and nothing else. */
static void hostile(int what) {
    struct rig r;
    struct ring_client good, bad;
    if (!open_rig(&r, &good, what % 2 ? 200000 : 0)) return;
    CU_ASSERT_TRUE_FATAL(ring_client_open(&r, &bad, rig_connect(&r), &eight));
    struct clpd_ring_request q = ring_client_request(&bad, 0, "m", 1, WIDTH, 1);
    switch (what) {
    case 0: q.slot = 8; break;
    case 1: q.slot = UINT32_MAX; break;
    case 2: q.reserved = 1; break;
    case 3: q.reserved2 = 1; break;
    case 4: bad.head->submitted = 9; break;              /* ten requests in eight slots */
    case 5: bad.head->submitted = UINT32_MAX - 1; break; /* backwards */
    default: /* one slot twice: the second may come after the first is through, so often */
        for (int i = 0; i < 7; i++) {
            memcpy(bad.memory + bad.info.requests_at + (size_t)i * sizeof q, &q, sizeof q);
            bad.head->submitted = (uint32_t)i;
        }
    }
    ring_client_submit(&bad, &q);
    CU_ASSERT_TRUE(ring_client_is_closed(&r, &bad, CLPD_BAD_REQUEST));
    const struct clpd_ring_request fine = ring_client_request(&good, 1, "m", 1, WIDTH, 1);
    for (uint32_t n = 1; n <= 20; n++) {
        ring_client_submit(&good, &fine);
        ring_client_submit(&bad, &fine); /* nobody listens */
        CU_ASSERT_TRUE_FATAL(ring_client_wait(&r, &good, n));
        CU_ASSERT_EQUAL(ring_client_reply(&good, 1).status, CLPD_OK);
    }
    ring_client_close(&bad);
    close_rig(&r, &good);
}

static void hostile_indices(void) {
    for (int what = 0; what < 7; what++) hostile(what);
}

/* A hole punched into the memory reads as zeros, for either side: no SIGBUS. */
static void holes(void) {
    struct rig r;
    struct ring_client c;
    if (!open_rig(&r, &c, 0)) return;
    struct clpd_ring_request q = ring_client_request(&c, 0, "m", 1, WIDTH, 1);
    ring_client_submit(&c, &q);
    CU_ASSERT_TRUE(ring_client_wait(&r, &c, 1));
    CU_ASSERT_EQUAL(madvise(c.memory, c.info.bytes, MADV_REMOVE), 0);
    c.head->submitted = 1;     /* as it was */
    c.head->daemon_sleeps = 1; /* and this, or nobody rings */
    ring_client_submit(&c, &q);
    const uint64_t end = loop_clock() + 2000000000ull;
    while (c.head->answered != 2 && loop_clock() < end) rig_turn(&r, 1);
    CU_ASSERT_EQUAL(c.head->answered, 2);
    CU_ASSERT_EQUAL(ring_client_score(&c, 0, 3), 0);
    close_rig(&r, &c);
}

static void who_reads_nothing(void) {
    struct rig r;
    struct ring_client c;
    if (!open_rig(&r, &c, 0)) return;
    const struct clpd_ring_request q = ring_client_request(&c, 3, "m", 1, WIDTH, 1);
    for (uint32_t n = 1; n <= 100; n++) { /* far more than there are answers */
        ring_client_submit(&c, &q);
        CU_ASSERT_TRUE_FATAL(ring_client_wait(&r, &c, n));
    }
    CU_ASSERT_EQUAL(c.head->closed, 0);
    close_rig(&r, &c);
}

static void who_leaves_with_work_under_way(void) {
    struct rig r;
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_EPOLL, .threads = 1})) return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "m", 1, &(struct case_network){.factor = 2, .width = 64, .work = 20}));
    for (int round = 0; round < 5; round++) {
        struct ring_client c;
        CU_ASSERT_TRUE_FATAL(ring_client_open(
            &r, &c, rig_connect(&r),
            &(struct clpd_ring_open){.slots = 8, .tensor_bytes = 16384, .reply_bytes = 20000}));
        for (uint32_t i = 0; i < 8; i++) {
            const struct clpd_ring_request q = ring_client_request(&c, i, "m", 1, 64, 1);
            ring_client_submit(&c, &q);
        }
        if (round % 2) CU_ASSERT_TRUE(ring_client_wait(&r, &c, 8));
        close(c.fd);
        CU_ASSERT_TRUE(ring_client_is_closed(&r, &c, CLPD_SHUTTING_DOWN));
        const uint64_t end = loop_clock() + 2000000000ull;
        while (r.server.n_rings && loop_clock() < end) rig_turn(&r, 1);
        CU_ASSERT_EQUAL(r.server.n_rings, 0);
        munmap(c.memory, c.info.bytes);
        close(c.bell);
    }
    CU_ASSERT_EQUAL(workers_queued(r.workers), 0);
    rig_close(&r);
}

static void late_requests(void) {
    struct rig r;
    struct ring_client c;
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_EPOLL, .threads = 1, .max_batch = 1})) return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "m", 1, &(struct case_network){.factor = 2, .width = 64, .work = 40}));
    CU_ASSERT_TRUE_FATAL(
        ring_client_open(&r, &c, rig_connect(&r),
                         &(struct clpd_ring_open){.slots = 4, .tensor_bytes = 16384, .reply_bytes = 20000}));
    for (uint32_t i = 0; i < 4; i++) {
        struct clpd_ring_request q = ring_client_request(&c, i, "m", 1, 64, 1);
        q.infer.timeout_us = i == 3 ? 1 : 0;
        ring_client_submit(&c, &q);
    }
    CU_ASSERT_TRUE(ring_client_wait(&r, &c, 4));
    CU_ASSERT_EQUAL(ring_client_reply(&c, 0).status, CLPD_OK);
    CU_ASSERT_EQUAL(ring_client_reply(&c, 3).status, CLPD_DEADLINE);
    close_rig(&r, &c);
}

static void stopping(void) {
    struct rig r;
    struct ring_client c;
    if (!open_rig(&r, &c, 0)) return;
    server_drain(&r.server);
    const struct clpd_ring_request q = ring_client_request(&c, 0, "m", 1, WIDTH, 1);
    ring_client_submit(&c, &q);
    CU_ASSERT_TRUE(ring_client_wait(&r, &c, 1));
    CU_ASSERT_EQUAL(ring_client_reply(&c, 0).status, CLPD_SHUTTING_DOWN);
    close_rig(&r, &c);
}

static void limits_of_rings(void) {
    struct rig r;
    struct ring_client c[4];
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_EPOLL, .rings = 3})) return;
    const int fd = rig_connect(&r);
    struct clpd_ring_open ask = eight;
    ask.slots = 3;
    CU_ASSERT_TRUE(!ring_client_open(&r, &c[0], fd, &ask) && c[0].refusal.status == CLPD_BAD_REQUEST);
    ask.slots = 64; /* over limits.inflight */
    CU_ASSERT_TRUE(!ring_client_open(&r, &c[0], fd, &ask) && c[0].refusal.status == CLPD_TOO_LARGE);
    ask.slots = 0;
    CU_ASSERT_TRUE(!ring_client_open(&r, &c[0], fd, &ask) && c[0].refusal.status == CLPD_BAD_REQUEST);
    ask = (struct clpd_ring_open){.slots = 8, .tensor_bytes = UINT64_MAX};
    CU_ASSERT_TRUE(!ring_client_open(&r, &c[0], fd, &ask) && c[0].refusal.status == CLPD_TOO_LARGE);
    ask = (struct clpd_ring_open){.slots = 8, .tensor_bytes = 1, .reply_bytes = UINT64_MAX};
    CU_ASSERT_TRUE(!ring_client_open(&r, &c[0], fd, &ask) && c[0].refusal.status == CLPD_TOO_LARGE);
    ask = (struct clpd_ring_open){.slots = 8, .tensor_bytes = 1 << 20}; /* 8 MiB and more: over ring_bytes */
    CU_ASSERT_TRUE(!ring_client_open(&r, &c[0], fd, &ask) && c[0].refusal.status == CLPD_TOO_LARGE);
    ask = (struct clpd_ring_open){.slots = 8, .tensor_bytes = 1, .flags = 1};
    CU_ASSERT_TRUE(!ring_client_open(&r, &c[0], fd, &ask) && c[0].refusal.status == CLPD_BAD_REQUEST);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_TRUE_FATAL(ring_client_open(&r, &c[i], i ? rig_connect(&r) : fd, &eight));
    CU_ASSERT_TRUE(!ring_client_open(&r, &c[3], c[0].fd, &eight) && c[3].refusal.status == CLPD_BUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(c[3].why, "limits.rings"));
    for (int i = 0; i < 3; i++) ring_client_close(&c[i]);
    rig_close(&r);
}

/* A ring counts with all its slots, and one user's connections together have a share. */
static void shares_of_a_user(void) {
    struct rig r;
    struct ring_client first, second;
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_EPOLL, .user_queue = 10, .user_connections = 2}))
        return;
    CU_ASSERT_TRUE_FATAL(rig_load(&r, "m", 1, &(struct case_network){.factor = 2, .width = WIDTH}));
    CU_ASSERT_TRUE_FATAL(ring_client_open(&r, &first, rig_connect(&r), &eight));
    const int fd = rig_connect(&r), third = rig_connect(&r);
    CU_ASSERT_TRUE(rig_is_closed(&r, third));
    CU_ASSERT_TRUE(!ring_client_open(&r, &second, fd, &eight) && second.refusal.status == CLPD_BUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(second.why, "limits.user_queue"));
    CU_ASSERT_EQUAL(r.server.users.first->requests, 8);
    ring_client_close(&first);
    const uint64_t end = loop_clock() + 2000000000ull;
    while (r.server.n_connections > 1 && loop_clock() < end) rig_turn(&r, 1);
    CU_ASSERT_EQUAL(r.server.users.first->requests, 0);
    CU_ASSERT_TRUE_FATAL(ring_client_open(&r, &second, fd, &eight));
    ring_client_close(&second);
    close(third);
    rig_close(&r);
    CU_ASSERT_PTR_NULL(r.server.users.first);
}

static void both_back_ends(void) {
    const enum loop_kind kinds[] = {LOOP_URING, LOOP_EPOLL};
    for (int i = 0; i < 2; i++) {
        struct rig r;
        struct ring_client c;
        if (!rig_open(&r, &(struct rig_options){.loop = kinds[i]})) continue;
        CU_ASSERT_TRUE_FATAL(rig_load(&r, "m", 1, &(struct case_network){.factor = 2, .width = WIDTH}));
        CU_ASSERT_TRUE_FATAL(ring_client_open(&r, &c, rig_connect(&r), &eight));
        const struct clpd_ring_request q = ring_client_request(&c, 0, "m", 1, WIDTH, 1);
        ring_client_submit(&c, &q);
        CU_ASSERT_TRUE(ring_client_wait(&r, &c, 1));
        close_rig(&r, &c);
    }
}

SUITE(ring, {"a sleeping daemon is woken by every request", answers_to_a_sleeper},
      {"a spinning daemon sees every request", answers_to_a_spinner},
      {"all slots at once, any order", all_slots},
      {"a bad request is refused in its slot, and the ring goes on", refusals_go_on},
      {"wild indices close the ring that they are in", hostile_indices},
      {"holes in the memory are zeros", holes}, {"who reads no answers harms nobody", who_reads_nothing},
      {"a client's end frees its ring when what ran is through", who_leaves_with_work_under_way},
      {"deadlines hold in rings", late_requests}, {"a daemon that stops says so", stopping},
      {"limits of rings", limits_of_rings}, {"one user has a share, over all connections", shares_of_a_user},
      {"io_uring and epoll hand over descriptors", both_back_ends});
