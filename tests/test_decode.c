/* client/decode*.c: every kind of JPEG, PNG and .npy to the right pixels; cut and spoilt files refused or
 * harmless. The files are made here, by the same libraries. */
#include "client/decode.h"
#include "tests/mutate.h"
#include "tests/suite.h"

#include <jpeglib.h>
#include <png.h>
#include <stdbool.h>
#include <sys/stat.h>

#define W 37
#define H 23

struct file {
    uint8_t *bytes;
    size_t size;
};

static void drop(struct file *f) {
    free(f->bytes);
    *f = (struct file){0};
}

/* Smooth, so that JPEG keeps it within a few levels. */
static void fill(uint8_t *out, uint32_t channels) {
    for (uint32_t y = 0; y < H; y++)
        for (uint32_t x = 0; x < W; x++)
            for (uint32_t c = 0; c < channels; c++) *out++ = (uint8_t)(40 + x * 4 + y * (1 + c));
}

/* --- JPEG ------------------------------------------------------------------------ */

struct jpeg_kind {
    J_COLOR_SPACE in, stored;
    int channels;
    bool progressive;
};

static struct file make_jpeg(const struct jpeg_kind *k, const uint8_t *pixels, uint32_t w, uint32_t h) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &size);
    c.image_width = w;
    c.image_height = h;
    c.input_components = k->channels;
    c.in_color_space = k->in;
    jpeg_set_defaults(&c);
    jpeg_set_colorspace(&c, k->stored);
    jpeg_set_quality(&c, 97, TRUE);
    if (k->progressive) jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    for (uint32_t y = 0; y < h; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)y * w * (uint32_t)k->channels);
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return (struct file){bytes, size};
}

static const struct jpeg_kind plain = {JCS_RGB, JCS_YCbCr, 3, false},
                              progressive = {JCS_RGB, JCS_YCbCr, 3, true};

static struct file plain_jpeg(const struct jpeg_kind *k) {
    uint8_t pixels[W * H * 4];
    fill(pixels, (uint32_t)k->channels);
    return make_jpeg(k, pixels, W, H);
}

/* Decodes `f`; each value is within `tolerance` of want[]. */
static void decodes_to(const struct file *f, const uint8_t *want, int tolerance) {
    struct picture p;
    struct err e = {0};
    CU_ASSERT_EQUAL(decode_bytes("x", f->bytes, f->size, &p, &e), 0);
    if (e.code) {
        fprintf(stderr, "\n  %s\n", e.text);
        return;
    }
    CU_ASSERT_TRUE_FATAL(p.format == CLPD_U8_NHWC && p.n == 1 && p.h == H && p.w == W && p.c == 3 &&
                         p.bytes == W * H * 3);
    int worst = 0;
    for (size_t i = 0; i < p.bytes; i++) {
        int d = abs(((uint8_t *)p.data)[i] - want[i]);
        if (d > worst) worst = d;
    }
    CU_ASSERT_TRUE(worst <= tolerance);
    if (worst > tolerance) fprintf(stderr, "\n  off by %d\n", worst);
    picture_free(&p);
}

static void jpeg_kinds(void) {
    uint8_t rgb[W * H * 3], gray[W * H], gray_rgb[W * H * 3];
    fill(rgb, 3);
    fill(gray, 1);
    for (size_t i = 0; i < sizeof gray_rgb; i++) gray_rgb[i] = gray[i / 3];
    static const struct jpeg_kind kinds[] = {{JCS_RGB, JCS_YCbCr, 3, false},
                                             {JCS_RGB, JCS_YCbCr, 3, true},
                                             {JCS_RGB, JCS_RGB, 3, false},
                                             {JCS_GRAYSCALE, JCS_GRAYSCALE, 1, false}};
    for (size_t i = 0; i < 4; i++) {
        struct file f = plain_jpeg(&kinds[i]);
        decodes_to(&f, kinds[i].channels == 1 ? gray_rgb : rgb, 6);
        drop(&f);
    }
}

