/* Singular values against closed forms and against plain power iteration. */
#include "guard/clp_sigma.h"
#include "infer/simd_levels.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static double sigma_max(const float *a, int rows, int cols) {
    double sigma = NAN;
    CU_ASSERT_EQUAL(clp_sigma_max(a, 1, rows, cols, &sigma), 0);
    return sigma;
}

static void sigma_of_diagonal(void) {
    float a[4 * 3] = {0};
    a[0] = 2, a[4] = -5, a[8] = 3;
    CU_ASSERT_DOUBLE_EQUAL(sigma_max(a, 4, 3), 5, 1e-9);
    float zero[9] = {0}, one[1] = {-7};
    CU_ASSERT_EQUAL(sigma_max(zero, 3, 3), 0);
    CU_ASSERT_DOUBLE_EQUAL(sigma_max(one, 1, 1), 7, 1e-9);
}

static void sigma_of_rank_one_and_equal_pair(void) {
    /* u v^T has sigma |u||v|; the identity has all singular values equal, which power iteration dislikes. */
    float a[6 * 5], eye[9 * 9] = {0};
    double u2 = 0, v2 = 0;
    for (int i = 0; i < 6; i++) {
        u2 += (i + 1) * (i + 1);
        for (int j = 0; j < 5; j++) a[i * 5 + j] = (float)((i + 1) * (j - 2.5));
    }
    for (int j = 0; j < 5; j++) v2 += (j - 2.5) * (j - 2.5);
    CU_ASSERT_DOUBLE_EQUAL(sigma_max(a, 6, 5), sqrt(u2 * v2), 1e-5 * sqrt(u2 * v2));
    for (int i = 0; i < 9; i++) eye[i * 10] = 3;
    CU_ASSERT_DOUBLE_EQUAL(sigma_max(eye, 9, 9), 3, 1e-8);
}

/* Against plain power iteration in double, which is slow and simple. */
static double power_iteration(const float *a, int rows, int cols) {
    double x[128], y[128], norm = 0;
    for (int j = 0; j < cols; j++) x[j] = 1.0 + 0.1 * j;
    for (int it = 0; it < 2000; it++) {
        memset(y, 0, sizeof y);
        for (int i = 0; i < rows; i++) {
            double s = 0;
            for (int j = 0; j < cols; j++) s += (double)a[i * cols + j] * x[j];
            for (int j = 0; j < cols; j++) y[j] += s * (double)a[i * cols + j];
        }
        norm = 0;
        for (int j = 0; j < cols; j++) norm += y[j] * y[j];
        norm = sqrt(norm);
        for (int j = 0; j < cols; j++) x[j] = y[j] / norm;
    }
    return sqrt(norm);
}

static void check_random_shapes(void) {
    static const int shapes[][2] = {{1, 9},  {9, 1},   {3, 49},   {64, 9}, {200, 9}, {8, 9},
                                    {9, 9},  {15, 9},  {16, 9},   {17, 9}, {31, 9},  {32, 9},
                                    {33, 9}, {70, 66}, {66, 100}, {2, 2}};
    srand(7);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int rows = shapes[s][0], cols = shapes[s][1],
            channels = 1 + (int)s % 10; /* more and fewer than the lanes */
        size_t bytes = sizeof(float) * (size_t)(channels * rows * cols), page = (size_t)sysconf(_SC_PAGESIZE);
        size_t room = (bytes + page - 1) / page * page;
        char *area = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CU_ASSERT_FATAL(area != MAP_FAILED && mprotect(area + room, page, PROT_NONE) == 0);
        float *a = (float *)(void *)(area + room - bytes); /* one float too far is a crash */
        double sigma[32];
        for (int i = 0; i < channels * rows * cols; i++) a[i] = (float)rand() / (float)RAND_MAX - 0.3f;
        CU_ASSERT_EQUAL(clp_sigma_max(a, channels, rows, cols, sigma), 0);
        for (int k = 0; k < channels; k++)
            CU_ASSERT_DOUBLE_EQUAL(sigma[k] / power_iteration(a + k * rows * cols, rows, cols), 1, 2e-6);
        munmap(area, room + page);
    }
}

/* As on hosts with narrower vectors: every level that this one has. */
static void sigma_of_random_shapes(void) {
    for (enum simd_level most = SIMD_128; most < SIMD_LEVELS; most++) {
        simd_level_limit(most);
        if (simd_level() == most) check_random_shapes();
    }
    simd_level_limit(SIMD_512);
}

SUITE(clp_sigma, {"diagonal matrices", sigma_of_diagonal},
      {"rank one, and all singular values equal", sigma_of_rank_one_and_equal_pair},
      {"random shapes equal power iteration, and nothing is read past the weights", sigma_of_random_shapes});
