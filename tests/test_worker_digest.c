/* guard/worker_digest: the digests are those of the files, whatever is given back meanwhile, and only that.
 */
#include "guard/worker_digest.h"
#include "guard/worker_wire.h"
#include "infer/digest.h"
#include "tests/suite.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE ((size_t)9 << 20)
#define PAGE ((size_t)4096)

static struct worker_digest digest;

static uint8_t *file_of(uint32_t seed) {
    uint8_t *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(p != MAP_FAILED);
    for (size_t i = 0; i < SIZE; i++) p[i] = (uint8_t)(i * seed + i / 4093);
    return p;
}

static void take(bool first, bool give_back) {
    int ends[2];
    uint8_t want[2][32], *files[2] = {file_of(31), file_of(77)};
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    for (int i = 0; i < 2; i++) digest_sha256(files[i], SIZE, want[i]);
    worker_digest_open(&digest, helper_start(), ends[1]);
    worker_digest_add(&digest, 0, files[0], SIZE, digest.digests.model);
    worker_digest_add(&digest, 2, files[1], SIZE, digest.digests.external);
    worker_digest_begin(&digest, first);
    for (size_t at = 0; give_back && at < SIZE; at += 5 * PAGE / 2)
        for (int i = 0; i < 2; i++)
            worker_digest_give_back(&digest, files[i] + at,
                                    SIZE - at < 5 * PAGE / 2 ? SIZE - at : 5 * PAGE / 2);
    CU_ASSERT_EQUAL(worker_digest_await(&digest), 0);
    CU_ASSERT_EQUAL(memcmp(digest.digests.model, want[0], 32), 0);
    CU_ASSERT_EQUAL(memcmp(digest.digests.external, want[1], 32), 0);
    struct worker_wire wire = {0};
    struct err e = {0};
    uint8_t bytes[512];
    const ssize_t n = read(ends[0], bytes, sizeof bytes);
    CU_ASSERT_TRUE(n > 0 && worker_wire_feed(&wire, bytes, (size_t)n, &e) == 0 && wire.has_digests);
    CU_ASSERT_EQUAL(memcmp(&wire.digests, &digest.digests, sizeof wire.digests), 0);
    size_t zeros = 0;
    for (size_t at = 0; at < SIZE; at += PAGE) zeros += files[0][at + 1] == 0 && files[0][at + 2] == 0;
    CU_ASSERT_TRUE(give_back ? zeros > SIZE / PAGE / 3 : zeros < SIZE / PAGE / 3); /* pages at edges stay */
    worker_wire_free(&wire);
    for (int i = 0; i < 2; i++) {
        (void)munmap(files[i], SIZE);
        (void)close(ends[i]);
    }
}

static void of_what_was_there(void) {
    for (int i = 0; i < 4; i++) take(i & 1, i & 2);
}

static void without_files(void) {
    int ends[2];
    uint8_t empty[32];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    digest_sha256("", 0, empty);
    worker_digest_open(&digest, helper_start(), ends[1]);
    worker_digest_add(&digest, 0, NULL, 0, digest.digests.model);
    worker_digest_begin(&digest, true);
    CU_ASSERT_EQUAL(memcmp(digest.digests.model, empty, 32), 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

SUITE(worker_digest, {"digests are of what was there", of_what_was_there}, {"an empty file", without_files});
