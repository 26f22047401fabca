/* The answer to an inference request: JSON, and the tensor in it or behind it.
 *
 * Nine significant digits give every float32 back to the last bit. */
#include "daemon/oip.h"

#include <errno.h>
#include <math.h>
#include <string.h>

void oip_put_text(FILE *to, const char *text) {
    (void)putc_unlocked('"', to);
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t n = *p < 0x80                 ? 1
                   : *p >= 0xc2 && *p < 0xe0 ? 2
                   : *p >= 0xe0 && *p < 0xf0 ? 3
                   : *p >= 0xf0 && *p < 0xf5 ? 4
                                             : 0;
        for (size_t i = 1; i < n; i++)
            if ((p[i] & 0xc0) != 0x80) n = 0;
        if ((n == 3 && ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0))) ||
            (n == 4 && ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] >= 0x90))))
            n = 0;
        if (n == 0)
            (void)putc_unlocked('?', to);
        else if (n == 1 && (*p == '"' || *p == '\\'))
            (void)fprintf(to, "\\%c", *p);
        else if (n == 1 && (*p < 0x20 || *p == 0x7f))
            (void)fprintf(to, "\\u%04x", *p);
        else
            (void)fwrite_unlocked(p, 1, n, to);
        p += n ? n : 1;
    }
    (void)putc_unlocked('"', to);
}

static int put_scores(FILE *to, const struct clpd_result *r) {
    const size_t n = (size_t)r->items * r->classes;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(r->scores[i])) return -EDOM;
        (void)fprintf(to, "%s%.9g", i ? "," : "", (double)r->scores[i]);
    }
    return 0;
}

/* "value:index:label", as the classification extension has it. */
static void class_text(char *to, size_t room, const struct clpd_result *r, size_t i) {
    const struct clpd_top *t = &r->top[i];
    const char *label = clpd_result_label(r, t);
    (void)snprintf(to, room, "%.9g:%u%s%s", (double)t->score, t->index, label ? ":" : "", label ? label : "");
}

static void put_classes(FILE *to, const struct clpd_result *r) {
    char text[4096];
    for (size_t i = 0; i < (size_t)r->items * r->top_k; i++) {
        class_text(text, sizeof text, r, i);
        if (i) (void)putc_unlocked(',', to);
        oip_put_text(to, text);
    }
}

/* BYTES: each string behind its length. */
static size_t put_binary_classes(FILE *to, const struct clpd_result *r) {
    char text[4096];
    size_t bytes = 0;
    for (size_t i = 0; i < (size_t)r->items * r->top_k; i++) {
        class_text(text, sizeof text, r, i);
        const uint32_t n = (uint32_t)strlen(text);
        if (to) {
            (void)fwrite_unlocked(&n, sizeof n, 1, to);
            (void)fwrite_unlocked(text, 1, n, to);
        }
        bytes += sizeof n + n;
    }
    return bytes;
}

static void put_head(FILE *to, const struct oip_answer *a) {
    (void)fputs("{\"model_name\":", to);
    oip_put_text(to, a->model);
    (void)fprintf(to, ",\"model_version\":\"%llu\"", (unsigned long long)a->result->version);
    if (a->id) {
        (void)fputs(",\"id\":\"", to);
        (void)fwrite_unlocked(a->id->bytes, 1, a->id->n, to);
        (void)putc_unlocked('"', to);
    }
    (void)fputs(",\"outputs\":[{\"name\":", to);
    oip_put_text(to, a->output);
    (void)fprintf(to, ",\"datatype\":\"%s\",\"shape\":[", a->classes ? "BYTES" : "FP32");
    for (uint32_t i = 0; i < a->rank; i++) (void)fprintf(to, "%s%u", i ? "," : "", a->dims[i]);
    (void)putc_unlocked(']', to);
}

int oip_write(FILE *to, const struct oip_answer *a, size_t *json_bytes) {
    const struct clpd_result *r = a->result;
    const size_t scores = (size_t)r->items * r->classes * sizeof(float);
    int rc = 0;
    put_head(to, a);
    if (a->binary) {
        (void)fprintf(to, ",\"parameters\":{\"binary_data_size\":%zu}",
                      a->classes ? put_binary_classes(NULL, r) : scores);
    } else {
        (void)fputs(",\"data\":[", to);
        if (a->classes)
            put_classes(to, r);
        else
            rc = put_scores(to, r);
        (void)putc_unlocked(']', to);
    }
    (void)fputs("}]}", to);
    const off_t at = ftello(to);
    *json_bytes = at < 0 ? 0 : (size_t)at;
    if (rc == 0 && a->binary && a->classes) (void)put_binary_classes(to, r);
    if (rc == 0 && a->binary && !a->classes) (void)fwrite_unlocked(r->scores, 1, scores, to);
    return rc ? rc : ferror(to) || at < 0 ? -EIO : 0;
}
