/* clpctl bench: how long a model takes here. One engine per thread, each on its
 * own CPU; a start line, warm-up, then runs until time or count is reached. */
#include "client/feed.h"
#include "client/model.h"
#include "client/progress.h"
#include "client/report_json.h"
#include "client/table.h"
#include "infer/algorithm.h"
#include "infer/team.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM_UP = 3, LEAST_RUNS = 5, MAX_THREADS = 1024, MAX_BATCH = 1024 };
#define MOST_SAMPLES ((size_t)1 << 20)

struct bench {
    struct clpctl *c;
    const char *path;
    uint32_t batch, threads, together, runs;
    double seconds;
    bool guard, json, profile;
    struct model model;
    struct feed feeds[IMAGE_MAX_IO];
    struct engine_item *items;
    struct team *team; /* who helps all engines; or NULL */
    pthread_barrier_t start;
};

struct thread { /* one of them; written by it alone until it is joined */
    struct bench *b;
    pthread_t id;
    int cpu; /* -1: anywhere */
    struct engine *engine;
    uint64_t *samples; /* ns of each run */
    size_t n, room;
    uint64_t began, ended;
    int rc;
};

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- measuring ---------------------------------------------------------------------------- */

static int add_sample(struct thread *t, uint64_t ns) {
    if (t->n == t->room) {
        size_t room = t->room ? t->room * 2 : 4096;
        uint64_t *more = realloc(t->samples, room * sizeof *more);
        if (!more) return -ENOMEM;
        t->samples = more;
        t->room = room;
    }
    t->samples[t->n++] = ns;
    return 0;
}

static bool is_done(const struct thread *t, uint64_t now) {
    if (t->b->runs) return t->n >= t->b->runs;
    return t->n >= MOST_SAMPLES || (t->n >= LEAST_RUNS && (double)(now - t->began) >= t->b->seconds * 1e9);
}

static void *measure(void *arg) {
    struct thread *t = arg;
    struct bench *b = t->b;
    cpu_set_t one;
    CPU_ZERO(&one);
    if (t->cpu >= 0) {
        CPU_SET((size_t)t->cpu, &one);
        (void)pthread_setaffinity_np(pthread_self(), sizeof one, &one); /* a hint: it runs anyway */
    }
    for (int i = 0; i < WARM_UP && t->rc == 0; i++)
        t->rc = engine_run(t->engine, b->model.image, b->batch, b->items);
    (void)pthread_barrier_wait(&b->start);
    uint64_t before = t->began = t->ended = now_ns();
    while (t->rc == 0 && !is_done(t, before)) {
        t->rc = engine_run(t->engine, b->model.image, b->batch, b->items);
        uint64_t after = now_ns();
        if (t->rc == 0) t->rc = add_sample(t, after - before);
        t->ended = before = after;
    }
    return NULL;
}

/* The nth CPU that we may use; -1: there are not so many. */
static int nth_cpu(uint32_t nth) {
    cpu_set_t may;
    if (sched_getaffinity(0, sizeof may, &may) < 0) return -1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &may) && nth-- == 0) return cpu;
    return -1;
}

static int prepare_thread(struct thread *t, uint32_t nth, struct bench *b, struct err *e) {
    *t = (struct thread){.b = b, .cpu = nth_cpu(nth), .engine = engine_new()};
    if (!t->engine) return err_set(e, ERR_SYSTEM, "out of memory");
    if (b->team && !engine_join(t->engine, b->team))
        return err_set(e, ERR_LIMIT, "that many threads can't be helped");
    return engine_reserve(t->engine, b->model.image, b->batch, e);
}

/* Helpers stay on the CPUs behind those of the engines. */
static int make_team(struct bench *b, struct err *e) {
    int cpus[TEAM_MAX_HELPERS];
    if (b->together < 2) return 0;
    for (uint32_t i = 0; i + 1 < b->together; i++) cpus[i] = nth_cpu(b->threads + i);
    b->team = team_new(b->together - 1, cpus, e);
    return b->team ? 0 : -1;
}

