/* An ONNX model under test, all the way: imported, planned, run by the engine. */
#include "tests/import_run.h"

#include "infer/engine.h"
#include "tests/fixture_image.h"

#include <math.h>

static bool compare(const struct engine *en, const struct image *img, uint32_t items, const float *want,
                    size_t n) {
    const struct image_tensor *t = image_tensor_at(img, image_header(img)->outputs[0]);
    const size_t each = (size_t)shape_elements(&t->shape);
    if (each * items != n) {
        fprintf(stderr, "\n%zu results; expected %zu\n", each * items, n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const float got = engine_output(en, (uint32_t)(i / each), 0)[i % each];
        if (fabsf(got - want[i]) <= 1e-5f * fmaxf(1, fabsf(want[i])) || got == want[i]) continue;
        fprintf(stderr, "\nelement %zu is %g; expected %g\n", i, (double)got, (double)want[i]);
        return false;
    }
    return true;
}

bool import_run_gives(struct onnx_build *m, const float *input, size_t each, uint32_t items,
                      const float *want, size_t n) {
    struct import_case c = import_case_make(m);
    struct engine_item item[8] = {0};
    struct err e;
    bool ok = false;
    if (!c.g) {
        fprintf(stderr, "\nrefused: %s\n", c.e.text);
        import_case_free(&c);
        return false;
    }
    struct compiled image = fixture_compile(c.g, false);
    struct engine *en = engine_new();
    for (uint32_t i = 0; i < items; i++) item[i].inputs[0] = input + i * each;
    if (engine_input_bytes(image.img, 0, INPUT_F32_NCHW) != each * sizeof(float))
        fprintf(stderr, "\nan item has another size\n");
    else if (!engine_reserve(en, image.img, items, &e) && !engine_run(en, image.img, items, item))
        ok = compare(en, image.img, items, want, n);
    engine_free(en);
    fixture_discard(&image);
    import_case_free(&c);
    return ok;
}
