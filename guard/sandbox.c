/* The ritual of sandbox.h, one function a step, in the order in which they stand.
 *
 * What the filter leaves is what computing on mapped files needs; the list is in
 * allowed[]. Landlock covers what it knows of files (and of sockets and signals on
 * newer kernels) a second time, by another part of the kernel. */
#include "guard/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) ||     \
    __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define WIDE true
#else
#define WIDE false
#endif

bool sandbox_is_wide(void) {
    return WIDE;
}

static int refused(struct err *e, const char *step) {
    return err_set(e, ERR_SYSTEM, "sandbox: %s: %s; the file was not touched", step, strerror(errno));
}

static int did_not_take(struct err *e, const char *step) {
    return err_set(e, ERR_SYSTEM, "sandbox: %s did not take effect; the file was not touched", step);
}

static int close_descriptors(const struct sandbox_options *o, struct err *e) {
    uint64_t keep = o->keep | (WIDE ? 1u << 2 : 0); /* a sanitizer's report goes to stderr */
    for (unsigned fd = 0; fd < SANDBOX_MAX_FD; fd++)
        if (!(keep >> fd & 1)) (void)close((int)fd); /* most are not open */
    if (close_range(SANDBOX_MAX_FD, ~0U, 0) < 0) return refused(e, "close_range (Linux 5.9)");
    for (int fd = 0; fd < 4 * SANDBOX_MAX_FD; fd++) {
        bool wanted = fd < SANDBOX_MAX_FD && (keep >> fd & 1);
        if (!wanted && fcntl(fd, F_GETFD) >= 0) return did_not_take(e, "closing descriptors");
    }
    return 0;
}

static int set_limit(int resource, uint64_t limit, const char *name, struct err *e) {
    /* CPU: the soft limit gives SIGXCPU, which has its own message; the hard one, a second later, SIGKILL. */
    struct rlimit have, want = {.rlim_cur = limit, .rlim_max = limit + (resource == RLIMIT_CPU)};
    if (getrlimit((__rlimit_resource_t)resource, &have) < 0) return refused(e, name);
    if (have.rlim_max < want.rlim_max) { /* the service manager is stricter than we are */
        want.rlim_max = have.rlim_max;
        if (want.rlim_cur > want.rlim_max) want.rlim_cur = want.rlim_max;
    }
    if (setrlimit((__rlimit_resource_t)resource, &want) < 0) return refused(e, name);
    if (getrlimit((__rlimit_resource_t)resource, &have) < 0) return refused(e, name);
    return have.rlim_cur == want.rlim_cur && have.rlim_max == want.rlim_max ? 0 : did_not_take(e, name);
}

static int set_limits(const struct sandbox_options *o, struct err *e) {
    /* ASan reserves terabytes of address space for its shadow. */
    if (!WIDE && set_limit(RLIMIT_AS, o->memory, "RLIMIT_AS", e) < 0) return -1;
    if (set_limit(RLIMIT_CPU, o->seconds, "RLIMIT_CPU", e) < 0) return -1;
    if (set_limit(RLIMIT_FSIZE, o->output, "RLIMIT_FSIZE", e) < 0) return -1;
    if (set_limit(RLIMIT_NOFILE, SANDBOX_MAX_FD, "RLIMIT_NOFILE", e) < 0) return -1;
    if (set_limit(RLIMIT_NPROC, 0, "RLIMIT_NPROC", e) < 0) return -1;
    return set_limit(RLIMIT_CORE, 0, "RLIMIT_CORE", e);
}

static int give_up_privileges(struct err *e) {
    int signal_at_death = 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return refused(e, "PR_SET_NO_NEW_PRIVS");
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return did_not_take(e, "PR_SET_NO_NEW_PRIVS");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return refused(e, "PR_SET_DUMPABLE");
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return did_not_take(e, "PR_SET_DUMPABLE");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return refused(e, "PR_SET_PDEATHSIG");
    if (prctl(PR_GET_PDEATHSIG, &signal_at_death, 0, 0, 0) < 0 || signal_at_death != SIGKILL)
        return did_not_take(e, "PR_SET_PDEATHSIG");
    return 0;
}

/* --- Landlock -------------------------------------------------------------------------- */

struct ruleset { /* struct landlock_ruleset_attr as of ABI 6; headers are older than kernels */
    uint64_t fs, net, scoped;
};

/* Everything that this kernel's Landlock can forbid. */
static struct ruleset all_rights(long abi) {
    struct ruleset r = {.fs = (UINT64_C(1) << 13) - 1}; /* execute … make_sym */
    if (abi >= 2) r.fs |= UINT64_C(1) << 13;            /* refer */
    if (abi >= 3) r.fs |= UINT64_C(1) << 14;            /* truncate */
    if (abi >= 4) r.net = 3;                            /* bind, connect TCP */
    if (abi >= 5) r.fs |= UINT64_C(1) << 15;            /* ioctl on devices */
    if (abi >= 6) r.scoped = 3;                         /* abstract Unix sockets, signals */
    return r;
}

struct confinement { /* of one thread */
    int ruleset, error;
    bool holds;
};

/* Whether opening fails as it shall; never leaves anything open. */
static bool opening_fails(const char *path, int flags, int how) {
    const int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    const bool fails = fd < 0 && errno == how;
    if (fd >= 0) (void)close(fd);
    return fails;
}