static int run_threads(struct bench *b, struct thread *threads) {
    struct err e = {0};
    if (make_team(b, &e) < 0) return clpctl_fail(b->c, "%s", e.text);
    for (uint32_t i = 0; i < b->threads; i++)
        if (prepare_thread(&threads[i], i, b, &e) < 0) return clpctl_fail(b->c, "%s", e.text);
    if (nth_cpu(b->threads + b->together - 2) < 0)
        clpctl_note(b->c, "fewer CPUs than %u threads: they share, and the figures show it",
                    b->threads + b->together - 1);
    int rc = pthread_barrier_init(&b->start, NULL, b->threads);
    if (rc) return clpctl_fail(b->c, "%s", strerror(rc));
    struct progress p; /* five wake-ups a second, where somebody watches */
    progress_begin(&p, &b->c->err, b->runs ? 0 : b->seconds, "measuring");
    for (uint32_t i = 1; i < b->threads; i++) {
        rc = pthread_create(&threads[i].id, NULL, measure, &threads[i]);
        /* Those started already wait at the barrier for good: there is no way on. */
        if (rc) exit(clpctl_fail(b->c, "can't start %u threads: %s", b->threads, strerror(rc)));
    }
    (void)measure(&threads[0]);
    for (uint32_t i = 1; i < b->threads; i++) (void)pthread_join(threads[i].id, NULL);
    (void)pthread_barrier_destroy(&b->start);
    progress_end(&p);
    for (uint32_t i = 0; i < b->threads; i++)
        if (threads[i].rc < 0) return clpctl_fail(b->c, "the engine refused: %s", strerror(-threads[i].rc));
    return 0;
}

/* --- telling ------------------------------------------------------------------------------ */

struct figures {
    double median_ms, p99_ms, min_ms, per_second, gflops;
    size_t runs;
};

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int sum_up(const struct bench *b, const struct thread *threads, struct figures *f) {
    *f = (struct figures){0};
    for (uint32_t i = 0; i < b->threads; i++) f->runs += threads[i].n;
    uint64_t *all = malloc(f->runs * sizeof *all);
    if (!all) return clpctl_fail(b->c, "out of memory");
    size_t at = 0;
    for (uint32_t i = 0; i < b->threads; i++) {
        memcpy(all + at, threads[i].samples, threads[i].n * sizeof *all);
        at += threads[i].n;
        double seconds = (double)(threads[i].ended - threads[i].began) / 1e9;
        f->per_second += (double)threads[i].n * b->batch / seconds;
    }
    qsort(all, f->runs, sizeof *all, compare);
    f->median_ms = (double)(all[(f->runs - 1) / 2] + all[f->runs / 2]) / 2e6;
    f->p99_ms = (double)all[(f->runs * 99 + 99) / 100 - 1] / 1e6;
    f->min_ms = (double)all[0] / 1e6;
    f->gflops = 2 * (double)image_header(b->model.image)->multiply_adds * f->per_second / 1e9;
    free(all);
    return 0;
}

static double round_to(double x, double unit) {
    return (double)(int64_t)(x / unit + 0.5) * unit;
}

static json_t *to_json(const struct bench *b, const struct figures *f) {
    return json_pack("{s:o, s:i, s:i, s:i, s:f, s:f, s:I, s:f, s:f, s:f, s:s, s:s}", "model",
                     report_json_string(b->path), "batch", (int)b->batch, "threads", (int)b->threads,
                     "together", (int)b->together, "median_ms", round_to(f->median_ms, 1e-4), "p99_ms",
                     round_to(f->p99_ms, 1e-4), "runs", (json_int_t)f->runs, "min_ms",
                     round_to(f->min_ms, 1e-4), "items_per_s", round_to(f->per_second, 1e-2), "gflops",
                     round_to(f->gflops, 1e-2), "guard", b->guard ? "on" : "off", "isa",
                     image_isa_name(image_header(b->model.image)->isa));
}

