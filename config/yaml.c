/* libyaml's events to a bounded tree: what is not wanted is refused at the event where it shows.
 *
 *   bytes -> libyaml -> event -> take_event -> tree
 *
 * The tree is built with a stack of YAML_TREE_MAX_DEPTH open collections, so
 * that depth costs nothing here and libyaml reads no deeper than that. */
#include "config/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define BLOCK_BYTES ((size_t)16 << 10)

struct block { /* memory of the tree, freed as a whole */
    struct block *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

struct yaml_tree {
    struct block *blocks;
    struct yaml_tree_node *root;
};

struct open { /* a list or map that has begun and not ended */
    struct yaml_tree_node *node, *last;
};

struct builder {
    struct yaml_tree *tree;
    const char *name;
    struct err *e;
    struct open stack[YAML_TREE_MAX_DEPTH];
    unsigned depth, nodes, documents;
    const char *key; /* read, its value still to come */
    uint32_t key_line;
    bool done;
};

/* --- memory -------------------------------------------------------------------- */

static void *take_memory(struct yaml_tree *t, size_t bytes) {
    size_t want = (bytes + 15) & ~(size_t)15;
    struct block *b = t->blocks;
    if (!b || b->size - b->used < want) {
        size_t size = want > BLOCK_BYTES ? want : BLOCK_BYTES;
        b = malloc(sizeof *b + size);
        if (!b) return NULL;
        *b = (struct block){.next = t->blocks, .size = size};
        t->blocks = b;
    }
    void *p = b->bytes + b->used;
    b->used += want;
    return p;
}

void yaml_tree_free(struct yaml_tree *t) {
    if (!t) return;
    for (struct block *b = t->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(t);
}

/* --- messages ------------------------------------------------------------------ */

static uint32_t line_of(const yaml_mark_t *m) {
    return m->line < UINT32_MAX ? (uint32_t)m->line + 1 : UINT32_MAX;
}

__attribute__((format(printf, 4, 5))) static int refuse(struct builder *b, uint32_t line, enum err_code code,
                                                        const char *fmt, ...) {
    char what[ERR_TEXT];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return err_set(b->e, code, "%s:%u: %s", b->name, line, what);
}

static int refuse_memory(struct builder *b) {
    return err_set(b->e, ERR_SYSTEM, "%s: out of memory while reading it", b->name);
}

/* Decodes one character of valid UTF-8 and returns its length; 0 where it is not valid. */
static size_t decode(const char *text, uint32_t *c) {
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
    if (n == 0) return 0;
    *c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        *c = *c << 6 | (s[i] & 0x3f);
    }
    return n;
}

static bool is_printable(uint32_t c) {
    return c >= 0x20 && (c < 0x7f || c > 0x9f) && c != 0x2028 && c != 0x2029 && c != 0xfeff &&
           (c & 0xfffe) != 0xfffe;
}

bool yaml_tree_is_printable(const char *text) {
    uint32_t c;
    for (size_t n; *text; text += n) {
        n = decode(text, &c);
        if (n == 0 || !is_printable(c)) return false;
    }
    return true;
}

const char *yaml_tree_quote(char room[YAML_TREE_QUOTE], const char *text) {
    const size_t most = YAML_TREE_QUOTE - 8;
    size_t used = 0;
    uint32_t c;
    for (size_t n; *text; text += n) {
        n = decode(text, &c);
        bool good = n > 0 && is_printable(c);
        if (n == 0) n = 1;
        if (used + (good ? n : 1) > most) {
            memcpy(room + used, "...", 3);
            used += 3;
            break;
        }
        if (good)
            memcpy(room + used, text, n);
        else
            room[used] = '?';
        used += good ? n : 1;
    }
    room[used] = 0;
    return room;
}

/* --- nodes --------------------------------------------------------------------- */

static char *copy_text(struct builder *b, const yaml_event_t *ev) {
    size_t n = ev->data.scalar.length;
    uint32_t line = line_of(&ev->start_mark);
    if (memchr(ev->data.scalar.value, 0, n)) {
        refuse(b, line, ERR_VALUE, "a text with a NUL character in it");
        return NULL;
    }
    char *s = take_memory(b->tree, n + 1);
    if (!s) {
        refuse_memory(b);
        return NULL;
    }
    memcpy(s, ev->data.scalar.value, n);
    s[n] = 0;
    return s;
}

static int count_node(struct builder *b, uint32_t line) {
    if (++b->nodes <= YAML_TREE_MAX_NODES) return 0;
    return refuse(b, line, ERR_LIMIT, "more than %d keys and values in one file", YAML_TREE_MAX_NODES);
}

static bool expects_key(const struct builder *b) {
    return b->depth > 0 && b->stack[b->depth - 1].node->kind == YAML_TREE_MAP && !b->key;
}

static int take_key(struct builder *b, const yaml_event_t *ev) {
    uint32_t line = line_of(&ev->start_mark);
    struct yaml_tree_node *map = b->stack[b->depth - 1].node;
    char word[YAML_TREE_QUOTE];
    if (ev->type != YAML_SCALAR_EVENT)
        return refuse(b, line, ERR_UNSUPPORTED, "a key has to be one word, not a list or a mapping");
    if (map->n >= YAML_TREE_MAX_KEYS)
        return refuse(b, line, ERR_LIMIT, "more than %d keys in one mapping", YAML_TREE_MAX_KEYS);
    if (count_node(b, line)) return -1;
    char *key = copy_text(b, ev);
    if (!key) return -1;
    for (const struct yaml_tree_node *n = map->first; n; n = n->next)
        if (strcmp(n->key, key) == 0)
            return refuse(b, line, ERR_FORMAT, "'%s' is here for the second time (the first is in line %u)",
                          yaml_tree_quote(word, key), n->key_line);
    b->key = key;
    b->key_line = line;
    return 0;
}

/* A new node where the document has come to; NULL with the error set. */
static struct yaml_tree_node *add_node(struct builder *b, enum yaml_tree_kind kind, uint32_t line) {
    if (count_node(b, line)) return NULL;
    struct yaml_tree_node *n = take_memory(b->tree, sizeof *n);
    if (!n) {
        refuse_memory(b);
        return NULL;
    }
    *n = (struct yaml_tree_node){
        .kind = kind, .line = line, .key = b->key, .key_line = b->key ? b->key_line : line};
    b->key = NULL;
    if (b->depth == 0) {
        b->tree->root = n;
        return n;
    }
    struct open *o = &b->stack[b->depth - 1];
    *(o->last ? &o->last->next : &o->node->first) = n;
    o->last = n;
    o->node->n++;
    return n;
}

static int open_collection(struct builder *b, enum yaml_tree_kind kind, uint32_t line) {
    if (b->depth == YAML_TREE_MAX_DEPTH)
        return refuse(b, line, ERR_LIMIT, "nested more than %d deep", YAML_TREE_MAX_DEPTH);
    struct yaml_tree_node *n = add_node(b, kind, line);
    if (!n) return -1;
    b->stack[b->depth++] = (struct open){.node = n};
    return 0;
}

static int take_scalar(struct builder *b, const yaml_event_t *ev) {
    char *text = copy_text(b, ev);
    if (!text) return -1;
    struct yaml_tree_node *n = add_node(b, YAML_TREE_SCALAR, line_of(&ev->start_mark));
    if (!n) return -1;
    n->text = text;
    n->bytes = ev->data.scalar.length;
    n->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return 0;
}

/* --- events -------------------------------------------------------------------- */

static int refuse_decoration(struct builder *b, uint32_t line, const yaml_char_t *anchor,
                             const yaml_char_t *tag) {
    char word[YAML_TREE_QUOTE];
    if (anchor)
        return refuse(b, line, ERR_UNSUPPORTED,
                      "anchors and aliases are not taken ('&%s'): write the value out",
                      yaml_tree_quote(word, (const char *)anchor));
    if (tag)
        return refuse(b, line, ERR_UNSUPPORTED, "tags are not taken ('%s'): every key has its type already",
                      yaml_tree_quote(word, (const char *)tag));
    return 0;
}

static int start_document(struct builder *b, const yaml_event_t *ev) {
    uint32_t line = line_of(&ev->start_mark);
    if (b->documents++ == 0) return 0;
    return refuse(b, line, ERR_UNSUPPORTED, "a second document begins here: only one is taken");
}

static int take_event(struct builder *b, const yaml_event_t *ev) {
    uint32_t line = line_of(&ev->start_mark);
    char word[YAML_TREE_QUOTE];
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT: return start_document(b, ev);
    case YAML_ALIAS_EVENT:
        return refuse(b, line, ERR_UNSUPPORTED,
                      "anchors and aliases are not taken ('*%s'): write the value out",
                      yaml_tree_quote(word, (const char *)ev->data.alias.anchor));
    case YAML_SCALAR_EVENT:
        if (refuse_decoration(b, line, ev->data.scalar.anchor, ev->data.scalar.tag)) return -1;
        return expects_key(b) ? take_key(b, ev) : take_scalar(b, ev);
    case YAML_SEQUENCE_START_EVENT:
        if (refuse_decoration(b, line, ev->data.sequence_start.anchor, ev->data.sequence_start.tag))
            return -1;
        return expects_key(b) ? take_key(b, ev) : open_collection(b, YAML_TREE_LIST, line);
    case YAML_MAPPING_START_EVENT:
        if (refuse_decoration(b, line, ev->data.mapping_start.anchor, ev->data.mapping_start.tag)) return -1;
        return expects_key(b) ? take_key(b, ev) : open_collection(b, YAML_TREE_MAP, line);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: b->depth--; return 0;
    case YAML_STREAM_END_EVENT: b->done = true; return 0;
    default: return 0;
    }
}

