/* From settings to one number, and from a report to a decision. */
#include "guard/policy.h"

#include "infer/image.h"

#include <string.h>

/* FNV-1a: not against attackers (these are the operator's own words), only against chance. */
static uint64_t mix(uint64_t h, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

#define START UINT64_C(0xcbf29ce484222325)

uint64_t policy_digest(const struct config *c) {
    return mix(START, &c->guard_threshold, sizeof c->guard_threshold);
}

uint64_t policy_build(void) {
    const uint32_t made[] = {IMAGE_VERSION, (uint32_t)image_host_isa()};
    return mix(mix(START, made, sizeof made), CLPD_VERSION, sizeof CLPD_VERSION);
}
