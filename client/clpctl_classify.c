/* clpctl classify: what a running daemon sees in pictures. */
#include "client/clpctl.h"
#include "client/decode.h"
#include "client/report_json.h"
#include "client/table.h"
#include "infer/digest.h"

#include <stdlib.h>
#include <string.h>

struct question {
    struct clpctl *c;
    struct clpd *connection;
    struct remote_model model;
    uint32_t top_k;
    bool json;
    int failed;
};

static json_t *class_json(const struct clpd_result *r, const struct clpd_top *t) {
    const char *label = clpd_result_label(r, t);
    return json_pack("{s:I, s:o, s:o, s:o}", "index", (json_int_t)t->index, "label",
                     label ? report_json_string(label) : json_null(), "score", report_json_float(t->score),
                     "probability", report_json_float(t->probability));
}

static int put_json(const struct question *q, const char *path, uint32_t item, const struct clpd_result *r) {
    char digest[2 * DIGEST_BYTES + 1];
    json_t *classes = json_array();
    for (uint32_t k = 0; k < r->top_k; k++)
        if (json_array_append_new(classes, class_json(r, &r->top[item * r->top_k + k])) < 0) break;
    return report_json_put(stdout, json_pack("{s:o, s:I, s:s, s:I, s:s, s:o, s:f, s:f}", "image",
                                             report_json_string(path), "item", (json_int_t)item, "model",
                                             q->model.name, "version", (json_int_t)r->version, "sha256",
                                             digest_text(r->sha256, digest), "classes", classes, "queue_ms",
                                             (double)(r->queue_ns / 1000) / 1e3, "compute_ms",
                                             (double)(r->compute_ns / 1000) / 1e3));
}

static int put_error(struct question *q, const char *path, const char *text) {
    if (q->json)
        (void)report_json_put(stdout, json_pack("{s:o, s:o}", "image", report_json_string(path), "error",
                                                report_json_string(text)));
    (void)clpctl_fail(q->c, "%s", text);
    q->failed++;
    return 0;
}

static void print_item(const struct question *q, const char *path, uint32_t item,
                       const struct clpd_result *r) {
    char clean[512];
    const struct terminal *t = &q->c->out;
    (void)printf("%s%s%s", terminal_begin(t, STYLE_BOLD), terminal_clean(clean, sizeof clean, path),
                 terminal_end(t, STYLE_BOLD));
    if (r->items > 1) (void)printf(" [%u]", item);
    (void)printf("%s   %s version %llu, %.2f ms%s\n", terminal_begin(t, STYLE_DIM), q->model.name,
                 (unsigned long long)r->version, (double)(r->queue_ns + r->compute_ns) / 1e6,
                 terminal_end(t, STYLE_DIM));
    struct table *table = table_new("lr");
    for (uint32_t k = 0; table && k < r->top_k; k++) {
        const struct clpd_top *top = &r->top[item * r->top_k + k];
        const char *label = clpd_result_label(r, top);
        enum style s = k == 0 ? STYLE_BOLD : STYLE_PLAIN;
        if (label)
            table_add(table, s, "  %s", label);
        else
            table_add(table, s, "  class %u", top->index);
        table_add(table, s, "%.2f %%", 100 * (double)top->probability);
    }
    if (table) table_print(table, stdout, t);
    table_free(table);
}

/* One file, which may hold several pictures. -1: the connection is of no more use. */
static int classify(struct question *q, const char *path) {
    struct picture p = {0};
    struct err e = {0};
    struct clpd_result r;
    char text[640];
    if (clpctl_read_picture(path, &q->model, &p, &e) < 0) return put_error(q, path, e.text);
    struct clpd_request request = {
        .model = q->model.name, .format = p.format, .data = p.data, .top_k = (uint16_t)q->top_k};
    const uint32_t u8[4] = {p.n, p.h, p.w, p.c}, f32[4] = {p.n, p.c, p.h, p.w};
    memcpy(request.dims, p.format == CLPD_U8_NHWC ? u8 : f32, sizeof u8);
    int rc = clpd_classify(q->connection, &request, &r);
    picture_free(&p);
    if (rc < 0) {
        (void)put_error(q, path, clpd_error(q->connection));
        return -1;
    }
    if (r.status != CLPD_OK) {
        (void)snprintf(text, sizeof text, "%s: %s: %s", path, clpd_status_name(r.status), r.text);
        return put_error(q, path, text);
    }
    for (uint32_t i = 0; i < r.items; i++)
        if (!q->json)
            print_item(q, path, i, &r);
        else if (put_json(q, path, i, &r) < 0)
            q->failed++;
    return 0;
}

static int run(struct clpctl *c, int argc, char **argv) {
    struct question q = {.c = c, .top_k = 5};
    const char *name = NULL;
    const struct option_spec options[] = {
        {.name = "model",
         .letter = 'm',
         .kind = OPTION_TEXT,
         .to = &name,
         .value = "NAME",
         .meaning = "which one; not needed where the daemon serves just one"},
        {.name = "top",
         .letter = 'k',
         .kind = OPTION_COUNT,
         .to = &q.top_k,
         .min = 1,
         .max = CLPD_MAX_TOP_K,
         .value = "N",
         .meaning = "classes per picture; default 5"},
        {.name = "json",
         .kind = OPTION_FLAG,
         .to = &q.json,
         .meaning = "one JSON document a picture, each on a line"},
        CLPCTL_SOCKET(c),
        {0},
    };
    int n = clpctl_parse(c, &clpctl_classify, options, argc, argv, 1, argc);
    if (n < 0) return -1 - n;
    q.connection = clpctl_connect(c);
    if (!q.connection) return CLPCTL_ERROR;
    int rc = clpctl_find_model(c, q.connection, name, &q.model);
    for (int i = 0; i < n && rc == 0; i++) rc = classify(&q, argv[i]);
    clpd_close(q.connection);
    return rc < 0 || q.failed ? CLPCTL_ERROR : CLPCTL_FINE;
}

const struct command clpctl_classify = {
    .name = "classify",
    .arguments = "[-m NAME] [-k N] [--json] IMAGE...",
    .summary = "Ask the daemon what is in pictures: JPEG, PNG or .npy",
    .help = "Pictures are stretched to the model's size. A .npy file holds uint8 [N,H,W,C], or float32\n"
            "[N,C,H,W] as the network wants it.\n\n"
            "Example:\n"
            "  clpctl classify -m signs -k 3 stop.jpg yield.jpg\n",
    .operands = "jpg jpeg png npy",
    .run = run,
};
