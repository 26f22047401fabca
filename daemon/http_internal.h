/* What the files of the HTTP plane share. Only http.c knows libmicrohttpd.
 *
 * An exchange is one request and its answer:
 *
 *   RECEIVING  its body comes in
 *   WORKING    the loop, or the picture decoder, has it; the connection is suspended
 *   ANSWERED   the answer is there, to be sent
 *
 * All of a plane belongs to its own thread. */
#ifndef DAEMON_HTTP_INTERNAL_H
#define DAEMON_HTTP_INTERNAL_H

#include "client/clpd.h"
#include "daemon/http.h"
#include "daemon/http_route.h"
#include "daemon/lent.h"
#include "daemon/oip.h"

#include <pthread.h>

#define HTTP_NO_HEADER (-1) /* no Inference-Header-Content-Length */
#define HTTP_JSON      "application/json"
#define HTTP_BINARY    "application/octet-stream"
#define HTTP_HTML      "text/html; charset=utf-8"
#define HTTP_PLAIN     "text/plain; version=0.0.4; charset=utf-8"

struct http_plane;
struct http_exchange;

struct http_source { /* a descriptor that the plane waits for; embedded in its owner */
    void (*ready)(struct http_source *s);
    struct http_plane *plane;
};

struct http_line {             /* a connection to the loop; carries one request at a time */
    struct http_source source; /* first */
    struct clpd *c;
    struct lent_line *lent;            /* its other end, for tensors that are lent */
    struct http_exchange *of;          /* NULL: idle */
    struct http_line *next, *previous; /* of all that are idle, or of all that are busy */
};

enum http_state { HTTP_RECEIVING, HTTP_WORKING, HTTP_ANSWERED };

struct http_exchange {
    struct http_plane *plane;
    struct http_peer *peer;
    void *connection; /* libmicrohttpd's */
    enum http_state state;

    /* the request */
    struct http_route route;
    int64_t header_bytes; /* HTTP_NO_HEADER; else the length of the JSON in front */
    uint32_t top_k;       /* ?k=, of classify */
    uint8_t *body;        /* within `memory`, so that a tensor behind its JSON is aligned */
    void *memory;         /* ours, or `lent`'s */
    struct lent *lent;
    size_t body_bytes, room, most; /* `most` that may come */
    uint64_t dropped;              /* that came beyond it */
    size_t held;                   /* of http.memory */

    /* under way */
    struct http_line *line;
    struct picture_job *job;
    void (*done)(struct http_exchange *x, const struct clpd_result *r); /* the loop has answered */
    struct oip_request asked;
    char input[OIP_NAME], output[OIP_NAME]; /* as the model names them */
    uint32_t rank, dims[CLPD_MAX_RANK];     /* of the output */
    bool binary;                            /* wanted so */
    uint32_t classes;                       /* wanted by the classification extension; 0: scores */

    /* the answer */
    unsigned status;
    const char *type;
    char *answer; /* malloc'ed */
    size_t answer_bytes;
    int64_t answer_header;                 /* length of its JSON where a tensor follows, or HTTP_NO_HEADER */
    struct http_exchange *next, *previous; /* all of the plane's that are under way */
};

struct picture_pool;

struct http_plane {
    struct http *all;
    pthread_t thread;
    bool started;
    int epoll, wake;
    struct http_source woken;
    struct http_daemons *daemons; /* http.c's */
    struct http_line *idle, *busy;
    uint32_t n_lines, n_idle;
    struct http_exchange *exchanges;
    struct picture_pool *pictures;
    uint64_t next_sweep;
};

struct http {
    struct http_options options;
    const struct config *_Atomic config; /* what is in force: a reload puts another one here */
    struct old_config *configs;          /* all that were: somebody may be reading */
    struct server *server;
    struct catalogue *catalogue;
    uint32_t n_planes;
    _Atomic uint32_t under_way;             /* exchanges */
    _Atomic uint64_t held;                  /* bytes of http.memory */
    _Atomic uint64_t requests, failures[6]; /* by class of status: 4xx is [4] */
    _Atomic uint32_t connections;
    _Atomic bool draining, stopping;
    _Atomic uint32_t running; /* threads */
    struct http_plane planes[];
};

