/* SHA-256 beside the import. See worker_digest.h. */
#include "guard/worker_digest.h"

#include "guard/worker_wire.h"
#include "infer/digest.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP ((size_t)1 << 20)

/* Those of our own copies come back as zeros, should anybody look. */
static void release(const void *at, size_t n) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), /* glibc knows it: no system call */
        begin = ((uintptr_t)at + page - 1) / page * page, end = ((uintptr_t)at + n) / page * page;
    if (end > begin) (void)madvise((void *)begin, end - begin, MADV_DONTNEED); /* only ever a saving */
}

/* Under the lock. */
static bool is_digested(const struct worker_digest *d, const uint8_t *at, size_t n) {
    for (int i = 0; i < DIGEST_FILES; i++) {
        const uintptr_t from = (uintptr_t)d->files[i].bytes, x = (uintptr_t)at;
        if (d->files[i].out && from && x >= from && x < from + d->files[i].size)
            return x - from + n <= d->done[i];
    }
    return true; /* in none of the files */
}

static void release_pending(struct worker_digest *d) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->n_pending; i++) {
        const struct digest_range r = d->pending[i];
        if (!is_digested(d, r.at, r.n)) {
            d->pending[kept++] = r;
            continue;
        }
        release(r.at, r.n);
        d->pending_bytes -= r.n;
    }
    d->n_pending = kept;
}

static void digest_file(struct worker_digest *d, int i) {
    struct digest sha;
    digest_init(&sha);
    for (size_t at = 0; at < d->files[i].size;) {
        const size_t left = d->files[i].size - at, n = left < STEP ? left : STEP;
        digest_update(&sha, d->files[i].bytes + at, n);
        at += n;
        pthread_mutex_lock(&d->lock);
        d->done[i] = at;
        if (d->n_pending) release_pending(d);
        pthread_cond_broadcast(&d->more);
        pthread_mutex_unlock(&d->lock);
    }
    digest_final(&sha, d->files[i].out);
}

static void digest_all(void *arg) {
    struct worker_digest *d = arg;
    for (int i = 0; i < DIGEST_FILES; i++)
        if (d->files[i].out) digest_file(d, i);
    const int rc = worker_send_digests(d->report_fd, &d->digests);
    pthread_mutex_lock(&d->lock);
    d->sent = rc;
    d->over = true;
    pthread_cond_broadcast(&d->more);
    pthread_mutex_unlock(&d->lock);
}

void worker_digest_open(struct worker_digest *d, struct helper *h, int report_fd) {
    *d = (struct worker_digest){.helper = h,
                                .report_fd = report_fd,
                                .lock = PTHREAD_MUTEX_INITIALIZER,
                                .more = PTHREAD_COND_INITIALIZER};
}

void worker_digest_add(struct worker_digest *d, int index, const uint8_t *bytes, size_t size,
                       uint8_t out[32]) {
    d->files[index].bytes = bytes;
    d->files[index].size = size;
    d->files[index].out = out;
}

void worker_digest_begin(struct worker_digest *d, bool first) {
    helper_begin(d->helper, digest_all, d);
    if (first) (void)worker_digest_await(d);
}

int worker_digest_await(struct worker_digest *d) {
    pthread_mutex_lock(&d->lock);
    while (!d->over) pthread_cond_wait(&d->more, &d->lock);
    const int rc = d->sent;
    pthread_mutex_unlock(&d->lock);
    return rc;
}

void worker_digest_give_back(struct worker_digest *d, const void *at, size_t n) {
    pthread_mutex_lock(&d->lock);
    while (!is_digested(d, at, n) && d->pending_bytes + n > DIGEST_AHEAD)
        pthread_cond_wait(&d->more, &d->lock);
    const bool now = is_digested(d, at, n);
    if (!now && d->n_pending < DIGEST_PENDING) {
        d->pending[d->n_pending++] = (struct digest_range){at, n};
        d->pending_bytes += n;
    }
    pthread_mutex_unlock(&d->lock);
    if (now) release(at, n);
}
