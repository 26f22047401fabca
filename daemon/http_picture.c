/* The decoder's parent. What comes back is bytes of a length that we chose, or a text. */
#include "daemon/http_picture.h"

#include "client/picture_wire.h"
#include "daemon/http_internal.h"
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "clp-picture"
#define BURIAL  64 /* processes that were ended and not yet waited for */

struct picture_job {
    struct http_source source; /* first */
    struct picture_pool *pool;
    struct http_exchange *x; /* NULL: the one that waits */
    int fd;
    pid_t pid;
    uint64_t since;
    struct picture_question question;
    size_t sent; /* of question and file */
    struct picture_reply reply;
    uint8_t *pixels;
    size_t received, want; /* of pixels: `want` */
    struct picture_job *next;
};

struct picture_pool {
    struct http_plane *plane;
    char path[PATH_MAX];
    struct picture_job *spare, *jobs;
    uint32_t n;
    pid_t dead[BURIAL];
    uint32_t n_dead;
};

/* --- processes ------------------------------------------------------------------------------ */

static void bury(struct picture_pool *p) {
    for (uint32_t i = 0; i < p->n_dead;) {
        if (waitpid(p->dead[i], NULL, WNOHANG) == 0)
            i++;
        else
            p->dead[i] = p->dead[--p->n_dead];
    }
}

static void end_process(struct picture_pool *p, pid_t pid) {
    (void)kill(pid, SIGKILL);
    bury(p);
    if (p->n_dead < BURIAL)
        p->dead[p->n_dead++] = pid;
    else
        (void)waitpid(pid, NULL, 0);
}

static void free_job(struct picture_job *j) {
    (void)close(j->fd);
    end_process(j->pool, j->pid);
    free(j->pixels);
    free(j);
}

/* Signals that the daemon's threads block are open again in the child; the environment is not its business.
 */
static int spawn(const struct picture_pool *p, int fd, pid_t *pid) {
    const struct config *c = p->plane->all->config;
    char seconds[16], memory[24];
    char *argv[] = {(char *)(uintptr_t)PROGRAM, seconds, memory, NULL}, *none[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t set;
    (void)snprintf(seconds, sizeof seconds, "%u", c->http_picture_s);
    (void)snprintf(memory, sizeof memory, "%" PRIu64, c->http_picture_memory);
    (void)sigemptyset(&set);
    if (posix_spawn_file_actions_init(&actions)) return -ENOMEM;
    if (posix_spawnattr_init(&attributes)) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    (void)posix_spawnattr_setsigmask(&attributes, &set);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn_file_actions_adddup2(&actions, fd, 0);
    if (rc == 0) rc = posix_spawn(pid, p->path, &actions, &attributes, argv, none);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return -rc;
}

static void on_ready(struct http_source *s);

/* NULL: it can't be started. */
static struct picture_job *start(struct picture_pool *p) {
    int pair[2], rc;
    struct picture_job *j = calloc(1, sizeof *j);
    if (!j) return NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        free(j);
        return NULL;
    }
    *j = (struct picture_job){.source.ready = on_ready, .source.plane = p->plane, .pool = p, .fd = pair[0]};
    rc = fcntl(pair[0], F_SETFL, O_NONBLOCK) ? -errno : spawn(p, pair[1], &j->pid);
    (void)close(pair[1]);
    if (rc == 0) return j;
    log_warning("%s can't be started: %s", p->path, strerror(-rc));
    (void)close(j->fd);
    free(j);
    return NULL;
}

/* --- a picture's way ---------------------------------------------------------------------------- */

static void forget(struct picture_job *j) {
    struct picture_pool *p = j->pool;
    for (struct picture_job **at = &p->jobs; *at; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            p->n--;
            break;
        }
    if (j->x) j->x->job = NULL;
    free_job(j);
    if (!p->spare && !atomic_load(&p->plane->all->stopping)) p->spare = start(p);
}

void picture_job_drop(struct picture_job *j) {
    forget(j);
}

static void fail(struct picture_job *j, unsigned status, const char *why) {
    struct http_exchange *x = j->x;
    http_fail(x, status, "%s", why); /* `why` may lie in the job */
    forget(j);
    http_resume(x);
}

static void on_classes(struct http_exchange *x, const struct clpd_result *r);

