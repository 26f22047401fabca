/* guard/watch: what a scan finds, and that every kind of change is noticed. */
#include "guard/watch.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[64];
static struct watch *w;
static struct files *f;
static uint64_t now;
static struct err scan_error;
static struct link_message lines[64];
static int n_lines;

static const char *at(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *at(const char *fmt, ...) {
    static char paths[4][512];
    static unsigned turn;
    char name[300], *p = paths[turn++ % 4];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    (void)snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void begin(void) {
    strcpy(dir, "/tmp/clpd-watch-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    CU_ASSERT_EQUAL(mkdir(at("models"), 0755), 0);
    w = watch_new(at("models"));
    f = files_new(
        &(struct files_options){.settle_ms = 3600000, .retire_ms = 1000}); /* only events say "complete" */
    CU_ASSERT_TRUE_FATAL(w && f);
    now = 1000;
    n_lines = 0;
}
static void finish(void) {
    char command[96];
    watch_free(w);
    files_free(f);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void scan(void) {
    struct link_message m;
    int fd;
    scan_error.text[0] = 0;
    (void)watch_scan(w, f, 0, ++now, &scan_error);
    while (files_next_message(f, &m, &fd)) {
        int i = 0;
        while (i < n_lines && strcmp(lines[i].path, m.path) != 0) i++;
        if (m.type == LINK_FILE)
            lines[i] = m, n_lines += i == n_lines;
        else if (m.type == LINK_FILE_GONE && i < n_lines)
            lines[i] = lines[--n_lines];
        files_message_sent(f, &m);
    }
}
static const char *state(const char *path) {
    for (int i = 0; i < n_lines; i++)
        if (strcmp(lines[i].path, path) == 0) return file_state_name(lines[i].state);
    return "";
}
static bool is_due(const char *path) {
    struct file_job job;
    bool found = false;
    while (files_next_import(f, &job)) {
        found |= strcmp(job.path, path) == 0;
        files_import_stopped(f, &job, now);
    }
    return found;
}
/* An event that matters has come; inotify queues it before the system call returns. */
static bool noticed(void) {
    struct pollfd p = {.fd = watch_fd(w), .events = POLLIN};
    return poll(&p, 1, 0) > 0 && watch_read(w);
}

static int open_new(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    return fd;
}
static void put(const char *path) {
    int fd = open_new(path);
    CU_ASSERT_EQUAL(write(fd, "model", 5), 5);
    CU_ASSERT_EQUAL(close(fd), 0);
}

static void a_copy_is_complete_when_closed(void) {
    begin();
    scan();
    CU_ASSERT_STRING_EQUAL(watch_backend(w), "inotify");
    int fd = open_new(at("models/a.onnx"));
    CU_ASSERT_EQUAL(write(fd, "mod", 3), 3);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_STRING_EQUAL(state("a.onnx"), "settling");
    CU_ASSERT_FALSE(is_due("a.onnx"));
    CU_ASSERT_EQUAL(write(fd, "el", 2), 2);
    CU_ASSERT_FALSE(noticed()); /* a copy does not wake us at every block */
    CU_ASSERT_EQUAL(close(fd), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("a.onnx"));
    finish();
}

static void moving_in_is_complete(void) {
    begin();
    scan();
    put(at("a.onnx"));
    CU_ASSERT_EQUAL(rename(at("a.onnx"), at("models/a.onnx")), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("a.onnx"));
    CU_ASSERT_EQUAL(rename(at("models/a.onnx"), at("a.onnx")), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_STRING_EQUAL(state("a.onnx"), "");
    finish();
}

static void a_link_says_nothing_about_completeness(void) {
    begin();
    scan();
    put(at("fresh.onnx"));
    put(at("old.onnx"));
    struct timespec times[2] = {{.tv_sec = 1600000000}, {.tv_sec = 1600000000}};
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, at("old.onnx"), times, 0), 0);
    CU_ASSERT_EQUAL(link(at("fresh.onnx"), at("models/fresh.onnx")), 0);
    CU_ASSERT_EQUAL(link(at("old.onnx"), at("models/old.onnx")), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("old.onnx"));
    CU_ASSERT_STRING_EQUAL(state("fresh.onnx"), "settling");
    finish();
}

static void companions_are_part_of_it(void) {
    begin();
    put(at("models/a.onnx"));
    scan();
    CU_ASSERT_FALSE(is_due("a.onnx")); /* it may be growing still */
    put(at("models/a.yaml"));
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("a.onnx"));
    put(at("models/a.onnx.data"));
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("a.onnx"));
    CU_ASSERT_EQUAL(n_lines, 1); /* they have no line of their own */
    finish();
}

static void names_of_work_in_progress_are_left_alone(void) {
    static const char *const names[] = {".a.onnx", "a.onnx~", "a.onnx.tmp", "a.onnx.part"};
    begin();
    scan();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) put(at("models/%s", names[i]));
    CU_ASSERT_FALSE(noticed());
    put(at("models/notes.txt"));
    scan();
    CU_ASSERT_EQUAL(n_lines, 0);
    CU_ASSERT_EQUAL(rename(at("models/a.onnx.part"), at("models/a.onnx")), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("a.onnx"));
    finish();
}

