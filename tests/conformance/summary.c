/* What came out of all cases: on the terminal, as the page in docs/, as the list that must go on passing. */
#include "tests/conformance/conformance.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- counting ----------------------------------------------------------------------------- */

static void print_counts(FILE *f, bool page, const char *group, const int n[RESULTS]) {
    int all = 0;
    for (int i = 0; i < RESULTS; i++) all += n[i];
    (void)(page ? fprintf(f, "| %s | %d |", group, all) : fprintf(f, "%-18s %6d", group, all));
    for (int i = 0; i < RESULTS; i++) (void)fprintf(f, page ? " %d |" : "%9d", n[i]);
    (void)fprintf(f, "\n");
}

static void count_groups(FILE *f, bool page, const struct case_list *l, const struct outcome *o) {
    int total[RESULTS] = {0};
    for (int i = 0; i < l->n;) {
        const char *group = l->cases[i].group;
        int n[RESULTS] = {0};
        for (; i < l->n && strcmp(l->cases[i].group, group) == 0; i++) {
            n[o[i].result]++;
            total[o[i].result]++;
        }
        print_counts(f, page, group, n);
    }
    print_counts(f, page, "all", total);
}

/* --- reasons ------------------------------------------------------------------------------- */

struct group { /* cases with the same reason; `first` has the names and numbers of one of them */
    char reason[ERR_TEXT], first[ERR_TEXT], operators[2048];
    int n;
};

/* "node 'x' (Conv): why" and "node 3 (Conv): why" to "Conv" and "why". */
static const char *split_reason(const char *text, char *op, size_t cap) {
    const char *open, *close;
    *op = 0;
    if (strncmp(text, "node ", 5) != 0 || !(open = strstr(text, " (")) || !(close = strstr(open, "): ")))
        return text;
    (void)snprintf(op, cap, "%.*s", (int)(close - open - 2), open + 2);
    return close + 3;
}

/* The same reason has other names and numbers in each case. */
static void generalise(const char *text, char *out, size_t cap) {
    size_t n = 0;
    for (const char *p = text; *p && n + 8 < cap;) {
        const char closing = *p == '\'' ? '\'' : *p == '[' ? ']' : 0;
        const char *end = closing ? strchr(p + 1, closing) : NULL;
        if (end && (p == text || !isalpha((unsigned char)p[-1]))) {
            out[n++] = *p;
            p = end + 1;
        } else if (isdigit((unsigned char)*p) && (p == text || !isalnum((unsigned char)p[-1]))) {
            out[n++] = 'N';
            while (isdigit((unsigned char)*p) || (*p == '.' && isdigit((unsigned char)p[1]))) p++;
        } else {
            out[n++] = *p++;
        }
    }
    out[n] = 0;
}

static void add_operator(struct group *g, const char *op) {
    const size_t n = strlen(op), used = strlen(g->operators);
    for (const char *p = g->operators; (p = strstr(p, op)); p += n)
        if ((p == g->operators || p[-1] == ' ') && (p[n] == ',' || !p[n])) return;
    if (used + n + 3 < sizeof g->operators)
        (void)snprintf(g->operators + used, sizeof g->operators - used, "%s%s", used ? ", " : "", op);
}

static int compare_groups(const void *a, const void *b) {
    const struct group *x = a, *y = b;
    return x->n != y->n ? y->n - x->n : strcmp(x->reason, y->reason);
}

/* Sorted, the most frequent first; free it. */
static struct group *group_reasons(const struct case_list *l, const struct outcome *o, enum result which,
                                   int *n) {
    struct group *groups = calloc((size_t)l->n + 1, sizeof *groups);
    *n = 0;
    if (!groups) abort();
    for (int i = 0; i < l->n; i++) {
        char op[64], reason[ERR_TEXT];
        int at = 0;
        if (o[i].result != which) continue;
        const char *text = split_reason(o[i].reason, op, sizeof op);
        generalise(text, reason, sizeof reason);
        while (at < *n && strcmp(groups[at].reason, reason) != 0) at++;
        if (at == *n) {
            memcpy(groups[at].reason, reason, sizeof reason);
            (void)snprintf(groups[at].first, sizeof groups[at].first, "%s", text);
            (*n)++;
        }
        groups[at].n++;
        if (*op) add_operator(&groups[at], op);
    }
    qsort(groups, (size_t)*n, sizeof *groups, compare_groups);
    return groups;
}

static void print_reasons(FILE *f, bool page, const struct case_list *l, const struct outcome *o,
                          enum result which) {
    int n;
    struct group *groups = group_reasons(l, o, which, &n);
    for (int i = 0; i < n; i++) {
        for (char *p = groups[i].first; page && (p = strchr(p, '|'));) *p = '/';
        (void)fprintf(f, page ? "| %d | %s | %s |\n" : "%5d  %s  %s\n", groups[i].n, groups[i].first,
                      groups[i].operators);
    }
    free(groups);
}

