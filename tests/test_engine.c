/* The engine: what it computes for whole images, batches and both input
 * formats; that a run allocates nothing and makes no system call (with helpers none but to
 * sleep and wake); what it refuses. Outputs differ by less than 1e-4 of the largest from those of the
 * interpreter in twin.c, which shares no code with it. */
#include "infer/engine.h"
#include "infer/team.h"

#include "tests/fixture_graph.h"
#include "tests/fixture_image.h"
#include "tests/suite.h"
#include "tests/twin.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* --- counting allocations ---------------------------------------------------------- */

static _Thread_local long allocations;

#if !SANITIZED /* a sanitizer has its own */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n) {
    allocations++;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    allocations++;
    return __libc_realloc(p, n);
}
#endif

/* --- batches ------------------------------------------------------------------------- */

enum { MAX_BATCH = 9 };

struct batch { /* random floats for every input of every item */
    const struct image *img;
    uint32_t n;
    struct engine_item items[MAX_BATCH];
    float *floats[MAX_BATCH][IMAGE_MAX_IO];
};

static void batch_fill(struct batch *b, const struct image *img, uint32_t n, uint64_t seed) {
    *b = (struct batch){.img = img, .n = n};
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < image_header(img)->n_inputs; k++) {
            const size_t bytes = engine_input_bytes(img, k, INPUT_F32_NCHW);
            CU_ASSERT_PTR_NOT_NULL_FATAL(b->floats[i][k] = malloc(bytes));
            for (size_t at = 0; at < bytes / sizeof(float); at++)
                b->floats[i][k][at] = fixture_float(&seed, -1, 1);
            b->items[i].inputs[k] = b->floats[i][k];
        }
}

static void batch_free(struct batch *b) {
    for (uint32_t i = 0; i < b->n; i++)
        for (uint32_t k = 0; k < IMAGE_MAX_IO; k++) free(b->floats[i][k]);
}

static size_t output_floats(const struct image *img, uint32_t k) {
    return image_tensor_at(img, image_header(img)->outputs[k])->bytes / sizeof(float);
}

