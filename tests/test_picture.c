/* client/picture.c: limits, and the same bytes as Pillow where pictures are resized or turned gray. */
#include "client/picture.h"
#include "tests/mutate.h"
#include "tests/suite.h"

/* The picture that the expected values were made from, with Pillow 9.4:
 *   Image.frombytes("RGB", (w, h), bytes((x*x*7 + y*31 + c*53 + x*y*11) % 256 for y for x for c)) */
static struct picture source(uint32_t n, uint32_t h, uint32_t w) {
    struct picture p;
    CU_ASSERT_EQUAL_FATAL(picture_alloc(&p, CLPD_U8_NHWC, n, h, w, 3, NULL), 0);
    uint8_t *at = p.data;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t y = 0; y < h; y++)
            for (uint32_t x = 0; x < w; x++)
                for (uint32_t c = 0; c < 3; c++) *at++ = (uint8_t)(x * x * 7 + y * 31 + c * 53 + x * y * 11);
    return p;
}

static void resized_is(uint32_t w, uint32_t h, uint32_t to_w, uint32_t to_h, const uint8_t *want) {
    struct picture in = source(2, h, w), out;
    CU_ASSERT_EQUAL_FATAL(picture_resize(&in, to_h, to_w, &out, NULL), 0);
    CU_ASSERT_TRUE(out.n == 2 && out.h == to_h && out.w == to_w && out.c == 3 && out.format == CLPD_U8_NHWC);
    size_t one = (size_t)to_h * to_w * 3;
    CU_ASSERT_EQUAL(out.bytes, 2 * one);
    CU_ASSERT_EQUAL(memcmp(out.data, want, one), 0);
    CU_ASSERT_EQUAL(memcmp((uint8_t *)out.data + one, want, one), 0);
    picture_free(&in);
    picture_free(&out);
}

static void resizes_like_pillow(void) {
    static const uint8_t to_3x4[] = {19,  72,  125, 82,  135, 162, 161, 145, 102, 66,  119, 172,
                                     120, 173, 147, 89,  142, 125, 113, 166, 187, 159, 151, 117,
                                     106, 159, 110, 161, 173, 129, 144, 126, 103, 88,  141, 125};
    static const uint8_t to_8x7[] = {
        0,   53,  106, 3,   56,  109, 8,   61,  114, 21,  74,  127, 39,  92,  145, 61,  114, 167, 91,
        144, 197, 112, 165, 218, 4,   57,  110, 8,   61,  114, 14,  67,  120, 28,  81,  134, 47,  100,
        153, 70,  123, 176, 101, 154, 186, 123, 176, 192, 18,  71,  124, 24,  77,  130, 33,  86,  139,
        50,  103, 156, 71,  124, 177, 97,  150, 203, 131, 184, 155, 155, 208, 115, 31,  84,  137, 39,
        92,  145, 51,  104, 157, 71,  124, 177, 95,  148, 201, 124, 177, 230, 161, 214, 123, 187, 240,
        37,  44,  97,  150, 54,  107, 160, 69,  122, 175, 92,  145, 198, 119, 172, 191, 151, 204, 154,
        129, 182, 105, 109, 162, 69,  58,  111, 164, 70,  123, 176, 88,  141, 194, 114, 167, 220, 144,
        197, 181, 178, 231, 78,  98,  151, 87,  32,  85,  101, 62,  115, 168, 75,  128, 181, 94,  147,
        200, 121, 174, 227, 152, 205, 178, 187, 240, 53,  87,  140, 81,  6,   59,  112};
    static const uint8_t to_2x2[] = {115, 144, 127, 131, 131, 123, 126, 136, 124, 114, 137, 127};
    static const uint8_t to_4x2[] = {22, 75,  128, 37,  90,  143, 66,  119, 172, 109, 162, 178,
                                     71, 124, 177, 103, 156, 209, 149, 202, 145, 209, 153, 96};
    resized_is(7, 5, 3, 4, to_3x4);
    resized_is(5, 3, 8, 7, to_8x7);
    resized_is(16, 9, 2, 2, to_2x2);
    resized_is(4, 4, 4, 2, to_4x2);
}

