/* What C expects of memory before main: initialised data copied from flash, the rest zero. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdint.h>

/* From sections.ld. */
extern uint32_t data_load[], data_start[], data_end[];
extern uint32_t bss_start[], bss_end[];
extern uint32_t stack_limit[], stack_top[];

int main(void);

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
