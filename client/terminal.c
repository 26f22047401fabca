/* Terminal facts, styles, and the cleaning of text that others wrote. */
#include "client/terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

void terminal_init(void) {
    (void)setlocale(LC_CTYPE, ""); /* not LC_NUMERIC: numbers keep their point */
}

struct terminal terminal_of(FILE *f) {
    struct terminal t = {.unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
    const char *name = getenv("TERM"), *no_colour = getenv("NO_COLOR"), *columns = getenv("COLUMNS");
    t.is_terminal = isatty(fileno(f));
    t.colour = t.is_terminal && name && strcmp(name, "dumb") != 0 && !(no_colour && *no_colour);
    struct winsize w;
    const bool known = t.is_terminal && ioctl(fileno(f), TIOCGWINSZ, &w) == 0;
    if (t.is_terminal) t.columns = known && w.ws_col ? w.ws_col : 80;
    if (t.is_terminal) t.rows = known && w.ws_row ? w.ws_row : 24;
    if (columns && atoi(columns) >= 20) t.columns = atoi(columns);
    return t;
}

const char *terminal_begin(const struct terminal *t, enum style s) {
    static const char *const codes[STYLE_COUNT] = {"",         "\033[2m",  "\033[1m", "\033[1;31m",
                                                   "\033[32m", "\033[33m", "\033[36m"};
    return t->colour && (unsigned)s < STYLE_COUNT ? codes[s] : "";
}

const char *terminal_end(const struct terminal *t, enum style s) {
    return t->colour && s != STYLE_PLAIN ? "\033[0m" : "";
}

/* Length of the UTF-8 sequence at s and its code point; 0: it is none. */
static int decode(const unsigned char *s, uint32_t *code) {
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    int n = s[0] < 0x80                   ? 1
            : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
            : (s[0] & 0xf0) == 0xe0       ? 3
            : (s[0] & 0xf8) == 0xf0       ? 4
                                          : 0;
    if (n == 0) return 0;
    *code = n == 1 ? s[0] : s[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0; /* the NUL at the end too */
        *code = *code << 6 | (s[i] & 0x3f);
    }
    if (*code < least[n] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000)) return 0;
    return n;
}

/* Line separators and overrides of direction can make a line say what it does not. */
static bool is_harmless(uint32_t c) {
    return c >= 0x20 && c != 0x7f && !(c >= 0x80 && c < 0xa0) && !(c >= 0x200b && c <= 0x200f) &&
           !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2060 && c <= 0x206f) && c != 0xfeff;
}

char *terminal_clean(char *to, size_t cap, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    size_t used = 0;
    while (*s) {
        uint32_t code = 0;
        int n = decode(s, &code);
        bool keep = n > 0 && is_harmless(code);
        size_t bytes = keep ? (size_t)n : 1;
        if (used + bytes + 1 > cap) break;
        if (keep)
            memcpy(to + used, s, bytes);
        else
            to[used] = '?';
        used += bytes;
        s += n > 0 ? n : 1;
    }
    to[used] = 0;
    return to;
}

int terminal_width(const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    int width = 0;
    while (*s) {
        uint32_t code = 0;
        int n = decode(s, &code), w = n > 0 ? wcwidth((wchar_t)code) : 1;
        width += w < 0 ? 1 : w;
        s += n > 0 ? n : 1;
    }
    return width;
}

size_t terminal_fit(const char *text, int width) {
    const unsigned char *s = (const unsigned char *)text;
    size_t at = 0;
    while (s[at]) {
        uint32_t code = 0;
        const int n = decode(s + at, &code), w = n > 0 ? wcwidth((wchar_t)code) : 1;
        width -= w < 0 ? 1 : w;
        if (width < 0) break;
        at += n > 0 ? (size_t)n : 1;
    }
    return at;
}

void terminal_wrap(FILE *f, const struct terminal *t, int indent, const char *text) {
    int column = 0;
    while (*text) {
        size_t bytes = strcspn(text, " ");
        char word[512];
        (void)snprintf(word, sizeof word, "%.*s", (int)bytes, text);
        int width = terminal_width(word);
        if (column && t->columns && column + 1 + width > t->columns) {
            (void)fputc('\n', f);
            column = 0;
        }
        (void)fprintf(f, "%*s%s", column ? 1 : indent, "", word);
        column += (column ? 1 : indent) + width;
        text += bytes;
        text += strspn(text, " ");
    }
    (void)fputc('\n', f);
}

void terminal_progress(FILE *f, const struct terminal *t, const char *fmt, ...) {
    if (!t->is_terminal) return;
    char line[512], safe[512];
    va_list ap;
    line[0] = 0;
    if (fmt) {
        va_start(ap, fmt);
        (void)vsnprintf(line, sizeof line, fmt, ap);
        va_end(ap);
    }
    (void)terminal_clean(safe, sizeof safe, line);
    if (t->columns) safe[terminal_fit(safe, t->columns - 1)] = 0;
    (void)fprintf(f, "\r\033[K%s", safe); /* one call: the stream's lock makes it one piece */
    (void)fflush(f);
}

char *terminal_count(char *buf, long long n) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", n), at = 0;
    for (int i = 0; i < len; i++) {
        if (i && digits[i - 1] != '-' && (len - i) % 3 == 0) buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = 0;
    return buf;
}