/* Largest difference, relative to the largest number. */
static double difference(const float *a, const float *b, size_t n) {
    double worst = 0, largest = 1e-30;
    for (size_t i = 0; i < n; i++) {
        const double d = a[i] == b[i] ? 0 : fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

static struct engine *reserved(const struct image *img, uint32_t items) {
    struct err e = {0};
    struct engine *en = engine_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(en);
    CU_ASSERT_EQUAL_FATAL(engine_reserve(en, img, items, &e), 0);
    return en;
}

/* --- what it computes ------------------------------------------------------------------ */

static void compare_with_twin(struct engine *en, const struct image *img, uint32_t n, uint64_t seed) {
    struct batch b;
    batch_fill(&b, img, n, seed);
    CU_ASSERT_EQUAL_FATAL(engine_run(en, img, n, b.items), 0);
    for (uint32_t i = 0; i < n; i++) {
        float *expected = twin_run(img, (const float *const *)b.floats[i]), *at = expected;
        CU_ASSERT_PTR_NOT_NULL_FATAL(expected);
        for (uint32_t k = 0; k < image_header(img)->n_outputs; k++) {
            CU_ASSERT(difference(engine_output(en, i, k), at, output_floats(img, k)) < 1e-4);
            at += output_floats(img, k);
        }
        free(expected);
    }
    batch_free(&b);
}

static void compare_graph(struct graph *g) {
    for (int reference = 0; reference < 2; reference++) {
        struct compiled c = fixture_compile(g, reference);
        struct engine *en = reserved(c.img, MAX_BATCH);
        for (uint32_t n = 1; n <= MAX_BATCH; n += 4) compare_with_twin(en, c.img, n, n);
        compare_with_twin(en, c.img, 1, 77); /* after a larger one */
        engine_free(en);
        fixture_discard(&c);
    }
    graph_free(g);
}

static void test_networks(void) {
    compare_graph(fixture_resnet());
    for (uint64_t seed = 0; seed < 40; seed++) compare_graph(fixture_random_graph(seed, 3 + (int32_t)seed));
}

/* One engine takes images in turn, of different sizes. */
static void test_images_in_turn(void) {
    struct graph *small = fixture_random_graph(1, 3), *large = fixture_resnet();
    struct compiled a = fixture_compile(small, false), b = fixture_compile(large, false);
    struct engine *en = reserved(a.img, 2);
    struct err e = {0};
    compare_with_twin(en, a.img, 2, 1);
    CU_ASSERT_EQUAL_FATAL(engine_reserve(en, b.img, 5, &e), 0);
    compare_with_twin(en, b.img, 5, 2);
    compare_with_twin(en, a.img, 1, 3);
    CU_ASSERT_EQUAL_FATAL(engine_reserve(en, a.img, 1, &e), 0); /* nothing to do: outputs stay */
    CU_ASSERT_PTR_NOT_NULL(engine_output(en, 0, 0));
    compare_with_twin(en, b.img, 5, 4);
    engine_free(en);
    fixture_discard(&a);
    fixture_discard(&b);
    graph_free(small);
    graph_free(large);
}

/* --- pictures ---------------------------------------------------------------------------- */

static struct compiled compile_pictures(struct graph *g, uint32_t order) {
    const struct plan_metadata m = {.preprocess = {.scale = 1.0f / 255,
                                                   .mean = {0.5f, 0.4f, 0.3f},
                                                   .std = {0.2f, 0.3f, 0.25f, 1},
                                                   .channel_order = order}};
    return fixture_compile_with(g, false, &m);
}

/* A batch of pictures and floats gives what floats alone give. */
static void test_pictures(void) {
    struct graph *g = fixture_resnet();
    for (uint32_t order = ORDER_RGB; order <= ORDER_BGR; order++) {
        struct compiled c = compile_pictures(g, order);
        struct engine *en = reserved(c.img, 3);
        const struct image_preprocess *p = &image_header(c.img)->preprocess;
        struct batch b;
        uint8_t pictures[2][8 * 8 * 3];
        CU_ASSERT_EQUAL(engine_input_bytes(c.img, 0, INPUT_U8_NHWC), sizeof pictures[0]);
        batch_fill(&b, c.img, 3, 9);
        uint64_t seed = 5;
        for (uint32_t i = 0; i < 2; i++)
            for (uint32_t at = 0; at < sizeof pictures[i]; at++) {
                const uint32_t channel = order == ORDER_BGR ? 2 - at % 3 : at % 3; /* of the network */
                pictures[i][at] = (uint8_t)fixture_random(&seed, 256);
                b.floats[2 * i][0][channel * 64 + at / 3] =
                    ((float)pictures[i][at] * p->scale - p->mean[channel]) / p->std[channel];
            }
        float expected[3][5];
        CU_ASSERT_EQUAL_FATAL(engine_run(en, c.img, 3, b.items), 0);
        for (uint32_t i = 0; i < 3; i++) memcpy(expected[i], engine_output(en, i, 0), sizeof expected[i]);
        for (uint32_t i = 0; i < 2; i++) b.items[2 * i] = (struct engine_item){{pictures[i]}, INPUT_U8_NHWC};
        CU_ASSERT_EQUAL_FATAL(engine_run(en, c.img, 3, b.items), 0);
        for (uint32_t i = 0; i < 3; i++)
            CU_ASSERT_EQUAL(memcmp(expected[i], engine_output(en, i, 0), sizeof expected[i]), 0);
        batch_free(&b);
        engine_free(en);
        fixture_discard(&c);
    }
    graph_free(g);
}

/* --- what a run does not do ------------------------------------------------------------------ */

static void check_allocations(struct graph *g) {
    struct compiled c = fixture_compile(g, false);
    struct engine *en = reserved(c.img, 4);
    struct batch b;
    batch_fill(&b, c.img, 4, 1);
    for (uint32_t n = 1; n <= 4; n++) { /* the very first run too: engine_reserve has made everything */
        const long before = allocations;
        CU_ASSERT_EQUAL(engine_run(en, c.img, n, b.items), 0);
        CU_ASSERT_EQUAL(allocations, before);
    }
    batch_free(&b);
    engine_free(en);
    fixture_discard(&c);
    graph_free(g);
}

static void test_no_allocation(void) {
#if SANITIZED
    suite_skip("engine", "allocations are not counted under a sanitizer");
#endif
    check_allocations(fixture_resnet());
    for (uint64_t seed = 100; seed < 140; seed++) check_allocations(fixture_random_graph(seed, 40));
}

/* In a child under seccomp's strict mode: anything but read, write and exit kills it. */
static void test_no_system_call(void) {
#if defined(__SANITIZE_THREAD__)
    suite_skip("engine", "ThreadSanitizer makes system calls of its own");
    return;
#endif
    struct graph *g = fixture_resnet();
    struct compiled c = compile_pictures(g, ORDER_RGB);
    struct engine *en = reserved(c.img, 4);
    struct batch b;
    int status = 0;
    batch_fill(&b, c.img, 4, 1);
    uint8_t picture[8 * 8 * 3] = {1, 2, 3};
    b.items[1] = (struct engine_item){{picture}, INPUT_U8_NHWC};
    CU_ASSERT_EQUAL(engine_run(en, c.img, 4, b.items), 0); /* OpenBLAS maps its buffer at the first product */
    const pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) _exit(3);
        int rc = 0;
        for (int i = 0; i < 10; i++) rc |= engine_run(en, c.img, 4, b.items);
        (void)syscall(SYS_exit, rc ? 1 : 0); /* _exit would be exit_group, which is not allowed */
    }
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        suite_skip("engine", "this kernel has no strict seccomp");
    else
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    batch_free(&b);
    engine_free(en);
    fixture_discard(&c);
    graph_free(g);
}

