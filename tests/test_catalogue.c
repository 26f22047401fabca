/* What other threads see of the models: a list that stays as it is while they read, and holds its versions.
 */
#include "daemon/catalogue.h"
#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <pthread.h>
#include <string.h>

static void lists(void) {
    struct rig r;
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_ANY, .threads = 1})) return;
    struct catalogue *c = catalogue_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    CU_ASSERT_PTR_NULL(catalogue_get(c));
    catalogue_publish(c, r.models, false);
    struct catalogue_list *empty = catalogue_get(c);
    CU_ASSERT_PTR_NOT_NULL_FATAL(empty);
    CU_ASSERT_TRUE(empty->n == 0 && !empty->ready);
    CU_ASSERT_PTR_NULL(catalogue_find(empty, "a"));
    catalogue_put(empty);
    CU_ASSERT_TRUE(rig_load(&r, "a", 1, &(struct case_network){.factor = 2}));
    CU_ASSERT_TRUE(rig_load(&r, "b", 4, &(struct case_network){.factor = 2}));
    catalogue_publish(c, r.models, true);
    struct catalogue_list *two = catalogue_get(c);
    const struct catalogue_model *a = catalogue_find(two, "a");
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_TRUE(two->n == 2 && two->ready && a->version->number == 1);
    CU_ASSERT_EQUAL(catalogue_find(two, "b")->version->number, 4);
    CU_ASSERT_TRUE(
        rig_load(&r, "a", 2, &(struct case_network){.factor = 3})); /* the old one is held by the list */
    CU_ASSERT_EQUAL(a->version->number, 1);
    CU_ASSERT_PTR_NOT_NULL(image_header(a->version->image));
    catalogue_put(two);
    catalogue_publish(c, r.models, true);
    two = catalogue_get(c);
    CU_ASSERT_EQUAL(catalogue_find(two, "a")->version->number, 2);
    CU_ASSERT_EQUAL(two->swaps, 1);
    catalogue_clear(c);
    CU_ASSERT_PTR_NULL(catalogue_get(c));
    catalogue_put(two);
    catalogue_free(c);
    rig_close(&r);
}

static _Atomic bool stop_reading;

static void *read_lists(void *arg) {
    uint64_t last = 0;
    while (!stop_reading) {
        struct catalogue_list *l = catalogue_get(arg);
        const struct catalogue_model *a = catalogue_find(l, "a");
        if (a && a->version->number < last) return arg; /* time goes one way */
        if (a) last = a->version->number;
        catalogue_put(l);
    }
    return NULL;
}

static void while_others_read(void) {
    struct rig r;
    pthread_t threads[2];
    if (!rig_open(&r, &(struct rig_options){.loop = LOOP_ANY, .threads = 1})) return;
    struct catalogue *c = catalogue_new();
    stop_reading = false;
    for (int i = 0; i < 2; i++) CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, read_lists, c), 0);
    for (uint64_t v = 1; v <= 20; v++) {
        CU_ASSERT_TRUE(rig_load(&r, "a", v, &(struct case_network){.factor = 2}));
        catalogue_publish(c, r.models, true);
    }
    stop_reading = true;
    for (int i = 0; i < 2; i++) {
        void *failed = NULL;
        CU_ASSERT_EQUAL(pthread_join(threads[i], &failed), 0);
        CU_ASSERT_PTR_NULL(failed);
    }
    catalogue_free(c);
    rig_close(&r);
}

SUITE(catalogue, {"lists", lists}, {"while others read", while_others_read});
