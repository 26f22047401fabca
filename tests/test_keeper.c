/* guard/keeper: what serves is kept, in the order in which it served. */
#include "guard/keeper.h"
#include "infer/image.h"
#include "tests/suite.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static struct keeper *k;

static void on_trouble(void *arg, const char *name, const char *why) {
    (void)arg;
    CU_FAIL("a record is refused");
    (void)fprintf(stderr, "%s: %s\n", name, why);
}

static void open_again(void) {
    struct err e = {0};
    keeper_close(k); /* waits for what is to be written */
    k = keeper_open(dir, on_trouble, NULL, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(k);
    CU_ASSERT_EQUAL(e.code, ERR_NONE);
}

static void begin(void) {
    strcpy(dir, "/tmp/clpd-keeper-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    k = NULL;
    open_again();
}
static void finish(void) {
    char command[96];
    keeper_close(k);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

/* Bytes enough for a header are all that it looks at. */
static void serve(const char *model, uint64_t version) {
    static const uint8_t zeros[4096];
    struct state_image i = {.version = version, .bytes = sizeof zeros, .path = "x.onnx"};
    int fd = memfd_create("t", MFD_CLOEXEC);
    CU_ASSERT_EQUAL(write(fd, zeros, sizeof zeros), (ssize_t)sizeof zeros);
    keeper_serves(k, model, &i, fd);
    (void)close(fd);
}

static bool has(const char *name) {
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static void the_last_two_are_kept(void) {
    begin();
    for (uint64_t v = 1; v <= 5; v++) serve("a", v);
    serve("b", 1);
    open_again();
    CU_ASSERT_EQUAL(keeper_count(k), 2);
    const struct state_record *r = keeper_find(k, "a");
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    CU_ASSERT_EQUAL(r->current.version, 5);
    CU_ASSERT_EQUAL(r->other.version, 4);
    CU_ASSERT_FALSE(has("a@3.image"));
    CU_ASSERT_TRUE(has("a@4.image") && has("a@5.image") && has("b@1.image"));
    keeper_retired(k, "a");
    open_again();
    CU_ASSERT_EQUAL(keeper_find(k, "a")->last_version, 5);
    CU_ASSERT_EQUAL(keeper_find(k, "a")->current.version, 0);
    CU_ASSERT_FALSE(has("a@4.image") || has("a@5.image"));
    CU_ASSERT_TRUE(has("b@1.image"));
    CU_ASSERT_PTR_NULL(keeper_find(k, "c"));
    finish();
}

static void failures_are_told(void) {
    char model[LINK_MODEL], path[160];
    struct err e = {0};
    begin();
    (void)snprintf(path, sizeof path, "%s/a@1.image.new", dir);
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0); /* in the writer's way */
    serve("a", 1);
    struct pollfd p = {.fd = keeper_fd(k), .events = POLLIN};
    CU_ASSERT_EQUAL(poll(&p, 1, 60000), 1);
    CU_ASSERT_TRUE(keeper_failure(k, model, &e));
    CU_ASSERT_STRING_EQUAL(model, "a");
    CU_ASSERT_FALSE(keeper_failure(k, model, &e));
    CU_ASSERT_EQUAL(poll(&p, 1, 0), 0);
    CU_ASSERT_EQUAL(rmdir(path), 0);
    finish();
}

static void without_a_folder_it_remembers(void) {
    struct err e = {0};
    strcpy(dir, "/proc/clpd-no-such-folder");
    k = keeper_open(dir, on_trouble, NULL, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(k);
    CU_ASSERT_EQUAL(e.code, ERR_SYSTEM);
    serve("a", 1);
    CU_ASSERT_EQUAL(keeper_find(k, "a")->current.version, 1);
    CU_ASSERT_EQUAL(keeper_load(k, keeper_find(k, "a"), &keeper_find(k, "a")->current, &e), -1);
    keeper_close(k);
}

SUITE(keeper, {"the last two are kept", the_last_two_are_kept}, {"failures are told", failures_are_told},
      {"without a folder it remembers", without_a_folder_it_remembers});
