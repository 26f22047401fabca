/* Slots: fixed memory, warm ones first, idle pages given back. */
#include "daemon/slots.h"
#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECOND 1000000000ull

static void take_and_give(void) {
    struct slots s;
    struct slot *a[4];
    struct err e;
    CU_ASSERT_EQUAL_FATAL(slots_open(&s, 4, 100000, &e), 0);
    for (int i = 0; i < 4; i++) {
        uint8_t *landing = slots_landing(&s);
        a[i] = slots_take(&s);
        CU_ASSERT_PTR_EQUAL(landing + FRAME_HEADER + FRAME_INFER, a[i]->tensor);
        memset(landing, i, LOOP_CHUNK);
        CU_ASSERT_PTR_NOT_NULL_FATAL(a[i]);
        CU_ASSERT_EQUAL((uintptr_t)a[i]->tensor % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
        CU_ASSERT_EQUAL((size_t)(a[i]->tensor - s.memory) % 65536, 0); /* nobody else's pages are trimmed */
        CU_ASSERT_EQUAL((uintptr_t)a[i]->request.reply % 8, 0);
        CU_ASSERT_PTR_EQUAL(a[i]->request.reply, a[i]->frame + FRAME_HEADER);
        CU_ASSERT_TRUE(a[i]->request.reply_room >= 100000 + SLOT_REPLY_EXTRA);
        memset(a[i]->tensor, i, 100000); /* no two overlap */
        memset(a[i]->request.reply, i, a[i]->request.reply_room);
    }
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(a[i]->tensor[0], i);
        CU_ASSERT_EQUAL(a[i]->tensor[-1], i);
        CU_ASSERT_EQUAL(a[i]->tensor[-(ptrdiff_t)SLOT_HEAD], i); /* no reply reaches there */
        CU_ASSERT_EQUAL(a[i]->tensor[99999], i);
        CU_ASSERT_EQUAL(a[i]->request.reply[a[i]->request.reply_room - 1], i);
    }
    CU_ASSERT_PTR_NULL(slots_landing(&s));
    CU_ASSERT_PTR_NULL(slots_take(&s));
    CU_ASSERT_EQUAL(s.n_taken, 4);
    slots_give(&s, a[1], 0);
    slots_give(&s, a[2], 0);
    CU_ASSERT_PTR_EQUAL(slots_take(&s), a[2]); /* the one whose pages are warm */
    CU_ASSERT_EQUAL(s.n_taken, 3);
    slots_close(&s);
}

static size_t resident(const uint8_t *at, size_t bytes) {
    unsigned char pages[8192];
    size_t n = 0;
    CU_ASSERT_EQUAL_FATAL(mincore((void *)(uintptr_t)at, bytes, pages), 0);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < bytes / page; i++) n += pages[i] & 1;
    return n * page;
}

static void trimmed(void) {
    const size_t large = 8u << 20;
    struct slots s;
    struct err e;
    CU_ASSERT_EQUAL_FATAL(slots_open(&s, 3, large, &e), 0);
    struct slot *a = slots_take(&s), *b = slots_take(&s);
    for (int i = 0; i < 2; i++) {
        struct slot *slot = i ? b : a;
        slot->tensor_bytes = large;
        memset(slot->tensor, 1, large);
    }
    CU_ASSERT_EQUAL(resident(a->tensor, large), large);
    slots_give(&s, a, 5 * SECOND);
    CU_ASSERT_FALSE(slots_trim(&s, 6 * SECOND)); /* not idle for long enough */
    CU_ASSERT_EQUAL(resident(a->tensor, large), large);
    CU_ASSERT_TRUE(slots_trim(&s, 16 * SECOND)); /* a piece at a time */
    const size_t left = resident(a->tensor, large);
    CU_ASSERT_TRUE(left < large && left >= large / 3);
    while (slots_trim(&s, 16 * SECOND)) {}
    CU_ASSERT_TRUE(resident(a->tensor, large) <= 256 << 10);
    CU_ASSERT_EQUAL(resident(b->tensor, large), large); /* in use: nobody's business */
    CU_ASSERT_EQUAL(b->tensor[large - 1], 1);
    slots_give(&s, b, 16 * SECOND);
    CU_ASSERT_FALSE(slots_trim(&s, 17 * SECOND));
    slots_close(&s);
}

static void too_much(void) {
    struct slots s;
    struct err e = {0};
    CU_ASSERT_EQUAL(slots_open(&s, 65536, 1ull << 34, &e),
                    -1); /* 2 PiB: x86-64 has 2^47 bytes, aarch64 2^48 */
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "limits.queue"));
    CU_ASSERT_EQUAL_FATAL(slots_open(&s, 1024, 16u << 20, &e),
                          0); /* the defaults: address space, no memory */
    slots_close(&s);
}

SUITE(slots, {"taken and given back", take_and_give}, {"idle pages are given back", trimmed},
      {"more than the address space", too_much});
