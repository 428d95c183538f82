/* What C expects of memory before main: initialised data copied from flash, the rest zero. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdint.h>

/* From sections.ld. */
extern uint32_t data_load[], data_start[], data_end[];
extern uint32_t bss_start[], bss_end[];
extern uint32_t stack_limit[], stack_top[];

int main(void);

#if defined(__riscv)
#define READ_STACK_POINTER "mv %0, sp"
#else
#define READ_STACK_POINTER "mov %0, sp"
#endif

/* Fills what lies below the stack pointer; inline, so that it is the caller's. */
static inline uint32_t *stack_paint(uint32_t paint)
{
    volatile uint32_t *at;
    uint32_t *stack;
    __asm__ volatile(READ_STACK_POINTER : "=r"(stack));
    for (at = stack_limit; at < stack; ++at) {
        *at = paint;
    }
    return stack;
}

/* Bytes from there down to the lowest word that has changed; 0xFFFFFFFF if there is no end. */
static inline uint32_t stack_used(const uint32_t *stack, uint32_t paint)
{
    const volatile uint32_t *lowest = stack_limit;
    while (lowest < stack && *lowest == paint) {
        ++lowest;
    }
    return lowest == stack_limit ? UINT32_MAX : (uint32_t)((uintptr_t)stack - (uintptr_t)lowest);
}

static inline void memory_init(void)
{
    /* volatile: or the compiler makes library calls of these loops, and an empty firmware has
     * the memcpy whose size the model is to answer for. */
    const volatile uint32_t *from = data_load;
    volatile uint32_t *to;
    for (to = data_start; to < data_end; ++to, ++from) {
        *to = *from;
    }
    for (to = bss_start; to < bss_end; ++to) {
        *to = 0;
    }
}

#endif
