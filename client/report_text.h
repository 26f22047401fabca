/* A scan report for the terminal: verdict, then a line per layer. */
#ifndef CLIENT_REPORT_TEXT_H
#define CLIENT_REPORT_TEXT_H

#include "client/terminal.h"
#include "guard/report.h"

/* All of it. `model` is the file as the user named it. */
void report_text_print(FILE *to, const char *model, const struct report *r, const struct terminal *t);

/* For many models: one line, and the layers that lost channels under it. `name_width`: of the widest name. */
void report_text_print_line(FILE *to, const char *model, int name_width, const struct report *r,
                            const struct terminal *t);

#endif
