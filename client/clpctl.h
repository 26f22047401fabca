/* What the files of clpctl share: the commands, how they say no, and how they
 * reach a daemon.
 *
 * Answers (tables, labels, JSON) go to stdout; progress, notes and errors go to
 * stderr, so that with --json stdout is JSON and nothing else. */
#ifndef CLIENT_CLPCTL_H
#define CLIENT_CLPCTL_H

#include "client/clpd.h"
#include "client/options.h"
#include "client/terminal.h"
#include "infer/err.h"

#include <jansson.h>

enum { CLPCTL_FINE = 0, CLPCTL_FINDINGS = 1, CLPCTL_ERROR = 2 }; /* exit codes, as ClamAV's */

struct command;
struct completion; /* clpctl_complete.c's */

struct clpctl {
    const char *socket; /* NULL: $CLPD_SOCKET, or the default */
    struct terminal out, err;
    /* A shell asks what could come next: a command is called to tell its options, not to run. NULL: it runs.
     */
    void (*offer)(const struct clpctl *c, const struct command *command, const struct option_spec *options);
    const struct completion *completing;
};

struct command {
    const char *name, *arguments, *summary, *help; /* help: more words and an example, after the options */
    const char
        *operands; /* for completion: endings of files ("onnx"), "@models", "@held"; NULL: it has none */
    int (*run)(struct clpctl *c, int argc,
               char **argv); /* arguments after the command's name; the exit code */
};
extern const struct command clpctl_scan, clpctl_prune, clpctl_run, clpctl_bench, clpctl_status, clpctl_models,
    clpctl_rollback, clpctl_accept, clpctl_classify, clpctl_load, clpctl_top;

/* For the tables of commands that ask a daemon. */
#define CLPCTL_SOCKET(c)                                                                                     \
    {                                                                                                        \
        .name = "socket", .kind = OPTION_TEXT, .to = &(c)->socket, .value = "PATH",                          \
        .meaning = "where the daemon listens; default $CLPD_SOCKET, else " CLPD_DEFAULT_SOCKET               \
    }

/* --- options and words (clpctl_words.c) ------------------------------------------------ */

/* Parses a command's options and checks the number of
 * operands. Their number; or -1 - exit code where there is nothing more to do. */
int clpctl_parse(struct clpctl *c, const struct command *command, const struct option_spec *options, int argc,
                 char **argv, int least, int most);

/* "clpctl: …" on stderr; returns CLPCTL_ERROR. */
int clpctl_fail(const struct clpctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void clpctl_note(const struct clpctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- completion (clpctl_complete.c) ------------------------------------------------------- */

/* `clpctl __complete WORD...`: the words behind "clpctl" up to the cursor, the last one perhaps empty. */
int clpctl_complete(struct clpctl *c, const struct command *const *commands, int n_commands, int argc,
                    char **argv);

/* --- talking to a daemon (clpctl_connect.c) ------------------------------------------- */

const char *clpctl_socket_path(const struct clpctl *c);
/* NULL where no daemon answers; then the user has been told what to do. */
struct clpd *clpctl_connect(const struct clpctl *c);
/* CLPD_STATUS or CLPD_MODELS as JSON, a new reference; NULL: the user has been told. */
json_t *clpctl_query(const struct clpctl *c, struct clpd *connection, enum clpd_frame_type what);

struct remote_model { /* what a client has to know of a served model */
    char name[CLPD_MODEL_NAME];
    uint32_t dims[CLPD_MAX_RANK], rank; /* of its input, the batch first */
    bool u8;                            /* takes uint8 pictures: rank 4, and the daemon knows how to scale */
};
/* The model of that name, or the only one where `name` is NULL. 0 or -1: the user has been told. */
int clpctl_find_model(const struct clpctl *c, struct clpd *connection, const char *name,
                      struct remote_model *out);

struct picture;
/* Decodes a picture file and fits it to the model's input. 0, to be freed with picture_free; or -1 with `e`
 * set. */
int clpctl_read_picture(const char *path, const struct remote_model *m, struct picture *out, struct err *e);

#endif
