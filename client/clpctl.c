/* clpctl: scan, repair, run and measure models; ask and load a running clpd.
 * One file per family of commands; this one finds the command and tells the rest. */
#include "client/clpctl.h"

#include <stdarg.h>
#include <string.h>

static const struct command *const commands[] = {&clpctl_scan,     &clpctl_prune,  &clpctl_run,
                                                 &clpctl_bench,    &clpctl_status, &clpctl_models,
                                                 &clpctl_classify, &clpctl_load};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_overview(FILE *to) {
    (void)fputs("usage: clpctl [--socket PATH] COMMAND ...\n\nWith a model file:\n", to);
    for (int i = 0; i < COMMANDS; i++) {
        if (commands[i] == &clpctl_status) (void)fputs("\nWith a running daemon:\n", to);
        (void)fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    (void)fputs(
        "\n  --socket PATH   where the daemon listens; default $CLPD_SOCKET, else " CLPD_DEFAULT_SOCKET "\n"
        "  --version       print the version\n\n"
        "Exit status: 0 fine, 1 findings (scan), 2 error. NO_COLOR switches colour off.\n"
        "clpctl COMMAND --help tells more, with an example.\n",
        to);
}

static void print_help(const struct command *command, const struct option_spec *options) {
    (void)printf("usage: clpctl %s %s\n\n%s.\n\n", command->name, command->arguments, command->summary);
    options_print(options, stdout);
    (void)printf("\n%s", command->help);
}

static int say(const struct clpctl *c, const char *what, enum style style, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));
static int say(const struct clpctl *c, const char *what, enum style style, const char *fmt, va_list ap) {
    char text[1024], clean[1024];
    terminal_progress(stderr, &c->err, NULL);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    (void)fprintf(stderr, "%s%s%s %s\n", terminal_begin(&c->err, style), what, terminal_end(&c->err, style),
                  terminal_clean(clean, sizeof clean, text));
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

int main(int argc, char **argv) {
    terminal_init();
    struct clpctl c = {.out = terminal_of(stdout), .err = terminal_of(stderr)};
    bool version = false;
    const struct option_spec options[] = {
        {.name = "socket", .kind = OPTION_TEXT, .to = &c.socket, .value = "PATH"},
        {.name = "version", .kind = OPTION_FLAG, .to = &version},
        {0},
    };
    struct err e = {0};
    int n = options_parse(options, true, argc - 1, argv + 1, &e);
    if (n == -1) return clpctl_fail(&c, "%s; see clpctl --help", e.text);
    if (n == OPTIONS_HELP)
        print_overview(stdout);
    else if (version)
        (void)printf("clpctl %s\n", CLPD_VERSION);
    if (n == OPTIONS_HELP || version) return fflush(stdout) == 0 ? CLPCTL_FINE : CLPCTL_ERROR;
    if (n == 0) {
        print_overview(stderr);
        return CLPCTL_ERROR;
    }
    const char *name = argv[1];
    bool help = strcmp(name, "help") == 0;
    if (help && n == 1) {
        print_overview(stdout);
        return CLPCTL_FINE;
    }
    if (help) name = argv[2];
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) != 0) continue;
        char *ask[] = {(char *)(uintptr_t) "--help"};
        int rc = help ? commands[i]->run(&c, 1, ask) : commands[i]->run(&c, n - 1, argv + 2);
        /* A full disk or a closed pipe must not look like success. */
        if ((fflush(stdout) != 0 || ferror(stdout)) && rc != CLPCTL_ERROR)
            rc = clpctl_fail(&c, "can't write to the standard output");
        return rc;
    }
    return clpctl_fail(&c, "there is no command %s; see clpctl --help", name);
}