static void print_figures(const struct bench *b, const struct figures *f) {
    const struct terminal *t = &b->c->out;
    (void)printf(
        "%s%.3f ms%s median   %.3f ms p99   %.3f ms least   (%zu runs, batch %u, %u thread%s, guard %s)\n",
        terminal_begin(t, STYLE_BOLD), f->median_ms, terminal_end(t, STYLE_BOLD), f->p99_ms, f->min_ms,
        f->runs, b->batch, b->threads, b->threads == 1 ? "" : "s", b->guard ? "on" : "off");
    (void)printf("%.1f items/s   %.1f GF/s (%.4g M multiply-adds an item)   compiled for %s\n", f->per_second,
                 f->gflops, (double)image_header(b->model.image)->multiply_adds / 1e6,
                 image_isa_name(image_header(b->model.image)->isa));
}

/* --- step by step ------------------------------------------------------------------------- */

static void add_step(const struct bench *b, struct table *table, uint32_t i, uint64_t ns, uint64_t all,
                     uint32_t runs) {
    const struct image *img = b->model.image;
    const struct image_step *s = image_step_at(img, i);
    char shape[96];
    double us = (double)ns / 1e3 / runs, share = 100 * (double)ns / (double)(all ? all : 1);
    double flops = 2 * (double)s->multiply_adds * b->batch;
    enum style style = share >= 5 ? STYLE_BOLD : STYLE_PLAIN;
    table_add(table, style, "%s", image_string(img, s->name));
    table_add(table, style, "%s", op_name((enum op)s->op));
    table_add(table, style, "%s", s->algorithm == ALG_DEFAULT ? "" : algorithm_name(s->algorithm));
    table_add(table, STYLE_DIM, "%s",
              shape_text(&image_tensor_at(img, s->output)->shape, shape, sizeof shape));
    table_add(table, style, "%.1f", us);
    if (flops > 0 && ns)
        table_add(table, style, "%.1f", flops / us / 1e3);
    else
        table_add(table, style, "%s", "");
    table_add(table, style, "%.1f %%", share);
}

/* Where the time goes: per step the least of some runs, since a disturbed one says nothing about
 * the step. Runs of their own, since reading the clock after every step costs some. */
static int print_profile(const struct bench *b, struct engine *en, uint32_t runs) {
    uint32_t n = image_header(b->model.image)->n_steps;
    uint64_t *ns = calloc(2 * (size_t)n + 1, sizeof *ns), *least = ns ? ns + n : NULL, all = 0;
    struct table *table = table_new("lllrrrr");
    static const char *const heads[] = {"step", "operator", "algorithm", "output", "us", "GF/s", "share"};
    int rc = ns && table ? 0 : clpctl_fail(b->c, "out of memory");
    if (rc == 0) {
        for (uint32_t r = 0; r < runs && rc == 0; r++) {
            engine_profile(en, ns, n);
            rc = engine_run(en, b->model.image, b->batch, b->items);
            for (uint32_t i = 0; i < n; i++)
                if (r == 0 || ns[i] < least[i]) least[i] = ns[i];
        }
        engine_profile(en, NULL, 0);
        for (uint32_t i = 0; i < n; i++) all += least[i];
        for (int i = 0; i < 7; i++) table_add(table, STYLE_DIM, "%s", heads[i]);
        for (uint32_t i = 0; i < n; i++) add_step(b, table, i, least[i], all, 1);
        FILE *to = b->json ? stderr : stdout;
        (void)fputc('\n', to);
        table_print(table, to, b->json ? &b->c->err : &b->c->out);
    }
    table_free(table);
    free(ns);
    return rc;
}

/* --- the command -------------------------------------------------------------------------- */

static int make_items(struct bench *b) {
    const struct image_header *h = image_header(b->model.image);
    struct err e = {0};
    b->items = calloc(b->batch, sizeof *b->items);
    if (!b->items) return clpctl_fail(b->c, "out of memory");
    for (uint32_t k = 0; k < h->n_inputs; k++) {
        if (feed_make(b->model.image, k, b->batch, &b->feeds[k], &e) < 0)
            return clpctl_fail(b->c, "%s", e.text);
        for (uint32_t i = 0; i < b->batch; i++) {
            b->items[i].format = INPUT_F32_NCHW;
            b->items[i].inputs[k] = b->feeds[k].data + (size_t)i * b->feeds[k].item_bytes;
        }
    }
    return 0;
}

