/* The screen:
 *
 *   clpd 0.1.0 · up 3 h 12 min · io_uring · 2 workers              guard up
 *
 *   requests/s   1,234    sparkline                                peak 2,345
 *   p99          2.1 ms   sparkline                                peak 9.0 ms
 *   queue 3 · connections 12 · rings 2 · busy 0/s · late 0/s · errors 0/s · swaps 4
 *
 *   model … a line each
 *
 *   files that are not served, and why
 *   keys */
#include "client/top_view.h"

#include "client/json_table.h"
#include "client/table.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_LINES = 6, WIDEST_GRAPH = 60, FILES_AT_LEAST = 4, NAME_ROOM = 20, UNLIMITED = 1 << 20 };

const char *top_order_name(enum top_order o) {
    static const char *const names[TOP_ORDERS] = {"requests/s", "p99", "p50", "wait", "batch", "name"};
    return (unsigned)o < TOP_ORDERS ? names[o] : "";
}

/* --- numbers ----------------------------------------------------------------------------------- */

char *top_view_time(char *buf, double s) {
    if (isnan(s))
        (void)snprintf(buf, 16, "-");
    else if (s < 999.5e-6)
        (void)snprintf(buf, 16, "%.*f us", s > 0 && s < 9.95e-6 ? 1 : 0, s * 1e6);
    else if (s < 0.9995)
        (void)snprintf(buf, 16, "%.*f ms", s < 9.95e-3 ? 2 : s < 99.5e-3 ? 1 : 0, s * 1e3);
    else
        (void)snprintf(buf, 16, "%.*f s", s < 9.95 ? 2 : 1, s < 1e6 ? s : 1e6);
    return buf;
}

static char *rate_text(char buf[32], double rate) {
    if (rate > 0 && rate < 9.95)
        (void)snprintf(buf, 32, "%.1f", rate);
    else
        (void)terminal_count(buf, llround(rate));
    return buf;
}

/* --- a line that ends where the terminal does ---------------------------------------------------- */

struct line {
    FILE *to;
    const struct terminal *t;
    int used, reserved; /* columns; those that put_right will want */
};

/* To what is left of the line; three dots say that there was more. `text` has room for them. */
static void cut(const struct line *l, char *text) {
    const char *const dots = l->t->unicode ? "…" : "..";
    const int left = l->t->columns - l->reserved - l->used, marks = terminal_width(dots);
    if (!l->t->columns || terminal_width(text) <= left) return;
    text[terminal_fit(text, left)] = 0;
    if (left <= marks) return;
    const size_t end = terminal_fit(text, left - marks);
    memcpy(text + end, dots, strlen(dots) + 1);
}

static void put(struct line *l, enum style s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void put(struct line *l, enum style s, const char *fmt, ...) {
    char raw[512], clean[512 + 8];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    (void)terminal_clean(clean, sizeof raw, raw);
    cut(l, clean);
    if (!clean[0]) return;
    l->used += terminal_width(clean);
    (void)fprintf(l->to, "%s%s%s", terminal_begin(l->t, s), clean, terminal_end(l->t, s));
}

static void put_end(struct line *l) {
    (void)fputc('\n', l->to);
    l->used = 0;
}

/* What ends at the right edge, where there is room for it. */
static void put_right(struct line *l, enum style s, const char *text) {
    l->reserved = 0;
    const int left = l->t->columns - l->used - terminal_width(text);
    if (!l->t->columns)
        put(l, s, "   %s", text);
    else if (left > 0)
        put(l, s, "%*s%s", left, "", text);
}

static void put_fact(struct line *l, const char *name, const char *value, enum style s) {
    put(l, STYLE_DIM, "%s%s ", l->used ? "   " : "", name);
    put(l, s, "%s", value);
}

/* --- the head -------------------------------------------------------------------------------------- */

static double largest(const double *a, uint32_t n) {
    double most = 0;
    for (uint32_t i = 0; i < n; i++) most = a[i] > most ? a[i] : most;
    return most;
}

static void put_graph(struct line *l, const double *a, uint32_t n, int width) {
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}, *const plain = "_.:-=+*#";
    char text[4 * WIDEST_GRAPH + 1] = "";
    if (width > WIDEST_GRAPH) width = WIDEST_GRAPH;
    const uint32_t shown = width < 0 ? 0 : n < (uint32_t)width ? n : (uint32_t)width;
    const double most = largest(a + (n - shown), shown);
    for (uint32_t i = n - shown; i < n; i++) {
        const int level = most > 0 ? (int)(7 * a[i] / most + 0.5) : 0;
        const size_t used = strlen(text);
        if (l->t->unicode)
            (void)snprintf(text + used, sizeof text - used, "%s", a[i] > 0 ? bars[level] : " ");
        else
            (void)snprintf(text + used, sizeof text - used, "%c", a[i] > 0 ? plain[level] : ' ');
    }
    put(l, STYLE_CYAN, "%*s%s", width - (int)shown, "", text);
}