static void confine_thread(void *arg) {
    struct confinement *c = arg;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, c->ruleset, 0) < 0)
        c->error = errno;
    c->holds = opening_fails("/", O_DIRECTORY, EACCES);
}

static int forbid_files(const struct sandbox_options *o, char note[ERR_TEXT], struct err *e) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 0) { /* ENOSYS: not built in; EOPNOTSUPP: not switched on; EPERM: an outer filter */
        (void)snprintf(note, ERR_TEXT,
                       "this kernel has no Landlock (%s): the import worker is confined by seccomp alone",
                       strerror(errno));
        return 0;
    }
    struct ruleset r = all_rights(abi);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &r, abi >= 6 ? sizeof r : abi >= 4 ? 16 : 8, 0);
    if (fd < 0) return refused(e, "Landlock");
    struct confinement here = {.ruleset = fd}, there = {.ruleset = fd};
    confine_thread(&here);
    if (o->elsewhere) o->elsewhere(o->elsewhere_ctx, confine_thread, &there);
    (void)close(fd);
    errno = here.error ? here.error : there.error;
    if (errno) return refused(e, "Landlock");
    return here.holds && (!o->elsewhere || there.holds) ? 0 : did_not_take(e, "Landlock");
}

/* --- seccomp --------------------------------------------------------------------------- */

/* What is left: computing in memory, reading and writing the descriptors at
 * hand, and dying in order (abort needs the last row). */
static const int allowed[] = {
    SCMP_SYS(read),          SCMP_SYS(pread64),        SCMP_SYS(write),        SCMP_SYS(writev),
    SCMP_SYS(lseek),         SCMP_SYS(close),          SCMP_SYS(ftruncate),    SCMP_SYS(pwrite64),
    SCMP_SYS(munmap),        SCMP_SYS(mremap),         SCMP_SYS(brk),          SCMP_SYS(madvise),
    SCMP_SYS(clock_gettime), SCMP_SYS(futex),          SCMP_SYS(getrandom),    SCMP_SYS(exit),
    SCMP_SYS(exit_group),    SCMP_SYS(sysinfo), /* glibc's qsort asks how much memory there is */
    SCMP_SYS(rt_sigreturn),  SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(getpid),
    SCMP_SYS(gettid),
};

/* Fails with EPERM instead of killing: libraries try these and live without; and
 * it lets us see that the filter is in force. */
static const int denied[] = {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2)};

static int add_rules(scmp_filter_ctx f) {
    int rc = 0;
    const uint32_t deny = SCMP_ACT_ERRNO(EPERM);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; !WIDE && i < sizeof denied / sizeof *denied && rc == 0; i++)
        rc = seccomp_rule_add(f, deny, denied[i], 0);
    /* No memory ever becomes executable: injected bytes stay bytes. */
    if (rc == 0)
        rc =
            seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    /* glibc falls back from clone3 on ENOSYS only; clone itself is not allowed either. */
    if (rc == 0) rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* abort() of ourselves, so that a failed check is not mistaken for an attack. */
    if (rc == 0)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 2,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0),
                              SCMP_A2(SCMP_CMP_EQ, SIGABRT, 0));
    return rc;
}

/* In a sanitizer's build everything else fails with EPERM, but for what the sanitizer does itself. TSan has a
 * thread of its own that sleeps and looks, and may still be starting here: glibc aborts where it can't have
 * rseq. */
static int add_sanitizer_rules(scmp_filter_ctx f) {
    static const int more[] = {SCMP_SYS(sigaltstack), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
                               SCMP_SYS(prctl),       SCMP_SYS(getrlimit),   SCMP_SYS(prlimit64),
                               SCMP_SYS(rseq),        SCMP_SYS(nanosleep),   SCMP_SYS(clock_nanosleep)};
    int rc = 0;
    for (size_t i = 0; i < sizeof more / sizeof *more && rc == 0; i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, more[i], 0);
    return rc;
}

/* Landlock would say EACCES: this EPERM is the filter's. */
static void see_filter(void *arg) {
    *(bool *)arg = opening_fails("/proc/self/exe", 0, EPERM);
}

static int filter_system_calls(const struct sandbox_options *o, struct err *e) {
    scmp_filter_ctx f = seccomp_init(WIDE ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS);
    if (!f) return err_set(e, ERR_SYSTEM, "sandbox: no memory for the seccomp filter");
    int rc = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0 && o->elsewhere) rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rc == 0) rc = add_rules(f);
    if (rc == 0 && WIDE) rc = add_sanitizer_rules(f);
    if (rc == 0) rc = seccomp_load(f);
    seccomp_release(f);
    if (rc < 0) {
        errno = -rc;
        return refused(e, "seccomp");
    }
    bool here = false, there = true;
    see_filter(&here);
    if (o->elsewhere) o->elsewhere(o->elsewhere_ctx, see_filter, &there);
    return here && there ? 0 : did_not_take(e, "seccomp");
}

int sandbox_enter(const struct sandbox_options *o, char note[ERR_TEXT], struct err *e) {
    note[0] = 0;
    if (close_descriptors(o, e) < 0 || set_limits(o, e) < 0 || give_up_privileges(e) < 0) return -1;
    if (forbid_files(o, note, e) < 0 || filter_system_calls(o, e) < 0) return -1;
    if (WIDE && !note[0])
        (void)snprintf(note, ERR_TEXT, "built with a sanitizer: the sandbox is wider than in a release");
    return 0;
}
