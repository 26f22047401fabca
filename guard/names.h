/* Names of a graph to numbers: a hash table that hostile names can't slow down
 * (keyed SipHash), with as many slots as it will ever need. Names are borrowed.
 * One owner, one thread. */
#ifndef GUARD_NAMES_H
#define GUARD_NAMES_H

#include "guard/onnx_model.h"

struct name_slot;
struct names {
    struct name_slot *slots;
    size_t mask;
    uint64_t key[2];
};

/* Room for `most` names, in `memory`. -1: out of memory. */
int names_init(struct names *n, size_t most, struct bump *memory);
/* The number that the name was added with, or -1. */
int32_t names_find(const struct names *n, struct text name);
/* -1 where it was new; else the number that it has already, which stays. */
int32_t names_add(struct names *n, struct text name, int32_t number);

#endif
