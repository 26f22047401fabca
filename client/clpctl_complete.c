/* What could come next on clpctl's command line: the shells' completions ask (client/completion), so that
 * they know every option that a command has, and the models that are served now.
 *
 * The answer's first line is ":words", or ":files" with the endings that fit (none: any file); then a line
 * for each word, with what it means behind a tab. Narrowing them down to what was typed is the shell's.
 * Nothing that goes wrong here is told: the person is typing. */
#include "client/clpctl.h"

#include <string.h>

enum { HURRY_MS = 500 };

struct completion { /* what stands behind the command; the last one at the cursor */
    char **words;
    int n;
};

static void begin(const char *kind) {
    (void)printf(":%s\n", kind);
}

static void put(const char *word, const char *meaning) {
    char clean[512];
    (void)printf("%s\t%s\n", terminal_clean(clean, sizeof clean, word), meaning);
}

/* --- what the daemon knows ---------------------------------------------------------------------- */

static json_t *ask_models(const struct clpctl *c) {
    struct clpd *connection;
    struct clpd_result r;
    json_t *answer = NULL;
    if (clpd_connect(clpctl_socket_path(c), &connection) < 0) return NULL;
    clpd_set_timeout(connection, HURRY_MS);
    if (clpd_query(connection, CLPD_MODELS, &r) == 0 && r.status == CLPD_OK)
        answer = json_loadb(r.json, r.json_bytes, 0, NULL);
    clpd_close(connection);
    return answer;
}

static void put_names(const struct clpctl *c, bool held) {
    json_t *answer = ask_models(c), *list = json_object_get(answer, held ? "files" : "models");
    begin("words");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(m, held ? "model" : "name"));
        const char *state = json_string_value(json_object_get(m, held ? "state" : "verdict"));
        if (name && state && (!held || strcmp(state, "held") == 0)) put(name, state);
    }
    json_decref(answer);
}

/* --- values, options, operands --------------------------------------------------------------------- */

static void put_value(const struct clpctl *c, const struct option_spec *o) {
    const char *value = o->kind == OPTION_SWITCH ? "on|off" : o->value;
    if (strcmp(value, "NAME") == 0) {
        put_names(c, false);
    } else if (strstr(value, "FILE") || strcmp(value, "PATH") == 0) {
        begin("files");
    } else {
        begin("words");
        for (const char *at = strchr(value, '|') ? value : ""; *at; at += strspn(at, "|")) {
            char one[64];
            const size_t length = strcspn(at, "|");
            (void)snprintf(one, sizeof one, "%.*s", (int)length, at);
            put(one, "");
            at += length;
        }
    }
}

static void put_options(const struct option_spec *options) {
    char name[64];
    begin("words");
    for (const struct option_spec *o = options; o->name; o++) {
        (void)snprintf(name, sizeof name, "--%s", o->name);
        put(name, o->meaning ? o->meaning : "");
    }
    put("--help", "what it does, with an example");
}

static void put_operands(const struct clpctl *c, const char *operands) {
    char kind[64];
    if (!operands) {
        begin("words");
    } else if (operands[0] == '@') {
        put_names(c, strcmp(operands, "@held") == 0);
    } else {
        (void)snprintf(kind, sizeof kind, "files %s", operands);
        begin(kind);
    }
}

/* What may stand at the cursor, where a command with these options has its own. */
static void offer(const struct clpctl *c, const struct command *command, const struct option_spec *options) {
    const struct completion *q = c->completing;
    struct clpctl here = *c;
    const char *last = q->n ? q->words[q->n - 1] : "";
    const struct option_spec *o = NULL;
    for (int i = 0; i + 1 < q->n; i++) {
        if (strcmp(q->words[i], "--") == 0) {
            put_operands(&here, command->operands);
            return;
        }
        if (strncmp(q->words[i], "--socket=", 9) == 0) here.socket = q->words[i] + 9;
        o = options_wanting(options, q->words[i]);
        if (!o) continue;
        if (++i + 1 == q->n) break; /* the cursor stands at its value */
        if (strcmp(o->name, "socket") == 0) here.socket = q->words[i];
        o = NULL;
    }
    if (!o) o = options_given(options, last);
    if (o)
        put_value(&here, o);
    else if (last[0] == '-')
        put_options(options);
    else
        put_operands(&here, command->operands);
}

/* --- the command itself -------------------------------------------------------------------------------- */

static int put_commands(const struct command *const *commands, int n, const char *last) {
    begin("words");
    if (last[0] == '-') {
        put("--socket", "where the daemon listens");
        put("--version", "print the version");
        put("--help", "all commands");
        return CLPCTL_FINE;
    }
    for (int i = 0; i < n; i++) put(commands[i]->name, commands[i]->summary);
    put("help", "what a command does, with an example");
    return CLPCTL_FINE;
}

int clpctl_complete(struct clpctl *c, const struct command *const *commands, int n_commands, int argc,
                    char **argv) {
    const char *last = argc > 0 ? argv[argc - 1] : "";
    int i = 0;
    for (; i + 1 < argc && argv[i][0] == '-'; i++) {
        if (strncmp(argv[i], "--socket=", 9) == 0) c->socket = argv[i] + 9;
        if (strcmp(argv[i], "--socket") != 0) continue;
        c->socket = argv[++i];
    }
    if (i + 1 > argc || (i + 1 == argc && strncmp(last, "--socket=", 9) == 0)) {
        begin("files");
        return CLPCTL_FINE;
    }
    if (i + 1 == argc || strcmp(argv[i], "help") == 0) return put_commands(commands, n_commands, last);
    for (int k = 0; k < n_commands; k++) {
        const struct completion q = {argv + i + 1, argc - i - 1};
        if (strcmp(commands[k]->name, argv[i]) != 0) continue;
        c->completing = &q;
        c->offer = offer;
        const int rc = commands[k]->run(c, 0, argv);
        c->completing = NULL;
        c->offer = NULL;
        return rc;
    }
    begin("words");
    return CLPCTL_FINE;
}
