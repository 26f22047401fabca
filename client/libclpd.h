/* What the two ways of libclpd share: an answer is checked before anything of it is given out. Not installed.
 */
#ifndef CLIENT_LIBCLPD_H
#define CLIENT_LIBCLPD_H

#include "client/clpd.h"

struct asked { /* what a request wanted, as far as its answer has to agree */
    uint32_t items;
    uint16_t top_k;
    uint8_t want_scores;
};

#define LIBCLPD_MAX_REPLY ((size_t)256 << 20) /* far over 1,000 pictures with 10,000 scores each */

/* Holds the body of a reply against what was asked; *r then points into it. `body` is 4-byte aligned and,
 * where status is not OK, writable with a byte behind it. NULL, or what is wrong. */
const char *libclpd_read_reply(uint8_t *body, size_t bytes, const struct asked *asked, struct clpd_result *r);

/* Checks and copies what goes into a request's head. 0 or -EINVAL with *why set; *bytes: of the tensor. */
int libclpd_make_head(const struct clpd_request *q, struct clpd_infer *head, uint64_t *bytes,
                      const char **why);

/* A request that goes another way than over the socket: its answer is awaited like any other's. 0, with its
 * head, its id and the tensor's size; or as clpd_submit. */
int libclpd_expect(struct clpd *c, const struct clpd_request *q, struct clpd_infer *head, uint64_t *bytes,
                   uint64_t *id);

#endif
