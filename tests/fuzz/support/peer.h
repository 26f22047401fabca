/* A daemon's end of a connection, for libclpd to talk to. */
#ifndef TESTS_FUZZ_PEER_H
#define TESTS_FUZZ_PEER_H

#include "client/clpd.h"

/* 0, with a client and the other end of its connection, both the caller's; or -1. */
int peer_connect(struct clpd **client, int *daemon);

#endif
