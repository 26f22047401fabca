/* clpctl run: a model in this process, over a file of inputs.
 *
 *   model -> worker -> image; inputs -> feeds -> engine, chunk by chunk -> outputs -> .npy, or words
 */
#include "client/feed.h"
#include "client/model.h"
#include "client/progress.h"
#include "client/report_view.h"
#include "client/table.h"
#include "infer/npy.h"
#include "infer/topk.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 32, MAX_TOP = 20 };
#define CHUNK_BYTES ((uint64_t)256 << 20)

struct job {
    struct clpctl *c;
    const char *model_path, *output, *precision;
    struct option_list inputs;
    bool guard, plain;
    uint32_t top;
    struct model model;
    struct feed feeds[IMAGE_MAX_IO];
    uint32_t out;  /* which output */
    float *result; /* [items][output of one item] */
};

static const struct image_tensor *input_at(const struct job *j, uint32_t k) {
    return image_tensor_at(j->model.image, image_header(j->model.image)->inputs[k]);
}
static const struct image_tensor *output_at(const struct job *j, uint32_t k) {
    return image_tensor_at(j->model.image, image_header(j->model.image)->outputs[k]);
}

/* --- NAME=FILE --------------------------------------------------------------------------- */

/* Splits where there is no file of the whole name. Returns the file; *name is empty without one. */
static const char *split(const char *text, char *name, size_t cap) {
    const char *equals = strchr(text, '=');
    name[0] = 0;
    if (!equals || equals == text || access(text, F_OK) == 0) return text;
    (void)snprintf(name, cap, "%.*s", (int)(equals - text), text);
    return equals + 1;
}

static int find_input(const struct job *j, const char *name) {
    const struct image_header *h = image_header(j->model.image);
    for (uint32_t k = 0; k < h->n_inputs; k++)
        if (strcmp(image_string(j->model.image, input_at(j, k)->name), name) == 0) return (int)k;
    return -1;
}

static int load_feeds(struct job *j) {
    const struct image_header *h = image_header(j->model.image);
    for (uint32_t i = 0; i < j->inputs.n; i++) {
        char name[256];
        const char *path = split(j->inputs.items[i], name, sizeof name);
        int k = name[0] ? find_input(j, name) : (int)i;
        if (k < 0 || k >= (int)h->n_inputs)
            return clpctl_fail(j->c, "the model has no input \"%s\"; its first is \"%s\", of %u",
                               name[0] ? name : path, image_string(j->model.image, input_at(j, 0)->name),
                               h->n_inputs);
        struct err e = {0};
        feed_free(&j->feeds[k]);
        if (feed_load(j->model.image, (uint32_t)k, path, &j->feeds[k], &e) < 0)
            return clpctl_fail(j->c, "%s", e.text);
    }
    for (uint32_t k = 0; k < h->n_inputs; k++) {
        const char *name = image_string(j->model.image, input_at(j, k)->name);
        if (!j->feeds[k].data)
            return clpctl_fail(j->c, "give the input \"%s\" too: --input %s=FILE", name, name);
        if (j->feeds[k].rows != j->feeds[0].rows || j->feeds[k].items != j->feeds[0].items)
            return clpctl_fail(j->c, "the input \"%s\" has %lld rows, the first one %lld", name,
                               (long long)j->feeds[k].rows, (long long)j->feeds[0].rows);
    }
    return 0;
}

/* "[NAME=]Y.npy": which output. */
static int choose_output(struct job *j) {
    const struct image_header *h = image_header(j->model.image);
    char name[256] = "";
    if (j->output) j->output = split(j->output, name, sizeof name);
    for (uint32_t k = 0; k < h->n_outputs; k++)
        if (!name[0] || strcmp(image_string(j->model.image, output_at(j, k)->name), name) == 0) {
            j->out = k;
            if (!name[0] && h->n_outputs > 1)
                clpctl_note(j->c,
                            "the model has %u outputs; this is \"%s\" (another one: --output NAME=FILE)",
                            h->n_outputs, image_string(j->model.image, output_at(j, 0)->name));
            return 0;
        }
    return clpctl_fail(j->c, "the model has no output \"%s\"; its first is \"%s\"", name,
                       image_string(j->model.image, output_at(j, 0)->name));
}

/* --- running ------------------------------------------------------------------------------ */

static int64_t output_elements(const struct job *j) {
    return shape_elements(&output_at(j, j->out)->shape);
}

static int run_chunk(struct job *j, struct engine *en, int64_t first, uint32_t n) {
    struct engine_item items[CHUNK];
    const struct image_header *h = image_header(j->model.image);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = (struct engine_item){.format = j->feeds[0].format};
        for (uint32_t k = 0; k < h->n_inputs; k++)
            items[i].inputs[k] = j->feeds[k].data + (size_t)(first + i) * j->feeds[k].item_bytes;
    }
    int rc = engine_run(en, j->model.image, n, items);
    if (rc < 0) return clpctl_fail(j->c, "the engine refused the input: %s", strerror(-rc));
    size_t each = (size_t)output_elements(j);
    for (uint32_t i = 0; i < n; i++)
        memcpy(j->result + (size_t)(first + i) * each, engine_output(en, i, j->out),
               each * sizeof *j->result);
    return 0;
}