/* libjpeg writes Adobe's marker for these, so the samples count paper white as 255. */
static void jpeg_cmyk(void) {
    uint8_t cmyk[W * H * 4], want[W * H * 3];
    fill(cmyk, 4);
    for (size_t i = 0; i < W * H; i++)
        for (size_t c = 0; c < 3; c++) want[i * 3 + c] = (uint8_t)(cmyk[i * 4 + c] * cmyk[i * 4 + 3] / 255);
    static const struct jpeg_kind kinds[] = {{JCS_CMYK, JCS_CMYK, 4, false}, {JCS_CMYK, JCS_YCCK, 4, false}};
    for (size_t i = 0; i < 2; i++) {
        struct file f = make_jpeg(&kinds[i], cmyk, W, H);
        decodes_to(&f, want, 8);
        drop(&f);
    }
}

/* --- PNG ------------------------------------------------------------------------- */

static void append(png_structp png, png_bytep bytes, size_t n) {
    struct file *f = png_get_io_ptr(png);
    uint8_t *more = realloc(f->bytes, f->size + n);
    if (!more) png_error(png, "memory");
    f->bytes = more;
    memcpy(f->bytes + f->size, bytes, n);
    f->size += n;
}

static void flush(png_structp png) {
    (void)png;
}

/* `row` fills one row of `stride` bytes. */
static struct file make_png(int color, int depth, bool interlaced, size_t stride,
                            void (*row)(uint8_t *to, uint32_t y)) {
    struct file f = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    if (setjmp(png_jmpbuf(png))) abort();
    png_set_write_fn(png, &f, append, flush);
    png_set_IHDR(png, info, W, H, depth, color, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (color == PNG_COLOR_TYPE_PALETTE) {
        png_color colours[16];
        png_byte alpha[16];
        for (int i = 0; i < 16; i++) {
            colours[i] = (png_color){(png_byte)(i * 16), (png_byte)(255 - i), (png_byte)(i * i)};
            alpha[i] = (png_byte)(i * 3);
        }
        png_set_PLTE(png, info, colours, 1 << (depth > 4 ? 4 : depth));
        png_set_tRNS(png, info, alpha, depth > 1 ? 4 : 2, NULL);
    }
    png_write_info(png, info);
    uint8_t *pixels = calloc(H, stride), *rows[H];
    CU_ASSERT_PTR_NOT_NULL_FATAL(pixels);
    for (uint32_t y = 0; y < H; y++) row(rows[y] = pixels + y * stride, y);
    png_write_image(png, rows);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(pixels);
    return f;
}

static void row_rgb(uint8_t *to, uint32_t y) {
    for (uint32_t i = 0; i < W * 3; i++) to[i] = (uint8_t)(i * 7 + y * 13);
}
static void row_rgba(uint8_t *to, uint32_t y) {
    for (uint32_t i = 0; i < W; i++)
        for (uint32_t c = 0; c < 4; c++) to[i * 4 + c] = (uint8_t)(c == 3 ? i * 5 : (i * 3 + c) * 7 + y * 13);
}
static void row_rgb16(uint8_t *to, uint32_t y) {
    for (uint32_t i = 0; i < W * 3; i++) to[i * 2] = to[i * 2 + 1] = (uint8_t)(i * 7 + y * 13); /* v * 257 */
}
static void row_gray(uint8_t *to, uint32_t y) {
    for (uint32_t x = 0; x < W; x++) to[x] = (uint8_t)(x * 7 + y * 13);
}
static void row_gray_alpha(uint8_t *to, uint32_t y) {
    for (uint32_t x = 0; x < W; x++) to[x * 2] = (uint8_t)(x * 7 + y * 13), to[x * 2 + 1] = (uint8_t)y;
}
static void row_bits(uint8_t *to, uint32_t y) {
    for (uint32_t i = 0; i < (W + 7) / 8; i++) to[i] = (uint8_t)(0xa5u ^ y);
}
static void row_nibbles(uint8_t *to, uint32_t y) {
    for (uint32_t i = 0; i < (W + 1) / 2; i++) to[i] = (uint8_t)((i % 16) << 4 | ((i + y) % 16));
}
static void row_indices(uint8_t *to, uint32_t y) {
    for (uint32_t x = 0; x < W; x++) to[x] = (uint8_t)((x + y) % 16);
}

static void pixel_rgb(uint8_t out[3], uint32_t x, uint32_t y) {
    for (uint32_t c = 0; c < 3; c++) out[c] = (uint8_t)((x * 3 + c) * 7 + y * 13);
}
static void pixel_gray(uint8_t out[3], uint32_t x, uint32_t y) {
    memset(out, (int)(uint8_t)(x * 7 + y * 13), 3);
}
static void pixel_bit(uint8_t out[3], uint32_t x, uint32_t y) {
    memset(out, ((0xa5u ^ y) & 0xff) >> (7 - x % 8) & 1 ? 255 : 0, 3);
}
static void pixel_nibble(uint8_t out[3], uint32_t x, uint32_t y) {
    memset(out, (int)((x % 2 ? x / 2 + y : x / 2) % 16 * 17), 3);
}
static void palette(uint8_t out[3], uint32_t i) {
    out[0] = (uint8_t)(i * 16), out[1] = (uint8_t)(255 - i), out[2] = (uint8_t)(i * i);
}
static void pixel_index(uint8_t out[3], uint32_t x, uint32_t y) {
    palette(out, (x + y) % 16);
}
static void pixel_nibble_index(uint8_t out[3], uint32_t x, uint32_t y) {
    palette(out, (x % 2 ? x / 2 + y : x / 2) % 16);
}
static void pixel_bit_index(uint8_t out[3], uint32_t x, uint32_t y) {
    palette(out, ((0xa5u ^ y) & 0xff) >> (7 - x % 8) & 1);
}

static const struct png_kind {
    int color, depth;
    bool interlaced;
    size_t stride;
    void (*row)(uint8_t *to, uint32_t y);
    void (*pixel)(uint8_t out[3], uint32_t x, uint32_t y);
} png_kinds[] = {
    {PNG_COLOR_TYPE_RGB, 8, false, W * 3, row_rgb, pixel_rgb},
    {PNG_COLOR_TYPE_RGB, 8, true, W * 3, row_rgb, pixel_rgb},
    {PNG_COLOR_TYPE_RGB, 16, false, W * 6, row_rgb16, pixel_rgb},
    {PNG_COLOR_TYPE_RGB_ALPHA, 8, false, W * 4, row_rgba, pixel_rgb}, /* alpha is dropped */
    {PNG_COLOR_TYPE_GRAY, 8, false, W, row_gray, pixel_gray},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, W * 2, row_gray_alpha, pixel_gray},
    {PNG_COLOR_TYPE_GRAY, 1, false, (W + 7) / 8, row_bits, pixel_bit},
    {PNG_COLOR_TYPE_GRAY, 4, true, (W + 1) / 2, row_nibbles, pixel_nibble},
    {PNG_COLOR_TYPE_PALETTE, 8, false, W, row_indices, pixel_index},
    {PNG_COLOR_TYPE_PALETTE, 4, false, (W + 1) / 2, row_nibbles, pixel_nibble_index},
    {PNG_COLOR_TYPE_PALETTE, 1, false, (W + 7) / 8, row_bits, pixel_bit_index},
};
#define PNG_KINDS (sizeof png_kinds / sizeof png_kinds[0])

