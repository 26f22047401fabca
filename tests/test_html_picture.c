/* client/html_picture: what it writes is a PNG of these pixels, as libpng reads it. */
#include "client/html_picture.h"

#include "tests/suite.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

static size_t from_base64(const char *text, uint8_t *to) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    for (; text[0]; text += 4) {
        uint32_t v = 0, pads = 0;
        for (int i = 0; i < 4; i++) {
            pads += text[i] == '=';
            v = v << 6 | (text[i] == '=' ? 0 : (uint32_t)(strchr(digits, text[i]) - digits));
        }
        for (uint32_t i = 0; i < 3 - pads; i++) to[n++] = (uint8_t)(v >> (16 - 8 * i));
    }
    return n;
}

static void check(uint32_t width, uint32_t height) {
    static const char head[] = "data:image/png;base64,";
    const size_t n = (size_t)width * height * 4;
    uint8_t *pixels = malloc(n), *back = malloc(n);
    char *text = NULL;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) pixels[i] = (uint8_t)(i * 7 + i / 251);
    FILE *f = open_memstream(&text, &bytes);
    html_picture_put(f, pixels, width, height);
    (void)fclose(f);
    CU_ASSERT_EQUAL_FATAL(strncmp(text, head, sizeof head - 1), 0);
    uint8_t *file = malloc(bytes);
    const size_t size = from_base64(text + sizeof head - 1, file);
    png_image png = {.version = PNG_IMAGE_VERSION};
    CU_ASSERT_FATAL(png_image_begin_read_from_memory(&png, file, size));
    CU_ASSERT(png.width == width && png.height == height && png.format == PNG_FORMAT_RGBA);
    CU_ASSERT(png_image_finish_read(&png, NULL, back, 0, NULL));
    CU_ASSERT_EQUAL(memcmp(pixels, back, n), 0);
    free(file);
    free(text);
    free(pixels);
    free(back);
}

static void test_pictures(void) {
    check(1, 1);
    check(3, 5);
    check(256, 256); /* more than one stored block */
}

SUITE(html_picture, {"is read as it was written", test_pictures});
