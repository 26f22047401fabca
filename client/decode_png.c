/* PNG through libpng: every colour type and depth to RGB of 8 bits. Its errors are jumps, so everything
 * that has to be freed stands in one struct outside of the function that they return to. */
#include "client/decode.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHUNK 8000000 /* of texts and profiles, which are of no use here */

struct reader {
    png_structp png;
    png_infop info;
    const uint8_t *bytes;
    size_t size, at;
    png_bytepp rows;
    struct picture *out;
    struct err *e;
};

static void on_error(png_structp png, png_const_charp text) {
    struct reader *r = png_get_error_ptr(png);
    if (r->e && r->e->code == ERR_NONE) err_set(r->e, ERR_FORMAT, "PNG: %s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep to, size_t n) {
    struct reader *r = png_get_io_ptr(png);
    if (n > r->size - r->at) {
        err_set(r->e, ERR_TRUNCATED, "PNG: it ends too early, after %zu bytes", r->size);
        png_error(png, "truncated");
    }
    memcpy(to, r->bytes + r->at, n);
    r->at += n;
}

static void choose_output(struct reader *r) {
    png_set_palette_to_rgb(r->png);
    png_set_expand_gray_1_2_4_to_8(r->png);
    png_set_scale_16(r->png);
    png_set_strip_alpha(r->png);
    png_set_gray_to_rgb(r->png);
    (void)png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
}

static int read_png(struct reader *r) {
    if (setjmp(png_jmpbuf(r->png))) return -1;
    png_set_read_fn(r->png, r, read_bytes);
    png_set_user_limits(r->png, PICTURE_MAX_SIDE, PICTURE_MAX_SIDE);
    png_set_chunk_malloc_max(r->png, MAX_CHUNK);
    png_read_info(r->png, r->info);
    uint32_t w = png_get_image_width(r->png, r->info), h = png_get_image_height(r->png, r->info);
    if (picture_alloc(r->out, CLPD_U8_NHWC, 1, h, w, 3, r->e)) return -1;
    choose_output(r);
    if (png_get_rowbytes(r->png, r->info) != (size_t)w * 3)
        return err_set(r->e, ERR_UNSUPPORTED, "PNG: this kind of pixels does not turn into RGB");
    r->rows = calloc(h, sizeof *r->rows);
    if (!r->rows) return err_set(r->e, ERR_SYSTEM, "out of memory");
    for (uint32_t y = 0; y < h; y++) r->rows[y] = (png_bytep)r->out->data + (size_t)y * w * 3;
    png_read_image(r->png, r->rows);
    png_read_end(r->png, NULL); /* the check sum of the pixels, and that nothing is missing */
    return 0;
}

int decode_png(const uint8_t *bytes, size_t size, struct picture *out, struct err *e) {
    struct err own = {0};
    struct reader r = {.bytes = bytes, .size = size, .out = out, .e = &own};
    int rc = -1;
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    if (r.png) r.info = png_create_info_struct(r.png);
    if (r.info)
        rc = read_png(&r);
    else
        err_set(&own, ERR_SYSTEM, "out of memory");
    if (r.png) png_destroy_read_struct(&r.png, &r.info, NULL);
    free(r.rows);
    if (rc) {
        picture_free(out);
        if (e) *e = own;
    }
    return rc;
}
