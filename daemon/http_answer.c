/* Answers as text, and who makes them. */
#include "daemon/http_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void http_answer(struct http_exchange *x, unsigned status, const char *type, char *text, size_t n) {
    static const char none[] = "{\"error\":\"out of memory\"}";
    free(x->answer);
    if (!text) {
        status = 503;
        type = HTTP_JSON;
        text = strdup(none); /* NULL again: an empty body */
        n = text ? sizeof none - 1 : 0;
    }
    x->status = status;
    x->type = type;
    x->answer = text;
    x->answer_bytes = n;
    x->answer_header = HTTP_NO_HEADER;
}

void http_fail(struct http_exchange *x, unsigned status, const char *fmt, ...) {
    char text[1024], *out = NULL;
    size_t n = 0;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    FILE *to = open_memstream(&out, &n);
    if (to) {
        (void)fputs("{\"error\":", to);
        oip_put_text(to, text);
        (void)fputs("}\n", to);
        if (fclose(to)) {
            free(out);
            out = NULL;
        }
    }
    http_answer(x, status, HTTP_JSON, out, n);
}

unsigned http_status_of(uint32_t clpd_status) {
    switch (clpd_status) {
    case CLPD_OK: return 200;
    case CLPD_NO_MODEL: return 404;
    case CLPD_BAD_SHAPE:
    case CLPD_BAD_REQUEST: return 400;
    case CLPD_TOO_LARGE: return 413;
    case CLPD_FORBIDDEN: return 403;
    case CLPD_BUSY:
    case CLPD_DEADLINE:
    case CLPD_SHUTTING_DOWN: return 503;
    default: return 500;
    }
}

void http_handle(struct http_exchange *x) {
    switch (x->route.what) {
    case HTTP_PAGE: http_page(x); break;
    case HTTP_LIVE_FIGURES: http_live_figures(x); break;
    case HTTP_METRICS: http_metrics(x); break;
    case HTTP_REPORT: http_report(x); break;
    case HTTP_SERVER: http_server(x); break;
    case HTTP_SERVER_LIVE: http_answer(x, 200, HTTP_JSON, strdup("{\"live\":true}"), 13); break;
    case HTTP_SERVER_READY: http_server_ready(x); break;
    case HTTP_MODEL: http_model(x); break;
    case HTTP_MODEL_READY: http_model_ready(x); break;
    case HTTP_MODEL_STATS:
    case HTTP_ALL_STATS: http_stats(x); break;
    case HTTP_INFER: http_infer(x); break;
    case HTTP_CLASSIFY: http_classify(x); break;
    case HTTP_INDEX: http_index(x); break;
    case HTTP_LOAD:
    case HTTP_UNLOAD: http_load(x); break;
    case HTTP_NOTHING: http_fail(x, 404, "there is nothing at this path"); break;
    }
}
