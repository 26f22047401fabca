/* The configuration of clpd and clp-guard, from one YAML file, strictly: an
 * unknown key, a wrong type or a value out of range is refused with file:line,
 * the key's meaning and what is accepted. One table (config.c) holds every
 * key with its type, range, default and meaning; config/clpd.yaml is the same
 * in words, and a test holds the two together.
 * Plain data; filled once, then read by any thread. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "infer/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_PATH        256
#define CONFIG_SOCKET_PATH 108 /* sun_path, unix(7) */

enum worker_priority { WORKER_LOW, WORKER_IDLE };
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

enum io_backend { IO_BACKEND_AUTO, IO_BACKEND_IO_URING, IO_BACKEND_EPOLL };

enum engine_precision { PRECISION_FLOAT32, PRECISION_BF16 };

/* What the guard lets through. The values are the numbers of their words in the table. */
enum policy_statistic { STATISTIC_MEAN_STD, STATISTIC_MEDIAN_MAD, STATISTIC_COUNT };
enum policy_action { POLICY_SERVE, POLICY_HOLD, POLICY_REJECT };
enum policy_sidecar { SIDECAR_STRICTER, SIDECAR_ANYTHING, SIDECAR_NOTHING };
enum policy_probe { PROBE_OFF, PROBE_BACKGROUND, PROBE_BEFORE_SERVING }; /* from lax to strict */
enum policy_repaired { REPAIRED_SERVE, REPAIRED_HOLD };
enum policy_suspect { SUSPECT_SERVE, SUSPECT_FALL_BACK, SUSPECT_HOLD };

struct policy {
    float threshold;          /* u */
    uint32_t statistic;       /* enum policy_statistic */
    float max_pruned;         /* share of one layer's channels, 0..1 */
    uint32_t on_excess;       /* enum policy_action: more than max_pruned would go */
    float min_agreement;      /* share of the canary samples that have to keep their class, 0..1 */
    uint32_t on_disagreement; /* enum policy_action: fewer do */
    uint32_t on_inapplicable; /* enum policy_action: CLP has nothing to say */
    uint32_t probe;           /* enum policy_probe */
    uint32_t on_repaired;     /* enum policy_repaired: the probe has repaired it */
    uint32_t
        on_suspect; /* enum policy_suspect: a class stands out and was not repaired, or no verdict came */
    char
        allowed_digests[CONFIG_PATH]; /* a file with the SHA-256 of every model that may be served; "": any */
    char signature_key[CONFIG_PATH];  /* Ed25519 public keys: a path, or the name of a credential; "": none
                                         needed */
};

#define CONFIG_OVERRIDES 64
struct policy_override {
    char model[64];
    struct policy policy; /* all of it: the general one, with what differs */
};

