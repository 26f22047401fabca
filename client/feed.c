/* Feeds: read the file, see what it is, hold it against the model, lay it out in items. */
#include "client/feed.h"
#include "client/decode.h"
#include "infer/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct want {                  /* the input as the model has it */
    const struct shape *shape; /* of one item */
    int64_t images;            /* pictures in one item */
    char text[128];
};

static struct want want_of(const struct image *img, uint32_t input) {
    const struct shape *s = &image_tensor_at(img, image_header(img)->inputs[input])->shape;
    /* The axis itself, not the header's item_images: every size here follows from this shape alone. */
    struct want w = {.shape = s, .images = s->rank > 0 ? s->dim[0] : 1};
    (void)shape_text(w.shape, w.text, sizeof w.text);
    return w;
}

void feed_free(struct feed *f) {
    free(f->data);
    f->data = NULL;
}

static int make_room(struct feed *f, int64_t rows, int64_t images, size_t item_bytes, struct err *e) {
    size_t bytes;
    f->rows = rows;
    f->images = images;
    f->items = (rows + images - 1) / images;
    f->item_bytes = item_bytes;
    if (__builtin_mul_overflow((size_t)f->items, item_bytes, &bytes) || bytes == 0 || bytes > (size_t)1 << 40)
        return err_set(e, ERR_LIMIT, "%lld rows of %zu bytes are too many", (long long)rows, item_bytes);
    if (posix_memalign((void **)&f->data, 64, (bytes + 63) / 64 * 64) != 0) {
        f->data = NULL;
        return err_set(e, ERR_SYSTEM, "out of memory for %zu bytes", bytes);
    }
    memset(f->data, 0, bytes);
    return 0;
}

/* --- pictures --------------------------------------------------------------------------- */

static int take_pixels(const struct image *img, uint32_t input, const struct picture *p, struct feed *out,
                       struct err *e) {
    struct want w = want_of(img, input);
    size_t item_bytes = engine_input_bytes(img, input, INPUT_U8_NHWC);
    if (!item_bytes)
        return err_set(e, ERR_VALUE, "the model takes %s, not pictures; give float32 of that shape", w.text);
    const int64_t *d = w.shape->dim;
    if (p->c != d[1] || p->h != d[2] || p->w != d[3])
        return err_set(e, ERR_VALUE,
                       "pictures of height %u, width %u and %u channels; the model takes %lld, %lld and %lld",
                       p->h, p->w, p->c, (long long)d[2], (long long)d[3], (long long)d[1]);
    if (make_room(out, p->n, w.images, item_bytes, e) < 0) return -1;
    out->format = INPUT_U8_NHWC;
    memcpy(out->data, p->data, p->bytes);
    return 0;
}

/* A photograph is rarely of the model's size. */
static int take_photograph(const struct image *img, uint32_t input, const char *name, const uint8_t *bytes,
                           size_t size, struct feed *out, struct err *e) {
    struct picture photo = {0}, fitted = {0};
    struct want w = want_of(img, input);
    if (decode_bytes(name, bytes, size, &photo, e) < 0) return -1;
    int rc = 0;
    if (w.shape->rank == 4) {
        if (w.shape->dim[1] == 1 && photo.c == 3) rc = picture_to_gray(&photo, e);
        if (rc == 0)
            rc = picture_resize(&photo, (uint32_t)w.shape->dim[2], (uint32_t)w.shape->dim[3], &fitted, e);
    }
    if (rc == 0) rc = take_pixels(img, input, w.shape->rank == 4 ? &fitted : &photo, out, e);
    picture_free(&photo);
    picture_free(&fitted);
    return rc;
}

/* --- arrays ----------------------------------------------------------------------------- */

