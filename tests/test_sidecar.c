/* config/sidecar.c: labels, preprocessing and threshold of one model, from a hostile file. */
#include "config/sidecar.h"
#include "tests/mutate.h"
#include "tests/suite.h"

static int parse(struct sidecar *s, const char *text, struct err *e) {
    return sidecar_parse(s, "m.yaml", (const uint8_t *)text, strlen(text), e);
}

static void refused(const char *text, const char *want) {
    struct sidecar s;
    struct err e = {0};
    CU_ASSERT_EQUAL(parse(&s, text, &e), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(e.text, want));
    if (!strstr(e.text, want)) fprintf(stderr, "\n  wanted \"%s\"\n  got    \"%s\"\n", want, e.text);
    CU_ASSERT_EQUAL(s.n_labels, 0);
    sidecar_free(&s); /* allowed after a failure, too */
}

static void defaults(void) {
    struct sidecar s;
    CU_ASSERT_EQUAL(parse(&s, "", NULL), 0);
    CU_ASSERT_EQUAL(s.scale, 1.0f / 255.0f);
    for (int i = 0; i < 4; i++) CU_ASSERT_TRUE(s.mean[i] == 0 && s.std[i] == 1);
    CU_ASSERT_TRUE(s.n_mean == 0 && s.n_std == 0 && s.n_labels == 0 && !s.labels && !s.bgr &&
                   !s.has_threshold && !s.has_probe);
    sidecar_free(&s);
    sidecar_free(&s);
}

static const char good[] =
    "labels:\n  - stop\n  - \"give way\"\n  - no\n  - 30\n  - Stra\xc3\x9f"
    "e\n"
    "input:\n  scale: 1/255\n  mean: [0.485, 0.456, 0.406]\n  std: [0.229, 0.224, 0.225]\n"
    "  channel_order: bgr\nguard:\n  threshold: 2.5\n  probe: before-serving\n";

static void every_key_is_read(void) {
    struct sidecar s;
    struct err e = {0};
    int rc = parse(&s, good, &e);
    CU_ASSERT_EQUAL(rc, 0);
    if (rc) {
        fprintf(stderr, "\n  %s\n", e.text);
        return;
    }
    CU_ASSERT_EQUAL_FATAL(s.n_labels, 5);
    CU_ASSERT_STRING_EQUAL(s.labels[1], "give way");
    CU_ASSERT_STRING_EQUAL(s.labels[2], "no");
    CU_ASSERT_STRING_EQUAL(s.labels[3], "30");
    CU_ASSERT_STRING_EQUAL(s.labels[4], "Stra\xc3\x9f"
                                        "e");
    CU_ASSERT_EQUAL(s.scale, 1.0f / 255.0f);
    CU_ASSERT_TRUE(s.n_mean == 3 && s.mean[0] == 0.485f && s.mean[2] == 0.406f);
    CU_ASSERT_TRUE(s.n_std == 3 && s.std[1] == 0.224f);
    CU_ASSERT_TRUE(s.bgr && s.has_threshold && s.threshold == 2.5f);
    CU_ASSERT_TRUE(s.has_probe && s.probe == 2);
    sidecar_free(&s);
    CU_ASSERT_EQUAL(s.n_labels, 0);
}

