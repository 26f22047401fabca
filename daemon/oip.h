/* Open Inference Protocol v2 as bytes: an inference request read, its answer written.
 * Knows neither HTTP nor the daemon. Pure: (bytes, size) in, every field checked; any thread.
 *
 * One input tensor and one output tensor, since that is what clpd serves. */
#ifndef DAEMON_OIP_H
#define DAEMON_OIP_H

#include "client/clpd.h"
#include "daemon/json_read.h"

#include <stdio.h>

#define OIP_NAME    256 /* of a tensor, with the NUL */
#define OIP_OUTPUTS 4   /* most that a request may ask for; the first is what there is */

enum oip_type { OIP_FP32, OIP_UINT8 };

struct oip_output {
    char name[OIP_NAME];
    bool has_binary, binary; /* "binary_data" */
    uint64_t classes;        /* "classification": 0: all scores */
};

struct oip_request {
    bool has_id;
    struct json_text id; /* as it came, to be given back */
    char input[OIP_NAME];
    enum oip_type type;
    uint32_t rank;
    uint32_t dims[CLPD_MAX_RANK];
    uint64_t elements; /* their product; at most 2^40 */
    bool has_binary;   /* the tensor stands behind the JSON */
    uint64_t binary_bytes;
    struct json_read data; /* where "data" begins; checked as JSON, not yet as numbers */
    uint32_t n_outputs;
    struct oip_output outputs[OIP_OUTPUTS];
    bool binary_output;
    uint64_t timeout_us;
};

/* The JSON of a request; its texts point into `bytes`. 0, or -1 with `e` set. */
int oip_read(const uint8_t *bytes, size_t size, struct oip_request *q, struct err *e);
/* "data", flat or nested as the shape is, into `tensor`: q->elements floats or bytes. 0, or -1 with `e` set.
 */
int oip_read_data(const struct oip_request *q, void *tensor, struct err *e);

uint64_t oip_tensor_bytes(const struct oip_request *q);

struct oip_answer { /* borrowed */
    const char *model;
    const struct json_text *id; /* NULL: none */
    const char *output;
    uint32_t rank; /* of the output; dims[0] is the batch */
    uint32_t dims[CLPD_MAX_RANK];
    bool binary;
    bool classes; /* the classification extension: r->top instead of r->scores */
    const struct clpd_result *result;
};
/* Writes JSON, and behind it the tensor where that is binary; *json_bytes is the length of the JSON.
 * 0, -EDOM: a score is not finite, which JSON can't say; -EIO: not all written. */
int oip_write(FILE *to, const struct oip_answer *a, size_t *json_bytes);

/* A JSON string with its quotes; what is no UTF-8 becomes '?'. */
void oip_put_text(FILE *to, const char *text);

#endif