void print_summary(const struct case_list *l, const struct outcome *o) {
    (void)printf("\nrefused:\n");
    print_reasons(stdout, false, l, o, REFUSED);
    (void)printf("out of scope:\n");
    print_reasons(stdout, false, l, o, OUT_OF_SCOPE);
    (void)printf("\n%-18s %6s%9s%9s%9s%9s%9s%9s%9s\n", "", "cases", "passed", "adapted", "refused", "scope",
                 "failed", "crashed", "absent");
    count_groups(stdout, false, l, o);
}

/* --- the page ------------------------------------------------------------------------------- */

static void print_machine(FILE *f, double seconds) {
    char line[256], cpu[256] = "unknown processor", date[32];
    FILE *info = fopen("/proc/cpuinfo", "re");
    while (info && fgets(line, sizeof line, info)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        (void)snprintf(cpu, sizeof cpu, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (info) (void)fclose(info);
    const time_t t = time(NULL);
    struct tm tm;
    (void)strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&t, &tm));
    (void)fprintf(f, "Written by `make conformance` on %s; %s, %ld cores, %.0f s.\n\n", date, cpu,
                  sysconf(_SC_NPROCESSORS_ONLN), seconds);
}

static void print_named(FILE *f, const struct case_list *l, const struct outcome *o, enum result which) {
    for (int i = 0; i < l->n; i++)
        if (o[i].result == which)
            (void)fprintf(f, "\n%s: `%s/%s`: %s\n", which == FAILED ? "Failed" : "Crashed", l->cases[i].group,
                          l->cases[i].name, o[i].reason);
}

int write_page(const char *path, const struct case_list *l, const struct outcome *o, double seconds) {
    FILE *f = fopen(path, "we");
    if (!f) return -errno;
    (void)fprintf(f, "# Conformance\n\n");
    print_machine(f, seconds);
    (void)fprintf(
        f,
        "The cases of ONNX itself (Debian's `libonnx-testdata`; the networks of the group `real` are not\n"
        "in that package) go the way of every model: import worker in its sandbox, sealed image, engine.\n"
        "Results are compared as ONNX's runner does: |a − b| ≤ 1e-7 + 1e-3·|b|, or as the case says\n"
        "(where the expected numbers are bfloat16, within one step of that).\n\n"
        "- **passed**: as the file came.\n"
        "- **adapted**: passed once the axes, shapes and weights that it brings as inputs were written into\n"
        "  the file as constants, as networks have them; its operator set before 7 was\n"
        "  taken for 7; or the truth values that it answers with were cast to floats.\n"
        "- **refused**: the importer says no, with the reasons below.\n"
        "- **scope**: nothing that a request could bring; no input is a float.\n"
        "- **failed** (wrong numbers) and **crashed** have to be 0.\n\n"
        "| group | cases | passed | adapted | refused | scope | failed | crashed | absent |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    count_groups(f, true, l, o);
    print_named(f, l, o, FAILED);
    print_named(f, l, o, CRASHED);
    (void)fprintf(f, "\n## Refused\n\nNames and numbers are those of the first of each kind.\n\n"
                     "| cases | reason | operators |\n|--:|---|---|\n");
    print_reasons(f, true, l, o, REFUSED);
    (void)fprintf(f, "\n## Out of scope\n\n| cases | reason | |\n|--:|---|---|\n");
    print_reasons(f, true, l, o, OUT_OF_SCOPE);
    return fclose(f) == 0 ? 0 : -errno;
}

/* --- the list: a name per line ------------------------------------------------------------------- */

static bool passed(const struct outcome *o) {
    return o->result == PASSED || o->result == PASSED_ADAPTED;
}

int write_list(const char *path, const struct case_list *l, const struct outcome *o) {
    FILE *f = fopen(path, "we");
    if (!f) return -errno;
    for (int i = 0; i < l->n; i++)
        if (passed(&o[i])) (void)fprintf(f, "%s/%s\n", l->cases[i].group, l->cases[i].name);
    return fclose(f) == 0 ? 0 : -errno;
}

int check_list(const char *path, const struct case_list *l, const struct outcome *o, bool partly) {
    char line[256], name[160];
    int bad = 0;
    FILE *f = fopen(path, "re");
    if (!f) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        int i = 0;
        for (; i < l->n; i++) {
            (void)snprintf(name, sizeof name, "%s/%s", l->cases[i].group, l->cases[i].name);
            if (strcmp(name, line) == 0) break;
        }
        if (i == l->n ? partly : passed(&o[i]) || o[i].result == ABSENT) continue;
        (void)printf("%s used to pass: %s\n", line, i == l->n ? "it is not there" : o[i].reason);
        bad++;
    }
    (void)fclose(f);
    return bad;
}
