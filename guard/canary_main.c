/* clp-canary: runs samples through one network as it came and as it was repaired, in a cage, and counts how
 * many keep their class.
 *
 *   both images (sizes and seals only) -> OpenBLAS's memory -> SANDBOX -> samples -> image_check -> agree ->
 * answer
 *
 * A program of its own, for the same reason as clp-probe: it needs OpenBLAS, and the import worker must not
 * have it. It gets sealed images, the samples read-only and a pipe. Not a byte of any is interpreted before
 * the sandbox stands. One thread. */
#include "guard/canary_wire.h"
#include "guard/engine_cage.h"
#include "guard/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_SAMPLES ((off_t)256 << 20) /* bytes of the file */

struct job {
    const uint8_t *bytes[2];
    size_t size[2], samples;
    unsigned long seconds;
    unsigned long long memory;
};

static int measure_samples(struct job *j, struct err *e) {
    struct stat st;
    if (fstat(CANARY_SAMPLES, &st) < 0) return err_set(e, ERR_SYSTEM, "the samples: %s", strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > MOST_SAMPLES)
        return err_set(e, ERR_LIMIT, "the samples have %lld bytes; 1 to %lld are taken",
                       (long long)st.st_size, (long long)MOST_SAMPLES);
    j->samples = (size_t)st.st_size;
    return 0;
}

static int enter_sandbox(const struct job *j, struct err *e) {
    char note[ERR_TEXT]; /* the import worker has said it already */
    const struct sandbox_options o = {.keep = UINT64_C(1) << CANARY_SAMPLES | UINT64_C(1) << CANARY_ANSWER,
                                      .seconds = (uint32_t)j->seconds,
                                      .memory = j->memory,
                                      .output = 1};
    return sandbox_enter(&o, note, e);
}

static int read_samples(const struct job *j, uint8_t **out, struct err *e) {
    uint8_t *p = malloc(j->samples);
    if (!p) return err_set(e, ERR_LIMIT, "no memory for the samples");
    for (size_t have = 0; have < j->samples;) {
        const ssize_t n = pread(CANARY_SAMPLES, p + have, j->samples - have, (off_t)have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            free(p);
            return err_set(e, ERR_SYSTEM, "the samples changed while they were read");
        }
        have += (size_t)n;
    }
    *out = p;
    return 0;
}

static int work(struct job *j, struct agree *out, struct err *e) {
    struct image *img[2] = {NULL, NULL};
    uint8_t *samples = NULL;
    int rc = read_samples(j, &samples, e);
    for (int i = 0; rc == 0 && i < 2; i++) rc = image_check(j->bytes[i], j->size[i], &img[i], e);
    if (rc == 0) rc = agree_measure(img[0], img[1], samples, j->samples, out, e);
    image_unmap(img[0]);
    image_unmap(img[1]);
    free(samples);
    return rc;
}

int main(int argc, char **argv) {
    static struct job j;
    struct canary_answer a = {.magic = CANARY_MAGIC};
    struct err e = {0};
    if (argc == 2 && strcmp(argv[1], "--version") == 0) return printf("clp-canary %s\n", CLPD_VERSION) < 0;
    if (argc != 3 || (j.seconds = strtoul(argv[1], NULL, 10)) == 0 ||
        (j.memory = strtoull(argv[2], NULL, 10)) == 0) {
        (void)fprintf(stderr, "clp-canary is started by clp-guard, not by hand\n");
        return 2;
    }
    int rc = engine_cage_map(CANARY_BEFORE, &j.bytes[0], &j.size[0], &e);
    if (rc == 0) rc = engine_cage_map(CANARY_AFTER, &j.bytes[1], &j.size[1], &e);
    if (rc == 0) rc = measure_samples(&j, &e);
    if (rc == 0) rc = engine_cage_be_alone(&e);
    if (rc == 0) rc = enter_sandbox(&j, &e);
    if (rc == 0) rc = work(&j, &a.agree, &e);
    a.code = rc == 0 ? ERR_NONE : (uint32_t)e.code;
    memcpy(a.text, e.text, sizeof a.text);
    _exit(write(CANARY_ANSWER, &a, sizeof a) == sizeof a ? 0 : 3);
}
