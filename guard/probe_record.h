/* What is remembered of one probe: which contents it was about, what it came to, and whether the repaired
 * network is to be served. Kept in the state folder beside the images (state.h), so that nothing is probed
 * twice. Plain data; one owner. */
#ifndef GUARD_PROBE_RECORD_H
#define GUARD_PROBE_RECORD_H

#include "guard/link.h"
#include "guard/probe_report.h"
#include "guard/spawn.h"

struct probe_record {
    char model[LINK_MODEL];
    struct spawn_digests digests; /* of the contents */
    bool known;                   /* there is a report; else `why` says why there is none */
    bool declined; /* the repaired network is not to be served by itself: policy says so, or a person went
                      back */
    char why[ERR_TEXT];
    struct probe_report report;
};

void probe_record_free(struct probe_record *r); /* what it holds */
/* malloc'ed; NULL: out of memory. */
uint8_t *probe_record_encode(const struct probe_record *r, size_t *bytes);
/* Pure; the bytes come from a folder that others may have written to. 0, or -1 with `e` set. */
int probe_record_decode(const uint8_t *bytes, size_t size, struct probe_record *out, struct err *e);

/* Whether it names channels by which the network is mended. */
bool probe_record_repairs(const struct probe_record *r);
/* What it came to, for people: "repaired", or why there is no verdict. */
const char *probe_record_words(const struct probe_record *r);

#endif
