/* The shared-memory ring of clpd, byte for byte: requests and answers without the kernel.
 *
 * A client asks for one on its stream connection (CLPD_RING_OPEN), and gets two descriptors with the answer:
 * a memfd of the daemon's, sealed against resizing, and an eventfd, the bell. It maps the memory, writes
 * tensors into slots and requests into the first ring, and finds answers in the second. One thread of the
 * client at a time.
 *
 *   memory:   | head | request[slots] | answer[slots] | slot 0: reply, tensor | slot 1 | …
 *
 *   request   client: tensor into a slot -> request[submitted % slots] -> submitted + 1    (release)
 *   answer    clpd:   reply into the slot -> answer[answered % slots] -> answered + 1      (release)
 *
 * Both counters only ever grow, modulo 2^32. A slot is the daemon's from `submitted` until its answer; then
 * reply and tensor stand still until the client uses the slot again. Answers come in any order. There are as
 * many answers as slots, so a client that reads none of them loses the oldest, and nobody else notices.
 *
 * Sleeping. Each side looks at the other's counter for as long as it likes (reading costs the other nothing
 * while nothing changes), and then sleeps so that no wake-up is lost; both sides follow the same two lines:
 *
 *   the one who sleeps:   own flag = 1;   full fence;   look at the counter again;   sleep if nothing is new
 *   the one who wakes:    counter + 1;    full fence;   if the flag is 1: wake
 *
 * Of two full fences one comes first: either the sleeper sees the counter, or the other sees the flag
 * (Dekker).
 *
 *   clpd sleeps:     flag `daemon_sleeps`; the client sets it to 0 (who finds it 0 by then need not ring) and
 *                    writes 8 bytes, the number 1, to the bell
 *   client sleeps:   flag `client_sleeps`, which it sets to 0 itself when it is awake; it waits by futex(2)
 * on `answered` (not FUTEX_PRIVATE), clpd wakes that
 *
 * Looking helps where the other end runs meanwhile. On the same CPU it keeps that from running, so each end
 * leaves word where it was (`client_cpu`, `daemon_cpu`), and who finds itself beside the other sleeps at
 * once. A client that leaves 0 there is taken to be elsewhere.
 *
 * The difference: a bell that has rung is heard later, too; a futex that was woken before somebody sleeps is
 * not. tests/model/ring.pml is a model of this.
 *
 * A ring ends with its connection. `closed` is then a status of wire.h, as it is where clpd gave the ring up:
 * a request that no client of good will writes (a slot that does not exist or is still the daemon's, more
 * requests than slots). Bad fields of a request are answered like those of a frame, and cost nothing else.
 * clpd copies a request once and checks the copy; the tensor is only ever read as numbers, so a client that
 * changes it under way changes its own answer. Fixed-width types only: a client in another language copies
 * this. */
#ifndef CLPD_RING_H
#define CLPD_RING_H

#if defined(__cplusplus) && !defined(_Static_assert)
#define _Static_assert static_assert /* this is C */
#endif
#include "wire.h"

#define CLPD_RING_MAGIC       0x52504c43u /* "CLPR" as bytes */
#define CLPD_RING_VERSION     1
#define CLPD_RING_MAX_SLOTS   1024
#define CLPD_RING_REPLY_BYTES 4096 /* bytes for an answer where none are asked for: a top 100 with labels */

struct clpd_ring_open {    /* 32 bytes: body of CLPD_RING_OPEN */
    uint32_t slots;        /* a power of two up to CLPD_RING_MAX_SLOTS and limits.inflight */
    uint32_t flags;        /* 0 */
    uint64_t tensor_bytes; /* of the largest tensor */
    uint64_t reply_bytes;  /* of the largest answer, clpd_reply included; 0: CLPD_RING_REPLY_BYTES */
    uint64_t reserved;     /* 0 */
};

struct clpd_ring_info { /* 64 bytes: body of CLPD_RING_REPLY. Descriptors with its first byte: memory, bell */
    uint32_t version;   /* CLPD_RING_VERSION */
    uint32_t slots;
    uint64_t bytes;       /* of the memory: map all of it, MAP_SHARED */
    uint32_t requests_at; /* offset of clpd_ring_request[slots] */
    uint32_t answers_at;  /* of clpd_ring_answer[slots] */
    uint64_t slots_at;    /* slot i lies at slots_at + i * slot_bytes, its reply first */
    uint64_t slot_bytes;
    uint64_t tensor_at; /* within a slot; a multiple of 64, and what the reply may take */
    uint64_t tensor_room;
    uint64_t reserved;
};

struct clpd_ring_head {      /* 768 bytes: whoever writes has pairs of cache lines of its own */
    uint32_t magic, version; /* by clpd, once */
    uint8_t pad0[120];
    uint32_t submitted;  /* by the client: requests written */
    uint32_t client_cpu; /* by the client: 1 + the CPU that it runs on; 0: unknown */
    uint8_t pad1[120];
    uint32_t client_sleeps; /* 1, and 0 when it is awake again, by the client alone */
    uint8_t pad2[124];
    uint32_t answered;   /* by clpd: answers written; a futex */
    uint32_t daemon_cpu; /* by clpd: 1 + the CPU that the last answer came from */
    uint8_t pad3[120];
    uint32_t daemon_sleeps; /* 1 by clpd; 0 by the client that rings, or by clpd when it is awake */
    uint8_t pad4[124];
    uint32_t closed; /* by clpd: 0, or enum clpd_status: nothing comes any more */
    uint8_t pad5[124];
};

struct clpd_ring_request { /* 128 bytes */
    uint64_t id;           /* the client's, given back in the answer */
    uint32_t slot;         /* where the tensor lies, and the reply will */
    uint32_t reserved;     /* 0 */
    uint64_t tensor_bytes;
    uint64_t reserved2;      /* 0 */
    struct clpd_infer infer; /* as in a frame; timeout_us counts from when clpd sees it */
};

struct clpd_ring_answer { /* 16 bytes */
    uint64_t id;
    uint32_t slot;
    uint32_t bytes; /* of the reply in the slot: clpd_reply and what follows it, as in a frame */
};

_Static_assert(sizeof(struct clpd_ring_open) == 32, "ring");
_Static_assert(sizeof(struct clpd_ring_info) == 64 && offsetof(struct clpd_ring_info, slots_at) == 24,
               "ring");
_Static_assert(sizeof(struct clpd_ring_head) == 768 && offsetof(struct clpd_ring_head, submitted) == 128 &&
                   offsetof(struct clpd_ring_head, client_sleeps) == 256 &&
                   offsetof(struct clpd_ring_head, answered) == 384 &&
                   offsetof(struct clpd_ring_head, daemon_sleeps) == 512 &&
                   offsetof(struct clpd_ring_head, closed) == 640,
               "ring");
_Static_assert(sizeof(struct clpd_ring_request) == 128 && offsetof(struct clpd_ring_request, infer) == 32,
               "ring");
_Static_assert(sizeof(struct clpd_ring_answer) == 16, "ring");

#endif
