/* daemon/desk: who may, and who waits. */
#include "daemon/desk.h"
#include "tests/suite.h"

#include <grp.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static void who_may(void) {
    int pair[2];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    const uid_t other = geteuid() == 4711 ? 4712 : 4711;
    struct ucred peer = {.pid = 5, .uid = 0, .gid = 4711};
    CU_ASSERT_TRUE(desk_allows(&peer, pair[0], ""));
    peer.uid = geteuid();
    CU_ASSERT_TRUE(desk_allows(&peer, pair[0], ""));
    peer.uid = other;
    CU_ASSERT_FALSE(desk_allows(&peer, pair[0], ""));
    CU_ASSERT_FALSE(desk_allows(&peer, pair[0], "no-such-group-here"));
    const struct group *g = getgrgid(0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(g);
    char name[64];
    (void)snprintf(name, sizeof name, "%s", g->gr_name);
    peer.gid = 0;
    CU_ASSERT_TRUE(desk_allows(&peer, pair[0], name));
    peer = (struct ucred){.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1}; /* not known */
    CU_ASSERT_FALSE(desk_allows(&peer, pair[0], name));
    peer =
        (struct ucred){.pid = 5, .uid = 65534, .gid = 65534}; /* nobody, as PrivateUsers= shows all others */
    CU_ASSERT_FALSE(desk_allows(&peer, pair[0], "nogroup"));
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void who_waits(void) {
    static struct desk d;
    const struct ucred peer = {.pid = 5, .uid = 7};
    const struct clpd_control q = {.model = "signs", .action = CLPD_ACCEPT};
    struct link_message m;
    char places[DESK_WAITING + 1];
    for (int i = 0; i < DESK_WAITING; i++) {
        CU_ASSERT_TRUE(desk_note(&d, (struct connection *)(void *)&places[i], (uint64_t)i, &peer, &q, &m));
        CU_ASSERT_EQUAL(m.model_version, (uint64_t)i + 1);
    }
    CU_ASSERT_EQUAL(m.count, LINK_ACCEPT);
    CU_ASSERT_EQUAL(m.type, LINK_CONTROL);
    CU_ASSERT_STRING_EQUAL(m.model, "signs");
    CU_ASSERT_PTR_NOT_NULL(strstr(m.reason, "user 7"));
    CU_ASSERT_FALSE(desk_note(&d, (struct connection *)(void *)&places[8], 9, &peer, &q, &m));
    struct desk_waiter w = desk_settle(&d, 3);
    CU_ASSERT_EQUAL(w.id, 2);
    CU_ASSERT_PTR_EQUAL(w.connection, &places[2]);
    CU_ASSERT_PTR_NULL(desk_settle(&d, 3).connection); /* once */
    CU_ASSERT_PTR_NULL(desk_settle(&d, 99).connection);
    int left = 0;
    while (desk_drop(&d).connection) left++;
    CU_ASSERT_EQUAL(left, DESK_WAITING - 1);
}

SUITE(desk, {"who may", who_may}, {"who waits", who_waits});
