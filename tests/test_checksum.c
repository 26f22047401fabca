/* The fast checksum against the rule as it is written down, in pieces, and on damaged bytes. */
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
    struct checksum c;
    checksum_init(&c);
    checksum_update(&c, from, n);
    checksum_final(&c, out);
}

/* Word by word, as the header has it. */
static void sum_up_slowly(const uint8_t *from, size_t n, uint8_t out[CHECKSUM_BYTES]) {
    uint32_t lanes[CHECKSUM_LANES];
    const uint64_t size = n;
    struct digest d;
    for (uint32_t i = 0; i < CHECKSUM_LANES; i++) lanes[i] = (i + 1) * 0x9e3779b1u;
    for (size_t at = 0; at < (n + CHECKSUM_ROUND - 1) / CHECKSUM_ROUND * CHECKSUM_ROUND; at += 4) {
        uint8_t four[4] = {0};
        uint32_t word, *lane = &lanes[at / 4 % CHECKSUM_LANES];
        for (size_t i = 0; i < 4 && at + i < n; i++) four[i] = from[at + i];
        memcpy(&word, four, sizeof word);
        word = (*lane ^ word) * 0x9e3779b1u;
        *lane = word << 15 | word >> 17;
    }
    digest_init(&d);
    digest_update(&d, lanes, sizeof lanes);
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

static void in_pieces(void) {
    uint8_t whole[CHECKSUM_BYTES], pieces[CHECKSUM_BYTES];
    fill();
    sum_up(bytes, SIZE, whole);
    for (size_t piece = 1; piece < 700; piece += 23) {
        struct checksum c;
        checksum_init(&c);
        for (size_t at = 0; at < SIZE; at += piece)
            checksum_update(&c, bytes + at, SIZE - at < piece ? SIZE - at : piece);
        checksum_final(&c, pieces);
        CU_ASSERT_EQUAL(memcmp(whole, pieces, sizeof whole), 0);
    }
}

static void every_bit_counts(void) {
    uint8_t before[CHECKSUM_BYTES], after[CHECKSUM_BYTES];
    fill();
    sum_up(bytes, 600, before);
    for (size_t bit = 0; bit < 600 * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        sum_up(bytes, 600, after);
        CU_ASSERT_NOT_EQUAL(memcmp(before, after, sizeof before), 0);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* The signs of two floats of one lane; a cut; zeros at the end; two words the other way round. */
    bytes[3] ^= 0x80, bytes[3 + CHECKSUM_ROUND] ^= 0x80;
    sum_up(bytes, 600, after);
    CU_ASSERT_NOT_EQUAL(memcmp(before, after, sizeof before), 0);
    fill();
    sum_up(bytes, 599, after);
    CU_ASSERT_NOT_EQUAL(memcmp(before, after, sizeof before), 0);
    memset(bytes, 0, sizeof bytes);
    sum_up(bytes, 10, before);
    sum_up(bytes, 11, after);
    CU_ASSERT_NOT_EQUAL(memcmp(before, after, sizeof before), 0);
}

SUITE(checksum, {"computes what its header says", as_written_down}, {"in pieces as in one go", in_pieces},
      {"sees every bit, swapped signs, a cut, zeros at the end", every_bit_counts});
