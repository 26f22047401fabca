/* Runs one case, in a process that ends with it: nothing is freed here.
 *
 *   model as it came -> refused? adapted: its integer inputs bound -> refused? all but the first float bound
 *                    -> image -> engine -> compare
 *
 * Binding writes an input into the file as an initializer. The cases of single
 * operators bring axes, shapes and weights as inputs; in a network these are
 * constants, and the importer rightly asks for that. Operator sets before 7 are
 * older than what is accepted; most of their operators are those of 7 (what is
 * not has other attributes, which the importer refuses). Comparisons answer with
 * truth, networks with floats: there a Cast is put behind. */
#include "guard/spawn.h"
#include "infer/engine.h"
#include "tests/conformance/conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct input {
    struct text name;
    struct bytes file;
    struct tensor *t; /* NULL: no tensor of numbers */
    bool bound;
};

struct run {
    const struct test_case *c;
    const char *guard;
    struct bytes file;
    struct onnx_model *model; /* NULL: the reader refused it */
    struct onnx_model pieces; /* memory of the tensors that are read on their own */
    struct tensor_memory memory;
    struct input inputs[CASE_INPUTS];
    struct tensor *want[CASE_OUTPUTS];
    int n_inputs, n_outputs, n_floats, n_integers;
    bool adapted, raised, cast;
    char unfit[ERR_TEXT]; /* why its inputs can't be fed; empty: they can */
    struct outcome *out;
};

static void conclude(struct run *r, enum result result, const char *reason) {
    r->out->result = result;
    (void)snprintf(r->out->reason, sizeof r->out->reason, "%s", reason);
}

/* --- reading ------------------------------------------------------------------------------ */

/* The k-th graph input that is no initializer (up to IR 3 those are listed too); NULL: none. */
static const struct onnx_value_info *find_input(const struct onnx_model *m, int k) {
    for (int32_t i = 0; m && i < m->n_inputs; i++) {
        bool taken = false;
        for (int32_t j = 0; j < m->n_initializers && !taken; j++)
            taken = text_equal(m->initializers[j].name, m->inputs[i].name);
        if (!taken && k-- == 0) return &m->inputs[i];
    }
    return NULL;
}

static bool find_file(const struct run *r, const char *kind, int k, char path[PATH_MAX]) {
    const int n = snprintf(path, PATH_MAX, "%s/%s_%d.pb", r->c->data, kind, k);
    return n < PATH_MAX && access(path, F_OK) == 0;
}

static void declare(struct run *r, const struct onnx_value_info *v, struct onnx_value_type *t) {
    *t = (struct onnx_value_type){0};
    if (v && onnx_value_type_read(r->model, v->type, t, NULL)) *t = (struct onnx_value_type){0};
}

/* A few cases come with data of another shape than their model declares. */
static bool has_shape(const struct onnx_value_type *declared, const struct tensor *t) {
    if (!declared->has_shape) return true;
    if (declared->rank != t->shape.rank) return false;
    for (int32_t i = 0; i < t->shape.rank && i < SHAPE_MAX_RANK; i++)
        if (declared->dims[i].value && declared->dims[i].value != t->shape.dim[i]) return false;
    return true;
}

static int read_input(struct run *r, const char *path, int k, struct err *e) {
    struct input *in = &r->inputs[r->n_inputs++];
    struct err why = {0};
    struct onnx_value_type declared;
    const struct onnx_value_info *v = find_input(r->model, k);
    if (read_bytes(path, &in->file, e)) return -1;
    declare(r, v, &declared);
    if (v) in->name = v->name;
    in->t = read_tensor(&r->memory, &r->pieces, in->file, declared.elem_type, &why);
    if (v && !declared.is_tensor)
        (void)snprintf(r->unfit, sizeof r->unfit,
                       "one of its inputs is no tensor (a sequence, an optional value)");
    else if (!in->t)
        memcpy(r->unfit, why.text, sizeof why.text);
    else if (!v)
        (void)snprintf(r->unfit, sizeof r->unfit, "it comes with more inputs than its model has");
    else if (!has_shape(&declared, in->t))
        (void)snprintf(r->unfit, sizeof r->unfit, "its data have another shape than its model declares");
    r->n_floats += in->t && in->t->f;
    r->n_integers += in->t && in->t->i;
    return 0;
}

static void read_output(struct run *r, const char *path, int k) {
    struct err e = {0};
    struct bytes file;
    struct onnx_value_type declared;
    declare(r, r->model && k < r->model->n_outputs ? &r->model->outputs[k] : NULL, &declared);
    if (read_bytes(path, &file, &e) == 0)
        r->want[r->n_outputs++] = read_tensor(&r->memory, &r->pieces, file, declared.elem_type, &e);
}

