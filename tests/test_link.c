/* guard/link: messages arrive as sent, and nothing else is taken for one. */
#include "guard/link.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int pair[2];

static void open_pair(void) {
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

static void close_pair(void) {
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static struct link_message message(uint32_t type) {
    struct link_message m = {.version = LINK_VERSION, .type = type};
    strcpy(m.model, "sign");
    strcpy(m.path, "sign.onnx");
    return m;
}

static int lowest_free(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)close(fd);
    return fd;
}

static void round_trip(void) {
    open_pair();
    struct link_message m = message(LINK_FILE), got;
    m.state = FILE_REJECTED;
    m.identity.size = 77;
    strcpy(m.reason, "not a model");
    int fd = 5;
    CU_ASSERT_EQUAL(link_receive(pair[1], &got, &fd), -EAGAIN);
    CU_ASSERT_EQUAL(fd, -1);
    CU_ASSERT_EQUAL(link_send(pair[0], &m, -1), 0);
    CU_ASSERT_EQUAL(link_receive(pair[1], &got, &fd), 1);
    CU_ASSERT_EQUAL(fd, -1);
    CU_ASSERT_EQUAL(memcmp(&m, &got, sizeof m), 0);
    (void)close(pair[0]);
    CU_ASSERT_EQUAL(link_receive(pair[1], &got, &fd), 0);
    (void)close(pair[1]);
}

static void offer_brings_its_descriptor(void) {
    open_pair();
    struct link_message m = message(LINK_OFFER), got;
    int mem = memfd_create("t", MFD_CLOEXEC), fd;
    CU_ASSERT_EQUAL(link_send(pair[0], &m, mem), 0);
    CU_ASSERT_EQUAL_FATAL(link_receive(pair[1], &got, &fd), 1);
    struct stat a, b;
    CU_ASSERT_EQUAL(fstat(mem, &a), 0);
    CU_ASSERT_EQUAL(fstat(fd, &b), 0);
    CU_ASSERT_EQUAL(a.st_ino, b.st_ino);
    CU_ASSERT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    (void)close(fd);
    (void)close(mem);
    close_pair();
}

static void a_verdict_brings_its_report(void) {
    open_pair();
    struct link_message m = message(LINK_PROBE), got;
    int mem = memfd_create("t", MFD_CLOEXEC), fd;
    m.state = PROBE_RUNS;
    CU_ASSERT_EQUAL(link_send(pair[0], &m, mem), -EINVAL);
    CU_ASSERT_EQUAL(link_send(pair[0], &m, -1), 0);
    CU_ASSERT_EQUAL(link_receive(pair[1], &got, &fd), 1);
    m.state = PROBE_KNOWN;
    CU_ASSERT_EQUAL(link_send(pair[0], &m, -1), -EINVAL);
    CU_ASSERT_EQUAL(link_send(pair[0], &m, mem), 0);
    CU_ASSERT_EQUAL_FATAL(link_receive(pair[1], &got, &fd), 1);
    CU_ASSERT(fd >= 0 && got.state == PROBE_KNOWN);
    (void)close(fd);
    (void)close(mem);
    m.state = PROBE_STAGES;
    CU_ASSERT_EQUAL(link_send(pair[0], &m, -1), -EINVAL);
    close_pair();
}

/* Sends `bytes` of `m` with `n` descriptors, unchecked. */
static void send_raw(const void *m, size_t bytes, int n) {
    char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8))) = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n > 0) {
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
        int *fds = (int *)(void *)CMSG_DATA(c);
        for (int i = 0; i < n; i++) fds[i] = pair[0];
    }
    CU_ASSERT_EQUAL(sendmsg(pair[0], &msg, 0), (ssize_t)bytes);
}

static void expect_refused(const char *what) {
    struct link_message got;
    int fd;
    int rc = link_receive(pair[1], &got, &fd);
    if (rc != -EPROTO) fprintf(stderr, "taken: %s\n", what);
    CU_ASSERT_EQUAL(rc, -EPROTO);
    CU_ASSERT_EQUAL(fd, -1);
}

