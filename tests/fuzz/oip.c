/* The body of an HTTP request: Open Inference Protocol JSON of any content, with the tensor that it stands
 * for; and the same bytes as a path. What is accepted is whole, and every number in it is finite. */
#include "daemon/oip.h"
#include "daemon/http_route.h"
#include "tests/fuzz/support/fuzz.h"

#include <math.h>
#include <string.h>

#define MOST 4096 /* bytes of tensor */

static void check(const struct oip_request *q) {
    uint64_t n = 1;
    FUZZ_MUST(q->rank >= 1 && q->rank <= CLPD_MAX_RANK && q->n_outputs <= OIP_OUTPUTS, "rank %u", q->rank);
    for (uint32_t i = 0; i < q->rank; i++) n *= q->dims[i];
    FUZZ_MUST(n == q->elements && q->input[0] && memchr(q->input, 0, sizeof q->input), "%zu", (size_t)n);
    FUZZ_MUST(q->has_binary != (q->data.at != NULL), "data twice or never");
}

static void check_data(const struct oip_request *q) {
    struct err e = {0};
    const uint64_t bytes = oip_tensor_bytes(q);
    void *tensor = q->data.at && bytes <= MOST ? malloc(bytes) : NULL;
    if (!tensor) return;
    if (oip_read_data(q, tensor, &e))
        fuzz_check_refusal(&e);
    else if (q->type == OIP_FP32)
        for (uint64_t i = 0; i < q->elements; i++)
            FUZZ_MUST(isfinite(((float *)tensor)[i]), "element %zu", (size_t)i);
    free(tensor);
}

FUZZ(oip, 4096) {
    struct oip_request q;
    struct http_route r;
    struct err e = {0};
    char *path = malloc(size + 1);
    if (!path) return 0;
    memcpy(path, bytes, size);
    path[size] = 0;
    http_route_find("GET", path, &r);
    FUZZ_MUST(memchr(r.model, 0, sizeof r.model), "unterminated");
    free(path);
    if (oip_read(bytes, size, &q, &e)) {
        fuzz_check_refusal(&e);
        return 0;
    }
    check(&q);
    check_data(&q);
    return 0;
}