/* --- http.c ------------------------------------------------------------------------------------ */

/* Watches fd for reading. 0 or -errno. */
int http_watch(struct http_plane *p, int fd, struct http_source *s);
/* An exchange that was WORKING has its answer: its connection goes on. */
void http_resume(struct http_exchange *x);

/* --- http_body.c ------------------------------------------------------------------------------- */

#define HTTP_DROPPED 2 /* times what may come is read and dropped, so that a refusal finds its way */

bool http_hold(struct http_exchange *x, size_t bytes); /* false: http.memory is used up */
size_t http_body_most(const struct http_exchange *x);
bool http_body_grow(struct http_exchange *x, size_t want); /* false: x has its answer */
/* false: the connection (fd) is to be closed; it has been told why. */
bool http_body_take(struct http_exchange *x, int fd, const char *bytes, size_t n);
/* For connections that libmicrohttpd won't let us answer on any more: nothing of an answer has gone out. */
void http_last_word(int fd, unsigned status, const char *words, const char *error);

/* --- http_answer.c: an answer is given once -------------------------------------------------- */

/* Takes `text` (malloc'ed; NULL: out of memory). */
void http_answer(struct http_exchange *x, unsigned status, const char *type, char *text, size_t n);
/* {"error": …} */
void http_fail(struct http_exchange *x, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
unsigned http_status_of(uint32_t clpd_status);
/* Everything is here: answers at once, or begins something and leaves it WORKING. */
void http_handle(struct http_exchange *x);

/* --- http_line.c ------------------------------------------------------------------------------- */

/* NULL: http.inflight are under way, or no connection is to be had; x has its answer then. */
struct http_line *http_line_take(struct http_exchange *x);
/* Sends a request; `done` will be called. */
void http_line_ask(struct http_exchange *x, const struct clpd_request *q,
                   void (*done)(struct http_exchange *, const struct clpd_result *));
/* The same with the tensor where it lies, `n` bytes: in x->memory or in `own`, which is taken either way
 * (NULL: in the former). Nothing is copied. */
void http_line_lend(struct http_exchange *x, const struct clpd_request *q, size_t n, void *own,
                    void (*done)(struct http_exchange *, const struct clpd_result *));
/* --- http_here.c ------------------------------------------------------------------------------- */

/* Computes it at once where it is small enough and nobody waits: `done` has been called, or x has its answer.
 * false: the loop has to. q->data is all that it is about, 4-byte aligned. */
bool http_run_here(struct http_exchange *x, struct version *v, const struct clpd_request *q,
                   void (*done)(struct http_exchange *, const struct clpd_result *));
/* STATUS or MODELS, waiting for it: malloc'ed text, or NULL and x has its answer. */
char *http_line_query(struct http_exchange *x, enum clpd_frame_type what);
void http_line_drop(struct http_line *l); /* what it carries is of no interest any more */
void http_line_close_all(struct http_plane *p);

/* --- http_infer.c, http_model.c, http_page.c, http_picture.c --------------------------------------- */

void http_infer(struct http_exchange *x);
/* Asks for the classes of pictures; x->classes of each. `tensor` is copied. */
void http_ask_classes(struct http_exchange *x, const struct clpd_request *q);
void http_server(struct http_exchange *x);
void http_server_ready(struct http_exchange *x);
void http_model(struct http_exchange *x);
void http_model_ready(struct http_exchange *x);
void http_stats(struct http_exchange *x);
void http_index(struct http_exchange *x);
void http_load(struct http_exchange *x);
void http_report(struct http_exchange *x);
void http_metrics(struct http_exchange *x);
void http_page(struct http_exchange *x);
void http_live_figures(struct http_exchange *x);
void http_classify(struct http_exchange *x);

/* The model that the path names, and the list that it stands in (to be put back). NULL: x has its answer. */
const struct catalogue_model *http_find_model(struct http_exchange *x, struct catalogue_list **list);

#endif
