/* The half of scripts/bench-clp in C: times CLP on a model, and one pass over the same weights.
 *
 * bench-clp MODEL.onnx answers one line for each line on stdin:
 *   read    nanoseconds of summing all weights of convolutions up, in the order in which they lie
 *   clp     nanoseconds of CLP as the import worker runs it, on a fresh import
 *   sigma   nanoseconds of its singular values alone
 *   scores  {"layer": [uclc...]}, and on the next line {"layer": [pruned channels...]} */
#include "guard/clp.h"
#include "guard/clp_sigma.h"
#include "guard/import.h"
#include "infer/simd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct job {
    const uint8_t *bytes;
    size_t size;
    struct onnx_model *onnx;
    struct graph *graph;
    struct report report;
    struct clp_result clp;
};

static double now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

_Noreturn static void stop(const char *what) {
    (void)fprintf(stderr, "bench-clp: %s\n", what);
    exit(2);
}

/* In memory as the import worker has it. */
static void load(struct job *j, const char *path) {
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) stop(path);
    j->size = (size_t)st.st_size;
    uint8_t *p = mmap(NULL, j->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) stop("no memory");
    (void)madvise(p, j->size, MADV_HUGEPAGE);
    for (size_t have = 0; have < j->size;) {
        const ssize_t n = read(fd, p + have, j->size - have);
        if (n <= 0) stop("reading the model");
        have += (size_t)n;
    }
    (void)close(fd);
    j->bytes = p;
}

static void start(struct job *j) {
    struct err e = {0};
    if (import_onnx(j->bytes, j->size, &(struct import_options){0}, &j->onnx, &j->graph, &e) < 0)
        stop(e.text);
}

static void finish(struct job *j) {
    clp_result_free(&j->clp);
    report_free(&j->report);
    memset(&j->report, 0, sizeof j->report);
    graph_free(j->graph);
    onnx_model_free(j->onnx);
}

static const struct value *weight_of(const struct graph *g, int32_t n) {
    if (g->nodes[n].dead || g->nodes[n].op != OP_CONV) return NULL;
    const struct value *w = &g->values[g->nodes[n].inputs[1]];
    return w->data ? w : NULL;
}

SIMD_CLONES static float sum_up(const float *x, int64_t n) {
    float sums[4][SIMD_LANES] = {{0}};
    float total = 0;
    int64_t i = 0;
    for (; i + 4 * SIMD_LANES <= n; i += 4 * SIMD_LANES)
        for (int k = 0; k < 4; k++) SIMD_EACH(j) sums[k][j] += x[i + k * SIMD_LANES + j];
    for (int k = 0; k < 4; k++) total += (float)simd_sum(sums[k]);
    for (; i < n; i++) total += x[i];
    return total;
}

static double time_read(const struct job *j) {
    volatile float keep = 0;
    const double from = now_ns();
    for (int32_t n = 0; n < j->graph->n_nodes; n++) {
        const struct value *w = weight_of(j->graph, n);
        if (w) keep = keep + sum_up(w->data, shape_elements(&w->shape));
    }
    return now_ns() - from;
}

static double time_sigma(const struct job *j) {
    static double sigma[65536];
    const double from = now_ns();
    for (int32_t n = 0; n < j->graph->n_nodes; n++) {
        const struct value *w = weight_of(j->graph, n);
        if (!w || w->shape.dim[0] > 65536) continue;
        const int rows = (int)w->shape.dim[1], cols = (int)shape_product(&w->shape, 2, w->shape.rank);
        if (clp_sigma_max(w->data, (int)w->shape.dim[0], rows, cols, sigma) < 0) stop("no memory");
    }
    return now_ns() - from;
}

static double time_clp(struct job *j) {
    struct err e = {0};
    const struct clp_options o = {.threshold = 3};
    const double from = now_ns();
    if (clp_apply(j->graph, &o, &j->report, &j->clp, &e) < 0) stop(e.text);
    return now_ns() - from;
}

static void print_scores(const struct report *r) {
    for (int pass = 0; pass < 2; pass++) {
        (void)printf("{");
        for (int32_t i = 0, said = 0; i < r->n_layers; i++) {
            const struct report_layer *l = &r->layers[i];
            if (!l->scored) continue;
            (void)printf("%s\"%s\": [", said++ ? ", " : "", l->name);
            for (int32_t k = 0; k < (pass ? l->n_pruned : l->channels); k++)
                (void)(pass ? printf("%s%d", k ? ", " : "", (int)l->pruned[k])
                            : printf("%s%.9g", k ? ", " : "", (double)l->uclc[k]));
            (void)printf("]");
        }
        (void)printf("}\n");
    }
}

int main(int argc, char **argv) {
    char line[32];
    struct job j = {0};
    if (argc != 2) stop("usage: bench-clp MODEL.onnx");
    load(&j, argv[1]);
    while (fgets(line, sizeof line, stdin)) {
        start(&j);
        if (strcmp(line, "read\n") == 0) {
            (void)printf("%.0f\n", time_read(&j));
        } else if (strcmp(line, "sigma\n") == 0) {
            (void)printf("%.0f\n", time_sigma(&j));
        } else {
            const double ns = time_clp(&j);
            if (strcmp(line, "clp\n") == 0)
                (void)printf("%.0f\n", ns);
            else
                print_scores(&j.report);
        }
        (void)fflush(stdout);
        finish(&j);
    }
    return 0;
}
