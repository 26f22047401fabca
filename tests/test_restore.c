/* guard/restore: what is kept is offered once, before anything else, and what is of no use is said. */
#include "guard/restore.h"
#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char dir[64], refused_said[1024];
static struct keeper *k;
static struct files *f;
static struct restore r;

static void on_trouble(void *arg, const char *name, const char *why) {
    (void)arg, (void)name, (void)why;
}
static void on_refused(void *arg, const struct state_record *record, uint64_t version, const char *why) {
    (void)arg;
    size_t n = strlen(refused_said);
    (void)snprintf(refused_said + n, sizeof refused_said - n, "%s %llu %s\n", record->model,
                   (unsigned long long)version, why);
}

static void keep_one(const char *model, uint64_t version, uint64_t policy) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_input(g, SHAPE(1, 3, 8, 8));
    fixture_output(g, fixture_relu(g, x));
    struct compiled c = fixture_compile_here(g);
    struct state_image i = {.version = version, .bytes = c.size, .policy = policy, .path = "x.onnx"};
    int fd = memfd_create("t", MFD_CLOEXEC);
    CU_ASSERT_EQUAL(write(fd, c.bytes, c.size), (ssize_t)c.size);
    memcpy(i.digests.model, image_header(c.img)->source_sha256, 32);
    keeper_serves(k, model, &i, fd);
    (void)close(fd);
    fixture_discard(&c);
    graph_free(g);
}

static void begin(void) {
    struct err e = {0};
    strcpy(dir, "/tmp/clpd-restore-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    k = keeper_open(dir, on_trouble, NULL, &e);
    keep_one("a", 3, 5);
    keep_one("b", 1, 5);
    keep_one("c", 2, 4); /* decided under another policy */
    keep_one("d", 7, 5);
    keep_one("gone", 9, 5);
    keeper_retired(k, "gone");
    keeper_close(k);
    k = keeper_open(dir, on_trouble, NULL, &e);
    f = files_new(&(struct files_options){.policy = 5});
    refused_said[0] = 0;
    r = (struct restore){.keeper = k, .files = f, .policy = 5, .refused = on_refused, .fd = -1};
}
static void finish(void) {
    char command[96];
    restore_end(&r);
    files_free(f);
    keeper_close(k);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static struct link_message offered(const char *model) {
    struct link_message m = {0};
    int fd = -1;
    CU_ASSERT_TRUE(restore_next(&r, &m, &fd));
    CU_ASSERT_STRING_EQUAL(m.model, model);
    CU_ASSERT_TRUE(fd >= 0);
    restore_sent(&r);
    return m;
}

static void answered(struct link_message m, bool accepted) {
    m.type = LINK_ANSWER;
    m.accepted = accepted;
    if (!accepted) strcpy(m.reason, "not this one");
    CU_ASSERT_TRUE(restore_on_answer(&r, &m));
}

static void in_order_and_before_anything_else(void) {
    struct link_message m;
    int fd;
    begin();
    CU_ASSERT_FALSE(restore_next(&r, &m, &fd)); /* it is not known yet what clpd serves */
    CU_ASSERT_FALSE(restore_is_done(&r));
    restore_begin(&r);
    struct link_message a = offered("a"), b = offered("b");
    CU_ASSERT_EQUAL(a.model_version, 3);
    CU_ASSERT_FALSE(restore_next(&r, &m, &fd)); /* two at once */
    answered(a, true);
    CU_ASSERT_TRUE(files_serves(f, "a"));
    struct link_message d = offered("d");
    CU_ASSERT_PTR_NOT_NULL(strstr(refused_said, "c 2 it was decided under another policy"));
    answered(b, false);
    CU_ASSERT_FALSE(files_serves(f, "b"));
    CU_ASSERT_PTR_NOT_NULL(strstr(refused_said, "b 1 not this one"));
    CU_ASSERT_FALSE(restore_is_done(&r));
    answered(d, true);
    CU_ASSERT_FALSE(restore_next(&r, &m, &fd));
    CU_ASSERT_TRUE(restore_is_done(&r));
    keep_one("new", 1, 5); /* what is kept from now on is no longer its business */
    CU_ASSERT_TRUE(restore_is_done(&r));
    CU_ASSERT_FALSE(restore_on_answer(&r, &(struct link_message){.model = "a", .model_version = 3}));
    CU_ASSERT_EQUAL(keeper_find(k, "b")->current.version, 0);
    CU_ASSERT_EQUAL(keeper_find(k, "c")->current.version, 2);
    finish();
}

static void what_serves_already_is_left_alone(void) {
    begin();
    files_on_serving(f, &(struct link_message){.model = "a", .path = "a.onnx", .model_version = 4});
    restore_begin(&r);
    (void)offered("b");
    (void)offered("d");
    CU_ASSERT_TRUE(files_serves(f, "a"));
    finish();
}

/* An image that systemd kept over a restart with another policy. */
static void another_policy_than_that_of_what_serves(void) {
    struct link_message m = {.type = LINK_SERVING, .model = "a", .policy = 4}, got;
    int fd = 0;
    begin();
    CU_ASSERT_TRUE(restore_allows(&r, &m)); /* only the guard was restarted */
    m.inherited = 1;
    CU_ASSERT_FALSE(restore_allows(&r, &m));
    m.policy = 5;
    CU_ASSERT_TRUE(restore_allows(&r, &m));
    CU_ASSERT_FALSE(restore_next(&r, &got, &fd));
    restore_begin(&r);
    CU_ASSERT_TRUE_FATAL(restore_next(&r, &got, &fd));
    CU_ASSERT_TRUE(got.type == LINK_RETIRE && strcmp(got.model, "a") == 0 && fd == -1);
    CU_ASSERT_FALSE(restore_is_done(&r));
    restore_sent(&r);
    (void)offered("a"); /* what is kept of it was decided under today's */
    finish();
}

SUITE(restore, {"in order, before anything else", in_order_and_before_anything_else},
      {"what serves already is left alone", what_serves_already_is_left_alone},
      {"another policy than that of what serves", another_policy_than_that_of_what_serves});
