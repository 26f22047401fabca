/* Sorting without memory and without system calls: glibc's qsort asks sysinfo()
 * how much memory there is once an array exceeds a kilobyte, which the import
 * worker's sandbox answers by killing it. Pure, any thread. */
#ifndef INFER_SORT_H
#define INFER_SORT_H

#include <stddef.h>

/* As qsort, in O(n log n) always (heapsort); equal records in no particular order.
 * `size` is at most SORT_RECORD. */
#define SORT_RECORD 64
void sort_records(void *base, size_t n, size_t size, int (*compare)(const void *, const void *));

#endif
