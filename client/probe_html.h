/* The probe's section of the report's page: the verdict in plain words, the trigger that was found, and how
 * easily each class is reached. clpctl and the daemon show the same. */
#ifndef CLIENT_PROBE_HTML_H
#define CLIENT_PROBE_HTML_H

#include "guard/probe_report.h"
#include "infer/image.h"

#include <stdio.h>

struct probe_shown { /* borrowed */
    const struct probe_report *report;
    const struct image *image; /* its labels; or NULL */
    const char *service;       /* what serves now, in a sentence; or NULL */
};
void probe_html(FILE *to, const struct probe_shown *s);

/* "3 (stop)" into buf; returns buf. */
const char *probe_class_name(char *buf, int cap, const struct image *img, int32_t k);

#endif
