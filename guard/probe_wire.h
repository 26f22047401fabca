/* What clp-probe says through its pipe: progress, and one last word. The reader
 * treats it as hostile: every size is bounded, leftovers are an error.
 * Frames { magic, type, bytes } and a body. One owner, one thread. */
#ifndef GUARD_PROBE_WIRE_H
#define GUARD_PROBE_WIRE_H

#include "guard/probe_report.h"

#define PROBE_WIRE_TEXT 96

enum probe_frame { PROBE_PROGRESS = 1, PROBE_NOTE, PROBE_DONE, PROBE_ERROR };

/* The probe's side: 0 or -errno. */
int probe_send_progress(int fd, float done, const char *what);
int probe_send_note(int fd, const char *text);
int probe_send_done(int fd, const struct probe_report *r);
int probe_send_error(int fd, const struct err *e);

struct probe_wire { /* all zero at the start */
    uint8_t *bytes; /* of the frame at hand */
    size_t have, room;
    bool ended, failed; /* a last word came; it was an error */
    float done;
    char what[PROBE_WIRE_TEXT], note[ERR_TEXT];
    struct probe_report report;
    struct err error;
};

/* 0, or -1 with `e` set: it broke the protocol, stop it. */
int probe_wire_feed(struct probe_wire *w, const uint8_t *bytes, size_t n, struct err *e);
void probe_wire_free(struct probe_wire *w); /* what it holds */

#endif
