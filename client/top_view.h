/* One screen of `clpctl top`, as lines: what there is room for, the most important first. Pure: numbers in,
 * text out. */
#ifndef CLIENT_TOP_VIEW_H
#define CLIENT_TOP_VIEW_H

#include "client/top_data.h"

enum top_order { TOP_BY_RATE, TOP_BY_P99, TOP_BY_P50, TOP_BY_WAIT, TOP_BY_BATCH, TOP_BY_NAME, TOP_ORDERS };

struct top_view {
    enum top_order order;
    bool reverse, paused;
    size_t first;       /* of the models that are shown: scrolled away are those before */
    int rows;           /* 0: as many as it takes */
    const char *notice; /* stands instead of the guard's state; NULL: nothing to say */
};

/* Writes at most v->rows lines, each at most t->columns wide and ended by "\n". Corrects v->first. */
void top_view_print(struct top_view *v, const struct top_data *d, FILE *to, const struct terminal *t);
const char *top_order_name(enum top_order o);

/* "0.82 ms" into buf (at least 16 bytes); returns buf. NAN: a dash. */
char *top_view_time(char *buf, double seconds);

#endif
