/* The fast checksum against the rule as it is written down, in pieces of any order, and on damaged bytes. */
#include "infer/checksum.h"

#include "infer/digest.h"
#include "tests/suite.h"

#include <string.h>

#define SIZE 3000

static uint8_t bytes[SIZE];

static void fill(void) {
    for (uint32_t i = 0; i < SIZE; i++) bytes[i] = (uint8_t)(i * i * 31 + i / 7);
}

static void sum_up(const uint8_t *from, size_t n, uint8_t out[CHECKSUM_BYTES]) {
    struct checksum c = {0};
    checksum_add(&c, 0, from, n);
    checksum_final(&c, n, out);
}

/* Word by word, as the header has it. */
static void sum_up_slowly(const uint8_t *from, size_t n, uint8_t out[CHECKSUM_BYTES]) {
    static const uint32_t keys[] = {0x9e3779b1u, 0x85ebca77u, 0xc2b2ae3du, 0x27d4eb2fu,
                                    0x165667b1u, 0xd3a2646du, 0xfd7046c5u, 0xb55a4f09u,
                                    0x68e31da5u, 0x2545f491u, 0xcc9e2d51u, 0x1b873593u,
                                    0xe6546b65u, 0x5bd1e995u, 0x7feb352du, 0x846ca68bu};
    uint32_t sums[CHECKSUM_WORDS] = {0};
    const uint64_t size = n;
    struct digest d;
    for (size_t at = 0; at < (n + CHECKSUM_BLOCK - 1) / CHECKSUM_BLOCK * CHECKSUM_BLOCK; at += 4) {
        uint8_t four[4] = {0};
        uint32_t word;
        for (size_t i = 0; i < 4 && at + i < n; i++) four[i] = from[at + i];
        memcpy(&word, four, sizeof word);
        word = (word ^ ((uint32_t)(at / CHECKSUM_BLOCK) + 1) * keys[at / 4 % CHECKSUM_WORDS]) * 0x9e3779b1u;
        word = (word ^ word >> 15) * 0x85ebca77u;
        sums[at / 4 % CHECKSUM_WORDS] += word ^ word >> 13;
    }
    digest_init(&d);
    digest_update(&d, sums, sizeof sums);
    digest_update(&d, &size, sizeof size);
    digest_final(&d, out);
}

static void as_written_down(void) {
    uint8_t fast[CHECKSUM_BYTES], slow[CHECKSUM_BYTES];
    fill();
    for (size_t n = 0; n <= SIZE - 8; n += n < 600 ? 1 : 97) {
        sum_up(bytes + n % 8, n, fast);
        sum_up_slowly(bytes + n % 8, n, slow);
        CU_ASSERT_EQUAL(memcmp(fast, slow, sizeof fast), 0);
    }
}

/* From behind, and by two that are merged. */
static void in_pieces(void) {
    uint8_t whole[CHECKSUM_BYTES], pieces[CHECKSUM_BYTES];
    fill();
    sum_up(bytes, SIZE, whole);
    for (size_t piece = CHECKSUM_BLOCK; piece < 1300; piece += CHECKSUM_BLOCK) {
        struct checksum c[2] = {{{0}}, {{0}}};
        for (size_t k = (SIZE + piece - 1) / piece; k-- > 0;)
            checksum_add(&c[k % 2], k * piece, bytes + k * piece,
                         SIZE - k * piece < piece ? SIZE - k * piece : piece);
        checksum_merge(&c[0], &c[1]);
        checksum_final(&c[0], SIZE, pieces);
        CU_ASSERT_EQUAL(memcmp(whole, pieces, sizeof whole), 0);
    }
}

static void expect_another(const uint8_t before[CHECKSUM_BYTES], size_t n) {
    uint8_t after[CHECKSUM_BYTES];
    sum_up(bytes, n, after);
    CU_ASSERT_NOT_EQUAL(memcmp(before, after, sizeof after), 0);
}

static void every_bit_counts(void) {
    uint8_t before[CHECKSUM_BYTES], block[CHECKSUM_BLOCK];
    fill();
    sum_up(bytes, 600, before);
    for (size_t bit = 0; bit < 600 * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        expect_another(before, 600);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* Any bit of one word together with the same one of another block. */
    for (size_t bit = 0; bit < 32; bit++)
        for (size_t other = 1; other < 9; other++) {
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bytes[other * CHECKSUM_BLOCK + bit / 8] ^= (uint8_t)(1 << bit % 8);
            expect_another(before, 600);
            fill();
        }
    /* Two blocks the other way round; a cut; zeros at the end. */
    memcpy(block, bytes, sizeof block);
    memcpy(bytes, bytes + CHECKSUM_BLOCK, sizeof block);
    memcpy(bytes + CHECKSUM_BLOCK, block, sizeof block);
    expect_another(before, 600);
    fill();
    expect_another(before, 599);
    memset(bytes, 0, sizeof bytes);
    sum_up(bytes, 10, before);
    expect_another(before, 11);
}

SUITE(checksum, {"computes what its header says", as_written_down},
      {"in pieces of any order as in one go", in_pieces},
      {"sees every bit, two of them, swapped blocks, a cut, zeros at the end", every_bit_counts});
