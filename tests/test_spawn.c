/* guard/spawn: workers that crash, hang, chatter or lie end as one message, and an
 * image that comes back is sealed. Shell scripts play the worker here; the real
 * one is tested in test_worker.c. */
#include "guard/spawn.h"
#include "guard/worker_wire.h"
#include "tests/suite.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IMAGE_BYTES 4096

static char dir[64];
static struct spawn_result result;

static const char *in_dir(const char *name) {
    static char path[4][128];
    static unsigned turn;
    char *p = path[turn++ % 4];
    (void)snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

/* A worker that is a shell script; $F is the test's folder. */
static struct spawn_request script(const char *body) {
    FILE *f = fopen(in_dir("worker"), "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fprintf(f, "#!/bin/sh\nF=%s\n%s\n", dir, body);
    CU_ASSERT_EQUAL(fclose(f), 0);
    CU_ASSERT_EQUAL(chmod(in_dir("worker"), 0700), 0);
    struct spawn_request r;
    spawn_defaults(&r);
    static char path[128];
    (void)snprintf(path, sizeof path, "%s", in_dir("worker"));
    r.guard_path = path;
    r.model_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    r.seconds = 30;
    r.output = 1 << 20;
    return r;
}

/* Frames for the scripts to send: "digest", "done" (claims IMAGE_BYTES), "needs", "error". */
static void set_up(void) {
    strcpy(dir, "/tmp/clpd-spawn-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    struct spawn_digests d = {.model = {42}};
    struct report r = {.threshold = 3, .verdict = VERDICT_NOT_APPLICABLE, .source_sha256 = {42}};
    struct err e = {ERR_VALUE, "a weight is not a number"};
    static const char *const names[] = {"digest", "done", "needs", "error"};
    for (int i = 0; i < 4; i++) {
        int fd = open(in_dir(names[i]), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CU_ASSERT_TRUE_FATAL(fd >= 0);
        int rc = i == 0   ? worker_send_digests(fd, &d)
                 : i == 1 ? worker_send_done(fd, IMAGE_BYTES, &r)
                 : i == 2 ? worker_send_needs(fd, "weights.bin")
                          : worker_send_error(fd, &e);
        CU_ASSERT_EQUAL(rc, 0);
        (void)close(fd);
    }
}

static void tear_down(void) {
    static const char *const names[] = {"digest", "done", "needs", "error", "worker", "out"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) (void)unlink(in_dir(names[i]));
    (void)rmdir(dir);
}

static void run(const char *body) {
    struct spawn_request r = script(body);
    (void)spawn_run(&r, &result);
    (void)close(r.model_fd);
}

static void expect_failure(const char *body, enum err_code code, const char *part) {
    run(body);
    CU_ASSERT_EQUAL(result.fd, -1);
    CU_ASSERT_EQUAL(result.err.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.err.text, part));
    if (!strstr(result.err.text, part)) fprintf(stderr, "got: %s\n", result.err.text);
    spawn_result_free(&result);
}

static void a_good_one(void) {
    set_up();
    run("cat $F/digest >&5; head -c 4096 /dev/zero >&4; cat $F/done >&5");
    CU_ASSERT_EQUAL(result.err.code, ERR_NONE);
    CU_ASSERT_EQUAL(result.bytes, IMAGE_BYTES);
    CU_ASSERT_EQUAL(result.digests.model[0], 42);
    CU_ASSERT_EQUAL(result.report.verdict, VERDICT_NOT_APPLICABLE);
    int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    CU_ASSERT_EQUAL(fcntl(result.fd, F_GET_SEALS) & seals, seals);
    CU_ASSERT_EQUAL(pwrite(result.fd, "x", 1, 0), -1);
    CU_ASSERT_EQUAL(errno, EPERM);
    CU_ASSERT_EQUAL(ftruncate(result.fd, 0), -1);
    spawn_result_free(&result);
    tear_down();
}

static void endings(void) {
    set_up();
    expect_failure("kill -SEGV $$", ERR_INTERNAL, "crashed (Segmentation fault)");
    expect_failure("kill -ABRT $$", ERR_INTERNAL, "crashed (Aborted)");
    expect_failure("kill -BUS $$", ERR_SYSTEM, "changed while it was read");
    expect_failure("kill -SYS $$", ERR_INTERNAL, "forbidden system call");
    expect_failure("kill -XCPU $$", ERR_LIMIT, "CPU time");
    expect_failure("kill -XFSZ $$", ERR_LIMIT, "guard.worker.output");
    expect_failure("kill -KILL $$", ERR_SYSTEM, "from outside");
    expect_failure("exit 0", ERR_INTERNAL, "without a result (status 0)");
    expect_failure("cat $F/digest >&5; exit 7", ERR_INTERNAL, "without a result (status 7)");
    expect_failure("cat $F/digest $F/error >&5", ERR_VALUE, "a weight is not a number");
    expect_failure("cat $F/error >&5", ERR_VALUE, "a weight is not a number");
    tear_down();
}

static void lies(void) {
    set_up();
    expect_failure("echo hello, I am fine >&5", ERR_INTERNAL, "broke its protocol");
    expect_failure("exec cat /dev/zero >&5", ERR_INTERNAL, "not a frame");
    expect_failure("cat $F/done >&5", ERR_INTERNAL, "no digest");
    expect_failure("cat $F/digest $F/done >&5", ERR_INTERNAL,
                   "said that it wrote 4096 bytes, but 0 are there");
    expect_failure("head -c 4097 /dev/zero >&4; cat $F/digest $F/done >&5", ERR_INTERNAL,
                   "but 4097 are there");
    expect_failure("head -c 4096 /dev/zero >&4; cat $F/digest $F/done >&5; kill -SEGV $$", ERR_INTERNAL,
                   "crashed");
    tear_down();
}

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void a_hang_ends(void) {
    set_up();
    double start = now();
    struct spawn_request r = script("cat $F/digest >&5; exec sleep 1000");
    r.seconds = 1;
    CU_ASSERT_EQUAL(spawn_run(&r, &result), -1);
    CU_ASSERT_TRUE(now() - start < 20);
    CU_ASSERT_EQUAL(result.err.code, ERR_LIMIT);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.err.text, "longer than 1 s"));
    spawn_result_free(&result);
    (void)close(r.model_fd);
    tear_down();
}

static void digest_comes_early(void) {
    set_up();
    struct spawn_request r = script("cat $F/digest >&5; exec sleep 1000");
    struct spawn *s = NULL;
    struct err e;
    double start = now();
    CU_ASSERT_EQUAL_FATAL(spawn_start(&s, &r, &e), 0);
    struct pollfd p = {.fd = spawn_fd(s), .events = POLLIN};
    while (!spawn_digests(s) && now() - start < 20) {
        (void)poll(&p, 1, 1000);
        CU_ASSERT_FALSE(spawn_step(s));
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(spawn_digests(s));
    CU_ASSERT_EQUAL(spawn_digests(s)->model[0], 42);
    spawn_finish(s, &result);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.err.text, "was stopped"));
    CU_ASSERT_TRUE(result.has_digests);
    CU_ASSERT_TRUE(now() - start < 20);
    spawn_result_free(&result);
    (void)close(r.model_fd);
    tear_down();
}

