/* Frames from the import worker: { magic, type, bytes } and a body. See worker_wire.h. */
#include "guard/worker_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x31574c43u /* "CLW1": a change of this protocol changes the digit */

struct frame {
    uint32_t magic, type, bytes;
};

/* Most bytes that a body may have; 0: no such frame. */
static size_t limit_of(uint32_t type) {
    switch (type) {
    case WORKER_DIGEST: return sizeof(struct spawn_digests);
    case WORKER_NOTE: return ERR_TEXT - 1;
    case WORKER_ERROR: return sizeof(uint32_t) + ERR_TEXT - 1;
    case WORKER_NEEDS: return SPAWN_NAME - 1;
    case WORKER_DONE: return sizeof(uint64_t) + REPORT_MAX_BYTES;
    default: return 0;
    }
}

/* --- the worker's side --------------------------------------------------------------- */

static int write_all(int fd, const void *bytes, size_t n) {
    const char *p = bytes;
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -errno;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int send_frame(int fd, uint32_t type, const void *a, size_t n_a, const void *b, size_t n_b) {
    struct frame f = {.magic = MAGIC, .type = type, .bytes = (uint32_t)(n_a + n_b)};
    if (n_a + n_b > limit_of(type)) return -EMSGSIZE;
    int rc = write_all(fd, &f, sizeof f);
    if (rc == 0) rc = write_all(fd, a, n_a);
    if (rc == 0 && n_b > 0) rc = write_all(fd, b, n_b);
    return rc;
}

int worker_send_digests(int fd, const struct spawn_digests *d) {
    return send_frame(fd, WORKER_DIGEST, d, sizeof *d, NULL, 0);
}

int worker_send_note(int fd, const char *text) {
    return send_frame(fd, WORKER_NOTE, text, strnlen(text, ERR_TEXT - 1), NULL, 0);
}

int worker_send_error(int fd, const struct err *e) {
    uint32_t code = (uint32_t)e->code;
    return send_frame(fd, WORKER_ERROR, &code, sizeof code, e->text, strnlen(e->text, ERR_TEXT - 1));
}

int worker_send_needs(int fd, const char *name) {
    return send_frame(fd, WORKER_NEEDS, name, strlen(name), NULL, 0);
}

int worker_send_done(int fd, uint64_t image_bytes, const struct report *r) {
    size_t n = 0;
    uint8_t *encoded = report_encode(r, &n);
    if (!encoded) return -ENOMEM;
    int rc = send_frame(fd, WORKER_DONE, &image_bytes, sizeof image_bytes, encoded, n);
    free(encoded);
    return rc;
}

/* --- the spawner's side -------------------------------------------------------------- */

static int broken(struct err *e, const char *what) {
    return err_set(e, ERR_INTERNAL,
                   "the import worker broke its protocol (%s); a file that takes over its "
                   "parser would look like this: do not use it",
                   what);
}

bool worker_wire_name_is_bare(const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n >= SPAWN_NAME || name[0] == '.') return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '/' || name[i] == '\\')
            return false;
    return true;
}

/* A C string from `n` bytes; err_set makes control characters harmless on the way. */
static void copy_text(char out[ERR_TEXT], const uint8_t *bytes, size_t n) {
    struct err clean;
    (void)err_set(&clean, ERR_NONE, "%.*s", (int)n, (const char *)bytes);
    memcpy(out, clean.text, ERR_TEXT);
}

static int take_done(struct worker_wire *w, const uint8_t *body, size_t n, struct err *e) {
    if (n < sizeof w->image_bytes) return broken(e, "DONE is too short");
    memcpy(&w->image_bytes, body, sizeof w->image_bytes);
    struct err why;
    if (report_decode(body + sizeof w->image_bytes, n - sizeof w->image_bytes, &w->report, &why) < 0)
        return broken(e, why.text);
    if (memcmp(w->report.source_sha256, w->digests.model, sizeof w->digests.model) != 0)
        return broken(e, "the report is about another file");
    return 0;
}

static int take_error(struct worker_wire *w, const uint8_t *body, size_t n, struct err *e) {
    uint32_t code;
    if (n < sizeof code) return broken(e, "ERROR is too short");
    memcpy(&code, body, sizeof code);
    if (code == ERR_NONE || code >= ERR_CODES) return broken(e, "an error of unknown kind");
    copy_text(w->error.text, body + sizeof code, n - sizeof code);
    w->error.code = (enum err_code)code;
    return 0;
}

static int take_needs(struct worker_wire *w, const uint8_t *body, size_t n, struct err *e) {
    memcpy(w->needs, body, n);
    w->needs[n] = 0;
    if (strlen(w->needs) != n || !worker_wire_name_is_bare(w->needs)) {
        w->needs[0] = 0;
        return broken(e, "a name of external data that is not a bare file name");
    }
    return 0;
}

static int take_frame(struct worker_wire *w, uint32_t type, const uint8_t *body, size_t n, struct err *e) {
    if (w->ended) return broken(e, "more after its last word");
    if (!w->has_digests && type != WORKER_DIGEST && type != WORKER_ERROR)
        return broken(e, "no digest at the start");
    switch (type) {
    case WORKER_DIGEST:
        if (w->has_digests) return broken(e, "a second digest");
        if (n != sizeof w->digests) return broken(e, "DIGEST has the wrong size");
        memcpy(&w->digests, body, n);
        w->has_digests = true;
        return 0;
    case WORKER_NOTE:
        if (w->n_notes == SPAWN_NOTES) return broken(e, "too many notes");
        copy_text(w->notes[w->n_notes++], body, n);
        return 0;
    default:
        w->ended = true;
        w->outcome = (enum worker_frame)type;
        return type == WORKER_DONE    ? take_done(w, body, n, e)
               : type == WORKER_ERROR ? take_error(w, body, n, e)
                                      : take_needs(w, body, n, e);
    }
}

static int append(struct worker_wire *w, const uint8_t *bytes, size_t n, struct err *e) {
    if (w->used + n > w->capacity) {
        size_t capacity = w->capacity ? w->capacity : 4096;
        while (capacity < w->used + n) capacity *= 2;
        uint8_t *bigger = realloc(w->buffer, capacity);
        if (!bigger) return err_set(e, ERR_SYSTEM, "out of memory for the worker's report");
        w->buffer = bigger;
        w->capacity = capacity;
    }
    memcpy(w->buffer + w->used, bytes, n);
    w->used += n;
    return 0;
}

int worker_wire_feed(struct worker_wire *w, const uint8_t *bytes, size_t n, struct err *e) {
    while (n > 0) {
        struct frame f = {0};
        size_t want = sizeof f;
        if (w->used >= sizeof f) {
            memcpy(&f, w->buffer, sizeof f);
            want += f.bytes;
        }
        size_t take = want - w->used < n ? want - w->used : n;
        if (append(w, bytes, take, e) < 0) return -1;
        bytes += take;
        n -= take;
        if (w->used < sizeof f) break;
        memcpy(&f, w->buffer, sizeof f);
        if (f.magic != MAGIC) return broken(e, "not a frame");
        if (limit_of(f.type) == 0) return broken(e, "a frame of unknown type");
        if (f.bytes == 0 || f.bytes > limit_of(f.type)) return broken(e, "a frame of impossible length");
        if (w->used < sizeof f + f.bytes) continue;
        w->used = 0;
        if (take_frame(w, f.type, w->buffer + sizeof f, f.bytes, e) < 0) return -1;
    }
    return 0;
}

void worker_wire_free(struct worker_wire *w) {
    free(w->buffer);
    report_free(&w->report);
    *w = (struct worker_wire){0};
}
