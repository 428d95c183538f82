/* Cortex-M: the vector table and what runs before main. */
#include "memory.h"
#include "semihosting.h"

void reset_handler(void);
static void fault_handler(void);

typedef union {
    void (*handler)(void);
    uint32_t *stack;
} vector_t;

/* The 16 vectors of the core; no interrupt of the chip is ever enabled. */
__attribute__((used, section(".vectors"))) static const vector_t vectors[16] = {
    {.stack = stack_top},       {.handler = reset_handler}, {.handler = fault_handler},
    {.handler = fault_handler}, {.handler = fault_handler}, {.handler = fault_handler},
    {.handler = fault_handler}, {.handler = fault_handler}, {.handler = fault_handler},
    {.handler = fault_handler}, {.handler = fault_handler}, {.handler = fault_handler},
    {.handler = fault_handler}, {.handler = fault_handler}, {.handler = fault_handler},
    {.handler = fault_handler},
};

void reset_handler(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* CPACR: full access to coprocessors 10 and 11, the FPU and Helium. */
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
#endif
#if defined(__ARM_FEATURE_MVE)
    /* CCR.LOB: low-overhead branches keep their loop in a cache. */
    *(volatile uint32_t *)0xE000ED14u |= 1u << 19;
#endif
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    memory_init();
    (void)main();
    for (;;) {
    }
}

static void fault_handler(void)
{
#ifdef HARNESS
    uint32_t number;
    const uint32_t *frame;
    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    __asm__ volatile("mrs %0, msp" : "=r"(frame));
    semihost_fault(number, frame, stack_top);
#endif
    for (;;) {
    }
}