static int read_data(struct run *r, struct err *e) {
    char path[PATH_MAX];
    if (r->c->made_input) {
        read_output(r, r->c->data, 0);
        return 0;
    }
    for (int k = 0; k < CASE_INPUTS && find_file(r, "input", k, path); k++)
        if (read_input(r, path, k, e)) return -1;
    for (int k = 0; k < CASE_OUTPUTS && find_file(r, "output", k, path); k++) read_output(r, path, k);
    return 0;
}

/* --- importing ------------------------------------------------------------------------------ */

/* The worker gets a file of its own, read-only, as it would from the guard. */
static int make_file(const struct bytes *b) {
    char path[64];
    const int memory = memfd_create("model", MFD_CLOEXEC);
    size_t done = 0;
    while (memory >= 0 && done < b->n) {
        const ssize_t n = write(memory, b->at + done, b->n - done);
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    (void)close(memory);
    return fd;
}

static bool import_case(const struct run *r, struct bytes model, struct spawn_result *out) {
    struct spawn_request q;
    spawn_defaults(&q);
    q.guard_path = r->guard;
    q.guard_off = true;
    q.model_fd = make_file(&model);
    q.label = r->c->name;
    const bool fine = spawn_run(&q, out) == 0;
    (void)close(q.model_fd);
    return fine;
}

/* The model with more of its inputs bound: all integers, and `floats` or not all floats but the first. */
static struct bytes adapt(struct run *r, bool floats) {
    struct bytes b = {malloc(r->file.n), r->file.n};
    bool first = true;
    if (!b.at) abort();
    memcpy(b.at, r->file.at, b.n);
    r->raised = raise_opset(b);
    const int truths = cast_truth(&b);
    if (truths < 0) abort();
    r->cast = truths > 0;
    for (int i = 0; i < r->n_inputs; i++) {
        struct input *in = &r->inputs[i];
        in->bound = in->t->i || (floats && !first);
        if (in->t->f) first = false;
        if (in->bound && bind_tensor(&b, in->name, in->file)) abort();
    }
    r->adapted = true;
    return b;
}

static bool is_ours(const struct err *e) {
    return e->code == ERR_INTERNAL || e->code == ERR_SYSTEM;
}

/* True: `s` has an image. Else the outcome is there. */
static bool import_somehow(struct run *r, struct spawn_result *s) {
    const bool fine = import_case(r, r->file, s);
    const char *unfit = r->unfit[0]                                   ? r->unfit
                        : r->c->made_input || fine || r->n_floats > 0 ? NULL
                        : r->n_inputs == 0                            ? "it has no inputs"
                                           : "all its inputs are integers or truth values";
    if (!fine && is_ours(&s->err)) {
        conclude(r, CRASHED, s->err.text);
        return false;
    }
    if (unfit) {
        conclude(r, OUT_OF_SCOPE, unfit);
        return false;
    }
    if (fine) return true;
    for (int floats = 0; floats < 2 && !r->c->made_input; floats++) {
        if (floats && r->n_floats < 2) break;
        struct err before = s->err;
        spawn_result_free(s);
        if (import_case(r, adapt(r, floats), s)) return true;
        if (!r->raised && !r->cast && r->n_integers == 0 && !floats) s->err = before;
        if (is_ours(&s->err)) break;
    }
    conclude(r, is_ours(&s->err) ? CRASHED : REFUSED, s->err.text);
    return false;
}

/* --- running --------------------------------------------------------------------------------- */

static const struct shape *io_shape(const struct image *img, const uint32_t *list, uint32_t k) {
    return &image_tensor_at(img, list[k])->shape;
}

static float *copy_floats(const struct tensor *t) {
    float *p = calloc((size_t)t->count + 1, sizeof *p);
    for (int64_t i = 0; p && i < t->count; i++) p[i] = (float)tensor_number(t, i);
    return p;
}

static float *make_floats(const struct shape *s) {
    const int64_t n = shape_elements(s);
    float *p = calloc((size_t)n, sizeof *p);
    for (int64_t i = 0; p && i < n; i++) p[i] = (float)((double)i / (double)n);
    return p;
}

/* The inputs that are left, cut into items. Returns how many items, 0: they do not fit. */
static uint32_t feed(const struct run *r, const struct image *img, struct engine_item **items) {
    const struct image_header *h = image_header(img);
    uint32_t n = 0, k = 0;
    *items = NULL;
    for (int i = 0; i < (r->c->made_input ? 1 : r->n_inputs); i++) {
        if (r->inputs[i].bound) continue;
        if (k == h->n_inputs) return 0;
        const struct shape *s = io_shape(img, h->inputs, k);
        const int64_t each = shape_elements(s);
        float *p = r->c->made_input ? make_floats(s) : copy_floats(r->inputs[i].t);
        const int64_t count = r->c->made_input ? each : r->inputs[i].t->count;
        if (!p || count == 0 || count % each || (n && count / each != n)) return 0;
        n = (uint32_t)(count / each);
        if (!*items) *items = calloc(n, sizeof **items);
        for (uint32_t j = 0; *items && j < n; j++) (*items)[j].inputs[k] = p + (int64_t)j * each;
        k++;
    }
    return *items && k == h->n_inputs ? n : 0;
}

/* All items' output `k` in a row, in the shape that the file says. */
static float *collect(const struct engine *en, const struct image *img, uint32_t items, uint32_t k,
                      struct shape *s) {
    *s = *io_shape(img, image_header(img)->outputs, k);
    const int64_t each = shape_elements(s);
    float *p = malloc((size_t)each * items * sizeof *p);
    for (uint32_t i = 0; p && i < items; i++)
        memcpy(p + (int64_t)i * each, engine_output(en, i, k), (size_t)each * sizeof *p);
    if (s->rank) s->dim[0] *= items;
    return p;
}

static bool compare(struct run *r, const struct engine *en, const struct image *img, uint32_t items,
                    uint32_t k) {
    struct shape s;
    char got[128], want[128], text[ERR_TEXT];
    const struct tensor *t = r->want[k];
    const float *p = collect(en, img, items, k, &s);
    if (!p) abort();
    if (!t) {
        conclude(r, OUT_OF_SCOPE, "its expected output is no tensor of numbers");
        return false;
    }
    if (!shape_equal(&s, &t->shape)) {
        (void)snprintf(text, sizeof text, "output %u has the shape %s, expected %s", k,
                       shape_text(&s, got, sizeof got), shape_text(&t->shape, want, sizeof want));
        conclude(r, FAILED, text);
        return false;
    }
    /* These were cut to 8 bits, not rounded; one step of that is what they can say. */
    const double rtol = t->type == ONNX_BFLOAT16 ? 1.0 / 128 : r->c->rtol;
    const int64_t at = find_difference(p, t, rtol, r->c->atol);
    if (at < 0) return true;
    (void)snprintf(text, sizeof text, "output %u, element %lld of %s is %.9g, expected %.9g", k,
                   (long long)at, shape_text(&s, got, sizeof got), (double)p[at], tensor_number(t, at));
    conclude(r, FAILED, text);
    return false;
}

static void run_image(struct run *r, const struct image *img) {
    struct engine_item *items;
    struct err e = {0};
    struct engine *en = engine_new();
    const uint32_t n = feed(r, img, &items), outputs = image_header(img)->n_outputs;
    if (n == 0 || !en || (int)outputs != r->n_outputs) {
        conclude(r, FAILED, "the image's inputs or outputs are not the case's");
        return;
    }
    if (engine_reserve(en, img, n, &e)) {
        conclude(r, FAILED, e.text);
        return;
    }
    if (engine_run(en, img, n, items)) {
        conclude(r, FAILED, "the engine refused to run it");
        return;
    }
    for (uint32_t k = 0; k < outputs; k++)
        if (!compare(r, en, img, n, k)) return;
    conclude(r, r->adapted ? PASSED_ADAPTED : PASSED, "");
}

void run_case(const struct test_case *c, const char *guard, struct outcome *out) {
    struct run r = {.c = c, .guard = guard, .out = out};
    struct spawn_result s = {.fd = -1};
    struct image *img = NULL;
    struct err e = {0};
    if (!c->model[0]) {
        conclude(&r, ABSENT, "its model is not here (CONFORMANCE_LIGHT names the folder)");
        return;
    }
    r.memory = (struct tensor_memory){.g = graph_new(), .left = (int64_t)1 << 30};
    if (!r.memory.g || read_bytes(c->model, &r.file, &e)) {
        conclude(&r, CRASHED, e.text);
        return;
    }
    if (onnx_model_read(r.file.at, r.file.n, &r.model, &e)) r.model = NULL;
    if (read_data(&r, &e)) {
        conclude(&r, CRASHED, e.text);
        return;
    }
    if (!import_somehow(&r, &s)) return;
    if (image_map(s.fd, true, &img, &e))
        conclude(&r, FAILED, e.text);
    else
        run_image(&r, img);
}