static void names_what_it_needs(void) {
    set_up();
    expect_failure("cat $F/digest $F/needs >&5", ERR_TRUNCATED, "weights.bin");
    run("cat $F/digest $F/needs >&5");
    CU_ASSERT_STRING_EQUAL(result.needs, "weights.bin");
    spawn_result_free(&result);
    tear_down();
}

static void slurp(const char *name, char *to, size_t cap) {
    FILE *f = fopen(in_dir(name), "r");
    size_t n = f ? fread(to, 1, cap - 1, f) : 0;
    to[n] = 0;
    if (f) (void)fclose(f);
}

static void gets_nothing_but_its_descriptors(void) {
    set_up();
    char text[4096];
    int leak = fcntl(0, F_DUPFD, 40); /* on purpose without O_CLOEXEC */
    (void)setenv("CLPD_TEST_LEAK", "secret", 1);
    /* By the shell alone, which has a pipe's ends itself while it starts another program; from 10 on it has
     * its own. */
    run("for f in 0 1 2 3 4 5 6 7 8 9 40; do [ -e /proc/$$/fd/$f ] && printf '%s ' $f; done > $F/out; env >> "
        "$F/out");
    spawn_result_free(&result);
    (void)unsetenv("CLPD_TEST_LEAK");
    (void)close(leak);
    slurp("out", text, sizeof text);
    CU_ASSERT_EQUAL(strncmp(text, "0 1 2 3 4 5 ", 12), 0); /* the first three are /dev/null */
    CU_ASSERT_FALSE(isdigit((unsigned char)text[12]));
#ifndef __SANITIZE_ADDRESS__
    CU_ASSERT_PTR_NULL(strstr(text, "secret"));
#endif
    tear_down();
}

