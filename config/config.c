/* The keys of clpd.yaml: this table is where each has its type, range, default and meaning. */
#include "config/config.h"
#include "config/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_BYTES ((size_t)1 << 20)
#define AT(FIELD) KEY_AT(struct config, FIELD)
#define K         (1024.0)
#define M         (1024.0 * K)
#define G         (1024.0 * M)

static int take_overrides(void *into, const struct key_place *p, struct err *e);

/* The same rows under guard: and for one model under guard.overrides: */
#define ACTIONS "serve hold reject"
#define PROBES  "off background before-serving"
#define POLICY_KEYS(GROUP, STRUCT, IN)                                                                       \
    {GROUP "threshold",                                                                                      \
     KEY_NUMBER,                                                                                             \
     false,                                                                                                  \
     KEY_AT(STRUCT, IN threshold),                                                                           \
     0.5,                                                                                                    \
     1000,                                                                                                   \
     "3.0",                                                                                                  \
     "u of CLP: a channel above mean + u * std of its layer is pruned",                                      \
     NULL,                                                                                                   \
     NULL,                                                                                                   \
     NULL},                                                                                                  \
        {GROUP "statistic",                                                                                  \
         KEY_CHOICE,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN statistic),                                                                       \
         0,                                                                                                  \
         0,                                                                                                  \
         "mean-std",                                                                                         \
         "how a layer's ordinary channels are told from the others",                                         \
         NULL,                                                                                               \
         "mean-std median-mad",                                                                              \
         NULL},                                                                                              \
        {GROUP "max_pruned",                                                                                 \
         KEY_NUMBER,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN max_pruned),                                                                      \
         0,                                                                                                  \
         1,                                                                                                  \
         "0.25",                                                                                             \
         "the share of a layer's channels that may be pruned without asking",                                \
         NULL,                                                                                               \
         NULL,                                                                                               \
         NULL},                                                                                              \
        {GROUP "on_excess",                                                                                  \
         KEY_CHOICE,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN on_excess),                                                                       \
         0,                                                                                                  \
         0,                                                                                                  \
         "hold",                                                                                             \
         "what is done with a model that loses more than max_pruned of a layer",                             \
         NULL,                                                                                               \
         ACTIONS,                                                                                            \
         NULL},                                                                                              \
        {GROUP "min_agreement",                                                                              \
         KEY_NUMBER,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN min_agreement),                                                                   \
         0,                                                                                                  \
         1,                                                                                                  \
         "0.9",                                                                                              \
         "the share of a model's canary samples that have to keep their class after pruning",                \
         NULL,                                                                                               \
         NULL,                                                                                               \
         NULL},                                                                                              \
        {GROUP "on_disagreement",                                                                            \
         KEY_CHOICE,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN on_disagreement),                                                                 \
         0,                                                                                                  \
         0,                                                                                                  \
         "hold",                                                                                             \
         "what is done with a model of which fewer samples keep their class than min_agreement",             \
         NULL,                                                                                               \
         ACTIONS,                                                                                            \
         NULL},                                                                                              \
        {GROUP "on_inapplicable",                                                                            \
         KEY_CHOICE,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN on_inapplicable),                                                                 \
         0,                                                                                                  \
         0,                                                                                                  \
         "serve",                                                                                            \
         "what is done with a model that CLP has nothing to say about",                                      \
         NULL,                                                                                               \
         ACTIONS,                                                                                            \
         NULL},                                                                                              \
        {GROUP "probe",                                                                                      \
         KEY_CHOICE,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN probe),                                                                           \
         0,                                                                                                  \
         0,                                                                                                  \
         "background",                                                                                       \
         "whether every model is attacked before it is trusted: beside its service, or before",              \
         NULL,                                                                                               \
         PROBES,                                                                                             \
         NULL},                                                                                              \
        {GROUP "on_repaired",                                                                                \
         KEY_CHOICE,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN on_repaired),                                                                     \
         0,                                                                                                  \
         0,                                                                                                  \
         "hold",                                                                                             \
         "what is done with the network that the probe has repaired",                                        \
         NULL,                                                                                               \
         "serve hold",                                                                                       \
         NULL},                                                                                              \
        {GROUP "on_suspect",                                                                                 \
         KEY_CHOICE,                                                                                         \
         false,                                                                                              \
         KEY_AT(STRUCT, IN on_suspect),                                                                      \
         0,                                                                                                  \
         0,                                                                                                  \
         "serve",                                                                                            \
         "what is done with a model that stays suspect, or that the probe came to no verdict on",            \
         NULL,                                                                                               \
         "serve fall-back hold",                                                                             \
         NULL},                                                                                              \
        {GROUP "allowed_digests",                                                                            \
         KEY_TEXT,                                                                                           \
         false,                                                                                              \
         KEY_AT(STRUCT, IN allowed_digests),                                                                 \
         0,                                                                                                  \
         0,                                                                                                  \
         "",                                                                                                 \
         "the file that lists the SHA-256 of every model that may be served",                                \
         "a path, or \"\" where any may",                                                                    \
         NULL,                                                                                               \
         NULL},                                                                                              \
    {                                                                                                        \
        GROUP "signature_key", KEY_TEXT, false, KEY_AT(STRUCT, IN signature_key), 0, 0, "",                  \
            "the Ed25519 public keys, one of which has to have signed a model",                              \
            "a path, the name of a systemd credential, or \"\" where none has to", NULL, NULL                \
    }

