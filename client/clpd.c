/* libclpd: one connection to clpd; frames out, checked answers in.
 *
 *     submit -> slot (remembers what was asked) -> frame to the kernel
 *     bytes in -> `in` -> one whole frame -> copied to `frame` -> checked against its slot
 *
 * The daemon's bytes are not trusted: a reply counts only if its id names a
 * slot in use and its sizes agree with that slot, to the byte. An id is
 * generation | slot, so a late or repeated answer hits nothing.
 * No dependency but libc; no thread of its own. */
#include "client/libclpd.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire's structures are little-endian");

#define MAX_REPLY    LIBCLPD_MAX_REPLY
#define FIRST_BUFFER ((size_t)16 << 10)
#define NO_SLOT      UINT32_MAX
#define SMALL_TENSOR ((size_t)4 << 10) /* bytes that are copied sooner than gathered */

struct slot {
    uint32_t generation; /* of the request in it; counts up with each use */
    uint32_t next_free;
    struct asked asked;
    uint8_t type; /* enum clpd_frame_type; 0: free */
};

struct clpd {
    int fd;
    int broken;      /* -errno of what ended the connection; 0: it stands */
    bool no_sending; /* the daemon has closed, or shut its ear: answers may still lie in the socket */
    int timeout_ms;
    int receive_ms; /* SO_RCVTIMEO as it is set; -1: none */
    struct slot *slots;
    uint32_t n_slots, first_free, pending;
    uint8_t *in; /* bytes [in_begin, in_end) are not consumed */
    size_t in_size, in_begin, in_end;
    uint8_t *frame; /* body of the answer given out last, and a NUL */
    size_t frame_size;
    char error[320];
};

static int fail(struct clpd *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct clpd *c, int code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(c->error, sizeof c->error, fmt, ap);
    va_end(ap);
    return code;
}

/* For errors after which the two sides no longer agree on where a frame begins. */
static int break_off(struct clpd *c, int code, const char *what) {
    c->broken = code;
    return fail(c, code, "%s", what);
}

static struct clpd *new_connection(int fd) {
    struct clpd *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->fd = fd;
    c->first_free = NO_SLOT;
    c->timeout_ms = c->receive_ms = -1;
    return c;
}

int clpd_adopt(int fd, struct clpd **out) {
    *out = new_connection(fd);
    if (!*out) (void)close(fd);
    return *out ? 0 : -ENOMEM;
}

int clpd_connect(const char *path, struct clpd **out) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *out = NULL;
    if (!path) path = getenv("CLPD_SOCKET");
    if (!path || !*path) path = CLPD_DEFAULT_SOCKET;
    if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);

    struct clpd *c = new_connection(-1);
    if (!c) return -ENOMEM;
    int rc;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) goto err_socket;
    do rc = connect(c->fd, (const struct sockaddr *)&address, sizeof address);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) goto err_connect;
    *out = c;
    return 0;

err_connect:
    rc = errno;
    (void)close(c->fd);
    errno = rc;
err_socket:
    rc = -errno;
    free(c);
    return rc;
}

void clpd_close(struct clpd *c) {
    if (!c) return;
    (void)close(c->fd);
    free(c->slots);
    free(c->in);
    free(c->frame);
    free(c);
}

void clpd_set_timeout(struct clpd *c, int ms) {
    c->timeout_ms = ms < 0 ? -1 : ms;
}
uint32_t clpd_pending(const struct clpd *c) {
    return c->pending;
}
int clpd_fd(const struct clpd *c) {
    return c->fd;
}
const char *clpd_error(const struct clpd *c) {
    return c->error;
}

/* --- time ------------------------------------------------------------------------ */

static int64_t now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t deadline_of(int timeout_ms) {
    return timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
}

