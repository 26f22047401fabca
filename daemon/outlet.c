/* A word that changes hands. */
#include "daemon/outlet.h"

#include <assert.h>
#include <sched.h>
#include <sys/socket.h>

static bool pass(struct outlet *o, uint32_t from, uint32_t to) {
    return atomic_compare_exchange_strong_explicit(&o->holder, &from, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

size_t outlet_send(struct outlet *o, const uint8_t *bytes, size_t n) {
    if (!pass(o, OUTLET_FREE, OUTLET_WORKER)) return 0;
    const ssize_t k =
        send(o->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL); /* what fails fails again for the loop */
    const bool part = k > 0 && (size_t)k < n;
    atomic_store_explicit(&o->holder, part ? OUTLET_HANDED : OUTLET_FREE, memory_order_release);
    return k > 0 ? (size_t)k : 0;
}

bool outlet_take(struct outlet *o) {
    return atomic_load_explicit(&o->holder, memory_order_relaxed) == OUTLET_LOOP ||
           pass(o, OUTLET_FREE, OUTLET_LOOP);
}

void outlet_end(struct outlet *o) {
    while (!outlet_take(o) && atomic_load_explicit(&o->holder, memory_order_acquire) != OUTLET_HANDED)
        (void)sched_yield();
}

void outlet_adopt(struct outlet *o) {
    assert(atomic_load_explicit(&o->holder, memory_order_relaxed) == OUTLET_HANDED);
    atomic_store_explicit(&o->holder, OUTLET_LOOP, memory_order_relaxed);
}

void outlet_free(struct outlet *o) {
    assert(atomic_load_explicit(&o->holder, memory_order_relaxed) == OUTLET_LOOP);
    atomic_store_explicit(&o->holder, OUTLET_FREE, memory_order_release);
}
