/* The algorithms: what each can run, what it needs, and which one to take.
 *
 * Planner and validator ask the same functions, so what the planner chose is
 * what the validator accepts, and the engine's scratch is never taken from the
 * file. */
#include "infer/algorithm.h"

#include "infer/conv.h"
#include "infer/conv_blocked.h"
#include "infer/conv_cost.h"

#include <string.h>

/* --- convolution ------------------------------------------------------------------ */

static int64_t filter_size(const struct shape *weight) {
    return shape_product(weight, 1, weight->rank);
}

static const char *const names[ALG_COUNT] = {"default",      "reference",    "im2col",  "pointwise",
                                             "depthwise",    "direct",       "first",   "channelwise",
                                             "winograd 2x2", "winograd 4x4", "reorder", "direct bf16"};

const char *algorithm_name(uint32_t algorithm) {
    return algorithm < ALG_COUNT ? names[algorithm] : "unknown";
}

/* Of OP_CONV: reads or writes blocked tensors. */
static bool is_blocked(uint32_t algorithm) {
    return (algorithm >= ALG_CONV_DIRECT && algorithm <= ALG_CONV_WINOGRAD_4) ||
           algorithm == ALG_CONV_DIRECT_BF16;
}

bool algorithm_fits(uint32_t algorithm, enum op op, const union op_params *p, const struct shape *in,
                    int n_in, const struct shape *out) {
    if (op == OP_IDENTITY && algorithm == ALG_REORDER) return in[0].rank == 4;
    if (op != OP_CONV) return algorithm == ALG_DEFAULT;
    if (n_in < 2) return false;
    struct conv c;
    conv_describe(&p->window, &in[0], out, &c);
    if (is_blocked(algorithm)) return in[0].rank == 4 && conv_blocked_fits(algorithm, &c);
    return conv_fits(algorithm, &c);
}

/* The cheapest of those that can run it, by the cost model; or 0. */
static uint32_t cheapest(enum image_isa isa, const struct conv *c) {
    const uint32_t candidates[] = {ALG_CONV_DIRECT, ALG_CONV_WINOGRAD_2, ALG_CONV_WINOGRAD_4,
                                   isa == ISA_AVX512_BF16 ? ALG_CONV_DIRECT_BF16 : ALG_CONV_DIRECT};
    uint32_t best = ALG_DEFAULT;
    double least = 0;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (!conv_blocked_fits(candidates[i], c)) continue;
        const double cost = conv_cost(conv_rates_of(conv_host()), candidates[i], c);
        if (best == ALG_DEFAULT || cost < least) {
            best = candidates[i];
            least = cost;
        }
    }
    return best;
}

/* Channel by channel where one filter sees one; directly from the plain tensor
 * where there are few channels; else the cheapest. */
static uint32_t choose_blocked(enum image_isa isa, const struct conv *c) {
    if (conv_blocked_fits(ALG_CONV_CHANNELWISE, c)) return ALG_CONV_CHANNELWISE;
    if (conv_blocked_fits(ALG_CONV_FIRST, c)) return ALG_CONV_FIRST;
    return cheapest(isa, c);
}

/* What no blocked kernel takes (a few filters for each of many channels, odd strides) is unfolded; what
 * im2col cannot take (volumes, enormous filters) goes through the plain loops. */
static uint32_t choose_plain(const struct conv *c) {
    static const uint32_t plain[] = {ALG_CONV_DEPTHWISE, ALG_CONV_POINTWISE, ALG_CONV_IM2COL};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (conv_fits(plain[i], c)) return plain[i];
    return ALG_CONV_REFERENCE;
}

/* The blocked kernels live in vector registers: where those have four floats, BLAS does better. */
uint32_t algorithm_choose(enum image_isa isa, enum op op, const union op_params *p, const struct shape *in,
                          int n_in, const struct shape *out) {
    if (op != OP_CONV || n_in < 2) return ALG_DEFAULT;
    struct conv c;
    conv_describe(&p->window, &in[0], out, &c);
    const uint32_t best = isa != ISA_GENERIC && in[0].rank == 4 ? choose_blocked(isa, &c) : ALG_DEFAULT;
    return best != ALG_DEFAULT ? best : choose_plain(&c);
}

uint32_t algorithm_choose_direct(enum image_isa isa, enum op op, const union op_params *p,
                                 const struct shape *in, int n_in, const struct shape *out) {
    const uint32_t best = algorithm_choose(isa, op, p, in, n_in, out);
    struct conv c;
    if (best != ALG_CONV_DIRECT && best != ALG_CONV_WINOGRAD_2 && best != ALG_CONV_WINOGRAD_4) return best;
    conv_describe(&p->window, &in[0], out, &c);
    const bool whole = conv_span_of(c.groups, c.group_channels, c.group_filters).whole;
    return whole && conv_blocked_fits(ALG_CONV_DIRECT, &c) ? ALG_CONV_DIRECT : choose_plain(&c);
}

