/* clpctl: scan, repair, run and measure models; ask and load a running clpd.
 * One file per family of commands; this one finds the command and tells the rest. */
#include "client/clpctl.h"

#include <string.h>

static const struct command *const commands[] = {
    &clpctl_scan,     &clpctl_prune,  &clpctl_run,      &clpctl_bench, &clpctl_status, &clpctl_models,
    &clpctl_rollback, &clpctl_accept, &clpctl_classify, &clpctl_load,  &clpctl_top};
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
    if (strcmp(name, "__complete") == 0) return clpctl_complete(&c, commands, COMMANDS, n - 1, argv + 2);
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
