/* clpctl top: a running daemon, live. The terminal is ours from enter_screen to leave_screen; whatever ends
 * the command (a key, a signal, an error) goes through leave_screen, and Ctrl-Z does too.
 *
 * Signals are only let in while we wait (ppoll), so that nothing is half drawn when one comes. */
#include "client/clpctl.h"
#include "client/top_view.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MS = 2000, FIRST_MS = 500 };

struct top {
    struct clpctl *c;
    struct clpd *connection; /* NULL: lost */
    struct top_samples *samples;
    struct top_view view;
    double interval;
    uint32_t count, shown; /* 0: for ever */
    bool screen, keys;     /* we draw on a terminal; we read from one */
    struct termios before;
    sigset_t mask; /* as it was */
};

static volatile sig_atomic_t stop_asked, pause_asked, size_changed;

static void on_signal(int number) {
    if (number == SIGWINCH)
        size_changed = 1;
    else if (number == SIGTSTP)
        pause_asked = 1;
    else
        stop_asked = 1;
}

static uint64_t now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- the terminal --------------------------------------------------------------------------- */

static void say(const char *sequence) {
    (void)fputs(sequence, stdout);
    (void)fflush(stdout);
}

static void enter_screen(struct top *t) {
    struct termios raw;
    if (t->keys && tcgetattr(STDIN_FILENO, &t->before) == 0) {
        raw = t->before;
        raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    if (t->screen) say("\033[?1049h\033[?25l\033[2J"); /* the other screen, no cursor */
}

static void leave_screen(struct top *t) {
    if (t->screen) say("\033[?25h\033[?1049l");
    if (t->keys) (void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

static void catch_signals(struct top *t) {
    static const int ours[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
    struct sigaction a = {.sa_handler = on_signal};
    sigset_t blocked;
    (void)sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        (void)sigaddset(&blocked, ours[i]);
        (void)sigaction(ours[i], &a, NULL);
    }
    (void)sigprocmask(SIG_BLOCK, &blocked, &t->mask);
}

static void stand_by(struct top *t) {
    pause_asked = 0;
    leave_screen(t);
    (void)raise(SIGSTOP);
    enter_screen(t); /* somebody said `fg` */
}

/* --- a screen --------------------------------------------------------------------------------- */

/* Lines into the terminal, each wiping what stood there before. */
static void put_screen(const char *text) {
    (void)fputs("\033[H", stdout);
    for (; *text; text++) {
        if (*text == '\n') (void)fputs("\033[K", stdout);
        (void)fputc(*text, stdout);
    }
    say("\033[K\033[J");
}

static void draw(struct top *t) {
    const struct terminal terminal = terminal_of(stdout);
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    if (!to) return;
    t->view.rows = t->screen ? terminal.rows : 0;
    top_view_print(&t->view, top_samples_data(t->samples), to, &terminal);
    if (fclose(to) == 0) {
        if (t->screen)
            put_screen(text);
        else
            say(text);
    }
    free(text);
}

/* --- the daemon --------------------------------------------------------------------------------- */

static json_t *ask(struct clpd *connection, enum clpd_frame_type what) {
    struct clpd_result r;
    if (clpd_query(connection, what, &r) < 0 || r.status != CLPD_OK) return NULL;
    return json_loadb(r.json, r.json_bytes, JSON_REJECT_DUPLICATES, NULL);
}

/* A daemon that went away is looked for again each time. -1: out of memory. */
static int sample(struct top *t) {
    int rc = 0;
    if (!t->connection && clpd_connect(clpctl_socket_path(t->c), &t->connection) == 0)
        clpd_set_timeout(t->connection, ANSWER_MS);
    json_t *status = t->connection ? ask(t->connection, CLPD_STATUS) : NULL;
    json_t *models = status ? ask(t->connection, CLPD_MODELS) : NULL;
    if (models) {
        rc = top_samples_take(t->samples, status, models, now_ns());
    } else {
        clpd_close(t->connection);
        t->connection = NULL;
    }
    t->view.notice = models ? NULL : "no answer: trying again";
    json_decref(status);
    json_decref(models);
    return rc;
}

/* --- keys ------------------------------------------------------------------------------------------ */

/* false: quit. */
static bool press(struct top *t, const char *key) {
    struct top_view *v = &t->view;
    if (strcmp(key, "\033[A") == 0 || strcmp(key, "\033OA") == 0 || *key == 'k')
        v->first -= v->first > 0;
    else if (strcmp(key, "\033[B") == 0 || strcmp(key, "\033OB") == 0 || *key == 'j')
        v->first++; /* the view knows where it ends */
    else if (*key == 's')
        v->order = (v->order + 1) % TOP_ORDERS;
    else if (*key == 'r')
        v->reverse = !v->reverse;
    else if (*key == 'p' || *key == ' ')
        v->paused = !v->paused;
    return *key != 'q' && *key != 'Q';
}

static bool read_keys(struct top *t) {
    char keys[64], one[8];
    const ssize_t n = read(STDIN_FILENO, keys, sizeof keys);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return false; /* the terminal is gone */
    for (ssize_t at = 0; at < n;) {
        const size_t length = keys[at] == '\033' && at + 2 < n ? 3 : 1;
        memcpy(one, keys + at, length);
        one[length] = 0;
        if (!press(t, one)) return false;
        at += (ssize_t)length;
    }
    return true;
}

/* Until `until`, or for ever where that is 0. false: it is over. */
static bool wait(struct top *t, uint64_t until) {
    for (uint64_t now = now_ns(); !until || now < until; now = now_ns()) {
        const uint64_t left = until - now;
        const struct timespec patience = {.tv_sec = (time_t)(left / 1000000000u),
                                          .tv_nsec = (long)(left % 1000000000u)};
        struct pollfd p = {.fd = t->keys ? STDIN_FILENO : -1, .events = POLLIN};
        const int n = ppoll(&p, 1, until ? &patience : NULL, &t->mask);
        if (stop_asked || (n > 0 && !read_keys(t))) return false;
        if (pause_asked) stand_by(t);
        if (n != 0 && t->screen) draw(t); /* a key, or another size */
        if (n > 0 && until && t->view.paused) return true;
        if (n > 0 && !until && !t->view.paused) return true;
    }
    return true;
}

static int watch(struct top *t) {
    bool go_on = true;
    int rc = sample(t);
    catch_signals(t);
    enter_screen(t);
    if (t->screen) draw(t); /* what is known at once; rates come with the second look */
    for (uint64_t gap = FIRST_MS * 1000000ull; rc == 0 && go_on; gap = (uint64_t)(t->interval * 1e9)) {
        go_on = wait(t, t->view.paused ? 0 : now_ns() + gap);
        if (!go_on || t->view.paused) continue;
        rc = sample(t);
        draw(t);
        if (t->count && ++t->shown == t->count) break;
    }
    leave_screen(t);
    return rc ? clpctl_fail(t->c, "out of memory") : CLPCTL_FINE;
}

static int run(struct clpctl *c, int argc, char **argv) {
    struct top t = {.c = c, .interval = 1};
    const char *name = getenv("TERM");
    const struct option_spec options[] = {
        {.name = "interval",
         .letter = 'd',
         .kind = OPTION_REAL,
         .to = &t.interval,
         .min = 0.1,
         .max = 3600,
         .value = "S",
         .meaning = "seconds between two looks; default 1"},
        {.name = "count",
         .letter = 'n',
         .kind = OPTION_COUNT,
         .to = &t.count,
         .min = 1,
         .max = 1000000000,
         .value = "N",
         .meaning = "end after so many; default never"},
        CLPCTL_SOCKET(c),
        {0},
    };
    const int n = clpctl_parse(c, &clpctl_top, options, argc, argv, 0, 0);
    if (n < 0) return -1 - n;
    t.connection = clpctl_connect(c);
    if (!t.connection) return CLPCTL_ERROR;
    clpd_set_timeout(t.connection, ANSWER_MS);
    t.samples = top_samples_new();
    t.screen = c->out.is_terminal && name && strcmp(name, "dumb") != 0;
    t.keys = t.screen && isatty(STDIN_FILENO);
    const int rc = t.samples ? watch(&t) : clpctl_fail(c, "out of memory");
    top_samples_free(t.samples);
    clpd_close(t.connection);
    return rc;
}

const struct command clpctl_top = {
    .name = "top",
    .arguments = "[--interval S] [--count N]",
    .summary = "Watch it live: requests, times, batches and the guard",
    .help = "Keys: q quits, s sorts by another column, r turns the order, p pauses, the arrows scroll. p50 "
            "and p99\n"
            "are of waiting and computing together, over the last interval; wait is the average before it.\n"
            "Where the output is no terminal the screens follow each other.\n\n"
            "Example:\n  clpctl top\n  clpctl top --count 1 | cat\n",
    .run = run,
};
