/* Probing a model file: through the caged import worker to an image that gradients
 * run through, and that through the caged clp-probe to a report. */
#ifndef CLIENT_PROBE_H
#define CLIENT_PROBE_H

#include "client/clpctl.h"
#include "client/options.h"
#include "client/probe_html.h"
#include "client/report_json.h"
#include "guard/probe_report.h"
#include "infer/image.h"

#define PROBE_DEFAULT_BUDGET 600 /* seconds */

struct probe_request {
    bool on;
    double budget, seed; /* -1: not given */
};
/* Rows for the option tables of commands that probe. */
#define PROBE_OPTIONS(p)                                                                                     \
    {.name = "probe",                                                                                        \
     .kind = OPTION_FLAG,                                                                                    \
     .to = &(p)->on,                                                                                         \
     .meaning = "attack the network as it came, class by class, and repair what stands out"},                \
        {.name = "budget",                                                                                   \
         .kind = OPTION_REAL,                                                                                \
         .to = &(p)->budget,                                                                                 \
         .min = 5,                                                                                           \
         .max = 86400,                                                                                       \
         .value = "S",                                                                                       \
         .meaning = "seconds that the probe may take; default 600"},                                         \
    {                                                                                                        \
        .name = "seed", .kind = OPTION_REAL, .to = &(p)->seed, .min = 0, .max = 1000000, .value = "N",       \
        .meaning = "of the probe's pictures and starts; the same gives the same result"                      \
    }

struct probed {
    struct probe_report report;
    struct image *image; /* its labels; NULL where probing failed */
    int fd;
};

/* 0, or -1 with `e` set; free `out` in both cases. */
int probe_model(const struct clpctl *c, const char *path, const struct probe_request *r, struct probed *out,
                struct err *e);
void probed_free(struct probed *p);

/* What to say of it: one line and, in `details`, the figures; for people. */
void probe_print(FILE *to, const struct probed *p, const struct terminal *t);
/* A new reference, or NULL. */
json_t *probe_json(const struct probed *p);
/* The report of a scan, with the probe's in it (NULL: none). A new reference, or NULL. */
json_t *probe_document(const char *path, const struct report *r, const struct probed *p);

#endif
