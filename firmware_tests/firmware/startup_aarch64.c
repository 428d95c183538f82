/* AArch64: what runs between reset and main, in exception level 1. */
#include "memory.h"
#include "semihosting.h"

void start(void);
void trap(void);

/* The tables first, so that their alignment is the same in every firmware. */
__asm__(".section .vectors,\"ax\"\n\t"
        /* One gigabyte each, mapped to itself: devices below, above it memory, which may be read
         * at any address. */
        ".balign 4096\n"
        "pages:\n\t"
        ".quad 0x0060000000000401, 0x0000000040000705\n\t"
        ".zero 4096 - 16\n"
        /* 16 vectors of 128 bytes; a trap has no way back, so that one is enough. */
        "traps:\n\t"
        ".rept 16\n\t"
        ".balign 128\n\t"
        "b trap\n\t"
        ".endr\n\t"
        ".balign 128\n\t"
        ".global reset_handler\n\t"
        ".type reset_handler, %function\n"
        "reset_handler:\n\t"
        "ldr x0, =stack_top\n\t"
        "mov sp, x0\n\t"
        /* CPACR: the vector registers may be used. */
        "mov x0, #3 << 20\n\t"
        "msr cpacr_el1, x0\n\t"
        "ldr x0, =traps\n\t"
        "msr vbar_el1, x0\n\t"
        /* Kinds of memory: 0 is a device, 1 is cached. */
        "mov x0, #0xff00\n\t"
        "msr mair_el1, x0\n\t"
        /* TCR: addresses of 39 bits, pages of 4 KB, cached; TTBR1 is not used. */
        "ldr x0, =0x803519\n\t"
        "msr tcr_el1, x0\n\t"
        "ldr x0, =pages\n\t"
        "msr ttbr0_el1, x0\n\t"
        "isb\n\t"
        /* SCTLR: address translation and both caches. */
        "mrs x0, sctlr_el1\n\t"
        "mov x1, #0x1005\n\t"
        "orr x0, x0, x1\n\t"
        "msr sctlr_el1, x0\n\t"
        "isb\n\t"
        "b start\n\t"
        ".ltorg\n\t"
        ".text");

__attribute__((used)) void start(void)
{
    memory_init();
    (void)main();
    for (;;) {
    }
}

__attribute__((used)) void trap(void)
{
#ifdef HARNESS
    uint64_t cause, at;
    uint32_t where[1];
    __asm__ volatile("mrs %0, esr_el1\n\tmrs %1, elr_el1" : "=r"(cause), "=r"(at));
    where[0] = (uint32_t)at;
    semihost_fault((uint32_t)cause, where, where + 1);
#endif
    for (;;) {
    }
}
