/* config/nearest.c: the distance is the textbook's; the hint names what was probably meant. */
#include "config/nearest.h"
#include "tests/suite.h"

#include <limits.h>
#include <string.h>

static const struct key keys[] = {
    {.path = "models", .meaning = "the folder", .accepts = "a path"},
    {.path = "engine.threads", .meaning = "how many", .accepts = "auto or 1..256"},
    {.path = "engine.pin", .meaning = "to a CPU", .accepts = "true or false"},
    {.path = "guard.rescan_s", .meaning = "how often", .accepts = "1..86400"},
    {.path = "guard.worker.seconds", .meaning = "how long", .accepts = "1..3600"},
    {.path = "guard.worker.memory", .meaning = "how much", .accepts = "64M..1T"},
};
static const struct key_table table = {keys, 6};

static void distances(void) {
    CU_ASSERT_EQUAL(nearest_distance("", ""), 0);
    CU_ASSERT_EQUAL(nearest_distance("", "abc"), 3);
    CU_ASSERT_EQUAL(nearest_distance("abc", ""), 3);
    CU_ASSERT_EQUAL(nearest_distance("thread", "threads"), 1);
    CU_ASSERT_EQUAL(nearest_distance("kitten", "sitting"), 3);
    CU_ASSERT_EQUAL(nearest_distance("thraeds", "threads"), 1);
    CU_ASSERT_EQUAL(nearest_distance("ca", "abc"), 3); /* no second edit of what was swapped */
    char a[65], b[64];
    memset(a, 'x', 64);
    memset(b, 'y', 63);
    a[64] = b[63] = 0;
    CU_ASSERT_EQUAL(nearest_distance(a, "x"), UINT_MAX);
    a[63] = 0;
    CU_ASSERT_EQUAL(nearest_distance(a, b), 63);
}

static void hint_is(const char *path, const char *want) {
    char hint[256];
    nearest_hint(&table, path, hint, sizeof hint);
    CU_ASSERT_STRING_EQUAL(hint, want);
    if (strcmp(hint, want) != 0) fprintf(stderr, "\n  %s: %s\n", path, hint);
}

static void hints(void) {
    hint_is("engine.thread", "did you mean engine.threads (how many; auto or 1..256)?");
    hint_is("modles", "did you mean models (the folder; a path)?");
    hint_is("threads", "did you mean engine.threads (how many; auto or 1..256)?");
    hint_is("guard.seconds", "did you mean guard.worker.seconds (how long; 1..3600)?");
    hint_is("egnine", "did you mean engine (threads, pin)?");
    hint_is("guard.workers", "did you mean guard.worker (seconds, memory)?");
    hint_is("engine.colour", "known below engine: threads, pin");
    hint_is("guard.worker.colour", "known below guard.worker: seconds, memory");
    hint_is("colour", "known: models, engine, guard");
    hint_is("", "known: models, engine, guard");
}

static void lists(void) {
    char names[64], small[12];
    CU_ASSERT_TRUE(nearest_list(&table, "guard", names, sizeof names));
    CU_ASSERT_STRING_EQUAL(names, "rescan_s, worker");
    CU_ASSERT_FALSE(nearest_list(&table, "gua", names, sizeof names));
    CU_ASSERT_FALSE(nearest_list(&table, "models", names, sizeof names));
    CU_ASSERT_TRUE(nearest_list(&table, "engine", small, sizeof small)); /* what does not fit is left out */
    CU_ASSERT_STRING_EQUAL(small, "threads");
}

SUITE(nearest, {"distances", distances}, {"hints name key, group or what is known", hints},
      {"lists of a group", lists});
