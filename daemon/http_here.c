/* The request path of a network that takes microseconds: this thread computes it, as the loop does for its
 * streams. To wake the loop and be woken by it takes several times as long. */
#include "daemon/http_internal.h"

#include "client/libclpd.h"
#include "daemon/admit.h"
#include "daemon/server.h"

#define REPLY_ROOM 8192 /* for larger answers the wake-ups are no matter */

static void answer(struct http_exchange *x, const struct clpd_request *q, const struct request *r,
                   void (*done)(struct http_exchange *, const struct clpd_result *)) {
    const struct asked asked = {.items = q->dims[0], .top_k = q->top_k, .want_scores = q->want_scores != 0};
    struct clpd_result result = {.text = ""};
    const char *wrong = r->status == CLPD_OK ? libclpd_read_reply(r->reply, r->reply_bytes, &asked, &result)
                                             : admit_status_text(r->status);
    if (wrong)
        http_fail(x, 500, "%s", wrong);
    else
        done(x, &result);
}

bool http_run_here(struct http_exchange *x, struct version *v, const struct clpd_request *q,
                   void (*done)(struct http_exchange *, const struct clpd_result *)) {
    _Alignas(8) uint8_t reply[REPLY_ROOM];
    struct server *s = x->plane->all->server;
    const struct admit_limits room = {.tensor_bytes = x->plane->all->config->limit_request_bytes,
                                      .reply_room = sizeof reply};
    struct request r = {
        .input = q->data, .reply = reply, .reply_room = sizeof reply, .arrived_ns = loop_clock()};
    struct clpd_infer head;
    struct frame_verdict verdict;
    struct admission a;
    uint64_t bytes;
    const char *why;
    if (!workers_may_run_here(v) || libclpd_make_head(q, &head, &bytes, &why)) return false;
    admit_to(v, &head, bytes, &room, &a, &verdict);
    if (verdict.fate != FRAME_TAKE) return false; /* the loop says why */
    admit_fill(&a, &r, r.arrived_ns);
    if (!workers_run_here(s->workers, &r)) {
        admit_drop(&a);
        return false;
    }
    server_count(s, r.status);
    answer(x, q, &r, done);
    version_put(r.version);
    return true;
}
