/* From settings to files, and from a report to a decision. */
#include "guard/policy.h"

#include "guard/canary.h"

#include "infer/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE ((size_t)16 << 20)

/* What one policy's files hold. */
struct trust {
    struct trust_keys keys;
    struct trust_digests digests;
    struct err keys_err, digests_err;
};

struct policies {
    const struct config *config;
    struct trust general, of[CONFIG_OVERRIDES];
    uint64_t digest;
};

/* --- one number for all of it ------------------------------------------------------------------ */

#define START UINT64_C(0xcbf29ce484222325)

/* FNV-1a: not against attackers (these are the operator's own words), only against chance. */
static uint64_t mix(uint64_t h, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t mix_policy(uint64_t h, const struct policy *p, const struct trust *t) {
    h = mix(h, &p->threshold, sizeof p->threshold);
    h = mix(h, &p->statistic, sizeof p->statistic);
    h = mix(h, &p->max_pruned, sizeof p->max_pruned);
    h = mix(h, &p->on_excess, sizeof p->on_excess);
    h = mix(h, &p->min_agreement, sizeof p->min_agreement);
    h = mix(h, &p->on_disagreement, sizeof p->on_disagreement);
    h = mix(h, &p->on_inapplicable, sizeof p->on_inapplicable);
    h = mix(h, p->allowed_digests, strlen(p->allowed_digests) + 1);
    h = mix(h, p->signature_key, strlen(p->signature_key) + 1);
    h = mix(h, t->keys.key, t->keys.n * sizeof t->keys.key[0]);
    return mix(h, t->digests.list, t->digests.n * sizeof *t->digests.list);
}

static uint64_t mix_all(const struct policies *p) {
    const struct config *c = p->config;
    uint64_t h = mix_policy(START, &c->policy, &p->general);
    h = mix(h, &c->sidecar, sizeof c->sidecar);
    for (uint32_t i = 0; i < c->n_overrides; i++) {
        h = mix(h, c->overrides[i].model, strlen(c->overrides[i].model) + 1);
        h = mix_policy(h, &c->overrides[i].policy, &p->of[i]);
    }
    return h;
}

uint64_t policies_digest(const struct policies *p) {
    return p->digest;
}

bool policy_bf16(const struct config *c) {
    return c->engine_precision == PRECISION_BF16 && image_bf16_pays();
}

uint64_t policy_build(const struct config *c) {
    const uint32_t made[] = {IMAGE_VERSION, (uint32_t)image_host_isa_for(policy_bf16(c))};
    return mix(mix(START, made, sizeof made), CLPD_VERSION, sizeof CLPD_VERSION);
}

/* --- the files that a policy names --------------------------------------------------------------- */

/* All of a regular file; NULL with `e` set. */
static uint8_t *read_all(const char *path, size_t *size, struct err *e) {
    struct stat st;
    uint8_t *bytes = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        (void)err_set(e, ERR_SYSTEM, "%s: %s", path, strerror(errno));
        return NULL;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0 || (size_t)st.st_size > MAX_FILE)
        (void)err_set(e, ERR_VALUE, "%s: not a regular file of at most %zu bytes", path, MAX_FILE);
    else if (!(bytes = malloc((size_t)st.st_size + 1)))
        (void)err_set(e, ERR_SYSTEM, "%s: out of memory", path);
    *size = 0;
    for (ssize_t n = 1; bytes && n > 0 && *size<(size_t)st.st_size; *size += n> 0 ? (size_t)n : 0) {
        n = read(fd, bytes + *size, (size_t)st.st_size - *size);
        if (n >= 0 || errno == EINTR) continue;
        (void)err_set(e, ERR_SYSTEM, "%s: %s", path, strerror(errno));
        free(bytes);
        bytes = NULL;
    }
    (void)close(fd);
    return bytes;
}

