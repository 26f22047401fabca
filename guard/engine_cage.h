/* What a process that runs compiled networks in the cage needs before it enters: the image mapped, and
 * OpenBLAS's memory and threads in order. Not a byte of the image is interpreted here. */
#ifndef GUARD_ENGINE_CAGE_H
#define GUARD_ENGINE_CAGE_H

#include "infer/err.h"

#include <stddef.h>
#include <stdint.h>

/* A sealed image, read-only, until the process ends. 0, or -1 with `e` set. */
int engine_cage_map(int fd, const uint8_t **bytes, size_t *size, struct err *e);
/* seccomp binds the thread that asks for it: 0 where this is the only one; else -1 with `e` set. */
int engine_cage_be_alone(struct err *e);

#endif
