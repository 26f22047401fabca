/* What systemd keeps for the next clpd: under which names, what is taken back, and that nothing forged is. */
#include "daemon/log.h"
#include "daemon/store.h"
#include "tests/daemon_case.h"
#include "tests/suite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ROOM 16

/* Plays systemd: a notification socket, and a store by name. */
static struct {
    char folder[32], path[64];
    int socket;
    struct notify_kept kept[ROOM];
    size_t n;
} manager;

static void begin(void) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    log_set_level(LOG_LEVEL_ERROR);
    memset(&manager, 0, sizeof manager);
    strcpy(manager.folder, "/tmp/clpd-store-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(manager.folder));
    (void)snprintf(manager.path, sizeof manager.path, "%s/notify", manager.folder);
    strcpy(a.sun_path, manager.path);
    manager.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CU_ASSERT_EQUAL_FATAL(bind(manager.socket, (struct sockaddr *)&a, sizeof a), 0);
    setenv("NOTIFY_SOCKET", manager.path, 1);
}

static void forget(const char *name) {
    for (size_t i = 0; i < manager.n;) {
        if (strcmp(manager.kept[i].name, name) == 0) {
            (void)close(manager.kept[i].fd);
            manager.kept[i] = manager.kept[--manager.n];
        } else {
            i++;
        }
    }
}

static void end(void) {
    unsetenv("NOTIFY_SOCKET");
    while (manager.n) forget(manager.kept[0].name);
    (void)close(manager.socket);
    (void)unlink(manager.path);
    CU_ASSERT_EQUAL(rmdir(manager.folder), 0);
}

/* Acts on what it has been told. */
static void listen_to_it(void) {
    char text[512];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(4 * sizeof(int))];
    } control;
    for (;;) {
        struct iovec v = {text, sizeof text - 1};
        struct msghdr m = {
            .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        const ssize_t n = recvmsg(manager.socket, &m, MSG_CMSG_CLOEXEC);
        if (n < 0) return;
        text[n] = 0;
        const char *name = strstr(text, "FDNAME=");
        CU_ASSERT_PTR_NOT_NULL_FATAL(name);
        name += strlen("FDNAME=");
        for (const char *p = name; *p; p++)
            CU_ASSERT_TRUE(*p > ' ' && *p < 0x7f && *p != ':'); /* systemd's rule */
        if (strncmp(text, "FDSTOREREMOVE=1\n", 16) == 0) forget(name);
        if (strncmp(text, "FDSTORE=1\n", 10) != 0) continue;
        const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            struct notify_kept *k = &manager.kept[manager.n++];
            memcpy(&k->fd, CMSG_DATA(c) + i * sizeof k->fd, sizeof k->fd);
            (void)snprintf(k->name, sizeof k->name, "%s", name);
        }
    }
}

/* What a new process is passed: copies, the last kept first. */
static struct store restart(void) {
    struct store s;
    listen_to_it();
    struct notify_kept *kept = calloc(ROOM, sizeof *kept);
    for (size_t i = 0; i < manager.n; i++) {
        kept[i] = manager.kept[manager.n - 1 - i];
        kept[i].fd = fcntl(kept[i].fd, F_DUPFD_CLOEXEC, 0);
    }
    store_open(&s, kept, manager.n);
    return s;
}

static int image(const char *model, uint64_t version, struct link_message *offer) {
    uint64_t bytes;
    const int fd = case_image(&(struct case_network){.factor = (float)version}, model, &bytes);
    *offer = case_offer(model, version, model, bytes);
    offer->policy = 77;
    return fd;
}

static void keep(const char *model, uint64_t version) {
    struct link_message offer;
    const int fd = image(model, version, &offer);
    store_keep_image(&offer, fd);
    (void)close(fd);
}

static void an_image_comes_back_as_it_was(void) {
    struct link_message offer;
    struct stat st;
    int fd;
    begin();
    keep("signs", 3);
    keep("p:1 %", 1); /* no model is called so; a name must not break the store */
    struct store s = restart();
    CU_ASSERT_EQUAL(manager.n, 4);
    CU_ASSERT_TRUE_FATAL(store_next_image(&s, &offer, &fd));
    CU_ASSERT_STRING_EQUAL(offer.model, "p:1 %");
    close(fd);
    CU_ASSERT_TRUE_FATAL(store_next_image(&s, &offer, &fd));
    CU_ASSERT_TRUE(strcmp(offer.model, "signs") == 0 && offer.model_version == 3 && offer.policy == 77 &&
                   offer.inherited == 1);
    CU_ASSERT_TRUE(fstat(fd, &st) == 0 && (uint64_t)st.st_size == offer.image_bytes);
    close(fd);
    CU_ASSERT_FALSE(store_next_image(&s, &offer, &fd));
    store_close(&s);
    listen_to_it();
    CU_ASSERT_EQUAL(manager.n, 4); /* what was taken stays for the time after */
    store_forget_image("signs", 3, offer.sha256);
    listen_to_it();
    end();
}

