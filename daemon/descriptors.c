/* What is counted here is what the loop, rings and HTTP open for their clients. */
#include "daemon/descriptors.h"

#include "daemon/log.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#define SPARE_FILES 64 /* descriptors besides the connections' */

/* Besides the clients' connections: rings, those of HTTP, and for each request of it both ends of its line.
 */
static rlim_t spare_files(const struct config *c) {
    const rlim_t rings = (rlim_t)c->limit_rings + 2; /* their bells, and what is being sent */
    const rlim_t http =
        c->http_connections + c->http_threads * (2 * (rlim_t)c->http_inflight + c->http_pictures + 8);
    return SPARE_FILES + rings + (strcmp(c->http_path, "off") == 0 && !c->http_listen[0] ? 0 : http);
}

uint32_t descriptors_make_room(const struct config *c) {
    const uint32_t connections = c->limit_connections;
    const rlim_t spare = spare_files(c);
    struct rlimit r;
    const rlim_t want = (rlim_t)connections + spare;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= want) return connections;
    const rlim_t had = r.rlim_cur;
    r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
    if (setrlimit(RLIMIT_NOFILE, &r)) r.rlim_cur = had;
    if (r.rlim_cur >= want) return connections;
    const uint32_t room = r.rlim_cur > spare + 1 ? (uint32_t)(r.rlim_cur - spare) : 1;
    log_warning("only %" PRIu64
                " file descriptors are allowed (LimitNOFILE=): %u connections are taken instead "
                "of limits.connections (%u)",
                (uint64_t)r.rlim_cur, room, connections);
    return room;
}