/* Waits for `events`. 1: ready, 0: the deadline (-1: none) has passed, -errno. */
static int await(struct clpd *c, short events, int64_t deadline) {
    struct pollfd p = {.fd = c->fd, .events = events};
    for (;;) {
        int64_t left = deadline < 0 ? -1 : deadline - now_ms();
        if (deadline >= 0 && left < 0) left = 0;
        int n = poll(&p, 1, (int)left);
        if (n >= 0) return n;
        if (errno != EINTR) return fail(c, -errno, "poll: %s", strerror(errno));
    }
}

/* --- slots ----------------------------------------------------------------------- */

static int slots_grow(struct clpd *c) {
    uint32_t n = c->n_slots ? c->n_slots * 2 : 16;
    if (n > (1u << 24)) return fail(c, -ENOBUFS, "too many requests without an answer");
    struct slot *more = realloc(c->slots, n * sizeof *more);
    if (!more) return fail(c, -ENOMEM, "out of memory");
    for (uint32_t i = c->n_slots; i < n; i++)
        more[i] = (struct slot){.next_free = i + 1 < n ? i + 1 : c->first_free};
    c->first_free = c->n_slots;
    c->slots = more;
    c->n_slots = n;
    return 0;
}

static int slot_take(struct clpd *c, const struct slot *want, uint64_t *id) {
    int rc = c->first_free == NO_SLOT ? slots_grow(c) : 0;
    if (rc < 0) return rc;
    uint32_t i = c->first_free;
    struct slot *s = &c->slots[i];
    uint32_t generation = s->generation + 1 ? s->generation + 1 : 1; /* so that no id is 0 */
    c->first_free = s->next_free;
    *s = *want;
    s->generation = generation;
    c->pending++;
    *id = (uint64_t)generation << 32 | i;
    return 0;
}

static struct slot *slot_find(const struct clpd *c, uint64_t id) {
    uint32_t i = (uint32_t)id;
    if (i >= c->n_slots || c->slots[i].generation != (uint32_t)(id >> 32)) return NULL;
    return c->slots[i].type ? &c->slots[i] : NULL;
}

static void slot_give_back(struct clpd *c, struct slot *s) {
    s->type = 0;
    s->next_free = c->first_free;
    c->first_free = (uint32_t)(s - c->slots);
    c->pending--;
}

/* --- bytes in -------------------------------------------------------------------- */

static int make_room(struct clpd *c) {
    if (c->in_begin == c->in_end) c->in_begin = c->in_end = 0;
    if (c->in_end < c->in_size) return 0;
    if (c->in_begin > c->in_size / 2) { /* moves at most what it made free: linear over all */
        memmove(c->in, c->in + c->in_begin, c->in_end - c->in_begin);
        c->in_end -= c->in_begin;
        c->in_begin = 0;
        return 0;
    }
    /* Grows with what has come, not with what a header promises. */
    size_t size = c->in_size ? c->in_size * 2 : FIRST_BUFFER;
    if (size > 2 * MAX_REPLY) return break_off(c, -ENOBUFS, "more unread answers than can be kept");
    uint8_t *more = realloc(c->in, size);
    if (!more) return break_off(c, -ENOMEM, "out of memory");
    c->in = more;
    c->in_size = size;
    return 0;
}

/* Reads what is there, waiting for a first byte if `block`. Bytes read, 0: the end, or -errno (-EAGAIN:
 * nothing). */
static ssize_t fill(struct clpd *c, bool block) {
    int rc = make_room(c);
    if (rc < 0) return rc;
    ssize_t n;
    do n = recv(c->fd, c->in + c->in_end, c->in_size - c->in_end, block ? 0 : MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0) return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    c->in_end += (size_t)n;
    return n;
}

/* --- answers --------------------------------------------------------------------- */

static int refuse(struct clpd *c, const char *why) {
    char text[128];
    (void)snprintf(text, sizeof text, "the answer is not clpd's protocol: %s", why);
    return break_off(c, -EPROTO, text);
}

