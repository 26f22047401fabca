/* The keys of NAME.yaml. It is as hostile as the model beside it: every list is bounded before it is stored.
 */
#include "config/sidecar.h"
#include "config/keys.h"

#include <stdlib.h>
#include <string.h>

#define AT(FIELD)   KEY_AT(struct sidecar, FIELD)
#define LABEL_BYTES 255
#define LARGEST     1e6 /* of scale, mean and std: far beyond any use, and no arithmetic on them overflows */
#define SMALLEST    1e-6

static int take_labels(void *into, const struct key_place *p, struct err *e);
static int take_mean(void *into, const struct key_place *p, struct err *e);
static int take_std(void *into, const struct key_place *p, struct err *e);
static int take_order(void *into, const struct key_place *p, struct err *e);
static int take_threshold(void *into, const struct key_place *p, struct err *e);
static int take_probe(void *into, const struct key_place *p, struct err *e);

static const struct key keys[] = {
    {"labels", KEY_OWN, false, AT(labels), 0, 0, NULL, "the names of the classes, the first for class 0",
     "a list of 1 to 100000 texts of 1 to 255 bytes", NULL, take_labels},
    {"input.scale", KEY_NUMBER, false, AT(scale), SMALLEST, LARGEST, "1/255",
     "what a pixel of 0..255 is multiplied with", "a number or fraction, 1e-06..1e+06", NULL, NULL},
    {"input.mean", KEY_OWN, false, AT(mean), -LARGEST, LARGEST, NULL,
     "what is taken off each channel after scaling",
     "one number, or a list of 1, 3 or 4 in the network's channel order; -1e+06..1e+06", NULL, take_mean},
    {"input.std", KEY_OWN, false, AT(std), SMALLEST, LARGEST, NULL,
     "what each channel is divided by in the end",
     "one number, or a list of 1, 3 or 4 in the network's channel order; 1e-06..1e+06", NULL, take_std},
    {"input.channel_order", KEY_OWN, false, AT(bgr), 0, 0, NULL,
     "the order of channels that the network wants", "rgb | bgr", "rgb bgr", take_order},
    {"guard.threshold", KEY_OWN, false, AT(threshold), 0.5, 1000, NULL,
     "u of CLP for this model, in place of the daemon's", "0.5..1000", NULL, take_threshold},
    {"guard.probe", KEY_OWN, false, AT(probe), 0, 0, NULL,
     "whether this model is attacked before it is trusted, in place of the daemon's",
     "off | background | before-serving", "off background before-serving", take_probe},
};
static const struct key_table table = {keys, sizeof keys / sizeof keys[0]};

static int take_label(struct sidecar *s, const struct key_place *p, const struct yaml_tree_node *n,
                      struct err *e) {
    char word[YAML_TREE_QUOTE];
    if (n->kind != YAML_TREE_SCALAR) return keys_refuse(p, n->line, e, "label %u is not a text", s->n_labels);
    if (n->bytes == 0) return keys_refuse(p, n->line, e, "label %u is empty", s->n_labels);
    const char *text = yaml_tree_quote(word, n->text);
    if (n->bytes > LABEL_BYTES)
        return keys_refuse(p, n->line, e, "label %u, '%s', has %zu bytes", s->n_labels, text, n->bytes);
    if (!yaml_tree_is_printable(n->text))
        return keys_refuse(p, n->line, e, "label %u, '%s', has control characters in it", s->n_labels, text);
    char *copy = strdup(n->text);
    if (!copy) return err_set(e, ERR_SYSTEM, "%s: out of memory for the labels", p->name);
    s->labels[s->n_labels++] = copy;
    return 0;
}

