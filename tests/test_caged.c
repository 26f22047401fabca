/* What a child has of its parent: asked of a shell. */
#include "guard/caged.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What `script` writes to descriptor 4, which is all it gets. */
static void ask_shell(const char *script, char *said, size_t room) {
    char sh[] = "sh", dash_c[] = "-c", text[256], mark[] = "CAGED=yes";
    char *args[] = {sh, dash_c, text, NULL}, *environment[] = {mark, NULL};
    int ends[2], status;
    pid_t pid;
    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
    const int fds[] = {-1, -1, -1, -1, ends[1]};
    (void)snprintf(text, sizeof text, "%s", script);
    CU_ASSERT_EQUAL_FATAL(
        caged_start(&pid,
                    &(struct caged){
                        .path = "/bin/sh", .args = args, .environment = environment, .fds = fds, .n_fds = 5}),
        0);
    (void)close(ends[1]);
    size_t n = 0;
    for (ssize_t got; n < room - 1 && (got = read(ends[0], said + n, room - 1 - n)) > 0;) n += (size_t)got;
    said[n] = 0;
    (void)close(ends[0]);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
}

static void child_has_what_it_is_handed(void) {
    char said[512];
    const int other = dup(0), high = fcntl(0, F_DUPFD, 40); /* neither closes on exec */
    ask_shell("for f in 0 1 2 3 4 5 6 7 8 9 40; do [ -e /proc/$$/fd/$f ] && echo $f >&4; done", said,
              sizeof said);
    CU_ASSERT_STRING_EQUAL(said, "0\n1\n2\n4\n");
    (void)close(other), (void)close(high);
    ask_shell("for f in 0 1; do [ /proc/$$/fd/$f -ef /dev/null ] && echo $f is null >&4; done", said,
              sizeof said);
    CU_ASSERT_STRING_EQUAL(said, "0 is null\n1 is null\n");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which hand on their options */
    ask_shell("echo $CAGED $HOME >&4", said, sizeof said);
    CU_ASSERT_STRING_EQUAL(said, "yes\n");
#endif
}

static void child_has_signals_as_every_process(void) {
    char said[512];
    sigset_t some, before;
    (void)sigemptyset(&some);
    (void)sigaddset(&some, SIGTERM);
    CU_ASSERT_EQUAL(pthread_sigmask(SIG_BLOCK, &some, &before), 0);
    void (*const old)(int) = signal(SIGUSR1, SIG_IGN);
    /* By the shell itself, which blocks signals while it starts another program. */
    ask_shell("while read k v; do case $k in SigBlk:|SigIgn:) echo $v >&4;; esac; done < /proc/$$/status",
              said, sizeof said);
    unsigned long long blocked = 1, ignored = 1;
    CU_ASSERT_EQUAL(sscanf(said, "%llx %llx", &blocked, &ignored), 2);
    CU_ASSERT_EQUAL(blocked, 0);
    CU_ASSERT_EQUAL(ignored & 0x7fffffff, 0); /* 32 and 33 are glibc's own */
    (void)signal(SIGUSR1, old);
    CU_ASSERT_EQUAL(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
}

static void what_is_not_there_is_named(void) {
    char path[PATH_MAX];
    struct err e = {0};
    char *none[] = {NULL};
    pid_t pid;
    CU_ASSERT_EQUAL(caged_find("clp-nothing", path, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "clp-nothing is neither in "));
    CU_ASSERT_EQUAL(caged_find("clp-guard", path, &e), 0);
    CU_ASSERT_EQUAL(access(path, X_OK), 0);
    CU_ASSERT_EQUAL(
        caged_start(&pid, &(struct caged){.path = "/nowhere", .args = none, .environment = none, .n_fds = 3}),
        ENOENT);
}

SUITE(caged,
      {"a child has the descriptors and the environment that it is handed", child_has_what_it_is_handed},
      {"and signals as every process has them", child_has_signals_as_every_process},
      {"a program that is not there is named", what_is_not_there_is_named});