static int read_reply(struct clpd *c, const struct clpd_header *h, struct clpd_result *r) {
    struct slot *s = slot_find(c, h->id);
    const char *wrong = libclpd_read_reply(c->frame, (size_t)h->bytes, s ? &s->asked : NULL, r);
    if (wrong) return refuse(c, wrong);
    if (h->type == CLPD_ERROR && r->status == CLPD_OK) return refuse(c, "an error without a status");
    if (h->type == CLPD_ERROR && !s) {
        c->broken = -EPROTO;
        return fail(c, -EPROTO, "the daemon did not understand: %s (%.200s)", clpd_status_name(r->status),
                    r->text);
    }
    if (!s) return refuse(c, "an answer to nothing");
    if (h->type == CLPD_INFER_REPLY && s->type != CLPD_INFER) return refuse(c, "another kind of answer");
    r->id = h->id;
    slot_give_back(c, s);
    return 1;
}

static int read_json(struct clpd *c, const struct clpd_header *h, struct clpd_result *r) {
    struct slot *s = slot_find(c, h->id);
    if (!s) return refuse(c, "an answer to nothing");
    if (s->type == CLPD_INFER) return refuse(c, "another kind of answer");
    if (memchr(c->frame, 0, (size_t)h->bytes)) return refuse(c, "JSON with a NUL in it");
    r->id = h->id;
    r->json = (const char *)c->frame;
    r->json_bytes = (size_t)h->bytes;
    slot_give_back(c, s);
    return 1;
}

/* Copies the body out of `in`: aligned, NUL-terminated, and out of the way of later reads. */
static int copy_frame(struct clpd *c, const uint8_t *body, size_t bytes) {
    if (c->frame_size < bytes + 1) {
        uint8_t *more = malloc(bytes + 1);
        if (!more) return break_off(c, -ENOMEM, "out of memory");
        free(c->frame);
        c->frame = more;
        c->frame_size = bytes + 1;
    }
    memcpy(c->frame, body, bytes);
    c->frame[bytes] = 0;
    return 0;
}

/* 1: *r holds an answer; 0: not a whole frame yet. */
static int read_frame(struct clpd *c, struct clpd_result *r) {
    struct clpd_header h;
    size_t have = c->in_end - c->in_begin;
    if (have < sizeof h) return 0;
    const uint8_t *at = c->in + c->in_begin;
    memcpy(&h, at, sizeof h);
    if (h.magic != CLPD_MAGIC) return refuse(c, "no frame begins here");
    if (h.version != CLPD_WIRE_VERSION) return refuse(c, "another version of it");
    if (h.flags || h.reserved) return refuse(c, "flags that mean nothing");
    if (h.bytes > MAX_REPLY) return refuse(c, "a frame over 256 MiB");
    if (have - sizeof h < h.bytes) return 0;
    int rc = copy_frame(c, at + sizeof h, (size_t)h.bytes);
    if (rc < 0) return rc;
    c->in_begin += sizeof h + (size_t)h.bytes;
    memset(r, 0, sizeof *r);
    r->text = "";
    switch (h.type) {
    case CLPD_INFER_REPLY:
    case CLPD_ERROR: return read_reply(c, &h, r);
    case CLPD_JSON_REPLY: return read_json(c, &h, r);
    default: return refuse(c, "a frame that no daemon sends");
    }
}

/* Lets a blocking read end by itself after so long; kept for the next time. */
static bool limit_receive(struct clpd *c, int ms) {
    if (c->receive_ms == ms) return true;
    const struct timeval t = {.tv_sec = ms < 0 ? 0 : ms / 1000, .tv_usec = ms < 0 ? 0 : ms % 1000 * 1000};
    if (setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) < 0) return false;
    c->receive_ms = ms;
    return true;
}

