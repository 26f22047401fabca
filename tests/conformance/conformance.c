/* ONNX's test cases against this build: prints what passed, was refused and why; can write the page for
 * docs/.
 *
 * usage: conformance [--jobs N] [--quick] [--only TEXT] [--verbose] [--light DIR]
 *                    [--page FILE] [--list FILE] [--write-list FILE] DATA
 *
 * Exit status 1: a case failed or crashed, or one that is in the list did not pass.
 * One child process per case, so that a crash costs that case alone. */
#include "tests/conformance/conformance.h"
#include "guard/spawn.h"
#include "infer/blas.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_JOBS = 16, CASE_SECONDS = 300 };

struct job {
    pid_t pid; /* 0: free */
    int pipe, at;
};

static struct {
    const char *only, *light, *page, *list, *write_list, *data;
    int jobs;
    bool quick, verbose;
} options = {.jobs = 2};

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_wanted(const struct test_case *c) {
    char full[160];
    (void)snprintf(full, sizeof full, "%s/%s", c->group, c->name);
    if (options.quick && c->made_input) return false; /* whole networks: minutes */
    return !options.only || strstr(full, options.only);
}

/* --- a process per case ------------------------------------------------------------------ */

static void start(struct job *j, const struct test_case *c, int at, const char *guard) {
    int ends[2];
    struct outcome o = {.result = CRASHED};
    if (pipe(ends) != 0) abort();
    const pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        (void)close(ends[0]);
        (void)alarm(CASE_SECONDS);
        run_case(c, guard, &o);
        _exit(write(ends[1], &o, sizeof o) == (ssize_t)sizeof o ? 0 : 1);
    }
    (void)close(ends[1]);
    *j = (struct job){.pid = pid, .pipe = ends[0], .at = at};
}

static void finish(struct job *j, struct outcome *o) {
    int status = 0;
    const ssize_t n = read(j->pipe, o, sizeof *o);
    while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR) continue;
    (void)close(j->pipe);
    j->pid = 0;
    if (n == (ssize_t)sizeof *o) return;
    *o = (struct outcome){.result = CRASHED};
    if (WIFSIGNALED(status))
        (void)snprintf(o->reason, sizeof o->reason, "the process that ran it ended by signal %d (%s)",
                       WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        (void)snprintf(o->reason, sizeof o->reason, "the process that ran it ended with status %d",
                       WEXITSTATUS(status));
}

static void tell(const struct test_case *c, const struct outcome *o) {
    static const char *const words[RESULTS] = {"passed", "adapted", "refused", "out of scope",
                                               "FAILED", "CRASHED", "absent"};
    if (options.verbose || o->result == FAILED || o->result == CRASHED)
        (void)printf("%-14s %s/%s%s%s\n", words[o->result], c->group, c->name, o->reason[0] ? ": " : "",
                     o->reason);
}

static void wait_for_one(struct job *jobs, int n, const struct case_list *l, struct outcome *outcomes) {
    struct pollfd p[MAX_JOBS];
    for (int i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = jobs[i].pid ? jobs[i].pipe : -1, .events = POLLIN};
    if (poll(p, (nfds_t)n, -1) < 0) return;
    for (int i = 0; i < n; i++) {
        if (!p[i].revents) continue;
        finish(&jobs[i], &outcomes[jobs[i].at]);
        tell(&l->cases[jobs[i].at], &outcomes[jobs[i].at]);
    }
}

static bool any_runs(const struct job *jobs) {
    for (int i = 0; i < options.jobs; i++)
        if (jobs[i].pid) return true;
    return false;
}

static void run_all(const struct case_list *l, struct outcome *outcomes, const char *guard) {
    struct job jobs[MAX_JOBS] = {0};
    for (int next = 0; next < l->n || any_runs(jobs);) {
        int free_one = -1;
        for (int i = 0; i < options.jobs; i++)
            if (!jobs[i].pid) free_one = i;
        if (next < l->n && free_one >= 0) {
            start(&jobs[free_one], &l->cases[next], next, guard);
            next++;
        } else {
            wait_for_one(jobs, options.jobs, l, outcomes);
        }
    }
}

/* --- the program ---------------------------------------------------------------------------- */

static int parse(int argc, char **argv) {
    static const struct option longs[] = {
        {"jobs", 1, NULL, 'j'},    {"quick", 0, NULL, 'q'},      {"only", 1, NULL, 'o'},
        {"verbose", 0, NULL, 'v'}, {"light", 1, NULL, 'l'},      {"page", 1, NULL, 'p'},
        {"list", 1, NULL, 'c'},    {"write-list", 1, NULL, 'w'}, {0}};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'j': options.jobs = atoi(optarg); break;
        case 'q': options.quick = true; break;
        case 'o': options.only = optarg; break;
        case 'v': options.verbose = true; break;
        case 'l': options.light = optarg; break;
        case 'p': options.page = optarg; break;
        case 'c': options.list = optarg; break;
        case 'w': options.write_list = optarg; break;
        default: return -1;
        }
    }
    options.data = argv[optind];
    return optind + 1 == argc && options.jobs >= 1 && options.jobs <= MAX_JOBS ? 0 : -1;
}

static void keep_wanted(struct case_list *l) {
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (is_wanted(&l->cases[i])) l->cases[n++] = l->cases[i];
    l->n = n;
}

static int told(const char *path, int rc) {
    if (rc < 0) (void)fprintf(stderr, "%s: %s\n", path, strerror(-rc));
    return rc < 0;
}

int main(int argc, char **argv) {
    struct case_list l;
    struct err e = {0};
    char guard[PATH_MAX];
    if (parse(argc, argv)) {
        (void)fprintf(stderr,
                      "usage: conformance [--jobs N] [--quick] [--only TEXT] [--verbose] [--light DIR]\n"
                      "       [--page FILE] [--list FILE] [--write-list FILE] DATA\n");
        return 2;
    }
    if (find_cases(options.data, options.light, &l)) return 2;
    if (spawn_find_guard(guard, &e)) {
        (void)fprintf(stderr, "%s\n", e.text);
        return 2;
    }
    keep_wanted(&l);
    struct outcome *outcomes = calloc((size_t)l.n + 1, sizeof *outcomes);
    if (!outcomes) abort();
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    blas_init(); /* ends OpenBLAS's threads before there are children */
    const double begun = now();
    run_all(&l, outcomes, guard);
    print_summary(&l, outcomes);
    (void)printf("%.0f s\n", now() - begun);
    int bad = 0;
    for (int i = 0; i < l.n; i++) bad |= outcomes[i].result == FAILED || outcomes[i].result == CRASHED;
    if (options.list) bad |= check_list(options.list, &l, outcomes, options.quick || options.only) != 0;
    if (options.write_list) bad |= told(options.write_list, write_list(options.write_list, &l, outcomes));
    if (options.page) bad |= told(options.page, write_page(options.page, &l, outcomes, now() - begun));
    free(outcomes);
    free(l.cases);
    return bad;
}
