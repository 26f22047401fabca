/* A file to pixels: read it whole, look at how it begins, hand it to the decoder of that format. */
#include "client/decode.h"
#include "infer/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool begins_with(const uint8_t *bytes, size_t size, const char *magic, size_t n) {
    return size >= n && memcmp(bytes, magic, n) == 0;
}

/* --- .npy --------------------------------------------------------------------------- */

static int copy_tensor(const struct npy *a, uint32_t format, struct picture *out, struct err *e) {
    const int64_t *d = a->shape.dim;
    uint32_t dims[4] = {1, 0, 0, 0}, lead = a->shape.rank == 3; /* a picture on its own is a batch of one */
    for (int32_t i = 0; i < a->shape.rank; i++) {
        if (d[i] > UINT32_MAX) return err_set(e, ERR_LIMIT, ".npy: a dimension of %lld", (long long)d[i]);
        dims[lead + (uint32_t)i] = (uint32_t)d[i];
    }
    bool f32 = format == CLPD_F32_NCHW;
    uint32_t h = dims[f32 ? 2 : 1], w = dims[f32 ? 3 : 2], c = dims[f32 ? 1 : 3];
    if (!f32 && c != 1 && c != 3 && c != 4)
        return err_set(e, ERR_VALUE,
                       ".npy: uint8 has to be [H,W,C] or [N,H,W,C] with C of 1, 3 or 4, and C is %u", c);
    if (picture_alloc(out, format, dims[0], h, w, c, e)) return err_prefix(e, ".npy");
    memcpy(out->data, a->data, out->bytes); /* npy_parse has checked that they are there */
    return 0;
}

static int decode_npy(const uint8_t *bytes, size_t size, struct picture *out, struct err *e) {
    struct npy a;
    if (npy_parse(bytes, size, &a, e)) return -1;
    if ((a.type != NPY_U8 && a.type != NPY_F32) || (a.shape.rank != 3 && a.shape.rank != 4))
        return err_set(
            e, ERR_UNSUPPORTED,
            ".npy: %s of rank %d; pictures are uint8 [H,W,C] or [N,H,W,C], or float32 [C,H,W] or [N,C,H,W]",
            npy_type_name(a.type), (int)a.shape.rank);
    return copy_tensor(&a, a.type == NPY_F32 ? CLPD_F32_NCHW : CLPD_U8_NHWC, out, e);
}

static int decode_any(const uint8_t *bytes, size_t size, struct picture *out, struct err *e) {
    if (size == 0) return err_set(e, ERR_TRUNCATED, "it is empty");
    if (begins_with(bytes, size, "\xff\xd8\xff", 3)) return decode_jpeg(bytes, size, out, e);
    if (begins_with(bytes, size, "\x89PNG\r\n\x1a\n", 8)) return decode_png(bytes, size, out, e);
    if (begins_with(bytes, size, "\x93NUMPY", 6)) return decode_npy(bytes, size, out, e);
    return err_set(e, ERR_FORMAT, "neither JPEG nor PNG nor .npy, going by how it begins");
}

int decode_bytes(const char *name, const uint8_t *bytes, size_t size, struct picture *out, struct err *e) {
    struct err own = {0};
    *out = (struct picture){0};
    if (decode_any(bytes, size, out, &own) == 0) return 0;
    picture_free(out);
    if (e) *e = own;
    return err_prefix(e, "%s", name);
}

/* --- the file ---------------------------------------------------------------------- */

struct buffer {
    uint8_t *bytes;
    size_t size, room;
};

static int grow(struct buffer *b, struct err *e) {
    size_t room = b->room * 2 > DECODE_MAX_BYTES + 1 ? DECODE_MAX_BYTES + 1 : b->room * 2;
    uint8_t *more = realloc(b->bytes, room);
    if (!more) return err_set(e, ERR_SYSTEM, "out of memory for the file");
    b->bytes = more;
    b->room = room;
    return 0;
}

/* All that comes, from a file or a pipe alike. */
static int read_all(int fd, struct buffer *b, struct err *e) {
    for (;;) {
        if (b->size == b->room && grow(b, e)) return -1;
        ssize_t n = read(fd, b->bytes + b->size, b->room - b->size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(e, ERR_SYSTEM, "%s", strerror(errno));
        if (n == 0) return 0;
        b->size += (size_t)n;
        if (b->size > DECODE_MAX_BYTES)
            return err_set(e, ERR_LIMIT, "larger than %zu MB", DECODE_MAX_BYTES >> 20);
    }
}

static int open_file(const char *path, struct buffer *b, struct err *e) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        err_set(e, ERR_SYSTEM, "%s", strerror(errno));
        if (fd >= 0) (void)close(fd);
        return -1;
    }
    b->room = st.st_size > 0 && (uint64_t)st.st_size < DECODE_MAX_BYTES ? (size_t)st.st_size + 1 : 65536;
    b->bytes = malloc(b->room);
    int rc = b->bytes ? read_all(fd, b, e) : err_set(e, ERR_SYSTEM, "out of memory for the file");
    (void)close(fd);
    return rc;
}

int decode_file(const char *path, struct picture *out, struct err *e) {
    struct buffer b = {0};
    *out = (struct picture){0};
    int rc = open_file(path, &b, e);
    if (rc)
        err_prefix(e, "%s", path);
    else
        rc = decode_bytes(path, b.bytes, b.size, out, e);
    free(b.bytes);
    return rc;
}