static void demo_sidecar_is_taken(void) {
    uint8_t bytes[4096];
    FILE *f = fopen("scripts/signs/models/signs.yaml", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    struct sidecar s;
    struct err e = {0};
    CU_ASSERT_EQUAL(sidecar_parse(&s, "signs.yaml", bytes, n, &e), 0);
    if (e.code) fprintf(stderr, "\n  %s\n", e.text);
    CU_ASSERT_TRUE(s.n_labels == 12 && s.n_mean == 3 && s.n_std == 3 && s.scale == 1.0f / 255.0f);
    sidecar_free(&s);
}

static void one_value_is_for_all_channels(void) {
    struct sidecar s;
    CU_ASSERT_EQUAL(parse(&s, "input: {mean: 0.5, std: [2], scale: 1}\n", NULL), 0);
    CU_ASSERT_TRUE(s.n_mean == 1 && s.n_std == 1 && s.scale == 1);
    for (int i = 0; i < 4; i++) CU_ASSERT_TRUE(s.mean[i] == 0.5f && s.std[i] == 2);
    CU_ASSERT_EQUAL(parse(&s, "input: {mean: 1, std: [1, 2, 3, 4]}\n", NULL), 0);
    CU_ASSERT_TRUE(s.n_mean == 1 && s.n_std == 4 && s.std[3] == 4);
}

static void labels_are_strict(void) {
    refused("labels: stop\n", "m.yaml:1: labels: this is not a list; the names of the classes");
    refused("labels:\n", "this is not a list");
    refused("labels: {a: b}\n", "this is not a list");
    refused("labels: []\n", "the list is empty");
    refused("labels: [a, [b]]\n", "label 1 is not a text");
    refused("labels: [a, {b: c}]\n", "label 1 is not a text");
    refused("labels:\n  - a\n  -\n", "label 1 is empty");
    refused("labels: [a, \"\"]\n", "label 1 is empty");
    refused("labels: [\"a\\tb\"]\n", "label 0, 'a?b', has control characters in it");
    refused("labels: [\"\\e[31m\"]\n", "has control characters in it");
    refused("labels: [\"\\x9b\"]\n", "has control characters in it");
    refused("labels: [\"\\u2028\"]\n", "has control characters in it");
    char text[300] = "labels: [";
    memset(text + 9, 'x', 255);
    strcpy(text + 264, "]");
    struct sidecar s;
    CU_ASSERT_EQUAL(parse(&s, text, NULL), 0);
    sidecar_free(&s);
    strcpy(text + 264, "x]");
    refused(text, "has 256 bytes");
}

static void labels_are_counted(void) {
    char *text = malloc((size_t)4 * (SIDECAR_MAX_LABELS + 1) + 16);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    strcpy(text, "labels:\n");
    for (size_t i = 0, at = 8; i <= SIDECAR_MAX_LABELS; i++, at += 4) memcpy(text + at, "- a\n", 5);
    refused(text, "100001 are too many");
    text[8 + 4 * SIDECAR_MAX_LABELS] = 0;
    struct sidecar s;
    CU_ASSERT_EQUAL(parse(&s, text, NULL), 0);
    CU_ASSERT_EQUAL(s.n_labels, SIDECAR_MAX_LABELS);
    sidecar_free(&s);
    free(text);
    size_t large = SIDECAR_MAX_BYTES + 1;
    char *bytes = malloc(large);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
    memset(bytes, '#', large);
    struct err e = {0};
    CU_ASSERT_EQUAL(sidecar_parse(&s, "m.yaml", (uint8_t *)bytes, large, &e), -1);
    CU_ASSERT_EQUAL(e.code, ERR_LIMIT);
    CU_ASSERT_EQUAL(sidecar_parse(&s, "m.yaml", (uint8_t *)bytes, large - 1, &e), 0);
    free(bytes);
}

static void input_is_strict(void) {
    refused("input: {scale: 0}\n", "m.yaml:1: input.scale: 0 is out of range; what a pixel");
    refused("input: {scale: -1}\n", "out of range");
    refused("input: {scale: .nan}\n", "'.nan' is not a number");
    refused("input: {scale: 1e300}\n", "out of range");
    refused("input: {std: 0}\n", "input.std: 0 is out of range");
    refused("input: {std: [1, 1, 1e-60]}\n", "1e-60 is out of range");
    refused("input: {std: [1, -1, 1]}\n", "-1 is out of range");
    refused("input: {mean: [1, 2]}\n", "a list of 2, where there are 1, 3 or 4 channels");
    refused("input: {mean: []}\n", "a list of 0");
    refused("input: {mean: [1, 2, 3, 4, 5]}\n", "a list of 5");
    refused("input: {mean: [1, [2], 3]}\n", "a list stands here");
    refused("input: {mean: {r: 1}}\n", "keys stand below it");
    refused("input: {mean: [1, 2, inf]}\n", "'inf' is not a number");
    refused("input: {mean: [\"1\", 2, 3]}\n", "is quoted");
    refused("input: {mean: [1, 2, 3], std: [1, 2, 3, 4]}\n",
            "input.mean is for 3 channels and input.std for 4");
    refused("input: {channel_order: rbg}\n", "'rbg' is none of them");
    refused("input: {order: rgb}\n",
            "m.yaml:1: input.order: unknown key; known below input: scale, mean, std, channel_order");
    refused("guard: {threshold: -3}\n", "guard.threshold: -3 is out of range");
    refused("label: [a]\n", "did you mean labels");
    refused("threshold: 3\n", "did you mean guard.threshold");
    refused("labels: [a]\nguard: {threshold: x}\n", "'x' is not a number"); /* and the labels are freed */
}

static void mutants_do_no_harm(void) {
    static const char *const words[] = {"1/255", "0",     "-1",      "1e38",      "1e-45",     "nan",
                                        "\"",    "&a ",   "*a",      "[",         "]",         "{",
                                        "}",     "- ",    "\n---\n", "labels:\n", "rgb",       ": ",
                                        "\\x00", "\\x1b", "\xff",    "\t",        "[1, 2, 3]", NULL};
    struct mutate_room room;
    CU_ASSERT_EQUAL_FATAL(mutate_room_open(&room, 4096), 0);
    uint64_t seed = 99;
    unsigned taken = 0;
    for (int i = 0; i < 8000; i++) {
        uint8_t b[1024];
        size_t size = sizeof good - 1;
        memcpy(b, good, size);
        for (size_t k = 1 + mutate_below(&seed, 3); k > 0; k--)
            size = mutate_once(b, size, sizeof b, words, &seed);
        struct sidecar s;
        struct err e = {0};
        if (sidecar_parse(&s, "m.yaml", mutate_room_put(&room, b, size), size, &e)) {
            CU_ASSERT_TRUE(e.code != ERR_NONE && strncmp(e.text, "m.yaml:", 7) == 0);
            continue;
        }
        taken++;
        CU_ASSERT_TRUE(s.scale > 0 && s.std[0] > 0 && s.std[1] > 0 && s.std[2] > 0 && s.std[3] > 0);
        for (uint32_t k = 0; k < s.n_labels; k++)
            CU_ASSERT_TRUE(strlen(s.labels[k]) > 0 && strlen(s.labels[k]) < 256);
        sidecar_free(&s);
    }
    CU_ASSERT_TRUE(taken > 100 && taken < 7900); /* both ways are walked */
    mutate_room_close(&room);
}

SUITE(sidecar, {"defaults", defaults}, {"every key is read", every_key_is_read},
      {"the demo's sidecar is taken", demo_sidecar_is_taken},
      {"one value is for all channels", one_value_is_for_all_channels},
      {"labels are strict", labels_are_strict}, {"labels are counted", labels_are_counted},
      {"input and threshold are strict", input_is_strict}, {"8000 mutants do no harm", mutants_do_no_harm});
