/* guard/files: the life of model files, told with made-up scans, times and answers. */
#include "guard/files.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
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

static void begin(void) {
    f = files_new(&(struct files_options){.settle_ms = SETTLE, .retire_ms = RETIRE, .salt = 3});
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    n_folder = offers = 0;
    now = 100000;
    said[0] = 0;
}
static void finish(void) { files_free(f); }

static struct file_entry *put(const char *path, const char *model, uint64_t number, uint64_t inode) {
    struct file_entry *e = NULL;
    for (int i = 0; i < n_folder; i++)
        if (strcmp(folder[i].path, path) == 0) e = &folder[i];
    if (!e) e = &folder[n_folder++];
    *e = (struct file_entry){.path = path, .model = model, .number = number, .age_ms = 3600000,
                             .identity = {.device = 1, .inode = inode, .size = 1000}};
    return e;
}
static void take_away(const char *path) {
    for (int i = 0; i < n_folder; i++)
        if (strcmp(folder[i].path, path) == 0) folder[i--] = folder[--n_folder];
}

static void scan(void) {
    files_scan_begin(f);
    for (int i = 0; i < n_folder; i++) {
        files_scan_entry(f, &folder[i], now);
        folder[i].complete = folder[i].written = false;
    }
    files_scan_end(f, now);
}

static void talk(void) { /* takes all messages, answers none */
    static const char *const types[LINK_TYPES] = {"", "HELLO", "OFFER", "FILE", "GONE", "RETIRE"};
    struct link_message m;
    int fd;
    while (files_next_message(f, &m, &fd)) {
        size_t used = strlen(said);
        (void)snprintf(said + used, sizeof said - used, "%s %s %s\n", types[m.type],
                       m.type == LINK_RETIRE ? m.model : m.path, m.type == LINK_FILE ? file_state_name(m.state) : "");
        CU_ASSERT_EQUAL(m.type == LINK_OFFER, fd >= 0);
        if (m.type == LINK_OFFER) last_offer = m, offers++;
        if (m.type == LINK_FILE) last_file = m;
        files_message_sent(f, &m);
    }
}
static bool heard(const char *line) { return strstr(said, line) != NULL; }
static void forget_talk(void) { said[0] = 0; }

static const char *state_of(const char *path) { /* from a fresh look at the messages: the last line about it */
    static char state[32];
    talk();
    strcpy(state, "?");
    char want[300];
    (void)snprintf(want, sizeof want, "FILE %s ", path);
    for (char *p = said; (p = strstr(p, want)); p++) sscanf(p + strlen(want), "%31s", state);
    return state;
}
#define EXPECT_STATE(PATH, STATE)                                                                                      \
    do {                                                                                                               \
        const char *state_ = state_of(PATH);                                                                           \
        if (strcmp(state_, STATE) != 0) fprintf(stderr, "line %d: %s is %s\n", __LINE__, PATH, state_);                \
        CU_ASSERT_STRING_EQUAL(state_, STATE);                                                                         \
    } while (0)

static struct file_job job;
static bool next(const char *path) {
    bool any = files_next_import(f, &job);
    return any && strcmp(job.path, path) == 0;
}
static const struct link_identity *identity_of(const char *path) {
    for (int i = 0; i < n_folder; i++)
        if (strcmp(folder[i].path, path) == 0) return &folder[i].identity;
    return NULL;
}
static void done_with(uint8_t digest, bool intact) {
    struct spawn_result r = {.fd = memfd_create("t", MFD_CLOEXEC), .bytes = 64, .has_digests = true,
                             .digests.model = {digest}, .report.verdict = VERDICT_UNCHANGED};
    files_import_done(f, &r, identity_of(job.path), intact, now);
    if (r.fd >= 0) (void)close(r.fd);
}
static void failed_with(enum err_code code, const char *text) {
    struct spawn_result r = {.fd = -1, .err = {.code = code}};
    strcpy(r.err.text, text);
    files_import_failed(f, &r, identity_of(job.path), now);
}
static void answer(bool accepted) {
    struct link_message m = last_offer;
    m.type = LINK_ANSWER;
    m.accepted = accepted;
    strcpy(m.reason, accepted ? "" : "not for this CPU");
    files_on_answer(f, &m, now);
}
static void serve(const char *path, uint8_t digest) {
    scan();
    CU_ASSERT_TRUE(next(path));
    done_with(digest, true);
    talk();
    answer(true);
    EXPECT_STATE(path, "serving");
}

