/* guard/decision: each has an identity of its own, and the fields that were promised. */
#include "guard/decision.h"
#include "guard/notice.h"
#include "guard/report.h"
#include "tests/suite.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void identities(void) {
    for (enum decision a = 0; a < DECISION_COUNT; a++) {
        CU_ASSERT_EQUAL(strspn(decision_id(a), "0123456789abcdef"), 32);
        for (enum decision b = 0; b < a; b++) CU_ASSERT_STRING_NOT_EQUAL(decision_id(a), decision_id(b));
    }
}

/* The catalog explains exactly these. */
static void the_catalog_has_them_all(void) {
    char line[512], want[64];
    int n = 0;
    FILE *f = fopen("systemd/clpd.catalog", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "-- ", 3) != 0) continue;
        int known = 0;
        for (enum decision d = 0; d < DECISION_COUNT; d++) {
            (void)snprintf(want, sizeof want, "-- %s\n", decision_id(d));
            known += strcmp(line, want) == 0;
        }
        CU_ASSERT_EQUAL(known, 1);
        n++;
    }
    (void)fclose(f);
    CU_ASSERT_EQUAL(n, DECISION_COUNT);
}

static void fields(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char got[4096] = "";
    struct link_message m = {.model = "signs",
                             .path = "signs.onnx",
                             .model_version = 4,
                             .sha256 = {0xab},
                             .verdict = VERDICT_PRUNED,
                             .pruned_channels = 7,
                             .total_channels = 99};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "/tmp/clpd-decision-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    notice_set_journal(at.sun_path);
    decision_note(DECISION_PRUNED, &m);
    CU_ASSERT_TRUE(recv(fd, got, sizeof got - 1, MSG_DONTWAIT) > 0);
    static const char *const want[] = {
        "MESSAGE=signs.onnx (version 4) serves, repaired: 7 of 99 channels pruned\n",
        "\nMESSAGE_ID=26c67c40fbab45c181aaa56f92953bab\n",
        "\nMODEL=signs\n",
        "\nFILE=signs.onnx\n",
        "\nVERSION=4\n",
        "\nSHA256=ab00",
        "\nVERDICT=pruned\n",
        "\nPRUNED=7\n",
        "\nTOTAL=99\n",
        "\nPRIORITY=6\n"};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) CU_ASSERT_PTR_NOT_NULL(strstr(got, want[i]));
    CU_ASSERT_PTR_NULL(strstr(got, "REASON="));
    notice_set_journal(NULL);
    (void)close(fd);
    (void)unlink(at.sun_path);
}

SUITE(decision, {"identities", identities}, {"the catalog has them all", the_catalog_has_them_all},
      {"fields", fields});