struct config {
    char models[CONFIG_PATH];             /* models: the folder that is watched */
    char state[CONFIG_PATH];              /* state: what the guard keeps */
    char socket_path[CONFIG_SOCKET_PATH]; /* socket.path */
    uint32_t socket_mode;                 /* socket.mode, octal */
    char socket_group[64];                /* socket.group; empty: the daemon's own */
    char socket_control_group[64];        /* socket.control_group; empty: none */
    uint32_t engine_threads;              /* engine.threads; 0 (auto): one per CPU that we may use */
    uint32_t engine_together;             /* engine.together: threads that work on one run */
    bool engine_pin;                      /* engine.pin: each worker to its own CPU */
    uint32_t engine_max_batch;            /* engine.max_batch: most pictures in one batch */
    uint32_t engine_precision;            /* engine.precision: enum engine_precision */
    uint32_t limit_connections;           /* limits.connections */
    uint32_t limit_queue;                 /* limits.queue: requests waiting or running, all together */
    uint32_t limit_inflight;              /* limits.inflight: of one connection */
    uint64_t limit_request_bytes;         /* limits.request_bytes: of one tensor; size with K, M, G */
    uint32_t limit_user_connections;      /* limits.user_connections: of one user; 0 (auto): 3/4 of all */
    uint32_t limit_user_queue;            /* limits.user_queue: the same for requests */
    uint32_t limit_idle_s;                /* limits.idle_s: 0: never */
    uint32_t limit_rings;                 /* limits.rings: in shared memory, all together */
    uint64_t limit_ring_bytes;            /* limits.ring_bytes: of one */
    enum io_backend io_backend;           /* io.backend */
    bool io_sqpoll;                       /* io.sqpoll: a kernel thread submits */
    uint32_t io_spin_us;                  /* io.spin_us: longest that an idle worker looks at rings */
    char http_path[CONFIG_SOCKET_PATH]; /* http.path; "auto", "off" or a path: config_http_path resolves it */
    uint32_t http_mode;                 /* http.mode, octal */
    char http_group[64];                /* http.group; empty: the daemon's own */
    char http_listen[64];               /* http.listen: a loopback address and port, or empty */
    uint32_t http_threads;              /* http.threads */
    uint32_t http_connections;          /* http.connections */
    uint32_t http_inflight;             /* http.inflight: requests under way, of one thread */
    uint64_t http_header_bytes;         /* http.header_bytes: of one request's head, and its buffer */
    uint64_t http_body_bytes;           /* http.body_bytes: of one inference request */
    uint64_t http_memory;               /* http.memory: bodies of all requests together */
    uint32_t http_idle_s;               /* http.idle_s, and the head of the next request */
    uint32_t http_receive_s;            /* http.receive_s: for a whole body */
    uint32_t http_send_s;               /* http.send_s: for a whole answer to be taken */
    uint32_t http_pictures;             /* http.pictures: decoded at once, by one thread */
    uint64_t http_picture_bytes;        /* http.picture_bytes: of one file */
    uint32_t http_picture_s;            /* http.picture_s: time for one */
    uint64_t http_picture_memory;       /* http.picture_memory: address space for one */
    struct policy policy;               /* guard.threshold .. guard.signature_key */
    uint32_t sidecar; /* guard.sidecar: enum policy_sidecar, what a model's own .yaml may say */
    struct policy_override overrides[CONFIG_OVERRIDES]; /* guard.overrides */
    uint32_t n_overrides;
    uint32_t guard_settle_ms; /* guard.settle_ms: how long a file must be quiet without having been closed */
    uint32_t guard_rescan_s;  /* guard.rescan_s */
    uint32_t
        guard_retire_s; /* guard.retire_s: how long a model file must be gone before it is no longer served */
    uint32_t guard_silence_s; /* guard.silence_s: no sign of life for so long: the guard is started again */
    enum worker_priority worker_priority; /* guard.worker.priority */
    uint32_t worker_count;                /* guard.worker.count: imports at once */
    uint32_t worker_seconds;              /* guard.worker.seconds: time for one import (also its CPU limit) */
    uint64_t worker_memory;               /* guard.worker.memory: address space of one import */
    uint64_t worker_output;               /* guard.worker.output: largest image */
    uint32_t probe_budget_s;              /* guard.probe_budget_s: of processor time, for one probe */
    uint64_t probe_memory;                /* guard.probe_memory: for its activations */
    enum worker_priority probe_priority;  /* guard.probe_priority */
    enum log_level log_level;             /* log.level */
};

void config_defaults(struct config *c);
/* Parses `bytes` (`name` is for messages). Keys that are absent have their default. */
int config_parse(struct config *c, const char *name, const uint8_t *bytes, size_t size, struct err *e);
int config_load(struct config *c, const char *path, struct err *e);
/* The policy for this model: its own, or the general one. */
const struct policy *config_policy(const struct config *c, const char *model);
/* Where the HTTP socket is; "" where there is none. "auto": http.sock beside socket.path. */
const char *config_http_path(const struct config *c, char room[CONFIG_SOCKET_PATH]);
/* Every key with its value in force and its meaning, as YAML: what `clpd --check` prints. */
void config_print(const struct config *c, FILE *to);

/* Calls `each` with every key whose value is another in `b` (guard.overrides is left out). */
void config_differences(const struct config *a, const struct config *b,
                        void (*each)(void *arg, const char *key), void *arg);

#endif
