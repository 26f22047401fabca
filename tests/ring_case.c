/* See ring_case.h. */
#include "tests/ring_case.h"

#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND 1000000000ull

static ssize_t receive(int fd, void *to, size_t n, int fds[2]) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec v = {to, n};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    const ssize_t got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = got > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_type == SCM_RIGHTS) memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
    return got;
}

bool ring_client_open(struct rig *r, struct ring_client *c, int fd, const struct clpd_ring_open *ask) {
    const struct clpd_header h = {.magic = CLPD_MAGIC,
                                  .version = CLPD_WIRE_VERSION,
                                  .type = CLPD_RING_OPEN,
                                  .id = 7,
                                  .bytes = sizeof *ask};
    uint8_t in[sizeof(struct clpd_header) + sizeof(struct clpd_reply) + 512];
    struct clpd_header back = {.bytes = 0};
    int fds[2] = {-1, -1};
    size_t have = 0;
    *c = (struct ring_client){.fd = fd, .bell = -1};
    CU_ASSERT_TRUE_FATAL(rig_send(r, fd, &h, sizeof h) && rig_send(r, fd, ask, sizeof *ask));
    for (const uint64_t end = loop_clock() + 2 * SECOND; loop_clock() < end;) {
        const ssize_t n = receive(fd, in + have, sizeof in - have, fds);
        if (n > 0) have += (size_t)n;
        if (have >= sizeof back) memcpy(&back, in, sizeof back);
        if (have >= sizeof back && have == sizeof back + back.bytes) break;
        rig_turn(r, 1);
    }
    CU_ASSERT_TRUE_FATAL(have >= sizeof back && have == sizeof back + back.bytes && back.id == 7);
    if (back.type != CLPD_RING_REPLY) {
        CU_ASSERT_EQUAL(back.type, CLPD_ERROR);
        memcpy(&c->refusal, in + sizeof back, sizeof c->refusal);
        (void)snprintf(c->why, sizeof c->why, "%s", (const char *)in + sizeof back + sizeof c->refusal);
        return false;
    }
    memcpy(&c->info, in + sizeof back, sizeof c->info);
    CU_ASSERT_TRUE_FATAL(fds[0] >= 0 && fds[1] >= 0);
    c->bell = fds[1];
    c->memory = mmap(NULL, c->info.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    CU_ASSERT_TRUE_FATAL(c->memory != MAP_FAILED);
    CU_ASSERT_TRUE(ftruncate(fds[0], 0) < 0 && errno == EPERM); /* sealed */
    close(fds[0]);
    c->head = (struct clpd_ring_head *)(void *)c->memory;
    return true;
}

void ring_client_close(struct ring_client *c) {
    if (c->memory) munmap(c->memory, c->info.bytes);
    if (c->bell >= 0) close(c->bell);
    close(c->fd);
}

uint8_t *ring_client_slot(const struct ring_client *c, uint32_t slot) {
    return c->memory + c->info.slots_at + slot * c->info.slot_bytes;
}

struct clpd_ring_request ring_client_request(const struct ring_client *c, uint32_t slot, const char *model,
                                             uint32_t pictures, uint32_t width, float x) {
    struct clpd_ring_request q = {.id = 1000 + slot,
                                  .slot = slot,
                                  .tensor_bytes = (uint64_t)pictures * width * width * sizeof(float),
                                  .infer = {.flags = CLPD_WANT_SCORES, .dims = {pictures, 1, width, width}}};
    float *tensor = (float *)(void *)(ring_client_slot(c, slot) + c->info.tensor_at);
    (void)snprintf(q.infer.model, sizeof q.infer.model, "%s", model);
    for (uint32_t i = 0; i < pictures * width * width; i++) tensor[i] = x + (float)i;
    return q;
}

void ring_client_submit(struct ring_client *c, const struct clpd_ring_request *q) {
    const uint32_t n = c->head->submitted;
    const uint64_t one = 1;
    memcpy(c->memory + c->info.requests_at + (n & (c->info.slots - 1)) * sizeof *q, q, sizeof *q);
    __atomic_store_n(&c->head->submitted, n + 1, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&c->head->daemon_sleeps, 0, __ATOMIC_SEQ_CST))
        CU_ASSERT_EQUAL(write(c->bell, &one, sizeof one), sizeof one);
}

bool ring_client_wait(struct rig *r, const struct ring_client *c, uint32_t answered) {
    const uint64_t end = loop_clock() + 2 * SECOND;
    while (__atomic_load_n(&c->head->answered, __ATOMIC_ACQUIRE) < answered && loop_clock() < end)
        rig_turn(r, 1);
    return __atomic_load_n(&c->head->answered, __ATOMIC_ACQUIRE) == answered;
}

struct clpd_ring_answer ring_client_answer(const struct ring_client *c, uint32_t nth) {
    struct clpd_ring_answer a;
    memcpy(&a, c->memory + c->info.answers_at + (nth & (c->info.slots - 1)) * sizeof a, sizeof a);
    return a;
}

struct clpd_reply ring_client_reply(const struct ring_client *c, uint32_t slot) {
    struct clpd_reply reply;
    memcpy(&reply, ring_client_slot(c, slot), sizeof reply);
    return reply;
}

float ring_client_score(const struct ring_client *c, uint32_t slot, uint32_t i) {
    float x;
    memcpy(&x, ring_client_slot(c, slot) + sizeof(struct clpd_reply) + i * sizeof x, sizeof x);
    return x;
}

bool ring_client_is_closed(struct rig *r, const struct ring_client *c, uint32_t status) {
    const uint64_t end = loop_clock() + 2 * SECOND;
    while (!__atomic_load_n(&c->head->closed, __ATOMIC_ACQUIRE) && loop_clock() < end) rig_turn(r, 1);
    return __atomic_load_n(&c->head->closed, __ATOMIC_ACQUIRE) == status;
}
