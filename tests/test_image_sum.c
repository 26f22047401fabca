/* An image's checksum by several threads: whoever takes which piece, damage anywhere is seen. */
#include "infer/image_sum.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REPORT ((size_t)3 << 20) /* so that there are several pieces */
#define MOST   4

static struct compiled compile(void) {
    struct graph *g = fixture_resnet();
    uint8_t *report = malloc(REPORT);
    CU_ASSERT_PTR_NOT_NULL_FATAL(report);
    for (size_t i = 0; i < REPORT; i++) report[i] = (uint8_t)(i * 7 + i / 251);
    struct compiled c =
        fixture_compile_with(g, false, &(struct plan_metadata){.report = report, .report_bytes = REPORT});
    graph_free(g);
    free(report);
    return c;
}

static void *help(void *sum) {
    image_sum_help(sum);
    return NULL;
}

static int sum_up(const struct image *img, int threads, struct err *e) {
    struct image_sum sum;
    pthread_t others[MOST];
    image_sum_begin(&sum, img);
    for (int i = 0; i < threads; i++) CU_ASSERT_EQUAL_FATAL(pthread_create(&others[i], NULL, help, &sum), 0);
    image_sum_help(&sum);
    for (int i = 0; i < threads; i++) pthread_join(others[i], NULL);
    return image_sum_end(&sum, e);
}

static void whole(void) {
    struct compiled c = compile();
    struct err e;
    CU_ASSERT_EQUAL(image_verify(c.img, &e), 0);
    for (int threads = 0; threads <= MOST; threads++) CU_ASSERT_EQUAL(sum_up(c.img, threads, &e), 0);
    fixture_discard(&c);
}

/* The first and the last byte, and some around the edges of pieces. */
static void damaged(void) {
    struct compiled c = compile();
    const size_t mib = (size_t)1 << 20;
    const size_t at[] = {8 + 4 + 4, mib - 1, mib, 2 * mib - 1, 2 * mib + 17, c.size - 1};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        for (int threads = 0; threads < 3; threads++) {
            struct err e = {0};
            c.bytes[at[i]] ^= 4;
            CU_ASSERT_EQUAL(sum_up(c.img, threads, &e), -1);
            CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "damaged"));
            c.bytes[at[i]] ^= 4;
        }
    fixture_discard(&c);
}

/* Mapped: nothing of it is there before. */
static void mapped(void) {
    struct compiled c = compile();
    struct image *img;
    struct err e;
    const int fd = memfd_create("image", MFD_CLOEXEC);
    CU_ASSERT_FATAL(fd >= 0 && write(fd, c.bytes, c.size) == (ssize_t)c.size);
    CU_ASSERT_EQUAL_FATAL(image_map_ahead(fd, false, &img, &e), 0);
    CU_ASSERT_EQUAL(sum_up(img, 2, &e), 0);
    image_unmap(img);
    close(fd);
    fixture_discard(&c);
}

SUITE(image_sum, {"a whole image", whole}, {"damage is seen wherever it is", damaged},
      {"a mapped image", mapped});
