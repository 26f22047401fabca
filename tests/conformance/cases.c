/* Finds the test cases of libonnx-testdata, and the networks that go with its group "real". */
#include "tests/conformance/conformance.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const groups[] = {"node", "simple", "real", "pytorch-converted", "pytorch-operator"};
#define N_GROUPS ((int)(sizeof groups / sizeof groups[0]))

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void sort_names(char **names, int n) {
    if (n > 0) qsort(names, (size_t)n, sizeof *names, compare_names);
}

/* The sorted names in a folder; NULL: it can't be read. */
static char **list_folder(const char *path, int *n) {
    DIR *d = opendir(path);
    char **names = NULL;
    const struct dirent *entry;
    *n = 0;
    if (!d) return NULL;
    while ((entry = readdir(d))) {
        if (entry->d_name[0] == '.') continue;
        char **more = realloc(names, (size_t)(*n + 1) * sizeof *names);
        char *name = strdup(entry->d_name);
        if (!more || !name) abort(); /* a test program */
        names = more;
        names[(*n)++] = name;
    }
    (void)closedir(d);
    sort_names(names, *n);
    return names;
}

static void format_path(char out[PATH_MAX], const char *a, const char *b, const char *c) {
    if (snprintf(out, PATH_MAX, "%s/%s%s", a, b, c) >= PATH_MAX) abort();
}

/* {"atol": 1e-07, "model_name": "densenet121", "rtol": 0.002, …}: where the tolerance is said. */
static void read_tolerance(const char *folder, struct test_case *c) {
    char path[PATH_MAX], text[1024];
    format_path(path, folder, "data.json", "");
    FILE *f = fopen(path, "re");
    if (!f) return;
    const size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = 0;
    const char *rtol = strstr(text, "\"rtol\":"), *atol = strstr(text, "\"atol\":");
    if (rtol) c->rtol = strtod(rtol + 7, NULL);
    if (atol) c->atol = strtod(atol + 7, NULL);
}

static void add_case(struct case_list *l, const char *group, const char *folder, const char *name,
                     const char *light) {
    struct test_case *more = realloc(l->cases, (size_t)(l->n + 1) * sizeof *more);
    if (!more) abort();
    l->cases = more;
    struct test_case *c = &l->cases[l->n++];
    *c = (struct test_case){.rtol = 1e-3, .atol = 1e-7, .made_input = strcmp(group, "real") == 0};
    (void)snprintf(c->group, sizeof c->group, "%s", group);
    (void)snprintf(c->name, sizeof c->name, "%s", name);
    if (c->made_input) {
        const char *net = strncmp(name, "test_", 5) == 0 ? name + 5 : name;
        char file[160];
        (void)snprintf(file, sizeof file, "light_%s", net);
        format_path(c->model, light ? light : ".", file, ".onnx");
        format_path(c->data, light ? light : ".", file, "_output_0.pb");
        if (!light || access(c->model, R_OK) != 0) c->model[0] = 0;
        read_tolerance(folder, c);
    } else {
        format_path(c->model, folder, "model.onnx", "");
        format_path(c->data, folder, "test_data_set_0", "");
    }
}

int find_cases(const char *data, const char *light, struct case_list *out) {
    char path[PATH_MAX], folder[PATH_MAX];
    *out = (struct case_list){0};
    for (int g = 0; g < N_GROUPS; g++) {
        int n;
        format_path(path, data, groups[g], "");
        char **names = list_folder(path, &n);
        if (!names) {
            (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
            return -1;
        }
        for (int i = 0; i < n; i++) {
            format_path(folder, path, names[i], "");
            add_case(out, groups[g], folder, names[i], light);
            free(names[i]);
        }
        free(names);
    }
    return 0;
}
