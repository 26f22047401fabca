/* The smallest network there is, for tests that need a model file but no network: y[1,4] = x + w. */
#ifndef TESTS_ONNX_BYTES_H
#define TESTS_ONNX_BYTES_H

#include "tests/onnx_build.h"

#include <string.h>

struct onnx_bytes {
    uint8_t b[1024];
    size_t n;
};

/* w lies at the start of the file `location`, or inside where that is NULL.
 * `note` makes the same network another file. */
static inline struct onnx_bytes onnx_add_model(const float w[4], const char *location, const char *note) {
    struct onnx_build m = onnx_begin(8, 13);
    struct onnx_bytes out = {.n = 0};
    onnx_input(&m, "x", "1x4");
    onnx_output(&m, "y");
    onnx_node(&m, "Add", "add", "x w", "y", ATTR_END);
    if (location) {
        struct pb entry = {0}, tensor = {0};
        pb_text(&entry, 1, "location");
        pb_text(&entry, 2, location);
        pb_int(&tensor, 1, 4);
        pb_int(&tensor, 2, 1);
        pb_text(&tensor, 8, "w");
        pb_message(&tensor, 13, &entry);
        pb_int(&tensor, 14, 1);
        onnx_initializer(&m, tensor);
    } else {
        onnx_initializer(&m, tensor_floats("w", "4", w, 4));
    }
    pb_text(&m.model_rest, 6, note); /* doc_string */
    struct pb file = onnx_end(&m);
    if (file.n <= sizeof out.b) memcpy(out.b, file.p, out.n = file.n);
    pb_free(&file);
    return out;
}

#endif
