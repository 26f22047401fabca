/* How every command of clpctl takes its options, says no, and notes things. */
#include "client/clpctl.h"

#include <stdarg.h>

static void print_help(const struct command *command, const struct option_spec *options) {
    (void)printf("usage: clpctl %s %s\n\n%s.\n\n", command->name, command->arguments, command->summary);
    options_print(options, stdout);
    (void)printf("\n%s", command->help);
}

static int say(const struct clpctl *c, const char *what, enum style style, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));
static int say(const struct clpctl *c, const char *what, enum style style, const char *fmt, va_list ap) {
    char text[1024], clean[1024];
    (void)vsnprintf(text, sizeof text, fmt, ap);
    flockfile(stderr); /* a progress bar may be drawing (progress.h) */
    terminal_progress(stderr, &c->err, NULL);
    (void)fprintf(stderr, "%s%s%s %s\n", terminal_begin(&c->err, style), what, terminal_end(&c->err, style),
                  terminal_clean(clean, sizeof clean, text));
    funlockfile(stderr);
    return CLPCTL_ERROR;
}

int clpctl_fail(const struct clpctl *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int rc = say(c, "clpctl:", STYLE_RED, fmt, ap);
    va_end(ap);
    return rc;
}

void clpctl_note(const struct clpctl *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)say(c, "note:", STYLE_YELLOW, fmt, ap);
    va_end(ap);
}

int clpctl_parse(struct clpctl *c, const struct command *command, const struct option_spec *options, int argc,
                 char **argv, int least, int most) {
    struct err e = {0};
    if (c->offer) {
        c->offer(c, command, options);
        return -1 - CLPCTL_FINE;
    }
    int n = options_parse(options, false, argc, argv, &e);
    if (n == OPTIONS_HELP) {
        print_help(command, options);
        return -1 - CLPCTL_FINE;
    }
    if (n >= least && n <= most) return n;
    if (n >= 0) (void)err_set(&e, ERR_VALUE, n < least ? "something is missing" : "too many arguments");
    (void)clpctl_fail(c, "%s; usage: clpctl %s %s (or: clpctl %s --help)", e.text, command->name,
                      command->arguments, command->name);
    return -1 - CLPCTL_ERROR;
}
