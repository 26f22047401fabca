/* What the client of a ring controls: the plan that it asks for (32 bytes), then requests (128 bytes each) as
 * they lie in shared memory, read at any counter, and held against the limits and a model. */
#include "client/ring.h"
#include "daemon/frame.h"
#include "daemon/ring_plan.h"
#include "tests/fuzz/support/fuzz.h"

#include <string.h>

static void plan(const struct clpd_ring_open *ask) {
    const struct ring_limits limits = {.slots = 1024, .tensor_bytes = 1u << 30, .bytes = 1ull << 34};
    struct clpd_ring_info i;
    struct frame_verdict v = {.status = 99};
    if (!ring_plan(ask, &limits, &i, &v)) {
        FUZZ_MUST(v.status != CLPD_OK && memchr(v.text, 0, sizeof v.text), "%u", v.status);
        return;
    }
    const uint64_t n = i.slots;
    FUZZ_MUST(n && n <= 1024 && (n & (n - 1)) == 0 && i.bytes <= limits.bytes, "%u slots", i.slots);
    FUZZ_MUST(i.requests_at >= sizeof(struct clpd_ring_head) &&
                  i.answers_at >= i.requests_at + n * sizeof(struct clpd_ring_request) &&
                  i.slots_at >= i.answers_at + n * sizeof(struct clpd_ring_answer) &&
                  i.slots_at + n * i.slot_bytes <= i.bytes,
              "%llu bytes", (unsigned long long)i.bytes);
    FUZZ_MUST(i.tensor_at >= ask->reply_bytes && i.tensor_room >= ask->tensor_bytes &&
                  i.tensor_at + i.tensor_room <= i.slot_bytes &&
                  ((i.slots_at | i.slot_bytes | i.tensor_at) & 63) == 0,
              "%llu", (unsigned long long)i.slot_bytes);
}

FUZZ(ring, 2048) {
    struct clpd_ring_open ask;
    struct clpd_ring_request q;
    struct frame_verdict v;
    if (size < sizeof ask + sizeof q + 4) return 0;
    memcpy(&ask, bytes, sizeof ask);
    plan(&ask);
    const uint8_t *at = bytes + sizeof ask;
    uint32_t counter, slots = 1, room = (uint32_t)((size - sizeof ask - 4) / sizeof q);
    while (slots * 2 <= room) slots *= 2;
    memcpy(&counter, at, sizeof counter);
    uint64_t *copy = malloc(slots * sizeof q); /* to the byte, so that a read beyond it is seen */
    if (!copy) return 0;
    memcpy(copy, at + 4, slots * sizeof q);
    if (ring_read((const uint8_t *)copy, slots, counter, &q)) {
        FUZZ_MUST(q.slot < slots, "slot %u", q.slot);
        frame_check_infer(&q.infer, &v);
        FUZZ_MUST((v.fate == FRAME_TAKE) == (v.status == CLPD_OK), "%u", v.status);
    }
    free(copy);
    return 0;
}
