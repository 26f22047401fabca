/* A .npy file of any content: what is accepted has its data within the file. */
#include "infer/npy.h"
#include "tests/fuzz/support/fuzz.h"

static void check(const struct npy *a, const uint8_t *bytes, size_t size) {
    FUZZ_MUST(a->type < NPY_TYPES && a->elements >= 0, "%d", (int)a->type);
    FUZZ_MUST(a->bytes == (size_t)a->elements * npy_type_bytes(a->type), "%zu bytes", a->bytes);
    FUZZ_MUST(a->data >= bytes && a->data <= bytes + size && a->bytes <= (size_t)(bytes + size - a->data),
              "outside");
    FUZZ_MUST(npy_type_name(a->type), "%d", (int)a->type);
    float *to = malloc(((size_t)a->elements + 1) * sizeof *to);
    if (to) npy_to_f32(a, to);
    free(to);
}

FUZZ(npy, 1024) {
    struct npy a;
    struct err e = {0};
    if (npy_parse(bytes, size, &a, &e) == 0)
        check(&a, bytes, size);
    else
        fuzz_check_refusal(&e);
    return 0;
}
