/* From method and path to what is asked for. Pure; any thread. */
#ifndef DAEMON_HTTP_ROUTE_H
#define DAEMON_HTTP_ROUTE_H

#include "guard/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_what {
    HTTP_NOTHING, /* no such path */
    HTTP_PAGE,
    HTTP_LIVE_FIGURES, /* the page's own JSON */
    HTTP_METRICS,
    HTTP_REPORT,
    HTTP_SERVER,
    HTTP_SERVER_LIVE,
    HTTP_SERVER_READY,
    HTTP_MODEL,
    HTTP_MODEL_READY,
    HTTP_MODEL_STATS,
    HTTP_ALL_STATS,
    HTTP_INFER,
    HTTP_CLASSIFY,
    HTTP_INDEX,
    HTTP_LOAD,
    HTTP_UNLOAD
};

struct http_route {
    enum http_what what;
    bool allowed;           /* the method fits */
    const char *methods;    /* those that do: for Allow */
    char model[LINK_MODEL]; /* "" where the path names none */
    uint64_t version;       /* 0: none named */
};

/* `path` without the query, percent-decoded. */
void http_route_find(const char *method, const char *path, struct http_route *r);

#endif
