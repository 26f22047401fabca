/* Every refusal says what the daemon would take instead. */
#include "daemon/admit.h"

#include "daemon/reply.h"

#include <inttypes.h>
#include <string.h>

static void refuse_model(const struct models *m, const char *name, struct frame_verdict *v) {
    char clean[CLPD_MODEL_NAME];
    size_t n = 0;
    for (; name[n]; n++) clean[n] = (unsigned char)name[n] < 0x20 || name[n] == 0x7f ? '?' : name[n];
    clean[n] = 0;
    if (n)
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_NO_MODEL, "no model \"%s\" is served", clean);
    else
        (void)frame_refuse(v, FRAME_SKIPS, CLPD_NO_MODEL, "%u models are served: the request has to name one",
                           models_count(m));
}

/* Fields and size. */
static bool is_sound(const struct clpd_infer *q, uint64_t tensor_bytes, const struct admit_limits *limits,
                     struct frame_verdict *v) {
    frame_check_infer(q, v);
    if (v->fate != FRAME_TAKE) return false;
    if (tensor_bytes <= limits->tensor_bytes) return true;
    (void)frame_refuse(v, FRAME_SKIPS, CLPD_TOO_LARGE,
                       "a tensor of %" PRIu64 " bytes; limits.request_bytes, or the ring, allows %" PRIu64,
                       tensor_bytes, limits->tensor_bytes);
    return false;
}

/* Shape, and size of the answer. */
static void match(struct version *version, const struct clpd_infer *q, uint64_t tensor_bytes,
                  const struct admit_limits *limits, struct admission *a, struct frame_verdict *v) {
    *a = (struct admission){.version = version,
                            .format = q->format,
                            .top_k = q->top_k < version->classes ? q->top_k : version->classes,
                            .want_scores = q->flags & CLPD_WANT_SCORES,
                            .timeout_us = q->timeout_us};
    frame_match(q, tensor_bytes, &version->input, &a->items, v);
    if (v->fate != FRAME_TAKE) return;
    if (reply_bytes(version, a->items, a->top_k, a->want_scores) > limits->reply_room) {
        (void)frame_refuse(
            v, FRAME_SKIPS, CLPD_TOO_LARGE,
            "its answer would be larger than there is room for (limits.request_bytes, or the ring's "
            "reply_bytes): "
            "ask for fewer pictures at once");
        return;
    }
    version_get(version);
}

void admit_to(struct version *version, const struct clpd_infer *q, uint64_t tensor_bytes,
              const struct admit_limits *limits, struct admission *a, struct frame_verdict *v) {
    if (is_sound(q, tensor_bytes, limits, v)) match(version, q, tensor_bytes, limits, a, v);
}

void admit(const struct models *m, const struct clpd_infer *q, uint64_t tensor_bytes,
           const struct admit_limits *limits, struct admission *a, struct frame_verdict *v) {
    if (!is_sound(q, tensor_bytes, limits, v)) return;
    struct version *version = models_find(m, q->model);
    if (version)
        match(version, q, tensor_bytes, limits, a, v);
    else
        refuse_model(m, q->model, v);
}

void admit_fill(const struct admission *a, struct request *r, uint64_t since) {
    r->version = a->version;
    r->queue = &a->version->model->queue;
    r->key = a->version->signature;
    r->items = a->items;
    r->format = a->format;
    r->top_k = a->top_k;
    r->want_scores = a->want_scores;
    r->deadline_ns = a->timeout_us ? since + (uint64_t)a->timeout_us * 1000 : 0;
}

void admit_drop(const struct admission *a) {
    version_put(a->version);
}

const char *admit_status_text(uint32_t status) {
    switch (status) {
    case CLPD_BUSY: return "the queue is full (limits.queue): try again later";
    case CLPD_DEADLINE: return "the time was up before it could run";
    case CLPD_SHUTTING_DOWN: return "the daemon is stopping";
    default: return "the computation failed";
    }
}
