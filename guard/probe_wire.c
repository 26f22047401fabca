/* Frames from clp-probe; see probe_wire.h. */
#include "guard/probe_wire.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x32504c43u /* "CLP2": a change of this protocol changes the digit */

struct head {
    uint32_t magic, type, bytes;
};

/* Most bytes that a body may have; 0: no such frame. */
static size_t limit_of(uint32_t type) {
    switch (type) {
    case PROBE_PROGRESS: return sizeof(float) + PROBE_WIRE_TEXT - 1;
    case PROBE_NOTE: return ERR_TEXT - 1;
    case PROBE_DONE: return PROBE_REPORT_MAX_BYTES;
    case PROBE_ERROR: return sizeof(uint32_t) + ERR_TEXT - 1;
    default: return 0;
    }
}

/* --- the probe's side ----------------------------------------------------------------------- */

static int write_all(int fd, const void *bytes, size_t n) {
    const char *p = bytes;
    while (n > 0) {
        const ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -errno;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int send(int fd, uint32_t type, const void *a, size_t n_a, const void *b, size_t n_b) {
    const struct head h = {MAGIC, type, (uint32_t)(n_a + n_b)};
    if (n_a + n_b > limit_of(type)) return -EMSGSIZE;
    int rc = write_all(fd, &h, sizeof h);
    if (rc == 0) rc = write_all(fd, a, n_a);
    return rc == 0 ? write_all(fd, b, n_b) : rc;
}

int probe_send_progress(int fd, float done, const char *what) {
    return send(fd, PROBE_PROGRESS, &done, sizeof done, what, strnlen(what, PROBE_WIRE_TEXT - 1));
}

int probe_send_note(int fd, const char *text) {
    return send(fd, PROBE_NOTE, text, strnlen(text, ERR_TEXT - 1), NULL, 0);
}

int probe_send_done(int fd, const struct probe_report *r) {
    size_t n = 0;
    uint8_t *encoded = probe_report_encode(r, &n);
    if (!encoded) return -ENOMEM;
    const int rc = send(fd, PROBE_DONE, encoded, n, NULL, 0);
    free(encoded);
    return rc;
}

int probe_send_error(int fd, const struct err *e) {
    const uint32_t code = (uint32_t)e->code;
    return send(fd, PROBE_ERROR, &code, sizeof code, e->text, strnlen(e->text, ERR_TEXT - 1));
}

/* --- the reader's side ------------------------------------------------------------------------- */

static int broken(struct err *e, const char *what) {
    return err_set(e, ERR_INTERNAL, "the probe broke its protocol (%s)", what);
}

/* A C string from `n` bytes, control characters made harmless on the way (err_set does that). */
static void copy_text(char *to, size_t cap, const uint8_t *bytes, size_t n) {
    struct err clean;
    (void)err_set(&clean, ERR_NONE, "%.*s", (int)n, (const char *)bytes);
    const size_t length = strnlen(clean.text, cap - 1);
    memcpy(to, clean.text, length);
    to[length] = 0;
}

static int take_progress(struct probe_wire *w, const uint8_t *body, size_t n, struct err *e) {
    float done;
    if (n < sizeof done) return broken(e, "PROGRESS is too short");
    memcpy(&done, body, sizeof done);
    w->done = done >= 0 && done <= 1 ? done : 0;
    copy_text(w->what, sizeof w->what, body + sizeof done, n - sizeof done);
    return 0;
}

static int take_error(struct probe_wire *w, const uint8_t *body, size_t n, struct err *e) {
    uint32_t code;
    if (n < sizeof code) return broken(e, "ERROR is too short");
    memcpy(&code, body, sizeof code);
    if (code == ERR_NONE || code >= ERR_CODES) return broken(e, "an error of unknown kind");
    copy_text(w->error.text, sizeof w->error.text, body + sizeof code, n - sizeof code);
    w->error.code = (enum err_code)code;
    w->ended = w->failed = true;
    return 0;
}

static int take_frame(struct probe_wire *w, uint32_t type, const uint8_t *body, size_t n, struct err *e) {
    struct err why = {0};
    if (w->ended) return broken(e, "more after its last word");
    switch (type) {
    case PROBE_PROGRESS: return take_progress(w, body, n, e);
    case PROBE_NOTE: copy_text(w->note, sizeof w->note, body, n); return 0;
    case PROBE_ERROR: return take_error(w, body, n, e);
    default:
        w->ended = true;
        return probe_report_decode(body, n, &w->report, &why) < 0 ? broken(e, why.text) : 0;
    }
}

/* Bytes of the frame that begins in the buffer, as far as is known; 0: it can't be one. */
static size_t wanted(const struct probe_wire *w) {
    struct head h;
    if (w->have < sizeof h) return sizeof h;
    memcpy(&h, w->bytes, sizeof h);
    if (h.magic != MAGIC || limit_of(h.type) == 0 || h.bytes > limit_of(h.type)) return 0;
    return sizeof h + h.bytes;
}

static int make_room(struct probe_wire *w, size_t n) {
    if (n <= w->room) return 0;
    uint8_t *more = realloc(w->bytes, n);
    if (!more) return -1;
    w->bytes = more;
    w->room = n;
    return 0;
}

int probe_wire_feed(struct probe_wire *w, const uint8_t *bytes, size_t n, struct err *e) {
    for (;;) {
        const size_t want = wanted(w);
        if (want == 0) return broken(e, "a frame that does not exist");
        if (w->have >= sizeof(struct head) && w->have == want) {
            struct head h;
            memcpy(&h, w->bytes, sizeof h);
            w->have = 0;
            if (take_frame(w, h.type, w->bytes + sizeof h, h.bytes, e)) return -1;
            continue;
        }
        if (n == 0) return 0;
        const size_t take = want - w->have < n ? want - w->have : n;
        /* Room for what has come, not for what is announced. */
        if (make_room(w, w->have + take))
            return err_set(e, ERR_SYSTEM, "out of memory for the probe's words");
        memcpy(w->bytes + w->have, bytes, take);
        w->have += take;
        bytes += take;
        n -= take;
    }
}

void probe_wire_free(struct probe_wire *w) {
    free(w->bytes);
    probe_report_free(&w->report);
    *w = (struct probe_wire){0};
}