/* A bare name is a credential of the unit (systemd.exec(5)). */
static int key_path(const char *said, char path[CONFIG_PATH * 2], struct err *e) {
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    if (said[0] == '/')
        (void)snprintf(path, CONFIG_PATH * 2, "%s", said);
    else if (credentials && strlen(credentials) < CONFIG_PATH)
        (void)snprintf(path, CONFIG_PATH * 2, "%s/%s", credentials, said);
    else
        return err_set(e, ERR_VALUE,
                       "%s: clpd was given no credentials; add LoadCredential=%s:PATH to its unit, or "
                       "name a path",
                       said, said);
    return 0;
}

static void load(const struct policy *p, struct trust *t, struct err *first) {
    char path[CONFIG_PATH * 2];
    uint8_t *bytes;
    size_t n;
    if (p->signature_key[0] && key_path(p->signature_key, path, &t->keys_err) == 0 &&
        (bytes = read_all(path, &n, &t->keys_err))) {
        if (trust_read_keys(bytes, n, &t->keys, &t->keys_err) < 0) (void)err_prefix(&t->keys_err, "%s", path);
        free(bytes);
    }
    if (p->allowed_digests[0] && (bytes = read_all(p->allowed_digests, &n, &t->digests_err))) {
        (void)trust_read_digests(p->allowed_digests, bytes, n, &t->digests, &t->digests_err);
        free(bytes);
    }
    if (first->code == ERR_NONE) *first = t->keys_err.code ? t->keys_err : t->digests_err;
}

struct policies *policies_load(const struct config *c, struct err *e) {
    struct policies *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->config = c;
    load(&c->policy, &p->general, e);
    for (uint32_t i = 0; i < c->n_overrides; i++) load(&c->overrides[i].policy, &p->of[i], e);
    p->digest = mix_all(p);
    return p;
}

void policies_free(struct policies *p) {
    if (!p) return;
    trust_free_digests(&p->general.digests);
    for (int i = 0; i < CONFIG_OVERRIDES; i++) trust_free_digests(&p->of[i].digests);
    free(p);
}

const struct policy *policies_of(const struct policies *p, const char *model) {
    return config_policy(p->config, model);
}

enum policy_probe policies_probe(const struct policies *p, const char *model, uint32_t asked) {
    const enum policy_probe own = (enum policy_probe)policies_of(p, model)->probe;
    if (asked == 0 || p->config->sidecar == SIDECAR_NOTHING) return own;
    const enum policy_probe wanted = (enum policy_probe)(asked - 1);
    return p->config->sidecar == SIDECAR_ANYTHING || wanted > own ? wanted : own;
}

static const struct trust *trust_of(const struct policies *p, const char *model) {
    for (uint32_t i = 0; i < p->config->n_overrides; i++)
        if (strcmp(p->config->overrides[i].model, model) == 0) return &p->of[i];
    return &p->general;
}

/* --- by the bytes --------------------------------------------------------------------------------- */