/* --- what libyaml itself refuses ------------------------------------------------- */

static uint32_t line_at(const uint8_t *bytes, size_t size, size_t offset) {
    uint32_t line = 1;
    for (size_t i = 0; i < size && i < offset; i++) line += bytes[i] == '\n';
    return line;
}

static bool line_begins_with_tab(const uint8_t *bytes, size_t size, uint32_t line) {
    size_t i = 0;
    for (uint32_t at = 1; i < size && at < line; i++) at += bytes[i] == '\n';
    while (i < size && bytes[i] == ' ') i++;
    return i < size && bytes[i] == '\t';
}

static int refuse_syntax(struct builder *b, const yaml_parser_t *p, const uint8_t *bytes, size_t size) {
    if (p->error == YAML_MEMORY_ERROR) return refuse_memory(b);
    const char *problem = p->problem ? p->problem : "it can't be read";
    if (p->error == YAML_READER_ERROR)
        return refuse(b, line_at(bytes, size, p->problem_offset), ERR_FORMAT, "not YAML in UTF-8: %s",
                      problem);
    uint32_t line = line_of(&p->problem_mark);
    const char *hint =
        line_begins_with_tab(bytes, size, line) ? "; indent with spaces, tabs are not YAML" : "";
    if (p->context)
        return refuse(b, line, ERR_FORMAT, "not YAML: %s, %s that began in line %u%s", problem, p->context,
                      line_of(&p->context_mark), hint);
    return refuse(b, line, ERR_FORMAT, "not YAML: %s%s", problem, hint);
}

