/* Encodes and decodes the record of a probe: little-endian, counts before what they count. */
#include "guard/probe_report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SCHEMA 3

const char *probe_verdict_name(enum probe_verdict v) {
    static const char *const names[] = {"clear", "repaired", "suspect", "unknown"};
    return v < PROBE_VERDICTS ? names[v] : "unknown";
}

const char *probe_verdict_text(enum probe_verdict v) {
    static const char *const texts[] = {"no class stands out", "repaired", "suspect, not repaired",
                                        "not known: the time was too short"};
    return texts[v < PROBE_VERDICTS ? v : PROBE_UNKNOWN];
}

void probe_report_free(struct probe_report *r) {
    free(r->classes);
    free(r->pruned);
    free(r->mask);
    free(r->pattern);
    *r = (struct probe_report){.target = -1};
}

/* --- both ways at once -------------------------------------------------------------------------- */

/* One walk over the record writes it, measures it (to NULL) or reads it, so that the three can't disagree. */
struct walk {
    const uint8_t *from; /* reading */
    uint8_t *to;         /* writing */
    size_t at, size;
    bool failed; /* reading: cut short, or a number that can't be */
};

static void raw(struct walk *w, void *field, size_t n) {
    if (w->from) {
        if (w->failed || n > w->size - w->at) {
            w->failed = true;
            memset(field, 0, n);
            return;
        }
        memcpy(field, w->from + w->at, n);
    } else if (w->to) {
        memcpy(w->to + w->at, field, n);
    }
    w->at += n;
}

static void number(struct walk *w, int32_t *n, int32_t least, int32_t most) {
    raw(w, n, sizeof *n);
    if (*n >= least && *n <= most) return;
    w->failed = true;
    *n = least;
}

static void count(struct walk *w, uint32_t *n) {
    int32_t v = *n > INT32_MAX ? INT32_MAX : (int32_t)*n;
    number(w, &v, 0, INT32_MAX);
    *n = (uint32_t)v;
}

static void truth(struct walk *w, bool *b) {
    int32_t v = *b;
    number(w, &v, 0, 1);
    *b = v;
}

/* Numbers are for people: what is not finite is a sign of damage. */
static void real(struct walk *w, float *f) {
    raw(w, f, sizeof *f);
    if (isfinite(*f)) return;
    w->failed |= w->from != NULL;
    if (w->from) *f = 0;
}

/* An array of `n` records of `each` encoded bytes at least: room for them, only where the bytes can be there.
 */
static void *room(struct walk *w, void *have, int32_t n, size_t each, size_t size) {
    if (!w->from || w->failed || n == 0) return have;
    if ((size_t)n > (w->size - w->at) / each) {
        w->failed = true;
        return NULL;
    }
    void *p = calloc((size_t)n, size);
    w->failed |= !p;
    return p;
}

static void walk_class(struct walk *w, struct probe_class *c) {
    truth(w, &c->covered);
    real(w, &c->patch);
    real(w, &c->additive);
    real(w, &c->wave);
    real(w, &c->window);
    real(w, &c->area);
    real(w, &c->z);
    real(w, &c->patch_after);
    real(w, &c->z_after);
}

static void walk_pruned(struct walk *w, struct probe_pruned *p) {
    raw(w, p->step, sizeof p->step);
    if (!memchr(p->step, 0, sizeof p->step)) {
        w->failed = true;
        p->step[sizeof p->step - 1] = 0;
    }
    number(w, &p->channel, 0, 1 << 20);
}

static void walk_picture(struct walk *w, struct probe_report *r) {
    number(w, &r->channels, 0, 4);
    number(w, &r->height, 0, PROBE_REPORT_MAX_SIDE);
    number(w, &r->width, 0, PROBE_REPORT_MAX_SIDE);
    const int32_t plane = r->height * r->width;
    if ((r->channels == 0) != (plane == 0)) w->failed = true;
    if (w->failed || plane == 0) return;
    r->mask = room(w, r->mask, plane, 1, 1);
    if (!w->failed) raw(w, r->mask, (size_t)plane);
    if (!w->failed) r->pattern = room(w, r->pattern, r->channels * plane, 1, 1);
    if (!w->failed) raw(w, r->pattern, (size_t)r->channels * (size_t)plane);
}

static void walk_report(struct walk *w, struct probe_report *r) {
    int32_t schema = SCHEMA, verdict = (int32_t)r->verdict;
    number(w, &schema, SCHEMA, SCHEMA);
    number(w, &verdict, 0, PROBE_VERDICTS - 1);
    r->verdict = (enum probe_verdict)verdict;
    number(w, &r->n_classes, 0, PROBE_REPORT_MAX_CLASSES);
    number(w, &r->n_covered, 0, r->n_classes);
    number(w, &r->target, -1, r->n_classes - 1);
    uint32_t *const counts[] = {&r->rounds, &r->ways, &r->seed, &r->seconds, &r->budget};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) count(w, counts[i]);
    float *const reals[] = {&r->success, &r->success_after, &r->drift, &r->away, &r->limit};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) real(w, reals[i]);
    truth(w, &r->cut);
    r->classes = room(w, r->classes, r->n_classes, 36, sizeof *r->classes);
    for (int32_t i = 0; !w->failed && i < r->n_classes; i++) walk_class(w, &r->classes[i]);
    number(w, &r->n_pruned, 0, PROBE_REPORT_MAX_PRUNED);
    r->pruned = room(w, r->pruned, r->n_pruned, PROBE_REPORT_MAX_NAME + 4, sizeof *r->pruned);
    for (int32_t i = 0; !w->failed && i < r->n_pruned; i++) walk_pruned(w, &r->pruned[i]);
    if (!w->failed) walk_picture(w, r);
}

uint8_t *probe_report_encode(const struct probe_report *r, size_t *bytes) {
    struct probe_report copy = *r; /* writing changes nothing in it, but walks the same way as reading */
    struct walk measure = {0};
    walk_report(&measure, &copy);
    struct walk w = {.to = malloc(measure.at)};
    if (!w.to) return NULL;
    walk_report(&w, &copy);
    *bytes = w.at;
    return w.to;
}

int probe_report_decode(const uint8_t *bytes, size_t size, struct probe_report *out, struct err *e) {
    struct walk w = {.from = bytes, .size = size};
    *out = (struct probe_report){.target = -1};
    if (size > PROBE_REPORT_MAX_BYTES) return err_set(e, ERR_LIMIT, "the probe's report is too long");
    walk_report(&w, out);
    if (!w.failed && w.at == size) return 0;
    probe_report_free(out);
    return err_set(e, ERR_FORMAT, "the probe's report is damaged");
}

char *probe_report_channels(const struct probe_report *p, size_t *bytes) {
    char *text = NULL;
    FILE *f = open_memstream(&text, bytes);
    if (!f) return NULL;
    for (int32_t i = 0; i < p->n_pruned; i++)
        (void)fprintf(f, "%d %s\n", p->pruned[i].channel, p->pruned[i].step);
    if (fclose(f) == 0) return text;
    free(text);
    return NULL;
}

int probe_report_list(const struct probe_report *p, struct err *e) {
    size_t n = 0;
    char *text = probe_report_channels(p, &n);
    const int fd = text ? memfd_create("clpd-repair", MFD_CLOEXEC) : -1;
    const bool ok = fd >= 0 && write(fd, text, n) == (ssize_t)n;
    free(text);
    if (ok) return fd;
    if (fd >= 0) (void)close(fd);
    return err_set(e, ERR_SYSTEM, "the probe's list of channels: %s", strerror(errno));
}
