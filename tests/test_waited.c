/* guard/waited: the waiting of a process that shares its CPU with us is seen; of none, there is none. */
#include "guard/waited.h"

#include "tests/suite.h"

#include <unistd.h>

static void test_waited(void) {
    CU_ASSERT_EQUAL(waited_ns(-1), 0);
    CU_ASSERT(waited_open((pid_t)0x7ffffffe) < 0);
    const int fd = waited_open(getpid());
    if (fd < 0) {
        fprintf(stderr, "*** SKIP waited: this kernel has no /proc/PID/schedstat\n");
        return;
    }
    const uint64_t before = waited_ns(fd);
    CU_ASSERT(waited_ns(fd) >= before);
    (void)close(fd);
}

SUITE(waited, {"counts, and is 0 where nothing can be seen", test_waited});
