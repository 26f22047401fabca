/* The line, and the thread that draws it. */
#include "client/progress.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

enum { CELLS = 20, FIRST_MS = 1000, NEXT_MS = 200 };

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void put_bar(char *buf, size_t cap, bool unicode, double done) {
    const int full = (int)(done * CELLS + 0.5);
    buf[0] = 0;
    for (int i = 0; i < CELLS; i++) {
        const size_t used = strlen(buf);
        (void)snprintf(buf + used, cap - used, "%s",
                       i < full ? (unicode ? "█" : "#") : (unicode ? "░" : "."));
    }
}

void progress_line(char *buf, size_t cap, const struct terminal *t, const char *what, const char *note,
                   double done, double elapsed_s) {
    char bar[4 * CELLS + 1];
    if (done < 0) {
        (void)snprintf(buf, cap, "%s   %.0f s%s%s", what, elapsed_s, *note ? "   " : "", note);
        return;
    }
    if (done > 1) done = 1;
    put_bar(bar, sizeof bar, t->unicode, done);
    const double left = done > 0.02 ? elapsed_s / done - elapsed_s : 0;
    if (left >= 1)
        (void)snprintf(buf, cap, "%s   %s %3.0f %%   %.0f s left%s%s", what, bar, 100 * done, left,
                       *note ? "   " : "", note);
    else
        (void)snprintf(buf, cap, "%s   %s %3.0f %%%s%s", what, bar, 100 * done, *note ? "   " : "", note);
}

static void draw(struct progress *p) {
    char line[512];
    const double elapsed = (double)(now_ns() - p->began_ns) / 1e9;
    const double done = p->expected_s > 0 ? elapsed / p->expected_s : p->done;
    progress_line(line, sizeof line, p->terminal, p->what, p->note, done, elapsed);
    terminal_progress(stderr, p->terminal, "%s", line);
}

static void *run(void *owner) {
    struct progress *p = owner;
    pthread_mutex_lock(&p->lock);
    for (uint64_t at = p->began_ns + FIRST_MS * 1000000ull; !p->stop; at = now_ns() + NEXT_MS * 1000000ull) {
        const struct timespec until = {.tv_sec = (time_t)(at / 1000000000u),
                                       .tv_nsec = (long)(at % 1000000000u)};
        while (!p->stop && now_ns() < at) (void)pthread_cond_timedwait(&p->ended, &p->lock, &until);
        if (!p->stop) draw(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

void progress_begin(struct progress *p, const struct terminal *t, double expected_s, const char *fmt, ...) {
    pthread_condattr_t monotonic;
    va_list ap;
    *p = (struct progress){.terminal = t, .expected_s = expected_s, .done = -1, .began_ns = now_ns()};
    va_start(ap, fmt);
    (void)vsnprintf(p->what, sizeof p->what, fmt, ap);
    va_end(ap);
    if (!t->is_terminal) return;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&p->ended, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    p->running = pthread_create(&p->thread, NULL, run, p) == 0;
}

void progress_set(struct progress *p, double done, const char *fmt, ...) {
    va_list ap;
    if (!p->running) return;
    pthread_mutex_lock(&p->lock);
    p->done = done;
    va_start(ap, fmt);
    (void)vsnprintf(p->note, sizeof p->note, fmt, ap);
    va_end(ap);
    pthread_mutex_unlock(&p->lock);
}

void progress_end(struct progress *p) {
    if (!p->terminal->is_terminal) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    (void)pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->lock);
    if (p->running) (void)pthread_join(p->thread, NULL);
    p->running = false;
    (void)pthread_mutex_destroy(&p->lock);
    (void)pthread_cond_destroy(&p->ended);
    terminal_progress(stderr, p->terminal, NULL);
}
