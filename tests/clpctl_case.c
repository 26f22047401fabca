/* Fixture of clpctl's tests: folder, model, running, and a daemon that is none. */
#include "tests/clpctl_case.h"
#include "client/wire.h"
#include "tests/onnx_build.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], before[4096];

static void write_file(const char *name, const void *bytes, size_t n) {
    FILE *f = fopen(name, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(fwrite(bytes, 1, n, f), n);
    (void)fclose(f);
}

static void write_model(void) {
    static float weight[24 * 3 * 9], dense[24 * 4];
    for (int i = 0; i < 24 * 27; i++)
        weight[i] = (float)((i * 7 + i / 27) % 11 - 5) * (i / 27 == 7 ? 1.0f : 0.05f);
    for (int i = 0; i < 24 * 4; i++) dense[i] = (float)(i % 5 - 2);
    struct onnx_build m = onnx_begin(8, 13);
    onnx_input(&m, "input", "Nx3x8x8");
    onnx_output(&m, "scores");
    onnx_initializer(&m, tensor_floats("w", "24x3x3x3", weight, 24 * 27));
    onnx_initializer(&m, tensor_fill("b", "24", 0.1f));
    onnx_initializer(&m, tensor_floats("d", "24x4", dense, 24 * 4));
    onnx_node(&m, "Conv", "first/Conv", "input w b", "c", attr_ints("pads", 4, 1, 1, 1, 1), ATTR_END);
    onnx_node(&m, "Relu", "r", "c", "r", ATTR_END);
    onnx_node(&m, "Conv", "second/Conv", "r w2", "c2", ATTR_END);
    onnx_initializer(&m, tensor_count("w2", "24x24x1x1", 0.001f));
    onnx_node(&m, "GlobalAveragePool", "p", "c2", "p", ATTR_END);
    onnx_node(&m, "Flatten", "f", "p", "f", ATTR_END);
    onnx_node(&m, "Gemm", "g", "f d", "scores", ATTR_END);
    struct pb file = onnx_end(&m);
    write_file("model.onnx", file.p, file.n);
    pb_free(&file);
}

static void write_pictures(void) {
    uint8_t file[128 + 2 * 8 * 8 * 3] =
        "\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, 8, 3), }";
    for (size_t i = strlen((char *)file + 10) + 10; i < 127; i++) file[i] = ' ';
    file[127] = '\n';
    for (size_t i = 128; i < sizeof file; i++) file[i] = (uint8_t)(i * 31);
    write_file("x.npy", file, sizeof file);
}

void clpctl_folder_begin(void) {
    CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(before, sizeof before));
    strcpy(folder, "/tmp/clpd-test-ctl-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    CU_ASSERT_EQUAL_FATAL(chdir(folder), 0);
    write_model();
    write_pictures();
    write_file("model.yaml", "labels: [a, b, c, d]\n", 21);
}

void clpctl_folder_end(void) {
    char command[128];
    CU_ASSERT_EQUAL_FATAL(chdir(before), 0);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void slurp(const char *name, char *to, size_t cap) {
    FILE *f = fopen(name, "r");
    size_t n = f ? fread(to, 1, cap - 1, f) : 0;
    to[n] = 0;
    if (f) (void)fclose(f);
}

const struct ran *clpctl_ran(const char *fmt, ...) {
    static struct ran r;
    char arguments[1024], command[2048];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(arguments, sizeof arguments, fmt, ap);
    va_end(ap);
    (void)snprintf(command, sizeof command, "unset CLPD_SOCKET; %s/clpctl %s >.out 2>.err", TEST_BUILD,
                   arguments);
    int status = system(command);
    r.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    slurp(".out", r.out, sizeof r.out);
    slurp(".err", r.err, sizeof r.err);
    return &r;
}

/* --- the daemon ------------------------------------------------------------------------------ */

const char fake_models[] = "{\"schema\":1,\"models\":[{\"name\":\"model\",\"version\":1,"
                           "\"input\":{\"shape\":[1,3,8,8],\"u8\":true}}],\"files\":[]}";

struct peer {
    struct fake_daemon *d;
    int fd;
};

static bool put(int fd, uint8_t type, uint64_t id, const void *body, size_t n) {
    struct clpd_header h = {.magic = CLPD_MAGIC, .version = 1, .type = type, .id = id, .bytes = n};
    return send(fd, &h, sizeof h, MSG_NOSIGNAL) == sizeof h && send(fd, body, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static bool answer(struct fake_daemon *d, int fd, const struct clpd_header *h, const struct clpd_infer *q) {
    struct {
        struct clpd_reply reply;
        struct clpd_top top[64];
    } a = {.reply = {.version = atomic_load(&d->version), .queue_ns = 1000, .compute_ns = 2000, .batch = 1}};
    uint32_t nth = atomic_fetch_add(&d->requests, 1) + 1;
    if (d->answer_us) (void)usleep(d->answer_us);
    if (d->busy_every && nth % d->busy_every == 0)
        a.reply.status = CLPD_BUSY;
    else if (d->late_every && nth % d->late_every == 0)
        a.reply.status = CLPD_DEADLINE;
    if (a.reply.status) return put(fd, CLPD_INFER_REPLY, h->id, &a, sizeof a.reply);
    a.reply.items = q->dims[0];
    a.reply.classes = 4;
    a.reply.top_k = q->top_k < 4 ? q->top_k : 4;
    uint32_t tops = a.reply.items * a.reply.top_k;
    if (tops > 63) return false;
    for (uint32_t i = 0; i < tops; i++) {
        uint32_t k = i % a.reply.top_k;
        a.top[i] = (struct clpd_top){
            .index = k, .score = (float)k, .probability = 0.5f, .label = k ? CLPD_NO_LABEL : 0};
    }
    memcpy(&a.top[tops], "stop\0\0\0", 8);
    a.reply.text_bytes = 8;
    return put(fd, CLPD_INFER_REPLY, h->id, &a, sizeof a.reply + tops * sizeof a.top[0] + 8);
}

static void *serve(void *arg) {
    struct peer p = *(struct peer *)arg;
    struct clpd_header h;
    static _Thread_local uint8_t body[1 << 16];
    uint32_t n = 0;
    free(arg);
    while (recv(p.fd, &h, sizeof h, MSG_WAITALL) == sizeof h && h.bytes <= sizeof body) {
        if (h.bytes && recv(p.fd, body, (size_t)h.bytes, MSG_WAITALL) != (ssize_t)h.bytes) break;
        struct clpd_infer q;
        memcpy(&q, body, sizeof q);
        bool ok = h.type == CLPD_INFER ? answer(p.d, p.fd, &h, &q)
                                       : put(p.fd, CLPD_JSON_REPLY, h.id, p.d->models, strlen(p.d->models));
        if (!ok || (h.type == CLPD_INFER && p.d->hang_up_after && ++n >= p.d->hang_up_after)) break;
    }
    (void)close(p.fd);
    return NULL;
}

static void *accept_all(void *arg) {
    struct fake_daemon *d = arg;
    int fd;
    while ((fd = accept(d->listener, NULL, NULL)) >= 0 && !atomic_load(&d->stop)) {
        struct peer *p = malloc(sizeof *p);
        pthread_t t;
        if (!p) break;
        *p = (struct peer){d, fd};
        if (pthread_create(&t, NULL, serve, p)) break;
        (void)pthread_detach(t);
    }
    if (fd >= 0) (void)close(fd);
    return NULL;
}

void fake_daemon_start(struct fake_daemon *d) {
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "sock"};
    if (!d->models) d->models = fake_models;
    (void)unlink("sock");
    d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_FATAL(d->listener >= 0 && bind(d->listener, (struct sockaddr *)&a, sizeof a) == 0);
    CU_ASSERT_FATAL(listen(d->listener, 64) == 0);
    pthread_t t;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, accept_all, d), 0);
    d->thread = t;
}

void fake_daemon_stop(struct fake_daemon *d) {
    atomic_store(&d->stop, true);
    (void)shutdown(d->listener, SHUT_RDWR); /* accept returns */
    (void)pthread_join(d->thread, NULL);
    (void)close(d->listener);
    (void)unlink("sock");
    (void)usleep(20000); /* the connections' threads are detached, and end with their peers */
}
