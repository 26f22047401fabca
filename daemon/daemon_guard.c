/* Between the guard and what serves: its offers and their fate, its word on files, and what people ask of it.
 */
#include "daemon/daemon_internal.h"

#include "daemon/connection.h"
#include "daemon/log.h"
#include "daemon/probe_note.h"
#include "daemon/status.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define INHERITED 0 /* the ticket of no guard: offered by systemd's store */

static uint32_t count_served(void *owner) {
    const struct daemon *d = owner;
    return models_count(d->models);
}

static void tell_served(const struct daemon *d, const struct model *model) {
    const struct version *v = model->current;
    struct link_message m = {.type = LINK_SERVING,
                             .identity = v->identity,
                             .closed_ns = v->closed_ns,
                             .verdict = v->verdict,
                             .policy = v->policy,
                             .build = v->build,
                             .inherited = v->inherited && !d->restored,
                             .repaired = v->repaired,
                             .probe = v->probe,
                             .model_version = v->number,
                             .image_bytes = v->image_bytes,
                             .pruned_channels = v->pruned_channels,
                             .canary = v->canary,
                             .total_channels = v->total_channels};
    memcpy(m.sha256, v->sha256, sizeof m.sha256);
    memcpy(m.beside, v->beside, sizeof m.beside);
    memcpy(m.model, model->name, sizeof m.model);
    memcpy(m.path, v->path, sizeof m.path);
    guard_child_send(d->guard, &m);
}

/* --- what people ask for ------------------------------------------------------------------ */

static void settle(struct desk_waiter w, bool done, const char *text) {
    char *json = w.connection && done ? status_done_text(text) : NULL;
    if (w.connection) connection_control_done(w.connection, w.id, done ? CLPD_OK : CLPD_CONFLICT, json, text);
}

void daemon_drop_controls(struct daemon *d, const char *why) {
    for (struct desk_waiter w; (w = desk_drop(&d->desk)).connection;) settle(w, false, why);
}

uint32_t daemon_on_control(void *owner, struct connection *c, uint64_t id, const struct clpd_control *q,
                           const char **why) {
    struct daemon *d = owner;
    struct link_message m;
    struct ucred peer;
    const int fd = connection_peer(c, &peer);
    if (!desk_allows(&peer, fd, d->config.socket_control_group)) {
        log_warning("user %u (process %d) may not change what is served", (unsigned)peer.uid, (int)peer.pid);
        *why = "only root, the daemon's own user and the members of socket.control_group may do that";
        return CLPD_FORBIDDEN;
    }
    *why = "the guard is not up at this moment: try again";
    if (!d->guard || strcmp(guard_child_state(d->guard), "up") != 0) return CLPD_BUSY;
    *why = "others wait for changes of what is served: try again";
    if (!desk_note(&d->desk, c, id, &peer, q, &m)) return CLPD_BUSY;
    guard_child_send(d->guard, &m);
    return CLPD_OK;
}

/* A new guard: it is told what is served, and tells about every file anew. */
static void on_greeted(void *owner) {
    struct daemon *d = owner;
    daemon_drop_controls(d, "the guard ended before it was done; look at clpctl models, and try again");
    const struct model *model;
    file_table_clear(&d->files);
    daemon_forget_models_text(d);
    for (uint32_t i = 0; (model = models_at(d->models, i)); i++)
        if (model->current) tell_served(d, model);
    daemon_tell_status(d);
}

static void answer_offer(const struct daemon *d, const struct link_message *offer, uint64_t ticket,
                         bool accepted, const char *why) {
    if (ticket != guard_child_ticket(d->guard)) return; /* of a guard that is gone */
    struct link_message m = *offer;
    m.type = LINK_ANSWER;
    m.accepted = accepted;
    (void)snprintf(m.reason, sizeof m.reason, "%s", why);
    guard_child_send(d->guard, &m);
}

static void on_answered(void *owner, const struct link_message *offer, uint64_t ticket,
                        const struct version *v, const char *why) {
    struct daemon *d = owner;
    if (ticket == INHERITED && !v) store_forget_image(offer->model, offer->model_version, offer->sha256);
    if (d->guard && ticket == guard_child_ticket(d->guard))
        answer_offer(d, offer, ticket, v != NULL, why);
    else if (d->guard && v)
        tell_served(d, v->model);
    daemon_tell_status(d);
}

