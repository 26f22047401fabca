/* See daemon_case.h. */
#include "tests/daemon_case.h"

#include "daemon/log.h"
#include "infer/digest.h"
#include "infer/plan.h"
#include "tests/fixture_graph.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND   1000000000ull
#define PATIENCE (120 * SECOND) /* for what has to come: a machine may stand still for a while */

/* --- networks -------------------------------------------------------------------------- */

static struct graph *build(const struct case_network *n) {
    const int64_t side = n->width ? n->width : 2, pictures = n->pictures ? n->pictures : 1;
    struct graph *g = fixture_graph();
    g->item_images = (int32_t)pictures;
    int32_t v = fixture_input(g, SHAPE(pictures, 1, side, side));
    const float one = 1;
    for (uint32_t i = 0; i < n->work; i++) {
        const union op_params window = fixture_window(3, 1, 1, 1);
        float kernel[9] = {0, 0, 0, 0, 1, 0, 0, 0, 0};
        const int32_t inputs[] = {v, fixture_constant(g, SHAPE(1, 1, 3, 3), kernel)};
        v = fixture_node(g, OP_CONV, &window, 2, inputs);
    }
    v = fixture_mul(g, v, fixture_constant(g, SHAPE(1), n->factor != 0 ? &n->factor : &one));
    v = fixture_reshape(g, v, SHAPE(pictures, side * side));
    if (n->softmax) {
        const union op_params axis = {.axis = {.axis = 1}};
        v = fixture_node(g, OP_SOFTMAX, &axis, 1, &v);
    }
    fixture_output(g, v);
    return g;
}

