/* clp-guard: as a child of clpd it watches the model folder; as `clp-guard worker`
 * it is the sandboxed process that reads one model. */
#include "guard/guard.h"
#include "guard/worker.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: clp-guard --config FILE --link-fd N   watch the model folder; started by clpd\n"
    "       clp-guard worker ...                  import one model; started by clp-guard and clpctl\n"
    "       clp-guard --help | --version\n";

static int complain(const char *what) {
    (void)fprintf(stderr, "clp-guard: %s\n%s", what, usage);
    return 2;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"link-fd", required_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {0}};
    if (argc > 1 && strcmp(argv[1], "worker") == 0) return worker_main(argc - 1, argv + 1);
    const char *config = NULL, *end = "x";
    long link_fd = -1;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        char *stop = NULL;
        switch (option) {
        case 'c': config = optarg; break;
        case 'l': link_fd = strtol(optarg, &stop, 10), end = stop; break;
        case 'h': return fputs(usage, stdout) < 0;
        case 'v': return printf("clp-guard %s\n", CLPD_VERSION) < 0;
        default: return complain("unknown option");
        }
    }
    if (optind != argc) return complain("too many arguments");
    if (!config) return complain("--config FILE is missing");
    if (*end || link_fd < 3 || link_fd > 1 << 20)
        return complain("--link-fd N is missing: this program is started by clpd");
    return guard_main(config, (int)link_fd);
}
