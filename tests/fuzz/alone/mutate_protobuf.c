/* A mutator that keeps protobuf whole: bytes changed blindly would spoil a length
 * somewhere above, and hardly an input would get past the first message.
 *
 *   message -> one of its fields -> (a message again: down into it)
 *           -> payload changed, field dropped, doubled, swapped with another, or filled
 *              with the payload of a field elsewhere -> lengths above written anew
 *
 * libFuzzer calls it on one thread. */
#include "tests/fuzz/support/fuzz.h"

#include <stdbool.h>
#include <string.h>

#define MAX_FIELDS 256
#define MAX_DEPTH  12
#define MAX_BYTES  65536

static uint64_t state;

static uint32_t below(uint32_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return n ? (uint32_t)(state >> 33) % n : 0;
}

/* --- wire format ------------------------------------------------------------------------ */

struct field {
    size_t begin, payload, end; /* offsets: tag, what follows tag and length, behind it all */
    unsigned type;
};

static bool take_varint(const uint8_t *b, size_t size, size_t *at, uint64_t *v) {
    *v = 0;
    for (unsigned shift = 0; shift < 64 && *at < size; shift += 7) {
        *v |= (uint64_t)(b[*at] & 127) << shift;
        if (!(b[(*at)++] & 128)) return true;
    }
    return false;
}

static size_t put_varint(uint8_t *to, uint64_t v) {
    size_t n = 0;
    for (; v > 127; v >>= 7) to[n++] = (uint8_t)(v | 128);
    to[n++] = (uint8_t)v;
    return n;
}

/* The fields of a message; 0: it is none. */
static uint32_t split(const uint8_t *b, size_t size, struct field out[MAX_FIELDS]) {
    uint32_t n = 0;
    for (size_t at = 0; at < size; n++) {
        uint64_t tag, v = 0;
        if (n == MAX_FIELDS) return 0;
        struct field *f = &out[n];
        f->begin = at;
        if (!take_varint(b, size, &at, &tag) || tag >> 3 == 0 || tag >> 3 > 1000) return 0;
        f->type = (unsigned)tag & 7;
        f->payload = at;
        if (f->type == 0 && !take_varint(b, size, &at, &v)) return 0;
        if (f->type == 2) {
            if (!take_varint(b, size, &at, &v)) return 0;
            f->payload = at;
        } else {
            if (f->type != 0 && f->type != 1 && f->type != 5) return 0;
            v = f->type == 1 ? 8 : f->type == 5 ? 4 : 0;
        }
        if (v > size - at) return 0;
        f->end = at += (size_t)v;
    }
    return n;
}

/* --- one change ---------------------------------------------------------------------------- */

static const uint8_t *whole; /* the input as it came: payloads are taken from it */
static size_t whole_size;

/* Some payload of the input, reached by chance. */
static const uint8_t *pick(size_t *n) {
    struct field f[MAX_FIELDS];
    const uint8_t *at = whole;
    size_t size = whole_size;
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        const uint32_t fields = split(at, size, f);
        if (fields == 0) break;
        const struct field *one = &f[below(fields)];
        if (one->type != 2) continue;
        at += one->payload;
        size = one->end - one->payload;
        if (below(5) == 0) break;
    }
    *n = size;
    return at;
}

/* Puts `n` bytes in place of b[from, to); the new size, or the old one where there is no room. */
static size_t replace(uint8_t *b, size_t size, size_t room, size_t from, size_t to, const uint8_t *put,
                      size_t n) {
    if (size - (to - from) + n > room) return size;
    memmove(b + from + n, b + to, size - to);
    memcpy(b + from, put, n);
    return size - (to - from) + n;
}

/* The field with another payload, its length written anew. */
static size_t refill(uint8_t *b, size_t size, size_t room, const struct field *f, const uint8_t *put,
                     size_t n) {
    static uint8_t made[MAX_BYTES + 32];
    size_t tag_end = f->begin, at;
    uint64_t tag;
    if (n > MAX_BYTES || !take_varint(b, size, &tag_end, &tag)) return size;
    at = tag_end - f->begin;
    memcpy(made, b + f->begin, at);
    if (f->type == 2) at += put_varint(made + at, n);
    memcpy(made + at, put, n);
    return replace(b, size, room, f->begin, f->end, made, at + n);
}

