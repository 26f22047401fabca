#include "tests/loop_case.h"

#include "tests/suite.h"

struct loop *case_loop(enum loop_kind kind, uint32_t streams) {
    struct err e = {0};
    struct loop *l = loop_new(kind, streams, &e);
    if (!l && kind == LOOP_URING) suite_skip("loop over io_uring", e.text);
    return l;
}

void case_on_loops(void (*test)(struct loop *l)) {
    for (int kind = LOOP_URING; kind <= LOOP_EPOLL; kind++) {
        struct loop *l = case_loop((enum loop_kind)kind, 8);
        if (!l) continue;
        CU_ASSERT_STRING_EQUAL(loop_backend(l), kind == LOOP_URING ? "io_uring" : "epoll");
        test(l);
        loop_free(l);
    }
}

bool case_turn_until(struct loop *l, const bool *flag) {
    const uint64_t end = loop_clock() + 2 * SECOND;
    while (!*flag && loop_clock() < end)
        if (loop_turn(l, SECOND / 20)) break;
    return *flag;
}
