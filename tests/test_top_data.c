/* clpctl top's numbers: what two samples make of counters and histograms, and what a swap and a new daemon
 * change. */
#include "client/top_data.h"
#include "tests/suite.h"

#include <math.h>
#include <string.h>

static json_t *status(int pid, int busy) {
    return json_pack("{s:s,s:i,s:s,s:i,s:i,s:{s:i,s:i},s:{s:s,s:s,s:i}}", "version", "1.2", "pid", pid,
                     "io_backend", "epoll", "uptime_s", 61, "queue", 3, "counters", "busy", busy, "swaps", 2,
                     "guard", "state", "up", "watching", "inotify", "restarts", 1);
}

/* `n` requests of 1 ms and `slow` of 10 ms so far. */
static json_t *model(const char *name, int version, int n, int slow) {
    return json_pack("{s:s,s:i,s:s,s:i,s:{s:i,s:i,s:i,s:i,s:i,s:[[i,i],[i,i]],s:[[i,i]]}}", "name", name,
                     "version", version, "verdict", "pruned", "pruned_channels", 1234, "figures", "ok",
                     n + slow, "failed", 0, "pictures", 2 * (n + slow), "queue_ns", 1000 * (n + slow),
                     "compute_ns", 1, "latency_ns", 1000000, n, 10000000, slow, "batch_sizes", 4,
                     (n + slow) / 2);
}

static json_t *models(json_t *one, json_t *two) {
    json_t *list = json_array();
    if (one) (void)json_array_append_new(list, one);
    if (two) (void)json_array_append_new(list, two);
    return json_pack("{s:o,s:[{s:s,s:s},{s:s,s:s,s:s},{s:s,s:s}]}", "models", list, "files", "path", "a.onnx",
                     "state", "serving", "path", "b\033.onnx", "state", "rejected", "reason",
                     "no \033[2J model", "path", "c.onnx", "state", "superseded");
}

static void feed(struct top_samples *s, json_t *st, json_t *m, double at) {
    CU_ASSERT_EQUAL(top_samples_take(s, st, m, (uint64_t)(at * 1e9)), 0);
    json_decref(st);
    json_decref(m);
}

static void differences(void) {
    struct top_samples *s = top_samples_new();
    const struct top_data *d = top_samples_data(s);
    feed(s, status(7, 5), models(model("a", 1, 100, 0), NULL), 1);
    CU_ASSERT_TRUE(!d->known && d->n_models == 1 && isnan(d->models[0].p50) && d->n_history == 0);
    feed(s, status(7, 9), models(model("a", 1, 296, 4), model("new", 3, 0, 10)), 3);
    CU_ASSERT_TRUE(d->known && d->n_models == 2 && d->n_history == 1);
    const struct top_model *a = &d->models[0], *b = &d->models[1];
    CU_ASSERT_DOUBLE_EQUAL(a->rate, 100, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(a->p50, 1e-3, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL(a->p99, 10e-3, 1e-4);
    CU_ASSERT_DOUBLE_EQUAL(a->wait, 1e-6, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(a->batch, 4, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(b->rate, 5, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(b->p50, 10e-3, 1e-4);
    CU_ASSERT_DOUBLE_EQUAL(d->rate, 105, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(d->busy, 2, 1e-9);
    CU_ASSERT_STRING_EQUAL(a->guard, "pruned 1,234");
    CU_ASSERT_TRUE(d->queue == 3 && d->swaps == 2 && d->uptime_s == 61);
    top_samples_free(s);
}

/* Another version counts from its own beginning; one that rests has no times; another daemon starts anew. */
static void beginnings(void) {
    struct top_samples *s = top_samples_new();
    const struct top_data *d = top_samples_data(s);
    feed(s, status(7, 0), models(model("a", 1, 100, 0), model("b", 1, 50, 0)), 1);
    feed(s, status(7, 0), models(model("a", 2, 10, 0), model("b", 1, 50, 0)), 2);
    CU_ASSERT_DOUBLE_EQUAL(d->models[0].rate, 10, 1e-9);
    CU_ASSERT_TRUE(d->models[1].rate == 0 && isnan(d->models[1].p99) && isnan(d->models[1].batch));
    feed(s, status(8, 0), models(model("a", 2, 500, 0), NULL), 3);
    CU_ASSERT_TRUE(!d->known && d->models[0].rate == 0);
    for (int i = 0; i < TOP_HISTORY + 5; i++)
        feed(s, status(8, 0), models(model("a", 2, 500 + i, 0), NULL), 4 + i);
    CU_ASSERT_EQUAL(d->n_history, TOP_HISTORY);
    top_samples_free(s);
}

static void files_and_nonsense(void) {
    struct top_samples *s = top_samples_new();
    const struct top_data *d = top_samples_data(s);
    feed(s, status(7, 0), models(NULL, NULL), 1);
    CU_ASSERT_TRUE(d->n_files == 1 && d->n_serving == 1 && d->n_files_in_all == 3);
    CU_ASSERT_STRING_EQUAL(d->files[0].path, "b?.onnx");
    CU_ASSERT_STRING_EQUAL(d->files[0].reason, "no ?[2J model");
    /* What is no such document shows nothing, and does no harm. */
    feed(s, json_object(),
         json_pack("{s:[i,{s:{s:[[],[i],i]}}],s:i}", "models", 3, "figures", "latency_ns", 1, 2, "files", 4),
         2);
    CU_ASSERT_TRUE(d->n_models == 2 && d->n_files == 0);
    top_samples_free(s);
}

SUITE(top_data, {"rates and percentiles of an interval", differences},
      {"new versions, idle ones, another daemon", beginnings},
      {"files, and documents that are none", files_and_nonsense});
