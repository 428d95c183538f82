/* What counts executed instructions: under QEMU's -icount each takes the same virtual time. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

#if defined(__arm__)
/* SysTick: 24 bits, down, at the clock of the core. */
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)

static inline void clock_restart(void)
{
    SYST_RVR = 0xFFFFFFu;
    SYST_CVR = 0;
    SYST_CSR = 5; /* run, on the core's clock, no interrupt */
    while (SYST_CVR == 0) {
    }
    (void)SYST_CSR; /* reading clears "has passed zero" */
}
static inline uint32_t clock_read(void) { return SYST_CVR; }
static inline uint32_t clock_ticks(uint32_t before, uint32_t after) { return before - after; }
static inline int clock_overflowed(void) { return (SYST_CSR >> 16 & 1u) != 0; }
#elif defined(__aarch64__)
/* The generic timer, far faster than its 32 bits here overflow. */
static inline void clock_restart(void) {}
static inline uint32_t clock_read(void)
{
    uint64_t ticks;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(ticks)::"memory");
    return (uint32_t)ticks;
}
static inline uint32_t clock_ticks(uint32_t before, uint32_t after) { return after - before; }
static inline int clock_overflowed(void) { return 0; }
#else
static inline void clock_restart(void) {}
static inline uint32_t clock_read(void)
{
    uint32_t instructions;
    __asm__ volatile(".option push\n\t"
                     ".option arch, +zicsr\n\t"
                     "rdinstret %0\n\t"
                     ".option pop"
                     : "=r"(instructions)::"memory");
    return instructions;
}
static inline uint32_t clock_ticks(uint32_t before, uint32_t after) { return after - before; }
static inline int clock_overflowed(void) { return 0; }
#endif

#endif
