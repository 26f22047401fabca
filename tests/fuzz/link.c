/* Packets of any content between clpd and guard. The first byte: how many descriptors ride along. */
#include "guard/link.h"
#include "tests/fuzz/support/fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void send_packet(int sock, const uint8_t *bytes, size_t size, size_t fds) {
    struct iovec v = {(void *)(uintptr_t)bytes, size};
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(3 * sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    if (fds) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(fds * sizeof(int))};
        memcpy(CMSG_DATA(c), (int[]){sock, sock, sock}, fds * sizeof(int));
    }
    FUZZ_MUST(sendmsg(sock, &m, MSG_NOSIGNAL) == (ssize_t)size, "%zu bytes", size);
}

static void check(const struct link_message *m, int fd) {
    FUZZ_MUST((fd >= 0) == (m->type == LINK_OFFER) && m->type < LINK_TYPES, "type %u", m->type);
    FUZZ_MUST(memchr(m->model, 0, sizeof m->model) && memchr(m->path, 0, sizeof m->path), "unterminated");
    FUZZ_MUST(memchr(m->reason, 0, sizeof m->reason), "unterminated");
}

FUZZ(link, 1200) {
    struct link_message m;
    int pair[2], fd = -1;
    if (size < 2 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) return 0;
    send_packet(pair[0], bytes + 1, size - 1, bytes[0] % 4);
    const int rc = link_receive(pair[1], &m, &fd);
    FUZZ_MUST(rc == 1 || fd < 0, "a descriptor came with %d", rc);
    if (rc == 1) check(&m, fd);
    if (fd >= 0) (void)close(fd);
    (void)close(pair[0]);
    (void)close(pair[1]);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the lowest free number: none was left open */
    FUZZ_MUST(fd == pair[0], "%d and not %d", fd, pair[0]);
    (void)close(fd);
    return 0;
}
