/* A client of a rig's, for the tests of connections: requests to one model, "two", which doubles its input,
 * and answers whose parts were held against each other. */
#ifndef TESTS_CONNECTION_CASE_H
#define TESTS_CONNECTION_CASE_H

#include "tests/daemon_case.h"

struct answer {
    struct clpd_header h;
    struct clpd_reply r;
    float scores[1024];
    struct clpd_top top[64];
    char text[512];
};

struct clpd_infer case_ask(uint32_t n);                  /* n pictures of 2 x 2 */
bool case_hear(struct rig *r, int fd, struct answer *a); /* the next answer; false: the end */
/* Of a request with so many zeros; `word` is in the text. */
uint32_t case_status(struct rig *r, int fd, const struct clpd_infer *q, size_t bytes, const char *word);
/* `test` on each back end that this kernel has. */
void case_on_both(const struct rig_options *like, void (*test)(struct rig *r));

#endif
