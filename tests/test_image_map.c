/* Mapping: sealed memfds, files, and everything else that a descriptor may be. */
#include "infer/image.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static struct compiled compile(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    graph_free(g);
    return c;
}

static int memfd_with(const uint8_t *bytes, size_t size, int seals) {
    const int fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CU_ASSERT_FATAL(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    if (seals) CU_ASSERT_EQUAL_FATAL(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static int map_and_close(int fd, bool require_seals, struct err *e) {
    struct image *img;
    const int rc = image_map(fd, require_seals, &img, e);
    CU_ASSERT_EQUAL(img == NULL, rc != 0);
    image_unmap(img);
    close(fd);
    return rc;
}

static void a_sealed_memfd_is_mapped(void) {
    struct compiled c = compile();
    struct err e = {0};
    struct image *img;
    const int fd = memfd_with(c.bytes, c.size, ALL_SEALS);
    CU_ASSERT_EQUAL_FATAL(image_map(fd, true, &img, &e), 0);
    close(fd); /* not taken, and not needed any more */
    CU_ASSERT_EQUAL(image_header(img)->bytes, c.size);
    CU_ASSERT_EQUAL(memcmp(image_header(img), c.bytes, c.size), 0);
    CU_ASSERT_EQUAL(image_scratch_bytes(img), image_scratch_bytes(c.img));
    CU_ASSERT_STRING_EQUAL(image_label(img, 1), "give way");
    CU_ASSERT_PTR_NULL(image_step_at(img, image_header(img)->n_steps));
    CU_ASSERT_PTR_NULL(image_tensor_at(img, image_header(img)->n_tensors));
    CU_ASSERT_PTR_NULL(image_constant(img, image_tensor_at(img, image_header(img)->outputs[0])));
    image_unmap(img);
    image_unmap(NULL);
    fixture_discard(&c);
}

static void every_seal_is_needed(void) {
    struct compiled c = compile();
    const int seals[] = {0, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, ALL_SEALS & ~F_SEAL_SHRINK,
                         ALL_SEALS & ~F_SEAL_GROW, ALL_SEALS & ~F_SEAL_WRITE};
    for (size_t i = 0; i < COUNT_OF(seals); i++) {
        struct err e = {0};
        CU_ASSERT_EQUAL(map_and_close(memfd_with(c.bytes, c.size, seals[i]), true, &e), -1);
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "not sealed"));
        CU_ASSERT_EQUAL(map_and_close(memfd_with(c.bytes, c.size, seals[i]), false, &e), 0);
    }
    fixture_discard(&c);
}

static void files_are_mapped_where_seals_are_not_needed(void) {
    struct compiled c = compile();
    struct err e = {0};
    char path[] = "/tmp/clpd-image-XXXXXX";
    for (int require = 0; require < 2; require++) {
        strcpy(path + sizeof path - 7, "XXXXXX");
        const int fd = mkstemp(path);
        CU_ASSERT_FATAL(fd >= 0 && write(fd, c.bytes, c.size) == (ssize_t)c.size);
        unlink(path);
        CU_ASSERT_EQUAL(map_and_close(fd, require, &e), -require);
    }
    fixture_discard(&c);
}

static void what_is_no_image_is_refused(void) {
    struct compiled c = compile();
    struct err e = {0};
    CU_ASSERT_EQUAL(map_and_close(memfd_with(c.bytes, 0, ALL_SEALS), true, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_TRUNCATED);
    CU_ASSERT_EQUAL(map_and_close(memfd_with(c.bytes, 511, ALL_SEALS), true, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_TRUNCATED);
    CU_ASSERT_EQUAL(map_and_close(memfd_with(c.bytes, c.size - 1, ALL_SEALS), true, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_TRUNCATED);
    const int huge = memfd_with(c.bytes, c.size, 0);
    CU_ASSERT_EQUAL(ftruncate(huge, (off_t)1 << 40), 0);
    CU_ASSERT_EQUAL(map_and_close(huge, false, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    int pipes[2];
    CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
    CU_ASSERT_EQUAL(map_and_close(pipes[0], false, &e), -1);
    CU_ASSERT_EQUAL(map_and_close(pipes[1], true, &e), -1);
    CU_ASSERT_EQUAL(map_and_close(open("/", O_RDONLY), false, &e), -1);
    CU_ASSERT_EQUAL(map_and_close(-1, true, &e), -1);
    CU_ASSERT_EQUAL(map_and_close(-1, false, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_SYSTEM);
    fixture_discard(&c);
}

static void this_host_runs_what_it_says(void) {
    CU_ASSERT_TRUE(image_isa_runs_here(ISA_GENERIC));
    CU_ASSERT_TRUE(image_isa_runs_here(image_host_isa()));
    CU_ASSERT_FALSE(image_isa_runs_here(ISA_COUNT));
    CU_ASSERT_FALSE(image_isa_runs_here(UINT32_MAX));
    CU_ASSERT_FALSE(image_isa_runs_here(ISA_NEON) && image_isa_runs_here(ISA_AVX2));
    CU_ASSERT_EQUAL(image_host_isa_for(false), image_host_isa());
    CU_ASSERT_EQUAL(image_host_isa_for(true) == ISA_AVX512_BF16, image_isa_runs_here(ISA_AVX512_BF16));
    CU_ASSERT(!image_bf16_pays() || image_isa_runs_here(ISA_AVX512_BF16));
    if (image_isa_runs_here(ISA_AVX512)) CU_ASSERT_TRUE(image_isa_runs_here(ISA_AVX2));
}

SUITE(image_map, {"a sealed memfd is mapped", a_sealed_memfd_is_mapped},
      {"every seal is needed", every_seal_is_needed},
      {"files are mapped where seals are not needed", files_are_mapped_where_seals_are_not_needed},
      {"what is no image is refused", what_is_no_image_is_refused},
      {"this host runs what it says", this_host_runs_what_it_says});
