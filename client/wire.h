/* The stream protocol of clpd, byte for byte: what every client speaks.
 *
 * Frames go both ways over a Unix stream socket: a 32-byte header, then `bytes`
 * of body. All integers and floats are little-endian; the structures below are
 * the wire. Requests may be pipelined; replies carry the request's id and come
 * in any order. docs/protocol.md tells it in prose.
 * Nothing but fixed-width types here: a client in another language copies it. */
#ifndef CLPD_WIRE_H
#define CLPD_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define CLPD_MAGIC        0x44504c43u /* "CLPD" as bytes */
#define CLPD_WIRE_VERSION 1
#define CLPD_MODEL_NAME   64 /* bytes with the terminating NUL */
#define CLPD_MAX_RANK     6
#define CLPD_MAX_TOP_K    1000

enum clpd_frame_type {
    CLPD_INFER = 1,       /* clpd_infer, then the tensor */
    CLPD_INFER_REPLY = 2, /* clpd_reply, then scores, top-k, labels; or a text where status is not 0 */
    CLPD_STATUS = 3,      /* no body */
    CLPD_MODELS = 4,      /* no body */
    CLPD_JSON_REPLY = 5,  /* the answer to STATUS and MODELS: JSON text */
    CLPD_ERROR = 6,       /* clpd_reply with a text: a frame that could not be understood, or done */
    CLPD_RING_OPEN = 16,  /* clpd_ring_open (ring.h): a ring in shared memory, please */
    CLPD_CONTROL = 32, /* clpd_control: a change of what is served; JSON_REPLY when it is done, else ERROR */
    CLPD_RING_REPLY = 17 /* clpd_ring_info, and two descriptors (SCM_RIGHTS); refused: CLPD_ERROR */
};

enum clpd_status {
    CLPD_OK = 0,
    CLPD_BUSY = 1,        /* the queue or your share of it is full: try again later */
    CLPD_DEADLINE = 2,    /* the time was up before it could run; nothing was computed */
    CLPD_NO_MODEL = 3,    /* no model of that name is being served */
    CLPD_BAD_SHAPE = 4,   /* rank, dimensions or format are not what the model takes; the text says what is */
    CLPD_BAD_REQUEST = 5, /* a field is out of range */
    CLPD_TOO_LARGE = 6,   /* over the daemon's limit for one request */
    CLPD_BAD_FRAME = 7,   /* not this protocol; the connection is closed after this reply */
    CLPD_INTERNAL = 8,
    CLPD_SHUTTING_DOWN = 9, /* the daemon is stopping: connect again */
    CLPD_FORBIDDEN = 10,    /* the peer's user may not do this */
    CLPD_CONFLICT = 11      /* CONTROL: it can't be done as things are; the text says why */
};

enum clpd_format {
    CLPD_F32_NCHW = 0, /* float32, as the network wants it: no preprocessing. Any rank: dims as the model's */
    CLPD_U8_NHWC = 1   /* uint8 pictures; the daemon scales and normalises */
};

struct clpd_header {   /* 32 bytes */
    uint32_t magic;    /* CLPD_MAGIC */
    uint8_t version;   /* CLPD_WIRE_VERSION */
    uint8_t type;      /* enum clpd_frame_type */
    uint16_t flags;    /* 0 */
    uint64_t id;       /* chosen by the client, given back in the reply */
    uint64_t bytes;    /* of the body */
    uint64_t reserved; /* 0 */
};

enum { CLPD_WANT_SCORES = 1 }; /* clpd_infer.flags */

struct clpd_infer {               /* 96 bytes */
    char model[CLPD_MODEL_NAME];  /* NUL-terminated; empty: the only model, if there is just one */
    uint32_t timeout_us;          /* 0: none; counted from the arrival of the frame's header */
    uint16_t top_k;               /* 0..CLPD_MAX_TOP_K, cut to the number of classes */
    uint8_t flags;                /* CLPD_WANT_SCORES */
    uint8_t format;               /* enum clpd_format */
    uint32_t dims[CLPD_MAX_RANK]; /* all dimensions, the batch first; unused ones 0.
                                     F32: as the model's input; U8: N, H, W, C */
};

enum clpd_action {
    CLPD_ROLLBACK = 1, /* back to the version before */
    CLPD_ACCEPT = 2    /* the file that is held is served all the same */
};

struct clpd_control {            /* 96 bytes */
    char model[CLPD_MODEL_NAME]; /* NUL-terminated, never empty */
    uint32_t action;             /* enum clpd_action */
    uint32_t reserved[7];        /* 0 */
};

struct clpd_reply {      /* 96 bytes */
    uint32_t status;     /* enum clpd_status; not 0: a text of text_bytes follows, and nothing else */
    uint32_t items;      /* pictures answered */
    uint32_t classes;    /* scores per picture */
    uint32_t top_k;      /* entries per picture */
    uint64_t version;    /* of the model that answered, the same for all of the frame; counts up from 1 */
    uint64_t queue_ns;   /* from the last byte's arrival to the start of the computation */
    uint64_t compute_ns; /* the batch that it ran in */
    uint32_t batch;      /* pictures in that batch */
    uint32_t has_scores; /* 1: items x classes float32 come first */
    uint32_t text_bytes; /* labels (or the error text) at the end, NUL-terminated each */
    uint32_t reserved;
    uint8_t sha256[32]; /* of the ONNX file that the model was made from */
    uint64_t reserved2;
};

struct clpd_top {      /* 16 bytes; items x top_k of them follow the scores, best first */
    uint32_t index;    /* class */
    float score;       /* the network's output */
    float probability; /* softmax of the scores; the score itself where the network ends in Softmax */
    uint32_t label;    /* offset of its label in the text, or CLPD_NO_LABEL */
};
#define CLPD_NO_LABEL UINT32_MAX

_Static_assert(sizeof(struct clpd_header) == 32 && offsetof(struct clpd_header, id) == 8, "wire");
_Static_assert(sizeof(struct clpd_infer) == 96 && offsetof(struct clpd_infer, dims) == 72, "wire");
_Static_assert(sizeof(struct clpd_control) == 96 && offsetof(struct clpd_control, action) == 64, "wire");
_Static_assert(sizeof(struct clpd_reply) == 96 && offsetof(struct clpd_reply, sha256) == 56, "wire");
_Static_assert(sizeof(struct clpd_top) == 16, "wire");

#endif
