/* The import worker: one hostile file in, one image (or repaired ONNX file) and
 * one report out, inside the sandbox. Started by spawn.c; see worker_wire.h for
 * what it says. */
#ifndef GUARD_WORKER_H
#define GUARD_WORKER_H

/* `clp-guard worker …`; argv[0] is "worker". Returns the exit status only where
 * the arguments are wrong; otherwise the process ends in here. */
int worker_main(int argc, char **argv);

#endif