static struct file kind_of_png(const struct png_kind *k) {
    return make_png(k->color, k->depth, k->interlaced, k->stride, k->row);
}

static void png_kinds_decode(void) {
    for (size_t i = 0; i < PNG_KINDS; i++) {
        uint8_t want[W * H * 3];
        for (uint32_t y = 0; y < H; y++)
            for (uint32_t x = 0; x < W; x++) png_kinds[i].pixel(want + (y * W + x) * 3, x, y);
        struct file f = kind_of_png(&png_kinds[i]);
        decodes_to(&f, want, 0);
        drop(&f);
    }
}

/* --- .npy ------------------------------------------------------------------------ */

static struct file make_npy(const char *dict, size_t data) {
    size_t head = (10 + strlen(dict) + 1 + 63) / 64 * 64;
    struct file f = {malloc(head + data), head + data};
    CU_ASSERT_PTR_NOT_NULL_FATAL(f.bytes);
    memset(f.bytes, ' ', head);
    memcpy(f.bytes, "\x93NUMPY\1", 7);
    f.bytes[7] = 0;
    f.bytes[8] = (uint8_t)((head - 10) & 0xff);
    f.bytes[9] = (uint8_t)((head - 10) >> 8);
    memcpy(f.bytes + 10, dict, strlen(dict));
    f.bytes[head - 1] = '\n';
    for (size_t i = 0; i < data; i++) f.bytes[head + i] = (uint8_t)(i * 3);
    return f;
}