int case_image(const struct case_network *n, const char *source, uint64_t *bytes) {
    struct err e = {0};
    struct plan *p = NULL;
    char names[64][16];
    const char *labels[64];
    struct plan_metadata m = {.labels = labels, .n_labels = n->labels};
    digest_sha256(source, strlen(source), m.source_sha256);
    for (uint32_t i = 0; i < n->labels && i < 64; i++) {
        (void)snprintf(names[i], sizeof names[i], "class %u", i);
        labels[i] = names[i];
    }
    struct graph *g = build(n);
    int rc = plan_make(g, &(struct plan_options){.isa = ISA_GENERIC}, &p, &e);
    if (rc) fprintf(stderr, "\ncase_image: %s\n", e.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    const size_t size = plan_image_bytes(p, &m);
    int fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CU_ASSERT_TRUE_FATAL(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    uint8_t *to = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CU_ASSERT_TRUE_FATAL(to != MAP_FAILED);
    rc = image_write(p, &m, to, size, &e);
    if (rc) fprintf(stderr, "\ncase_image: %s\n", e.text);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    munmap(to, size);
    CU_ASSERT_EQUAL_FATAL(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
                          0);
    plan_free(p);
    graph_free(g);
    *bytes = size;
    return fd;
}

struct link_message case_offer(const char *model, uint64_t version, const char *source, uint64_t bytes) {
    struct link_message m = {.version = LINK_VERSION,
                             .type = LINK_OFFER,
                             .state = FILE_OFFERED,
                             .model_version = version,
                             .image_bytes = bytes,
                             .total_channels = 12,
                             .pruned_channels = 3};
    (void)snprintf(m.model, sizeof m.model, "%s", model);
    (void)snprintf(m.path, sizeof m.path, "%s.onnx", model);
    digest_sha256(source, strlen(source), m.sha256);
    return m;
}

/* --- the rig ------------------------------------------------------------------------------ */

static void on_answered(void *owner, const struct link_message *offer, uint64_t ticket,
                        const struct version *v, const char *why) {
    struct rig *r = owner;
    (void)ticket;
    r->answer = *offer;
    r->answers++;
    if (v) r->accepted++;
    (void)snprintf(r->why, sizeof r->why, "%s", why);
}

static char *describe(void *owner, uint8_t type, size_t *bytes) {
    (void)owner;
    char *text = strdup(type == CLPD_STATUS ? "{\"status\":1}" : "{\"models\":[]}");
    *bytes = strlen(text);
    return text;
}

bool rig_open(struct rig *r, const struct rig_options *o) {
    struct err e = {0};
    const uint32_t max_batch = o->max_batch ? o->max_batch : 8, queue = o->queue ? o->queue : 64;
    const struct workers_options w = {.threads = o->threads ? o->threads : 2,
                                      .max_batch = max_batch,
                                      .limit = queue,
                                      .spin_ns = o->spin_ns};
    const struct models_calls calls = {.answered = on_answered, .owner = r};
    const struct server_limits limits = {.connections = o->connections ? o->connections : 8,
                                         .inflight = o->inflight ? o->inflight : 16,
                                         .request_bytes = o->request_bytes ? o->request_bytes : 1 << 20,
                                         .rings = o->rings ? o->rings : 8,
                                         .ring_bytes = 1 << 22,
                                         .user_connections = o->user_connections,
                                         .user_queue = o->user_queue};
    *r = (struct rig){0};
    log_set_level(LOG_LEVEL_ERROR); /* refusals are what many of these tests are about */
    r->loop = loop_new(o->loop, limits.connections, &e);
    if (!r->loop) {
        suite_skip("daemon over io_uring", e.text);
        return false;
    }
    r->workers = workers_start(&w, models_current, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(r->workers);
    r->models = models_open(r->loop, r->workers, max_batch, limits.request_bytes, &calls, &e);
    CU_ASSERT_PTR_NOT_NULL_FATAL(r->models);
    CU_ASSERT_EQUAL_FATAL(server_open(&r->server, r->loop, r->workers, r->models, queue, &limits, &e), 0);
    r->server.describe = describe;
    return true;
}

void rig_close(struct rig *r) {
    server_drain(&r->server);
    CU_ASSERT_EQUAL(models_stop(r->models, MODELS_NO_LIMIT), 0);
    const uint64_t end = loop_clock() + PATIENCE;
    while (!server_close_connections(&r->server) && loop_clock() < end)
        (void)loop_turn(r->loop, SECOND / 100);
    CU_ASSERT_EQUAL(r->server.n_connections, 0);
    workers_stop(r->workers);
    (void)loop_turn(r->loop, 0);
    CU_ASSERT_EQUAL(r->server.slots.n_taken, 0);
    server_close(&r->server);
    models_close(r->models);
    loop_free(r->loop);
}

bool rig_wait(struct rig *r, const uint32_t *n, uint32_t want) {
    const uint64_t end = loop_clock() + PATIENCE;
    while (*n < want && loop_clock() < end) CU_ASSERT_EQUAL_FATAL(loop_turn(r->loop, SECOND / 100), 0);
    return *n >= want;
}

void rig_turn(struct rig *r, unsigned turns) {
    for (unsigned i = 0; i < turns; i++) CU_ASSERT_EQUAL_FATAL(loop_turn(r->loop, SECOND / 1000), 0);
}

bool rig_load(struct rig *r, const char *model, uint64_t version, const struct case_network *n) {
    char source[64];
    uint64_t bytes;
    (void)snprintf(source, sizeof source, "%s %llu", model, (unsigned long long)version);
    const int fd = case_image(n, source, &bytes);
    const struct link_message offer = case_offer(model, version, source, bytes);
    const uint32_t accepted = r->accepted;
    CU_ASSERT_TRUE_FATAL(models_offer(r->models, &offer, fd, 0));
    CU_ASSERT_TRUE_FATAL(rig_wait(r, &r->answers, r->answers + 1));
    return r->accepted == accepted + 1;
}

/* --- clients --------------------------------------------------------------------------------- */

int rig_connect(struct rig *r) {
    int pair[2];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CU_ASSERT_EQUAL_FATAL(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    server_take(&r->server, pair[0]);
    rig_turn(r, 1);
    return pair[1];
}

bool rig_send(struct rig *r, int fd, const void *bytes, size_t n) {
    const uint8_t *at = bytes;
    const uint64_t end = loop_clock() + PATIENCE;
    while (n && loop_clock() < end) {
        ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN) return false;
        if (k < 0)
            rig_turn(r, 1);
        else
            at += k, n -= (size_t)k;
    }
    return n == 0;
}

bool rig_send_infer(struct rig *r, int fd, uint64_t id, const struct clpd_infer *q, const void *tensor,
                    size_t bytes) {
    const struct clpd_header h = {.magic = CLPD_MAGIC,
                                  .version = CLPD_WIRE_VERSION,
                                  .type = CLPD_INFER,
                                  .id = id,
                                  .bytes = sizeof *q + bytes};
    return rig_send(r, fd, &h, sizeof h) && rig_send(r, fd, q, sizeof *q) && rig_send(r, fd, tensor, bytes);
}

static bool receive_exactly(struct rig *r, int fd, uint8_t *to, size_t n) {
    const uint64_t end = loop_clock() + PATIENCE;
    while (n && loop_clock() < end) {
        ssize_t k = recv(fd, to, n, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN)) return false;
        if (k < 0)
            rig_turn(r, 1);
        else
            to += k, n -= (size_t)k;
    }
    return n == 0;
}

bool rig_receive(struct rig *r, int fd, struct clpd_header *h, uint8_t **body) {
    *body = NULL;
    if (!receive_exactly(r, fd, (uint8_t *)h, sizeof *h) || h->bytes > 1 << 24) return false;
    *body = malloc(h->bytes + 1);
    (*body)[h->bytes] = 0;
    if (receive_exactly(r, fd, *body, h->bytes)) return true;
    free(*body);
    *body = NULL;
    return false;
}

bool rig_is_closed(struct rig *r, int fd) {
    const uint64_t end = loop_clock() + PATIENCE;
    uint8_t byte;
    while (loop_clock() < end) {
        ssize_t k = recv(fd, &byte, 1, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN)) return true;
        if (k < 0) rig_turn(r, 1);
    }
    return false;
}
