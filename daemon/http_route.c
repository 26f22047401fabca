/* A path is words between slashes; a table says which words mean what. */
#include "daemon/http_route.h"

#include <stdio.h>
#include <string.h>

#define WORDS 6 /* of the longest path */

struct word {
    const char *text;
    size_t n;
};

/* NAME and VERSION stand for any word. */
static const struct pattern {
    const char *words[WORDS];
    enum http_what what;
    bool post;
} patterns[] = {
    {{""}, HTTP_PAGE, false},
    {{"live.json"}, HTTP_LIVE_FIGURES, false},
    {{"metrics"}, HTTP_METRICS, false},
    {{"reports", "NAME"}, HTTP_REPORT, false},
    {{"reports", "NAME", "versions", "VERSION"}, HTTP_REPORT, false},
    {{"v2"}, HTTP_SERVER, false},
    {{"v2", ""}, HTTP_SERVER, false},
    {{"v2", "health", "live"}, HTTP_SERVER_LIVE, false},
    {{"v2", "health", "ready"}, HTTP_SERVER_READY, false},
    {{"v2", "models", "stats"}, HTTP_ALL_STATS, false},
    {{"v2", "models", "NAME"}, HTTP_MODEL, false},
    {{"v2", "models", "NAME", "ready"}, HTTP_MODEL_READY, false},
    {{"v2", "models", "NAME", "stats"}, HTTP_MODEL_STATS, false},
    {{"v2", "models", "NAME", "infer"}, HTTP_INFER, true},
    {{"v2", "models", "NAME", "classify"}, HTTP_CLASSIFY, true},
    {{"v2", "models", "NAME", "versions", "VERSION"}, HTTP_MODEL, false},
    {{"v2", "models", "NAME", "versions", "VERSION", "ready"}, HTTP_MODEL_READY, false},
    {{"v2", "models", "NAME", "versions", "VERSION", "stats"}, HTTP_MODEL_STATS, false},
    {{"v2", "models", "NAME", "versions", "VERSION", "infer"}, HTTP_INFER, true},
    {{"v2", "models", "NAME", "versions", "VERSION", "classify"}, HTTP_CLASSIFY, true},
    {{"v2", "repository", "index"}, HTTP_INDEX, true},
    {{"v2", "repository", "models", "NAME", "load"}, HTTP_LOAD, true},
    {{"v2", "repository", "models", "NAME", "unload"}, HTTP_UNLOAD, true},
};

/* How many; WORDS + 1: too many. */
static size_t split(const char *path, struct word words[WORDS]) {
    size_t n = 0;
    if (*path != '/') return WORDS + 1;
    while (*path == '/') {
        const char *begin = path + 1;
        const size_t length = strcspn(begin, "/");
        if (n == WORDS) return WORDS + 1;
        words[n++] = (struct word){begin, length};
        path = begin + length;
    }
    return n;
}

/* A version is a number from 1 on, in decimal. */
static bool read_version(const struct word *w, uint64_t *version) {
    uint64_t v = 0;
    if (w->n == 0 || w->n > 18) return false;
    for (size_t i = 0; i < w->n; i++) {
        if (w->text[i] < '0' || w->text[i] > '9') return false;
        v = v * 10 + (uint64_t)(w->text[i] - '0');
    }
    *version = v;
    return v > 0;
}

static bool read_name(const struct word *w, char name[LINK_MODEL]) {
    if (w->n == 0 || w->n >= LINK_MODEL) return false;
    memcpy(name, w->text, w->n);
    name[w->n] = 0;
    return true;
}

static bool fits(const struct pattern *p, const struct word *words, size_t n, struct http_route *r) {
    size_t i = 0;
    for (; i < WORDS && p->words[i]; i++) {
        if (i == n) return false;
        const char *want = p->words[i];
        const bool ok = strcmp(want, "NAME") == 0 ? read_name(&words[i], r->model)
                        : strcmp(want, "VERSION") == 0
                            ? read_version(&words[i], &r->version)
                            : strlen(want) == words[i].n && memcmp(want, words[i].text, words[i].n) == 0;
        if (!ok) return false;
    }
    return i == n;
}

void http_route_find(const char *method, const char *path, struct http_route *r) {
    struct word words[WORDS];
    const size_t n = split(path, words);
    for (size_t i = 0; n <= WORDS && i < sizeof patterns / sizeof patterns[0]; i++) {
        const struct pattern *p = &patterns[i];
        *r = (struct http_route){0};
        if (!fits(p, words, n, r)) continue;
        r->what = p->what;
        r->methods = p->post ? "POST" : "GET, HEAD";
        r->allowed =
            p->post ? strcmp(method, "POST") == 0 : strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
        return;
    }
    *r = (struct http_route){.what = HTTP_NOTHING};
}
