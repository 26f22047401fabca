/* What the operator allows, and what follows from it for one model.
 *
 *   settings -> policies_load (reads the files that they name) -> policies_admit   before the import is
 * through
 *                                                              -> policies_judge   by the worker's report
 *
 * A file that is named and can't be read lets nothing through. One owner, one thread. */
#ifndef GUARD_POLICY_H
#define GUARD_POLICY_H

#include "config/config.h"
#include "guard/report.h"
#include "guard/trust.h"

struct policies;

/* `config` is borrowed. NULL: out of memory. Never fails otherwise: what can't be read is in `e` (the first),
 * and stands in the way of every model that needs it. */
struct policies *policies_load(const struct config *c, struct err *e);
void policies_free(struct policies *p); /* NULL is fine */

/* Stands for every setting and every file that a decision depends on: with another one, it is made anew. */
uint64_t policies_digest(const struct policies *p);
/* Whether models are compiled for products of bfloat16: where the settings ask for it and the CPU gains by
 * it. */
bool policy_bf16(const struct config *c);
/* Stands for what compiles: another clpd, another CPU or another precision makes another image of the same
 * file. */
uint64_t policy_build(const struct config *c);

const struct policy *policies_of(const struct policies *p, const char *model);

/* Whether these contents may be served at all: 0, or -1 with `e` set. `folder` is the one that the file lies
 * in, `name` its name there; external and sidecar as in trust_message. */
int policies_admit(const struct policies *p, const char *model, int folder, const char *name,
                   const char *external, const char *sidecar, const struct spawn_digests *d, struct err *e);

/* When this model is to be attacked: what its NAME.yaml asks for (struct report) may be stricter, or what
 * guard.sidecar allows. */
enum policy_probe policies_probe(const struct policies *p, const char *model, uint32_t asked);

/* What is to be done with a model that this was found out about (canary: as canary_share); `e` says why where
 * it is not POLICY_SERVE. */
enum policy_action policies_judge(const struct policies *p, const char *model, const struct report *r,
                                  uint32_t canary, struct err *e);

#endif
