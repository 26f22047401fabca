/* Calls OpenBLAS on the caller's thread and nowhere else.
 *
 * OpenBLAS hands out its packing buffers from one table. Its threaded builds
 * take a mutex for that; a build without threads does not, unless it was made
 * with USE_LOCKING: two threads then pack into one buffer and both results are
 * wrong (measured with Debian 12's libopenblas0-serial, two cores: up to 1 % of
 * the products). Which of the builds is behind libopenblas.so.0 is the
 * administrator's choice (update-alternatives), so it is asked at run time. */
#include "infer/blas.h"

#include "infer/kernels_product.h"
#include "infer/simd_levels.h"

#include <cblas.h>
#include <pthread.h>
#include <stddef.h>
#include <strings.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t serial_lock = PTHREAD_MUTEX_INITIALIZER;
static bool serial = true, behind = false; /* written once, under `once` */

/* Threaded builds start one thread per core as they are loaded, which spins for
 * a while before it sleeps (40 ms of processor time each, measured). Nothing is
 * ever given to them, so they end here. Absent from serial builds. */
extern int blas_thread_shutdown_(void) __attribute__((weak));

bool blas_is_behind(const char *core, bool host_has_fma) {
    static const char *const with_fma[] = {"Haswell",        "Zen",         "SkylakeX", "Cooperlake",
                                           "Sapphirerapids", "Steamroller", "Excavator"};
    for (size_t i = 0; i < sizeof with_fma / sizeof *with_fma; i++)
        if (strcasecmp(core, with_fma[i]) == 0) return false;
    return host_has_fma;
}

static void ask_library(void) {
    serial = openblas_get_parallel() == 0;
    behind = blas_is_behind(openblas_get_corename(), simd_level() >= SIMD_256);
    openblas_set_num_threads(1);
    if (blas_thread_shutdown_) (void)blas_thread_shutdown_();
}

void blas_init(void) {
    (void)pthread_once(&once, ask_library);
}

bool blas_is_concurrent(void) {
    blas_init();
    return !serial;
}

const char *blas_describe(void) {
    return openblas_get_config();
}

static void enter(void) {
    if (serial) (void)pthread_mutex_lock(&serial_lock);
}

static void leave(void) {
    if (serial) (void)pthread_mutex_unlock(&serial_lock);
}

/* A leading dimension must be at least the row, and a row of nothing counts as 1. */
static blasint leading(int64_t ld, int64_t row) {
    if (ld < row) ld = row;
    return (blasint)(ld < 1 ? 1 : ld);
}

/* C has one column: C: [m] = alpha * op(A) * B + beta * C, columns being strided vectors. */
static void multiply_vector(const struct blas_product *p) {
    const bool t = p->trans_a;
    if (p->beta == 0)
        for (int64_t i = 0; i < p->m; i++) p->c[i * p->ldc] = 0;
    enter();
    cblas_sgemv(CblasRowMajor, t ? CblasTrans : CblasNoTrans, (blasint)(t ? p->k : p->m),
                (blasint)(t ? p->m : p->k), p->alpha, p->a, leading(p->lda, t ? p->m : p->k), p->b,
                p->trans_b ? 1 : leading(p->ldb, 1), p->beta == 0 ? 1 : p->beta, p->c, leading(p->ldc, 1));
    leave();
}

static void multiply(const struct blas_product *p) {
    enter();
    cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans, p->trans_b ? CblasTrans : CblasNoTrans,
                (blasint)p->m, (blasint)p->n, (blasint)p->k, p->alpha, p->a,
                leading(p->lda, p->trans_a ? p->m : p->k), p->b, leading(p->ldb, p->trans_b ? p->k : p->n),
                p->beta, p->c, leading(p->ldc, p->n));
    leave();
}

void blas_sgemm_shared(struct team_seat *seat, const struct blas_product *p) {
    if (p->n == 1)
        multiply_vector(p);
    else if (behind || product_is_small(p))
        product_run_shared(seat, p); /* OpenBLAS would be slow, or allocate */
    else
        multiply(p);
}

void blas_sgemm(const struct blas_product *p) {
    blas_sgemm_shared(NULL, p);
}

void blas_sgemv(bool trans, int64_t rows, int64_t cols, float alpha, const float *a, const float *x,
                float beta, float *y) {
    enter();
    if (trans)
        cblas_sgemv(CblasRowMajor, CblasTrans, (blasint)cols, (blasint)rows, alpha, a, leading(rows, 1), x, 1,
                    beta, y, 1);
    else
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (blasint)rows, (blasint)cols, alpha, a, leading(cols, 1), x,
                    1, beta, y, 1);
    leave();
}
