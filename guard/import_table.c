/* The operator table: finding an operator's row, and holding a node's attributes against it. */
#include "guard/import_private.h"

#include <string.h>

static const struct import_row *const families[] = {
    import_rows_window, import_rows_elementwise, import_rows_norm,   import_rows_shape,
    import_rows_matrix, import_rows_function,    import_rows_pair,   import_rows_reduce,
    import_rows_move,   import_rows_space,       import_rows_resize, import_rows_quantize,
    evaluate_rows,      evaluate_rows_scatter,
};
#define FAMILIES (sizeof families / sizeof *families)

int import_find_rows(struct importer *im, struct err *e) {
    size_t n = 0;
    for (size_t f = 0; f < FAMILIES; f++)
        for (const struct import_row *r = families[f]; r->name; r++) n++;
    im->rows = bump_array(&im->memory, n, sizeof(struct import_row *));
    if (!im->rows || names_init(&im->row_names, n, &im->memory)) return import_out_of_memory(e);
    int32_t at = 0;
    for (size_t f = 0; f < FAMILIES; f++)
        for (const struct import_row *r = families[f]; r->name; r++) {
            im->rows[at] = r;
            (void)names_add(&im->row_names, (struct text){r->name, strlen(r->name)}, at++);
        }
    return 0;
}

static const struct import_row *find_row(const struct importer *im, const struct onnx_node *node,
                                         struct err *e) {
    const int32_t first = names_find(&im->row_names, node->op_type);
    if (first < 0) {
        (void)err_set(e, ERR_UNSUPPORTED,
                      "this operator is not supported; docs/operators.md lists those that are");
        return NULL;
    }
    for (const struct import_row *r = im->rows[first]; r->name && text_is(node->op_type, r->name); r++)
        if (im->opset >= r->since && im->opset <= r->until) return r;
    (void)err_set(e, ERR_UNSUPPORTED, "this operator is not part of operator set %lld", (long long)im->opset);
    return NULL;
}

static const struct {
    char letter;
    int32_t kind;
    const char *name;
} kinds[] = {
    {'i', ATTR_INT, "an int"},          {'f', ATTR_FLOAT, "a float"},
    {'s', ATTR_STRING, "a string"},     {'t', ATTR_TENSOR, "a tensor"},
    {'I', ATTR_INTS, "a list of ints"}, {'F', ATTR_FLOATS, "a list of floats"},
    {'-', ATTR_GRAPH, "a graph"},       {'-', ATTR_STRINGS, "a list of strings"},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static const char *kind_name(int32_t kind) {
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].kind == kind) return kinds[i].name;
    return "of no accepted kind";
}

/* The kind that the row gives the attribute `name`, or ATTR_NONE. */
static int32_t specified_kind(const char *spec, struct text name) {
    for (const char *at = spec; *at;) {
        const char *colon = strchr(at, ':');
        if (!colon) break; /* never: the table is ours */
        if (text_equal(name, (struct text){at, (size_t)(colon - at)}))
            for (size_t i = 0; i < KINDS; i++)
                if (kinds[i].letter == colon[1]) return kinds[i].kind;
        at = colon[2] ? colon + 3 : colon + 2;
    }
    return ATTR_NONE;
}

/* "axis:i pads:I" as "axis pads". */
static const char *list_attributes(const char *spec, char *buf, size_t cap) {
    size_t n = 0;
    for (const char *at = spec; *at && n + 1 < cap; at++)
        if (*at == ':' && at[1])
            at++;
        else
            buf[n++] = *at;
    buf[n] = 0;
    return n ? buf : "none";
}

static int check_attribute(const struct import_row *row, const struct onnx_attribute *a, struct err *e) {
    const int32_t kind = specified_kind(row->attributes, a->name);
    if (a->is_reference)
        return err_set(e, ERR_UNSUPPORTED,
                       "attribute '%.*s' refers to a function's; functions are not accepted",
                       TEXT_ARGS(a->name));
    char known[256];
    if (kind == ATTR_NONE)
        return err_set(e, ERR_UNSUPPORTED, "attribute '%.*s' is not known; this operator may have: %s",
                       TEXT_ARGS(a->name), list_attributes(row->attributes, known, sizeof known));
    if (a->kind != kind)
        return err_set(e, ERR_FORMAT, "attribute '%.*s' is %s; it must be %s", TEXT_ARGS(a->name),
                       kind_name(a->kind), kind_name(kind));
    /* proto3 writers leave out zeros: an int of 0 may come as the type alone. */
    if (a->present & ~(1u << kind))
        return err_set(e, ERR_FORMAT, "attribute '%.*s' holds several values; it must be %s",
                       TEXT_ARGS(a->name), kind_name(kind));
    if (kind == ATTR_TENSOR && !a->present)
        return err_set(e, ERR_FORMAT, "attribute '%.*s' holds no tensor", TEXT_ARGS(a->name));
    return 0;
}

static int check_domain(const struct onnx_node *node, struct err *e) {
    if (node->domain.n == 0 || text_is(node->domain, "ai.onnx")) return 0;
    return err_set(
        e, ERR_UNSUPPORTED,
        "this operator is of the domain '%.*s'; only ONNX's own operators (domain 'ai.onnx') are accepted",
        TEXT_ARGS(node->domain));
}

static int check_subgraph(const struct onnx_node *node, struct err *e) {
    for (int32_t i = 0; i < node->n_attributes; i++) {
        const struct onnx_attribute *a = &node->attributes[i];
        if (a->present & (1u << ATTR_GRAPH | 1u << ATTR_GRAPHS) || a->kind == ATTR_GRAPH ||
            a->kind == ATTR_GRAPHS)
            return err_set(
                e, ERR_UNSUPPORTED,
                "attribute '%.*s' is a sub-graph; If, Loop and Scan are not accepted, only networks "
                "without control flow (export by tracing)",
                TEXT_ARGS(a->name));
    }
    return 0;
}

static int check_inputs(const struct import_row *row, const struct onnx_node *node, struct err *e) {
    int32_t n = node->n_inputs;
    while (n > 0 && node->inputs[n - 1].n == 0) n--;
    if (n < row->min_inputs || n > row->max_inputs)
        return err_set(e, ERR_FORMAT, "it has %d inputs; accepted are %d to %d", n, row->min_inputs,
                       row->max_inputs);
    for (int32_t i = 0; i < row->min_inputs; i++)
        if (node->inputs[i].n == 0) return err_set(e, ERR_FORMAT, "its input %d is missing", i);
    return 0;
}

const struct import_row *import_match_row(const struct importer *im, const struct onnx_node *node,
                                          struct err *e) {
    if (check_domain(node, e) || check_subgraph(node, e)) return NULL;
    const struct import_row *row = find_row(im, node, e);
    if (!row || check_inputs(row, node, e)) return NULL;
    for (int32_t i = 0; i < node->n_attributes; i++) {
        if (check_attribute(row, &node->attributes[i], e)) return NULL;
        for (int32_t j = 0; j < i; j++)
            if (text_equal(node->attributes[i].name, node->attributes[j].name)) {
                (void)err_set(e, ERR_FORMAT, "attribute '%.*s' is given twice",
                              TEXT_ARGS(node->attributes[i].name));
                return NULL;
            }
    }
    return row;
}
