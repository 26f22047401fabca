/* clpd: an inference daemon that repairs every model before it serves it. In the foreground, always. */
#include "daemon/daemon.h"
#include "daemon/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: clpd --config FILE            serve, in the foreground, until SIGTERM\n"
    "       clpd --config FILE --check    say what is in force, or what is wrong, and end\n"
    "       clpd --help | --version\n"
    "Signals: SIGHUP reads the configuration again, SIGTERM finishes what runs and ends.\n";

static int complain(const char *what) {
    (void)fprintf(stderr, "clpd: %s\n%s", what, usage);
    return 2;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"check", no_argument, NULL, 'k'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {0}};
    const char *path = NULL;
    bool check = false;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) switch (option) {
        case 'c': path = optarg; break;
        case 'k': check = true; break;
        case 'h': return fputs(usage, stdout) < 0;
        case 'v': return printf("clpd %s\n", CLPD_VERSION) < 0;
        default: (void)fputs(usage, stderr); return 2;
        }
    if (optind != argc) return complain("too many arguments");
    if (!path) return complain("--config FILE is missing");
    struct config config;
    struct err e = {0};
    if (config_load(&config, path, &e)) {
        (void)fprintf(stderr, "clpd: %s\n", e.text);
        return 2;
    }
    if (check) {
        config_print(&config, stdout);
        return fflush(stdout) ? 2 : 0;
    }
    if (daemon_run(path, &config, &e) == 0) return 0;
    log_error("%s", e.text);
    return 2;
}