/* path, type, automatic, field, min, max, default, meaning, accepted where the range does not say it all,
 * choices */
static const struct key keys[] = {
    {"models", KEY_PATH, false, AT(models), 0, 0, "/var/lib/clpd/models",
     "the folder that is watched for models", NULL, NULL, NULL},
    {"state", KEY_PATH, false, AT(state), 0, 0, "/var/lib/clpd/state",
     "where the guard keeps compiled models, so that a restart serves at once; not inside models", NULL, NULL,
     NULL},

    {"socket.path", KEY_PATH, false, AT(socket_path), 0, 0, "/run/clpd/clpd.sock",
     "the Unix socket that clients connect to", NULL, NULL, NULL},
    {"socket.mode", KEY_MODE, false, AT(socket_mode), 0, 0777, "0660", "who may open the socket", NULL, NULL,
     NULL},
    {"socket.group", KEY_TEXT, false, AT(socket_group), 0, 0, "", "the group that the socket belongs to",
     "a group's name, or \"\" for the daemon's own", NULL, NULL},

    {"socket.control_group", KEY_TEXT, false, AT(socket_control_group), 0, 0, "",
     "the group whose members may roll back and accept, besides root and the daemon's user",
     "a group's name, or \"\" for none", NULL, NULL},

    {"engine.threads", KEY_COUNT, true, AT(engine_threads), 1, 256, "auto", "how many inference threads",
     "auto, which is one per CPU that clpd may use, or 1..256", NULL, NULL},
    {"engine.together", KEY_COUNT, false, AT(engine_together), 1, 64, "1", "how many threads work on one run",
     NULL, NULL, NULL},
    {"engine.pin", KEY_SWITCH, false, AT(engine_pin), 0, 0, "true",
     "keep each inference thread on a CPU of its own", NULL, NULL, NULL},
    {"engine.max_batch", KEY_COUNT, false, AT(engine_max_batch), 1, 1024, "8",
     "most pictures that are computed together", NULL, NULL, NULL},
    {"engine.precision", KEY_CHOICE, false, AT(engine_precision), 0, 0, "float32",
     "what convolutions multiply; bf16 is rounded, and taken where the CPU gains by it", NULL, "float32 bf16",
     NULL},

    {"io.backend", KEY_CHOICE, false, AT(io_backend), 0, 0, "auto",
     "what the event loop stands on; auto takes io_uring, or epoll where that is refused", NULL,
     "auto io_uring epoll", NULL},
    {"io.sqpoll", KEY_SWITCH, false, AT(io_sqpoll), 0, 0, "false",
     "let a kernel thread submit to io_uring, which takes a CPU of its own while there is load", NULL, NULL,
     NULL},
    {"io.spin_us", KEY_COUNT, false, AT(io_spin_us), 0, 10000, "50",
     "how long an idle thread looks at shared-memory rings before it sleeps, in microseconds", NULL, NULL,
     NULL},

    {"limits.connections", KEY_COUNT, false, AT(limit_connections), 1, 65536, "256",
     "how many clients may be connected", NULL, NULL, NULL},
    {"limits.queue", KEY_COUNT, false, AT(limit_queue), 1, 65536, "1024",
     "how many requests may wait or run at once, of all clients", NULL, NULL, NULL},
    {"limits.inflight", KEY_COUNT, false, AT(limit_inflight), 1, 65536, "64",
     "how many requests of one connection may wait or run at once", NULL, NULL, NULL},
    {"limits.request_bytes", KEY_SIZE, false, AT(limit_request_bytes), K, G, "16M",
     "largest input of one request, in bytes", NULL, NULL, NULL},
    {"limits.user_connections", KEY_COUNT, true, AT(limit_user_connections), 1, 65536, "auto",
     "how many connections one user may have",
     "auto, which is three quarters of limits.connections, or 1..65536", NULL, NULL},
    {"limits.user_queue", KEY_COUNT, true, AT(limit_user_queue), 1, 65536, "auto",
     "how many requests of one user may wait or run at once; a ring counts with all its slots",
     "auto, which is three quarters of limits.queue, or 1..65536", NULL, NULL},
    {"limits.idle_s", KEY_COUNT, false, AT(limit_idle_s), 0, 86400, "0",
     "how long a connection may be silent before it is closed, in seconds; 0: for ever", NULL, NULL, NULL},
    {"limits.rings", KEY_COUNT, false, AT(limit_rings), 0, 1024, "64",
     "how many shared-memory rings may be open, of all clients; 0: none", NULL, NULL, NULL},
    {"limits.ring_bytes", KEY_SIZE, false, AT(limit_ring_bytes), 64 * K, 16 * G, "64M",
     "largest shared-memory ring, in bytes", NULL, NULL, NULL},

    {"http.path", KEY_TEXT, false, AT(http_path), 0, 0, "auto", "the Unix socket that HTTP is served on",
     "auto, which is http.sock beside socket.path, off, or an absolute path of at most 107 bytes", NULL,
     NULL},
    {"http.mode", KEY_MODE, false, AT(http_mode), 0, 0777, "0660", "who may open the HTTP socket", NULL, NULL,
     NULL},
    {"http.group", KEY_TEXT, false, AT(http_group), 0, 0, "", "the group that the HTTP socket belongs to",
     "a group's name, or \"\" for the daemon's own", NULL, NULL},
    {"http.listen", KEY_TEXT, false, AT(http_listen), 0, 0, "",
     "serve HTTP over TCP too, on this machine alone", "\"\" for no TCP, or 127.0.0.1:PORT or [::1]:PORT",
     NULL, NULL},
    {"http.threads", KEY_COUNT, false, AT(http_threads), 1, 16, "1", "threads that serve HTTP", NULL, NULL,
     NULL},
    {"http.connections", KEY_COUNT, false, AT(http_connections), 1, 65536, "256",
     "how many HTTP clients may be connected", NULL, NULL, NULL},
    {"http.inflight", KEY_COUNT, false, AT(http_inflight), 1, 4096, "64",
     "how many HTTP requests a thread may have under way", NULL, NULL, NULL},
    {"http.header_bytes", KEY_SIZE, false, AT(http_header_bytes), 4 * K, M, "64K",
     "largest head of a request, and the buffer of a connection, in bytes", NULL, NULL, NULL},
    {"http.body_bytes", KEY_SIZE, false, AT(http_body_bytes), K, G, "64M",
     "largest body of an inference request, in bytes", NULL, NULL, NULL},
    {"http.memory", KEY_SIZE, false, AT(http_memory), K, 1024 * G, "512M",
     "memory for the bodies of all HTTP requests together, in bytes", NULL, NULL, NULL},
    {"http.idle_s", KEY_COUNT, false, AT(http_idle_s), 1, 86400, "60",
     "how long a connection may wait before the head of its next request is here, in seconds", NULL, NULL,
     NULL},
    {"http.receive_s", KEY_COUNT, false, AT(http_receive_s), 1, 86400, "30",
     "how long the body of a request may take to arrive, in seconds", NULL, NULL, NULL},
    {"http.send_s", KEY_COUNT, false, AT(http_send_s), 1, 86400, "30",
     "how long a client may take to take its answer, in seconds", NULL, NULL, NULL},
    {"http.pictures", KEY_COUNT, false, AT(http_pictures), 1, 64, "2",
     "how many pictures are decoded at once, each in a process of its own", NULL, NULL, NULL},
    {"http.picture_bytes", KEY_SIZE, false, AT(http_picture_bytes), K, G, "16M",
     "largest JPEG or PNG file, in bytes", NULL, NULL, NULL},
    {"http.picture_s", KEY_COUNT, false, AT(http_picture_s), 1, 600, "10",
     "how long decoding one picture may take, in seconds, and its CPU time too", NULL, NULL, NULL},
    {"http.picture_memory", KEY_SIZE, false, AT(http_picture_memory), 16 * M, 64 * G, "1G",
     "address space for decoding one picture, in bytes", NULL, NULL, NULL},

    POLICY_KEYS("guard.", struct config, policy.),
    {"guard.sidecar", KEY_CHOICE, false, AT(sidecar), 0, 0, "stricter",
     "what the threshold in a model's own NAME.yaml may be",
     "stricter, which is at most guard.threshold, or anything, or nothing", "stricter anything nothing",
     NULL},
    {"guard.overrides", KEY_OWN, false, AT(overrides), 0, 0, NULL,
     "policies of single models, by their names",
     "for each name the keys that differ: threshold, statistic, max_pruned, on_excess, min_agreement, "
     "on_disagreement, on_inapplicable, probe, on_repaired, on_suspect, allowed_digests, signature_key",
     NULL, take_overrides},
    {"guard.settle_ms", KEY_COUNT, false, AT(guard_settle_ms), 10, 600000, "2000",
     "how long a file that nobody closed has to be unchanged, in milliseconds", NULL, NULL, NULL},
    {"guard.rescan_s", KEY_COUNT, false, AT(guard_rescan_s), 1, 86400, "30",
     "how often the folder is read anew in case an event was missed, in seconds", NULL, NULL, NULL},
    {"guard.retire_s", KEY_COUNT, false, AT(guard_retire_s), 0, 86400, "10",
     "how long a model's file has to be gone before it is no longer served, in seconds", NULL, NULL, NULL},
    {"guard.silence_s", KEY_COUNT, false, AT(guard_silence_s), 1, 3600, "120",
     "how long the guard may give no sign of life before it is killed and started again, in seconds", NULL,
     NULL, NULL},
    {"guard.worker.priority", KEY_CHOICE, false, AT(worker_priority), 0, 0, "low",
     "whether an import has a small share of a busy CPU, or none while anything else wants it", NULL,
     "low idle", NULL},
    {"guard.worker.count", KEY_COUNT, false, AT(worker_count), 1, 16, "2", "how many imports may run at once",
     NULL, NULL, NULL},
    {"guard.worker.seconds", KEY_COUNT, false, AT(worker_seconds), 1, 3600, "60",
     "how long one import may take, in seconds, and its CPU time too", NULL, NULL, NULL},
    {"guard.worker.memory", KEY_SIZE, false, AT(worker_memory), 64 * M, 1024 * G, "4G",
     "address space of one import, in bytes", NULL, NULL, NULL},
    {"guard.worker.output", KEY_SIZE, false, AT(worker_output), M, 1024 * G, "2G",
     "largest compiled model, in bytes", NULL, NULL, NULL},

    {"guard.probe_budget_s", KEY_COUNT, false, AT(probe_budget_s), 5, 86400, "600",
     "how much processor time one probe may take, in seconds", NULL, NULL, NULL},
    {"guard.probe_memory", KEY_SIZE, false, AT(probe_memory), 64 * M, 64 * G, "1G",
     "memory for what a probe computes, in bytes", NULL, NULL, NULL},
    {"guard.probe_priority", KEY_CHOICE, false, AT(probe_priority), 0, 0, "idle",
     "whether a probe has a small share of a busy CPU, or none while anything else wants it", NULL,
     "low idle", NULL},

    {"log.level", KEY_CHOICE, false, AT(log_level), 0, 0, "info", "what is written to the log", NULL,
     "debug info warning error", NULL},
};
static const struct key_table table = {keys, sizeof keys / sizeof keys[0]};

