/* config/config.c: clpd.yaml is the defaults, the table and the file hold each other, every mistake has its
 * words. */
#include "config/config.h"
#include "config/yaml.h"
#include "tests/mutate.h"
#include "tests/suite.h"

#include <errno.h>
#include <sys/stat.h>

#define EXAMPLE "config/clpd.yaml"

static int parse(struct config *c, const char *text, struct err *e) {
    return config_parse(c, "clpd.yaml", (const uint8_t *)text, strlen(text), e);
}

static void refused(const char *text, const char *want) {
    struct config c;
    struct err e = {0};
    CU_ASSERT_EQUAL(parse(&c, text, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, want));
    if (!strstr(e.text, want)) fprintf(stderr, "\n  wanted \"%s\"\n  got    \"%s\"\n", want, e.text);
}

static bool same_policy(const struct policy *a, const struct policy *b) {
    return a->threshold == b->threshold && a->statistic == b->statistic && a->max_pruned == b->max_pruned &&
           a->on_excess == b->on_excess && a->min_agreement == b->min_agreement &&
           a->on_disagreement == b->on_disagreement && a->on_inapplicable == b->on_inapplicable &&
           a->probe == b->probe && a->on_repaired == b->on_repaired && a->on_suspect == b->on_suspect &&
           strcmp(a->allowed_digests, b->allowed_digests) == 0 &&
           strcmp(a->signature_key, b->signature_key) == 0;
}

/* Field by field: the padding is nobody's. */
static bool same(const struct config *a, const struct config *b) {
    return strcmp(a->models, b->models) == 0 && strcmp(a->state, b->state) == 0 &&
           strcmp(a->socket_path, b->socket_path) == 0 && a->socket_mode == b->socket_mode &&
           strcmp(a->socket_group, b->socket_group) == 0 &&
           strcmp(a->socket_control_group, b->socket_control_group) == 0 &&
           a->engine_threads == b->engine_threads && a->engine_together == b->engine_together &&
           a->engine_pin == b->engine_pin && a->engine_max_batch == b->engine_max_batch &&
           a->limit_connections == b->limit_connections && a->limit_queue == b->limit_queue &&
           a->limit_inflight == b->limit_inflight && a->limit_request_bytes == b->limit_request_bytes &&
           same_policy(&a->policy, &b->policy) && a->sidecar == b->sidecar &&
           a->guard_settle_ms == b->guard_settle_ms && a->guard_rescan_s == b->guard_rescan_s &&
           a->guard_retire_s == b->guard_retire_s && a->worker_seconds == b->worker_seconds &&
           a->worker_memory == b->worker_memory && a->worker_output == b->worker_output &&
           a->probe_budget_s == b->probe_budget_s && a->probe_memory == b->probe_memory &&
           a->probe_priority == b->probe_priority && a->log_level == b->log_level;
}

static char *print(const struct config *c) {
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    config_print(c, f);
    fclose(f);
    return text;
}

