/* What the operator allows. Pure; any thread. */
#ifndef GUARD_POLICY_H
#define GUARD_POLICY_H

#include "config/config.h"

/* Stands for every setting that a decision depends on: with another one, it is made anew. */
uint64_t policy_digest(const struct config *c);
/* Stands for what compiles: another clpd, or another CPU, makes another image of the same file. */
uint64_t policy_build(void);

#endif