static int take_bytes(const struct image *img, uint32_t input, const struct npy *a, struct feed *out,
                      struct err *e) {
    const int64_t *d = a->shape.dim;
    int lead = a->shape.rank == 4;
    if (a->shape.rank != 3 && a->shape.rank != 4)
        return err_set(e, ERR_VALUE,
                       "uint8 has to be [N,H,W,C] or [H,W,C]; as numbers for the network, save float32");
    for (int i = 0; i < a->shape.rank; i++)
        if (d[i] < 1 || d[i] > UINT32_MAX)
            return err_set(e, ERR_VALUE, "a dimension of %lld", (long long)d[i]);
    const struct picture p = {.format = CLPD_U8_NHWC,
                              .n = lead ? (uint32_t)d[0] : 1,
                              .h = (uint32_t)d[lead],
                              .w = (uint32_t)d[lead + 1],
                              .c = (uint32_t)d[lead + 2],
                              .data = (void *)(uintptr_t)a->data,
                              .bytes = a->bytes};
    return take_pixels(img, input, &p, out, e);
}

/* Rows of the array where it fits: all axes behind the first are the model's. -1: it does not. */
static int64_t rows_of(const struct shape *have, const struct shape *want) {
    if (have->rank == want->rank - 1 &&
        memcmp(have->dim, want->dim + 1, (size_t)have->rank * sizeof *have->dim) == 0)
        return 1;
    if (have->rank != want->rank || have->rank == 0 || have->dim[0] < 1) return -1;
    for (int i = 1; i < have->rank; i++)
        if (have->dim[i] != want->dim[i]) return -1;
    return have->dim[0];
}

static int take_numbers(const struct image *img, uint32_t input, const struct npy *a, struct feed *out,
                        struct err *e) {
    struct want w = want_of(img, input);
    char have[128];
    int64_t rows = rows_of(&a->shape, w.shape);
    if (rows < 1)
        return err_set(e, ERR_VALUE, "its shape is %s; the model takes %s, with any number of rows",
                       shape_text(&a->shape, have, sizeof have), w.text);
    if (make_room(out, rows, w.images, engine_input_bytes(img, input, INPUT_F32_NCHW), e) < 0) return -1;
    out->format = INPUT_F32_NCHW;
    npy_to_f32(a, (float *)(void *)out->data);
    return 0;
}

static int take(const struct image *img, uint32_t input, const char *path, const uint8_t *bytes, size_t size,
                struct feed *out, struct err *e) {
    struct npy a;
    if (size < 6 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return take_photograph(img, input, path, bytes, size, out, e);
    int rc = npy_parse(bytes, size, &a, e);
    if (rc == 0)
        rc = a.type == NPY_U8 ? take_bytes(img, input, &a, out, e) : take_numbers(img, input, &a, out, e);
    return rc < 0 ? err_prefix(e, "%s", path) : 0;
}

int feed_load(const struct image *img, uint32_t input, const char *path, struct feed *out, struct err *e) {
    struct stat st;
    *out = (struct feed){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int code = errno;
        if (fd >= 0) (void)close(fd);
        return err_set(e, ERR_SYSTEM, "%s: %s", path, strerror(code));
    }
    void *bytes = MAP_FAILED;
    int rc = -1;
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        (void)err_set(e, ERR_FORMAT, "%s is empty, or not a regular file", path);
    else if ((bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        (void)err_set(e, ERR_SYSTEM, "%s: %s", path, strerror(errno));
    else
        rc = take(img, input, path, bytes, (size_t)st.st_size, out, e);
    if (bytes != MAP_FAILED) (void)munmap(bytes, (size_t)st.st_size);
    (void)close(fd);
    if (rc < 0) feed_free(out);
    return rc;
}

int feed_make(const struct image *img, uint32_t input, int64_t items, struct feed *out, struct err *e) {
    struct want w = want_of(img, input);
    *out = (struct feed){.format = INPUT_F32_NCHW};
    if (make_room(out, items * w.images, w.images, engine_input_bytes(img, input, INPUT_F32_NCHW), e) < 0)
        return -1;
    float *f = (float *)(void *)out->data;
    uint32_t state = 1;
    for (size_t i = 0; i < (size_t)items * out->item_bytes / sizeof *f; i++) {
        state = state * 1664525u + 1013904223u; /* Knuth's constants; any noise will do */
        f[i] = (float)(state >> 8) / (float)(1 << 24);
    }
    return 0;
}
