/* One record of the state folder as bytes and back: fixed size, little-endian,
 *
 *   "CLPSTAT\2" | struct state_record | zeros | SHA-256 of all before it
 *
 * The digest tells damage, not malice; so every field is checked as well. Pure. */
#include "guard/state.h"

#include "guard/canary.h"
#include "guard/model_file.h"
#include "infer/digest.h"

#include <string.h>

#define MAGIC     "CLPSTAT\2"
#define AT_DIGEST (STATE_RECORD_BYTES - DIGEST_BYTES)

_Static_assert(sizeof(struct state_image) == 5 * 8 + 40 + 128 + 32 + 16 + 16 + LINK_PATH,
               "state record layout");
_Static_assert(sizeof(struct state_record) ==
                   LINK_MODEL + 8 + 2 * sizeof(struct state_image) + 40 + 128 + STATE_REASON + 128,
               "state record layout");
_Static_assert(8 + sizeof(struct state_record) <= AT_DIGEST, "state record size");

bool state_digests_are_set(const struct spawn_digests *d) {
    static const struct spawn_digests none;
    return memcmp(d, &none, sizeof none) != 0;
}

void state_digests_put(const struct spawn_digests *d, struct link_message *m) {
    memcpy(m->sha256, d->model, sizeof m->sha256);
    memcpy(m->beside[0], d->sidecar, sizeof m->beside[0]);
    memcpy(m->beside[1], d->external, sizeof m->beside[1]);
    memcpy(m->beside[2], d->canary, sizeof m->beside[2]);
}

void state_digests_get(const struct link_message *m, struct spawn_digests *d) {
    memcpy(d->model, m->sha256, sizeof d->model);
    memcpy(d->sidecar, m->beside[0], sizeof d->sidecar);
    memcpy(d->external, m->beside[1], sizeof d->external);
    memcpy(d->canary, m->beside[2], sizeof d->canary);
}

void state_record_encode(const struct state_record *r, uint8_t out[STATE_RECORD_BYTES]) {
    memset(out, 0, STATE_RECORD_BYTES);
    memcpy(out, MAGIC, 8);
    memcpy(out + 8, r, sizeof *r);
    digest_sha256(out, AT_DIGEST, out + AT_DIGEST);
}

/* Printable, terminated, and zero after that. */
static bool text_is_clean(const char *s, size_t cap) {
    size_t n = strnlen(s, cap);
    if (n == cap) return false;
    for (size_t i = 0; i < cap; i++)
        if (i < n ? (unsigned char)s[i] < 0x20 || s[i] == 0x7f : s[i] != 0) return false;
    return true;
}

static bool path_is_clean(const char *path) {
    if (!text_is_clean(path, LINK_PATH) || path[0] == '/' || path[0] == 0) return false;
    for (const char *p = path; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (*p == '.' || *p == '/' || *p == 0)
            return false; /* no "..", no dotfile: the guard never saw one */
    }
    return true;
}

static bool image_is_clean(const struct state_image *i, uint64_t last_version) {
    static const struct state_image none;
    if (i->version == 0) return memcmp(i, &none, sizeof none) == 0;
    return i->version <= last_version && i->bytes > 0 && i->bytes <= INT64_MAX &&
           i->verdict < VERDICT_COUNT && i->repaired <= 1 && i->probe <= 1 + PROBE_BEFORE_SERVING &&
           canary_share_is_sound(i->canary) && i->reserved == 0 && i->pruned >= 0 && i->total >= i->pruned &&
           path_is_clean(i->path);
}

int state_record_decode(const uint8_t *bytes, size_t size, struct state_record *out, struct err *e) {
    uint8_t digest[DIGEST_BYTES];
    if (size != STATE_RECORD_BYTES || memcmp(bytes, MAGIC, 8) != 0)
        return err_set(e, ERR_FORMAT, "it is no record of this version of clpd (%zu bytes)", size);
    digest_sha256(bytes, AT_DIGEST, digest);
    if (memcmp(digest, bytes + AT_DIGEST, sizeof digest) != 0)
        return err_set(e, ERR_FORMAT, "it is damaged: its digest is another");
    for (size_t i = 8 + sizeof *out; i < AT_DIGEST; i++)
        if (bytes[i]) return err_set(e, ERR_FORMAT, "there is something behind its end");
    memcpy(out, bytes + 8, sizeof *out);
    if (!text_is_clean(out->model, sizeof out->model) || !model_file_name_is_valid(out->model))
        return err_set(e, ERR_VALUE, "it names no model");
    if (!image_is_clean(&out->current, out->last_version) ||
        !image_is_clean(&out->other, out->last_version) ||
        (out->current.version && out->current.version == out->other.version) ||
        !text_is_clean(out->barred_reason, sizeof out->barred_reason))
        return err_set(e, ERR_VALUE, "what it says of its images can't be");
    return 0;
}