static size_t change_number(uint8_t *b, size_t size, size_t room, const struct field *f) {
    static const uint64_t edges[] = {0,   1,     2,         3,          7,         16,
                                     255, 65535, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
    size_t at = f->payload;
    uint64_t v;
    uint8_t made[10];
    if (!take_varint(b, size, &at, &v)) return size;
    switch (below(3)) {
    case 0: v = edges[below(sizeof edges / sizeof *edges)]; break;
    case 1: v += below(9) - 4u; break;
    default: v = below(64); break;
    }
    return refill(b, size, room, f, made, put_varint(made, v));
}

static size_t change_payload(uint8_t *b, size_t size, size_t room, const struct field *f) {
    static uint8_t made[MAX_BYTES];
    size_t n = f->end - f->payload;
    if (f->type == 0) return change_number(b, size, room, f);
    if (n > sizeof made) return size;
    if (f->type == 2 && below(2)) { /* a name from elsewhere ties the graph together in another way */
        size_t other;
        const uint8_t *put = pick(&other);
        if (other <= 64 || below(4) == 0) return refill(b, size, room, f, put, other);
    }
    memcpy(made, b + f->payload, n);
    n = LLVMFuzzerMutate(made, n, f->type == 2 ? sizeof made : n);
    if (f->type != 2) n = f->end - f->payload;
    return refill(b, size, room, f, made, n);
}

static size_t change_field(uint8_t *b, size_t size, size_t room, const struct field *f,
                           const struct field *other) {
    static uint8_t copy[MAX_BYTES];
    const size_t n = other->end - other->begin;
    switch (below(8)) {
    case 0: return replace(b, size, room, f->begin, f->end, copy, 0);
    case 1: /* the other one again, before this */
        if (n > sizeof copy) return size;
        memcpy(copy, b + other->begin, n);
        return replace(b, size, room, f->begin, f->begin, copy, n);
    case 2:
        if (f->type != 2 || other->type != 2 || other->end - other->payload > sizeof copy) return size;
        memcpy(copy, b + other->payload, other->end - other->payload);
        return refill(b, size, room, f, copy, other->end - other->payload);
    default: return change_payload(b, size, room, f);
    }
}

static size_t change(uint8_t *b, size_t size, size_t room, int depth) {
    struct field f[MAX_FIELDS];
    const uint32_t n = depth < MAX_DEPTH ? split(b, size, f) : 0;
    if (n == 0) return LLVMFuzzerMutate(b, size, room);
    const struct field *one = &f[below(n)];
    const size_t inside = one->end - one->payload;
    struct field ignored[MAX_FIELDS];
    if (one->type != 2 || below(6) == 0 || split(b + one->payload, inside, ignored) == 0)
        return change_field(b, size, room, one, &f[below(n)]);
    uint8_t *copy = malloc(MAX_BYTES);
    if (!copy || inside > MAX_BYTES) {
        free(copy);
        return size;
    }
    memcpy(copy, b + one->payload, inside);
    const size_t changed = change(copy, inside, MAX_BYTES, depth + 1);
    size = refill(b, size, room, one, copy, changed);
    free(copy);
    return size;
}

size_t fuzz_mutate_protobuf(uint8_t *bytes, size_t size, size_t room, unsigned seed) {
    static uint8_t before[MAX_BYTES];
    state = seed;
    if (size > sizeof before || below(50) == 0) return LLVMFuzzerMutate(bytes, size, room);
    for (uint32_t times = 1 + below(3); times > 0; times--) {
        memcpy(before, bytes, size);
        whole = before;
        whole_size = size;
        size = change(bytes, size, room, 0);
        if (size > sizeof before) break;
    }
    return size;
}
