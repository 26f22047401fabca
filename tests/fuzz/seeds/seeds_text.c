/* Seeds for the targets `config`, `sidecar`, `json_table`, `oip`, `npy` and `picture`. */
#include "infer/npy.h"
#include "tests/fuzz/seeds/seeds.h"
#include "tests/suite.h"

#include <jpeglib.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

static void configurations(void) {
    seed_text(
        "config", "some",
        "models: /var/lib/clpd/models\nsocket: {mode: \"0660\", group: video}\nengine:\n  threads: auto\n"
        "  pin: true\nlimits:\n  request_bytes: 64M\nguard:\n  threshold: 2.5\n  worker:\n    memory: 8G\n"
        "log:\n  level: debug\n");
    seed_text("config", "quoted", "%YAML 1.2\n---\nstate: '/a b'\nguard: # here\n  rescan_s: 30\n...\n");
}

static void sidecars(void) {
    seed_text("sidecar", "all",
              "labels:\n  - stop\n  - \"give way\"\n  - 30\n  - Stra\xc3\x9f"
              "e\ninput:\n  scale: 1/255\n"
              "  mean: [0.485, 0.456, 0.406]\n  std: [0.229, 0.224, 0.225]\n  channel_order: bgr\n"
              "guard:\n  threshold: 2.5\n");
    seed_text("sidecar", "flow", "{labels: [a, 'b'], input: {mean: 0.5, std: 0.5}}");
    seed_text("sidecar", "bad", "labels: &a [*a, !!str x]\n? [k]\n: v\n");
}

static void tables(void) {
    seed_text("json_table", "facts",
              "{\"state\":\"serving\",\"queue\":{\"depth\":3,\"busy\":true},\"load\":0.5,\"none\":null,\"l\":"
              "[1,\"a\"]}");
    seed_text("json_table", "rows",
              "[{\"name\":\"signs\",\"version\":3,\"sha256\":\"00\",\"reason\":\"it \\u001b[31m went\"},"
              "{\"name\":\"B\\u00e4r\",\"extra\":{\"a\":[]}}]");
}

static void requests(void) {
    seed_text(
        "oip", "flat",
        "{\"id\":\"4\\u0032\",\"inputs\":[{\"name\":\"in\",\"shape\":[1,2,2],\"datatype\":\"FP32\",\"data\":["
        "1,-2.5,3e-3,"
        "0.1]}],\"outputs\":[{\"name\":\"o\",\"parameters\":{\"classification\":3,\"binary_data\":true}}]}");
    seed_text("oip", "nested",
              "{\"parameters\":{\"binary_data_output\":true,\"timeout\":9,\"x\":[null]},\"inputs\":[{"
              "\"data\":[[1,2],[3,255]],"
              "\"datatype\":\"UINT8\",\"shape\":[2,2],\"name\":\"\\u00e4\\ud83d\\ude00\"}]}");
    seed_text("oip", "binary",
              "{\"inputs\":[{\"name\":\"in\",\"shape\":[1,3,48,48],\"datatype\":\"FP32\",\"parameters\":{"
              "\"binary_data_size\":"
              "27648}}]}");
    seed_text("oip", "path", "/v2/models/a b/versions/12/infer");
}

static void arrays(void) {
    char *bytes = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&bytes, &n);
    const struct shape s = {.rank = 3, .dim = {3, 2, 2}};
    CU_ASSERT_FATAL(f && npy_write_f32(f, &s, (float[12]){1, 2, 3}) == 0 && fclose(f) == 0);
    seed_write("npy", "f32", bytes, n);
    seed_write("picture", "npy-f32", bytes, n);
    free(bytes);
    static const char u8[] =
        "\x93NUMPY\1\0\x3d\0{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 3)}\n"
        "abcdefghijkl";
    seed_write("npy", "u8", u8, sizeof u8 - 1);
    seed_write("picture", "npy-u8", u8, sizeof u8 - 1);
}

static void make_jpeg(const char *name, J_COLOR_SPACE space, int channels, bool progressive) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    uint8_t line[17 * 4];
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &size);
    c.image_width = 17;
    c.image_height = 9;
    c.input_components = channels;
    c.in_color_space = space;
    jpeg_set_defaults(&c);
    if (progressive) jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < 9; y++) {
        JSAMPROW row = line;
        for (size_t i = 0; i < sizeof line; i++) line[i] = (uint8_t)(i * 3 + (size_t)y * 9);
        (void)jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    seed_write("picture", name, bytes, size);
    free(bytes);
}

static void make_png(const char *name, uint32_t format) {
    png_image p = {.version = PNG_IMAGE_VERSION, .width = 5, .height = 4, .format = format};
    uint8_t pixels[5 * 4 * 8], map[256 * 4];
    png_alloc_size_t n = 4096;
    uint8_t bytes[4096];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i % 7);
    for (size_t i = 0; i < sizeof map; i++) map[i] = (uint8_t)i;
    p.colormap_entries = 7;
    CU_ASSERT_FATAL(png_image_write_to_memory(&p, bytes, &n, 0, pixels, 0, map));
    seed_write("picture", name, bytes, n);
}

static void pictures(void) {
    make_jpeg("jpeg", JCS_RGB, 3, false);
    make_jpeg("jpeg-progressive", JCS_RGB, 3, true);
    make_jpeg("jpeg-gray", JCS_GRAYSCALE, 1, false);
    make_jpeg("jpeg-cmyk", JCS_CMYK, 4, false);
    make_png("png-rgb", PNG_FORMAT_RGB);
    make_png("png-rgba", PNG_FORMAT_RGBA);
    make_png("png-palette", PNG_FORMAT_RGB_COLORMAP);
    make_png("png-gray-16", PNG_FORMAT_LINEAR_Y);
}

static void trusts(void) {
    static const char key[] =
        "# ours\n-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    static const char list[] =
        "# allowed\nd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a  a.onnx\n"
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\r\n";
    seed_write("trust", "key", key, sizeof key - 1);
    seed_write("trust", "list", list, sizeof list - 1);
}

SUITE(corpus_text, {"trusts", trusts}, {"configurations", configurations}, {"sidecars", sidecars},
      {"tables", tables}, {"requests", requests}, {"arrays", arrays}, {"pictures", pictures});
