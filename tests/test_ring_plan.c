/* The layout of a ring for whatever is asked, and the one look at a request. */
#include "daemon/ring_plan.h"

#include "tests/suite.h"

#include <string.h>

/* Offsets lie in the memory, do not overlap, and are aligned, for whatever is asked. */
static void plans(void) {
    const struct ring_limits limits = {.slots = 1024, .tensor_bytes = 1 << 30, .bytes = 1ull << 42};
    const uint64_t tensors[] = {1, 63, 64, 65, 4095, 150528, 1 << 30}, replies[] = {0, 1, 96, 4097, 1 << 20};
    for (uint32_t slots = 1; slots <= 1024; slots *= 2)
        for (size_t t = 0; t < 7; t++)
            for (size_t p = 0; p < 5; p++) {
                const struct clpd_ring_open ask = {
                    .slots = slots, .tensor_bytes = tensors[t], .reply_bytes = replies[p]};
                struct clpd_ring_info i;
                struct frame_verdict v;
                CU_ASSERT_TRUE_FATAL(ring_plan(&ask, &limits, &i, &v));
                CU_ASSERT_TRUE(i.requests_at >= sizeof(struct clpd_ring_head) &&
                               i.answers_at >= i.requests_at + slots * sizeof(struct clpd_ring_request) &&
                               i.slots_at >= i.answers_at + slots * sizeof(struct clpd_ring_answer));
                CU_ASSERT_TRUE(i.tensor_at >= replies[p] &&
                               i.tensor_at >= sizeof(struct clpd_reply) + FRAME_TEXT &&
                               i.tensor_room >= tensors[t] && i.tensor_at + i.tensor_room <= i.slot_bytes);
                CU_ASSERT_TRUE(i.slots_at + slots * i.slot_bytes <= i.bytes);
                CU_ASSERT_EQUAL((i.slots_at | i.slot_bytes | i.tensor_at) % 64, 0);
            }
}

/* By the counter, wherever that stands; and what is wild is told from what is only wrong. */
static void reading(void) {
    struct clpd_ring_request in[8], out;
    for (uint32_t i = 0; i < 8; i++)
        in[i] = (struct clpd_ring_request){
            .id = i, .slot = 7 - i, .tensor_bytes = UINT64_MAX, .infer = {.format = 77}};
    for (uint32_t n = UINT32_MAX - 20; n != 20; n++) {
        CU_ASSERT_TRUE(ring_read((const uint8_t *)in, 8, n, &out));
        CU_ASSERT_TRUE(out.id == n % 8 && out.slot == 7 - n % 8 && out.infer.format == 77);
        CU_ASSERT_EQUAL(memcmp(&out, &in[n % 8], sizeof out), 0);
    }
    in[3].slot = 8;
    in[4].slot = UINT32_MAX;
    in[5].reserved = 1;
    in[6].reserved2 = 1;
    for (uint32_t n = 0; n < 8; n++)
        CU_ASSERT_EQUAL(ring_read((const uint8_t *)in, 8, n, &out), n < 3 || n == 7);
}

SUITE(ring_plan, {"whatever is asked for is laid out soundly", plans},
      {"a request is read once and judged", reading});
