/* Connections of the HTTP plane to the loop: socketpairs whose other end is handed to the server as if a
 * client had connected. Kept when idle; closed when what they carry is given up. */
#include "daemon/http_internal.h"

#include "client/libclpd.h"
#include "daemon/connection.h"
#include "daemon/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEP_IDLE 8
#define QUERY_MS  5000
#define SUBMIT_MS 10000 /* for the loop to take a tensor in: it reads at once, unless it is stuck */

struct newcomer {
    struct loop_post post; /* first */
    struct server *server;
    struct lent_line *line;
    int fd;
};

static void on_loop(struct loop_post *p) {
    struct newcomer *n = (struct newcomer *)(void *)p;
    if (n->server->draining) {
        (void)close(n->fd);
        lent_line_put(n->line);
    } else {
        server_take_own(n->server, n->fd, n->line);
    }
    free(n);
}

static void on_lent(struct loop_post *p) {
    struct lent *t = (struct lent *)(void *)p; /* its first member */
    struct connection *c = t->line->connection;
    if (c && c->state == CONNECTION_OPEN)
        connection_take_lent(c, t);
    else
        lent_put(t); /* the line is closed, or will be: that tells the other end */
}

static void link_in(struct http_line **list, struct http_line *l) {
    l->previous = NULL;
    l->next = *list;
    if (l->next) l->next->previous = l;
    *list = l;
}

static void link_out(struct http_line **list, struct http_line *l) {
    if (l->previous)
        l->previous->next = l->next;
    else
        *list = l->next;
    if (l->next) l->next->previous = l->previous;
}

void http_line_drop(struct http_line *l) {
    struct http_plane *p = l->source.plane;
    link_out(l->of ? &p->busy : &p->idle, l);
    if (!l->of) p->n_idle--;
    if (l->of) l->of->line = NULL;
    p->n_lines--;
    clpd_close(l->c); /* the descriptor leaves the epoll set with it */
    lent_line_put(l->lent);
    free(l);
}

static void make_idle(struct http_line *l) {
    struct http_plane *p = l->source.plane;
    if (p->n_idle >= KEEP_IDLE) {
        http_line_drop(l);
        return;
    }
    link_out(&p->busy, l);
    l->of->line = NULL;
    l->of = NULL;
    link_in(&p->idle, l);
    p->n_idle++;
}

static void on_ready(struct http_source *s) {
    struct http_line *l = (struct http_line *)(void *)s;
    struct http_exchange *x = l->of;
    struct clpd_result r;
    if (!x) { /* an idle one that speaks has been closed by the loop */
        http_line_drop(l);
        return;
    }
    const int rc = clpd_poll(l->c, 0, &r);
    if (rc == 0) return;
    if (rc < 0) {
        http_fail(x, 503, "%s", clpd_error(l->c)[0] ? clpd_error(l->c) : "the daemon gave the request up");
        http_line_drop(l);
    } else {
        x->done(x, &r);
        make_idle(l);
    }
    http_resume(x);
}

/* 0 or -errno. */
static int open_pair(struct http_plane *p, struct http_line *l) {
    int pair[2], rc;
    struct newcomer *n = malloc(sizeof *n);
    if (!n) return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        rc = -errno;
        free(n);
        return rc;
    }
    rc = clpd_adopt(pair[0], &l->c); /* takes it */
    if (rc == 0) rc = http_watch(p, pair[0], &l->source);
    if (rc) {
        clpd_close(l->c);
        (void)close(pair[1]);
        free(n);
        return rc;
    }
    clpd_set_timeout(l->c, SUBMIT_MS);
    *n = (struct newcomer){
        .post.run = on_loop, .server = p->all->server, .line = lent_line_get(l->lent), .fd = pair[1]};
    loop_post(p->all->server->loop, &n->post);
    return 0;
}