static void from_seen_to_serving(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    EXPECT_STATE("a.onnx", "settling");
    CU_ASSERT_FALSE(files_settled(f));
    CU_ASSERT_TRUE(next("a.onnx"));
    EXPECT_STATE("a.onnx", "importing");
    CU_ASSERT_FALSE(next("a.onnx"));
    done_with(1, true);
    talk();
    CU_ASSERT_TRUE(heard("FILE a.onnx sealed\nOFFER a.onnx \nFILE a.onnx offered\n"));
    CU_ASSERT_EQUAL(last_offer.model_version, 1);
    CU_ASSERT_EQUAL(last_offer.sha256[0], 1);
    CU_ASSERT_STRING_EQUAL(last_offer.model, "a");
    CU_ASSERT_EQUAL(last_offer.verdict, VERDICT_UNCHANGED);
    CU_ASSERT_FALSE(files_settled(f));
    answer(true);
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_EQUAL(last_file.model_version, 1);
    CU_ASSERT_TRUE(files_settled(f));
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job)); /* nothing has changed */
    CU_ASSERT_EQUAL(files_next_scan(f), FILES_NEVER);
    finish();
}

static void versions_count_up(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    put("a.onnx", "a", 0, 8);
    serve("a.onnx", 2);
    CU_ASSERT_EQUAL(last_offer.model_version, 2);
    finish();
}

static void waits_until_quiet(void) {
    begin();
    put("a.onnx", "a", 0, 7)->age_ms = 10;
    scan();
    EXPECT_STATE("a.onnx", "settling");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "2000 ms"));
    CU_ASSERT_FALSE(files_next_import(f, &job));
    CU_ASSERT_EQUAL(files_next_scan(f), now + SETTLE);
    now += 1500;
    put("a.onnx", "a", 0, 7)->identity.size = 2000; /* it grows: the wait begins anew */
    folder[0].age_ms = 10;
    scan();
    CU_ASSERT_EQUAL(files_next_scan(f), now + SETTLE);
    now += SETTLE;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void a_closed_file_need_not_wait(void) {
    begin();
    struct file_entry *e = put("a.onnx", "a", 0, 7);
    e->age_ms = 10;
    scan(); /* found by IN_CREATE */
    CU_ASSERT_FALSE(files_next_import(f, &job));
    e->complete = e->written = true; /* IN_CLOSE_WRITE, no further change */
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void a_future_date_waits_no_longer(void) {
    begin();
    put("a.onnx", "a", 0, 7)->age_ms = 0;
    scan();
    now += SETTLE;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void truncated_waits_and_the_old_one_serves(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    put("a.onnx", "a", 0, 8)->identity.size = 500;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    failed_with(ERR_TRUNCATED, "graph.node 3 is cut off");
    EXPECT_STATE("a.onnx", "settling");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "ends early (500 bytes)"));
    CU_ASSERT_FALSE(heard("RETIRE"));
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job)); /* not before it changes */
    uint64_t check = files_next_scan(f);
    CU_ASSERT_TRUE(check >= now + SETTLE && check < FILES_NEVER);
    now = check;
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    CU_ASSERT_TRUE(files_next_scan(f) > now);
    put("a.onnx", "a", 0, 8)->identity.size = 1000;
    serve("a.onnx", 2);
    CU_ASSERT_EQUAL(last_offer.model_version, 2);
    finish();
}

