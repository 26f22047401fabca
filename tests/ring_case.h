/* A client of a shared-memory ring that writes what the test wants, sound or not, into the rig's memory. */
#ifndef TESTS_RING_CASE_H
#define TESTS_RING_CASE_H

#include "client/ring.h"
#include "tests/daemon_case.h"

struct ring_client {
    int fd, bell; /* connection, eventfd */
    struct clpd_ring_info info;
    uint8_t *memory;
    struct clpd_ring_head *head;
    struct clpd_reply refusal; /* where none was given */
    char why[640];
};

/* Asks over the connection `fd`, which becomes the ring's. false: refused (->refusal, ->why). */
bool ring_client_open(struct rig *r, struct ring_client *c, int fd, const struct clpd_ring_open *ask);
void ring_client_close(struct ring_client *c); /* its connection too; unmaps */

uint8_t *ring_client_slot(const struct ring_client *c,
                          uint32_t slot); /* the reply; the tensor lies tensor_at behind */
/* A request for `pictures` of `width` squared pixels, each x, x + 1, … */
struct clpd_ring_request ring_client_request(const struct ring_client *c, uint32_t slot, const char *model,
                                             uint32_t pictures, uint32_t width, float x);
/* Writes it as the next one and counts up; rings where the daemon sleeps. */
void ring_client_submit(struct ring_client *c, const struct clpd_ring_request *q);
/* Turns until so many answers are there, two seconds at most. */
bool ring_client_wait(struct rig *r, const struct ring_client *c, uint32_t answered);
struct clpd_ring_answer ring_client_answer(const struct ring_client *c, uint32_t nth);
struct clpd_reply ring_client_reply(const struct ring_client *c, uint32_t slot);
float ring_client_score(const struct ring_client *c, uint32_t slot, uint32_t i);
bool ring_client_is_closed(struct rig *r, const struct ring_client *c, uint32_t status);

#endif
