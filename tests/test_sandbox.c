/* guard/sandbox: what is left works, everything else is refused or ends the process. */
#include "guard/sandbox.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_FD 21

static volatile int zero;

/* What this process has mapped already: other suites' threads and arenas, which a forked child keeps. */
static uint64_t mapped_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long long pages = 0;
    if (f && fscanf(f, "%llu", &pages) != 1) pages = 0;
    if (f) (void)fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Runs `probe` in a sandboxed child; its return value, or minus the signal that ended it, or 1000 where
 * the sandbox refused. */
static int in_sandbox(int (*probe)(void)) {
    int file = memfd_create("sandbox", MFD_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(file >= 0);
    const uint64_t mapped = mapped_bytes();
    pid_t pid = fork();
    CU_ASSERT_TRUE_FATAL(pid >= 0);
    if (pid == 0) {
        struct sandbox_options o = {
            .keep = UINT64_C(1) << FILE_FD, .seconds = 2, .memory = mapped + ((uint64_t)512 << 20), .output = 1 << 20};
        char note[ERR_TEXT];
        struct err e = {0};
        if (dup2(file, FILE_FD) < 0 || open("/dev/null", O_RDONLY) < 0) _exit(100);
        if (sandbox_enter(&o, note, &e) < 0) {
            (void)!write(2, e.text, strlen(e.text));
            _exit(101);
        }
        _exit(probe());
    }
    (void)close(file);
    int status = 0;
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Forbidden calls kill; in a sanitizer's build they fail with EPERM, which probes give as 7. */
static bool is_stopped(int outcome) {
    return outcome == (sandbox_is_wide() ? 7 : -SIGSYS);
}
static int eperm(long rc) {
    return rc < 0 && errno == EPERM ? 7 : 1;
}

static int computing(void) {
    char *p = malloc(32 << 20);
    if (!p) return 1;
    memset(p, 1, 32 << 20);
    char *bigger = realloc(p, 64 << 20);
    if (!bigger) {
        free(p);
        return 2;
    }
    free(bigger);
    if (ftruncate(FILE_FD, 4096) < 0) return 3;
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, FILE_FD, 0);
    if (p == MAP_FAILED) return 4;
    p[0] = 'x';
    char back = 0;
    if (munmap(p, 4096) < 0 || pread(FILE_FD, &back, 1, 0) != 1 || back != 'x') return 5;
    return write(FILE_FD, "y", 1) == 1 ? 0 : 6;
}
static void computing_works(void) {
    CU_ASSERT_EQUAL(in_sandbox(computing), 0);
}

static int open_file(void) {
    return open("/etc/passwd", O_RDONLY) < 0 && errno == EPERM ? 7 : 1;
}
static int make_file(void) {
    return open("/tmp/clpd-sandbox-test", O_CREAT | O_WRONLY, 0600) < 0 && errno == EPERM ? 7 : 1;
}
static void files_are_out_of_reach(void) {
    CU_ASSERT_EQUAL(in_sandbox(open_file), 7);
    CU_ASSERT_EQUAL(in_sandbox(make_file), 7);
    CU_ASSERT_NOT_EQUAL(access("/tmp/clpd-sandbox-test", F_OK), 0);
}

static int try_socket(void) {
    return eperm(syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
}
static int try_exec(void) {
    char *argv[] = {NULL};
    return eperm(execve("/bin/true", argv, argv));
}
static int try_fork(void) {
    return eperm(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}
static int try_kill(void) {
    return eperm(syscall(SYS_kill, 1, 0));
}
static int try_stat(void) {
    struct stat st;
    return eperm(stat("/etc/passwd", &st));
}
static int try_ptrace(void) {
    return eperm(syscall(SYS_ptrace, 0, 0, 0, 0));
}
static int try_memfd(void) {
    return eperm(syscall(SYS_memfd_create, "x", 0));
}
static int try_io_uring(void) {
    return eperm(syscall(425, 8, NULL));
}
static int try_exec_memory(void) {
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? eperm(-1) : 1;
}
static int try_make_executable(void) {
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return eperm(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}
static int try_kill_with_tgkill(void) {
    return eperm(syscall(SYS_tgkill, 1, 1, SIGABRT));
}
static void the_rest_is_stopped(void) {
    int (*const probes[])(void) = {
        try_socket,          try_exec,  try_fork,     try_kill,        try_stat,
        try_ptrace,          try_memfd, try_io_uring, try_exec_memory, try_make_executable,
        try_kill_with_tgkill};
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        int outcome = in_sandbox(probes[i]);
        if (!is_stopped(outcome)) fprintf(stderr, "probe %zu: %d\n", i, outcome);
        CU_ASSERT_TRUE(is_stopped(outcome));
    }
}

static int try_clone3(void) {
    return syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS ? 0 : 1;
}
static void clone3_is_unknown(void) {
    CU_ASSERT_EQUAL(in_sandbox(try_clone3), 0);
}

static int descriptors(void) {
    for (int fd = 0; fd < 256; fd++)
        if (fd != FILE_FD && !(fd == 2 && sandbox_is_wide()) && lseek(fd, 0, SEEK_CUR) >= 0) return fd + 1;
    return 0;
}
static void only_the_named_descriptors_stay(void) {
    CU_ASSERT_EQUAL(in_sandbox(descriptors), 0);
}

static int abort_itself(void) {
    abort();
}
static void an_abort_is_an_abort(void) {
    if (!sandbox_is_wide()) CU_ASSERT_EQUAL(in_sandbox(abort_itself), -SIGABRT);
}

static int grow_over_the_limit(void) {
    return ftruncate(FILE_FD, (1 << 20) + 1) == 0;
}
static void output_is_limited(void) {
    CU_ASSERT_EQUAL(in_sandbox(grow_over_the_limit), -SIGXFSZ);
}

static int too_much_memory(void) {
    void *volatile p = malloc((size_t)1 << 30); /* or the compiler takes both calls out */
    free(p);
    return p == NULL ? 0 : 1;
}
static void memory_is_limited(void) {
    if (sandbox_is_wide())
        suite_skip("memory is limited", "RLIMIT_AS and sanitizers don't go together");
    else
        CU_ASSERT_EQUAL(in_sandbox(too_much_memory), 0);
}

static int burn(void) {
    while (!zero) continue;
    return 0;
}
static void time_is_limited(void) {
    CU_ASSERT_EQUAL(in_sandbox(burn), -SIGXCPU);
}

static void a_missing_step_is_an_error(void) {
    pid_t pid = fork();
    CU_ASSERT_TRUE_FATAL(pid >= 0);
    if (pid == 0) { /* within one sandbox, another can't be set up: the first step that fails must be told */
        struct sandbox_options o = {.seconds = 2, .memory = (uint64_t)512 << 20, .output = 1};
        struct rlimit none = {0, 0};
        char note[ERR_TEXT];
        struct err e = {0};
        if (setrlimit(RLIMIT_NOFILE, &none) < 0) _exit(1); /* no descriptor for the Landlock ruleset */
        int rc = sandbox_enter(&o, note, &e);
        _exit(rc < 0 && strstr(e.text, "not touched") ? 0 : note[0] ? 5 : 2);
    }
    int status = 0;
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 5)
        suite_skip("a missing step is an error", "no Landlock here");
    else
        CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

SUITE(sandbox, {"computing works", computing_works}, {"files are out of reach", files_are_out_of_reach},
      {"the rest is stopped", the_rest_is_stopped},
      {"clone3 is unknown, as glibc needs it", clone3_is_unknown},
      {"only the named descriptors stay", only_the_named_descriptors_stay},
      {"an abort is an abort", an_abort_is_an_abort}, {"output is limited", output_is_limited},
      {"memory is limited", memory_is_limited}, {"CPU time is limited", time_is_limited},
      {"a missing step is an error", a_missing_step_is_an_error});