/* --- engines side by side ---------------------------------------------------------------------- */

struct worker {
    const struct image *img;
    struct batch *batch;
    float expected[4][5];
    int wrong;
};

static void *work(void *arg) {
    struct worker *w = arg;
    struct engine *en = engine_new();
    w->wrong = !en || engine_reserve(en, w->img, 4, NULL) != 0;
    for (int round = 0; round < 200 && !w->wrong; round++) {
        w->wrong += engine_run(en, w->img, 4, w->batch->items) != 0;
        for (uint32_t i = 0; i < 4 && !w->wrong; i++)
            w->wrong += memcmp(engine_output(en, i, 0), w->expected[i], sizeof w->expected[i]) != 0;
    }
    engine_free(en);
    return NULL;
}

static void test_threads(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    struct engine *en = reserved(c.img, 4);
    struct batch b;
    struct worker workers[4];
    pthread_t threads[4];
    batch_fill(&b, c.img, 4, 3);
    CU_ASSERT_EQUAL_FATAL(engine_run(en, c.img, 4, b.items), 0);
    for (int t = 0; t < 4; t++) {
        workers[t] = (struct worker){.img = c.img, .batch = &b};
        for (uint32_t i = 0; i < 4; i++)
            memcpy(workers[t].expected[i], engine_output(en, i, 0), 5 * sizeof(float));
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[t], NULL, work, &workers[t]), 0);
    }
    for (int t = 0; t < 4; t++) {
        (void)pthread_join(threads[t], NULL);
        CU_ASSERT_EQUAL(workers[t].wrong, 0);
    }
    batch_free(&b);
    engine_free(en);
    fixture_discard(&c);
    graph_free(g);
}

/* --- refusals and profile ------------------------------------------------------------------------ */