/* One answer: 1, 0 (none came within timeout_ms), or -errno. */
static int take(struct clpd *c, int timeout_ms, struct clpd_result *r) {
    int64_t deadline = deadline_of(timeout_ms);
    for (bool first = true;; first = false) {
        if (c->broken) return c->broken;
        int rc = read_frame(c, r);
        if (rc) return rc;
        if (c->pending == 0 && c->in_begin == c->in_end) return 0;
        /* The read itself waits: one system call for most answers instead of three. Only the first time,
         * since a trickle would begin it anew; and for one answer alone: who waits in recv is also woken, for
         * nothing, whenever the daemon has taken bytes of a later request (unix_write_space), who waits in
         * poll is not. */
        bool block = c->pending == 1 && (timeout_ms < 0 || (first && timeout_ms > 0));
        if (block) block = limit_receive(c, timeout_ms);
        ssize_t n = fill(c, block);
        if (n > 0) continue;
        if (n == 0) return break_off(c, -ECONNRESET, "the daemon closed the connection");
        if (n != -EAGAIN) return break_off(c, (int)n, strerror((int)-n));
        rc = await(c, POLLIN, deadline);
        if (rc <= 0) return rc;
    }
}

int clpd_poll(struct clpd *c, int timeout_ms, struct clpd_result *r) {
    return take(c, timeout_ms < 0 ? -1 : timeout_ms, r);
}

/* --- requests -------------------------------------------------------------------- */

static void advance(struct iovec *v, int n, size_t sent) {
    for (int i = 0; i < n && sent; i++) {
        size_t part = sent < v[i].iov_len ? sent : v[i].iov_len;
        v[i].iov_base = (char *)v[i].iov_base + part;
        v[i].iov_len -= part;
        sent -= part;
    }
}

/* Room to write may only come once the daemon's answers have been read: takes them in. */
static int wait_to_send(struct clpd *c, int64_t deadline) {
    int rc = await(c, POLLIN | POLLOUT, deadline);
    if (rc < 0) return rc;
    if (rc == 0) return break_off(c, -ETIMEDOUT, "the daemon takes no more bytes (timeout)");
    ssize_t n = fill(c, false);
    if (n == 0 || n == -ECONNRESET)
        c->no_sending = true;
    else if (n < 0 && n != -EAGAIN)
        return (int)n;
    return 0;
}