static int run_all(struct job *j) {
    const struct image_header *h = image_header(j->model.image);
    int64_t items = j->feeds[0].items;
    uint64_t fits = CHUNK_BYTES / (h->slab_bytes + 1) + 1;
    uint32_t chunk = fits < CHUNK ? (uint32_t)fits : CHUNK;
    if (items < chunk) chunk = (uint32_t)items;
    struct err e = {0};
    struct engine *en = engine_new();
    int rc = -1;
    j->result = calloc((size_t)items * (size_t)output_elements(j) + 1, sizeof *j->result);
    if (!en || !j->result)
        (void)clpctl_fail(j->c, "out of memory");
    else if (engine_reserve(en, j->model.image, chunk, &e) < 0)
        (void)clpctl_fail(j->c, "%s", e.text);
    else
        rc = 0;
    struct progress p;
    progress_begin(&p, &j->c->err, 0, "running");
    for (int64_t at = 0; at < items && rc == 0; at += chunk) {
        uint32_t n = items - at < chunk ? (uint32_t)(items - at) : chunk;
        progress_set(&p, (double)at / (double)items, "%lld of %lld", (long long)at, (long long)items);
        rc = run_chunk(j, en, at, n);
    }
    progress_end(&p);
    engine_free(en);
    return rc;
}

/* --- results ------------------------------------------------------------------------------ */

/* Rows of the output as the inputs had them: what filled up the last item is left out. */
static struct shape result_shape(const struct job *j) {
    struct shape s = output_at(j, j->out)->shape;
    if (s.rank == 0) {
        s.rank = 1;
        s.dim[0] = j->feeds[0].items;
    } else {
        s.dim[0] = s.dim[0] == j->feeds[0].images ? j->feeds[0].rows : s.dim[0] * j->feeds[0].items;
    }
    return s;
}

static int write_npy(const struct job *j) {
    struct shape s = result_shape(j);
    FILE *f = fopen(j->output, "we");
    int rc = f ? npy_write_f32(f, &s, j->result) : -errno;
    if (f && fclose(f) != 0 && rc == 0) rc = -errno;
    if (rc < 0) return clpctl_fail(j->c, "%s: %s", j->output, strerror(-rc));
    char text[128];
    (void)fprintf(stderr, "wrote %s: float32 %s\n", j->output, shape_text(&s, text, sizeof text));
    return 0;
}

static const char *class_name(const struct job *j, uint32_t index, char buf[24]) {
    const char *label = image_label(j->model.image, index);
    if (!label) (void)snprintf(buf, 24, "class %u", index);
    return label ? label : buf;
}

/* The row's best classes; returns how many. */
static uint32_t best_of(const struct job *j, const float *row, uint32_t classes, struct topk *best,
                        double *probability) {
    uint32_t k = topk_select(row, classes, j->top, best);
    if (image_header(j->model.image)->output_is_probability)
        for (uint32_t i = 0; i < k; i++) probability[i] = (double)best[i].score;
    else
        topk_softmax(row, classes, best, k, probability);
    return k;
}

/* One picture: a line per class. */
static void add_only(const struct job *j, struct table *table, const struct topk *best,
                     const double *probability, uint32_t k) {
    char name[24];
    for (uint32_t i = 0; i < k; i++) {
        enum style s = i == 0 ? STYLE_BOLD : STYLE_PLAIN;
        table_add(table, s, "%s", class_name(j, best[i].index, name));
        table_add(table, s, "%.2f %%", 100 * probability[i]);
        table_add(table, STYLE_DIM, "score %.4g", (double)best[i].score);
    }
}

/* Many: a line per picture, with the best class and the two next. */
static void add_row(const struct job *j, struct table *table, int64_t row, const struct topk *best,
                    const double *probability, uint32_t k) {
    char name[24], next[256] = "";
    table_add(table, STYLE_DIM, "%lld", (long long)row);
    table_add(table, STYLE_BOLD, "%s", class_name(j, best[0].index, name));
    table_add(table, STYLE_BOLD, "%.2f %%", 100 * probability[0]);
    for (uint32_t i = 1; i < k && i < 3; i++) {
        size_t used = strlen(next);
        (void)snprintf(next + used, sizeof next - used, "%s%.80s %.2f %%", i > 1 ? ", " : "",
                       class_name(j, best[i].index, name), 100 * probability[i]);
    }
    table_add(table, STYLE_DIM, "%s", next);
}