static void empty_and_bad_entries(void) {
    begin();
    struct file_entry *e = put("empty.onnx", "empty", 0, 1);
    e->trouble = "the file is empty: waiting for its contents", e->passing = true;
    put("dir.onnx", "dir", 0, 2)->trouble = "dir.onnx is a directory";
    scan();
    EXPECT_STATE("empty.onnx", "settling");
    EXPECT_STATE("dir.onnx", "rejected");
    CU_ASSERT_FALSE(files_next_import(f, &job));
    CU_ASSERT_TRUE(files_settled(f));
    put("empty.onnx", "empty", 0, 1)->identity.size = 9;
    scan();
    CU_ASSERT_TRUE(next("empty.onnx"));
    finish();
}

static void rejected_is_not_retried_until_it_changes(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    failed_with(ERR_VALUE, "a NaN");
    EXPECT_STATE("a.onnx", "rejected");
    CU_ASSERT_STRING_EQUAL(last_file.reason, "a NaN");
    now += 1000000;
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    put("a.onnx", "a", 0, 8);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void the_system_gets_three_tries(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    for (int i = 1; i < FILES_ATTEMPTS; i++) {
        CU_ASSERT_TRUE(next("a.onnx"));
        failed_with(ERR_SYSTEM, "no memory for a process");
        EXPECT_STATE("a.onnx", "settling");
        CU_ASSERT_FALSE(files_next_import(f, &job));
        CU_ASSERT_TRUE(files_next_scan(f) > now);
        now = files_next_scan(f);
        scan();
    }
    CU_ASSERT_TRUE(next("a.onnx"));
    failed_with(ERR_SYSTEM, "no memory for a process");
    EXPECT_STATE("a.onnx", "rejected");
    finish();
}

static void changed_while_imported(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    put("a.onnx", "a", 0, 8)->complete = true;
    CU_ASSERT_FALSE(files_import_is_stale(f));
    scan();
    CU_ASSERT_TRUE(files_import_is_stale(f));
    files_import_stopped(f, now);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    put("a.onnx", "a", 0, 9); /* this time the scan has not seen it yet */
    done_with(1, true);
    talk();
    CU_ASSERT_EQUAL(offers, 0);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(2, true);
    talk();
    CU_ASSERT_EQUAL(offers, 1);
    finish();
}

static void endless_replacement_is_served_in_the_end(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    for (int i = 0; i < FILES_DISCARDS; i++) {
        CU_ASSERT_TRUE(next("a.onnx"));
        put("a.onnx", "a", 0, 8 + (uint64_t)i)->complete = true;
        scan();
        CU_ASSERT_TRUE(files_import_is_stale(f));
        files_import_stopped(f, now);
        scan();
    }
    CU_ASSERT_TRUE(next("a.onnx"));
    put("a.onnx", "a", 0, 99)->complete = true;
    scan();
    CU_ASSERT_FALSE(files_import_is_stale(f));
    done_with(1, true);
    talk();
    CU_ASSERT_EQUAL(offers, 1);
    answer(true);
    scan();
    CU_ASSERT_TRUE(next("a.onnx")); /* and then the newest */
    finish();
}

static void a_torn_read_is_never_served(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    for (int i = 0; i < 2 * FILES_DISCARDS; i++) {
        CU_ASSERT_TRUE(next("a.onnx"));
        put("a.onnx", "a", 0, 7)->identity.mtime_ns = i + 1;
        done_with(1, false);
        scan();
    }
    talk();
    CU_ASSERT_EQUAL(offers, 0);
    finish();
}

static void changed_while_offered(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true);
    talk();
    put("a.onnx", "a", 0, 8)->complete = true;
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job)); /* first the answer */
    answer(true);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(2, true);
    talk();
    CU_ASSERT_EQUAL(last_offer.model_version, 2);
    finish();
}

