/* What `clpctl top` shows, as numbers: two STATUS and MODELS documents, and what happened between them.
 *
 * The documents count from the start of a version; the difference of two is the last interval. A version that
 * is new in the second one counts from its own beginning. One owner. */
#ifndef CLIENT_TOP_DATA_H
#define CLIENT_TOP_DATA_H

#include "client/terminal.h"
#include "client/wire.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum { TOP_HISTORY = 120, TOP_TEXT = 256 };

struct top_model {
    char name[CLPD_MODEL_NAME], guard[48];
    enum style tone; /* of the guard's word */
    long long version;
    double rate, failures; /* a second */
    double p50, p99,
        wait;     /* seconds: waiting and computing; waiting alone, on average. NAN: nothing was asked */
    double batch; /* pictures, on average; NAN as well */
};

struct top_file { /* one that is not served */
    char path[TOP_TEXT], state[24], reason[TOP_TEXT];
};

struct top_data {
    char version[32], io[24], guard[24], watching[TOP_TEXT];
    long long uptime_s, threads, connections, rings, queue, swaps, restarts;
    bool known;                                   /* two samples have come: rates mean something */
    double rate, p99;                             /* of all models together */
    double busy, late, errors;                    /* a second */
    double rates[TOP_HISTORY], p99s[TOP_HISTORY]; /* the latest last */
    uint32_t n_history;
    struct top_model *models;
    size_t n_models;
    struct top_file *files;
    size_t n_files, n_serving, n_files_in_all;
};

struct top_samples;
struct top_samples *top_samples_new(void); /* NULL: out of memory */
void top_samples_free(struct top_samples *s);

/* Borrows both documents. 0, or -1: out of memory. */
int top_samples_take(struct top_samples *s, json_t *status, json_t *models, uint64_t now_ns);
/* Until the next one is taken. */
const struct top_data *top_samples_data(const struct top_samples *s);

#endif
