/* clpctl status, clpctl models: how a running daemon is, and what it serves. */
#include "client/clpctl.h"
#include "client/json_table.h"
#include "client/report_json.h"

#include <string.h>

typedef void (*print_fn)(const struct clpctl *c, json_t *answer);

static int ask(struct clpctl *c, const struct command *command, enum clpd_frame_type what, print_fn print,
               int argc, char **argv) {
    bool json = false;
    const struct option_spec options[] = {
        {.name = "json",
         .kind = OPTION_FLAG,
         .to = &json,
         .meaning = "what the daemon says, as one JSON document"},
        CLPCTL_SOCKET(c),
        {0},
    };
    int n = clpctl_parse(c, command, options, argc, argv, 0, 0), rc = CLPCTL_FINE;
    if (n < 0) return -1 - n;
    struct clpd *connection = clpctl_connect(c);
    json_t *answer = connection ? clpctl_query(c, connection, what) : NULL;
    clpd_close(connection);
    if (!answer) return CLPCTL_ERROR;
    if (!json)
        print(c, answer);
    else if (report_json_put(stdout, json_incref(answer)) < 0)
        rc = CLPCTL_ERROR;
    json_decref(answer);
    return rc;
}

static void print_status(const struct clpctl *c, json_t *answer) {
    (void)json_object_del(answer, "schema"); /* for scripts */
    json_table_print_facts(stdout, &c->out, answer);
}

static void print_table(const struct clpctl *c, json_t *rows, const char *title, const char *none,
                        const char *const *order) {
    const struct terminal *t = &c->out;
    if (json_array_size(rows) == 0) {
        (void)printf("%s\n", none);
        return;
    }
    (void)printf("%s%s%s\n", terminal_begin(t, STYLE_BOLD), title, terminal_end(t, STYLE_BOLD));
    json_table_print_rows(stdout, t, rows, order);
}

/* "running, 42 %", "clear", "repaired, and serves" or "-". */
static void shorten_probe(json_t *m) {
    const json_t *p = json_object_get(m, "probe");
    const char *state = json_string_value(json_object_get(p, "state"));
    const char *verdict = json_string_value(json_object_get(p, "verdict"));
    char text[64] = "-";
    if (verdict)
        (void)snprintf(text, sizeof text, "%s%s", verdict,
                       json_is_true(json_object_get(p, "repaired")) ? ", and serves" : "");
    else if (state && strcmp(state, "running") == 0)
        (void)snprintf(text, sizeof text, "%lld %%",
                       (long long)json_integer_value(json_object_get(p, "percent")));
    else if (state)
        (void)snprintf(text, sizeof text, "%s", state);
    (void)json_object_set_new(m, "probe", json_string(text));
}

/* What people want in one cell, or not at all. A model that is listed is being served. */
static void shorten(json_t *models) {
    size_t i;
    json_t *m;
    json_array_foreach(models, i, m) {
        char text[64], pruned[32], total[32];
        json_t *p = json_object_get(m, "pruned_channels"), *all = json_object_get(m, "total_channels");
        json_t *bytes = json_object_get(m, "image_bytes");
        if (json_is_integer(p) && json_is_integer(all)) {
            (void)snprintf(text, sizeof text, "%s of %s", terminal_count(pruned, json_integer_value(p)),
                           terminal_count(total, json_integer_value(all)));
            (void)json_object_set_new(m, "channels", json_string(text));
            (void)json_object_del(m, "pruned_channels");
            (void)json_object_del(m, "total_channels");
        }
        json_t *canary = json_object_get(m, "canary");
        if (json_is_object(canary)) {
            (void)snprintf(text, sizeof text, "%lld of %lld",
                           (long long)json_integer_value(json_object_get(canary, "agreed")),
                           (long long)json_integer_value(json_object_get(canary, "samples")));
            (void)json_object_set_new(m, "canary", json_string(text));
        } else {
            (void)json_object_del(m, "canary");
        }
        if (json_is_integer(bytes)) {
            (void)snprintf(text, sizeof text, "%.1f MB", (double)json_integer_value(bytes) / 1e6);
            (void)json_object_set_new(m, "image", json_string(text));
            (void)json_object_del(m, "image_bytes");
        }
        shorten_probe(m);
        const char *state = json_string_value(json_object_get(m, "state"));
        if (state && strcmp(state, "serving") == 0) (void)json_object_del(m, "state");
        (void)json_object_del(m, "figures"); /* for clpctl top */
    }
}

static void print_models(const struct clpctl *c, json_t *answer) {
    static const char *const models[] = {"name",   "version",      "state", "verdict",   "channels",
                                         "probe",  "requests",     "input", "classes",   "labels",
                                         "sha256", "compiled_for", "image", "loaded_at", NULL};
    static const char *const files[] = {"path", "state", "verdict", "version", "model", "sha256", NULL};
    shorten(json_object_get(answer, "models"));
    print_table(c, json_object_get(answer, "models"), "Served", "No model is served yet.", models);
    (void)fputc('\n', stdout);
    print_table(c, json_object_get(answer, "files"), "Files", "There is no file in the model folder.", files);
    json_int_t more = json_integer_value(json_object_get(answer, "files_not_listed"));
    if (more > 0) (void)printf("and %lld more\n", (long long)more);
}

static int run_status(struct clpctl *c, int argc, char **argv) {
    return ask(c, &clpctl_status, CLPD_STATUS, print_status, argc, argv);
}
static int run_models(struct clpctl *c, int argc, char **argv) {
    return ask(c, &clpctl_models, CLPD_MODELS, print_models, argc, argv);
}

const struct command clpctl_status = {
    .name = "status",
    .arguments = "[--json]",
    .summary = "How the daemon is",
    .help = "Example:\n  clpctl status --json | jq .\n",
    .run = run_status,
};
const struct command clpctl_models = {
    .name = "models",
    .arguments = "[--json]",
    .summary = "What it serves, and what the guard thinks of each file in the model folder",
    .help = "Example:\n  clpctl models\n",
    .run = run_models,
};
