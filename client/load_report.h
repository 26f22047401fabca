/* What a load run has counted, and how it is told. Plain data; the counts of one
 * client belong to its thread, and are merged at the end. */
#ifndef CLIENT_LOAD_REPORT_H
#define CLIENT_LOAD_REPORT_H

#include "client/histogram.h"
#include "client/terminal.h"

#include <jansson.h>

enum { LOAD_STATUSES = 16, LOAD_VERSIONS = 64 };

struct load_counts {                   /* all zero: nothing yet */
    struct histogram latency;          /* ns, of answers that were OK */
    uint64_t sent, busy, lost, unsent; /* lost: no answer came; unsent: due, but there was no room */
    uint64_t reconnects;
    uint64_t by_status[LOAD_STATUSES]; /* answers that were neither OK nor BUSY */
    struct {
        uint64_t version, answers;
    } versions[LOAD_VERSIONS]; /* ascending; more than that are counted with the last */
    uint32_t n_versions;
    uint64_t finished; /* ns, CLOCK_MONOTONIC: the last client's */
    uint32_t
        n_clients; /* merged into this; and the answers that were OK of the one that got fewest, and most */
    uint64_t fewest, most;
    char example[256]; /* text of the first error */
};

void load_count_version(struct load_counts *c, uint64_t version);
void load_counts_merge(struct load_counts *to, const struct load_counts *from);
/* Requests that failed: refused for any reason but BUSY, or lost. */
uint64_t load_errors(const struct load_counts *c);

struct load_settings {
    const char *transport, *model;
    uint32_t clients, inflight;
    double rate, seconds; /* rate 0: closed loop; seconds: as measured */
};

void load_report_print(FILE *to, const struct terminal *t, const struct load_settings *s,
                       const struct load_counts *c);
/* A new reference, or NULL: out of memory. */
json_t *load_report_json(const struct load_settings *s, const struct load_counts *c);

#endif