static void low_priority(void) {
    set_up();
    char text[64] = "";
    struct spawn_request r = script("while n=$(nice) p=$(cut -d' ' -f41 /proc/$$/stat); echo $n $p > $F/out; "
                                    "[ \"$n $p\" != \"10 3\" ]; do sleep "
                                    "0.05; done");
    r.priority = PRIORITY_LOW;
    (void)spawn_run(&r, &result);
    spawn_result_free(&result);
    (void)close(r.model_fd);
    slurp("out", text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "10 3\n"); /* SCHED_BATCH */
    r = script("while p=$(cut -d' ' -f41 /proc/$$/stat); echo $p > $F/out; [ $p != 5 ]; do sleep 0.05; done");
    r.priority = PRIORITY_IDLE;
    (void)spawn_run(&r, &result);
    spawn_result_free(&result);
    (void)close(r.model_fd);
    slurp("out", text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "5\n"); /* SCHED_IDLE */
    tear_down();
}

/* Fills the memfd without having limited itself: the guard has. */
static void output_is_limited_from_outside(void) {
    set_up();
    expect_failure("exec cat /dev/zero >&4", ERR_LIMIT, "guard.worker.output");
    tear_down();
}

static int count_open(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void cannot_start(void) {
    set_up();
    int before = count_open();
    struct spawn_request r = script("");
    r.guard_path = in_dir("absent");
    CU_ASSERT_EQUAL(spawn_run(&r, &result), -1);
    CU_ASSERT_EQUAL(result.err.code, ERR_SYSTEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(result.err.text, "No such file"));
    (void)close(r.model_fd);
    CU_ASSERT_EQUAL(count_open(), before);
    tear_down();
}

static void keeps_no_descriptor(void) {
    set_up();
    int before = count_open();
    run("cat $F/digest >&5; head -c 4096 /dev/zero >&4; cat $F/done >&5");
    spawn_result_free(&result);
    run("kill -SEGV $$");
    spawn_result_free(&result);
    CU_ASSERT_EQUAL(count_open(), before);
    tear_down();
}

static void finds_the_guard(void) {
    char path[PATH_MAX];
    struct err e = {0};
    if (spawn_find_guard(path, &e) < 0) {
        CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "libexec/clpd"));
        suite_skip("finds the guard", "no clp-guard beside the tests");
        return;
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(path, "/clp-guard"));
    CU_ASSERT_EQUAL(access(path, X_OK), 0);
}

SUITE(spawn, {"an image comes back sealed", a_good_one}, {"every ending has its message", endings},
      {"lies are found out", lies}, {"a hang ends", a_hang_ends},
      {"the digest comes early, and stopping is possible", digest_comes_early},
      {"names the file that it needs", names_what_it_needs},
      {"the worker gets nothing but its descriptors", gets_nothing_but_its_descriptors},
      {"low priority", low_priority}, {"output is limited from outside, too", output_is_limited_from_outside},
      {"can't start", cannot_start}, {"keeps no descriptor", keeps_no_descriptor},
      {"finds the guard", finds_the_guard});
