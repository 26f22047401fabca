/* Calls OpenBLAS on the caller's thread and nowhere else.
 *
 * OpenBLAS hands out its packing buffers from one table. Its threaded builds
 * take a mutex for that; a build without threads does not, unless it was made
 * with USE_LOCKING: two threads then pack into one buffer and both results are
 * wrong (measured with Debian 12's libopenblas0-serial, two cores: up to 1 % of
 * the products). Which of the builds is behind libopenblas.so.0 is the
 * administrator's choice (update-alternatives), so it is asked at run time. */
#include "infer/blas.h"

#include "infer/err.h"
#include "infer/kernels_product.h"
#include "infer/simd_levels.h"

#include <cblas.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define BUFFER      ((size_t)128 << 20) /* what each thread packs into: BUFFER_SIZE of x86-64 and of aarch64 */
#define STACK       ((size_t)8 << 20)
#define BUFFERS_MAX 64 /* OpenBLAS has twice as many */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t serial_lock = PTHREAD_MUTEX_INITIALIZER;
static bool serial = true, behind = false; /* written once, under `once` */
static uint32_t buffers;                   /* the same: those that its threads have left behind */

/* Threaded builds start one thread per core as they are loaded, which spins for
 * a while before it sleeps (40 ms of processor time each, measured). Nothing is
 * ever given to them, so they end here. Absent from serial builds. */
extern int blas_thread_shutdown_(void) __attribute__((weak));
/* Where products get their buffers from; one that is given back is kept for the next. */
extern void *blas_memory_alloc(int kind) __attribute__((weak));
extern void blas_memory_free(void *buffer) __attribute__((weak));

static bool is_limited(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

/* Where OpenBLAS gets no buffer it tries again for ever. */
static bool is_room(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at != MAP_FAILED && munmap(at, bytes) == 0;
}

/* How many threads it is going to start: one less than processors, or than it is told to. */
static unsigned threads_to_come(char **env) {
    static const char *const names[] = {"OPENBLAS_NUM_THREADS=", "GOTO_NUM_THREADS=", "OMP_NUM_THREADS="};
    cpu_set_t allowed;
    const int n = sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (char **v = env; *v; v++)
            if (strncmp(*v, names[i], strlen(names[i])) == 0) {
                const long told = strtol(*v + strlen(names[i]), NULL, 10);
                if (told > 0) return (unsigned)(told < n ? told : n) - 1;
            }
    return (unsigned)n - 1;
}

static void look_before_loading(int argc, char **argv, char **env) {
    if (!blas_thread_shutdown_ || argc < 1) return;
    const size_t bytes = threads_to_come(env) * (BUFFER + STACK);
    if (bytes == 0 || !is_limited() || is_room(bytes)) return;
    (void)dprintf(STDERR_FILENO,
                  "%s: the address space is limited (LimitAS=, ulimit -v) to less than OpenBLAS takes to be "
                  "loaded here: "
                  "%zu MiB more than the program; raise the limit, or set OPENBLAS_NUM_THREADS=1\n",
                  argv[0], bytes >> 20);
    _exit(2);
}

/* The program's own, which the linker runs before any library's constructor. */
__attribute__((section(".preinit_array"),
               used)) static void (*const before_loading)(int, char **, char **) = look_before_loading;

int blas_reserve(uint32_t threads, struct err *e) {
    void *taken[BUFFERS_MAX];
    blas_init();
    if (!is_limited()) return 0;
    const uint32_t n = threads < BUFFERS_MAX ? threads : BUFFERS_MAX;
    if (n > buffers && !is_room((n - buffers) * BUFFER))
        return err_set(
            e, ERR_SYSTEM,
            "no address space (LimitAS=, ulimit -v) for what OpenBLAS takes for each of %u threads, "
            "%zu MiB: raise the limit, or lower engine.threads",
            threads, BUFFER >> 20);
    if (!blas_memory_alloc || !blas_memory_free) return 0;
    for (uint32_t i = 0; i < n; i++) taken[i] = blas_memory_alloc(0);
    for (uint32_t i = 0; i < n; i++) blas_memory_free(taken[i]);
    return 0;
}

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
    if (!serial) buffers = (uint32_t)openblas_get_num_threads() - 1;
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
