/* An import worker that misbehaves as its model's file name says: what a hostile file
 * could make of the real one, or a worse one that never entered its sandbox. A test
 * program: it stands in the place of clp-guard, in a folder of the test's own, and
 * hands everything but imports over to the real one beside it (guard-real). */
#include "guard/worker.h"
#include "guard/sandbox.h"
#include "guard/worker_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MODEL = 3, IMAGE, REPORT }; /* as spawn.c gives them */
#define CLAIM 4096

static volatile int zero;

static const char *argument(char **argv, const char *name) {
    for (; *argv; argv++)
        if (strcmp(*argv, name) == 0) return argv[1] ? argv[1] : "";
    return "";
}

/* As the real one does it; from here on this is a parser that has been taken over. */
static void enter_cage(char **argv) {
    const struct sandbox_options o = {.keep = 1u << MODEL | 1u << IMAGE | 1u << REPORT,
                                      .seconds = (uint32_t)strtoul(argument(argv, "--seconds"), NULL, 10),
                                      .memory = strtoull(argument(argv, "--memory"), NULL, 10),
                                      .output = strtoull(argument(argv, "--output"), NULL, 10)};
    char note[ERR_TEXT];
    struct err e = {0};
    if (sandbox_enter(&o, note, &e) == 0) return;
    (void)worker_send_error(REPORT, &e);
    _exit(0);
}

static void say(const char *text) {
    struct err e = {.code = ERR_VALUE};
    (void)snprintf(e.text, sizeof e.text, "%s", text);
    (void)worker_send_error(REPORT, &e);
}

static void claim_success(uint64_t bytes) {
    struct report r = {.threshold = 3, .verdict = VERDICT_NOT_APPLICABLE, .source_sha256 = {42}};
    (void)worker_send_done(REPORT, bytes, &r);
}

static void write_rubbish(uint64_t bytes) {
    static uint8_t block[65536];
    memset(block, 0xa5, sizeof block);
    for (uint64_t done = 0; done < bytes;) {
        const uint64_t left = bytes - done;
        const ssize_t n = write(IMAGE, block, left < sizeof block ? (size_t)left : sizeof block);
        if (n <= 0) return;
        done += (uint64_t)n;
    }
}

static void fill_memory(void) {
    size_t had = 0;
    for (uint8_t *p;
         (p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED;
         had++)
        memset(p, 1, 1 << 20);
    char text[64];
    (void)snprintf(text, sizeof text, "there was no more memory after %zu MiB", had);
    say(text);
}

/* A process that outlives us, with the image mapped for writing: the seal must not be taken for granted. */
static void leave_a_writer(void) {
    write_rubbish(CLAIM);
    uint8_t *p = mmap(NULL, CLAIM, PROT_READ | PROT_WRITE, MAP_SHARED, IMAGE, 0);
    if (p == MAP_FAILED || fork() != 0) {
        claim_success(CLAIM);
        return;
    }
    (void)close(REPORT);
    (void)alarm(20);
    for (;;) p[zero]++;
}

static void sleep_without_an_end(void) {
    static int never;
    for (;;) (void)syscall(SYS_futex, &never, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0);
}

static void ask_for_a_file(void) {
    const int fd = open("/etc/passwd", O_RDONLY);
    say(fd < 0 && errno == EPERM ? "no file can be opened" : "a file could be opened");
}

static void misbehave(const char *how) {
    static const struct spawn_digests digests = {.model = {42}};
    if (strncmp(how, "mute", 4) == 0) return;
    if (strncmp(how, "undigested", 10) == 0) {
        claim_success(CLAIM);
        return;
    }
    (void)worker_send_digests(REPORT, &digests);
    if (strncmp(how, "crash", 5) == 0)
        *(volatile int *)(uintptr_t)zero = 1;
    else if (strncmp(how, "abort", 5) == 0)
        abort();
    else if (strncmp(how, "hang", 4) == 0)
        sleep_without_an_end();
    else if (strncmp(how, "spin", 4) == 0)
        for (;;) zero = 0;
    else if (strncmp(how, "memory", 6) == 0)
        fill_memory();
    else if (strncmp(how, "fill", 4) == 0)
        write_rubbish(UINT64_MAX);
    else if (strncmp(how, "file", 4) == 0)
        ask_for_a_file();
    else if (strncmp(how, "socket", 6) == 0)
        say(socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? "no socket" : "a socket");
    else if (strncmp(how, "fork", 4) == 0)
        say(fork() < 0 ? "no process" : "a process");
    else if (strncmp(how, "short", 5) == 0)
        write_rubbish(100), claim_success(CLAIM);
    else if (strncmp(how, "rubbish", 7) == 0)
        write_rubbish(CLAIM), claim_success(CLAIM);
    else if (strncmp(how, "writer", 6) == 0)
        leave_a_writer();
    else if (strncmp(how, "chatter", 7) == 0)
        while (write(REPORT, "bla bla ", 8) > 0) continue;
    else if (strncmp(how, "twice", 5) == 0)
        say("once"), say("and again");
    else if (strncmp(how, "needs", 5) == 0)
        (void)worker_send_needs(REPORT, "../../etc/passwd");
    else if (strncmp(how, "terminal", 8) == 0)
        say("red \x1b[31m and\nmore \x07 lines");
}

int main(int argc, char **argv) {
    char path[4096];
    if (argc < 2 || strcmp(argv[1], "worker") != 0) {
        const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
        char *slash = n > 0 ? (path[n] = 0, strrchr(path, '/')) : NULL;
        if (!slash) return 1;
        strcpy(slash + 1, "guard-real");
        (void)execv(path, argv);
        return 127;
    }
    const char *how = argument(argv, "--name");
    if (strncmp(how, "honest", 6) == 0) return worker_main(argc - 1, argv + 1);
    if (strncmp(how, "free-", 5) == 0) { /* without a cage */
        misbehave(how + 5);
    } else {
        enter_cage(argv);
        misbehave(how);
    }
    return 0;
}
