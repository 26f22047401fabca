/* Which path is what, and by which method. */
#include "daemon/http_route.h"
#include "tests/suite.h"

#include <string.h>

static void found(void) {
    static const struct {
        const char *method, *path;
        enum http_what what;
        bool allowed;
        const char *model;
        uint64_t version;
    } rows[] = {
        {"GET", "/", HTTP_PAGE, true, "", 0},
        {"HEAD", "/", HTTP_PAGE, true, "", 0},
        {"POST", "/", HTTP_PAGE, false, "", 0},
        {"GET", "/v2", HTTP_SERVER, true, "", 0},
        {"GET", "/v2/", HTTP_SERVER, true, "", 0},
        {"GET", "/v2/health/live", HTTP_SERVER_LIVE, true, "", 0},
        {"GET", "/v2/models/stats", HTTP_ALL_STATS, true, "", 0},
        {"GET", "/v2/models/m", HTTP_MODEL, true, "m", 0},
        {"GET", "/v2/models/m/versions/12", HTTP_MODEL, true, "m", 12},
        {"POST", "/v2/models/m/infer", HTTP_INFER, true, "m", 0},
        {"GET", "/v2/models/m/infer", HTTP_INFER, false, "m", 0},
        {"POST", "/v2/models/a b/versions/3/infer", HTTP_INFER, true, "a b", 3},
        {"PUT", "/v2/models/m/infer", HTTP_INFER, false, "m", 0},
        {"POST", "/v2/repository/index", HTTP_INDEX, true, "", 0},
        {"POST", "/v2/repository/models/m/unload", HTTP_UNLOAD, true, "m", 0},
        {"GET", "/reports/m", HTTP_REPORT, true, "m", 0},
        {"GET", "", HTTP_NOTHING, false, "", 0},
        {"GET", "x", HTTP_NOTHING, false, "", 0},
        {"GET", "/v3", HTTP_NOTHING, false, "", 0},
        {"GET", "/v2/models/", HTTP_NOTHING, false, "", 0},
        {"GET", "/v2/models/m/", HTTP_NOTHING, false, "", 0},
        {"GET", "/v2/models/m/versions/0", HTTP_NOTHING, false, "", 0},
        {"GET", "/v2/models/m/versions/x", HTTP_NOTHING, false, "", 0},
        {"GET", "/v2/models/m/versions/1/ready/x", HTTP_NOTHING, false, "", 0},
        {"GET", "//v2", HTTP_NOTHING, false, "", 0},
        {"GET", "/v2/models/m/versions/1234567890123456789", HTTP_NOTHING, false, "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_route r;
        http_route_find(rows[i].method, rows[i].path, &r);
        if (r.what != rows[i].what || (r.what && r.allowed != rows[i].allowed) ||
            strcmp(r.model, rows[i].model) != 0 || r.version != rows[i].version)
            CU_FAIL(rows[i].path);
    }
    CU_PASS("said");
}

static void long_names(void) {
    char path[128] = "/v2/models/";
    struct http_route r;
    memset(path + 11, 'a', 64);
    http_route_find("GET", path, &r);
    CU_ASSERT_EQUAL(r.what, HTTP_NOTHING);
    path[11 + 63] = 0;
    http_route_find("GET", path, &r);
    CU_ASSERT_EQUAL(r.what, HTTP_MODEL);
    CU_ASSERT_EQUAL(strlen(r.model), 63);
}

SUITE(http_route, {"found", found}, {"names that are too long", long_names});
