/* Command line options from a table, so that what is parsed and what --help
 * says can't differ. Options and operands may be mixed; "--" ends the options.
 * Nothing global; strings stay argv's. */
#ifndef CLIENT_OPTIONS_H
#define CLIENT_OPTIONS_H

#include "infer/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum option_kind {
    OPTION_FLAG,   /* bool: there or not */
    OPTION_TEXT,   /* const char * */
    OPTION_LIST,   /* struct option_list: may be given several times */
    OPTION_COUNT,  /* uint32_t within min..max */
    OPTION_REAL,   /* double within min..max */
    OPTION_SWITCH, /* bool: on|off */
};

enum { OPTION_LIST_MAX = 16 };
struct option_list {
    const char *items[OPTION_LIST_MAX];
    uint32_t n;
};

struct option_spec {  /* tables end with a NULL name */
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    void *to;
    double min, max;
    const char *value;   /* what --help calls the value: "FILE" */
    const char *meaning; /* one line */
};

#define OPTIONS_HELP (-2)

/* Moves the operands to the front of argv and returns their number; OPTIONS_HELP
 * where --help or -h was given; -1 with `e` set. `stop_at_operand`: what follows
 * the first operand belongs to somebody else (a command). */
int options_parse(const struct option_spec *table, bool stop_at_operand, int argc, char **argv,
                  struct err *e);

/* The option that `word` names and whose value is the next word; NULL: there is none, or it has its value
 * already. */
const struct option_spec *options_wanting(const struct option_spec *table, const char *word);
/* The option of "--name=…"; NULL: it is none, or takes no value. */
const struct option_spec *options_given(const struct option_spec *table, const char *word);

void options_print(const struct option_spec *table, FILE *to);

#endif