static void test_refusals(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    struct engine *en = reserved(c.img, 2), *bare = engine_new();
    struct err e = {0};
    struct batch b;
    batch_fill(&b, c.img, 3, 1);
    CU_ASSERT_EQUAL(engine_run(en, c.img, 0, b.items), -EINVAL);
    CU_ASSERT_EQUAL(engine_run(en, c.img, 3, b.items), -EINVAL);
    CU_ASSERT_EQUAL(engine_run(bare, c.img, 1, b.items), -EINVAL);
    CU_ASSERT_PTR_NULL(engine_output(en, 0, 0));
    CU_ASSERT_EQUAL(engine_run(en, c.img, 2, b.items), 0);
    CU_ASSERT(engine_output(en, 1, 0) && !engine_output(en, 2, 0) && !engine_output(en, 0, 1));
    struct engine_item item = {{NULL}, INPUT_F32_NCHW};
    CU_ASSERT_EQUAL(engine_run(en, c.img, 1, &item), -EINVAL);
    CU_ASSERT_PTR_NULL(engine_output(en, 0, 0)); /* of a run that failed */
    item.inputs[0] = (const char *)b.floats[0][0] + 1;
    CU_ASSERT_EQUAL(engine_run(en, c.img, 1, &item), -EINVAL);
    item = (struct engine_item){{b.floats[0][0]}, 2};
    CU_ASSERT_EQUAL(engine_run(en, c.img, 1, &item), -EINVAL);
    CU_ASSERT_EQUAL(engine_reserve(en, c.img, 0, &e), -1);
    CU_ASSERT_EQUAL(engine_reserve(en, c.img, UINT32_MAX, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    CU_ASSERT_EQUAL(engine_run(en, c.img, 2, b.items), 0); /* what was there still is */
    engine_free(bare);
    engine_free(NULL);
    batch_free(&b);
    engine_free(en);
    fixture_discard(&c);
    graph_free(g);
}

static struct compiled with_inputs(struct shape a, bool second) {
    struct graph *g = fixture_graph();
    int32_t x = fixture_relu(g, fixture_input(g, a));
    if (second) x = fixture_add(g, x, fixture_input(g, a));
    fixture_output(g, x);
    struct compiled c = fixture_compile(g, false);
    graph_free(g);
    return c;
}

static void test_input_bytes(void) {
    const struct {
        struct shape s;
        bool second;
        size_t f32, u8;
    } cases[] = {{SHAPE(1, 3, 4, 5), false, 240, 60},  {SHAPE(1, 1, 4, 5), false, 80, 20},
                 {SHAPE(2, 4, 4, 5), false, 640, 160}, {SHAPE(1, 2, 4, 5), false, 160, 0},
                 {SHAPE(1, 3, 20), false, 240, 0},     {SHAPE(1, 3, 4, 5), true, 240, 0}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct compiled c = with_inputs(cases[i].s, cases[i].second);
        CU_ASSERT_EQUAL(engine_input_bytes(c.img, 0, INPUT_F32_NCHW), cases[i].f32);
        CU_ASSERT_EQUAL(engine_input_bytes(c.img, 0, INPUT_U8_NHWC), cases[i].u8);
        CU_ASSERT_EQUAL(engine_input_bytes(c.img, 0, 7), 0);
        CU_ASSERT_EQUAL(engine_input_bytes(c.img, 2, INPUT_F32_NCHW), 0);
        fixture_discard(&c);
    }
}

static void test_profile(void) {
    struct graph *g = fixture_resnet();
    struct compiled c = fixture_compile(g, false);
    struct engine *en = reserved(c.img, 1);
    struct batch b;
    uint64_t ns[64], sum = 0;
    const uint32_t n = image_header(c.img)->n_steps;
    CU_ASSERT_FATAL(n < COUNT_OF(ns));
    memset(ns, 0xff, sizeof ns);
    batch_fill(&b, c.img, 1, 1);
    engine_profile(en, ns, n);
    for (int i = 0; i < 20; i++) CU_ASSERT_EQUAL(engine_run(en, c.img, 1, b.items), 0);
    for (uint32_t i = 0; i < n; i++) sum += ns[i];
    CU_ASSERT(sum > 0 && sum < 60000000000u && ns[n] == UINT64_MAX);
    engine_profile(en, NULL, 0);
    const uint64_t first = ns[0];
    CU_ASSERT_EQUAL(engine_run(en, c.img, 1, b.items), 0);
    CU_ASSERT_EQUAL(ns[0], first);
    batch_free(&b);
    engine_free(en);
    fixture_discard(&c);
    graph_free(g);
}

/* --- helpers ---------------------------------------------------------------------------------- */

/* Large enough that steps are handed out: Winograd, pointwise, first, pool, norm. */
static struct graph *helped_graph(void) {
    struct graph *g = fixture_graph();
    const int32_t x = fixture_input(g, SHAPE(1, 3, 57, 61));
    int32_t y = fixture_relu(g, fixture_conv(g, x, 40, fixture_window(3, 2, 1, 1), true));
    y = fixture_relu(g, fixture_conv(g, y, 64, fixture_window(3, 1, 1, 1), true));
    const int32_t z = fixture_batch_norm(g, y);
    union op_params pool = fixture_window(3, 1, 1, 1);
    y = fixture_node(g, OP_MAX_POOL, &pool, 1, &z);
    y = fixture_add(g, fixture_conv(g, y, 64, fixture_window(1, 1, 0, 1), true), z);
    y = fixture_relu(g, fixture_conv(g, y, 96, fixture_window(3, 2, 1, 1), false));
    fixture_output(g, y);
    return g;
}

static void compare_with_help(const struct image *img, struct team *team) {
    struct engine *alone = reserved(img, 3), *en = engine_new();
    struct batch b;
    struct err e = {0};
    batch_fill(&b, img, 3, 5);
    CU_ASSERT_FATAL(en && engine_join(en, team) && engine_reserve(en, img, 3, &e) == 0);
    for (uint32_t n = 1; n <= 3; n++) {
        const long before = allocations;
        CU_ASSERT_EQUAL_FATAL(engine_run(en, img, n, b.items), 0);
        CU_ASSERT_EQUAL(allocations, before);
        CU_ASSERT_EQUAL_FATAL(engine_run(alone, img, n, b.items), 0);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t k = 0; k < image_header(img)->n_outputs; k++)
                CU_ASSERT(memcmp(engine_output(en, i, k), engine_output(alone, i, k),
                                 output_floats(img, k) * sizeof(float)) == 0);
    }
    batch_free(&b);
    engine_free(en);
    engine_free(alone);
}

static void test_help_changes_nothing(void) {
    struct err e = {0};
    struct graph *g = helped_graph();
    struct compiled c = fixture_compile(g, false);
    for (uint32_t helpers = 1; helpers < 5; helpers += 3) {
        struct team *team = team_new(helpers, NULL, &e);
        CU_ASSERT_PTR_NOT_NULL_FATAL(team);
        compare_with_help(c.img, team);
        team_free(team);
    }
    fixture_discard(&c);
    graph_free(g);
}

/* From here on the process may wait for its threads and wake them, and end; anything else kills it. */
static int allow_only_futex(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
}

struct meeting {
    _Atomic uint32_t *here;
    uint32_t all;
};

static void meet(const void *work, uint32_t part, uint32_t hand) {
    const struct meeting *m = work;
    (void)part, (void)hand;
    atomic_fetch_add(m->here, 1);
    while (atomic_load(m->here) < m->all) (void)sched_yield();
}

/* Until every helper has come to work: as a thread begins it asks the kernel for more than to sleep. */
static void await_helpers(struct team *team) {
    _Atomic uint32_t here = 0;
    struct team_seat *seat = team_sit(team);
    const struct meeting m = {&here, team_hands(seat)};
    team_begin(seat);
    team_run(seat, meet, &m, m.all);
    team_end(seat);
    team_leave(seat);
}

/* Of a child: 0, or what went wrong. Helpers are the child's, since a fork copies no threads. */
static int run_helped_in_cage(const struct image *img) {
    struct err e = {0};
    struct batch b;
    struct team *team = team_new(2, NULL, &e);
    struct engine *en = engine_new();
    batch_fill(&b, img, 3, 1);
    if (team) await_helpers(team);
    if (!team || !en || !engine_join(en, team) || engine_reserve(en, img, 3, &e)) return 2;
    if (engine_run(en, img, 3, b.items)) return 4;
    if (allow_only_futex()) return 3;
    for (int i = 0; i < 10; i++)
        if (engine_run(en, img, 1 + (uint32_t)i % 3, b.items)) return 5;
    return 0;
}

/* Helpers that sleep have to be woken, and that is all that is asked of the kernel. */
static void test_help_only_sleeps_and_wakes(void) {
#if defined(__SANITIZE_THREAD__)
    suite_skip("engine", "ThreadSanitizer makes system calls of its own");
    return;
#endif
    struct graph *g = helped_graph();
    struct compiled c = fixture_compile(g, false);
    int status = 0;
    const pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) (void)syscall(SYS_exit_group, run_helped_in_cage(c.img));
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
        suite_skip("engine", "this kernel has no seccomp filters");
    else
        CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fixture_discard(&c);
    graph_free(g);
}

SUITE(engine, {"help changes no number", test_help_changes_nothing},
      {"help only sleeps and wakes", test_help_only_sleeps_and_wakes},
      {"networks and batches equal the twin", test_networks}, {"images in turn", test_images_in_turn},
      {"pictures and floats in one batch", test_pictures}, {"a run allocates nothing", test_no_allocation},
      {"a run makes no system call", test_no_system_call}, {"four engines at once", test_threads},
      {"what is refused", test_refusals}, {"bytes of inputs", test_input_bytes},
      {"time per step", test_profile});