/* All pixels are here: they go the way of every picture. */
static void ask(struct picture_job *j) {
    struct http_exchange *x = j->x;
    const struct clpd_request q = {.model = x->route.model,
                                   .format = CLPD_U8_NHWC,
                                   .dims = {1, j->question.h, j->question.w, j->question.c},
                                   .data = j->pixels,
                                   .top_k = (uint16_t)x->top_k};
    http_line_ask(x, &q, on_classes);
    forget(j);
    if (x->status) http_resume(x);
}

/* Bytes of question and file from `at` on. */
static size_t piece(const struct picture_job *j, const uint8_t **from) {
    const size_t head = sizeof j->question;
    if (j->sent < head) return *from = (const uint8_t *)&j->question + j->sent, head - j->sent;
    return *from = j->x->body + (j->sent - head), j->x->body_bytes - (j->sent - head);
}

/* 1: all is sent, 0: later, -errno. */
static int send_on(struct picture_job *j) {
    const size_t all = sizeof j->question + j->x->body_bytes;
    while (j->sent < all) {
        const uint8_t *from;
        const size_t left = piece(j, &from);
        const ssize_t n = send(j->fd, from, left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        j->sent += (size_t)n;
    }
    return 1;
}

/* 1: all is here, 0: later, -errno (-EPIPE: it ended). */
static int receive_on(struct picture_job *j) {
    const size_t head = sizeof j->reply;
    while (j->received < head + j->want) {
        uint8_t *to =
            j->received < head ? (uint8_t *)&j->reply + j->received : j->pixels + (j->received - head);
        const size_t left = j->received < head ? head - j->received : head + j->want - j->received;
        const ssize_t n = recv(j->fd, to, left, MSG_DONTWAIT);
        if (n == 0) return -EPIPE;
        if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        j->received += (size_t)n;
        if (j->received == head && (j->reply.magic != PICTURE_WIRE_MAGIC || !j->reply.ok)) return 1;
    }
    return 1;
}

static void on_ready(struct http_source *s) {
    struct picture_job *j = (struct picture_job *)(void *)s;
    int rc = send_on(j);
    if (rc > 0) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
        (void)epoll_ctl(j->source.plane->epoll, EPOLL_CTL_MOD, j->fd, &e);
    }
    if (rc >= 0 || rc == -EPIPE) rc = receive_on(j); /* it may have spoken before it read */
    if (rc == 0) return;
    if (rc < 0) {
        fail(j, 400,
             "the picture broke its decoder, which was in a sandbox, or needs more than http.picture_s or "
             "http.picture_memory allow");
    } else if (j->reply.magic != PICTURE_WIRE_MAGIC || !j->reply.ok) {
        j->reply.text[sizeof j->reply.text - 1] = 0;
        fail(j, 400, j->reply.magic == PICTURE_WIRE_MAGIC ? j->reply.text : "the picture broke its decoder");
    } else {
        ask(j);
    }
}

static struct picture_job *take(struct picture_pool *p, struct http_exchange *x) {
    if (p->n >= p->plane->all->config->http_pictures) {
        http_fail(x, 503, "%u pictures are being decoded (http.pictures): try again later", p->n);
        return NULL;
    }
    struct picture_job *j = p->spare ? p->spare : start(p);
    p->spare = NULL;
    if (!j) {
        http_fail(x, 503, "the picture decoder (%s) can't be started", PROGRAM);
        return NULL;
    }
    j->next = p->jobs;
    p->jobs = j;
    p->n++;
    j->x = x;
    x->job = j;
    j->since = loop_clock();
    return j;
}

static void begin(struct http_exchange *x, uint32_t h, uint32_t w, uint32_t c) {
    struct picture_job *j = take(x->plane->pictures, x);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT};
    if (!j) return;
    j->question = (struct picture_question){
        .magic = PICTURE_WIRE_MAGIC, .h = h, .w = w, .c = c, .bytes = x->body_bytes};
    j->want = (size_t)h * w * c;
    j->pixels = malloc(j->want);
    e.data.ptr = &j->source;
    if (!j->pixels || epoll_ctl(x->plane->epoll, EPOLL_CTL_ADD, j->fd, &e)) {
        forget(j);
        http_fail(x, 503, "out of memory");
        return;
    }
    x->state = HTTP_WORKING;
}

