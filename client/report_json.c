/* Scan report to JSON by libjansson, keys in the order in which people read them. */
#include "client/report_json.h"
#include "client/terminal.h"
#include "infer/digest.h"

#include <stdlib.h>
#include <string.h>

json_t *report_json_string(const char *text) {
    size_t cap = strlen(text) + 1;
    char *clean = malloc(cap);
    json_t *s = clean ? json_string(terminal_clean(clean, cap, text)) : NULL;
    free(clean);
    return s;
}

json_t *report_json_float(float f) {
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)f);
        if (strtof(text, NULL) == f) break;
    }
    return json_real(strtod(text, NULL));
}

/* Appends; a failure leaves NULL, which json_pack passes on. */
static json_t *append(json_t *array, json_t *value) {
    if (array && json_array_append_new(array, value) == 0) return array;
    json_decref(array);
    return NULL;
}

static json_t *float_array(const float *values, int32_t n) {
    json_t *a = json_array();
    for (int32_t i = 0; i < n && a; i++) a = append(a, report_json_float(values[i]));
    return a;
}

static json_t *int_array(const int32_t *values, int32_t n) {
    json_t *a = json_array();
    for (int32_t i = 0; i < n && a; i++) a = append(a, json_integer(values[i]));
    return a;
}

static json_t *milliseconds(uint64_t ns) {
    return json_real((double)(ns / 1000) / 1000); /* to the microsecond */
}

/* An unscored layer has no figures: null, so that no script takes a 0 for a measurement. */
static json_t *figure(const struct report_layer *l, float value) {
    return l->scored ? report_json_float(value) : json_null();
}

static json_t *layer(const struct report_layer *l) {
    return json_pack("{s:o, s:i, s:b, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                     report_json_string(l->name), "channels", (int)l->channels, "scored", (int)l->scored,
                     "reason", l->reason ? report_json_string(l->reason) : json_null(), "norm",
                     report_norm_name(l->norm), "mean", figure(l, l->mean), "std", figure(l, l->std),
                     "cutoff", figure(l, l->cutoff), "max_attainable_z", figure(l, l->max_attainable_z),
                     "uclc", float_array(l->uclc, l->scored ? l->channels : 0), "pruned",
                     int_array(l->pruned, l->n_pruned));
}

json_t *report_json_make(const char *model, const struct report *r) {
    char digest[2 * DIGEST_BYTES + 1];
    json_t *layers = json_array();
    for (int32_t i = 0; i < r->n_layers && layers; i++) layers = append(layers, layer(&r->layers[i]));
    return json_pack("{s:i, s:o, s:s, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:o, s:o, s:o}, s:o}",
                     "schema", REPORT_SCHEMA, "model", report_json_string(model), "sha256",
                     digest_text(r->source_sha256, digest), "threshold", report_json_float(r->threshold),
                     "statistic", report_statistic_name(r->statistic), "verdict", verdict_name(r->verdict),
                     "pruned_channels", (json_int_t)r->pruned_channels, "total_channels",
                     (json_int_t)r->total_channels, "parameters", (json_int_t)r->parameters, "multiply_adds",
                     (json_int_t)r->multiply_adds, "parameters_before", (json_int_t)r->parameters_before,
                     "multiply_adds_before", (json_int_t)r->multiply_adds_before, "elapsed_ms", "import",
                     milliseconds(r->import_ns), "clp", milliseconds(r->clp_ns), "plan",
                     milliseconds(r->plan_ns), "layers", layers);
}

json_t *report_json_make_error(const char *model, const struct err *e) {
    return json_pack("{s:i, s:o, s:{s:s, s:o}}", "schema", REPORT_SCHEMA, "model", report_json_string(model),
                     "error", "code", err_code_name(e->code), "text", report_json_string(e->text));
}

int report_json_put(FILE *to, json_t *document) {
    if (!document) return -1;
    int rc = json_dumpf(document, to, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(document);
    if (rc == 0 && (fputc('\n', to) == EOF || fflush(to) == EOF)) rc = -1;
    return rc;
}
