/* Who may send: one at a time, nothing between the parts of an answer, and nobody after the end. */
#include "daemon/outlet.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_pair(struct outlet *o) {
    int pair[2];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *o = (struct outlet){.fd = pair[0]};
    return pair[1];
}

static void test_turns(void) {
    struct outlet o;
    char got[8];
    const int other = open_pair(&o);
    CU_ASSERT_EQUAL(outlet_send(&o, (const uint8_t *)"abc", 3), 3);
    CU_ASSERT_TRUE(outlet_take(&o));
    CU_ASSERT_TRUE(outlet_take(&o)); /* it has it */
    CU_ASSERT_EQUAL(outlet_send(&o, (const uint8_t *)"def", 3), 0);
    outlet_free(&o);
    CU_ASSERT_EQUAL(outlet_send(&o, (const uint8_t *)"ghi", 3), 3);
    CU_ASSERT_EQUAL(read(other, got, sizeof got), 6);
    CU_ASSERT_EQUAL(memcmp(got, "abcghi", 6), 0);
    (void)close(other);
    CU_ASSERT_EQUAL(outlet_send(&o, (const uint8_t *)"jkl", 3), 0); /* nobody is there: the loop finds out */
    CU_ASSERT_TRUE(outlet_take(&o));
    (void)close(o.fd);
}

static void test_part(void) {
    struct outlet o;
    const size_t all = 8 << 20;
    uint8_t *bytes = calloc(1, all);
    const int other = open_pair(&o);
    const size_t n = outlet_send(&o, bytes, all);
    CU_ASSERT_TRUE(n > 0 && n < all);
    CU_ASSERT_EQUAL(outlet_send(&o, bytes, 1), 0);
    CU_ASSERT_FALSE(outlet_take(&o));
    outlet_adopt(&o);
    CU_ASSERT_TRUE(outlet_take(&o));
    outlet_free(&o);
    for (size_t left = n; left;) left -= (size_t)read(other, bytes, left < all ? left : all);
    CU_ASSERT_EQUAL(outlet_send(&o, bytes, 1), 1);
    (void)close(other);
    (void)close(o.fd);
    free(bytes);
}

enum { TURNS = 20000 };

static void *send_many(void *arg) {
    struct outlet *o = arg;
    size_t sent = 0;
    for (int i = 0; i < TURNS; i++) sent += outlet_send(o, (const uint8_t *)"ww", 2);
    return (void *)sent;
}

static void *read_pairs(void *arg) {
    const int fd = *(const int *)arg;
    char pair[2];
    size_t n = 0;
    bool whole = true;
    while (recv(fd, pair, 2, MSG_WAITALL) == 2) {
        whole = whole && pair[0] == pair[1];
        n += 2;
    }
    CU_ASSERT_TRUE(whole);
    return (void *)n;
}

/* Two workers and a loop that sends its pairs a byte at a time: none is torn apart. */
static void test_threads(void) {
    struct outlet o;
    pthread_t workers[2], reader;
    void *part;
    size_t sent = 0;
    int other = open_pair(&o);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&reader, NULL, read_pairs, &other), 0);
    for (int i = 0; i < 2; i++) CU_ASSERT_EQUAL_FATAL(pthread_create(&workers[i], NULL, send_many, &o), 0);
    for (int i = 0; i < TURNS; i++) {
        while (!outlet_take(&o)) {
            if (o.holder != OUTLET_HANDED) continue;
            outlet_adopt(&o); /* half a pair of a worker's */
            sent += (size_t)send(o.fd, "w", 1, MSG_NOSIGNAL);
        }
        for (int k = 0; k < 2; k++) sent += (size_t)send(o.fd, "l", 1, MSG_NOSIGNAL);
        outlet_free(&o);
    }
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(pthread_join(workers[i], &part), 0);
        sent += (size_t)part;
    }
    outlet_end(&o);
    if (o.holder == OUTLET_HANDED) sent += (size_t)send(o.fd, "w", 1, MSG_NOSIGNAL);
    CU_ASSERT_EQUAL(outlet_send(&o, (const uint8_t *)"ww", 2), 0);
    (void)close(o.fd);
    CU_ASSERT_EQUAL(pthread_join(reader, &part), 0);
    CU_ASSERT_EQUAL(sent, (size_t)part);
    (void)close(other);
}

SUITE(outlet, {"the loop and workers take turns", test_turns},
      {"a rest goes before everything else", test_part},
      {"answers of three threads stay whole", test_threads});
