/* Loans: the last one frees, whichever that is; the loop's end comes and goes. ASan sees the rest. */
#include "daemon/lent.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void *give_back(void *t) {
    lent_put(t);
    return NULL;
}

static void the_last_one_frees(void) {
    for (int i = 0; i < 50; i++) {
        pthread_t other;
        struct lent_line *line = lent_line_new();
        char *memory = malloc(64);
        struct lent *t = lent_new(memory, memory + 16, 48);
        CU_ASSERT_TRUE_FATAL(line && t);
        CU_ASSERT_TRUE((const void *)t->tensor == memory + 16 && t->bytes == 48);
        t->line = lent_line_get(line);
        lent_line_put(line);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&other, NULL, give_back, lent_get(t)), 0);
        memset(memory, i, 64); /* ours still */
        lent_put(t);
        (void)pthread_join(other, NULL);
    }
    lent_put(NULL);
    lent_line_put(NULL);
}

SUITE(lent, {"the last one frees", the_last_one_frees});
