/* How long another process was ready to run while others had the CPU: what it must not be blamed for on a
 * machine that is busy. Any thread. */
#ifndef GUARD_WAITED_H
#define GUARD_WAITED_H

#include <stdint.h>
#include <sys/types.h>

/* A descriptor, to be opened while the process's files may still be seen, which a sandbox ends; or -1: then
 * its waiting counts as work. */
int waited_open(pid_t pid);
uint64_t waited_ns(int fd); /* -1 is fine: 0 */

#endif
