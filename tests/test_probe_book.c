/* guard/probe_book: what each verdict means for a file, which contents are imported with which channels, and
 * what is remembered. */
#include "guard/probe_book.h"

#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char dir[64];
static struct config config;
static struct probe_book b;
static const struct spawn_digests contents = {.model = {1}}, others = {.model = {2}};

static void on_trouble(void *arg, const char *name, const char *why) {
    (void)arg;
    CU_FAIL("a record is refused");
    (void)fprintf(stderr, "%s: %s\n", name, why);
}

static void open_book(const char *yaml) {
    struct err e = {0};
    CU_ASSERT_EQUAL_FATAL(config_parse(&config, "c.yaml", (const uint8_t *)yaml, strlen(yaml), &e), 0);
    b = (struct probe_book){.keeper = keeper_open(dir, on_trouble, NULL, &e),
                            .policies = policies_load(&config, &e)};
    CU_ASSERT_FATAL(b.keeper && b.policies);
    probe_book_load(&b, on_trouble, NULL);
}
static void close_book(void) {
    probe_book_free(&b);
    keeper_close(b.keeper);
    policies_free((struct policies *)(uintptr_t)b.policies);
}
static void begin(const char *yaml) {
    strcpy(dir, "/tmp/clpd-book-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    open_book(yaml);
}
static void finish(void) {
    char command[96];
    close_book();
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static struct probe_entry *enter(enum probe_verdict v, bool known, bool declined) {
    struct probe_record r = {
        .model = "net",
        .digests = contents,
        .known = known,
        .declined = declined,
        .report = {.verdict = v, .target = 0, .n_classes = 4, .n_covered = 4, .limit = 3.5f}};
    if (known) r.report.classes = calloc(4, sizeof *r.report.classes);
    if (known && v == PROBE_REPAIRED) {
        r.report.n_pruned = 1;
        r.report.pruned = calloc(1, sizeof *r.report.pruned);
        strcpy(r.report.pruned[0].step, "/conv");
    }
    if (!known) strcpy(r.why, "it crashed");
    struct probe_entry *e = probe_book_enter(&b, &r, false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    return e;
}

static enum probe_gate judge(bool repaired, bool other_serves) {
    struct err why = {0};
    const struct probe_case_of c = {
        .model = "net", .digests = &contents, .repaired = repaired, .other_serves = other_serves};
    const enum probe_gate g = probe_book_judge(&b, &c, &why);
    CU_ASSERT_EQUAL(g == PROBE_GATE_HOLD, why.code != ERR_NONE);
    return g;
}

/* The table of probe_book.h. */
static void test_policy(void) {
    static const struct {
        const char *yaml;
        enum probe_gate nothing, clear, suspect, suspect_beside;
        bool falls_back;
    } rows[] = {
        {"guard: {probe: off}", PROBE_GATE_SERVE, PROBE_GATE_SERVE, PROBE_GATE_SERVE, PROBE_GATE_SERVE,
         false},
        {"guard: {probe: background}", PROBE_GATE_SERVE, PROBE_GATE_SERVE, PROBE_GATE_SERVE, PROBE_GATE_SERVE,
         false},
        {"guard: {probe: background, on_suspect: hold}", PROBE_GATE_SERVE, PROBE_GATE_SERVE, PROBE_GATE_SERVE,
         PROBE_GATE_HOLD, true},
        {"guard: {probe: before-serving}", PROBE_GATE_WAIT, PROBE_GATE_SERVE, PROBE_GATE_SERVE,
         PROBE_GATE_SERVE, false},
        {"guard: {probe: before-serving, on_suspect: fall-back}", PROBE_GATE_WAIT, PROBE_GATE_SERVE,
         PROBE_GATE_SERVE, PROBE_GATE_HOLD, true},
        {"guard: {probe: before-serving, on_suspect: hold}", PROBE_GATE_WAIT, PROBE_GATE_SERVE,
         PROBE_GATE_HOLD, PROBE_GATE_HOLD, true},
        {"guard: {probe: off, overrides: {net: {probe: before-serving}}}", PROBE_GATE_WAIT, PROBE_GATE_SERVE,
         PROBE_GATE_SERVE, PROBE_GATE_SERVE, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(rows[i].yaml);
        CU_ASSERT_EQUAL(judge(false, false), rows[i].nothing);
        CU_ASSERT_FALSE(probe_book_falls_back(&b, enter(PROBE_CLEAR, true, false)));
        CU_ASSERT_EQUAL(judge(false, true), rows[i].clear);
        for (int known = 0; known < 2; known++) { /* no verdict goes the way of the suspect */
            CU_ASSERT_EQUAL(probe_book_falls_back(&b, enter(PROBE_SUSPECT, known, false)),
                            rows[i].falls_back);
            CU_ASSERT_EQUAL(judge(false, false), rows[i].suspect);
            CU_ASSERT_EQUAL(judge(false, true), rows[i].suspect_beside);
        }
        struct state_record *r = keeper_add(b.keeper, "net"); /* a person has said yes */
        r->accepted = contents;
        CU_ASSERT_EQUAL(judge(false, true), PROBE_GATE_SERVE);
        CU_ASSERT_FALSE(probe_book_falls_back(&b, enter(PROBE_SUSPECT, true, false)));
        finish();
    }
}

static void test_repairs(void) {
    const struct link_identity id = {.device = 1, .inode = 2}, another = {.device = 1, .inode = 3};
    struct err e = {0};
    begin("guard: {probe: before-serving}");
    enter(PROBE_REPAIRED, true, false);
    CU_ASSERT_TRUE(probe_book_repairs(&b, "net", &contents));
    CU_ASSERT_FALSE(probe_book_repairs(&b, "net", &others));
    CU_ASSERT_FALSE(probe_book_repairs(&b, "other", &contents));
    CU_ASSERT_EQUAL(probe_book_list(&b, "net", &id, &e), -1); /* which file it is in isn't known yet */
    probe_book_identify(&b, "net", &contents, &id);
    const int fd = probe_book_list(&b, "net", &id, &e);
    char text[64] = "";
    CU_ASSERT(fd >= 0 && pread(fd, text, sizeof text - 1, 0) == 8 && strcmp(text, "0 /conv\n") == 0);
    (void)close(fd);
    CU_ASSERT_EQUAL(probe_book_list(&b, "net", &another, &e), -1);
    CU_ASSERT_EQUAL(judge(true, false), PROBE_GATE_SERVE);
    probe_book_identify(&b, "net", &others, &id); /* it was exchanged */
    CU_ASSERT_EQUAL(probe_book_list(&b, "net", &id, &e), -1);
    enter(PROBE_REPAIRED, true, true);
    CU_ASSERT_FALSE(probe_book_repairs(&b, "net", &contents));
    CU_ASSERT_EQUAL(judge(false, false), PROBE_GATE_HOLD); /* on_repaired: hold */
    enter(PROBE_REPAIRED, true, false);
    (void)err_set(&e, ERR_VALUE, "no convolution is called so");
    probe_book_repair_failed(&b, "net", &contents, &e);
    CU_ASSERT_FALSE(probe_book_repairs(&b, "net", &contents));
    char room[ERR_TEXT];
    CU_ASSERT_PTR_NOT_NULL(strstr(probe_book_sentence(&probe_book_find(&b, "net", &contents)->record, room),
                                  "no convolution is called"));
    finish();
}

/* By contents: of those that a kept image has. */
static void test_kept(void) {
    static const uint8_t zeros[4096];
    struct state_image i = {.version = 1, .bytes = sizeof zeros, .path = "net.onnx", .digests = contents};
    char name[160];
    begin("");
    const int fd = memfd_create("t", MFD_CLOEXEC);
    CU_ASSERT_EQUAL(write(fd, zeros, sizeof zeros), (ssize_t)sizeof zeros);
    keeper_serves(b.keeper, "net", &i, fd);
    enter(PROBE_CLEAR, true, false);
    close_book();
    open_book("");
    CU_ASSERT_PTR_NOT_NULL(probe_book_find(&b, "net", &contents));
    close_book();
    open_book("guard: {threshold: 2}"); /* they were attacked as they came */
    CU_ASSERT_PTR_NOT_NULL(probe_book_find(&b, "net", &contents));
    i.version = 2;
    i.digests = others;
    keeper_serves(b.keeper, "net", &i, fd);
    i.version = 3;
    keeper_serves(b.keeper, "net", &i, fd);
    close_book(); /* waits for the writer */
    open_book("");
    CU_ASSERT_PTR_NULL(probe_book_find(&b, "net", &contents)); /* its images are gone, and it with them */
    (void)snprintf(name, sizeof name, "test -z \"$(ls %s/*.probe 2>/dev/null)\"", dir);
    CU_ASSERT_EQUAL(system(name), 0);
    (void)close(fd);
    finish();
}

SUITE(probe_book, {"each verdict under each policy", test_policy},
      {"contents and their channels", test_repairs}, {"what is remembered", test_kept});