static int take_labels(void *into, const struct key_place *p, struct err *e) {
    struct sidecar *s = into;
    const struct yaml_tree_node *list = p->node;
    if (list->kind != YAML_TREE_LIST) return keys_refuse(p, list->line, e, "this is not a list");
    if (list->n == 0) return keys_refuse(p, list->line, e, "the list is empty: leave the key out instead");
    _Static_assert(SIDECAR_MAX_LABELS <= YAML_TREE_MAX_NODES, "a list of that length must get through");
    if (list->n > SIDECAR_MAX_LABELS) return keys_refuse(p, list->line, e, "%u are too many", list->n);
    s->labels = calloc(list->n, sizeof *s->labels);
    if (!s->labels) return err_set(e, ERR_SYSTEM, "%s: out of memory for the labels", p->name);
    for (const struct yaml_tree_node *n = list->first; n; n = n->next)
        if (take_label(s, p, n, e)) return -1;
    return 0;
}

/* One number goes to all four channels; a list to as many as it has. */
static int take_channels(const struct key_place *p, float value[4], uint32_t *given, struct err *e) {
    const struct yaml_tree_node *n = p->node;
    uint32_t count = 0;
    if (n->kind == YAML_TREE_LIST) {
        if (n->n != 1 && n->n != 3 && n->n != 4)
            return keys_refuse(p, n->line, e, "a list of %u, where there are 1, 3 or 4 channels", n->n);
        for (const struct yaml_tree_node *item = n->first; item; item = item->next)
            if (keys_read_number(p, item, &value[count++], e)) return -1;
    } else {
        if (keys_read_number(p, n, &value[0], e)) return -1;
        count = 1;
    }
    if (count == 1) value[1] = value[2] = value[3] = value[0];
    *given = count;
    return 0;
}

static int take_mean(void *into, const struct key_place *p, struct err *e) {
    struct sidecar *s = into;
    return take_channels(p, s->mean, &s->n_mean, e);
}

static int take_std(void *into, const struct key_place *p, struct err *e) {
    struct sidecar *s = into;
    return take_channels(p, s->std, &s->n_std, e);
}

static int take_order(void *into, const struct key_place *p, struct err *e) {
    uint32_t order;
    if (keys_read_choice(p, &order, e)) return -1;
    ((struct sidecar *)into)->bgr = order == 1;
    return 0;
}

static int take_threshold(void *into, const struct key_place *p, struct err *e) {
    struct sidecar *s = into;
    if (keys_read_number(p, p->node, &s->threshold, e)) return -1;
    s->has_threshold = true;
    return 0;
}

static int take_probe(void *into, const struct key_place *p, struct err *e) {
    struct sidecar *s = into;
    if (keys_read_choice(p, &s->probe, e)) return -1;
    s->has_probe = true;
    return 0;
}

void sidecar_defaults(struct sidecar *s) {
    *s = (struct sidecar){.std = {1, 1, 1, 1}};
    keys_set_defaults(&table, s);
}

static int parse(struct sidecar *s, const char *name, const uint8_t *bytes, size_t size, struct err *e) {
    struct yaml_tree *tree;
    if (size > SIDECAR_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "%s: larger than %zu bytes", name, SIDECAR_MAX_BYTES);
    if (yaml_tree_read(&tree, name, bytes, size, e)) return -1;
    int rc = keys_apply(&table, name, tree, s, e);
    yaml_tree_free(tree);
    if (rc) return rc;
    if (s->n_mean > 1 && s->n_std > 1 && s->n_mean != s->n_std)
        return err_set(e, ERR_VALUE, "%s: input.mean is for %u channels and input.std for %u", name,
                       s->n_mean, s->n_std);
    return 0;
}

int sidecar_parse(struct sidecar *s, const char *name, const uint8_t *bytes, size_t size, struct err *e) {
    sidecar_defaults(s);
    if (parse(s, name, bytes, size, e) == 0) return 0;
    sidecar_free(s);
    return -1;
}

void sidecar_free(struct sidecar *s) {
    for (uint32_t i = 0; i < s->n_labels; i++) free(s->labels[i]);
    free(s->labels);
    sidecar_defaults(s);
}