static void put_curve(struct line *l, const char *name, const char *value, const double *a, uint32_t n,
                      const char *peak) {
    char right[48];
    const int graph = (l->t->columns ? l->t->columns : 80) - 26 - 16;
    put(l, STYLE_DIM, "%-11s", name);
    put(l, STYLE_BOLD, "%11s", value);
    put(l, STYLE_PLAIN, "   ");
    if (graph > 8) put_graph(l, a, n, graph);
    (void)snprintf(right, sizeof right, "peak %s", peak);
    if (n) put_right(l, STYLE_DIM, right);
    put_end(l);
}

static void put_title(struct line *l, const struct top_view *v, const struct top_data *d) {
    char up[32], guard[64];
    const bool fine = strcmp(d->guard, "up") == 0;
    (void)snprintf(guard, sizeof guard, "%sguard %s", l->t->unicode ? "● " : "", d->guard);
    const char *right = v->notice ? v->notice : v->paused ? "paused" : guard;
    l->reserved = terminal_width(right) + 2;
    put(l, STYLE_BOLD, "clpd %s", d->version);
    put(l, STYLE_DIM, "   up %s   %s   %lld worker%s", json_table_duration(up, d->uptime_s), d->io,
        d->threads, d->threads == 1 ? "" : "s");
    put_right(l, fine && !v->notice ? STYLE_GREEN : STYLE_RED, right);
    put_end(l);
}

static void put_counters(struct line *l, const struct top_data *d) {
    char buf[32];
    const struct {
        const char *name;
        double rate;
    } refused[] = {{"busy", d->busy}, {"late", d->late}, {"errors", d->errors}};
    put_fact(l, "queue", terminal_count(buf, d->queue), STYLE_PLAIN);
    put_fact(l, "connections", terminal_count(buf, d->connections), STYLE_PLAIN);
    put_fact(l, "rings", terminal_count(buf, d->rings), STYLE_PLAIN);
    put_fact(l, "swaps", terminal_count(buf, d->swaps), STYLE_PLAIN);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        put_fact(l, refused[i].name, rate_text(buf, refused[i].rate),
                 refused[i].rate > 0 ? STYLE_RED : STYLE_PLAIN);
        put(l, STYLE_DIM, "/s");
    }
    put_end(l);
}

static void put_head(struct line *l, const struct top_view *v, const struct top_data *d) {
    char now[32], peak[32];
    put_title(l, v, d);
    put_end(l);
    put_curve(l, "requests/s", d->known ? rate_text(now, d->rate) : "-", d->rates, d->n_history,
              rate_text(peak, largest(d->rates, d->n_history)));
    put_curve(l, "p99", top_view_time(now, d->known ? d->p99 : NAN), d->p99s, d->n_history,
              top_view_time(peak, largest(d->p99s, d->n_history)));
    put_counters(l, d);
    put_end(l);
}

/* --- models ------------------------------------------------------------------------------------------ */

static double key_of(const struct top_model *m, enum top_order o) {
    const double k = o == TOP_BY_P99     ? m->p99
                     : o == TOP_BY_P50   ? m->p50
                     : o == TOP_BY_WAIT  ? m->wait
                     : o == TOP_BY_BATCH ? m->batch
                                         : m->rate;
    return isnan(k) ? -1 : k;
}

/* Largest first, names from A; equals by their names, so that nothing jumps about. */
static int compare(const void *a, const void *b, void *of) {
    const struct top_model *x = *(const struct top_model *const *)a, *y = *(const struct top_model *const *)b;
    const struct top_view *v = of;
    const double p = key_of(x, v->order), q = key_of(y, v->order);
    const int by_name = strcmp(x->name, y->name);
    const int by = v->order == TOP_BY_NAME || p == q ? by_name : p < q ? 1 : -1;
    return v->reverse ? -by : by;
}

enum { COLUMNS = 8 };

/* The first `n` columns of the rows from `first` on. */
static struct table *make_table(const struct top_view *v, const struct top_model *const *rows, size_t first,
                                size_t end, size_t n) {
    static const char *const heads[COLUMNS] = {"model", "requests/s", "p50",   "p99",
                                               "guard", "wait",       "batch", "version"};
    static const enum top_order orders[COLUMNS] = {TOP_BY_NAME, TOP_BY_RATE, TOP_BY_P50,   TOP_BY_P99,
                                                   TOP_ORDERS,  TOP_BY_WAIT, TOP_BY_BATCH, TOP_ORDERS};
    char align[COLUMNS + 1] = "lrrrlrrr", buf[32];
    align[n] = 0;
    struct table *t = table_new(align);
    for (size_t k = 0; t && k < n; k++)
        table_add(t, orders[k] == v->order ? STYLE_BOLD : STYLE_DIM, "%s", heads[k]);
    for (size_t i = first; t && i < end; i++) {
        const struct top_model *m = rows[i];
        const enum style s = m->rate > 0 ? STYLE_PLAIN : STYLE_DIM;
        table_add(t, STYLE_BOLD, "%s", m->name);
        table_add(t, s, "%s", rate_text(buf, m->rate));
        if (n > 2) table_add(t, s, "%s", top_view_time(buf, m->p50));
        if (n > 3) table_add(t, s, "%s", top_view_time(buf, m->p99));
        if (n > 4) table_add(t, m->tone, "%s", m->guard);
        if (n > 5) table_add(t, s, "%s", top_view_time(buf, m->wait));
        if (n > 6 && isnan(m->batch))
            table_add(t, s, "-");
        else if (n > 6)
            table_add(t, s, "%.1f", m->batch);
        if (n > 7) table_add(t, s, "%lld", m->version);
    }
    return t;
}

