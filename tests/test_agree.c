/* Agreement of two networks on samples: counted as it is, and hostile samples refused. */
#include "infer/agree.h"

#include "infer/npy.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/mutate.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

enum { N = 6, WIDTH = 4 };

/* y = x, or y = x with two classes swapped. */
static struct compiled network(bool swapped) {
    struct graph *g = fixture_graph();
    struct err e = {0};
    float *w = graph_alloc(g, WIDTH * WIDTH * sizeof *w);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    for (int i = 0; i < WIDTH; i++) {
        const int k = swapped && i < 2 ? 1 - i : i;
        w[i * WIDTH + k] = 1;
    }
    const int32_t x = fixture_input(g, SHAPE(1, WIDTH));
    fixture_output(g,
                   fixture_node(g, OP_MATMUL, NULL, 2,
                                (int32_t[]){x, graph_add_constant(g, "w", &SHAPE(WIDTH, WIDTH), w, 0, &e)}));
    struct compiled c = fixture_compile(g, false);
    graph_free(g);
    return c;
}

/* Sample i is of class i % WIDTH. */
static size_t samples(uint8_t **bytes) {
    float data[N * WIDTH] = {0};
    char *text = NULL;
    size_t size = 0;
    for (int i = 0; i < N; i++) data[i * WIDTH + i % WIDTH] = 1;
    FILE *f = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(npy_write_f32(f, &SHAPE(N, WIDTH), data), 0);
    (void)fclose(f);
    *bytes = (uint8_t *)text;
    return size;
}

static void counts(void) {
    struct compiled a = network(false), b = network(true);
    struct agree got;
    struct err e = {0};
    uint8_t *bytes;
    const size_t size = samples(&bytes);
    CU_ASSERT_EQUAL(agree_measure(a.img, a.img, bytes, size, &got, &e), 0);
    CU_ASSERT(got.samples == N && got.agreed == N && got.n_flips == 0);
    CU_ASSERT_EQUAL(agree_measure(a.img, b.img, bytes, size, &got, &e), 0);
    CU_ASSERT(got.samples == N && got.agreed == 2 && got.n_flips == 4); /* 2 and 3 keep theirs */
    CU_ASSERT(got.flips[2].sample == 4 && got.flips[2].before == 0 && got.flips[2].after == 1);
    free(bytes);
    fixture_discard(&a);
    fixture_discard(&b);
}

static void refuses(void) {
    struct compiled a = network(false);
    struct agree got;
    struct err e = {0};
    uint8_t *bytes;
    const size_t size = samples(&bytes);
    for (size_t n = 0; n < size; n++) CU_ASSERT_EQUAL(agree_measure(a.img, a.img, bytes, n, &got, &e), -1);
    for (size_t at = 0; at < 128 && at < size;
         at++) { /* every bit of the head: refused, or counted as ever */
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            if (agree_measure(a.img, a.img, bytes, size, &got, &e) == 0)
                CU_ASSERT(got.samples == got.agreed && got.samples <= AGREE_MAX_SAMPLES);
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    free(bytes);
    fixture_discard(&a);
}

SUITE(agree, {"counts who keeps the class", counts}, {"refuses what it can't take", refuses});
