/* clpctl rollback, clpctl accept: a person changes what is served. */
#include "client/clpctl.h"
#include "client/progress.h"

#include <stdio.h>

#define PATIENCE_MS                                                                                          \
    (10 * 60 * 1000) /* an accepted file is imported first; guard.worker.seconds bounds that */

static int ask(struct clpctl *c, const struct command *command, enum clpd_action action, int argc,
               char **argv) {
    const struct option_spec options[] = {CLPCTL_SOCKET(c), {0}};
    struct clpd_result r;
    int n = clpctl_parse(c, command, options, argc, argv, 1, 1), rc = CLPCTL_FINE;
    if (n < 0) return -1 - n;
    struct clpd *connection = clpctl_connect(c);
    if (!connection) return CLPCTL_ERROR;
    struct progress p;
    clpd_set_timeout(connection, PATIENCE_MS);
    progress_begin(&p, &c->err, 0, "waiting for the guard");
    const int sent = clpd_control(connection, action, argv[0], &r);
    progress_end(&p);
    if (sent < 0) {
        rc = clpctl_fail(c, "%s", clpd_error(connection));
    } else if (r.status != CLPD_OK) {
        rc = clpctl_fail(c, "%s", r.text);
    } else {
        json_t *answer = json_loadb(r.json, r.json_bytes, 0, NULL);
        const char *text = json_string_value(json_object_get(answer, "text"));
        char clean[1024];
        (void)printf("%s\n", terminal_clean(clean, sizeof clean, text ? text : "done"));
        json_decref(answer);
    }
    clpd_close(connection);
    return rc;
}

static int run_rollback(struct clpctl *c, int argc, char **argv) {
    return ask(c, &clpctl_rollback, CLPD_ROLLBACK, argc, argv);
}
static int run_accept(struct clpctl *c, int argc, char **argv) {
    return ask(c, &clpctl_accept, CLPD_ACCEPT, argc, argv);
}

const struct command clpctl_rollback = {
    .name = "rollback",
    .arguments = "NAME",
    .summary = "Serves the version before the current one again",
    .help =
        "The version that is left is held: it comes back by clpctl accept, or a new file takes its place.\n"
        "root, the daemon's user and the members of socket.control_group may do this.\n\n"
        "Example:\n  clpctl rollback signs\n",
    .operands = "@models",
    .run = run_rollback,
};
const struct command clpctl_accept = {
    .name = "accept",
    .arguments = "NAME",
    .summary = "Serves a model file that is held (clpctl models tells why it is)",
    .help = "Holds for these very contents: another file is judged anew.\n"
            "root, the daemon's user and the members of socket.control_group may do this.\n\n"
            "Example:\n  clpctl accept signs\n",
    .operands = "@held",
    .run = run_accept,
};
