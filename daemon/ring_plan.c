/* Every sum below is bounded by the limits that were checked before it. */
#include "daemon/ring_plan.h"

#include <inttypes.h>
#include <string.h>

#define PAGE        ((uint64_t)4096)
#define LINE        ((uint64_t)64)
#define LEAST_REPLY (sizeof(struct clpd_reply) + FRAME_TEXT) /* a refusal has to fit */

static uint64_t round_up(uint64_t n, uint64_t to) {
    return (n + to - 1) / to * to;
}

bool ring_plan(const struct clpd_ring_open *ask, const struct ring_limits *limits, struct clpd_ring_info *out,
               struct frame_verdict *v) {
    const uint32_t most = limits->slots < CLPD_RING_MAX_SLOTS ? limits->slots : CLPD_RING_MAX_SLOTS;
    if (ask->flags || ask->reserved)
        return frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "flags and reserved of RING_OPEN have to be 0");
    if (ask->slots == 0 || (ask->slots & (ask->slots - 1)))
        return frame_refuse(v, FRAME_SKIPS, CLPD_BAD_REQUEST, "%u slots: it takes a power of two",
                            ask->slots);
    if (ask->slots > most)
        return frame_refuse(v, FRAME_SKIPS, CLPD_TOO_LARGE, "%u slots; a ring may have %u (limits.inflight)",
                            ask->slots, most);
    if (ask->tensor_bytes == 0 || ask->tensor_bytes > limits->tensor_bytes)
        return frame_refuse(v, FRAME_SKIPS, CLPD_TOO_LARGE,
                            "tensors of %" PRIu64 " bytes; limits.request_bytes is %" PRIu64,
                            ask->tensor_bytes, limits->tensor_bytes);
    if (ask->reply_bytes > limits->bytes)
        return frame_refuse(v, FRAME_SKIPS, CLPD_TOO_LARGE,
                            "answers of %" PRIu64 " bytes; limits.ring_bytes is %" PRIu64, ask->reply_bytes,
                            limits->bytes);
    const uint64_t reply = ask->reply_bytes ? ask->reply_bytes : CLPD_RING_REPLY_BYTES;
    *out = (struct clpd_ring_info){.version = CLPD_RING_VERSION, .slots = ask->slots};
    out->requests_at = sizeof(struct clpd_ring_head);
    out->answers_at = out->requests_at + ask->slots * (uint32_t)sizeof(struct clpd_ring_request);
    out->slots_at = round_up(out->answers_at + ask->slots * sizeof(struct clpd_ring_answer), PAGE);
    out->tensor_at = round_up(reply < LEAST_REPLY ? LEAST_REPLY : reply, LINE);
    out->tensor_room = round_up(ask->tensor_bytes, LINE);
    out->slot_bytes = out->tensor_at + out->tensor_room;
    out->bytes = round_up(out->slots_at + ask->slots * out->slot_bytes, PAGE); /* < 2^10 * 2^41 */
    if (out->bytes > limits->bytes)
        return frame_refuse(v, FRAME_SKIPS, CLPD_TOO_LARGE,
                            "such a ring takes %" PRIu64 " bytes; limits.ring_bytes is %" PRIu64, out->bytes,
                            limits->bytes);
    v->fate = FRAME_TAKE;
    v->status = CLPD_OK;
    return true;
}

/* Word by word, each read once: a client that writes meanwhile gets what it mixed, checked like anything
 * else. */
bool ring_read(const uint8_t *requests, uint32_t slots, uint32_t at, struct clpd_ring_request *out) {
    const uint64_t *from = (const uint64_t *)(const void *)(requests + (size_t)(at & (slots - 1)) *
                                                                           sizeof(struct clpd_ring_request));
    uint64_t words[sizeof(struct clpd_ring_request) / sizeof(uint64_t)];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        words[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
    memcpy(out, words, sizeof *out);
    return out->slot < slots && out->reserved == 0 && out->reserved2 == 0;
}