static void numbered_folders(void) {
    begin();
    scan();
    CU_ASSERT_EQUAL(mkdir(at("models/a"), 0755), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_EQUAL(mkdir(at("models/a/3"), 0755), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    put(at("models/a/3/model.onnx"));
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("a/3/model.onnx"));
    static const char *const strange[] = {"03", "0", "x", "3x", "-1", "9999999999999999999"};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        CU_ASSERT_EQUAL(mkdir(at("models/a/%s", strange[i]), 0755), 0);
        put(at("models/a/%s/model.onnx", strange[i]));
    }
    scan();
    CU_ASSERT_EQUAL(n_lines, 1);
    CU_ASSERT_EQUAL(mkdir(at("b"), 0755), 0); /* a whole model at once */
    CU_ASSERT_EQUAL(mkdir(at("b/1"), 0755), 0);
    put(at("b/1/model.onnx"));
    CU_ASSERT_EQUAL(rename(at("b"), at("models/b")), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("b/1/model.onnx"));
    CU_ASSERT_EQUAL(mkdir(at("models/bad name"), 0755), 0);
    CU_ASSERT_EQUAL(mkdir(at("models/bad name/1"), 0755), 0);
    put(at("models/bad name/1/model.onnx"));
    scan();
    CU_ASSERT_STRING_EQUAL(state("bad name/1/model.onnx"), "rejected");
    finish();
}