static int read_signature(int folder, const char *name, uint8_t out[TRUST_SIGNATURE], struct err *e) {
    char path[512];
    uint8_t bytes[TRUST_SIGNATURE + 1];
    (void)snprintf(path, sizeof path, "%.255s.sig", name);
    const int fd = openat(folder, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(e, ERR_VALUE,
                       "it has no signature that could be read (%s: %s); guard.signature_key asks for one",
                       path, strerror(errno));
    const ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    (void)close(fd);
    if (n != TRUST_SIGNATURE)
        return err_set(e, ERR_VALUE, "%s is no Ed25519 signature, which has %d bytes", path, TRUST_SIGNATURE);
    memcpy(out, bytes, TRUST_SIGNATURE);
    return 0;
}

int policies_admit(const struct policies *p, const char *model, int folder, const char *name,
                   const char *external, const char *sidecar, const struct spawn_digests *d, struct err *e) {
    const struct policy *policy = policies_of(p, model);
    const struct trust *t = trust_of(p, model);
    uint8_t signature[TRUST_SIGNATURE];
    char message[TRUST_MESSAGE];
    if (policy->allowed_digests[0] && t->digests_err.code)
        return err_set(e, ERR_VALUE, "guard.allowed_digests: %.300s; nothing is allowed until that is mended",
                       t->digests_err.text);
    if (policy->allowed_digests[0] &&
        !(trust_allows(&t->digests, d->model) && (!external || trust_allows(&t->digests, d->external))))
        return err_set(e, ERR_VALUE, "the SHA-256 of %s is not in %s (guard.allowed_digests)",
                       trust_allows(&t->digests, d->model) ? external : name, policy->allowed_digests);
    if (!policy->signature_key[0]) return 0;
    if (t->keys_err.code)
        return err_set(e, ERR_VALUE, "guard.signature_key: %.300s; nothing is allowed until that is mended",
                       t->keys_err.text);
    if (read_signature(folder, name, signature, e) < 0) return -1;
    const size_t n = trust_message(d, name, external, sidecar, message);
    if (trust_verify(&t->keys, message, n, signature)) return 0;
    return err_set(e, ERR_VALUE,
                   "%.200s.sig is no signature of these files by any key of guard.signature_key: one of "
                   "them was changed, renamed, or signed by somebody else",
                   name);
}

/* --- by the report -------------------------------------------------------------------------------- */

/* The layer that loses the largest share; -1: none loses anything. */
static int32_t worst_layer(const struct report *r, double *share) {
    int32_t worst = -1;
    *share = 0;
    for (int32_t i = 0; i < r->n_layers; i++) {
        const struct report_layer *l = &r->layers[i];
        const double s = l->channels > 0 ? (double)l->n_pruned / l->channels : 0;
        if (s <= *share) continue;
        *share = s;
        worst = i;
    }
    return worst;
}

static enum policy_action judge_agreement(const struct policy *policy, uint32_t canary, struct err *e) {
    const uint32_t samples = canary_samples(canary), agreed = canary_agreed(canary);
    if (samples == 0 || (float)agreed / (float)samples >= policy->min_agreement) return POLICY_SERVE;
    if (policy->on_disagreement == POLICY_SERVE) return POLICY_SERVE;
    (void)err_set(e, ERR_VALUE,
                  "after pruning %u of %u canary samples keep their class, fewer than a share of %g "
                  "(guard.min_agreement)",
                  agreed, samples, (double)policy->min_agreement);
    return (enum policy_action)policy->on_disagreement;
}

enum policy_action policies_judge(const struct policies *p, const char *model, const struct report *r,
                                  uint32_t canary, struct err *e) {
    const struct policy *policy = policies_of(p, model);
    double share;
    /* The worker was told both; another word for them is a lie. */
    if (r->statistic != policy->statistic || r->verdict == VERDICT_GUARD_OFF ||
        (p->config->sidecar != SIDECAR_ANYTHING && r->threshold > policy->threshold)) {
        (void)err_set(e, ERR_INTERNAL,
                      "the import worker did not measure by the policy that it was given; a file that "
                      "takes over its parser would look like this: do not use it");
        return POLICY_REJECT;
    }
    if (r->verdict == VERDICT_NOT_APPLICABLE && policy->on_inapplicable != POLICY_SERVE) {
        (void)err_set(e, ERR_VALUE,
                      "CLP has nothing to say about it: no convolution in it can be scored "
                      "(guard.on_inapplicable)");
        return (enum policy_action)policy->on_inapplicable;
    }
    const int32_t i = worst_layer(r, &share);
    if (i < 0 || share <= (double)policy->max_pruned || policy->on_excess == POLICY_SERVE)
        return judge_agreement(policy, canary, e);
    (void)err_set(e, ERR_VALUE,
                  "CLP would prune %d of %d channels of %.120s, more than %g of a layer (guard.max_pruned)",
                  r->layers[i].n_pruned, r->layers[i].channels, r->layers[i].name,
                  (double)policy->max_pruned);
    return (enum policy_action)policy->on_excess;
}
