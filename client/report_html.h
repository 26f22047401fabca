/* A scan report as one self-contained page: no script, nothing fetched, safe
 * whatever the model calls its layers. */
#ifndef CLIENT_REPORT_HTML_H
#define CLIENT_REPORT_HTML_H

#include "guard/report.h"

#include <stdio.h>
#include <time.h>

/* `model` is the file as the user named it, `made` goes into the footer. 0 or -1: not all written, or no
 * memory. */
int report_html_write(FILE *to, const char *model, const struct report *r, time_t made);

/* The same with a section more, which `more` writes in front of the layers. Pictures in it are data: links.
 */
int report_html_write_with(FILE *to, const char *model, const struct report *r, time_t made,
                           void (*more)(FILE *to, void *ctx), void *ctx);

#endif
