/* One lock, held to take or replace a pointer. */
#include "daemon/catalogue.h"

#include "daemon/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct catalogue {
    pthread_mutex_t lock;
    struct catalogue_list *current; /* one reference */
};

struct catalogue *catalogue_new(void) {
    struct catalogue *c = calloc(1, sizeof *c);
    if (c) (void)pthread_mutex_init(&c->lock, NULL);
    return c;
}

void catalogue_put(struct catalogue_list *l) {
    if (!l || atomic_fetch_sub_explicit(&l->references, 1, memory_order_acq_rel) != 1) return;
    for (uint32_t i = 0; i < l->n; i++) {
        version_put(l->models[i].version);
        probe_note_put(l->models[i].probe);
    }
    free(l);
}

static void replace(struct catalogue *c, struct catalogue_list *with) {
    pthread_mutex_lock(&c->lock);
    struct catalogue_list *old = c->current;
    c->current = with;
    pthread_mutex_unlock(&c->lock);
    catalogue_put(old);
}

void catalogue_publish(struct catalogue *c, const struct models *m, bool ready) {
    const struct model *model;
    struct catalogue_list *l = calloc(1, sizeof *l + models_count(m) * sizeof *l->models);
    if (!l) {
        log_error("no memory for the list of models that HTTP answers from: it stays as it was");
        return;
    }
    atomic_init(&l->references, 1);
    l->ready = ready;
    l->swaps = models_swaps(m);
    for (uint32_t i = 0; (model = models_at(m, i)); i++) {
        if (!model->current) continue;
        struct catalogue_model *to = &l->models[l->n++];
        memcpy(to->name, model->name, sizeof to->name);
        to->requests_before = model->requests_before;
        to->version = model->current;
        version_get(to->version);
        if (!model->probe || !model->probe->bytes) continue;
        to->probe = model->probe;
        probe_note_get(to->probe);
    }
    replace(c, l);
}

void catalogue_clear(struct catalogue *c) {
    if (c) replace(c, NULL);
}

void catalogue_free(struct catalogue *c) {
    if (!c) return;
    replace(c, NULL);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

struct catalogue_list *catalogue_get(struct catalogue *c) {
    pthread_mutex_lock(&c->lock);
    struct catalogue_list *l = c->current;
    if (l) (void)atomic_fetch_add_explicit(&l->references, 1, memory_order_relaxed);
    pthread_mutex_unlock(&c->lock);
    return l;
}

const struct catalogue_model *catalogue_find(const struct catalogue_list *l, const char *name) {
    for (uint32_t i = 0; l && i < l->n; i++)
        if (strcmp(l->models[i].name, name) == 0) return &l->models[i];
    return NULL;
}
