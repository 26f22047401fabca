/* The pool is an array beside one large mapping. */
#include "daemon/slots.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE         ((size_t)64 << 10)  /* of any kernel, aarch64's included: madvise takes whole pages */
#define TRIM_IDLE    10000000000u        /* 10 s */
#define TRIM_ABOVE   ((size_t)256 << 10) /* what a slot may keep for good */
#define TRIM_AT_ONCE ((size_t)4 << 20)   /* about 0.3 ms of munmapping */
#define TRIM_LOOKS   1024

_Static_assert(PAGE >= LOOP_CHUNK, "a tensor's room takes a chunk");

static size_t round_up(size_t bytes) {
    return (bytes + PAGE - 1) & ~(PAGE - 1);
}

int slots_open(struct slots *s, uint32_t n, uint64_t tensor_bytes, struct err *e) {
    *s = (struct slots){.n = n};
    s->tensor_room = round_up(tensor_bytes);
    s->frame_room = round_up(FRAME_HEADER + tensor_bytes + SLOT_REPLY_EXTRA + SLOT_HEAD) - SLOT_HEAD;
    const size_t each = s->frame_room + SLOT_HEAD + s->tensor_room;
    if (__builtin_mul_overflow(each, (size_t)n, &s->memory_bytes)) s->memory_bytes = SIZE_MAX;
    s->slots = calloc(n, sizeof *s->slots);
    if (!s->slots) return err_set(e, ERR_SYSTEM, "out of memory for %u request slots", n);
    s->memory = mmap(NULL, s->memory_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->memory == MAP_FAILED) {
        const int why = errno;
        free(s->slots);
        *s = (struct slots){0};
        return err_set(
            e, ERR_SYSTEM,
            "no address space for %u slots of %zu MiB (%s): lower limits.queue or limits.request_bytes", n,
            each >> 20, strerror(why));
    }
    (void)madvise(s->memory, s->memory_bytes,
                  MADV_DONTDUMP); /* clients' pictures don't belong into core files */
    for (uint32_t i = n; i-- > 0;) {
        struct slot *slot = &s->slots[i];
        slot->frame = s->memory + (size_t)i * each;
        slot->tensor = slot->frame + s->frame_room + SLOT_HEAD;
        slot->next = s->free;
        s->free = slot;
    }
    return 0;
}

void slots_close(struct slots *s) {
    if (s->memory) (void)munmap(s->memory, s->memory_bytes);
    free(s->slots);
    *s = (struct slots){0};
}

struct slot *slots_take(struct slots *s) {
    struct slot *slot = s->free;
    if (!slot) return NULL;
    s->free = slot->next;
    s->n_taken++;
    slot->taken = true;
    slot->next = NULL;
    slot->tensor_bytes = slot->received = slot->sent = 0;
    slot->lent = NULL;
    slot->out = (struct frame_out){0};
    slot->request = (struct request){.input = slot->tensor,
                                     .reply = slot->frame + FRAME_HEADER,
                                     .reply_room = s->frame_room - FRAME_HEADER};
    return slot;
}

uint8_t *slots_landing(const struct slots *s) {
    return s->free ? s->free->tensor - SLOT_HEAD : NULL;
}

void slots_give(struct slots *s, struct slot *slot, uint64_t now) {
    assert(slot->taken);
    if (slot->tensor_bytes > slot->touched_tensor) slot->touched_tensor = slot->tensor_bytes;
    if (slot->out.n > slot->touched_frame) slot->touched_frame = slot->out.n;
    slot->taken = false;
    slot->owner = NULL;
    slot->given_ns = now;
    slot->next = s->free;
    s->free = slot;
    s->n_taken--;
}

/* Cuts `*touched` bytes at `at` down, from the end, by at most `most`. Returns how many. */
static size_t trim_tail(uint8_t *at, size_t *touched, size_t most) {
    const size_t pages = round_up(*touched);
    if (pages <= TRIM_ABOVE) return 0;
    size_t cut = pages - TRIM_ABOVE;
    if (cut > most) cut = most;
    if (madvise(at + (pages - cut), cut, MADV_DONTNEED)) return 0;
    *touched = pages - cut;
    return cut;
}

bool slots_trim(struct slots *s, uint64_t now) {
    size_t left = TRIM_AT_ONCE;
    for (uint32_t looks = 0; looks < s->n && looks < TRIM_LOOKS; looks++) {
        struct slot *slot = &s->slots[s->trim_at];
        if (!slot->taken && now - slot->given_ns >= TRIM_IDLE) {
            left -= trim_tail(slot->tensor, &slot->touched_tensor, left);
            left -= trim_tail(slot->frame, &slot->touched_frame, left);
            if (left == 0) return true; /* and goes on with this one */
        }
        s->trim_at = s->trim_at + 1 == s->n ? 0 : s->trim_at + 1;
    }
    return false;
}
