/* guard/guard: the real guard process on a real folder; the test plays clpd at the other end of the link. */
#include "guard/files.h"
#include "guard/link.h"
#include "guard/spawn.h"
#include "infer/digest.h"
#include "infer/image.h"
#include "tests/onnx_bytes.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* for waiting, never for asserting speed */
#define LINES       512

static const float weights[4] = {1, 2, 3, 4};
static char dir[64], config[96], models[96];
static pid_t guard_pid;
static int link_fd;

/* What the guard has told so far. */
static struct link_message lines[LINES]; /* the latest FILE of each path */
static int n_lines, offers;
static struct link_message last_offer, settled, alive;
static char retired[LINK_MODEL], labels[64];
static bool greeted, refuse, mute;

static uint64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- the folder ------------------------------------------------------------------------ */

static const char *at(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *at(const char *fmt, ...) { /* a path in the test's folder */
    static char paths[4][512];
    static unsigned turn;
    char name[256], *p = paths[turn++ % 4];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    (void)snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void write_file(const char *path, const void *bytes, size_t n) { /* as cp does it */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, bytes, n), (ssize_t)n);
    CU_ASSERT_EQUAL(close(fd), 0);
}
static void write_text(const char *path, const char *text) {
    write_file(path, text, strlen(text));
}
static void write_model(const char *path, const char *note) {
    struct onnx_bytes m = onnx_add_model(weights, NULL, note);
    write_file(path, m.b, m.n);
}
static void move_model(const char *path, const char *note) { /* complete when it appears */
    write_model(at("incoming"), note);
    CU_ASSERT_EQUAL(rename(at("incoming"), path), 0);
}
static void make_old(const char *path) {
    struct timespec times[2] = {{.tv_sec = 1600000000}, {.tv_sec = 1600000000}};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void write_config(const char *more) {
    char text[512];
    (void)snprintf(text, sizeof text,
                   "models: %s\nstate: %s/state\nguard:\n  settle_ms: 300\n  probe: off\n  retire_s: 1\n  "
                   "rescan_s: 3600\n%s",
                   models, dir, more);
    write_text(config, text);
}

/* --- the guard ------------------------------------------------------------------------- */

static void send_type(uint32_t type) {
    struct link_message m = {.version = LINK_VERSION, .type = type};
    CU_ASSERT_EQUAL(link_send(link_fd, &m, -1), 0);
}

static void launch(void) {
    char path[PATH_MAX], number[16];
    struct err e = {0};
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(spawn_find_guard(path, &e), 0);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    link_fd = ends[0];
    CU_ASSERT_EQUAL(fcntl(link_fd, F_SETFL, O_NONBLOCK), 0);
    (void)snprintf(number, sizeof number, "%d", ends[1]);
    (void)fflush(NULL);
    guard_pid = fork();
    CU_ASSERT_TRUE_FATAL(guard_pid >= 0);
    if (guard_pid == 0) {
        int log = open(at("log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(log, 2);
        (void)fcntl(ends[1], F_SETFD, 0);
        (void)execl(path, "clp-guard", "--config", config, "--link-fd", number, (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    n_lines = offers = 0;
    greeted = refuse = mute = false;
    retired[0] = labels[0] = 0;
    settled = (struct link_message){0};
}

static void begin(void) {
    strcpy(dir, "/tmp/clpd-guard-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    strcpy(config, at("clpd.yaml"));
    strcpy(models, at("models"));
    write_config("");
    CU_ASSERT_EQUAL(mkdir(models, 0755), 0);
}

/* Exit status, or minus the signal. */
static int wait_exit(void) {
    int status = 0;
    uint64_t end = now_ms() + PATIENCE_MS;
    while (waitpid(guard_pid, &status, WNOHANG) == 0) {
        if (now_ms() > end) (void)kill(guard_pid, SIGKILL);
        (void)poll(NULL, 0, 5);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void show_log(const char *why) {
    char line[600];
    FILE *f = fopen(at("log"), "r");
    fprintf(stderr, "\n%s; the guard's log:\n", why);
    while (f && fgets(line, sizeof line, f)) fputs(line, stderr);
    if (f) (void)fclose(f);
}

static void finish(void) {
    char command[128];
    (void)close(link_fd);
    int status = wait_exit();
    CU_ASSERT_EQUAL(status, 0);
    if (status != 0) show_log("ended badly");
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

/* --- clpd's part ----------------------------------------------------------------------- */

static void take_offer(const struct link_message *m, int fd) {
    struct image *img = NULL;
    struct err e = {0};
    struct link_message answer = *m;
    CU_ASSERT_EQUAL(image_map(fd, true, &img, &e), 0);
    if (!img) fprintf(stderr, "%s\n", e.text);
    labels[0] = 0;
    if (img && image_label(img, 0)) (void)snprintf(labels, sizeof labels, "%s", image_label(img, 0));
    if (img) CU_ASSERT_EQUAL(memcmp(image_header(img)->source_sha256, m->sha256, 32), 0);
    image_unmap(img);
    last_offer = *m;
    offers++;
    answer.type = LINK_ANSWER;
    answer.accepted = !refuse;
    answer.reason[0] = 0;
    if (refuse) strcpy(answer.reason, "not today");
    if (!mute) CU_ASSERT_EQUAL(link_send(link_fd, &answer, -1), 0);
}

static void take(const struct link_message *m, int fd) {
    int i = 0;
    switch (m->type) {
    case LINK_HELLO: greeted = true; break;
    case LINK_OFFER: take_offer(m, fd); break;
    case LINK_RESTORED: break;
    case LINK_SETTLED: settled = *m; break;
    case LINK_ALIVE: alive = *m; break;
    case LINK_RETIRE: strcpy(retired, m->model); break;
    case LINK_FILE:
    case LINK_FILE_GONE:
        while (i < n_lines && strcmp(lines[i].path, m->path) != 0) i++;
        CU_ASSERT_TRUE_FATAL(i < LINES);
        if (m->type == LINK_FILE)
            lines[i] = *m, n_lines += i == n_lines;
        else if (i < n_lines)
            lines[i] = lines[--n_lines];
        break;
    default: CU_FAIL("a message that is not for clpd"); break;
    }
}

static bool pump(int timeout) {
    struct pollfd p = {.fd = link_fd, .events = POLLIN};
    struct link_message m;
    int fd = -1;
    if (poll(&p, 1, timeout) <= 0) return false;
    int rc = link_receive(link_fd, &m, &fd);
    CU_ASSERT_TRUE(rc == 1 || rc == 0);
    if (rc == 1) take(&m, fd);
    if (fd >= 0) (void)close(fd);
    return rc == 1;
}

static const struct link_message *line(const char *path) {
    for (int i = 0; i < n_lines; i++)
        if (strcmp(lines[i].path, path) == 0) return &lines[i];
    return NULL;
}
static const char *state(const char *path) {
    return line(path) ? file_state_name(line(path)->state) : "";
}
static const char *reason(const char *path) {
    return line(path) ? line(path)->reason : "";
}
static uint64_t version(const char *path) {
    return line(path) ? line(path)->model_version : 0;
}

#define WAIT(CONDITION)                                                                                      \
    do {                                                                                                     \
        uint64_t end_ = now_ms() + PATIENCE_MS;                                                              \
        while (!(CONDITION) && now_ms() < end_) (void)pump(100);                                             \
        if (!(CONDITION)) show_log("waited in vain for " #CONDITION);                                        \
        CU_ASSERT_TRUE(CONDITION);                                                                           \
    } while (0)
#define WAIT_REASON(PATH, PART)     WAIT(strstr(reason(PATH), PART) != NULL)
#define WAIT_STATE(PATH, STATE)     WAIT(strcmp(state(PATH), STATE) == 0)
#define WAIT_VERSION(PATH, VERSION) WAIT(strcmp(state(PATH), "serving") == 0 && version(PATH) == (VERSION))

static void greet(void) {
    WAIT(greeted);
    send_type(LINK_HELLO);
    WAIT(settled.type == LINK_SETTLED);
}
static void start(void) {
    begin();
    launch();
    greet();
}

/* --- the tests ------------------------------------------------------------------------- */

static void greets_and_settles(void) {
    start();
    CU_ASSERT_STRING_EQUAL(settled.reason, "inotify");
    CU_ASSERT_EQUAL(n_lines, 0);
    finish();
}

static void settles_when_all_is_served(void) {
    begin();
    for (int i = 0; i < 12; i++) write_model(at("models/m%d.onnx", i), "");
    write_text(at("models/bad.onnx"), "no model");
    write_text(at("models/empty.onnx"), "");
    launch();
    greet();
    CU_ASSERT_EQUAL(offers, 12);
    CU_ASSERT_STRING_EQUAL(state("bad.onnx"), "rejected");
    CU_ASSERT_STRING_EQUAL(state("empty.onnx"), "settling");
    finish();
}

static void copied(void) {
    struct onnx_bytes m = onnx_add_model(weights, NULL, "copied");
    uint8_t digest[32];
    start();
    write_file(at("models/a.onnx"), m.b, m.n);
    WAIT_VERSION("a.onnx", 1);
    digest_sha256(m.b, m.n, digest);
    CU_ASSERT_EQUAL(memcmp(last_offer.sha256, digest, 32), 0);
    CU_ASSERT_EQUAL(memcmp(line("a.onnx")->sha256, digest, 32), 0);
    CU_ASSERT_STRING_EQUAL(last_offer.model, "a");
    CU_ASSERT_EQUAL(last_offer.identity.size, m.n);
    CU_ASSERT_TRUE(last_offer.closed_ns > 0 && last_offer.image_bytes > 0);
    write_model(at("models/a.onnx"), "again"); /* in place */
    WAIT_VERSION("a.onnx", 2);
    finish();
}

static void moved(void) {
    start();
    move_model(at("models/a.onnx"), "1");
    WAIT_VERSION("a.onnx", 1);
    move_model(at("models/a.onnx"), "2");
    WAIT_VERSION("a.onnx", 2);
    finish();
}

static void quick_replacements_end_with_the_newest(void) {
    char note[16] = "";
    uint8_t digest[32];
    start();
    for (int i = 0; i < 40; i++) {
        (void)snprintf(note, sizeof note, "%d", i);
        move_model(at("models/a.onnx"), note);
        (void)pump(i % 7);
    }
    struct onnx_bytes m = onnx_add_model(weights, NULL, note);
    digest_sha256(m.b, m.n, digest);
    WAIT(line("a.onnx") && line("a.onnx")->state == FILE_SERVING &&
         memcmp(line("a.onnx")->sha256, digest, 32) == 0);
    CU_ASSERT_EQUAL(version("a.onnx"), (uint64_t)offers);
    finish();
}

static void touched(void) {
    start();
    write_model(at("models/a.onnx"), "");
    WAIT_VERSION("a.onnx", 1);
    int64_t before = line("a.onnx")->identity.mtime_ns;
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, at("models/a.onnx"), NULL, 0), 0);
    WAIT(strcmp(state("a.onnx"), "serving") == 0 && line("a.onnx")->identity.mtime_ns != before);
    CU_ASSERT_EQUAL(version("a.onnx"), 1);
    CU_ASSERT_EQUAL(offers, 1);
    finish();
}

static void a_slow_writer(void) {
    struct onnx_bytes m = onnx_add_model(weights, NULL, "slow");
    start();
    int fd = open(at("models/a.onnx"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    WAIT_REASON("a.onnx", "empty");
    CU_ASSERT_EQUAL(write(fd, m.b, m.n / 2), (ssize_t)(m.n / 2));
    WAIT_REASON("a.onnx", "ends early"); /* no event tells of that write: it is looked for */
    CU_ASSERT_STRING_EQUAL(state("a.onnx"), "settling");
    CU_ASSERT_EQUAL(write(fd, m.b + m.n / 2, m.n - m.n / 2), (ssize_t)(m.n - m.n / 2));
    CU_ASSERT_EQUAL(close(fd), 0);
    WAIT_VERSION("a.onnx", 1);
    finish();
}

static void half_a_replacement_keeps_the_old_version(void) {
    struct onnx_bytes m = onnx_add_model(weights, NULL, "new");
    start();
    write_model(at("models/a.onnx"), "old");
    WAIT_VERSION("a.onnx", 1);
    write_file(at("models/a.onnx"), m.b, m.n / 2);
    WAIT_REASON("a.onnx", "ends early");
    CU_ASSERT_STRING_EQUAL(retired, "");
    write_file(at("models/a.onnx"), m.b, m.n);
    WAIT_VERSION("a.onnx", 2);
    finish();
}

static void linked(void) {
    start();
    write_model(at("store.onnx"), "linked");
    make_old(at("store.onnx"));
    CU_ASSERT_EQUAL(link(at("store.onnx"), at("models/hard.onnx")), 0);
    WAIT_VERSION("hard.onnx", 1);
    CU_ASSERT_EQUAL(symlink("../store.onnx", at("models/soft.onnx")), 0);
    WAIT_VERSION("soft.onnx", 1);
    CU_ASSERT_EQUAL(symlink("../later.onnx", at("models/later.onnx")), 0);
    WAIT_STATE("later.onnx", "settling");
    CU_ASSERT_PTR_NOT_NULL(strstr(reason("later.onnx"), "not there"));
    write_model(at("later.onnx"), "");
    WAIT_VERSION("later.onnx", 1);
    finish();
}

static void no_models(void) {
    start();
    CU_ASSERT_EQUAL(mkdir(at("models/dir.onnx"), 0755), 0);
    CU_ASSERT_EQUAL(symlink("/dev/zero", at("models/zero.onnx")), 0);
    CU_ASSERT_EQUAL(mkfifo(at("models/pipe.onnx"), 0600), 0);
    write_text(at("models/text.onnx"), "hello");
    write_text(at("models/bad name.onnx"), "hello");
    write_text(at("models/new\nline.onnx"), "hello");
    write_text(at("models/.hidden.onnx"), "hello");
    write_text(at("models/x.onnx~"), "hello");
    write_text(at("models/readme.txt"), "hello");
    WAIT_STATE("dir.onnx", "rejected");
    WAIT_STATE("zero.onnx", "rejected");
    WAIT_STATE("pipe.onnx", "rejected");
    WAIT_STATE("text.onnx", "rejected");
    WAIT_STATE("bad name.onnx", "rejected");
    WAIT_STATE("new\\x0aline.onnx", "rejected");
    CU_ASSERT_PTR_NOT_NULL(strstr(reason("dir.onnx"), "directory"));
    CU_ASSERT_PTR_NOT_NULL(strstr(reason("zero.onnx"), "device"));
    CU_ASSERT_PTR_NOT_NULL(strstr(reason("pipe.onnx"), "pipe"));
    CU_ASSERT_PTR_NOT_NULL(strstr(reason("bad name.onnx"), "rename"));
    CU_ASSERT_EQUAL(n_lines, 6);
    CU_ASSERT_EQUAL(unlink(at("models/text.onnx")), 0);
    WAIT(!line("text.onnx"));
    finish();
}

static void a_replaced_folder(void) {
    start();
    write_model(at("models/a.onnx"), "old");
    WAIT_VERSION("a.onnx", 1);
    CU_ASSERT_EQUAL(rename(at("models"), at("models.old")), 0);
    WAIT_REASON("a.onnx", "missing: still served");
    CU_ASSERT_EQUAL(mkdir(at("models"), 0755), 0);
    write_model(at("models/a.onnx"), "new");
    WAIT_VERSION("a.onnx", 2);
    CU_ASSERT_STRING_EQUAL(retired, "");
    write_model(at("models/b.onnx"), "the new folder is watched, too");
    WAIT_VERSION("b.onnx", 1);
    finish();
}

static void the_folder_comes_later(void) {
    begin();
    CU_ASSERT_EQUAL(rmdir(models), 0);
    launch();
    greet();
    CU_ASSERT_EQUAL(mkdir(models, 0755), 0);
    write_model(at("models/a.onnx"), "");
    WAIT_VERSION("a.onnx", 1);
    finish();
}

static void removed(void) {
    start();
    write_model(at("models/a.onnx"), "");
    WAIT_VERSION("a.onnx", 1);
    CU_ASSERT_EQUAL(unlink(at("models/a.onnx")), 0);
    WAIT(strcmp(retired, "a") == 0 && !line("a.onnx"));
    write_model(at("models/a.onnx"), "");
    WAIT_VERSION("a.onnx", 2);
    finish();
}

static void refused(void) {
    start();
    refuse = true;
    write_model(at("models/a.onnx"), "");
    WAIT_STATE("a.onnx", "rejected");
    CU_ASSERT_PTR_NOT_NULL(strstr(reason("a.onnx"), "not today"));
    refuse = false;
    move_model(at("models/a.onnx"), "other");
    WAIT_VERSION("a.onnx", 1);
    finish();
}

static void a_sidecar(void) {
    start();
    write_text(at("models/a.yaml"), "labels: [cat, b, c, d]\n");
    write_model(at("models/a.onnx"), "");
    WAIT_VERSION("a.onnx", 1);
    CU_ASSERT_STRING_EQUAL(labels, "cat");
    write_text(at("models/a.yaml"), "labels: [dog, b, c, d]\n");
    WAIT_VERSION("a.onnx", 2);
    CU_ASSERT_STRING_EQUAL(labels, "dog");
    CU_ASSERT_EQUAL(unlink(at("models/a.yaml")), 0);
    WAIT_VERSION("a.onnx", 3);
    CU_ASSERT_STRING_EQUAL(labels, "");
    finish();
}

static void external_data_in_either_order(void) {
    struct onnx_bytes m = onnx_add_model(weights, "b.onnx.data", ""),
                      n = onnx_add_model(weights, "w.bin", "");
    start();
    write_file(at("models/b.onnx"), m.b, m.n);
    WAIT_REASON("b.onnx", "b.onnx.data");
    write_file(at("models/b.onnx.data"), weights, 8);
    write_file(at("models/b.onnx.data"), weights, sizeof weights);
    WAIT_VERSION("b.onnx", 1);
    write_file(at("models/w.bin"), weights, sizeof weights);
    write_file(at("models/c.onnx"), n.b, n.n);
    WAIT_VERSION("c.onnx", 1);
    CU_ASSERT_EQUAL(link(at("models/w.bin"), at("second")), 0); /* now it might be any file */
    write_text(at("models/hint"), "a new link makes no event in the folder, this does");
    WAIT_STATE("c.onnx", "rejected");
    CU_ASSERT_PTR_NOT_NULL(strstr(reason("c.onnx"), "hard link"));
    finish();
}

static void numbered_versions(void) {
    start();
    CU_ASSERT_EQUAL(mkdir(at("models/a"), 0755), 0);
    CU_ASSERT_EQUAL(mkdir(at("models/a/9"), 0755), 0);
    write_model(at("models/a/9/model.onnx"), "nine");
    WAIT_VERSION("a/9/model.onnx", 1);
    CU_ASSERT_EQUAL(mkdir(at("ten"), 0755), 0);
    write_model(at("ten/model.onnx"), "ten");
    CU_ASSERT_EQUAL(rename(at("ten"), at("models/a/10")), 0);
    WAIT_VERSION("a/10/model.onnx", 2);
    WAIT_STATE("a/9/model.onnx", "superseded");
    write_model(at("models/a.onnx"), "plain");
    WAIT_VERSION("a.onnx", 3);
    CU_ASSERT_EQUAL(unlink(at("models/a.onnx")), 0);
    WAIT_VERSION("a/10/model.onnx", 4);
    finish();
}

static void kubernetes(void) {
    start();
    CU_ASSERT_EQUAL(mkdir(at("models/..v1"), 0755), 0);
    CU_ASSERT_EQUAL(mkdir(at("models/..v2"), 0755), 0);
    write_model(at("models/..v1/a.onnx"), "v1");
    write_model(at("models/..v2/a.onnx"), "v2");
    CU_ASSERT_EQUAL(symlink("..v1", at("models/..data")), 0);
    CU_ASSERT_EQUAL(symlink("..data/a.onnx", at("models/a.onnx")), 0);
    WAIT_VERSION("a.onnx", 1);
    CU_ASSERT_EQUAL(symlink("..v2", at("models/..data_tmp")), 0);
    CU_ASSERT_EQUAL(rename(at("models/..data_tmp"), at("models/..data")), 0);
    WAIT_VERSION("a.onnx", 2);
    finish();
}

static void a_restarted_guard(void) {
    start();
    write_model(at("models/a.onnx"), "");
    WAIT_VERSION("a.onnx", 1);
    struct link_message serving = last_offer;
    serving.type = LINK_SERVING;
    CU_ASSERT_EQUAL(kill(guard_pid, SIGKILL), 0);
    CU_ASSERT_EQUAL(wait_exit(), -SIGKILL);
    (void)close(link_fd);
    launch();
    WAIT(greeted);
    struct link_message hello = {.version = LINK_VERSION, .type = LINK_HELLO, .count = 1};
    CU_ASSERT_EQUAL(link_send(link_fd, &hello, -1), 0);
    CU_ASSERT_FALSE(pump(200)); /* it waits: a word before this one would come from a needless import */
    CU_ASSERT_EQUAL(link_send(link_fd, &serving, -1), 0);
    WAIT(settled.type == LINK_SETTLED);
    WAIT_VERSION("a.onnx", 1);
    CU_ASSERT_EQUAL(offers, 0);
    move_model(at("models/a.onnx"), "new");
    WAIT_VERSION("a.onnx", 2);
    finish();
}

static void another_threshold(void) {
    start();
    write_model(at("models/a.onnx"), "");
    WAIT_VERSION("a.onnx", 1);
    write_config("  threshold: 5\n");
    send_type(LINK_RELOAD);
    WAIT_VERSION("a.onnx", 2);
    write_config("  thresh: 5\n"); /* a mistake changes nothing */
    send_type(LINK_RELOAD);
    write_model(at("models/b.onnx"), "");
    WAIT_VERSION("b.onnx", 1);
    CU_ASSERT_EQUAL(version("a.onnx"), 2);
    finish();
}

static void a_slow_daemon(void) {
    begin();
    for (int i = 0; i < 300; i++) (void)mkdir(at("models/d%d.onnx", i), 0755);
    write_model(at("models/z.onnx"), "");
    launch();
    WAIT(greeted);
    send_type(LINK_HELLO);
    (void)poll(NULL, 0, 300); /* long enough to fill the socket; if not, the test is merely weaker */
    WAIT(settled.type == LINK_SETTLED);
    CU_ASSERT_EQUAL(n_lines, 301);
    WAIT_VERSION("z.onnx", 1);
    finish();
}

static void ends_with_its_daemon(void) {
    start();
    mute = true; /* an offer is under way */
    write_model(at("models/a.onnx"), "");
    WAIT(offers == 1);
    finish(); /* closes the link, expects 0 */

    start();
    CU_ASSERT_EQUAL(kill(guard_pid, SIGTERM), 0);
    finish();
}

static void refuses_a_strange_daemon(void) {
    for (int kind = 0; kind < 4; kind++) {
        begin();
        launch();
        WAIT(greeted);
        if (kind == 0) CU_ASSERT_EQUAL(send(link_fd, "hello", 5, 0), 5);
        if (kind == 1) send_type(LINK_ANSWER); /* without a greeting */
        if (kind == 2) send_type(LINK_HELLO), send_type(LINK_SETTLED);
        if (kind == 3) send_type(LINK_HELLO), send_type(LINK_HELLO);
        CU_ASSERT_EQUAL(wait_exit(), 1);
        (void)close(link_fd);
        char command[128];
        (void)snprintf(command, sizeof command, "rm -rf %s", dir);
        CU_ASSERT_EQUAL(system(command), 0);
    }
}

SUITE(guard, {"greets and settles", greets_and_settles},
      {"settles when all is served", settles_when_all_is_served}, {"copied", copied}, {"moved", moved},
      {"quick replacements end with the newest", quick_replacements_end_with_the_newest},
      {"touched", touched}, {"a slow writer", a_slow_writer},
      {"half a replacement keeps the old version", half_a_replacement_keeps_the_old_version},
      {"linked", linked}, {"what is no model", no_models}, {"a replaced folder", a_replaced_folder},
      {"the folder comes later", the_folder_comes_later}, {"removed", removed}, {"refused by clpd", refused},
      {"a sidecar", a_sidecar}, {"external data in either order", external_data_in_either_order},
      {"numbered versions", numbered_versions}, {"a ..data swap", kubernetes},
      {"a restarted guard", a_restarted_guard}, {"another threshold", another_threshold},
      {"a slow daemon", a_slow_daemon}, {"ends with its daemon", ends_with_its_daemon},
      {"refuses a strange daemon", refuses_a_strange_daemon});