static void npy_has_shape(const char *dict, size_t data, uint32_t format, uint32_t n, uint32_t h, uint32_t w,
                          uint32_t c) {
    struct file f = make_npy(dict, data);
    struct picture p;
    struct err e = {0};
    CU_ASSERT_EQUAL(decode_bytes("x.npy", f.bytes, f.size, &p, &e), 0);
    if (e.code) fprintf(stderr, "\n  %s\n", e.text);
    CU_ASSERT_TRUE(p.format == format && p.n == n && p.h == h && p.w == w && p.c == c && p.bytes == data);
    if (p.data) CU_ASSERT_EQUAL(memcmp(p.data, f.bytes + f.size - data, data), 0);
    picture_free(&p);
    drop(&f);
}

static void npy_refused(const char *dict, size_t data, const char *want) {
    struct file f = make_npy(dict, data);
    struct picture p;
    struct err e = {0};
    CU_ASSERT_EQUAL(decode_bytes("x.npy", f.bytes, f.size, &p, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, want));
    if (!strstr(e.text, want)) fprintf(stderr, "\n  wanted \"%s\"\n  got    \"%s\"\n", want, e.text);
    CU_ASSERT_PTR_NULL(p.data);
    drop(&f);
}

static void npy_shapes(void) {
    npy_has_shape("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 5, 3), }", 60, CLPD_U8_NHWC, 1, 4, 5,
                  3);
    npy_has_shape("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 5, 1), }", 40, CLPD_U8_NHWC, 2, 4,
                  5, 1);
    npy_has_shape("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 5), }", 240, CLPD_F32_NCHW, 1, 4,
                  5, 3);
    npy_has_shape("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 7, 4, 5), }", 1120, CLPD_F32_NCHW, 2,
                  4, 5, 7);
    npy_refused("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4, 5), }", 60,
                "x.npy: .npy: uint8 has to be [H,W,C]");
    npy_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4, 5), }", 480,
                "<f8 of rank 3; pictures are uint8");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (60,), }", 240, "of rank 1");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0, 5), }", 0, "without pixels");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4, 5), }", 239, "x.npy: ");
}

/* --- what is wrong with files ------------------------------------------------------ */

static void cut_files_are_refused(void) {
    struct file files[] = {plain_jpeg(&plain), plain_jpeg(&progressive), kind_of_png(&png_kinds[0]),
                           kind_of_png(&png_kinds[1]),
                           make_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 5, 3), }", 60)};
    struct mutate_room room;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, 65536), 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        for (size_t n = 0; n < files[i].size; n++) {
            struct picture p;
            struct err e = {0};
            if (i < 2 && n + 2 >= files[i].size)
                break; /* only the end marker is missing: all the pixels are there */
            CU_ASSERT_EQUAL(decode_bytes("x", mutate_room_put(&room, files[i].bytes, n), n, &p, &e), -1);
            CU_ASSERT_TRUE(e.code != ERR_NONE && p.data == NULL);
            if (n > 700 && i < 4) CU_ASSERT_EQUAL(e.code, ERR_TRUNCATED);
        }
        drop(&files[i]);
    }
    mutate_room_close(&room);
}