static void a_folder_that_comes_and_goes(void) {
    begin();
    CU_ASSERT_EQUAL(rmdir(at("models")), 0);
    scan();
    CU_ASSERT_PTR_NOT_NULL(strstr(scan_error.text, "is missing"));
    CU_ASSERT_FALSE(noticed());
    CU_ASSERT_EQUAL(mkdir(at("elsewhere"), 0755), 0);
    CU_ASSERT_FALSE(noticed()); /* the parent may be busy with other things */
    CU_ASSERT_EQUAL(mkdir(at("models"), 0755), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_STRING_EQUAL(scan_error.text, "");
    put(at("models/a.onnx"));
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("a.onnx"));
    CU_ASSERT_EQUAL(rename(at("models"), at("old")), 0);
    CU_ASSERT_EQUAL(rename(at("elsewhere"), at("models")), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    put(at("models/b.onnx"));
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_TRUE(is_due("b.onnx"));
    (void)watch_read(w);
    put(at("old/c.onnx"));
    CU_ASSERT_FALSE(noticed()); /* that one is no longer ours */
    finish();
}

static void a_link_to_the_folder(void) {
    begin();
    CU_ASSERT_EQUAL(rename(at("models"), at("v1")), 0);
    CU_ASSERT_EQUAL(mkdir(at("v2"), 0755), 0);
    put(at("v2/a.onnx"));
    CU_ASSERT_EQUAL(symlink("v1", at("models")), 0);
    scan();
    CU_ASSERT_EQUAL(symlink("v2", at("next")), 0);
    (void)watch_read(w);
    CU_ASSERT_EQUAL(rename(at("next"), at("models")), 0);
    CU_ASSERT_TRUE(noticed());
    scan();
    CU_ASSERT_STRING_EQUAL(state("a.onnx"), "settling");
    finish();
}

static void a_folder_that_cannot_be_read(void) {
    begin();
    CU_ASSERT_EQUAL(rmdir(at("models")), 0);
    put(at("models"));
    scan();
    CU_ASSERT_PTR_NOT_NULL(strstr(scan_error.text, "can't be read"));
    finish();
}

static void names_are_made_printable(void) {
    begin();
    put(at("models/a\x1b[31m.onnx"));
    put(at("models/gr\xc3\xb6\xc3\x9f"
           "e.onnx"));
    scan();
    CU_ASSERT_STRING_EQUAL(state("a\\x1b[31m.onnx"), "rejected");
    CU_ASSERT_STRING_EQUAL(state("gr\\xc3\\xb6\\xc3\\x9fe.onnx"), "rejected");
    char name[256];
    memset(name, 'n', 255), name[255] = 0;
    memcpy(name + 250, ".onnx", 5);
    put(at("models/%s", name));
    scan();
    CU_ASSERT_STRING_EQUAL(state(name), "rejected");
    finish();
}

static void more_events_than_the_queue_holds(void) {
    begin();
    scan();
    put(at("models/a.onnx"));
    for (int i = 0; i < 20000; i++) { /* fs.inotify.max_queued_events is 16384; each pair of names differs */
        (void)chmod(at("models/a.onnx"), i % 2 ? 0600 : 0644);
        if (i % 2) (void)chmod(at("models"), i % 4 == 1 ? 0755 : 0750);
    }
    put(at("models/b.onnx")); /* its event is lost */
    while (noticed()) continue;
    scan();
    CU_ASSERT_STRING_EQUAL(state("b.onnx"), "settling");
    finish();
}

static void opens_the_right_folder(void) {
    begin();
    const char *name;
    CU_ASSERT_EQUAL(mkdir(at("models/a"), 0755), 0);
    int fd = watch_open_folder(w, "x.onnx", &name);
    CU_ASSERT_TRUE(fd >= 0);
    CU_ASSERT_STRING_EQUAL(name, "x.onnx");
    (void)close(fd);
    CU_ASSERT_EQUAL(watch_open_folder(w, "a/3/model.onnx", &name), -1);
    CU_ASSERT_EQUAL(mkdir(at("models/a/3"), 0755), 0);
    fd = watch_open_folder(w, "a/3/model.onnx", &name);
    CU_ASSERT_TRUE(fd >= 0);
    CU_ASSERT_STRING_EQUAL(name, "model.onnx");
    (void)close(fd);
    finish();
}

SUITE(watch, {"a copy is complete when closed", a_copy_is_complete_when_closed},
      {"moving in is complete", moving_in_is_complete},
      {"a link says nothing about completeness", a_link_says_nothing_about_completeness},
      {"companions are part of it", companions_are_part_of_it},
      {"names of work in progress are left alone", names_of_work_in_progress_are_left_alone},
      {"numbered folders", numbered_folders}, {"a folder that comes and goes", a_folder_that_comes_and_goes},
      {"a link to the folder", a_link_to_the_folder},
      {"a folder that can't be read", a_folder_that_cannot_be_read},
      {"names are made printable", names_are_made_printable},
      {"more events than the queue holds", more_events_than_the_queue_holds},
      {"opens the right folder", opens_the_right_folder});
