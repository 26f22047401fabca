/* The guard: watches the model folder, has every file imported by a sandboxed
 * worker, and offers what comes out to clpd. Never looks into a model itself. */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

/* Runs until the link closes or SIGTERM comes. Takes the descriptor. Exit status. */
int guard_main(const char *config_path, int link_fd);

#endif