static const struct key override_keys[] = {POLICY_KEYS("", struct policy, )};
static const struct key_table override_table = {override_keys,
                                                sizeof override_keys / sizeof override_keys[0]};

void config_defaults(struct config *c) {
    memset(c, 0, sizeof *c);
    keys_set_defaults(&table, c);
}

/* --- policies of single models --------------------------------------------------------- */

static int take_override(struct config *c, const struct key_place *p, const struct yaml_tree_node *n,
                         struct err *e) {
    char word[YAML_TREE_QUOTE];
    struct policy_override *o = &c->overrides[c->n_overrides];
    const size_t length = strspn(n->key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (!length || n->key[length] || length >= sizeof o->model || n->key[0] == '.')
        return keys_refuse(p, n->key_line, e, "'%s' can't be the name of a model",
                           yaml_tree_quote(word, n->key));
    if (c->n_overrides == CONFIG_OVERRIDES)
        return keys_refuse(p, n->key_line, e, "more than %d models", CONFIG_OVERRIDES);
    *o = (struct policy_override){.policy = c->policy};
    memcpy(o->model, n->key, length);
    c->n_overrides++;
    return keys_apply_below(&override_table, p, n, &o->policy, e);
}

/* Read in the second of config_parse's two rounds, when the general policy is known. */
static int take_overrides(void *into, const struct key_place *p, struct err *e) {
    struct config *c = into;
    c->n_overrides = 0;
    if (yaml_tree_is_empty(p->node)) return 0;
    if (p->node->kind != YAML_TREE_MAP)
        return keys_refuse(p, p->node->line, e, "names of models belong below it");
    for (const struct yaml_tree_node *n = p->node->first; n; n = n->next)
        if (take_override(c, p, n, e)) return -1;
    return 0;
}

const struct policy *config_policy(const struct config *c, const char *model) {
    for (uint32_t i = 0; i < c->n_overrides; i++)
        if (strcmp(c->overrides[i].model, model) == 0) return &c->overrides[i].policy;
    return &c->policy;
}

/* --- what one key alone can't tell -------------------------------------------------- */

static const char *skip_slashes(const char *p) {
    while (*p == '/') p++;
    return p;
}

/* Whether `path` is `folder` or lies in it, going by the words of both ("//" and a "/" at the end don't
 * count). */
static bool lies_in(const char *path, const char *folder) {
    for (;;) {
        path = skip_slashes(path);
        folder = skip_slashes(folder);
        size_t n = strcspn(folder, "/");
        if (n == 0) return true;
        if (strcspn(path, "/") != n || memcmp(path, folder, n) != 0) return false;
        path += n;
        folder += n;
    }
}

static int check_policy(const struct policy *p, const char *name, struct err *e) {
    if (p->allowed_digests[0] && p->allowed_digests[0] != '/')
        return err_set(e, ERR_VALUE, "%s: allowed_digests: '%.100s' does not begin with '/'", name,
                       p->allowed_digests);
    if (p->signature_key[0] && p->signature_key[0] != '/' &&
        (strchr(p->signature_key, '/') || p->signature_key[0] == '.'))
        return err_set(e, ERR_VALUE,
                       "%s: signature_key: '%.100s' is neither a path that begins with '/' nor the name of a "
                       "credential",
                       name, p->signature_key);
    return 0;
}

const char *config_http_path(const struct config *c, char room[CONFIG_SOCKET_PATH]) {
    static const char name[] = "http.sock";
    if (strcmp(c->http_path, "off") == 0) return "";
    if (strcmp(c->http_path, "auto") != 0) return c->http_path;
    const char *slash = strrchr(c->socket_path, '/');
    const size_t folder = slash ? (size_t)(slash - c->socket_path) + 1 : 0;
    if (folder + sizeof name > CONFIG_SOCKET_PATH) return "";
    memcpy(room, c->socket_path, folder);
    memcpy(room + folder, name, sizeof name);
    return room;
}

/* 127.0.0.1:PORT or [::1]:PORT: what leaves the machine is nginx's or another's to guard. */
static bool is_loopback(const char *listen) {
    const char *port = strncmp(listen, "127.0.0.1:", 10) == 0 ? listen + 10
                       : strncmp(listen, "[::1]:", 6) == 0    ? listen + 6
                                                              : "";
    const size_t n = strspn(port, "0123456789");
    return n > 0 && n < 6 && !port[n] && atoi(port) > 0 && atoi(port) < 65536;
}

static int check_http(const struct config *c, const char *name, struct err *e) {
    char room[CONFIG_SOCKET_PATH];
    if (c->http_path[0] != '/' && strcmp(c->http_path, "auto") != 0 && strcmp(c->http_path, "off") != 0)
        return err_set(e, ERR_VALUE, "%s: http.path: '%.100s' is neither auto nor off nor an absolute path",
                       name, c->http_path);
    if (strcmp(c->http_path, "auto") == 0 && !*config_http_path(c, room))
        return err_set(e, ERR_VALUE,
                       "%s: http.path: auto gives a path that is too long; name one of at most 107 bytes",
                       name);
    if (strcmp(config_http_path(c, room), c->socket_path) == 0)
        return err_set(e, ERR_VALUE, "%s: http.path and socket.path are the same socket", name);
    if (c->http_listen[0] && !is_loopback(c->http_listen))
        return err_set(e, ERR_VALUE,
                       "%s: http.listen: '%s' is not 127.0.0.1:PORT or [::1]:PORT; to serve a network, put a "
                       "proxy in front",
                       name, c->http_listen);
    if (c->http_group[strcspn(c->http_group, ":/ ")])
        return err_set(e, ERR_VALUE, "%s: http.group: '%s' can't be the name of a group", name,
                       c->http_group);
    return 0;
}

static int check_whole(const struct config *c, const char *name, struct err *e) {
    if (lies_in(c->state, c->models))
        return err_set(e, ERR_VALUE,
                       "%s: state (%.100s) lies in models (%.100s): the guard would watch what it "
                       "writes itself; put state beside models",
                       name, c->state, c->models);
    if (c->socket_control_group[strcspn(c->socket_control_group, ":/ ")])
        return err_set(e, ERR_VALUE, "%s: socket.control_group: '%s' can't be the name of a group", name,
                       c->socket_control_group);
    if (c->socket_group[strcspn(c->socket_group, ":/ ")])
        return err_set(e, ERR_VALUE, "%s: socket.group: '%s' can't be the name of a group", name,
                       c->socket_group);
    for (uint32_t i = 0; i < c->n_overrides; i++)
        if (check_policy(&c->overrides[i].policy, name, e)) return -1;
    if (check_policy(&c->policy, name, e)) return -1;
    return check_http(c, name, e);
}

int config_parse(struct config *c, const char *name, const uint8_t *bytes, size_t size, struct err *e) {
    struct yaml_tree *tree;
    config_defaults(c);
    if (size > MAX_BYTES) return err_set(e, ERR_LIMIT, "%s: larger than %zu bytes", name, MAX_BYTES);
    if (yaml_tree_read(&tree, name, bytes, size, e)) return -1;
    int rc = keys_apply(&table, name, tree, c, e);
    if (rc == 0 && c->n_overrides) rc = keys_apply(&table, name, tree, c, e); /* see take_overrides */
    yaml_tree_free(tree);
    return rc ? rc : check_whole(c, name, e);
}

/* --- the file ------------------------------------------------------------------------ */

/* Reads all of a regular file; *size says how much. NULL with `e` set. */
static uint8_t *read_file(int fd, const char *path, size_t *size, struct err *e) {
    struct stat st;
    if (fstat(fd, &st)) return err_set(e, ERR_SYSTEM, "%s: %s", path, strerror(errno)), NULL;
    if (!S_ISREG(st.st_mode)) return err_set(e, ERR_VALUE, "%s: not a regular file", path), NULL;
    uint8_t *bytes = malloc(MAX_BYTES + 1); /* one more, so that config_parse sees what is too large */
    if (!bytes) return err_set(e, ERR_SYSTEM, "%s: out of memory", path), NULL;
    *size = 0;
    for (ssize_t n = 1; n != 0 && *size < MAX_BYTES + 1;) {
        n = read(fd, bytes + *size, MAX_BYTES + 1 - *size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            err_set(e, ERR_SYSTEM, "%s: %s", path, strerror(errno));
            free(bytes);
            return NULL;
        }
        *size += (size_t)n;
    }
    return bytes;
}

int config_load(struct config *c, const char *path, struct err *e) {
    size_t size;
    config_defaults(c);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold the start up */
    if (fd < 0) return err_set(e, ERR_SYSTEM, "%s: can't be opened: %s", path, strerror(errno));
    uint8_t *bytes = read_file(fd, path, &size, e);
    (void)close(fd);
    if (!bytes) return -1;
    int rc = config_parse(c, path, bytes, size, e);
    free(bytes);
    return rc;
}

/* As comments: the keys stand in the middle of what keys_print has written. */
static void print_override(const struct policy_override *o, FILE *to) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return;
    keys_print(&override_table, &o->policy, f);
    (void)fclose(f);
    (void)fprintf(to, "# guard.overrides: %s:\n", o->model);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
        if (*line != '#') (void)fprintf(to, "#   %.*s\n", (int)(end - line), line);
    free(text);
}

void config_print(const struct config *c, FILE *to) {
    keys_print(&table, c, to);
    for (uint32_t i = 0; i < c->n_overrides; i++) print_override(&c->overrides[i], to);
}

void config_differences(const struct config *a, const struct config *b,
                        void (*each)(void *arg, const char *key), void *arg) {
    keys_differences(&table, a, b, each, arg);
}
