/* Makes calls fail: linked with --wrap into clpd and clp-guard for tests/faults/run, and into nothing else.
 *
 * A site is a call in our code: a program and an address in it. Sites live in a file that the test shares with the
 * processes (CLPD_FAULTS names it), so that what has failed once stays known across restarts. While the table is armed,
 * every site fails the first time that it is reached, and never again. Any thread; the table is only added to.
 * The import worker is left alone: what fails in it costs one file, and its limits are tested with real ones. */
#include <dirent.h>
#include <link.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <liburing.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include <yaml.h>

#define SITES 4096

/* tests/faults/faults.py reads and writes these: native byte order, no padding. */
struct site {
    _Atomic uint64_t address; /* in the program's file, its letter in the top byte; 0: free */
    _Atomic uint32_t calls, failed;
    char call[48];
};
struct table {
    _Atomic uint32_t armed;
    uint32_t spare[15];
    struct site sites[SITES];
};

extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
static struct table *table;
static uint64_t program;

int __real_open(const char *path, int flags, ...);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from);

__attribute__((constructor)) static void begin(int argc, char **argv) {
    const char *path = getenv("CLPD_FAULTS");
    if (!path || argc < 1 || (argc > 1 && (strcmp(argv[1], "worker") == 0))) return;
    int fd = __real_open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *at = __real_mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (at == MAP_FAILED) return;
    program = (uint64_t)(strstr(argv[0], "guard") ? 'g' : 'd') << 56;
    table = at;
}

/* The site of an address: found, or added. NULL where the table is full. */
static struct site *site_of(uint64_t address, const char *call) {
    uint64_t hash = address * 0x9E3779B97F4A7C15u;
    for (size_t i = 0; i < SITES; i++) {
        struct site *s = &table->sites[(hash + i) % SITES];
        uint64_t there = atomic_load(&s->address);
        if (there == 0 && atomic_compare_exchange_strong(&s->address, &there, address)) {
            (void)strncpy(s->call, call, sizeof s->call - 1);
            return s;
        }
        if (there == address) return s;
    }
    return NULL;
}

static bool fails(void *from, const char *call, int error) {
    if (!table) return false;
    struct site *s = site_of(((uint64_t)(uintptr_t)from - (uint64_t)(uintptr_t)&__ehdr_start) | program, call);
    if (!s) return false;
    (void)atomic_fetch_add(&s->calls, 1);
    if (!atomic_load(&table->armed) || atomic_exchange(&s->failed, 1)) return false;
    if (error) errno = error;
    return true;
}

#define FAILS(call, error) fails(__builtin_return_address(0), #call, error)

#define CALL(result, name, parameters, arguments, failure, error) \
    result __real_##name parameters;                              \
    result __wrap_##name parameters;                              \
    result __wrap_##name parameters {                             \
        if (FAILS(name, error)) return failure;                   \
        return __real_##name arguments;                           \
    }
#include "tests/faults/calls.h"
#undef CALL

/* --- those with a list of arguments, and those that fail in some of their uses only ------------- */

int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    mode_t mode = va_arg(ap, mode_t);
    va_end(ap);
    return FAILS(open, EMFILE) ? -1 : __real_open(path, flags, mode);
}

int __real_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    mode_t mode = va_arg(ap, mode_t);
    va_end(ap);
    return FAILS(openat, EMFILE) ? -1 : __real_openat(fd, path, flags, mode);
}

/* Counters, timers and signals behind a descriptor can't fail: files, pipes and sockets can. */
static bool has_device(int fd) {
    struct stat s;
    return __real_fstat(fd, &s) == 0 && (s.st_mode & S_IFMT);
}

ssize_t __real_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n);
ssize_t __wrap_read(int fd, void *to, size_t n) {
    return has_device(fd) && FAILS(read, EIO) ? -1 : __real_read(fd, to, n);
}

ssize_t __real_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n) { /* what is said on stderr is how a failure is told */
    return fd != STDERR_FILENO && has_device(fd) && FAILS(write, ENOSPC) ? -1 : __real_write(fd, from, n);
}

int __real_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...) { /* flags are set and read without fail */
    va_list ap;
    va_start(ap, what);
    void *argument = va_arg(ap, void *);
    va_end(ap);
    bool can = what == F_ADD_SEALS || what == F_GET_SEALS || what == F_DUPFD_CLOEXEC;
    return can && FAILS(fcntl, what == F_ADD_SEALS ? EBUSY : EMFILE) ? -1 : __real_fcntl(fd, what, argument);
}

int __real_epoll_ctl(int fd, int what, int of, struct epoll_event *e);
int __wrap_epoll_ctl(int fd, int what, int of, struct epoll_event *e);
int __wrap_epoll_ctl(int fd, int what, int of, struct epoll_event *e) { /* what is there can be changed and removed */
    return what == EPOLL_CTL_ADD && FAILS(epoll_ctl, ENOSPC) ? -1 : __real_epoll_ctl(fd, what, of, e);
}

json_t *__wrap_json_pack(const char *format, ...);
json_t *__wrap_json_pack(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    json_t *made = json_vpack_ex(NULL, 0, format, ap);
    va_end(ap);
    if (!made || !FAILS(json_pack, 0)) return made;
    json_decref(made); /* what was handed over is gone either way */
    return NULL;
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) { /* not the futex's: it has no failure that matters */
    va_list ap;
    va_start(ap, number);
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = va_arg(ap, long);
    va_end(ap);
    bool can = number == SYS_io_uring_register || number == SYS_openat2 || number == SYS_ioprio_set;
    return can && FAILS(syscall, number == SYS_openat2 ? EMFILE : EPERM) ? -1 : __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