static void refuses_what_is_not_ours(void) {
    open_pair();
    int before = lowest_free();
    struct link_message m = message(LINK_FILE);
    send_raw(&m, sizeof m - 1, 0), expect_refused("short");
    char longer[sizeof m + 1] = {0};
    memcpy(longer, &m, sizeof m);
    send_raw(longer, sizeof longer, 0), expect_refused("long");
    m.version = LINK_VERSION + 1, send_raw(&m, sizeof m, 0), expect_refused("version");
    m = message(0), send_raw(&m, sizeof m, 0), expect_refused("type 0");
    m = message(LINK_TYPES), send_raw(&m, sizeof m, 0), expect_refused("type");
    m = message(LINK_FILE), m.state = FILE_STATES, send_raw(&m, sizeof m, 0), expect_refused("state");
    m = message(LINK_FILE), m.verdict = 99, send_raw(&m, sizeof m, 0), expect_refused("verdict");
    m = message(LINK_ANSWER), m.accepted = 2, send_raw(&m, sizeof m, 0), expect_refused("accepted");
    m = message(LINK_SERVING), m.repaired = 2, send_raw(&m, sizeof m, 0), expect_refused("repaired");
    m = message(LINK_FILE), memset(m.model, 'x', sizeof m.model);
    send_raw(&m, sizeof m, 0), expect_refused("model unterminated");
    m = message(LINK_FILE), memset(m.reason, 'x', sizeof m.reason);
    send_raw(&m, sizeof m, 0), expect_refused("reason unterminated");
    m = message(LINK_FILE), m.path[2] = '\n', send_raw(&m, sizeof m, 0), expect_refused("newline");
    m = message(LINK_FILE), send_raw(&m, sizeof m, 1), expect_refused("descriptor with FILE");
    m = message(LINK_OFFER), send_raw(&m, sizeof m, 0), expect_refused("OFFER without descriptor");
    m = message(LINK_OFFER), send_raw(&m, sizeof m, 2), expect_refused("two descriptors");
    m = message(LINK_OFFER), send_raw(&m, sizeof m, 4), expect_refused("four descriptors");
    CU_ASSERT_EQUAL(lowest_free(), before); /* none kept */
    close_pair();
}

static void will_not_send_nonsense(void) {
    open_pair();
    struct link_message m = message(LINK_OFFER);
    CU_ASSERT_EQUAL(link_send(pair[0], &m, -1), -EINVAL);
    m = message(LINK_FILE), m.path[0] = 27;
    CU_ASSERT_EQUAL(link_send(pair[0], &m, -1), -EINVAL);
    close_pair();
}

static void full_socket_is_eagain(void) {
    open_pair();
    struct link_message m = message(LINK_FILE);
    int rc = 0, n = 0;
    while (rc == 0 && n < 100000) rc = link_send(pair[0], &m, -1), n++;
    CU_ASSERT_EQUAL(rc, -EAGAIN);
    (void)close(pair[1]);
    CU_ASSERT_EQUAL(link_send(pair[0], &m, -1), -ECONNRESET); /* it left unread messages behind */
    CU_ASSERT_EQUAL(link_send(pair[0], &m, -1), -EPIPE);
    (void)close(pair[0]);
}

static void names_of_states(void) {
    CU_ASSERT_STRING_EQUAL(file_state_name(FILE_SETTLING), "settling");
    CU_ASSERT_STRING_EQUAL(file_state_name(FILE_SUPERSEDED), "superseded");
    CU_ASSERT_STRING_EQUAL(file_state_name(FILE_STATES), "unknown");
}

SUITE(link, {"a message arrives as it was sent", round_trip},
      {"an offer brings its descriptor", offer_brings_its_descriptor},
      {"a verdict brings its report", a_verdict_brings_its_report},
      {"refuses what is not ours and keeps no descriptor", refuses_what_is_not_ours},
      {"will not send nonsense", will_not_send_nonsense}, {"a full socket is EAGAIN", full_socket_is_eagain},
      {"names of states", names_of_states});
