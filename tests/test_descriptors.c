/* Where few descriptors are allowed, clients get fewer connections, and the guard keeps its own. */
#include "daemon/descriptors.h"
#include "daemon/log.h"
#include "tests/suite.h"

#include <string.h>
#include <sys/resource.h>

static void room(void) {
    struct rlimit before, few;
    struct config c;
    config_defaults(&c);
    log_set_level(LOG_LEVEL_ERROR);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    c.limit_connections = 16;
    CU_ASSERT_EQUAL(descriptors_make_room(&c), 16);
    strcpy(c.http_path, "off");
    c.limit_rings = 0;
    c.limit_connections = before.rlim_max > 1u << 20 ? UINT32_MAX : (uint32_t)before.rlim_max;
    few = before;
    few.rlim_cur = 128; /* it may be raised again, up to rlim_max, and that is not enough */
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
    const uint32_t got = descriptors_make_room(&c);
    CU_ASSERT_TRUE(got < c.limit_connections && got + 64 <= before.rlim_max);
    CU_ASSERT_TRUE(getrlimit(RLIMIT_NOFILE, &few) == 0 && few.rlim_cur == before.rlim_max);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
}

SUITE(descriptors, {"room", room});
