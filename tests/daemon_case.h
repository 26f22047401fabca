/* A daemon without its guard, for tests: loop, workers, models, server on one
 * thread, and clients whose ends the test holds. Networks multiply their input
 * by a factor, so every answer tells which version computed it. */
#ifndef TESTS_DAEMON_CASE_H
#define TESTS_DAEMON_CASE_H

#include "daemon/models.h"
#include "daemon/server.h"

struct case_network {
    float factor;
    uint32_t width;    /* pictures are [1, width, width], one score per pixel; 0: 2 */
    uint32_t pictures; /* in one item; 0: 1 */
    uint32_t labels;   /* "class 0", … */
    bool softmax;
    uint32_t work; /* multiplications by 1 before that, to take time */
};
/* A sealed memfd with the compiled network; its digest is that of `source`. */
int case_image(const struct case_network *n, const char *source, uint64_t *bytes);
struct link_message case_offer(const char *model, uint64_t version, const char *source, uint64_t bytes);

struct rig_options {
    enum loop_kind loop;
    uint32_t threads, max_batch, queue, inflight, connections; /* 0: 2, 8, 64, 16, 8 */
    uint64_t request_bytes;                                    /* 0: 1 MiB */
    uint32_t user_connections, user_queue;                     /* 0: no limit */
    uint32_t rings;                                            /* 0: 8 */
    uint64_t spin_ns;                                          /* 0: workers sleep at once */
};
struct rig {
    struct loop *loop;
    struct workers *workers;
    struct models *models;
    struct server server;
    struct link_message answer; /* the last offer that was dealt with */
    uint32_t answers, accepted;
    char why[512];
};
/* false: this kernel lacks the back end (said by suite_skip). */
bool rig_open(struct rig *r, const struct rig_options *o);
void rig_close(struct rig *r);
/* Turns until *n reaches `want`; false: it does not, for two minutes. */
bool rig_wait(struct rig *r, const uint32_t *n, uint32_t want);
void rig_turn(struct rig *r, unsigned turns); /* a millisecond each */

/* Offers and waits for the answer: whether it was accepted. */
bool rig_load(struct rig *r, const char *model, uint64_t version, const struct case_network *n);

/* A client: a non-blocking socket, its other end served by the rig. */
int rig_connect(struct rig *r);
/* Writes all of it, turning the loop where the socket is full. false: the other end is closed. */
bool rig_send(struct rig *r, int fd, const void *bytes, size_t n);
bool rig_send_infer(struct rig *r, int fd, uint64_t id, const struct clpd_infer *q, const void *tensor,
                    size_t bytes);
/* The next frame within two minutes; its body is malloc'ed. false: closed, or nothing came. */
bool rig_receive(struct rig *r, int fd, struct clpd_header *h, uint8_t **body);
bool rig_is_closed(struct rig *r, int fd); /* by the daemon, within two minutes */

#endif
