/* A made-up model folder, clock and clpd, for the tests of guard/files. Every
 * test file that includes this has one of its own. */
#ifndef TESTS_FILES_CASE_H
#define TESTS_FILES_CASE_H

#include "guard/files.h"
#include "tests/suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SETTLE 2000
#define RETIRE 10000

/* A folder as a list of entries; `now` is the clock. */
static struct files *f;
static struct file_entry folder[16];
static int n_folder;
static uint64_t now;
static char said[8192]; /* messages as "TYPE path state" lines */
static struct link_message last_offer, last_file;
static int offers;

static inline void begin(void) {
    f = files_new(&(struct files_options){.settle_ms = SETTLE, .retire_ms = RETIRE, .policy = 3});
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    n_folder = offers = 0;
    now = 100000;
    said[0] = 0;
}
static inline void finish(void) {
    files_free(f);
}

static inline struct file_entry *put(const char *path, const char *model, uint64_t number, uint64_t inode) {
    struct file_entry *e = NULL;
    for (int i = 0; i < n_folder; i++)
        if (strcmp(folder[i].path, path) == 0) e = &folder[i];
    if (!e) e = &folder[n_folder++];
    *e = (struct file_entry){.path = path,
                             .model = model,
                             .number = number,
                             .age_ms = 3600000,
                             .identity = {.device = 1, .inode = inode, .size = 1000}};
    return e;
}
static inline void take_away(const char *path) {
    for (int i = 0; i < n_folder; i++)
        if (strcmp(folder[i].path, path) == 0) folder[i--] = folder[--n_folder];
}

static inline void scan(void) {
    files_scan_begin(f);
    for (int i = 0; i < n_folder; i++) {
        files_scan_entry(f, &folder[i], now);
        folder[i].complete = folder[i].written = false;
    }
    files_scan_end(f, now);
}

static inline void talk(void) { /* takes all messages, answers none */
    static const char *const types[LINK_TYPES] = {"", "HELLO", "OFFER", "FILE", "GONE", "RETIRE"};
    struct link_message m;
    int fd;
    while (files_next_message(f, &m, &fd)) {
        size_t used = strlen(said);
        (void)snprintf(said + used, sizeof said - used, "%s %s %s\n", types[m.type],
                       m.type == LINK_RETIRE ? m.model : m.path,
                       m.type == LINK_FILE ? file_state_name(m.state) : "");
        CU_ASSERT_EQUAL(m.type == LINK_OFFER, fd >= 0);
        if (m.type == LINK_OFFER) last_offer = m, offers++;
        if (m.type == LINK_FILE) last_file = m;
        files_message_sent(f, &m);
    }
}
static inline bool heard(const char *line) {
    return strstr(said, line) != NULL;
}
static inline void forget_talk(void) {
    said[0] = 0;
}

/* From a fresh look at the messages: the last line about it. */
static inline const char *state_of(const char *path) {
    static char state[32];
    talk();
    strcpy(state, "?");
    char want[300];
    (void)snprintf(want, sizeof want, "FILE %s ", path);
    for (char *p = said; (p = strstr(p, want)); p++) sscanf(p + strlen(want), "%31s", state);
    return state;
}
#define EXPECT_STATE(PATH, STATE)                                                                            \
    do {                                                                                                     \
        const char *state_ = state_of(PATH);                                                                 \
        if (strcmp(state_, STATE) != 0) fprintf(stderr, "line %d: %s is %s\n", __LINE__, PATH, state_);      \
        CU_ASSERT_STRING_EQUAL(state_, STATE);                                                               \
    } while (0)

static struct file_job job;
static inline bool next(const char *path) {
    bool any = files_next_import(f, &job);
    return any && strcmp(job.path, path) == 0;
}
static inline const struct link_identity *identity_of(const char *path) {
    for (int i = 0; i < n_folder; i++)
        if (strcmp(folder[i].path, path) == 0) return &folder[i].identity;
    return NULL;
}
static inline void done_with(uint8_t digest, bool intact) {
    struct spawn_result r = {.fd = memfd_create("t", MFD_CLOEXEC),
                             .bytes = 64,
                             .has_digests = true,
                             .digests.model = {digest},
                             .report.verdict = VERDICT_UNCHANGED};
    files_import_done(f, &job, &r, identity_of(job.path), intact, now);
    if (r.fd >= 0) (void)close(r.fd);
}
static inline void failed_with(enum err_code code, const char *text) {
    struct spawn_result r = {.fd = -1, .err = {.code = code}};
    strcpy(r.err.text, text);
    files_import_failed(f, &job, &r, identity_of(job.path), now);
}
static inline void answer(bool accepted) {
    struct link_message m = last_offer;
    m.type = LINK_ANSWER;
    m.accepted = accepted;
    strcpy(m.reason, accepted ? "" : "not for this CPU");
    files_on_answer(f, &m, now);
}
static inline void serve(const char *path, uint8_t digest) {
    scan();
    CU_ASSERT_TRUE(next(path));
    done_with(digest, true);
    talk();
    answer(true);
    EXPECT_STATE(path, "serving");
}

#endif
