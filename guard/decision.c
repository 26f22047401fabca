/* One table: what each decision is called, how loud it is, and how it reads. */
#include "guard/decision.h"

#include "guard/canary.h"
#include "guard/notice.h"
#include "guard/report.h"
#include "infer/digest.h"

#include <stdio.h>
#include <string.h>

/* MESSAGE_IDs are for ever: scripts and the catalog know them. */
static const struct {
    const char *id;
    enum log_level level;
    const char *words;
} table[DECISION_COUNT] = {
    [DECISION_SERVED] = {"ae07827a780342858a27eea0b397ba88", LOG_LEVEL_INFO, "serves"},
    [DECISION_PRUNED] = {"26c67c40fbab45c181aaa56f92953bab", LOG_LEVEL_INFO, "serves, repaired"},
    [DECISION_HELD] = {"c2f6da562554433c8bd9d7c704c3a4c0", LOG_LEVEL_WARNING, "is held"},
    [DECISION_REJECTED] = {"89ab00bd81db42698f229a590cc7abaa", LOG_LEVEL_WARNING, "is rejected"},
    [DECISION_SUPERSEDED] = {"540a762d04e643129526b737d1370171", LOG_LEVEL_INFO, "is superseded"},
    [DECISION_RETIRED] = {"52e562b8874e436388eb9e8433fd20b4", LOG_LEVEL_INFO, "is no longer served"},
    [DECISION_ROLLED_BACK] = {"04272c3009774d40a1ddbedc51425ceb", LOG_LEVEL_WARNING, "is rolled back"},
    [DECISION_ACCEPTED] = {"f885b4ae0fbe4d91b7408eda6e87b45c", LOG_LEVEL_WARNING, "is accepted"},
    [DECISION_RESTORED] = {"65d5f72b171e4fbb80fe93d956963a34", LOG_LEVEL_INFO, "serves again"},
    [DECISION_STATE_REFUSED] = {"8293db8194a648c081a8f03d21cb9739", LOG_LEVEL_WARNING,
                                "is not served from what was kept"},
    [DECISION_STATE_FAILED] = {"708f362e13cc48939229d5de1602b8b3", LOG_LEVEL_WARNING, "can't be kept"},
    [DECISION_PROBE_CLEAR] = {"90b4c2ecfdbe438491e4fe8fb89b045d", LOG_LEVEL_INFO, "is probed"},
    [DECISION_PROBE_REPAIRED] = {"88a0d47f1d7b43ecb99f043031eb1848", LOG_LEVEL_WARNING,
                                 "is probed, and repaired"},
    [DECISION_PROBE_SUSPECT] = {"a10aa9b93f7444a2b90dc41def62af54", LOG_LEVEL_WARNING, "is suspect"},
    [DECISION_PROBE_UNKNOWN] = {"4be6f4896a5241ad9c61345aee6bfe6e", LOG_LEVEL_WARNING,
                                "is not judged by its probe"},
};

const char *decision_id(enum decision d) {
    return table[d].id;
}

/* What it is about: the file, where there is one. */
static const char *subject(const struct link_message *m) {
    return m->path[0] ? m->path : m->model;
}

static void say(enum decision d, const struct link_message *m, char line[1024]) {
    char version[48] = "", pruned[96] = "", canary[96] = "";
    if (m->model_version)
        (void)snprintf(version, sizeof version, " (version %llu)", (unsigned long long)m->model_version);
    if (d == DECISION_PRUNED)
        (void)snprintf(pruned, sizeof pruned, ": %lld of %lld channels pruned", (long long)m->pruned_channels,
                       (long long)m->total_channels);
    if (d == DECISION_PRUNED && m->canary)
        (void)snprintf(canary, sizeof canary, ", %u of %u canary samples keep their class",
                       canary_agreed(m->canary), canary_samples(m->canary));
    (void)snprintf(line, 1024, "%s%s %s%s%s%s%s", subject(m), version, table[d].words, pruned, canary,
                   m->reason[0] ? ": " : "", m->reason);
}

void decision_note(enum decision d, const struct link_message *m) {
    static const uint8_t none[DIGEST_BYTES];
    char line[1024], version[24], digest[2 * DIGEST_BYTES + 1], pruned[24], total[24], canary[2][24];
    const bool decided =
        d == DECISION_SERVED || d == DECISION_PRUNED || d == DECISION_HELD || d == DECISION_RESTORED;
    (void)snprintf(version, sizeof version, "%llu", (unsigned long long)m->model_version);
    (void)snprintf(pruned, sizeof pruned, "%lld", (long long)m->pruned_channels);
    (void)snprintf(total, sizeof total, "%lld", (long long)m->total_channels);
    (void)snprintf(canary[0], sizeof canary[0], "%u", canary_samples(m->canary));
    (void)snprintf(canary[1], sizeof canary[1], "%u", canary_agreed(m->canary));
    const bool sampled = decided && m->canary;
    const struct notice_field fields[] = {
        {"MESSAGE_ID", table[d].id},
        {"MODEL", m->model},
        {"FILE", m->path},
        {"VERSION", m->model_version ? version : ""},
        {"SHA256", memcmp(m->sha256, none, sizeof none) ? digest_text(m->sha256, digest) : ""},
        {"VERDICT", decided ? verdict_name((enum verdict)m->verdict) : ""},
        {"PRUNED", decided ? pruned : ""},
        {"TOTAL", decided ? total : ""},
        {"CANARY_SAMPLES", sampled ? canary[0] : ""},
        {"CANARY_AGREED", sampled ? canary[1] : ""},
        {"REASON", m->reason},
    };
    say(d, m, line);
    notice_entry(table[d].level, line, fields, sizeof fields / sizeof fields[0]);
}