static void the_newest_of_two_is_taken(void) {
    struct link_message offer;
    int fd;
    begin();
    keep("signs", 4);
    keep("signs", 3); /* rolled back to, and killed before its predecessor was forgotten */
    struct store s = restart();
    CU_ASSERT_TRUE_FATAL(store_next_image(&s, &offer, &fd));
    CU_ASSERT_EQUAL(offer.model_version, 3);
    close(fd);
    CU_ASSERT_FALSE(store_next_image(&s, &offer, &fd));
    store_close(&s);
    listen_to_it();
    CU_ASSERT_EQUAL(manager.n, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(manager.kept[0].name, "signs.3."));
    end();
}

/* Neither by another name, nor unsealed, nor cut, nor alone. */
static void what_is_not_whole_is_forgotten(void) {
    struct link_message offer;
    int fd;
    begin();
    keep("a", 1);
    keep("b", 1);
    keep("c", 1);
    listen_to_it();
    CU_ASSERT_EQUAL_FATAL(manager.n, 6);
    for (int i = 0; i < 2; i++)
        (void)strcpy(strstr(manager.kept[i].name, "a.1"), "a.2.000000000000"); /* swapped names */
    (void)close(manager.kept[2].fd);                                           /* b has lost its image */
    manager.kept[2] = manager.kept[--manager.n];
    for (size_t i = 0; i < manager.n; i++) { /* c's record can be written to */
        struct stat st;
        if (strstr(manager.kept[i].name, ".c.1.") == NULL || fstat(manager.kept[i].fd, &st) ||
            st.st_size > 2000)
            continue;
        char bytes[2000];
        const ssize_t n = pread(manager.kept[i].fd, bytes, sizeof bytes, 0);
        fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        CU_ASSERT_EQUAL(write(fd, bytes, (size_t)n), n);
        (void)close(manager.kept[i].fd);
        manager.kept[i].fd = fd;
    }
    struct store s = restart();
    CU_ASSERT_FALSE(store_next_image(&s, &offer, &fd));
    store_close(&s);
    listen_to_it();
    CU_ASSERT_EQUAL(manager.n, 0);
    end();
}

static bool can_connect(const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool yes = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    (void)close(fd);
    return yes;
}

static void a_listening_socket_survives(void) {
    struct socket_file f;
    struct err e = {0};
    char path[96];
    begin();
    (void)snprintf(path, sizeof path, "%s/s", manager.folder);
    struct store s = restart();
    int fd = store_listen(&s, "stream", &f, path, 0600, "", &e);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    (void)close(fd); /* the process ends */
    store_close(&s);
    socket_file_remove(&f);
    listen_to_it();
    CU_ASSERT_EQUAL_FATAL(manager.n, 1);
    CU_ASSERT_TRUE(can_connect(path)); /* nobody accepts, nobody is refused */
    s = restart();
    fd = store_listen(&s, "stream", &f, path, 0600, "", &e);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    const int client = accept(fd, NULL, NULL); /* who connected meanwhile */
    CU_ASSERT_TRUE(client >= 0);
    (void)close(client);
    (void)close(fd);
    store_close(&s);
    CU_ASSERT_EQUAL(unlink(path), 0); /* somebody has tidied up: what listens can't be reached any more */
    s = restart();
    fd = store_listen(&s, "stream", &f, path, 0600, "", &e);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_TRUE(can_connect(path));
    (void)close(fd);
    store_close(&s);
    listen_to_it();
    CU_ASSERT_EQUAL(manager.n, 1);
    CU_ASSERT_EQUAL(unlink(path), 0);
    end();
}

static void without_systemd_nothing_is_kept(void) {
    struct link_message offer;
    struct store s = {0};
    int fd = image("a", 1, &offer);
    unsetenv("NOTIFY_SOCKET");
    store_keep_image(&offer, fd);
    (void)close(fd);
    CU_ASSERT_FALSE(store_next_image(&s, &offer, &fd));
    store_close(&s);
}

SUITE(store, {"an image comes back as it was", an_image_comes_back_as_it_was},
      {"the newest of two is taken", the_newest_of_two_is_taken},
      {"what is not whole is forgotten", what_is_not_whole_is_forgotten},
      {"a listening socket survives", a_listening_socket_survives},
      {"without systemd nothing is kept", without_systemd_nothing_is_kept});