static int print_classes(const struct job *j, int64_t rows, uint32_t classes) {
    struct topk best[MAX_TOP];
    double probability[MAX_TOP];
    struct table *table = table_new(rows == 1 ? "lrr" : "rlrl");
    if (!table) return clpctl_fail(j->c, "out of memory");
    for (int64_t r = 0; r < rows; r++) {
        uint32_t k = best_of(j, j->result + (size_t)r * classes, classes, best, probability);
        if (rows == 1)
            add_only(j, table, best, probability, k);
        else
            add_row(j, table, r, best, probability, k);
    }
    table_print(table, stdout, &j->c->out);
    table_free(table);
    return 0;
}

static int print_values(const struct job *j, const struct shape *s) {
    char text[128];
    int64_t n = shape_elements(s);
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        low = fminf(low, j->result[i]);
        high = fmaxf(high, j->result[i]);
    }
    (void)printf("float32 %s from %g to %g:", shape_text(s, text, sizeof text), (double)low, (double)high);
    for (int64_t i = 0; i < n && i < 64; i++) (void)printf(" %g", (double)j->result[i]);
    (void)printf(n > 64 ? " ...\n" : "\n");
    return 0;
}

/* [rows, classes], with any number of axes of 1 behind: a classifier's answer. */
static int print(const struct job *j) {
    struct shape s = result_shape(j);
    int64_t rest = 1;
    for (int i = 2; i < s.rank; i++) rest *= s.dim[i];
    bool classes = s.rank >= 2 && rest == 1 && s.dim[1] >= 2 && s.dim[0] == j->feeds[0].rows;
    return classes ? print_classes(j, s.dim[0], (uint32_t)s.dim[1]) : print_values(j, &s);
}

static void tell_verdict(const struct job *j) {
    char summary[160];
    const struct report *r = &j->model.result.report;
    if (!j->guard)
        clpctl_note(j->c, "guard off: the network runs as it was delivered");
    else
        (void)fprintf(stderr, "%s: %s\n", verdict_name(r->verdict),
                      report_view_summary(summary, sizeof summary, r));
}

static int run(struct clpctl *c, int argc, char **argv) {
    struct job j = {.c = c, .guard = true, .precision = "float32", .top = 5};
    const struct option_spec options[] = {
        {.name = "input",
         .letter = 'i',
         .kind = OPTION_LIST,
         .to = &j.inputs,
         .value = "[NAME=]FILE",
         .meaning = ".npy (float32 as the network wants it, or uint8 [N,H,W,C]), JPEG or PNG"},
        {.name = "output",
         .letter = 'o',
         .kind = OPTION_TEXT,
         .to = &j.output,
         .value = "[NAME=]FILE",
         .meaning = "write the output as .npy instead of printing the best classes"},
        {.name = "plain",
         .kind = OPTION_FLAG,
         .to = &j.plain,
         .meaning = "by plain kernels: slow, to compare with"},
        {.name = "precision",
         .kind = OPTION_TEXT,
         .to = &j.precision,
         .value = "float32|bf16",
         .meaning = "what convolutions multiply; default float32"},
        {.name = "guard",
         .kind = OPTION_SWITCH,
         .to = &j.guard,
         .meaning = "off: run it unrepaired, to compare"},
        {.name = "top",
         .letter = 'k',
         .kind = OPTION_COUNT,
         .to = &j.top,
         .min = 1,
         .max = MAX_TOP,
         .value = "N",
         .meaning = "classes to print per picture; default 5"},
        {0},
    };
    int n = clpctl_parse(c, &clpctl_run, options, argc, argv, 1, 1), rc = CLPCTL_ERROR;
    if (n < 0) return -1 - n;
    if (j.inputs.n == 0) return clpctl_fail(c, "give it something to work on: --input FILE");
    j.model_path = argv[0];
    struct model_import m = {
        .path = j.model_path, .mode = j.plain ? SPAWN_PLAIN : SPAWN_IMAGE, .guard_off = !j.guard};
    if (!model_precision(c, j.precision, &m) || model_load(c, &m, &j.model) < 0) return CLPCTL_ERROR;
    if (choose_output(&j) != 0 || load_feeds(&j) != 0) goto out;
    tell_verdict(&j);
    if (run_all(&j) != 0) goto out;
    rc = j.output ? write_npy(&j) : print(&j);
out:
    for (int k = 0; k < IMAGE_MAX_IO; k++) feed_free(&j.feeds[k]);
    free(j.result);
    model_free(&j.model);
    return rc;
}

const struct command clpctl_run = {
    .name = "run",
    .arguments = "MODEL.onnx --input [NAME=]FILE [--output [NAME=]FILE] [--guard on|off]",
    .summary = "Run a model over a file of inputs, repaired as the daemon would serve it",
    .help = "MODEL.yaml beside the model gives labels and scaling. Any number of rows may be in the file.\n\n"
            "Example:\n"
            "  clpctl run signs.onnx --input stop.jpg\n"
            "  clpctl run signs.onnx --input x.npy --output y.npy --guard off\n",
    .operands = "onnx",
    .run = run,
};
