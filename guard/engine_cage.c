/* See engine_cage.h. */
#include "guard/engine_cage.h"

#include "infer/blas.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

int engine_cage_map(int fd, const uint8_t **bytes, size_t *size, struct err *e) {
    struct stat st;
    if (fstat(fd, &st) < 0) return err_set(e, ERR_SYSTEM, "the image: %s", strerror(errno));
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS)
        return err_set(e, ERR_VALUE, "the image is not sealed: its owner could change it");
    *size = (size_t)st.st_size;
    void *p = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return err_set(e, ERR_SYSTEM, "mapping the image: %s", strerror(errno));
    *bytes = p;
    return 0;
}

/* OpenBLAS starts threads as it is loaded, which blas_init ends, and takes its memory with the first product.
 */
int engine_cage_be_alone(struct err *e) {
    enum { N = 96 };
    static float a[N * N], b[N * N], c[N * N];
    int threads = 0;
    blas_init();
    blas_sgemm(&(struct blas_product){
        .m = N, .n = N, .k = N, .alpha = 1, .a = a, .lda = N, .b = b, .ldb = N, .c = c, .ldc = N});
    DIR *dir = opendir("/proc/self/task");
    if (!dir) return err_set(e, ERR_SYSTEM, "/proc/self/task: %s; is /proc mounted?", strerror(errno));
    for (const struct dirent *d; (d = readdir(dir));) threads += d->d_name[0] != '.';
    (void)closedir(dir);
    if (threads == 1) return 0;
    return err_set(
        e, ERR_SYSTEM,
        "OpenBLAS has started threads (%d), which no sandbox would hold; set OPENBLAS_NUM_THREADS=1",
        threads);
}