static void defaults_are_those_promised(void) {
    struct config c;
    config_defaults(&c);
    CU_ASSERT_STRING_EQUAL(c.models, "/var/lib/clpd/models");
    CU_ASSERT_STRING_EQUAL(c.state, "/var/lib/clpd/state");
    CU_ASSERT_STRING_EQUAL(c.socket_path, "/run/clpd/clpd.sock");
    CU_ASSERT_EQUAL(c.socket_mode, 0660);
    CU_ASSERT_STRING_EQUAL(c.socket_group, "");
    CU_ASSERT_EQUAL(c.engine_threads, 0);
    CU_ASSERT_EQUAL(c.engine_together, 1);
    CU_ASSERT_TRUE(c.engine_pin);
    CU_ASSERT_EQUAL(c.engine_max_batch, 8);
    CU_ASSERT_EQUAL(c.limit_connections, 256);
    CU_ASSERT_EQUAL(c.limit_queue, 1024);
    CU_ASSERT_EQUAL(c.limit_inflight, 64);
    CU_ASSERT_EQUAL(c.limit_request_bytes, 16u << 20);
    CU_ASSERT_EQUAL(c.policy.threshold, 3.0f);
    CU_ASSERT_EQUAL(c.policy.statistic, STATISTIC_MEAN_STD);
    CU_ASSERT_EQUAL(c.policy.max_pruned, 0.25f);
    CU_ASSERT_EQUAL(c.policy.on_excess, POLICY_HOLD);
    CU_ASSERT_EQUAL(c.policy.min_agreement, 0.9f);
    CU_ASSERT_EQUAL(c.policy.on_disagreement, POLICY_HOLD);
    CU_ASSERT_EQUAL(c.policy.on_inapplicable, POLICY_SERVE);
    CU_ASSERT_EQUAL(c.policy.probe, PROBE_BACKGROUND);
    CU_ASSERT_EQUAL(c.policy.on_repaired, REPAIRED_HOLD);
    CU_ASSERT_EQUAL(c.policy.on_suspect, SUSPECT_SERVE);
    CU_ASSERT_EQUAL(c.probe_budget_s, 600);
    CU_ASSERT_EQUAL(c.probe_memory, UINT64_C(1) << 30);
    CU_ASSERT_EQUAL(c.probe_priority, WORKER_IDLE);
    CU_ASSERT_STRING_EQUAL(c.policy.allowed_digests, "");
    CU_ASSERT_STRING_EQUAL(c.policy.signature_key, "");
    CU_ASSERT_EQUAL(c.sidecar, SIDECAR_STRICTER);
    CU_ASSERT_EQUAL(c.guard_settle_ms, 2000);
    CU_ASSERT_EQUAL(c.guard_rescan_s, 30);
    CU_ASSERT_EQUAL(c.guard_retire_s, 10);
    CU_ASSERT_EQUAL(c.worker_seconds, 60);
    CU_ASSERT_EQUAL(c.worker_memory, UINT64_C(4) << 30);
    CU_ASSERT_EQUAL(c.worker_output, UINT64_C(2) << 30);
    CU_ASSERT_EQUAL(c.log_level, LOG_LEVEL_INFO);
}

static void example_is_the_defaults(void) {
    struct config c, d;
    struct err e = {0};
    config_defaults(&d);
    CU_ASSERT_EQUAL(config_load(&c, EXAMPLE, &e), 0);
    if (e.code) fprintf(stderr, "\n  %s\n", e.text);
    CU_ASSERT_TRUE(same(&c, &d));
}

/* Both trees have the same keys in the same order, each default with the same value. */
static unsigned compare(const struct yaml_tree_node *a, const struct yaml_tree_node *b) {
    unsigned leaves = 0;
    CU_ASSERT_EQUAL_FATAL(a->kind, b->kind);
    if (a->kind == YAML_TREE_SCALAR) {
        if (strcmp(a->key, "threshold") != 0) CU_ASSERT_STRING_EQUAL(a->text, b->text); /* 3 and 3.0 */
        return 1;
    }
    CU_ASSERT_EQUAL_FATAL(a->n, b->n);
    for (a = a->first, b = b->first; a; a = a->next, b = b->next) {
        CU_ASSERT_STRING_EQUAL(a->key, b->key);
        leaves += compare(a, b);
    }
    return leaves;
}

