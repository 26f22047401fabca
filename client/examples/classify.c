/* Asks clpd once, over its stream socket.
 *
 * usage: classify SOCKET MODEL FLOATS      a model whose input is [1,1,1,FLOATS] */
#include <clpd/clpd.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    const uint32_t floats = (uint32_t)atoi(argv[3]);
    float *x = calloc(floats, sizeof *x);
    struct clpd_request q = {
        .model = argv[2], .format = CLPD_F32_NCHW, .dims = {1, 1, 1, floats}, .data = x, .top_k = 3};
    struct clpd_result r;
    struct clpd *c;
    int rc = x ? clpd_connect(argv[1], &c) : -1;
    if (rc) {
        fprintf(stderr, "no connection: %d\n", rc);
        return 1;
    }
    rc = clpd_classify(c, &q, &r);
    if (rc || r.status != CLPD_OK)
        fprintf(stderr, "%s\n", rc ? clpd_error(c) : r.text);
    else
        printf("class %u, score %g, version %llu, computed in %llu ns\n", r.top[0].index,
               (double)r.top[0].score, (unsigned long long)r.version, (unsigned long long)r.compute_ns);
    clpd_close(c);
    free(x);
    return rc || r.status != CLPD_OK;
}
