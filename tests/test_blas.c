/* Products: all transposes, and several threads at once, which the wrong build
 * of OpenBLAS gets wrong. */
#include "infer/blas.h"
#include "tests/suite.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void fill(float *x, int n, unsigned seed) {
    for (int i = 0; i < n; i++) x[i] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1;
}

static void test_transposes(void) {
    enum { M = 5, N = 7, K = 9 };
    float a[M * K], b[K * N], c[M * N], start[M * N];
    fill(a, M * K, 1);
    fill(b, K * N, 2);
    fill(start, M * N, 3);
    blas_init();
    for (int t = 0; t < 4; t++) {
        const bool ta = t & 1, tb = t & 2;
        memcpy(c, start, sizeof c);
        blas_sgemm(&(struct blas_product){ta, tb, M, N, K, 0.5f, 2, a, b, c, ta ? M : K, tb ? K : N, N});
        for (int i = 0; i < M * N; i++) {
            double sum = 2 * (double)start[i];
            for (int k = 0; k < K; k++)
                sum += 0.5 * (double)a[ta ? k * M + i / N : i / N * K + k] *
                       b[tb ? i % N * K + k : k * N + i % N];
            CU_ASSERT(fabs(sum - (double)c[i]) < 1e-5);
        }
    }
    for (int trans = 0; trans < 2; trans++) {
        float y[M] = {1, 2, 3, 4, 5};
        blas_sgemv(trans, M, K, 0.5f, a, b, 2, y);
        for (int r = 0; r < M; r++) {
            double sum = 2 * (r + 1);
            for (int k = 0; k < K; k++) sum += 0.5 * (double)a[trans ? k * M + r : r * K + k] * b[k];
            CU_ASSERT(fabs(sum - (double)y[r]) < 1e-5);
        }
    }
    CU_ASSERT(strncmp(blas_describe(), "OpenBLAS", 8) == 0);
}

static void test_behind(void) {
    CU_ASSERT(blas_is_behind("Prescott", true)); /* what it takes an unknown Intel processor for */
    CU_ASSERT(blas_is_behind("Sandybridge", true));
    CU_ASSERT_FALSE(blas_is_behind("Prescott", false));
    CU_ASSERT_FALSE(blas_is_behind("Haswell", true));
    CU_ASSERT_FALSE(blas_is_behind("SkylakeX", true));
    CU_ASSERT_FALSE(blas_is_behind("SAPPHIRERAPIDS", true));
}

/* Just large enough for OpenBLAS to take a packing buffer, so that it takes many per second. */
enum { ROWS = 64, COLS = 264, DEPTH = 64, THREADS = 4, ROUNDS = 3000 };

struct thread_work {
    float a[ROWS * DEPTH], b[DEPTH * COLS], expected[ROWS * COLS], c[ROWS * COLS];
    int wrong;
};

static void multiply(struct thread_work *w, float *c) {
    blas_sgemm(
        &(struct blas_product){false, false, ROWS, COLS, DEPTH, 1, 0, w->a, w->b, c, DEPTH, COLS, COLS});
}

static void *work(void *arg) {
    struct thread_work *w = arg;
    for (int i = 0; i < ROUNDS; i++) {
        multiply(w, w->c);
        w->wrong += memcmp(w->c, w->expected, sizeof w->c) != 0;
    }
    return NULL;
}

static void test_threads(void) {
    struct thread_work *w = calloc(THREADS, sizeof *w);
    pthread_t threads[THREADS];
    CU_ASSERT_FATAL(w != NULL);
    blas_init();
    for (int t = 0; t < THREADS; t++) {
        fill(w[t].a, ROWS * DEPTH, (unsigned)t);
        fill(w[t].b, DEPTH * COLS, (unsigned)t + 100);
        multiply(&w[t], w[t].expected);
    }
    for (int t = 0; t < THREADS; t++) CU_ASSERT_FATAL(pthread_create(&threads[t], NULL, work, &w[t]) == 0);
    for (int t = 0; t < THREADS; t++) (void)pthread_join(threads[t], NULL);
    for (int t = 0; t < THREADS; t++) CU_ASSERT_EQUAL(w[t].wrong, 0);
    free(w);
}

static void test_concurrent(void) {
    if (!blas_is_concurrent())
        suite_skip("blas", "this OpenBLAS is a build without locking: products wait for each other");
}

SUITE(blas, {"which kernels are behind this host", test_behind},
      {"every transpose; matrix times vector", test_transposes},
      {"four threads at once get what one gets", test_threads},
      {"the library that is loaded", test_concurrent});