static void example_has_every_key(void) {
    struct config c;
    struct yaml_tree *example = NULL, *printed = NULL;
    config_defaults(&c);
    char *text = print(&c);
    FILE *f = fopen(EXAMPLE, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    uint8_t bytes[16384];
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    CU_ASSERT_EQUAL_FATAL(yaml_tree_read(&example, EXAMPLE, bytes, n, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(yaml_tree_read(&printed, "printed", (uint8_t *)text, strlen(text), NULL), 0);
    CU_ASSERT_TRUE(compare(yaml_tree_root(printed), yaml_tree_root(example)) >
                   40); /* each key is held against the other's */
    yaml_tree_free(example);
    yaml_tree_free(printed);
    free(text);
}

static const char odd[] =
    "models: \"/srv/my \\\"models\\\"\"\nstate: /s\nsocket: {path: /x.sock, mode: 0600, group: vision}\n"
    "engine: {threads: 3, together: 2, pin: false, max_batch: 1}\n"
    "limits: {connections: 1, queue: 2, inflight: 65536, request_bytes: 1G}\n"
    "guard:\n  threshold: 2.1\n  statistic: median-mad\n  max_pruned: 0.125\n  on_excess: reject\n"
    "  on_inapplicable: hold\n  allowed_digests: /etc/clpd/digests\n  signature_key: k.pem\n  sidecar: "
    "nothing\n"
    "  settle_ms: 10\n  rescan_s: 1\n  retire_s: 0\n"
    "  probe: before-serving\n  on_repaired: hold\n  on_suspect: fall-back\n  probe_budget_s: 5\n"
    "  probe_memory: 64M\n  probe_priority: low\n"
    "  worker: {seconds: 3600, memory: 64M, output: 1537K}\nlog: {level: warning}\n";

static void every_key_is_read_and_printed(void) {
    struct config c, back;
    struct err e = {0};
    CU_ASSERT_EQUAL(parse(&c, odd, &e), 0);
    if (e.code) fprintf(stderr, "\n  %s\n", e.text);
    CU_ASSERT_STRING_EQUAL(c.models, "/srv/my \"models\"");
    CU_ASSERT_STRING_EQUAL(c.socket_group, "vision");
    CU_ASSERT_EQUAL(c.socket_mode, 0600);
    CU_ASSERT_EQUAL(c.engine_threads, 3);
    CU_ASSERT_EQUAL(c.engine_together, 2);
    CU_ASSERT_FALSE(c.engine_pin);
    CU_ASSERT_EQUAL(c.limit_request_bytes, 1u << 30);
    CU_ASSERT_EQUAL(c.policy.threshold, 2.1f);
    CU_ASSERT_EQUAL(c.worker_output, 1537u << 10);
    CU_ASSERT_EQUAL(c.log_level, LOG_LEVEL_WARNING);
    char *text = print(&c);
    CU_ASSERT_EQUAL(parse(&back, text, &e), 0);
    CU_ASSERT_TRUE(same(&c, &back));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "  threshold: 2.1\n"));
    free(text);
}

static void mistakes_have_words(void) {
    refused("engine:\n  thread: 4\n",
            "clpd.yaml:2: engine.thread: unknown key; did you mean engine.threads (how many "
            "inference threads; auto, which is one per CPU that clpd may use, or 1..256)?");
    refused("\nlimits:\n  queue: many\n",
            "clpd.yaml:3: limits.queue: 'many' is not a whole number; how many requests "
            "may wait or run at once, of all clients (1..65536)");
    refused("socket:\n  mode: 660\n", "clpd.yaml:2: socket.mode: '660' is not a file mode");
    refused("engine: {pin: on}", "'on' is not true or false");
    refused("log: {level: loud}", "(debug | info | warning | error)");
    refused("models: models", "'models' does not begin with '/'");
    refused("guard: {threshold: 0}", "0 is out of range; u of CLP");
    refused("guard: {worker: {memory: 1K}}", "1K is out of range");
    refused("models: /a\nmodels: /b\n", "clpd.yaml:2: 'models' is here for the second time");
    refused("socket: {group: \"a:b\"}", "can't be the name of a group");
    char text[512] = "socket: {path: /";
    memset(text + strlen(text), 'x', 107);
    strcat(text, "}");
    refused(text, "is longer than 107 bytes");
}

static void policies_of_single_models(void) {
    struct config c;
    struct err e = {0};
    /* The general policy is inherited wherever it stands. */
    static const char text[] =
        "guard:\n  overrides:\n    signs: {threshold: 2.5, on_excess: reject}\n    b.2:\n"
        "  max_pruned: 0.5\n  statistic: median-mad\n  signature_key: models.pem\n";
    CU_ASSERT_EQUAL(parse(&c, text, &e), 0);
    if (e.code) fprintf(stderr, "\n  %s\n", e.text);
    CU_ASSERT_EQUAL(c.n_overrides, 2);
    const struct policy *p = config_policy(&c, "signs");
    CU_ASSERT_EQUAL(p->threshold, 2.5f);
    CU_ASSERT_EQUAL(p->on_excess, POLICY_REJECT);
    CU_ASSERT_EQUAL(p->max_pruned, 0.5f);
    CU_ASSERT_STRING_EQUAL(p->signature_key, "models.pem");
    CU_ASSERT_TRUE(same_policy(config_policy(&c, "b.2"), &c.policy));
    CU_ASSERT_PTR_EQUAL(config_policy(&c, "other"), &c.policy);
    char *printed = print(&c);
    CU_ASSERT_PTR_NOT_NULL(strstr(printed, "# guard.overrides: signs:\n#   threshold: 2.5\n"));
    free(printed);
    refused("guard: {overrides: {signs: {treshold: 3}}}", "treshold: unknown key; did you mean threshold");
    refused("guard: {overrides: {signs: {settle_ms: 30}}}", "settle_ms: unknown key");
    refused("guard: {overrides: {../x: {threshold: 3}}}", "can't be the name of a model");
    refused("guard: {overrides: {signs: 3}}", "a value stands where keys belong");
    refused("guard: {overrides: 3}", "names of models belong below it");
    refused("guard: {overrides: {a: {allowed_digests: list}}}", "does not begin with '/'");
    refused("guard: {signature_key: keys/a.pem}", "neither a path");
    refused("guard: {max_pruned: 1.5}", "1.5 is out of range");
}

static void state_stays_out_of_models(void) {
    struct config c;
    refused("models: /a\nstate: /a\n", "state (/a) lies in models (/a)");
    refused("models: /a/\nstate: //a/b/c\n", "lies in models");
    refused("models: /\n", "lies in models");
    CU_ASSERT_EQUAL(parse(&c, "models: /a/models\nstate: /a\n", NULL), 0);
    CU_ASSERT_EQUAL(parse(&c, "models: /a\nstate: /ab\n", NULL), 0);
}

static void where_http_is(void) {
    struct config c;
    char room[CONFIG_SOCKET_PATH];
    CU_ASSERT_EQUAL(parse(&c, "socket: {path: /run/x/a.sock}\n", NULL), 0);
    CU_ASSERT_STRING_EQUAL(config_http_path(&c, room), "/run/x/http.sock");
    CU_ASSERT_EQUAL(parse(&c, "http: {path: off}\n", NULL), 0);
    CU_ASSERT_STRING_EQUAL(config_http_path(&c, room), "");
    CU_ASSERT_EQUAL(parse(&c, "http: {path: /a/b.sock, listen: \"[::1]:80\"}\n", NULL), 0);
    CU_ASSERT_STRING_EQUAL(config_http_path(&c, room), "/a/b.sock");
    refused("http: {path: on}", "neither auto nor off nor an absolute path");
    refused("socket: {path: /a/http.sock}", "are the same socket");
    refused("http: {listen: \"0.0.0.0:80\"}", "put a proxy in front");
    refused("http: {listen: \"127.0.0.1:99999\"}", "is not 127.0.0.1:PORT");
    refused("http: {group: \"a b\"}", "can't be the name of a group");
    refused("http: {header_bytes: 1K}", "1K is out of range");
    char text[256] = "socket: {path: /";
    memset(text + strlen(text), 'x', 98);
    strcat(text, "/s}");
    refused(text, "auto gives a path that is too long");
}

static void files_that_are_none(void) {
    struct config c;
    struct err e = {0};
    CU_ASSERT_EQUAL(config_load(&c, "config/absent.yaml", &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_SYSTEM);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "config/absent.yaml: can't be opened: No such file"));
    CU_ASSERT_EQUAL(config_load(&c, "config", &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "not a regular file"));
    CU_ASSERT_EQUAL(config_load(&c, "/dev/zero", &e), -1);
    char dir[] = "/tmp/clpd-test-XXXXXX", path[64];
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/fifo", dir);
    CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
    CU_ASSERT_EQUAL(config_load(&c, path, &e), -1); /* and does not wait for a writer */
    unlink(path);
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    for (int i = 0; i < 1 << 16; i++) fputs("# too much text\n ", f);
    fclose(f);
    CU_ASSERT_EQUAL(config_load(&c, path, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    unlink(path);
    rmdir(dir);
}

static void mutants_do_no_harm(void) {
    static const char *const words[] = {
        "auto", "0",   "-1", "1e9",     "999999999999999999999", "true", "\"", "&a ",   "*a",
        "[",    "{",   "}",  "\n---\n", "engine:\n  ",           "16M",  ": ", "\\x00", "\xff",
        "\t",   "1/0", "/",  NULL};
    struct mutate_room room;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, 4096), 0);
    uint64_t seed = 4711;
    unsigned taken = 0;
    for (int i = 0; i < 6000; i++) {
        uint8_t b[1024];
        size_t size = sizeof odd - 1;
        memcpy(b, odd, size);
        for (size_t k = 1 + mutate_below(&seed, 3); k > 0; k--)
            size = mutate_once(b, size, sizeof b, words, &seed);
        struct config c, back;
        struct err e = {0};
        if (config_parse(&c, "m.yaml", mutate_room_put(&room, b, size), size, &e)) {
            CU_ASSERT_TRUE(e.code != ERR_NONE && strncmp(e.text, "m.yaml:", 7) == 0);
            continue;
        }
        taken++;
        char *text = print(&c);
        CU_ASSERT_TRUE(parse(&back, text, &e) == 0 && same(&c, &back));
        free(text);
    }
    CU_ASSERT_TRUE(taken > 100 && taken < 5900); /* both ways are walked */
    mutate_room_close(&room);
}

