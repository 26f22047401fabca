/* The second number of /proc/PID/schedstat. */
#include "guard/waited.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int waited_open(pid_t pid) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

uint64_t waited_ns(int fd) {
    char text[96];
    unsigned long long ran, waited = 0;
    const ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
    if (n <= 0) return 0;
    text[n] = 0;
    return sscanf(text, "%llu %llu", &ran, &waited) == 2 ? waited : 0;
}
