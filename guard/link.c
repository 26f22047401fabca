/* Sends and receives the messages of guard/link.h; both ends use this file, and
 * neither believes the other: a packet that is not exactly one of ours is refused.
 * No state; any thread, one at a time per socket. */
#include "guard/link.h"

#include "guard/canary.h"

#include "guard/report.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* A name may come from whoever can write to the model folder; control bytes in
 * it would reach logs and terminals. */
static bool text_is_clean(const char *s, size_t cap) {
    for (size_t i = 0; i < cap; i++) {
        if (s[i] == 0) return true;
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) return false;
    }
    return false; /* unterminated */
}

bool link_check(const struct link_message *m, bool has_fd) {
    return m->version == LINK_VERSION && m->type >= LINK_HELLO && m->type < LINK_TYPES &&
           m->state < FILE_STATES && (m->type != LINK_PROBE || m->state < PROBE_STAGES) &&
           m->verdict < VERDICT_COUNT && m->accepted <= 1 && m->inherited <= 1 && m->repaired <= 1 &&
           canary_share_is_sound(m->canary) &&
           has_fd == (m->type == LINK_OFFER || (m->type == LINK_PROBE && m->state == PROBE_KNOWN)) &&
           text_is_clean(m->model, sizeof m->model) && text_is_clean(m->path, sizeof m->path) &&
           text_is_clean(m->reason, sizeof m->reason);
}

int link_send(int sock, const struct link_message *m, int fd) {
    if (!link_check(m, fd >= 0)) return -EINVAL;
    struct link_message copy = *m;
    struct iovec iov = {.iov_base = &copy, .iov_len = sizeof copy};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    ssize_t n;
    do n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == ENOBUFS || errno == ENOMEM)) return -EAGAIN; /* no memory in the kernel just now */
    if (n < 0) return -errno;
    return n == (ssize_t)sizeof copy ? 0 : -EPROTO;
}

/* The first descriptor that came along goes to *fd, any other is closed (the
 * padding of the control buffer has room for a second one). Their number. */
static int take_descriptors(struct msghdr *msg, int *fd) {
    int n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++, n++) {
            int got;
            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof got);
            if (n == 0)
                *fd = got;
            else
                (void)close(got);
        }
    }
    return n;
}

int link_receive(int sock, struct link_message *m, int *fd) {
    *fd = -1;
    struct iovec iov = {.iov_base = m, .iov_len = sizeof *m};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    ssize_t n;
    do n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0) return -errno;
    int descriptors = take_descriptors(&msg, fd);
    if (n == 0 && descriptors == 0) return 0;
    bool whole = n == (ssize_t)sizeof *m && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    if (whole && descriptors <= 1 && link_check(m, descriptors == 1)) return 1;
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
    return -EPROTO;
}

const char *file_state_name(uint32_t state) {
    static const char *const names[FILE_STATES] = {"seen",    "settling", "importing",  "sealed", "offered",
                                                   "serving", "rejected", "superseded", "held",   "probing"};
    return state < FILE_STATES ? names[state] : "unknown";
}
