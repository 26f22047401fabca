/* Convolution as a matrix product, and its plain twin.
 *
 *   per group: filters [M/g, K] x columns [K, positions], K = C/g * kh * kw
 *   im2col     unfolds the columns into scratch, a block of positions at a time
 *   pointwise  (1x1, stride 1) finds them in the tensor as it lies
 *   small      pictures lie side by side in one product, so that filters are read once
 *
 * A block is filled with bias and residual, then multiplied into (beta = 1),
 * then bounded by the activation, all while it is in cache. */
#include "infer/kernels_all.h"

#include "infer/blas.h"
#include "infer/conv.h"
#include "infer/kernels_epilogue.h"
#include "infer/kernels_unfold.h"

#include <string.h>

struct run { /* one call: all images of all items */
    const struct kernel_call *call;
    struct conv conv;
    struct bounds bounds;
    int64_t images;
};

static void start(struct run *r, const struct kernel_call *c) {
    r->call = c;
    conv_describe(&c->step->params.window, &c->in[0].t->shape, &c->out.t->shape, &r->conv);
    r->bounds = bounds_of(c->step);
    r->images = r->conv.images * c->n_items;
}

/* First channel of group `g` of image `n`, counted over all items. */
static const float *input_at(const struct run *r, int64_t n, int64_t g) {
    const struct conv *c = &r->conv;
    return view_item(&r->call->in[0], (uint32_t)(n / c->images)) +
           (n % c->images * c->channels + g * c->group_channels) * c->in_plane;
}

static int64_t output_offset(const struct conv *c, int64_t n, int64_t g) {
    return (n % c->images * c->filters + g * c->group_filters) * c->out_plane;
}

static float *output_at(const struct run *r, int64_t n, int64_t g) {
    return view_item(&r->call->out, (uint32_t)(n / r->conv.images)) + output_offset(&r->conv, n, g);
}

static const float *residual_at(const struct run *r, int64_t n, int64_t g) {
    if (!r->call->residual.t) return NULL;
    return view_item(&r->call->residual, (uint32_t)(n / r->conv.images)) + output_offset(&r->conv, n, g);
}

/* Bias of group `g`, or NULL; it may have been computed, one per item. */
static const float *bias_at(const struct run *r, int64_t n, int64_t g) {
    const struct view *bias = kernel_input(r->call, 2);
    return bias ? view_item(bias, (uint32_t)(n / r->conv.images)) + g * r->conv.group_filters : NULL;
}

/* to: [group_filters, columns] += filters of group `g` x columns */
static void multiply(const struct run *r, int64_t g, const float *columns, int64_t ld, int64_t n, float *to,
                     int64_t to_ld) {
    const struct conv *c = &r->conv;
    blas_sgemm_shared(r->call->seat, &(struct blas_product){.m = c->group_filters,
                                                            .n = n,
                                                            .k = c->depth,
                                                            .alpha = 1,
                                                            .beta = 1,
                                                            .a = view_item(&r->call->in[1], 0) +
                                                                 g * c->group_filters * c->depth,
                                                            .lda = c->depth,
                                                            .b = columns,
                                                            .ldb = ld,
                                                            .c = to,
                                                            .ldc = to_ld});
}

/* Positions [first, first + n) of one image and group; columns NULL: the tensor as it lies. */
static void run_block(const struct run *r, int64_t image, int64_t g, int64_t first, int64_t n,
                      float *columns) {
    const struct conv *c = &r->conv;
    const int64_t ld = c->out_plane;
    const float *residual = residual_at(r, image, g), *x = input_at(r, image, g);
    float *out = output_at(r, image, g) + first;
    if (columns) unfold(c, x, first, n, columns, n);
    epilogue_fill(&(struct fill){.out = out,
                                 .bias = bias_at(r, image, g),
                                 .residual = residual ? residual + first : NULL,
                                 .rows = c->group_filters,
                                 .cols = n,
                                 .out_ld = ld,
                                 .residual_ld = ld});
    multiply(r, g, columns ? columns : x + first, columns ? n : ld, n, out, ld);
    epilogue_bound(&r->bounds, &(struct bound){out, out, c->group_filters, n, ld, ld});
}

static void run_images_apart(const struct run *r, int64_t block, float *columns) {
    for (int64_t image = 0; image < r->images; image++)
        for (int64_t g = 0; g < r->conv.groups; g++)
            for (int64_t first = 0, n; first < r->conv.out_plane; first += n) {
                n = r->conv.out_plane - first < block ? r->conv.out_plane - first : block;
                run_block(r, image, g, first, n, columns);
            }
}

