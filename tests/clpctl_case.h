/* Runs the real clpctl, in a folder of its own with a small model in it, and
 * plays a daemon for it. A failure of the fixture ends the test. Single thread. */
#ifndef TESTS_CLPCTL_CASE_H
#define TESTS_CLPCTL_CASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ran {
    int status; /* exit status; -1: it did not exit */
    char out[1 << 17], err[1 << 14];
};

/* A new folder, and the current one: model.onnx (8x8 pictures of 3 channels to
 * 4 classes; channel 7 of its 24 stands out), model.yaml (labels a to d), and
 * x.npy (uint8, 2 pictures). */
void clpctl_folder_begin(void);
void clpctl_folder_end(void);

/* "scan --json model.onnx", as a shell reads it. The result is valid until the next run. */
const struct ran *clpctl_ran(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- a daemon that does as it is told, listening at ./sock ----------------------------------- */

struct fake_daemon {
    const char *models;     /* its answer to MODELS */
    uint32_t busy_every;    /* every nth request is answered BUSY; 0: none */
    uint32_t late_every;    /* … DEADLINE */
    uint32_t hang_up_after; /* closes a connection after so many requests; 0: never */
    uint32_t answer_us;     /* takes so long for each */
    atomic_uint version;    /* that it claims to answer from */
    atomic_uint requests;   /* INFER frames so far */
    atomic_bool stop;
    int listener;
    unsigned long thread;
};
extern const char fake_models[]; /* one model, "model", as model.onnx */

void fake_daemon_start(struct fake_daemon *d);
void fake_daemon_stop(struct fake_daemon *d);

#endif
