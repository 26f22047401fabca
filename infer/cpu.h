/* What a thread may tell its CPU, in a word each. */
#ifndef INFER_CPU_H
#define INFER_CPU_H

#define CPU_LINE 64 /* bytes of a cache line */

/* We look at something over and over. */
static inline void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* We are going to write there: the line comes, and leaves the other CPUs, before the store would have to wait
 * for it. (For __builtin_prefetch(at, 1) x86-64's baseline has only the instruction that shares it; this one
 * is at worst ignored by a CPU that lacks it.) */
static inline void cpu_own(const void *at) {
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#else
    __builtin_prefetch(at, 1);
#endif
}

#endif