/* Where a line begins with %TAG; `size`: none does. libyaml reads all such lines of
 * a document, each compared with all before it, ere it tells of any: 8 MB of them
 * would keep it busy for many minutes. Lines end with CR, LF, NEL, LS or PS. */
static size_t find_tag_directive(const uint8_t *bytes, size_t size) {
    const uint8_t *end = bytes + size;
    for (const uint8_t *p = bytes; size && (p = memchr(p, '%', (size_t)(end - p))) != NULL; p++) {
        const bool first =
            p == bytes || p[-1] == '\n' || p[-1] == '\r' || p[-1] == 0x85 || p[-1] == 0xa8 || p[-1] == 0xa9;
        if (first && end - p >= 4 && memcmp(p, "%TAG", 4) == 0) return (size_t)(p - bytes);
    }
    return size;
}

int yaml_tree_read(struct yaml_tree **out, const char *name, const uint8_t *bytes, size_t size,
                   struct err *e) {
    struct builder b = {.name = name, .e = e};
    yaml_parser_t parser;
    const size_t tag = find_tag_directive(bytes, size);
    if (tag < size)
        return refuse(&b, line_at(bytes, size, tag), ERR_UNSUPPORTED, "tags are not taken (%%TAG)");
    b.tree = calloc(1, sizeof *b.tree);
    if (!b.tree || !yaml_parser_initialize(&parser)) {
        free(b.tree);
        return refuse_memory(&b);
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING); /* or a byte order mark would switch to UTF-16 */
    yaml_parser_set_input_string(&parser, size ? bytes : (const uint8_t *)"", size);
    int rc = 0;
    while (rc == 0 && !b.done) {
        yaml_event_t ev;
        if (yaml_parser_parse(&parser, &ev)) {
            rc = take_event(&b, &ev);
            yaml_event_delete(&ev);
        } else {
            rc = refuse_syntax(&b, &parser, bytes, size);
        }
    }
    yaml_parser_delete(&parser);
    if (rc == 0)
        *out = b.tree;
    else
        yaml_tree_free(b.tree);
    return rc;
}

const struct yaml_tree_node *yaml_tree_root(const struct yaml_tree *t) {
    return t->root;
}

bool yaml_tree_is_empty(const struct yaml_tree_node *n) {
    return n->kind == YAML_TREE_SCALAR && !n->quoted && n->bytes == 0;
}
