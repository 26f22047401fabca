/* How many connections there are file descriptors for, when everything else that needs one has had it. */
#ifndef DAEMON_DESCRIPTORS_H
#define DAEMON_DESCRIPTORS_H

#include "config/config.h"

/* Raises the limit as far as it may be, and says where that is not enough. Returns limits.connections, or
 * what there is room for. */
uint32_t descriptors_make_room(const struct config *c);

#endif