/* What serves is kept for the next clpd, and no more of its model than that. */
static void on_begun(void *owner, const struct link_message *offer, int fd, uint64_t ticket) {
    (void)owner;
    if (ticket != INHERITED) store_keep_image(offer, fd); /* it is kept already */
}

static void on_ceased(void *owner, const struct version *v) {
    (void)owner;
    store_forget_image(v->model->name, v->number, v->sha256);
}

void daemon_take_inheritance(struct daemon *d) {
    struct link_message offer;
    int fd;
    while (models_can_take_offer(d->models) && store_next_image(&d->store, &offer, &fd))
        if (!models_offer(d->models, &offer, fd, INHERITED))
            log_warning("model %s: no memory for its kept image", offer.model);
    if (models_can_take_offer(d->models)) store_close(&d->store);
}

static void on_job_done(void *owner) {
    struct daemon *d = owner;
    if (d->store.kept) daemon_take_inheritance(d);
    if (d->restored && models_are_idle(d->models)) daemon_open_door(d);
    if (d->guard) guard_child_resume(d->guard); /* it may have been held up */
}

static bool can_greet(void *owner) {
    const struct daemon *d = owner;
    return models_are_idle(d->models) && !d->store.kept;
}

/* What serves is another: other threads are shown it. */
static void on_changed(void *owner) {
    struct daemon *d = owner;
    daemon_forget_models_text(d);
    catalogue_publish(d->catalogue, d->models, d->state == SERVING);
    daemon_tell_status(d);
}

static bool can_take(void *owner) {
    const struct daemon *d = owner;
    return models_can_take_offer(d->models);
}

static void take_offer(struct daemon *d, const struct link_message *m, int fd) {
    const uint64_t ticket = guard_child_ticket(d->guard);
    if (!m->model[0]) {
        (void)close(fd);
        answer_offer(d, m, ticket, false, "a model needs a name");
    } else if (d->state >= DRAINING) {
        (void)close(fd);
        answer_offer(d, m, ticket, false, "clpd is stopping");
    } else if (!models_offer(d->models, m, fd, ticket)) {
        answer_offer(d, m, ticket, false, "clpd is out of memory");
    }
}

static void take_probe(struct daemon *d, const struct link_message *m, int fd) {
    struct err e = {0};
    struct probe_note *n = probe_note_new(m, fd, &e);
    if (!n) {
        log_warning("model %s: %s", m->model, e.text);
        return;
    }
    models_note_probe(d->models, n);
    daemon_forget_models_text(d);
}

static void on_guard_message(void *owner, const struct link_message *m, int fd) {
    struct daemon *d = owner;
    switch (m->type) {
    case LINK_OFFER: take_offer(d, m, fd); return; /* fd is taken */
    case LINK_CONTROLLED: settle(desk_settle(&d->desk, m->model_version), m->accepted, m->reason); break;
    case LINK_FILE:
        file_table_put(&d->files, m);
        daemon_forget_models_text(d);
        break;
    case LINK_FILE_GONE:
        file_table_drop(&d->files, m->path);
        daemon_forget_models_text(d);
        break;
    case LINK_RETIRE:
        if (!models_retire(d->models, m->model)) log_error("model %s: no memory to retire it", m->model);
        break;
    case LINK_PROBE: take_probe(d, m, fd); break;
    case LINK_RESTORED:
        d->restored = true;
        if (models_are_idle(d->models)) daemon_open_door(d);
        break;
    case LINK_SETTLED:
        log_info("the guard has dealt with every file");
        daemon_become_ready(d);
        break;
    default: log_debug("the guard sends message type %u, which is not for clpd", m->type);
    }
    if (fd >= 0) (void)close(fd);
}

struct guard_child_calls daemon_guard_calls(struct daemon *d) {
    return (struct guard_child_calls){.served = count_served,
                                      .greeted = on_greeted,
                                      .received = on_guard_message,
                                      .can_greet = can_greet,
                                      .can_take = can_take,
                                      .owner = d};
}

struct models_calls daemon_models_calls(struct daemon *d) {
    return (struct models_calls){.answered = on_answered,
                                 .done = on_job_done,
                                 .changed = on_changed,
                                 .begun = on_begun,
                                 .ceased = on_ceased,
                                 .owner = d};
}