static struct http_line *open_line(struct http_plane *p, int *rc) {
    struct http_line *l = calloc(1, sizeof *l);
    *rc = -ENOMEM;
    if (!l) return NULL;
    l->source = (struct http_source){on_ready, p};
    l->lent = lent_line_new();
    if (l->lent) *rc = open_pair(p, l);
    if (*rc) {
        lent_line_put(l->lent);
        free(l);
        return NULL;
    }
    p->n_lines++;
    return l;
}

struct http_line *http_line_take(struct http_exchange *x) {
    struct http_plane *p = x->plane;
    struct http_line *l = p->idle;
    int rc = 0;
    if (l) {
        link_out(&p->idle, l);
        p->n_idle--;
    } else if (p->n_lines >= p->all->config->http_inflight) {
        http_fail(x, 503, "%u requests are under way (http.inflight): try again later", p->n_lines);
        return NULL;
    } else {
        l = open_line(p, &rc);
    }
    if (!l) {
        http_fail(x, 503, "no connection to the daemon's loop: %s", strerror(-rc));
        return NULL;
    }
    l->of = x;
    x->line = l;
    link_in(&p->busy, l);
    return l;
}

void http_line_ask(struct http_exchange *x, const struct clpd_request *q,
                   void (*done)(struct http_exchange *, const struct clpd_result *)) {
    struct http_line *l = http_line_take(x);
    if (!l) return;
    x->done = done;
    const int rc = clpd_submit(l->c, q, NULL);
    if (rc == 0) {
        x->state = HTTP_WORKING;
        return;
    }
    http_fail(x, rc == -EINVAL ? 400 : 503, "%s", clpd_error(l->c));
    if (rc == -EINVAL)
        make_idle(l);
    else
        http_line_drop(l);
}

/* Memory that is the loan's from here on. NULL: no memory; it is freed, or still x's. */
static struct lent *make_loan(struct http_exchange *x, const void *tensor, size_t bytes, void *own) {
    struct lent *t = lent_new(own ? own : x->memory, tensor, bytes);
    if (!t) {
        free(own);
        return NULL;
    }
    if (!own) x->lent = lent_get(t); /* what stands in front of the tensor is needed for the answer */
    return t;
}

void http_line_lend(struct http_exchange *x, const struct clpd_request *q, size_t n, void *own,
                    void (*done)(struct http_exchange *, const struct clpd_result *)) {
    struct http_line *l = http_line_take(x);
    struct clpd_infer head;
    uint64_t bytes = 0, id = 0;
    if (!l) {
        free(own);
        return;
    }
    const int rc = libclpd_expect(l->c, q, &head, &bytes, &id);
    assert(rc || bytes == n); /* the protocol's reader and libclpd count alike */
    struct lent *t = rc == 0 && bytes == n ? make_loan(x, q->data, n, own) : NULL;
    if (rc) free(own);
    if (!t) {
        http_fail(x, rc == -EINVAL ? 400 : 503, "%s", rc ? clpd_error(l->c) : "out of memory");
        if (rc == -EINVAL)
            make_idle(l);
        else
            http_line_drop(l);
        return;
    }
    t->post.run = on_lent;
    t->line = lent_line_get(l->lent);
    t->id = id;
    t->head = head;
    x->done = done;
    x->state = HTTP_WORKING;
    loop_post(x->plane->all->server->loop, &t->post);
}

char *http_line_query(struct http_exchange *x, enum clpd_frame_type what) {
    struct http_line *l = http_line_take(x);
    struct clpd_result r;
    if (!l) return NULL;
    clpd_set_timeout(l->c, QUERY_MS);
    const int rc = clpd_query(l->c, what, &r);
    char *text = rc == 0 && r.json ? strndup(r.json, r.json_bytes) : NULL;
    if (!text) http_fail(x, 503, "%s", rc ? clpd_error(l->c) : "the daemon has no status to tell");
    clpd_set_timeout(l->c, SUBMIT_MS);
    if (rc)
        http_line_drop(l);
    else
        make_idle(l);
    return text;
}

void http_line_close_all(struct http_plane *p) {
    while (p->busy) http_line_drop(p->busy);
    while (p->idle) http_line_drop(p->idle);
}
