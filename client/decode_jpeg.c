/* JPEG through libjpeg-turbo. Its errors are jumps, so everything that has to
 * be freed stands in one struct outside of the function that they return to. */
#include "client/decode.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h> /* jpeglib.h needs it */
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#define MAX_SCANS 100 /* a progressive file of some KB could otherwise keep us busy for hours */
/* Scans times pixels: the usual 10 scans of the largest picture, and some. A scan of
 * 141 bytes over 100 million pixels takes 0.2 s; a file may have any number of them. */
#define MAX_SCANNED (16 * (uint64_t)PICTURE_MAX_PIXELS)

struct jpeg {
    struct jpeg_decompress_struct c;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    struct picture *out;
    uint8_t *line; /* CMYK only */
    struct err *e;
};

static void on_error(j_common_ptr c) {
    struct jpeg *j = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    err_set(j->e, ERR_FORMAT, "JPEG: %s", text);
    longjmp(j->back, 1);
}

/* libjpeg warns, and paints grey, where data are missing or damaged. Half a picture has no class. */
static void on_message(j_common_ptr c, int level) {
    struct jpeg *j = c->client_data;
    char text[JMSG_LENGTH_MAX];
    if (level >= 0) return; /* traces */
    switch (c->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
        err_set(j->e, ERR_TRUNCATED, "JPEG: it ends too early, or its data are damaged");
        break;
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL: return; /* untidy, but all the pixels are there */
    default:
        c->err->format_message(c, text);
        err_set(j->e, ERR_FORMAT, "JPEG: %s", text);
        break;
    }
    longjmp(j->back, 1);
}

static void on_progress(j_common_ptr c) {
    struct jpeg *j = c->client_data;
    const uint64_t pixels = (uint64_t)j->c.image_width * j->c.image_height;
    const int scans = j->c.input_scan_number;
    if (scans <= MAX_SCANS && (uint64_t)scans * pixels <= MAX_SCANNED) return;
    err_set(j->e, ERR_LIMIT, "JPEG: %d scans are too many for a picture of this size", scans);
    longjmp(j->back, 1);
}

static void print_nothing(j_common_ptr c) {
    (void)c;
}

/* Adobe's files hold paper white as 255, which is inverted against what CMYK says. */
static void cmyk_to_rgb(const uint8_t *in, uint8_t *out, uint32_t w, bool inverted) {
    for (uint32_t x = 0; x < w; x++, in += 4, out += 3)
        for (int k = 0; k < 3; k++) {
            uint32_t ink = inverted ? in[k] : 255u - in[k], black = inverted ? in[3] : 255u - in[3];
            out[k] = (uint8_t)((ink * black + 127) / 255);
        }
}

static void choose_output(struct jpeg *j) {
    J_COLOR_SPACE s = j->c.jpeg_color_space;
    bool cmyk = s == JCS_CMYK || s == JCS_YCCK;
    j->c.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
}

static void read_lines(struct jpeg *j) {
    bool cmyk = j->c.out_color_space == JCS_CMYK;
    while (j->c.output_scanline < j->c.output_height) {
        uint8_t *out = (uint8_t *)j->out->data + (size_t)j->c.output_scanline * j->out->w * 3;
        JSAMPROW row = cmyk ? j->line : out;
        if (jpeg_read_scanlines(&j->c, &row, 1) == 1 && cmyk)
            cmyk_to_rgb(row, out, j->out->w, j->c.saw_Adobe_marker);
    }
}

static int read_jpeg(struct jpeg *j, const uint8_t *bytes, size_t size) {
    if (setjmp(j->back)) return -1;
    jpeg_create_decompress(&j->c);
    j->c.progress = &j->progress;
    jpeg_mem_src(&j->c, bytes, (unsigned long)size);
    (void)jpeg_read_header(&j->c, TRUE);
    if (picture_alloc(j->out, CLPD_U8_NHWC, 1, j->c.image_height, j->c.image_width, 3, j->e)) return -1;
    choose_output(j);
    j->line = malloc((size_t)j->c.image_width * 4);
    if (!j->line) return err_set(j->e, ERR_SYSTEM, "out of memory");
    (void)jpeg_start_decompress(&j->c);
    read_lines(j);
    (void)jpeg_finish_decompress(&j->c);
    return 0;
}

int decode_jpeg(const uint8_t *bytes, size_t size, struct picture *out, struct err *e) {
    struct jpeg *j = calloc(1, sizeof *j);
    if (!j) return err_set(e, ERR_SYSTEM, "out of memory");
    j->out = out;
    j->e = e;
    j->c.err = jpeg_std_error(&j->errors);
    j->c.client_data = j;
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    j->errors.output_message = print_nothing;
    j->progress.progress_monitor = on_progress;
    int rc = read_jpeg(j, bytes, size);
    jpeg_destroy_decompress(&j->c);
    free(j->line);
    free(j);
    if (rc) picture_free(out);
    return rc;
}
