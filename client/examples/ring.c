/* Keeps four requests under way over shared memory, as a camera loop would: write, submit, take what is
 * answered.
 *
 * usage: ring SOCKET MODEL FLOATS      a model whose input is [1,1,1,FLOATS] */
#include <clpd/clpd.h>
#include <stdio.h>
#include <stdlib.h>

enum { SLOTS = 4, REQUESTS = 1000 };

static int submit(struct clpd_ring *g, uint32_t slot, const struct clpd_request *q, int n) {
    float *x = clpd_ring_tensor(g, slot); /* the engine reads it here */
    for (uint32_t i = 0; i < q->dims[3]; i++) x[i] = (float)n;
    return clpd_ring_submit(g, slot, q, NULL);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    const uint32_t floats = (uint32_t)atoi(argv[3]);
    const struct clpd_request q = {.model = argv[2], .dims = {1, 1, 1, floats}, .want_scores = 1};
    const struct clpd_ring_options o = {.slots = SLOTS, .tensor_bytes = floats * sizeof(float)};
    struct clpd_result r = {.status = CLPD_OK};
    struct clpd_ring *g;
    uint32_t slot;
    char why[256];
    int sent = 0, answered = 0, rc = clpd_ring_open(argv[1], &o, &g, why, sizeof why);
    if (rc) {
        fprintf(stderr, "no ring: %d %s\n", rc, why);
        return 1;
    }
    while (rc == 0 && answered < REQUESTS) {
        while (rc == 0 && sent < REQUESTS && clpd_ring_take(g, &slot) == 0) rc = submit(g, slot, &q, sent++);
        if (rc) break;
        rc = clpd_ring_poll(g, 1000, &r, &slot) == 1 ? 0 : -1;
        if (rc == 0 && r.status != CLPD_OK) rc = (int)r.status;
        if (rc == 0) clpd_ring_give(g, slot);
        answered += rc == 0;
    }
    if (rc)
        fprintf(stderr, "%s%s\n", clpd_ring_error(g), r.text);
    else
        printf("%d answers from version %llu\n", answered, (unsigned long long)r.version);
    clpd_ring_close(g);
    return rc != 0;
}
