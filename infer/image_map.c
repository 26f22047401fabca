/* Images in memory: which hosts can run them, mapping, and reading what the
 * check has passed. Accessors trust their image and nothing else: an index
 * that the file does not vouch for gives NULL or "". */
#include "infer/image_internal.h"

#include "infer/simd_levels.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* --- instruction sets ----------------------------------------------------------------- */

bool image_isa_runs_here(uint32_t isa) {
    switch (isa) {
    case ISA_GENERIC: return true;
#if defined __x86_64__
    case ISA_AVX2:
        return SIMD_MOST >= SIMD_256 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case ISA_AVX512:
        return SIMD_MOST >= SIMD_512 && image_isa_runs_here(ISA_AVX2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    case ISA_AVX512_BF16: return image_isa_runs_here(ISA_AVX512) && __builtin_cpu_supports("avx512bf16");
#elif defined __aarch64__
    case ISA_NEON: return true; /* part of the base architecture */
#endif
    default: return false;
    }
}

enum image_isa image_host_isa(void) {
    if (image_isa_runs_here(ISA_AVX512)) return ISA_AVX512;
    if (image_isa_runs_here(ISA_AVX2)) return ISA_AVX2;
    if (image_isa_runs_here(ISA_NEON)) return ISA_NEON;
    return ISA_GENERIC;
}

enum image_isa image_host_isa_for(bool bf16) {
    return bf16 && image_isa_runs_here(ISA_AVX512_BF16) ? ISA_AVX512_BF16 : image_host_isa();
}

/* Measured: on Zen 4 vdpbf16ps gives twice the products of an FMA in the same time (230 and 115 GF/s); on an
 * Emerald Rapids half as many (89 and 179), where AMX is what it is for. */
bool image_bf16_pays(void) {
#if defined __x86_64__
    return image_isa_runs_here(ISA_AVX512_BF16) && !__builtin_cpu_is("intel");
#else
    return false;
#endif
}

const char *image_isa_name(uint32_t isa) {
    static const char *const names[ISA_COUNT] = {"generic", "avx2", "avx512", "neon", "avx512-bf16"};
    return isa < ISA_COUNT ? names[isa] : "unknown";
}

/* --- mapping ------------------------------------------------------------------------------ */

/* Seals are never taken off again, so once they are there, size and bytes stand still. */
static int check_seals(int fd, struct err *e) {
    const int want = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return err_set(e, ERR_SYSTEM, "the image is no memfd that can be sealed: %s", strerror(errno));
    if ((seals & want) != want)
        return err_set(e, ERR_FORMAT, "the image is not sealed (%#x of %#x), so its owner could change it",
                       seals & want, want);
    return 0;
}

typedef int (*check_fn)(const uint8_t *bytes, size_t size, struct image **out, struct err *e);

static int map_and(check_fn check, int prefault, int fd, bool require_seals, struct image **out,
                   struct err *e) {
    *out = NULL;
    if (require_seals && check_seals(fd, e)) return -1;
    struct stat st;
    if (fstat(fd, &st)) return err_set(e, ERR_SYSTEM, "fstat of the image: %s", strerror(errno));
    if (!S_ISREG(st.st_mode)) return err_set(e, ERR_FORMAT, "the image is not a regular file");
    if (st.st_size < (off_t)sizeof(struct image_header))
        return err_set(e, ERR_TRUNCATED, "%lld bytes are too few for an image", (long long)st.st_size);
    if ((uint64_t)st.st_size > IMAGE_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "%lld bytes are too many for an image", (long long)st.st_size);

    /* MAP_PRIVATE: before Linux 6.7 a shared mapping of a write-sealed memfd is refused, even to read. */
    const size_t size = (size_t)st.st_size;
    void *mapping = mmap(NULL, size, PROT_READ, MAP_PRIVATE | prefault, fd, 0);
    if (mapping == MAP_FAILED)
        return err_set(e, ERR_SYSTEM, "mmap of the image's %zu bytes: %s", size, strerror(errno));
    if (check(mapping, size, out, e)) {
        (void)munmap(mapping, size);
        return -1;
    }
    (*out)->mapping = mapping;
    return 0;
}

int image_map(int fd, bool require_seals, struct image **out, struct err *e) {
    return map_and(image_check, MAP_POPULATE, fd, require_seals, out, e);
}

int image_map_ahead(int fd, bool require_seals, struct image **out, struct err *e) {
    return map_and(image_check_ahead, 0, fd, require_seals, out, e);
}

void image_unmap(struct image *img) {
    if (!img) return;
    if (img->mapping) (void)munmap(img->mapping, img->size);
    free(img->labels);
    free(img);
}

/* --- reading -------------------------------------------------------------------------------- */

const struct image_header *image_header(const struct image *img) {
    return (const void *)img->bytes;
}

const struct image_tensor *image_tensor_at(const struct image *img, uint32_t index) {
    if (index >= image_header(img)->n_tensors) return NULL;
    return (const struct image_tensor *)(const void *)image_section(img->bytes, SECTION_TENSORS) + index;
}

const struct image_step *image_step_at(const struct image *img, uint32_t index) {
    if (index >= image_header(img)->n_steps) return NULL;
    return (const struct image_step *)(const void *)image_section(img->bytes, SECTION_STEPS) + index;
}

const uint32_t *image_operands(const struct image *img, const struct image_step *s) {
    return (const uint32_t *)(const void *)image_section(img->bytes, SECTION_OPERANDS) + s->first_operand;
}

const void *image_constant(const struct image *img, const struct image_tensor *t) {
    return t->place == PLACE_CONSTANT ? image_section(img->bytes, SECTION_CONSTANTS) + t->offset : NULL;
}

const char *image_string(const struct image *img, uint32_t offset) {
    if (offset >= image_header(img)->sections[SECTION_STRINGS].bytes) return "";
    return (const char *)image_section(img->bytes, SECTION_STRINGS) + offset;
}

const char *image_label(const struct image *img, uint32_t index) {
    return index < image_header(img)->n_labels ? image_string(img, img->labels[index]) : NULL;
}

const void *image_report(const struct image *img, size_t *bytes) {
    *bytes = image_header(img)->sections[SECTION_REPORT].bytes;
    return image_section(img->bytes, SECTION_REPORT);
}

size_t image_scratch_bytes(const struct image *img) {
    return img->scratch_bytes;
}
