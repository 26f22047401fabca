/* guard/state_record: only what was encoded is decoded, and every field is looked at. */
#include "guard/state.h"
#include "infer/digest.h"
#include "tests/mutate.h"
#include "tests/suite.h"

static struct state_record good(void) {
    struct state_record r = {.model = "signs", .last_version = 9, .barred_reason = "rolled back"};
    r.current =
        (struct state_image){.version = 9, .bytes = 100, .path = "signs.onnx", .total = 5, .pruned = 2};
    r.other = (struct state_image){.version = 7, .bytes = 90, .path = "signs/7/model.onnx"};
    r.accepted.model[3] = 1;
    return r;
}

static int decode(const struct state_record *r, struct err *e) {
    uint8_t b[STATE_RECORD_BYTES];
    struct state_record out;
    state_record_encode(r, b);
    return state_record_decode(b, sizeof b, &out, e);
}

static void there_and_back(void) {
    struct state_record r = good(), out;
    uint8_t b[STATE_RECORD_BYTES + 1];
    struct err e = {0};
    state_record_encode(&r, b);
    CU_ASSERT_EQUAL(state_record_decode(b, STATE_RECORD_BYTES, &out, &e), 0);
    CU_ASSERT_EQUAL(memcmp(&r, &out, sizeof r), 0);
    CU_ASSERT_EQUAL(state_record_decode(b, STATE_RECORD_BYTES + 1, &out, &e), -1);
    CU_ASSERT_TRUE(state_digests_are_set(&out.accepted));
    CU_ASSERT_FALSE(state_digests_are_set(&out.barred));
}

/* With a digest that agrees: what each field may not be. */
static void fields(void) {
    struct err e = {0};
    struct state_record r = good();
#define REFUSED(CHANGE)                                                                                      \
    do {                                                                                                     \
        r = good();                                                                                          \
        CHANGE;                                                                                              \
        CU_ASSERT_EQUAL(decode(&r, &e), -1);                                                                 \
    } while (0)
    CU_ASSERT_EQUAL(decode(&r, &e), 0);
    REFUSED(r.model[0] = '.');
    REFUSED(r.model[0] = 0);
    REFUSED(r.model[60] = 'x'); /* behind the end */
    REFUSED(memset(r.model, 'a', sizeof r.model));
    REFUSED(r.current.version = 10);
    REFUSED(r.other.version = 9);
    REFUSED(r.current.bytes = 0);
    REFUSED(r.current.bytes = UINT64_MAX);
    REFUSED(r.current.version = 0); /* but something in it */
    REFUSED(r.current.verdict = VERDICT_COUNT);
    REFUSED(r.current.pruned = 6);
    REFUSED(r.current.pruned = -1);
    REFUSED(r.current.path[0] = 0; memset(r.current.path, 0, sizeof r.current.path));
    REFUSED(strcpy(r.current.path, "/etc/passwd"));
    REFUSED(strcpy(r.current.path, "../x.onnx"));
    REFUSED(strcpy(r.current.path, "signs/../x.onnx"));
    REFUSED(strcpy(r.current.path, "signs//x"));
    REFUSED(strcpy(r.current.path, "a\nb"));
    REFUSED(r.barred_reason[0] = 7);
}

static void damage(void) {
    struct state_record r = good(), out;
    uint8_t b[STATE_RECORD_BYTES], c[STATE_RECORD_BYTES];
    struct err e = {0};
    state_record_encode(&r, b);
    for (size_t at = 0; at < sizeof b; at++) {
        memcpy(c, b, sizeof b);
        c[at] ^= 4;
        CU_ASSERT_EQUAL(state_record_decode(c, sizeof c, &out, &e), -1);
    }
    for (size_t n = 0; n < sizeof b; n += 97) CU_ASSERT_EQUAL(state_record_decode(b, n, &out, &e), -1);
    memcpy(c, b, sizeof b); /* something behind the record, and a digest that agrees */
    c[STATE_RECORD_BYTES - DIGEST_BYTES - 1] = 1;
    digest_sha256(c, sizeof c - DIGEST_BYTES, c + sizeof c - DIGEST_BYTES);
    CU_ASSERT_EQUAL(state_record_decode(c, sizeof c, &out, &e), -1);
}

SUITE(state_record, {"there and back", there_and_back}, {"what each field may not be", fields},
      {"damage", damage});
