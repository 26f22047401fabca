/* What clp-canary says through its pipe: one answer of fixed size, in one write. Same machine, same build.
 * The reader treats it as hostile. */
#ifndef GUARD_CANARY_WIRE_H
#define GUARD_CANARY_WIRE_H

#include "infer/agree.h"

#include <limits.h>

#define CANARY_MAGIC "CLPCNRY\1"

/* Descriptors as clp-canary knows them. */
enum { CANARY_BEFORE = 3, CANARY_AFTER, CANARY_SAMPLES, CANARY_ANSWER, CANARY_END };

struct canary_answer {
    char magic[8];
    uint32_t code; /* enum err_code; ERR_NONE: `agree` holds */
    struct agree agree;
    char text[ERR_TEXT];
};
_Static_assert(sizeof(struct canary_answer) <= PIPE_BUF, "comes in one piece");

#endif