static void other_things_are_refused(void) {
    struct picture p;
    struct err e = {0};
    CU_ASSERT_EQUAL(decode_bytes("x", NULL, 0, &p, &e), -1);
    CU_ASSERT_STRING_EQUAL(e.text, "x: it is empty");
    CU_ASSERT_EQUAL(decode_bytes("x", (const uint8_t *)"GIF89a", 6, &p, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "neither JPEG nor PNG nor .npy"));
    CU_ASSERT_EQUAL(decode_bytes("x", (const uint8_t *)"\xff\xd8\xff", 3, &p, NULL), -1);
    CU_ASSERT_EQUAL(decode_bytes("x", (const uint8_t *)"\x89PNG\r\n\x1a\n", 8, &p, NULL), -1);
    uint8_t *wide = calloc(40000, 3);
    CU_ASSERT_PTR_NOT_NULL_FATAL(wide);
    struct file f = make_jpeg(&plain, wide, 40000, 1);
    CU_ASSERT_EQUAL(decode_bytes("x", f.bytes, f.size, &p, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "no side may have more than 32768"));
    drop(&f);
    free(wide);
    f = kind_of_png(
        &png_kinds[0]); /* a header that says 32767 x 32767, with its check sum left wrong and then right */
    memcpy(f.bytes + 16, "\0\0\x7f\xff\0\0\x7f\xff", 8);
    CU_ASSERT_EQUAL(decode_bytes("x", f.bytes, f.size, &p, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "CRC"));
    static const uint8_t right[] = {0xc6, 0x90, 0x91, 0x6a};
    memcpy(f.bytes + 29, right, 4);
    CU_ASSERT_EQUAL(decode_bytes("x", f.bytes, f.size, &p, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    drop(&f);
}

static void files_are_read(void) {
    char dir[] = "/tmp/clpd-test-XXXXXX", path[64];
    struct picture p;
    struct err e = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.png", dir); /* by content, whatever the name says */
    struct file f = plain_jpeg(&plain);
    FILE *to = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(to);
    CU_ASSERT_EQUAL(fwrite(f.bytes, 1, f.size, to), f.size);
    fclose(to);
    CU_ASSERT_EQUAL(decode_file(path, &p, &e), 0);
    CU_ASSERT_TRUE(p.w == W && p.h == H);
    picture_free(&p);
    CU_ASSERT_EQUAL(truncate(path, 0), 0);
    CU_ASSERT_EQUAL(decode_file(path, &p, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_TRUNCATED);
    unlink(path);
    CU_ASSERT_EQUAL(decode_file(path, &p, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "a.png: No such file"));
    CU_ASSERT_EQUAL(decode_file(dir, &p, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "Is a directory"));
    int ends[2]; /* a pipe has no size and comes in pieces */
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    CU_ASSERT_EQUAL(write(ends[1], f.bytes, f.size), (ssize_t)f.size);
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    CU_ASSERT_EQUAL(decode_file(path, &p, &e), 0);
    picture_free(&p);
    close(ends[0]);
    drop(&f);
    rmdir(dir);
}

/* Check sums stop most changes of a PNG early; libjpeg and .npy have none. */
static void mutants_do_no_harm(void) {
    struct file files[] = {plain_jpeg(&plain), plain_jpeg(&progressive), kind_of_png(&png_kinds[8]),
                           make_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 5, 3), }", 60)};
    static const char *const words[] = {"\xff\xd9", "\xff\xc4", "\xff\xdb", "\xff\xda", "\xff\xc0",
                                        "\xff\xd0", "\xff\xee", "'<f4'",    "(1,",      NULL};
    struct mutate_room room;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, 65536), 0);
    uint64_t seed = 5;
    unsigned taken = 0;
    uint8_t b[8192];
    for (int i = 0; i < 6000; i++) {
        const struct file *f = &files[i % 4];
        size_t size = f->size;
        CU_ASSERT_TRUE_FATAL(size < sizeof b);
        memcpy(b, f->bytes, size);
        for (size_t k = 1 + mutate_below(&seed, 3); k > 0; k--)
            size = mutate_once(b, size, sizeof b, words, &seed);
        struct picture p;
        struct err e = {0};
        if (decode_bytes("m", mutate_room_put(&room, b, size), size, &p, &e)) {
            CU_ASSERT_TRUE(e.code != ERR_NONE && strncmp(e.text, "m: ", 3) == 0 && p.data == NULL);
            continue;
        }
        taken++;
        CU_ASSERT_TRUE(p.data && p.bytes > 0);
        picture_free(&p);
    }
    CU_ASSERT_TRUE(taken > 100 && taken < 5900); /* both ways are walked */
    for (size_t i = 0; i < 4; i++) drop(&files[i]);
    mutate_room_close(&room);
}

SUITE(decode, {"JPEG: colour, gray, progressive", jpeg_kinds}, {"JPEG: CMYK and YCCK", jpeg_cmyk},
      {"PNG: every colour type and depth", png_kinds_decode}, {".npy: shapes and types", npy_shapes},
      {"cut files are refused at every length", cut_files_are_refused},
      {"other things are refused", other_things_are_refused}, {"files and pipes, by content", files_are_read},
      {"6000 mutants do no harm", mutants_do_no_harm});