static void note_difference(void *arg, const char *key) {
    char *all = arg;
    (void)snprintf(all + strlen(all), 256 - strlen(all), "%s ", key);
}

static void what_differs(void) {
    struct config a, b;
    char all[256] = "";
    config_defaults(&a);
    config_defaults(&b);
    config_differences(&a, &b, note_difference, all);
    CU_ASSERT_STRING_EQUAL(all, "");
    strcpy(b.models, "/elsewhere");
    b.models[40] = 'x'; /* behind the end of a text */
    b.engine_pin = !b.engine_pin;
    b.policy.threshold = 2;
    b.http_threads++;
    config_differences(&a, &b, note_difference, all);
    CU_ASSERT_STRING_EQUAL(all, "models engine.pin http.threads guard.threshold ");
}

SUITE(config, {"the defaults are those promised", defaults_are_those_promised},
      {"clpd.yaml is the defaults", example_is_the_defaults},
      {"clpd.yaml has every key of the table", example_has_every_key},
      {"every key is read, printed and read back", every_key_is_read_and_printed},
      {"mistakes have line, key, meaning and range", mistakes_have_words},
      {"what differs from one to another", what_differs},
      {"policies of single models", policies_of_single_models},
      {"state may not lie in models", state_stays_out_of_models}, {"where HTTP is", where_http_is},
      {"absent, folder, FIFO, too large", files_that_are_none},
      {"6000 mutants do no harm and print back", mutants_do_no_harm});
