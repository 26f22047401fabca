/* guard/control: what is asked for is answered once, when it is done or can't be. */
#include "guard/control.h"
#include "tests/files_case.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"

#include <stdlib.h>

static char dir[64];
static struct keeper *k;
static struct control c;

static void on_trouble(void *arg, const char *name, const char *why) {
    (void)arg, (void)name, (void)why;
}
static void on_trace(void *arg, const struct link_message *m, uint32_t from) {
    (void)from;
    control_on_file(arg, m);
}
static void on_keep(void *arg, const char *model, const struct state_image *image, int fd) {
    /* A real image, since it is loaded again. */
    struct graph *g = fixture_graph();
    fixture_output(g, fixture_relu(g, fixture_input(g, SHAPE(1, 3, 8, 8))));
    struct compiled made = fixture_compile_here(g);
    struct state_image i = *image;
    int copy = memfd_create("t", MFD_CLOEXEC);
    (void)arg, (void)fd;
    CU_ASSERT_EQUAL(write(copy, made.bytes, made.size), (ssize_t)made.size);
    i.bytes = made.size;
    memcpy(i.digests.model, image_header(made.img)->source_sha256, 32);
    i.digests.external[0] = image->digests.model[0]; /* so that versions differ */
    keeper_serves(k, model, &i, copy);
    (void)close(copy);
    fixture_discard(&made);
    graph_free(g);
}

static void start(void) {
    struct err e = {0};
    strcpy(dir, "/tmp/clpd-control-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    k = keeper_open(dir, on_trouble, NULL, &e);
    begin();
    c = (struct control){.keeper = k, .files = f, .policy = 3};
    files_set_trace(f, on_trace, &c);
    files_set_keep(f, on_keep, NULL);
}
static void stop(void) {
    char command[96];
    control_end(&c);
    finish();
    keeper_close(k);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void ask(uint32_t action, const char *model, uint64_t ticket) {
    struct link_message m = {
        .type = LINK_CONTROL, .count = action, .model_version = ticket, .reason = "user 7"};
    (void)snprintf(m.model, sizeof m.model, "%s", model);
    control_take(&c, &m, now);
}

/* The answer to this ticket: done or not; its words hold `part`. */
static void expect_answer(uint64_t ticket, bool done, const char *part) {
    struct link_message m = {0};
    int fd;
    CU_ASSERT_TRUE(control_next(&c, &m, &fd));
    CU_ASSERT_EQUAL(m.type, LINK_CONTROLLED);
    CU_ASSERT_EQUAL(m.model_version, ticket);
    CU_ASSERT_EQUAL(m.accepted, done);
    CU_ASSERT_PTR_NOT_NULL(strstr(m.reason, part));
    if (!strstr(m.reason, part)) fprintf(stderr, "\n  %s\n", m.reason);
    control_sent(&c, &m);
    CU_ASSERT_FALSE(control_next(&c, &m, &fd));
}

static void what_can_not_be(void) {
    start();
    ask(LINK_ROLLBACK, "a", 1);
    expect_answer(1, false, "nothing to go back from");
    ask(LINK_ACCEPT, "a", 2);
    expect_answer(2, false, "no file of a is held");
    ask(9, "a", 3);
    expect_answer(3, false, "no such action");
    put("a.onnx", "a", 0, 1);
    serve("a.onnx", 1);
    ask(LINK_ROLLBACK, "a", 4);
    expect_answer(4, false, "no version of a before 1");
    files_set_keep(f, NULL, NULL);
    put("b.onnx", "b", 0, 2);
    serve("b.onnx", 2);
    ask(LINK_ROLLBACK, "b", 5);
    expect_answer(5, false, "b that serves is not kept yet");
    stop();
}

static void a_held_file_is_accepted(void) {
    start();
    put("a.onnx", "a", 0, 1);
    scan();
    CU_ASSERT_TRUE(next("a.onnx"));
    struct spawn_result r = {
        .fd = -1, .has_digests = true, .digests.model = {5}, .report.verdict = VERDICT_PRUNED};
    files_import_held(f, &job, &r, "too much", identity_of("a.onnx"), now);
    EXPECT_STATE("a.onnx", "held");
    CU_ASSERT_PTR_NOT_NULL(strstr(last_file.reason, "too much; clpctl accept a"));
    ask(LINK_ACCEPT, "a", 1);
    ask(LINK_ACCEPT, "a", 2);
    expect_answer(2, false, "somebody else is at work");
    CU_ASSERT_EQUAL(keeper_find(k, "a")->accepted.model[0], 5);
    serve("a.onnx", 5);
    expect_answer(1, true, "a: version 1 (a.onnx) serves");
    stop();
}

static void an_accepted_file_may_fail_or_go(void) {
    start();
    for (uint64_t ticket = 1; ticket < 3; ticket++) {
        put("a.onnx", "a", 0, ticket)->complete = true;
        scan();
        CU_ASSERT_TRUE(next("a.onnx"));
        struct spawn_result r = {.fd = -1, .has_digests = true, .digests.model = {5}};
        files_import_held(f, &job, &r, "too much", identity_of("a.onnx"), now);
        ask(LINK_ACCEPT, "a", ticket);
        if (ticket == 1) {
            scan();
            CU_ASSERT_TRUE(next("a.onnx"));
            failed_with(ERR_VALUE, "a bad weight");
            expect_answer(1, false, "a.onnx is rejected: a bad weight");
        } else {
            take_away("a.onnx");
            scan();
            talk();
            expect_answer(2, false, "a.onnx is gone");
        }
    }
    stop();
}

SUITE(control, {"what can't be", what_can_not_be}, {"a held file is accepted", a_held_file_is_accepted},
      {"an accepted file may fail or go", an_accepted_file_may_fail_or_go});