static void changed_while_sealed(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true); /* clpd does not read its link just now */
    put("a.onnx", "a", 0, 8)->complete = true;
    scan();
    talk();
    CU_ASSERT_EQUAL(offers, 0);
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void refused_by_clpd(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true);
    talk();
    answer(false);
    EXPECT_STATE("a.onnx", "rejected");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "not for this CPU"));
    put("a.onnx", "a", 0, 8);
    serve("a.onnx", 2);
    CU_ASSERT_EQUAL(last_offer.model_version, 1); /* that number was never served */
    finish();
}

static void the_same_contents_make_no_version(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    struct spawn_digests same = {.model = {1}}, other = {.model = {2}}, labels = {.model = {1}, .sidecar = {5}};
    folder[0].identity.mtime_ns = 99; /* touch */
    folder[0].written = true;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_TRUE(files_import_is_served(f, &same));
    CU_ASSERT_FALSE(files_import_is_served(f, &other));
    CU_ASSERT_FALSE(files_import_is_served(f, &labels));
    files_import_same(f, identity_of("a.onnx"), now);
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_EQUAL(offers, 1);
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    /* with another threshold the same bytes are another model */
    files_set_options(f, &(struct files_options){.settle_ms = SETTLE, .retire_ms = RETIRE, .salt = 4});
    folder[0].identity.ctime_ns = 1;
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_FALSE(files_import_is_served(f, &same));
    finish();
}

static void written_without_a_new_time(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    folder[0].written = true; /* within one tick of the clock the identity stays */
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void a_removed_model_is_retired(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    put("b.onnx", "b", 0, 8)->trouble = "junk";
    serve("a.onnx", 1);
    take_away("a.onnx");
    take_away("b.onnx");
    scan();
    talk();
    CU_ASSERT_TRUE(heard("GONE b.onnx"));
    CU_ASSERT_FALSE(heard("RETIRE a"));
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "gone"));
    CU_ASSERT_EQUAL(files_next_scan(f), now + RETIRE);
    now += RETIRE;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a \nGONE a.onnx"));
    put("a.onnx", "a", 0, 9);
    serve("a.onnx", 1);
    CU_ASSERT_EQUAL(last_offer.model_version, 2); /* versions go on counting */
    finish();
}

static void delete_and_write_anew_is_no_retirement(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    take_away("a.onnx");
    scan();
    now += RETIRE / 2;
    put("a.onnx", "a", 0, 9)->age_ms = 0;
    scan();
    EXPECT_STATE("a.onnx", "settling");
    now += RETIRE;
    folder[0].age_ms = RETIRE;
    serve("a.onnx", 2);
    CU_ASSERT_FALSE(heard("RETIRE"));
    finish();
}

static void a_bad_replacement_that_is_removed(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    put("a.onnx", "a", 0, 8);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    failed_with(ERR_FORMAT, "junk");
    scan();
    CU_ASSERT_FALSE(heard("RETIRE"));
    take_away("a.onnx");
    scan();
    now += RETIRE;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a"));
    finish();
}

static void a_missing_folder_changes_nothing(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    serve("a.onnx", 1);
    files_scan_failed(f, "/models is missing", now);
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_STRING_EQUAL(last_file.reason, "/models is missing: still served");
    now += 100 * RETIRE;
    files_scan_failed(f, "/models is missing", now);
    CU_ASSERT_FALSE(heard("RETIRE"));
    scan(); /* it is back, and unchanged */
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_STRING_EQUAL(last_file.reason, "");
    files_scan_failed(f, "/models is missing", now);
    n_folder = 0;
    scan(); /* it is back, and empty: only now the time begins */
    now += RETIRE - 1;
    scan();
    talk();
    CU_ASSERT_FALSE(heard("RETIRE"));
    now += 1;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a"));
    finish();
}

