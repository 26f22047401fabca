/* guard/sandbox: what is left works, everything else is refused or ends the process. */
#include "guard/sandbox.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
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

/* A limit that leaves 512 MiB beside what this test process has mapped already. */
static uint64_t memory_limit(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CU_ASSERT_FATAL(f && fscanf(f, "%lu", &pages) == 1);
    (void)fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) + ((uint64_t)512 << 20);
}

/* Runs `probe` in a sandboxed child; its return value, or minus the signal that ended it, or 1000 where
 * the sandbox refused. */
static int in_sandbox(int (*probe)(void)) {
    int file = memfd_create("sandbox", MFD_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(file >= 0);
    pid_t pid = fork();
    CU_ASSERT_TRUE_FATAL(pid >= 0);
    if (pid == 0) {
        struct sandbox_options o = {
            .keep = UINT64_C(1) << FILE_FD, .seconds = 2, .memory = memory_limit(), .output = 1 << 20};
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

/* --- kernels that refuse or lie: an outer filter plays them -------------------------------- */

#define TOOK      0
#define TOLD      10 /* an error that says that the file was not touched */
#define NO_EFFECT 11 /* the same, since a step reported success and had none */

/* What comes of entering where `call` returns `error`; 0 is a lie. With TOOK, `note` is the sandbox's. */
static int enter_where(int call, uint32_t error, char note[ERR_TEXT]) {
    int ends[2], status = 0;
    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    CU_ASSERT_TRUE_FATAL(pid >= 0);
    if (pid == 0) {
        struct sandbox_options o = {
            .keep = UINT64_C(1) << FILE_FD, .seconds = 2, .memory = memory_limit(), .output = 1 << 20};
        struct err e = {0};
        scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
        if (!f || dup2(ends[1], FILE_FD) < 0) _exit(100);
        if (seccomp_rule_add(f, SCMP_ACT_ERRNO(error), call, 0) < 0 || seccomp_load(f) < 0) _exit(101);
        if (sandbox_enter(&o, note, &e) == 0) {
            (void)!write(FILE_FD, note, ERR_TEXT);
            _exit(TOOK);
        }
        _exit(!strstr(e.text, "not touched") ? 102 : strstr(e.text, "did not take") ? NO_EFFECT : TOLD);
    }
    (void)close(ends[1]);
    memset(note, 0, ERR_TEXT);
    (void)!read(ends[0], note, ERR_TEXT - 1);
    (void)close(ends[0]);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void without_landlock_seccomp_stands_alone(void) {
    char note[ERR_TEXT];
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(landlock_create_ruleset), ENOSYS, note), TOOK);
    CU_ASSERT_PTR_NOT_NULL(strstr(note, "no Landlock"));
    CU_ASSERT_PTR_NOT_NULL(strstr(note, "seccomp alone"));
}

static void a_step_that_fails_is_an_error(void) {
    char note[ERR_TEXT];
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(close_range), ENOSYS, note), TOLD);
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(prlimit64), EPERM, note), TOLD);
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(prctl), EPERM, note), TOLD);
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(seccomp), EPERM, note), TOLD);
}

static void a_step_without_effect_is_an_error(void) {
    char note[ERR_TEXT];
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(prctl), 0, note), NO_EFFECT);
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(seccomp), 0, note), NO_EFFECT);
}

static void landlock_is_verified(void) {
    char note[ERR_TEXT];
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0) {
        suite_skip("Landlock is verified", "this kernel has none");
        return;
    }
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(landlock_restrict_self), EPERM, note), TOLD);
    CU_ASSERT_EQUAL(enter_where(SCMP_SYS(landlock_restrict_self), 0, note), NO_EFFECT);
}

SUITE(sandbox, {"computing works", computing_works}, {"files are out of reach", files_are_out_of_reach},
      {"the rest is stopped", the_rest_is_stopped},
      {"clone3 is unknown, as glibc needs it", clone3_is_unknown},
      {"only the named descriptors stay", only_the_named_descriptors_stay},
      {"an abort is an abort", an_abort_is_an_abort}, {"output is limited", output_is_limited},
      {"memory is limited", memory_is_limited}, {"CPU time is limited", time_is_limited},
      {"without Landlock seccomp stands alone", without_landlock_seccomp_stands_alone},
      {"a step that fails is an error", a_step_that_fails_is_an_error},
      {"a step without effect is an error", a_step_without_effect_is_an_error},
      {"Landlock is verified", landlock_is_verified});
