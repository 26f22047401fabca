/* The scan record: round trip, and a decoder that no bytes can hurt. */
#include "guard/report.h"
#include "tests/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint8_t *sample(size_t *size) {
    static float uclc[4] = {1, 2, 3, 40};
    static int32_t pruned[1] = {3};
    static struct report_layer layers[2] = {{.name = (char *)"/conv1/Conv",
                                             .channels = 4,
                                             .scored = true,
                                             .norm = NORM_BN,
                                             .mean = 11.5f,
                                             .std = 19,
                                             .cutoff = 30,
                                             .max_attainable_z = 1.5f,
                                             .uclc = uclc,
                                             .pruned = pruned,
                                             .n_pruned = 1},
                                            {.name = (char *)"/conv2/Conv",
                                             .channels = 8,
                                             .reason = "its channels are the class scores",
                                             .norm = NORM_FOLDED_OR_NONE}};
    struct report r = {.source_sha256 = {1, 2, 3},
                       .threshold = 3,
                       .verdict = VERDICT_PRUNED,
                       .pruned_channels = 1,
                       .total_channels = 4,
                       .import_ns = 5,
                       .n_layers = 2,
                       .layers = layers};
    return report_encode(&r, size);
}

static void comes_back_as_it_was(void) {
    size_t size;
    uint8_t *bytes = sample(&size);
    struct report r;
    struct err e = {0};
    CU_ASSERT_EQUAL_FATAL(report_decode(bytes, size, &r, &e), 0);
    CU_ASSERT_EQUAL(r.verdict, VERDICT_PRUNED);
    CU_ASSERT_EQUAL(r.source_sha256[2], 3);
    CU_ASSERT_EQUAL_FATAL(r.n_layers, 2);
    CU_ASSERT_STRING_EQUAL(r.layers[0].name, "/conv1/Conv");
    CU_ASSERT_EQUAL(r.layers[0].uclc[3], 40);
    CU_ASSERT_EQUAL(r.layers[0].pruned[0], 3);
    CU_ASSERT_PTR_NULL(r.layers[0].reason);
    CU_ASSERT_FALSE(r.layers[1].scored);
    CU_ASSERT_STRING_EQUAL(r.layers[1].reason, "its channels are the class scores");
    report_free(&r);
    free(bytes);
}

/* Every prefix ends at an unreadable page: one byte too far is a crash. */
static void every_prefix_is_refused(void) {
    size_t size, page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *bytes = sample(&size);
    uint8_t *area = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(area != MAP_FAILED && size < page && mprotect(area + page, page, PROT_NONE) == 0);
    for (size_t n = 0; n < size; n++) {
        struct report r;
        memcpy(area + page - n, bytes, n);
        CU_ASSERT_EQUAL(report_decode(area + page - n, n, &r, NULL), -1);
    }
    munmap(area, 2 * page);
    free(bytes);
}

static void leftovers_are_refused(void) {
    size_t size;
    uint8_t *bytes = sample(&size), *longer = calloc(1, size + 1);
    struct report r;
    memcpy(longer, bytes, size);
    CU_ASSERT_EQUAL(report_decode(longer, size + 1, &r, NULL), -1);
    free(longer);
    free(bytes);
}

static void contradictions_are_refused(void) {
    static const struct {
        size_t at;
        uint8_t to;
    } lies[] = {{0, 'X'}, {4, 9}, {44, 1}, {44, 200}, {48, 2}, {56, 5}, {128, 1}, {131, 255}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        size_t size;
        uint8_t *bytes = sample(&size);
        struct report r;
        bytes[lies[i].at] = lies[i].to;
        CU_ASSERT_EQUAL(report_decode(bytes, size, &r, NULL), -1);
        free(bytes);
    }
}

static void mutations_never_hurt(void) {
    srand(11);
    for (int round = 0; round < 20000; round++) {
        size_t size;
        uint8_t *bytes = sample(&size);
        struct report r;
        for (int k = 0; k < 1 + round % 4; k++) bytes[(size_t)rand() % size] = (uint8_t)rand();
        if (report_decode(bytes, size, &r, NULL) == 0) {
            for (int32_t i = 0; i < r.n_layers; i++)
                for (int32_t k = 0; k < r.layers[i].n_pruned; k++)
                    CU_ASSERT(r.layers[i].pruned[k] >= 0 && r.layers[i].pruned[k] < r.layers[i].channels);
            report_free(&r);
        }
        free(bytes);
    }
}

SUITE(report, {"comes back as it was", comes_back_as_it_was},
      {"every prefix is refused, and not read past", every_prefix_is_refused},
      {"leftover bytes are refused", leftovers_are_refused},
      {"totals that contradict the layers are refused", contradictions_are_refused},
      {"random mutations never hurt", mutations_never_hurt});