static void the_highest_version_wins(void) {
    begin();
    put("a/1/model.onnx", "a", 1, 1);
    put("a/2/model.onnx", "a", 2, 2);
    put("a/10/model.onnx", "a", 10, 3);
    serve("a/10/model.onnx", 1);
    EXPECT_STATE("a/1/model.onnx", "superseded");
    EXPECT_STATE("a/2/model.onnx", "superseded");
    CU_ASSERT_FALSE(files_next_import(f, &job));
    put("a/11/model.onnx", "a", 11, 4);
    serve("a/11/model.onnx", 2);
    EXPECT_STATE("a/10/model.onnx", "superseded");
    take_away("a/11/model.onnx"); /* going back by deleting */
    scan();
    talk();
    CU_ASSERT_TRUE(heard("GONE a/11/model.onnx"));
    serve("a/10/model.onnx", 1);
    CU_ASSERT_EQUAL(last_offer.model_version, 3);
    CU_ASSERT_FALSE(heard("RETIRE"));
    finish();
}

static void a_bad_new_version_leaves_the_old_one(void) {
    begin();
    put("a/1/model.onnx", "a", 1, 1);
    serve("a/1/model.onnx", 1);
    put("a/2/model.onnx", "a", 2, 2);
    scan();
    CU_ASSERT_TRUE(next("a/2/model.onnx"));
    failed_with(ERR_VALUE, "NaN");
    EXPECT_STATE("a/2/model.onnx", "rejected");
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    EXPECT_STATE("a/1/model.onnx", "serving");
    finish();
}

static void at_start_a_bad_version_is_passed_over(void) {
    begin();
    put("a/1/model.onnx", "a", 1, 1);
    put("a/2/model.onnx", "a", 2, 2);
    scan();
    CU_ASSERT_TRUE(next("a/2/model.onnx"));
    failed_with(ERR_VALUE, "NaN");
    serve("a/1/model.onnx", 1);
    finish();
}

static void half_a_copy_brings_no_old_version_back(void) {
    begin();
    put("a/1/model.onnx", "a", 1, 1);
    put("a/2/model.onnx", "a", 2, 2);
    serve("a/2/model.onnx", 2);
    put("a/2/model.onnx", "a", 2, 22);
    scan();
    CU_ASSERT_TRUE(next("a/2/model.onnx"));
    failed_with(ERR_TRUNCATED, "cut");
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    EXPECT_STATE("a/1/model.onnx", "superseded");
    put("a/1/model.onnx", "a", 1, 11); /* nor does a change of the old one */
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    finish();
}

static void the_plain_file_wins(void) {
    begin();
    put("a/7/model.onnx", "a", 7, 1);
    put("a.onnx", "a", 0, 2);
    serve("a.onnx", 1);
    put("a/7/model.onnx", "a", 7, 3);
    scan();
    EXPECT_STATE("a/7/model.onnx", "superseded");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "NAME.onnx before"));
    finish();
}

static void names_are_not_mixed_up(void) {
    begin();
    put("a.onnx", "a", 0, 1);
    put("ab.onnx", "ab", 0, 2);
    put("a-b.onnx", "a-b", 0, 3);
    struct file_entry *e = put("bad name.onnx", "", 0, 4);
    e->trouble = "a name has no spaces";
    e = put("worse name.onnx", "", 0, 5);
    e->trouble = "a name has no spaces";
    scan();
    CU_ASSERT_TRUE(files_next_import(f, &job));
    done_with(1, true);
    CU_ASSERT_TRUE(files_next_import(f, &job));
    done_with(2, true);
    CU_ASSERT_TRUE(files_next_import(f, &job));
    done_with(3, true);
    talk();
    CU_ASSERT_EQUAL(offers, 3);
    EXPECT_STATE("bad name.onnx", "rejected");
    EXPECT_STATE("worse name.onnx", "rejected");
    finish();
}

static void the_queue_is_by_age(void) {
    begin();
    put("z.onnx", "z", 0, 1);
    scan();
    put("a.onnx", "a", 0, 2);
    scan();
    CU_ASSERT_TRUE(next("z.onnx"));
    done_with(1, true);
    CU_ASSERT_TRUE(next("a.onnx"));
    finish();
}

