/* The body of a request as it comes in: kept up to its limit, dropped beyond it. Memory grows with what has
 * come, and for a length that was promised; http.memory bounds all of it together. */
#include "daemon/http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SMALL_BODY ((size_t)64 << 10) /* most of a request that is no tensor and no picture */
#define FIRST_ROOM ((size_t)16 << 10)
#define ALIGN      ((size_t)16)

bool http_hold(struct http_exchange *x, size_t bytes) {
    struct http *h = x->plane->all;
    if (atomic_fetch_add_explicit(&h->held, bytes, memory_order_relaxed) + bytes > h->config->http_memory) {
        (void)atomic_fetch_sub_explicit(&h->held, bytes, memory_order_relaxed);
        return false;
    }
    x->held += bytes;
    return true;
}

/* For connections that libmicrohttpd won't let us answer on any more: nothing of an answer has gone out. */
void http_last_word(int fd, unsigned status, const char *words, const char *error) {
    char text[320];
    const int n = snprintf(text, sizeof text,
                           "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Type: application/json\r\n"
                           "Content-Length: %zu\r\n\r\n{\"error\":\"%s\"}",
                           status, words, strlen(error) + 12, error);
    (void)send(fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

size_t http_body_most(const struct http_exchange *x) {
    const struct config *c = x->plane->all->config;
    if (x->route.what == HTTP_INFER) return c->http_body_bytes;
    if (x->route.what == HTTP_CLASSIFY) return c->http_picture_bytes;
    return SMALL_BODY;
}

bool http_body_grow(struct http_exchange *x, size_t want) {
    size_t room = x->room ? x->room : FIRST_ROOM;
    while (room < want) room *= 2;
    if (room > x->most) room = x->most;
    if (!http_hold(x, room - x->room)) {
        http_fail(x, 503, "no memory for a body of this size (http.memory): try again later");
        return false;
    }
    /* A tensor behind `header_bytes` of JSON begins where floats may. */
    const size_t pad = x->header_bytes > 0 ? -(size_t)x->header_bytes & (ALIGN - 1) : 0;
    uint8_t *more = realloc(x->memory, room + ALIGN);
    if (!more) {
        http_fail(x, 503, "out of memory");
        return false;
    }
    x->memory = more;
    x->body = more + pad;
    x->room = room;
    return true;
}

bool http_body_take(struct http_exchange *x, int fd, const char *bytes, size_t n) {
    if (x->status == 0 && n > x->most - x->body_bytes)
        http_fail(x, 413, "the body is larger than %zu bytes", x->most);
    if (x->status == 0 && (x->body_bytes + n <= x->room || http_body_grow(x, x->body_bytes + n))) {
        memcpy(x->body + x->body_bytes, bytes, n);
        x->body_bytes += n;
        return true;
    }
    x->dropped += n; /* what has been refused may end in order, within bounds */
    if (x->dropped <= HTTP_DROPPED * x->most) return true;
    http_last_word(fd, x->status, x->status == 413 ? "Content Too Large" : "Refused",
                   "the request was refused, and its body goes on and on");
    return false;
}
