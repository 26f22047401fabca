/* The guard as a child: greeted, heard, restarted with back-off, stopped. The
 * guards of these tests are shell scripts: cat writes a prepared message in one
 * write(2), which is one packet. */
#include "daemon/guard_child.h"
#include "daemon/log.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], script[96];
static struct loop *loop;
static struct guard_child *guard;
static uint32_t greeted, heard, last_type;
static bool held_up, busy;

static uint32_t count_served(void *owner) {
    (void)owner;
    return 7;
}

static void on_greeted(void *owner) {
    (void)owner;
    greeted++;
}
static void on_heard(void *owner, const struct link_message *m, int fd) {
    (void)owner;
    heard++;
    last_type = m->type;
    if (fd >= 0) close(fd);
}
static bool can_greet(void *owner) {
    (void)owner;
    return !busy;
}
static bool can_take(void *owner) {
    (void)owner;
    return !held_up;
}

static void put(const char *name, const struct link_message *m) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    CU_ASSERT_EQUAL(write(fd, m, sizeof *m), (ssize_t)sizeof *m);
    close(fd);
}

/* Starts a guard that does `what`; $D is the folder. */
static void begin(const char *what) {
    static const struct guard_child_calls calls = {count_served, on_greeted, on_heard,
                                                   can_greet,    can_take,   NULL};
    struct link_message m = {.version = LINK_VERSION, .type = LINK_HELLO};
    log_set_level(LOG_LEVEL_ERROR);
    strcpy(folder, "/tmp/clpd-guard-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(script, sizeof script, "%s/guard", folder);
    FILE *f = fopen(script, "w");
    (void)fprintf(f, "#!/bin/sh\nD=%s\necho \"$@\" >>$D/arguments\n%s\n", folder, what);
    (void)fclose(f);
    (void)chmod(script, 0700);
    put("hello", &m);
    m.type = LINK_FILE;
    put("file", &m);
    m.type = LINK_SETTLED;
    put("settled", &m);
    m.type = LINK_ALIVE;
    strcpy(m.reason, "polling: a test");
    put("alive", &m);
    m.version++;
    put("nonsense", &m);
    greeted = heard = last_type = 0;
    held_up = busy = false;
    struct err e;
    loop = loop_new(LOOP_ANY, 1, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
    guard = guard_child_start(loop, script, "/etc/clpd.yaml", &calls);
    CU_ASSERT_PTR_NOT_NULL_FATAL(guard);
}

static void finish(void) {
    char command[128];
    guard_child_free(guard);
    loop_free(loop);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static bool wait_for(const uint32_t *n, uint32_t want) {
    const uint64_t end = loop_clock() + 5000000000u;
    while (*n < want && loop_clock() < end) (void)loop_turn(loop, 10000000);
    return *n >= want;
}

static bool wait_restarts(uint64_t want) {
    const uint64_t end = loop_clock() + 5000000000u;
    while (guard_child_restarts(guard) < want && loop_clock() < end) (void)loop_turn(loop, 10000000);
    return guard_child_restarts(guard) >= want;
}

static long size_of(const char *name) {
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) ? -1 : (long)st.st_size;
}

static void talking(void) {
    begin("cat $D/hello >&3; cat $D/file >&3; cat $D/settled >&3; exec cat <&3 >$D/got");
    CU_ASSERT_EQUAL(greeted, 0);
    CU_ASSERT_TRUE(wait_for(&heard, 2));
    CU_ASSERT_EQUAL(greeted, 1);
    CU_ASSERT_EQUAL(last_type, LINK_SETTLED);
    CU_ASSERT_STRING_EQUAL(guard_child_state(guard), "up");
    CU_ASSERT_TRUE(guard_child_pid(guard) > 0);
    const struct link_message m = {.type = LINK_RELOAD};
    guard_child_send(guard, &m);
    const long both = 2 * (long)sizeof m; /* HELLO came first */
    for (int i = 0; i < 200 && size_of("got") < both; i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_EQUAL(size_of("got"), both);
    CU_ASSERT_EQUAL(size_of("arguments"), (long)strlen("--config /etc/clpd.yaml --link-fd 3\n"));
    guard_child_stop(guard);
    for (int i = 0; i < 200 && !guard_child_is_stopped(guard); i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_TRUE(guard_child_is_stopped(guard));
    CU_ASSERT_EQUAL(guard_child_restarts(guard), 0);
    CU_ASSERT_EQUAL(guard_child_pid(guard), 0);
    finish();
}

/* It dies again and again: 0.1 s, 0.2 s, 0.4 s in between. */
static void dying(void) {
    const uint64_t start = loop_clock();
    begin("cat $D/hello >&3; exit 3");
    const uint64_t ticket = guard_child_ticket(guard);
    CU_ASSERT_TRUE(wait_restarts(3));
    CU_ASSERT_TRUE(loop_clock() - start >= 700000000u);
    CU_ASSERT_TRUE(greeted >= 3);
    CU_ASSERT_TRUE(guard_child_ticket(guard) > ticket);
    guard_child_stop(guard);
    for (int i = 0; i < 200 && !guard_child_is_stopped(guard); i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_TRUE(guard_child_is_stopped(guard));
    finish();
}

static void killed(void) {
    begin("cat $D/hello >&3; exec sleep 60");
    CU_ASSERT_TRUE(wait_for(&greeted, 1));
    CU_ASSERT_EQUAL(kill(guard_child_pid(guard), SIGKILL), 0);
    CU_ASSERT_TRUE(wait_for(&greeted, 2));
    CU_ASSERT_EQUAL(guard_child_restarts(guard), 1);
    finish(); /* with one alive: it is killed */
}

static void nonsense(void) {
    static const char *const says[] = {
        "cat $D/hello >&3; cat $D/nonsense >&3; exec sleep 60", /* a message of another version */
        "cat $D/hello >&3; cat $D/hello >&3; exec sleep 60",    /* out of turn */
        "cat $D/file >&3; exec sleep 60",                       /* before it said hello */
        "cat $D/hello >&3; echo rubbish >&3; exec sleep 60",    /* no message at all */
        "cat $D/hello >&3; exec 3>&-; exec sleep 60"};          /* hangs up, and stays */
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        begin(says[i]);
        CU_ASSERT_TRUE(wait_restarts(1));
        CU_ASSERT_EQUAL(heard, 0);
        finish();
    }
}

static void missing(void) {
    begin("exit 0");
    (void)unlink(script);
    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1)); /* each attempt says so */
    CU_ASSERT_TRUE(wait_restarts(0));
    for (int i = 0; i < 30; i++) (void)loop_turn(loop, 10000000);
    guard_child_stop(guard);
    for (int i = 0; i < 50 && !guard_child_is_stopped(guard); i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_TRUE(guard_child_is_stopped(guard));
    finish();
}

static void held(void) {
    begin("cat $D/hello >&3; cat $D/file >&3; cat $D/file >&3; exec sleep 60");
    held_up = true;
    for (int i = 0; i < 30; i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_EQUAL(greeted, 1);
    CU_ASSERT_EQUAL(heard, 0); /* left in the socket */
    held_up = false;
    guard_child_resume(guard);
    CU_ASSERT_TRUE(wait_for(&heard, 2));
    finish();
}

/* One that reads nothing and is told much: it is not waited for. */
static void deaf(void) {
    begin("cat $D/hello >&3; exec sleep 60");
    const struct link_message m = {.type = LINK_SERVING};
    CU_ASSERT_TRUE(wait_for(&greeted, 1));
    for (int i = 0; i < 2000; i++) guard_child_send(guard, &m);
    CU_ASSERT_TRUE(wait_restarts(1));
    finish();
}

/* One that hangs says nothing; one that has nothing to do says that it is there. */
static void silent(void) {
    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    begin("cat $D/hello >&3; exec sleep 60");
    CU_ASSERT_TRUE(wait_for(&greeted, 1));
    for (int i = 0; i < 30; i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_EQUAL(guard_child_restarts(guard), 0); /* nobody asked for more than that */
    guard_child_set_silence(guard, 40000000);
    CU_ASSERT_TRUE(wait_restarts(1));
    CU_ASSERT_TRUE(wait_for(&greeted, 2));
    CU_ASSERT_TRUE(wait_restarts(2)); /* the next one is watched, too */
    finish();
    begin("cat $D/hello >&3; while cat $D/alive >&3; do sleep 0.02; done");
    guard_child_set_silence(guard, 4000000000u);
    CU_ASSERT_TRUE(wait_for(&greeted, 1));
    for (int i = 0; i < 1000 && !*guard_child_watching(guard); i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_STRING_EQUAL(guard_child_watching(guard), "polling: a test");
    CU_ASSERT_EQUAL(heard, 0); /* it is of no interest to anybody else */
    CU_ASSERT_EQUAL(guard_child_restarts(guard), 0);
    finish();
}

/* What we leave in the socket is no silence of the guard's. */
static void not_listened_to(void) {
    begin("cat $D/hello >&3; exec sleep 60");
    CU_ASSERT_TRUE(wait_for(&greeted, 1));
    held_up = true;
    guard_child_set_silence(guard, 20000000);
    for (int i = 0; i < 50; i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_EQUAL(guard_child_restarts(guard), 0);
    finish();
}

/* While something that an earlier guard has asked for is under way, the next one is not greeted. */
static void greeted_when_idle(void) {
    begin("cat $D/hello >&3; exec sleep 60");
    busy = true;
    for (int i = 0; i < 30; i++) (void)loop_turn(loop, 10000000);
    CU_ASSERT_EQUAL(greeted, 0);
    CU_ASSERT_STRING_EQUAL(guard_child_state(guard), "starting");
    busy = false;
    guard_child_resume(guard);
    CU_ASSERT_EQUAL(greeted, 1);
    finish();
}

SUITE(guard_child, {"greeted, heard, told, stopped", talking}, {"dies: restarted with back-off", dying},
      {"killed: restarted", killed}, {"talks nonsense: restarted", nonsense}, {"missing", missing},
      {"held up", held}, {"deaf", deaf}, {"silent: restarted", silent}, {"not listened to", not_listened_to},
      {"greeted when nothing is under way", greeted_when_idle});