static void a_restarted_guard_imports_nothing_anew(void) {
    begin();
    struct link_message m = {.version = LINK_VERSION, .type = LINK_SERVING, .model_version = 5,
                             .identity = {.device = 1, .inode = 7, .size = 1000}, .verdict = VERDICT_PRUNED};
    strcpy(m.model, "a");
    strcpy(m.path, "a.onnx");
    files_on_serving(f, &m);
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_EQUAL(last_file.model_version, 5);
    CU_ASSERT_TRUE(files_settled(f));
    put("a.onnx", "a", 0, 8);
    serve("a.onnx", 1);
    CU_ASSERT_EQUAL(last_offer.model_version, 6);
    finish();
}

static void serving_may_come_late(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    struct link_message m = {.version = LINK_VERSION, .type = LINK_SERVING, .model_version = 5,
                             .identity = {.device = 1, .inode = 7, .size = 1000}};
    strcpy(m.model, "a");
    strcpy(m.path, "a.onnx");
    files_on_serving(f, &m);
    CU_ASSERT_TRUE(files_import_is_stale(f));
    files_import_stopped(f, now);
    scan();
    EXPECT_STATE("a.onnx", "serving");
    CU_ASSERT_FALSE(files_next_import(f, &job));
    finish();
}

static void served_but_removed_before_the_restart(void) {
    begin();
    struct link_message m = {.version = LINK_VERSION, .type = LINK_SERVING, .model_version = 5};
    strcpy(m.model, "a");
    strcpy(m.path, "a.onnx");
    files_on_serving(f, &m);
    scan();
    now += RETIRE;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a"));
    finish();
}

static void asks_for_its_data_file(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_STRING_EQUAL(job.external, "");
    struct spawn_result r = {.fd = -1, .err = {ERR_TRUNCATED, "its weights are in w.bin"}, .needs = "w.bin"};
    files_import_failed(f, &r, identity_of("a.onnx"), now);
    EXPECT_STATE("a.onnx", "settling");
    CU_ASSERT_STRING_EQUAL(files_external(f, "a.onnx"), "w.bin");
    CU_ASSERT_TRUE(files_next_scan(f) <= now);
    scan();
    CU_ASSERT_FALSE(files_next_import(f, &job));
    folder[0].identity.ctime_ns = 17; /* now w.bin is part of the identity */
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    CU_ASSERT_STRING_EQUAL(job.external, "w.bin");
    finish();
}

static void removed_while_imported(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    take_away("a.onnx");
    scan();
    CU_ASSERT_TRUE(files_import_is_stale(f));
    files_import_stopped(f, now);
    CU_ASSERT_TRUE(files_next_scan(f) <= now);
    scan();
    talk();
    CU_ASSERT_TRUE(heard("GONE a.onnx"));
    CU_ASSERT_FALSE(files_next_import(f, &job));
    finish();
}

static void removed_while_offered(void) {
    begin();
    put("a.onnx", "a", 0, 7);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    done_with(1, true);
    talk();
    take_away("a.onnx");
    scan();
    answer(true);
    scan();
    now += RETIRE;
    scan();
    talk();
    CU_ASSERT_TRUE(heard("RETIRE a \nGONE a.onnx"));
    finish();
}

static void back_before_it_was_forgotten(void) {
    begin();
    put("a.onnx", "a", 0, 7)->trouble = "junk";
    scan();
    take_away("a.onnx");
    scan(); /* GONE is due but clpd does not read */
    put("a.onnx", "a", 0, 8);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    talk();
    CU_ASSERT_FALSE(heard("GONE"));
    finish();
}

