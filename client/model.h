/* Model files for clpctl: through the caged worker to a report, and to an image
 * or a repaired file. The same way as the daemon's; nothing is parsed here. */
#ifndef CLIENT_MODEL_H
#define CLIENT_MODEL_H

#include "client/clpctl.h"
#include "guard/spawn.h"
#include "infer/image.h"

#define MODEL_DEFAULT_THRESHOLD 3.0 /* the paper's */

struct model_import {
    const char *path;
    enum spawn_mode mode;
    bool guard_off;
    bool bf16;          /* where the host has it; else the user is told, and it is float32 */
    bool measure;       /* CLP prunes nothing of its own accord */
    bool has_threshold; /* given by the user: then NAME.yaml's does not count, and NAME.yaml is not read */
    double threshold;
    int repair_fd;             /* 0: none; else the probe's list of channels, guard/repair_list.h */
    char external[SPAWN_NAME]; /* out: the file beside it that holds its weights; empty: none */
};

/* Runs the worker, with NAME.yaml and the external data if they are there, and
 * passes its notes on to the user. 0, or -1 with out->err set; free `out` in both cases. */
int model_import(const struct clpctl *c, struct model_import *m, struct spawn_result *out);

struct model { /* imported and mapped */
    struct spawn_result result;
    struct image *image;
};

/* 0, to be freed with model_free; or -1: the user has been told. */
int model_load(const struct clpctl *c, const struct model_import *m, struct model *out);
/* A value of --precision into m->bf16; false: there is no such one. */
bool model_precision(const struct clpctl *c, const char *text, struct model_import *m);
void model_free(struct model *m);

#endif
