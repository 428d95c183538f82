/* RISC-V: what runs between reset and main, in machine mode. */
#include "memory.h"
#include "semihosting.h"

void reset_handler(void);
void start(void);
void trap(void);

__attribute__((naked, used, section(".vectors"))) void reset_handler(void)
{
    __asm__ volatile(".option push\n\t"
                     ".option arch, +zicsr\n\t"
                     ".option norelax\n\t"
                     "la gp, __global_pointer$\n\t"
                     ".option relax\n\t"
                     "la sp, stack_top\n\t"
                     "la t0, trap\n\t"
                     "csrw mtvec, t0\n\t"
                     ".option pop\n\t"
                     "j start");
}

__attribute__((used)) void start(void)
{
    memory_init();
    (void)main();
    for (;;) {
    }
}

__attribute__((used, aligned(4))) void trap(void)
{
#ifdef HARNESS
    uint32_t cause, where[1];
    __asm__ volatile(".option push\n\t"
                     ".option arch, +zicsr\n\t"
                     "csrr %0, mcause\n\t"
                     "csrr %1, mepc\n\t"
                     ".option pop"
                     : "=&r"(cause), "=r"(where[0]));
    semihost_fault(cause, where, where + 1);
#endif
    for (;;) {
    }
}
