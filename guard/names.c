/* Names to numbers: open addressing over SipHash-1-3 (Aumasson, Bernstein 2012;
 * one round per word and three at the end, as in common hash tables). */
#include "guard/names.h"

#include <string.h>
#include <sys/auxv.h>

struct name_slot {
    struct text name;
    uint32_t hash; /* the upper half, to compare before the text */
    int32_t number;
    bool taken;
};

static uint64_t rotate(uint64_t x, unsigned by) {
    return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static uint64_t hash(const struct names *t, struct text name) {
    uint64_t v[4] = {t->key[0] ^ 0x736f6d6570736575u, t->key[1] ^ 0x646f72616e646f6du,
                     t->key[0] ^ 0x6c7967656e657261u, t->key[1] ^ 0x7465646279746573u};
    for (size_t at = 0;; at += 8) {
        const size_t left = name.n - at, n = left < 8 ? left : 8;
        uint64_t word = left < 8 ? (uint64_t)name.n << 56 : 0;
        for (size_t i = 0; i < n; i++) word |= (uint64_t)(uint8_t)name.p[at + i] << (8 * i);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
        if (left < 8) break;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int names_init(struct names *n, size_t most, struct bump *memory) {
    size_t slots = 16;
    while (slots / 2 < most) slots *= 2; /* at most half full */
    /* The kernel hands each process 16 random bytes; no system call to be forbidden by a sandbox. */
    const void *random = (const void *)(uintptr_t)getauxval(AT_RANDOM);
    if (random) memcpy(n->key, random, sizeof n->key);
    n->mask = slots - 1;
    n->slots = bump_array(memory, slots, sizeof *n->slots);
    return n->slots ? 0 : -1;
}

static struct name_slot *find_slot(const struct names *n, struct text name, uint32_t *upper) {
    const uint64_t h = hash(n, name);
    *upper = (uint32_t)(h >> 32);
    for (size_t i = (size_t)h & n->mask;; i = (i + 1) & n->mask) {
        struct name_slot *s = &n->slots[i];
        if (!s->taken || (s->hash == *upper && text_equal(s->name, name))) return s;
    }
}

int32_t names_find(const struct names *n, struct text name) {
    uint32_t upper;
    const struct name_slot *s = find_slot(n, name, &upper);
    return s->taken ? s->number : -1;
}

int32_t names_add(struct names *n, struct text name, int32_t number) {
    uint32_t upper;
    struct name_slot *s = find_slot(n, name, &upper);
    if (s->taken) return s->number;
    *s = (struct name_slot){name, upper, number, true};
    return -1;
}