/* --- the endpoint -------------------------------------------------------------------------------- */

static bool is_picture(const uint8_t *p, size_t n) {
    return (n > 3 && memcmp(p, "\xff\xd8\xff", 3) == 0) || (n > 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0);
}

void http_classify(struct http_exchange *x) {
    struct catalogue_list *list;
    const struct catalogue_model *m = http_find_model(x, &list);
    if (!m) return;
    const struct frame_input in = m->version->input;
    catalogue_put(list);
    if (in.u8_bytes == 0 || in.rank != 4 || in.dims[0] != 1 || (in.dims[1] != 1 && in.dims[1] != 3))
        http_fail(x, 400, "\"%s\" does not take single pictures in colour or grey: use infer",
                  x->route.model);
    else if (!is_picture(x->body, x->body_bytes))
        http_fail(x, 400, "the body has to be a JPEG or PNG file");
    else
        begin(x, in.dims[2], in.dims[3], in.dims[1]);
}

static void put_classes(FILE *to, const struct http_exchange *x, const struct clpd_result *r) {
    (void)fputs("{\"model_name\":", to);
    oip_put_text(to, x->route.model);
    (void)fprintf(to, ",\"model_version\":\"%" PRIu64 "\",\"classes\":[", r->version);
    for (uint32_t i = 0; i < r->top_k; i++) {
        const char *label = clpd_result_label(r, &r->top[i]);
        (void)fprintf(to, "%s{\"index\":%u,\"label\":", i ? "," : "", r->top[i].index);
        if (label)
            oip_put_text(to, label);
        else
            (void)fputs("null", to);
        (void)fprintf(to, ",\"score\":%.9g,\"probability\":%.9g}", (double)r->top[i].score,
                      (double)r->top[i].probability);
    }
    (void)fprintf(to, "],\"queue_ms\":%.3f,\"compute_ms\":%.3f}\n", (double)r->queue_ns / 1e6,
                  (double)r->compute_ns / 1e6);
}

static bool all_finite(const struct clpd_result *r) {
    for (uint32_t i = 0; i < r->top_k; i++)
        if (!__builtin_isfinite(r->top[i].score) || !__builtin_isfinite(r->top[i].probability)) return false;
    return true;
}

static void on_classes(struct http_exchange *x, const struct clpd_result *r) {
    char *text = NULL;
    size_t n = 0;
    if (r->status != CLPD_OK) {
        http_fail(x, http_status_of(r->status), "%s", r->text);
        return;
    }
    if (!all_finite(r)) {
        http_fail(x, 500, "the network's scores are not finite");
        return;
    }
    FILE *to = open_memstream(&text, &n);
    if (to) put_classes(to, x, r);
    if (to && fclose(to)) {
        free(text);
        text = NULL;
    }
    http_answer(x, 200, HTTP_JSON, to ? text : NULL, n);
}

/* --- the pool ---------------------------------------------------------------------------------------- */

struct picture_pool *picture_pool_new(struct http_plane *plane, struct err *e) {
    char guard[PATH_MAX];
    struct picture_pool *p = calloc(1, sizeof *p);
    if (!p) {
        (void)err_set(e, ERR_SYSTEM, "out of memory for the picture decoders");
        return NULL;
    }
    p->plane = plane;
    (void)snprintf(guard, sizeof guard, "%s", plane->all->options.guard_path);
    (void)snprintf(p->path, sizeof p->path, "%.*s/" PROGRAM, (int)(sizeof p->path - sizeof "/" PROGRAM),
                   dirname(guard));
    return p;
}

void picture_pool_sweep(struct picture_pool *p, uint64_t now) {
    const uint64_t limit = p->plane->all->config->http_picture_s * 1000000000ull;
    for (struct picture_job *j = p->jobs, *next; j; j = next) {
        next = j->next;
        if (now - j->since > limit) fail(j, 400, "the picture takes too long to decode (http.picture_s)");
    }
    bury(p);
}

void picture_pool_free(struct picture_pool *p) {
    if (!p) return;
    while (p->jobs) {
        struct picture_job *j = p->jobs;
        p->jobs = j->next;
        free_job(j);
    }
    if (p->spare) free_job(p->spare);
    for (uint32_t i = 0; i < p->n_dead; i++) (void)waitpid(p->dead[i], NULL, 0);
    free(p);
}