/* Whatever comes in whatever order: no illegal step (an assertion), no image lost, no two imports at once. */
static void any_order_of_events(void) {
    srand(20240613);
    for (int round = 0; round < 400; round++) {
        static const char *const paths[] = {"a.onnx", "a/1/model.onnx", "a/2/model.onnx", "b.onnx"};
        static const char *const names[] = {"a", "a", "a", "b"};
        static const uint64_t numbers[] = {0, 1, 2, 0};
        bool importing = false, awaiting = false;
        int before = memfd_create("t", MFD_CLOEXEC);
        (void)close(before);
        begin();
        for (int step = 0; step < 120; step++) {
            int k = rand() % 4;
            now += (uint64_t)(rand() % 3000);
            switch (rand() % 12) {
            case 0: put(paths[k], names[k], numbers[k], (uint64_t)rand() % 5)->age_ms = (uint64_t)rand() % 4000; break;
            case 1: take_away(paths[k]); break;
            case 2: if (n_folder) folder[rand() % n_folder].written = true; break;
            case 3: if (n_folder) folder[rand() % n_folder].complete = true; break;
            case 4: files_scan_failed(f, "gone", now); break;
            case 5: if (!importing) importing = files_next_import(f, &job); break;
            case 6:
                if (importing && rand() % 2) done_with((uint8_t)(rand() % 3), rand() % 4);
                else if (importing) failed_with((enum err_code)(1 + rand() % (ERR_CODES - 1)), "bad");
                importing = false;
                break;
            case 7:
                if (importing && files_import_is_stale(f)) files_import_stopped(f, now), importing = false;
                break;
            case 8:
                if (importing) files_import_same(f, identity_of(job.path), now), importing = false;
                break;
            case 9: said[0] = 0, offers = 0, talk(), awaiting |= offers > 0; break;
            case 10: if (awaiting) answer(rand() % 4), awaiting = false; break;
            default: scan(); break;
            }
        }
        finish();
        int after = memfd_create("t", MFD_CLOEXEC);
        (void)close(after);
        CU_ASSERT_EQUAL(before, after);
    }
    forget_talk();
}

SUITE(files, {"from seen to serving", from_seen_to_serving}, {"versions count up", versions_count_up},
      {"waits until quiet", waits_until_quiet}, {"a closed file need not wait", a_closed_file_need_not_wait},
      {"a future date waits no longer", a_future_date_waits_no_longer},
      {"truncated waits, and the old one serves", truncated_waits_and_the_old_one_serves},
      {"empty and bad entries", empty_and_bad_entries},
      {"rejected is not retried until it changes", rejected_is_not_retried_until_it_changes},
      {"the system gets three tries", the_system_gets_three_tries}, {"changed while imported", changed_while_imported},
      {"endless replacement is served in the end", endless_replacement_is_served_in_the_end},
      {"a torn read is never served", a_torn_read_is_never_served}, {"changed while offered", changed_while_offered},
      {"changed while sealed", changed_while_sealed}, {"refused by clpd", refused_by_clpd},
      {"the same contents make no version", the_same_contents_make_no_version},
      {"written without a new time", written_without_a_new_time},
      {"a removed model is retired", a_removed_model_is_retired},
      {"delete and write anew is no retirement", delete_and_write_anew_is_no_retirement},
      {"a bad replacement that is removed", a_bad_replacement_that_is_removed},
      {"a missing folder changes nothing", a_missing_folder_changes_nothing},
      {"the highest version wins", the_highest_version_wins},
      {"a bad new version leaves the old one", a_bad_new_version_leaves_the_old_one},
      {"at start a bad version is passed over", at_start_a_bad_version_is_passed_over},
      {"half a copy brings no old version back", half_a_copy_brings_no_old_version_back},
      {"the plain file wins", the_plain_file_wins}, {"names are not mixed up", names_are_not_mixed_up},
      {"the queue is by age", the_queue_is_by_age},
      {"a restarted guard imports nothing anew", a_restarted_guard_imports_nothing_anew},
      {"SERVING may come late", serving_may_come_late},
      {"served but removed before the restart", served_but_removed_before_the_restart},
      {"asks for its data file", asks_for_its_data_file}, {"removed while imported", removed_while_imported},
      {"removed while offered", removed_while_offered}, {"back before it was forgotten", back_before_it_was_forgotten},
      {"any order of events", any_order_of_events});