static void gather_planes(const struct conv *c, const float *x, float *to, int64_t ld) {
    for (int64_t k = 0; k < c->group_channels; k++)
        memcpy(to + k * ld, x + k * c->in_plane, (size_t)c->in_plane * sizeof *to);
}

/* Images [first, first + n) of one group side by side: column (image, position). */
static void run_beside(const struct run *r, int64_t g, int64_t first, int64_t n, bool unfolded) {
    const struct conv *c = &r->conv;
    const int64_t plane = c->out_plane, ld = n * plane;
    float *columns = r->call->scratch, *product = r->call->scratch + conv_product_at(c);
    for (int64_t i = 0; i < n; i++) {
        const float *x = input_at(r, first + i, g);
        if (unfolded)
            unfold(c, x, 0, plane, columns + i * plane, ld);
        else
            gather_planes(c, x, columns + i * plane, ld);
        epilogue_fill(&(struct fill){.out = product + i * plane,
                                     .bias = bias_at(r, first + i, g),
                                     .residual = residual_at(r, first + i, g),
                                     .rows = c->group_filters,
                                     .cols = plane,
                                     .out_ld = ld,
                                     .residual_ld = plane});
    }
    multiply(r, g, columns, ld, ld, product, ld);
    for (int64_t i = 0; i < n; i++)
        epilogue_bound(&r->bounds, &(struct bound){product + i * plane, output_at(r, first + i, g),
                                                   c->group_filters, plane, ld, plane});
}

static void run_images_beside(const struct run *r, int64_t at_once, bool unfolded) {
    for (int64_t first = 0; first < r->images; first += at_once) {
        const int64_t left = r->images - first;
        for (int64_t g = 0; g < r->conv.groups; g++)
            run_beside(r, g, first, left < at_once ? left : at_once, unfolded);
    }
}

static void run_products(const struct kernel_call *call, bool unfolded) {
    struct run r;
    start(&r, call);
    const struct conv_block b = conv_block_of(&r.conv);
    if (b.images > 1 && r.images > 1)
        run_images_beside(&r, b.images, unfolded);
    else
        run_images_apart(&r, b.columns, unfolded ? call->scratch : NULL);
}

void kernel_conv_im2col(const struct kernel_call *c) {
    run_products(c, true);
}
void kernel_conv_pointwise(const struct kernel_call *c) {
    run_products(c, false);
}

/* --- the plain twin, also for volumes ------------------------------------------- */

/* One output value, from the window that starts at `at` (padding included). */
static double convolve_at(const struct conv *c, const float *x, const float *w,
                          const int64_t at[OP_SPATIAL]) {
    double sum = 0;
    for (int64_t k = 0; k < c->group_channels; k++)
        for (int64_t kz = 0; kz < c->kernel[0]; kz++)
            for (int64_t ky = 0; ky < c->kernel[1]; ky++)
                for (int64_t kx = 0; kx < c->kernel[2]; kx++, w++) {
                    const int64_t z = at[0] + kz * c->dilation[0], y = at[1] + ky * c->dilation[1],
                                  i = at[2] + kx * c->dilation[2];
                    if (z < 0 || z >= c->in[0] || y < 0 || y >= c->in[1] || i < 0 || i >= c->in[2]) continue;
                    sum += (double)*w * x[k * c->in_plane + (z * c->in[1] + y) * c->in[2] + i];
                }
    return sum;
}

static void reference_filter(const struct run *r, int64_t image, int64_t filter) {
    const struct conv *c = &r->conv;
    const int64_t g = filter / c->group_filters, row = filter % c->group_filters * c->out_plane;
    const float *x = input_at(r, image, g), *residual = residual_at(r, image, g),
                *bias = bias_at(r, image, g);
    const float *weights =
        view_item(&r->call->in[1], (uint32_t)(image / c->images)); /* may be computed, too */
    float *out = output_at(r, image, g) + row;
    for (int64_t p = 0; p < c->out_plane; p++) {
        const int64_t at[OP_SPATIAL] = {p / (c->out[1] * c->out[2]) * c->stride[0] - c->pad[0],
                                        p / c->out[2] % c->out[1] * c->stride[1] - c->pad[1],
                                        p % c->out[2] * c->stride[2] - c->pad[2]};
        double sum = convolve_at(c, x, weights + filter * c->depth, at);
        if (bias) sum += bias[filter % c->group_filters];
        if (residual) sum += residual[row + p];
        out[p] = (float)sum;
    }
    epilogue_bound(&r->bounds, &(struct bound){out, out, 1, c->out_plane, 0, 0});
}

void kernel_conv_reference(const struct kernel_call *call) {
    struct run r;
    start(&r, call);
    for (int64_t image = 0; image < r.images; image++)
        for (int64_t filter = 0; filter < r.conv.filters; filter++) reference_filter(&r, image, filter);
}