static ssize_t send_some(const struct clpd *c, struct iovec *v, int n) {
    const struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n};
    if (n == 1) return send(c->fd, v->iov_base, v->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Sends it all. Where the daemon has stopped listening this is no failure: what
 * it said before it did (a refusal, say) is still to be read, and poll tells. */
static int send_all(struct clpd *c, struct iovec *v, int n) {
    int64_t deadline = deadline_of(c->timeout_ms);
    size_t left = 0;
    for (int i = 0; i < n; i++) left += v[i].iov_len;
    while (left && !c->no_sending) {
        ssize_t sent = send_some(c, v, n);
        if (sent >= 0) {
            advance(v, n, (size_t)sent);
            left -= (size_t)sent;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            int rc = wait_to_send(c, deadline);
            if (rc < 0) return rc;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            c->no_sending = true;
        } else if (errno != EINTR) {
            int code = -errno;
            return break_off(c, code, strerror(-code));
        }
    }
    return 0;
}

/* Sends a frame for a new slot. `body` may be empty. */
static int send_frame(struct clpd *c, const struct slot *want, const struct clpd_infer *head,
                      const void *data, size_t bytes, uint64_t *id) {
    if (c->broken) return c->broken;
    if (c->no_sending) return fail(c, -EPIPE, "the daemon takes no more requests on this connection");
    int rc = slot_take(c, want, id);
    if (rc < 0) return rc;
    struct {
        struct clpd_header header;
        struct clpd_infer infer;
        uint8_t small[SMALL_TENSOR];
    } out;
    size_t head_bytes = 0;
    out.header = (struct clpd_header){
        .magic = CLPD_MAGIC, .version = CLPD_WIRE_VERSION, .type = want->type, .id = *id};
    if (head) {
        out.infer = *head;
        head_bytes = sizeof *head;
    }
    out.header.bytes = head_bytes + bytes;
    struct iovec v[2] = {{&out, sizeof out.header + head_bytes}, {(void *)(uintptr_t)data, bytes}};
    if (bytes > SMALL_TENSOR || (bytes && !head)) return send_all(c, v, 2);
    if (bytes) memcpy(out.small, data, bytes);
    v[0].iov_len += bytes;
    return send_all(c, v, 1);
}

static struct slot wanted_by(const struct clpd_request *q) {
    return (struct slot){
        .type = CLPD_INFER,
        .asked = {.items = q->dims[0], .top_k = q->top_k, .want_scores = q->want_scores ? 1 : 0}};
}

int libclpd_expect(struct clpd *c, const struct clpd_request *q, struct clpd_infer *head, uint64_t *bytes,
                   uint64_t *id) {
    const char *why;
    const struct slot want = wanted_by(q);
    if (c->broken) return c->broken;
    if (libclpd_make_head(q, head, bytes, &why) < 0) return fail(c, -EINVAL, "%s", why);
    return slot_take(c, &want, id);
}

int clpd_submit(struct clpd *c, const struct clpd_request *q, uint64_t *id) {
    struct clpd_infer head;
    uint64_t bytes, ignored;
    const char *why;
    if (libclpd_make_head(q, &head, &bytes, &why) < 0) return fail(c, -EINVAL, "%s", why);
    if (!q->data) return fail(c, -EINVAL, "a request needs a tensor");
    const struct slot want = wanted_by(q);
    return send_frame(c, &want, &head, q->data, (size_t)bytes, id ? id : &ignored);
}

/* The answer to the one request in flight. A reply that comes after this gave
 * up would be taken for the answer to a later question: so giving up is final. */
static int take_only(struct clpd *c, struct clpd_result *r) {
    int rc = take(c, c->timeout_ms, r);
    if (rc == 0) return break_off(c, -ETIMEDOUT, "no answer from the daemon in time");
    return rc < 0 ? rc : 0;
}

int clpd_classify(struct clpd *c, const struct clpd_request *q, struct clpd_result *r) {
    if (c->broken) return c->broken;
    if (c->pending) return fail(c, -EBUSY, "submitted requests are still unanswered");
    int rc = clpd_submit(c, q, NULL);
    return rc < 0 ? rc : take_only(c, r);
}

int clpd_query(struct clpd *c, enum clpd_frame_type what, struct clpd_result *r) {
    if (what != CLPD_STATUS && what != CLPD_MODELS) return fail(c, -EINVAL, "neither STATUS nor MODELS");
    if (c->broken) return c->broken;
    if (c->pending) return fail(c, -EBUSY, "submitted requests are still unanswered");
    const struct slot want = {.type = (uint8_t)what};
    uint64_t id;
    int rc = send_frame(c, &want, NULL, NULL, 0, &id);
    return rc < 0 ? rc : take_only(c, r);
}

int clpd_control(struct clpd *c, enum clpd_action action, const char *model, struct clpd_result *r) {
    struct clpd_control q = {.action = (uint32_t)action};
    struct clpd_infer head; /* of the same size: what send_frame takes */
    _Static_assert(sizeof head == sizeof q, "both are the head of a frame");
    if (c->broken) return c->broken;
    if (c->pending) return fail(c, -EBUSY, "submitted requests are still unanswered");
    if (!model || !model[0] || strlen(model) >= sizeof q.model)
        return fail(c, -EINVAL, "a model's name is needed");
    memcpy(q.model, model, strlen(model));
    memcpy(&head, &q, sizeof head);
    const struct slot want = {.type = CLPD_CONTROL};
    uint64_t id;
    int rc = send_frame(c, &want, &head, NULL, 0, &id);
    return rc < 0 ? rc : take_only(c, r);
}

/* --- words ----------------------------------------------------------------------- */

const char *clpd_result_label(const struct clpd_result *r, const struct clpd_top *t) {
    return t->label != CLPD_NO_LABEL && t->label < r->label_bytes ? r->labels + t->label : NULL;
}

const char *clpd_status_name(uint32_t status) {
    static const char *const names[] = {"ok",        "busy",          "deadline",  "no-model",
                                        "bad-shape", "bad-request",   "too-large", "bad-frame",
                                        "internal",  "shutting-down", "forbidden", "conflict"};
    return status < sizeof names / sizeof names[0] ? names[status] : "unknown";
}
