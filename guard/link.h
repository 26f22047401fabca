/* The messages between clpd and its child clp-guard, over one SOCK_SEQPACKET
 * socketpair. The guard offers sealed images (an SCM_RIGHTS descriptor rides
 * with LINK_OFFER) and tells the state of every file; clpd answers offers.
 *
 * One message a packet, a fixed record; whatever has the wrong size, version,
 * type or an unterminated string is refused, on both sides: each treats the
 * other as a process that may have been taken over. */
#ifndef GUARD_LINK_H
#define GUARD_LINK_H

#include <stdbool.h>
#include <stdint.h>

#define LINK_VERSION 5
#define LINK_MODEL   64 /* with the NUL */
#define LINK_PATH    256
#define LINK_REASON  512

enum link_type {
    LINK_HELLO = 1, /* both ways, first: the versions must agree */
    LINK_OFFER,     /* guard -> clpd, with one descriptor */
    LINK_FILE,      /* guard -> clpd: the state of a file, on every change */
    LINK_FILE_GONE, /* guard -> clpd: forget this file's line */
    LINK_RETIRE,    /* guard -> clpd: the operator removed the model; stop serving it */
    LINK_SETTLED,   /* guard -> clpd: everything found at start has been dealt with; detail: watch back end */
    LINK_ANSWER,    /* clpd -> guard: an offer (model, model_version) was taken, or refused */
    LINK_SERVING, /* clpd -> guard after HELLO: one for each model served already (the guard was restarted, or
                     clpd was and systemd had kept the image: `inherited`), with all that was offered */
    LINK_RESTORED, /* guard -> clpd: every kept image was offered and answered; what is new comes after */
    LINK_RELOAD,   /* clpd -> guard: read the configuration again */
    LINK_ALIVE, /* guard -> clpd: now and then, and when it changes how it watches; detail: watch back end */
    LINK_CONTROL, /* clpd -> guard: a person asks; count: enum link_action, model, reason: who, model_version:
                   * a number that the answer carries */
    LINK_CONTROLLED, /* guard -> clpd: done (accepted), or not; reason tells which, in words */
    LINK_PROBE, /* guard -> clpd: how the probe of a served model stands. sha256: of the contents it is about;
                 * state: enum probe_stage; count: percent done; verdict: enum probe_verdict; accepted: what
                 * serves is the repaired network; reason: in words. PROBE_KNOWN has one descriptor: the
                 * encoded report */
    LINK_TYPES
};

enum probe_stage { PROBE_NONE, PROBE_WAITS, PROBE_RUNS, PROBE_KNOWN, PROBE_FAILED, PROBE_STAGES };

enum link_action { LINK_ROLLBACK = 1, LINK_ACCEPT = 2 };

enum file_state { /* DESIGN section 6 */
                  FILE_SEEN,
                  FILE_SETTLING,
                  FILE_IMPORTING,
                  FILE_SEALED,
                  FILE_OFFERED,
                  FILE_SERVING,
                  FILE_REJECTED,
                  FILE_SUPERSEDED,
                  FILE_HELD,    /* waits for a person: clpctl accept */
                  FILE_PROBING, /* compiled; it is not served before its probe has come to a verdict */
                  FILE_STATES
};

struct link_identity { /* of the resolved file: has it changed? */
    uint64_t device, inode, size;
    int64_t mtime_ns, ctime_ns;
};

struct link_message {
    uint32_t version, type; /* LINK_VERSION, enum link_type */
    uint32_t state;         /* FILE: enum file_state */
    uint32_t verdict;       /* OFFER, FILE: enum verdict */
    uint64_t model_version; /* counts up per model from 1 */
    uint64_t image_bytes;   /* OFFER */
    int64_t pruned_channels, total_channels;
    uint64_t
        closed_ns; /* OFFER: CLOCK_REALTIME of the file's last change, for "file closed -> first answer" */
    uint32_t accepted;  /* ANSWER */
    uint32_t count;     /* HELLO of clpd: so many LINK_SERVING follow; before, nothing is imported */
    uint64_t policy;    /* OFFER, SERVING: stands for the policy that it was decided under */
    uint32_t inherited; /* SERVING: 1 where it was decided before this clpd was started */
    uint32_t canary;    /* OFFER, FILE, SERVING: how many samples keep their class, as canary_share */
    uint32_t repaired;  /* OFFER, SERVING: 1 where it lacks the channels that its probe named */
    uint32_t probe;     /* OFFER, SERVING: what its NAME.yaml asks of the probe, as in struct report */
    uint64_t build;     /* OFFER, SERVING: stands for what compiled it */
    struct link_identity identity;
    uint8_t sha256[32]; /* of the ONNX file */
    /* OFFER, SERVING: of the files beside it, in the guard's order; clpd gives them back as they came. */
    uint8_t beside[3][32];
    char model[LINK_MODEL];
    char path[LINK_PATH];     /* relative to the model folder */
    char reason[LINK_REASON]; /* FILE: why rejected or what is awaited; ANSWER: why refused */
};
_Static_assert(sizeof(struct link_message) == 96 + 40 + 128 + 64 + 256 + 512, "link message layout");

/* Whether it is a message of ours, for one that came by another way than link_receive. Pure. */
bool link_check(const struct link_message *m, bool has_fd);

/* Sends one message, with `fd` if it is >= 0 (not taken). 0 or -errno (-EAGAIN: the peer is slow). */
int link_send(int sock, const struct link_message *m, int fd);
/* Receives and checks one message; *fd is the descriptor or -1, the caller's to
 * close. 1: a message; 0: end; -errno; -EPROTO: not a message of ours. */
int link_receive(int sock, struct link_message *m, int *fd);

const char *file_state_name(uint32_t state);

#endif