static int bench(struct bench *b, struct thread *threads) {
    struct figures f;
    int rc = make_items(b);
    if (rc == 0) rc = run_threads(b, threads);
    if (rc == 0) rc = sum_up(b, threads, &f);
    if (rc) return rc;
    if (!b->json)
        print_figures(b, &f);
    else if (report_json_put(stdout, to_json(b, &f)) < 0)
        return clpctl_fail(b->c, "can't write JSON");
    uint32_t runs = f.median_ms > 0 ? (uint32_t)(1000 / f.median_ms) + 3 : 100;
    return b->profile ? print_profile(b, threads[0].engine, runs > 1000 ? 1000 : runs) : 0;
}

static int run(struct clpctl *c, int argc, char **argv) {
    struct bench b = {.c = c, .batch = 1, .threads = 1, .together = 1, .seconds = 3, .guard = true};
    const char *precision = "float32";
    const struct option_spec options[] = {
        {.name = "batch",
         .letter = 'b',
         .kind = OPTION_COUNT,
         .to = &b.batch,
         .min = 1,
         .max = MAX_BATCH,
         .value = "N",
         .meaning = "items a run; default 1"},
        {.name = "threads",
         .letter = 't',
         .kind = OPTION_COUNT,
         .to = &b.threads,
         .min = 1,
         .max = MAX_THREADS,
         .value = "N",
         .meaning = "engines side by side, each on its own CPU; default 1"},
        {.name = "together",
         .kind = OPTION_COUNT,
         .to = &b.together,
         .min = 1,
         .max = TEAM_MAX_HELPERS + 1,
         .value = "N",
         .meaning = "threads that work on one run; default 1"},
        {.name = "seconds",
         .letter = 's',
         .kind = OPTION_REAL,
         .to = &b.seconds,
         .min = 0.01,
         .max = 3600,
         .value = "S",
         .meaning = "measure so long; default 3"},
        {.name = "runs",
         .letter = 'n',
         .kind = OPTION_COUNT,
         .to = &b.runs,
         .min = 1,
         .max = 1000000,
         .value = "N",
         .meaning = "or so many runs a thread"},
        {.name = "guard", .kind = OPTION_SWITCH, .to = &b.guard, .meaning = "off: measure it unrepaired"},
        {.name = "precision",
         .kind = OPTION_TEXT,
         .to = &precision,
         .value = "float32|bf16",
         .meaning = "what convolutions multiply; default float32"},
        {.name = "profile",
         .kind = OPTION_FLAG,
         .to = &b.profile,
         .meaning = "then show where the time goes"},
        {.name = "json", .kind = OPTION_FLAG, .to = &b.json, .meaning = "one JSON document"},
        {0},
    };
    int n = clpctl_parse(c, &clpctl_bench, options, argc, argv, 1, 1), rc = CLPCTL_ERROR;
    if (n < 0) return -1 - n;
    b.path = argv[0];
    struct model_import m = {.path = b.path, .mode = SPAWN_IMAGE, .guard_off = !b.guard};
    if (!model_precision(c, precision, &m) || model_load(c, &m, &b.model) < 0) return CLPCTL_ERROR;
    struct thread *threads = calloc(b.threads, sizeof *threads);
    if (threads) rc = bench(&b, threads);
    for (uint32_t i = 0; threads && i < b.threads; i++) {
        engine_free(threads[i].engine);
        free(threads[i].samples);
    }
    free(threads);
    team_free(b.team);
    for (int k = 0; k < IMAGE_MAX_IO; k++) feed_free(&b.feeds[k]);
    free(b.items);
    model_free(&b.model);
    return rc;
}

const struct command clpctl_bench = {
    .name = "bench",
    .arguments = "MODEL.onnx [--batch N] [--threads N] [--together N] [--guard on|off] [--json]",
    .summary = "Measure how long a model takes on this host",
    .help = "The figures are those of the engine alone, with float32 inputs in memory.\n\n"
            "Example:\n"
            "  clpctl bench signs.onnx --threads 4 --profile\n",
    .operands = "onnx",
    .run = run,
};