static void same_size_is_the_same(void) {
    struct picture in = source(1, 11, 13), out;
    CU_ASSERT_EQUAL(picture_resize(&in, 11, 13, &out, NULL), 0);
    CU_ASSERT_EQUAL(memcmp(in.data, out.data, in.bytes), 0);
    picture_free(&out);
    /* one colour stays that colour at any size: the weights add up */
    memset(in.data, 201, in.bytes);
    for (uint32_t side = 1; side < 60; side += 7) {
        CU_ASSERT_EQUAL(picture_resize(&in, side, 60 - side, &out, NULL), 0);
        for (size_t i = 0; i < out.bytes; i++) CU_ASSERT_EQUAL(((uint8_t *)out.data)[i], 201);
        picture_free(&out);
    }
    picture_free(&in);
}

static void extremes(void) {
    struct picture in = source(1, 1, 1), out;
    CU_ASSERT_EQUAL(picture_resize(&in, 300, 1, &out, NULL), 0);
    CU_ASSERT_EQUAL(((uint8_t *)out.data)[299 * 3 + 2], 106);
    picture_free(&out);
    picture_free(&in);
    in = source(1, 3, 20000);
    CU_ASSERT_EQUAL(picture_resize(&in, 1, 1, &out, NULL), 0);
    picture_free(&out);
    struct err e = {0};
    CU_ASSERT_EQUAL(picture_resize(&in, 40000, 1, &out, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    CU_ASSERT_PTR_NULL(out.data);
    CU_ASSERT_EQUAL(picture_resize(&in, 0, 1, &out, &e), -1);
    picture_free(&in);
    CU_ASSERT_EQUAL_FATAL(picture_alloc(&in, CLPD_F32_NCHW, 1, 2, 2, 3, NULL), 0);
    CU_ASSERT_EQUAL(in.bytes, 48);
    CU_ASSERT_EQUAL(picture_resize(&in, 4, 5, &out, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "5x4"));
    CU_ASSERT_EQUAL(picture_to_gray(&in, &e), -1);
    picture_free(&in);
    picture_free(&in);
}

static void limits(void) {
    struct picture p;
    struct err e = {0};
    CU_ASSERT_EQUAL(picture_alloc(&p, CLPD_U8_NHWC, 1, 0, 5, 3, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_VALUE);
    CU_ASSERT_EQUAL(picture_alloc(&p, CLPD_U8_NHWC, 1, 32769, 1, 3, &e), -1);
    CU_ASSERT_EQUAL(picture_alloc(&p, CLPD_U8_NHWC, 1, 32768, 32768, 3, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    CU_ASSERT_EQUAL(picture_alloc(&p, CLPD_U8_NHWC, UINT32_MAX, 32768, 32768, 65535, &e), -1);
    CU_ASSERT_EQUAL(picture_alloc(&p, CLPD_U8_NHWC, 1, 1, 1, UINT32_MAX, &e), -1);
    CU_ASSERT_PTR_NULL(p.data);
}

static void gray_like_pillow(void) {
    static const uint8_t want[] = {43, 50, 71, 106, 74, 92, 124, 170, 105, 134, 177, 205};
    struct picture p = source(1, 3, 4);
    CU_ASSERT_EQUAL(picture_to_gray(&p, NULL), 0);
    CU_ASSERT_TRUE(p.c == 1 && p.bytes == 12);
    CU_ASSERT_EQUAL(memcmp(p.data, want, 12), 0);
    struct err e = {0};
    CU_ASSERT_EQUAL(picture_to_gray(&p, &e), -1);
    picture_free(&p);
}

SUITE(picture, {"resizing gives Pillow's bytes", resizes_like_pillow},
      {"nothing changes where nothing should", same_size_is_the_same},
      {"one pixel, one line, float32", extremes}, {"limits of size", limits},
      {"gray is Pillow's L", gray_like_pillow});