size_t algorithm_scratch_bytes(uint32_t algorithm, enum op op, const union op_params *p,
                               const struct shape *in, int n_in, const struct shape *out) {
    if (op != OP_CONV || !algorithm_fits(algorithm, op, p, in, n_in, out)) return 0;
    struct conv c;
    conv_describe(&p->window, &in[0], out, &c);
    return (size_t)(is_blocked(algorithm) ? conv_blocked_scratch_floats(algorithm, &c)
                                          : conv_scratch_floats(algorithm, &c)) *
           sizeof(float);
}

/* --- weights ---------------------------------------------------------------------- */

size_t algorithm_weight_bytes(uint32_t algorithm, enum op op, const union op_params *p,
                              const struct shape *weight) {
    if (op == OP_CONV && is_blocked(algorithm))
        return (size_t)conv_blocked_weight_floats(algorithm, weight, p->window.groups) * sizeof(float);
    return (size_t)shape_elements(weight) * sizeof(float);
}

/* Rounded once, from double: folding then costs half an ulp per weight. The inner
 * loops have a fixed count because GCC vectorises only such at -O2, and restrict
 * for the same reason: 4 ms instead of 14 for ResNet-18's 11 million. */
static void scale_row(const float *restrict from, double scale, float *restrict to, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) to[i + j] = (float)(from[i + j] * scale);
    for (; i < n; i++) to[i] = (float)(from[i] * scale);
}

static void scale_columns(const float *restrict from, const double *restrict scale, float *restrict to,
                          int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) to[i + j] = (float)(from[i + j] * scale[i + j]);
    for (; i < n; i++) to[i] = (float)(from[i] * scale[i]);
}

uint32_t algorithm_weight_planes(uint32_t algorithm, enum op op) {
    if (op != OP_CONV) return 1;
    return algorithm == ALG_CONV_WINOGRAD_4 ? 36 : algorithm == ALG_CONV_WINOGRAD_2 ? 16 : 1;
}

bool algorithm_weight_is_blocked(uint32_t algorithm, enum op op) {
    return op == OP_CONV && is_blocked(algorithm);
}

bool algorithm_keeps_weight(uint32_t algorithm, enum op op, const double *scale) {
    return !scale && !(op == OP_CONV && is_blocked(algorithm));
}

void algorithm_pack_weight(uint32_t algorithm, enum op op, const union op_params *p,
                           const struct shape *weight, const double *scale, const float *from, void *to) {
    if (op == OP_CONV && is_blocked(algorithm)) {
        conv_blocked_pack(algorithm, weight, p->window.groups, scale, from, to);
        return;
    }
    const int64_t rows = weight->dim[0], columns = shape_product(weight, 1, weight->rank);
    const bool output_is_last = op == OP_GEMM && !p->gemm.trans_b; /* B [K,N]; else rows are outputs */
    float *packed = to;
    if (algorithm_keeps_weight(algorithm, op, scale)) {
        memcpy(to, from, (size_t)shape_elements(weight) * sizeof *packed);
        return;
    }
    for (int64_t r = 0; r < rows; r++, from += columns, packed += columns)
        if (output_is_last)
            scale_columns(from, scale, packed, columns);
        else
            scale_row(from, scale[r], packed, columns);
}

/* --- for the planner, the validator and people ------------------------------------- */

bool algorithm_takes_activation(enum op op) {
    return op == OP_CONV || op == OP_GEMM || op == OP_MATMUL || op == OP_ADD || op == OP_BATCH_NORM;
}

uint64_t algorithm_multiply_adds(enum op op, const union op_params *p, const struct shape *in, int n_in,
                                 const struct shape *out) {
    if (n_in < 2) return 0;
    const uint64_t results = (uint64_t)shape_elements(out);
    switch ((int)op) {
    case OP_CONV: return results * (uint64_t)filter_size(&in[1]);
    case OP_CONV_TRANSPOSE: return (uint64_t)shape_elements(&in[0]) * (uint64_t)filter_size(&in[1]);
    case OP_GEMM: return results * (uint64_t)in[0].dim[1 - p->gemm.trans_a];
    case OP_MATMUL: return results * (uint64_t)in[0].dim[in[0].rank - 1];
    default: return 0;
    }
}
