/* What an import worker says over its pipe, in order and nothing else:
 *
 *   DIGEST  NOTE*  (DONE | ERROR | NEEDS)  end        or, before any file was read:  ERROR  end
 *
 * DIGEST is sent before a byte of the files has been interpreted, so it is the
 * one thing here that a hostile file had no part in; only the first frame is
 * taken for it. Same machine, same build: native byte order, checked by the magic.
 *
 * The reader is pure and treats the bytes as hostile: a length is bounded by
 * its type, memory grows with bytes that have come, never with a claim. */
#ifndef GUARD_WORKER_WIRE_H
#define GUARD_WORKER_WIRE_H

#include "guard/report.h"
#include "guard/spawn.h"

enum worker_frame {
    WORKER_DIGEST = 1, /* struct spawn_digests */
    WORKER_NOTE,       /* text: something the operator should know */
    WORKER_ERROR,      /* u32 enum err_code, text */
    WORKER_NEEDS,      /* file name of external data that was not handed in */
    WORKER_DONE,       /* u64 bytes written, then the encoded report */
    WORKER_FRAMES
};

/* --- the worker's side: writes everything or returns -errno ------------------------- */
int worker_send_digests(int fd, const struct spawn_digests *d);
int worker_send_note(int fd, const char *text);
int worker_send_error(int fd, const struct err *e);
int worker_send_needs(int fd, const char *name);
int worker_send_done(int fd, uint64_t image_bytes, const struct report *r);

/* --- the spawner's side ------------------------------------------------------------- */
struct worker_wire { /* zero it to begin; then read its fields */
    uint8_t *buffer; /* the frame that is coming in */
    size_t used, capacity;
    uint32_t n_notes;
    bool has_digests, ended;   /* ended: DONE, ERROR or NEEDS has come */
    enum worker_frame outcome; /* which of them */
    struct spawn_digests digests;
    char notes[SPAWN_NOTES][ERR_TEXT];
    struct err error;       /* ERROR */
    char needs[SPAWN_NAME]; /* NEEDS: a bare file name */
    uint64_t image_bytes;   /* DONE */
    struct report report;   /* DONE: decoded, counts agree with each other and with the digest */
};

/* Takes the next bytes of the pipe. 0, or -1 with `e` set: the worker broke the
 * protocol, and nothing that it said but the digest is to be believed. */
int worker_wire_feed(struct worker_wire *w, const uint8_t *bytes, size_t n, struct err *e);
void worker_wire_free(struct worker_wire *w);

/* Whether external data may be called that: a file name in the same folder, no
 * path, no dotfile, printable, and short enough. */
bool worker_wire_name_is_bare(const char *name);

#endif
