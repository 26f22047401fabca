/* Samples for `clpctl scan`: how many keep their class when the model is repaired. The model goes through the
 * caged import worker twice; the two networks run here. */
#ifndef CLIENT_CANARY_H
#define CLIENT_CANARY_H

#include "client/model.h"
#include "infer/agree.h"

#include <jansson.h>
#include <stdio.h>

struct canary_found {
    bool has;   /* there are samples */
    bool equal; /* nothing was pruned, so nothing was compared */
    char file[PATH_MAX];
    struct agree agree;
};

/* `m`: as for the import that made `repaired`. `samples`: a file; NULL: NAME.canary.npy beside the model, if
 * it is there. 0, or -1 with `e` set. */
int canary_look(const struct clpctl *c, const struct model_import *m, const char *samples,
                const struct spawn_result *repaired, struct canary_found *out, struct err *e);

void canary_print(FILE *to, const struct canary_found *f, const struct terminal *t);
json_t *canary_json(const struct canary_found *f); /* a new reference, or NULL */
void canary_html(FILE *to, const struct canary_found *f);

#endif