/* Whether it fits where long names are shortened in their middle, as table_print does. */
static bool fits(const struct table *t, const struct top_model *const *rows, size_t first, size_t end,
                 int columns) {
    int longest = 0;
    for (size_t i = first; i < end; i++) {
        const int w = terminal_width(rows[i]->name);
        longest = w > longest ? w : longest;
    }
    return !columns || table_width(t) - (longest > NAME_ROOM ? longest - NAME_ROOM : 0) <= columns;
}

/* As many columns as fit. */
static void put_models(struct line *l, struct top_view *v, const struct top_data *d, size_t room) {
    const struct top_model **rows = calloc(d->n_models + 1, sizeof *rows);
    if (!rows) return;
    for (size_t i = 0; i < d->n_models; i++) rows[i] = &d->models[i];
    qsort_r(rows, d->n_models, sizeof *rows, compare, v);
    if (v->first + room > d->n_models) v->first = d->n_models > room ? d->n_models - room : 0;
    const size_t end = v->first + room < d->n_models ? v->first + room : d->n_models;
    struct table *t = make_table(v, rows, v->first, end, COLUMNS);
    for (size_t n = COLUMNS - 1; t && n > 1 && !fits(t, rows, v->first, end, l->t->columns); n--) {
        table_free(t);
        t = make_table(v, rows, v->first, end, n);
    }
    if (t) table_print(t, l->to, l->t);
    table_free(t);
    free(rows);
}

/* --- files, keys --------------------------------------------------------------------------------------- */

static enum style style_of_state(const char *state) {
    return strcmp(state, "rejected") == 0 ? STYLE_RED : STYLE_YELLOW;
}

static void put_files(struct line *l, const struct top_data *d, size_t room) {
    put_end(l);
    for (size_t i = 0; i < d->n_files && i < room; i++) {
        const struct top_file *f = &d->files[i];
        if (i + 1 == room && d->n_files > room) {
            put(l, STYLE_DIM, "and %zu more files that are not served: clpctl models", d->n_files - i);
            put_end(l);
            return;
        }
        put(l, style_of_state(f->state), "%-9s", f->state);
        put(l, STYLE_BOLD, " %s", f->path);
        if (f->reason[0]) put(l, STYLE_PLAIN, ": %s", f->reason);
        put_end(l);
    }
}

static void put_keys(struct line *l, const struct top_view *v, const struct top_data *d, size_t shown) {
    put(l, STYLE_BOLD, "q");
    put(l, STYLE_DIM, " quit   ");
    put(l, STYLE_BOLD, "s");
    put(l, STYLE_DIM, " sort: %s%s   ", top_order_name(v->order), v->reverse ? ", reversed" : "");
    put(l, STYLE_BOLD, "r");
    put(l, STYLE_DIM, " reverse   ");
    put(l, STYLE_BOLD, "p");
    put(l, STYLE_DIM, " %s   ", v->paused ? "go on" : "pause");
    if (shown < d->n_models) {
        put(l, STYLE_BOLD, l->t->unicode ? "↑↓" : "k j");
        put(l, STYLE_DIM, " %zu-%zu of %zu", v->first + 1, v->first + shown, d->n_models);
    }
}

/* Models come first; files that are not served keep a few lines, with a blank one in front. */
static int share(int left, int models, int files) {
    int some = left / 3 < FILES_AT_LEAST ? left / 3 : FILES_AT_LEAST, over = left - models;
    if (some < over) some = over;
    if (some > files) some = files;
    return some < 2 ? 0 : some;
}

void top_view_print(struct top_view *v, const struct top_data *d, FILE *to, const struct terminal *t) {
    struct line l = {.to = to, .t = t};
    const int keys = v->rows ? 2 : 0; /* a blank line and the line of keys */
    const int models = d->n_models ? (int)d->n_models : 1, files = d->n_files ? (int)d->n_files + 1 : 0;
    int left = (v->rows ? v->rows : UNLIMITED) - HEAD_LINES - keys - 1;
    const int for_files = share(left, models, files);
    left -= for_files;
    const size_t room = left > 0 ? (size_t)left : 1, shown = room < d->n_models ? room : d->n_models;
    put_head(&l, v, d);
    if (d->n_models) {
        put_models(&l, v, d, room);
    } else {
        put(&l, STYLE_PLAIN, "No model is served yet: copy NAME.onnx into the model folder.");
        put_end(&l);
        put_end(&l);
    }
    if (for_files) put_files(&l, d, (size_t)for_files - 1);
    if (!v->rows) return;
    for (int used = HEAD_LINES + 1 + (d->n_models ? (int)shown : 1) + for_files; used < v->rows - 1; used++)
        put_end(&l);
    put_keys(&l, v, d, shown);
}
