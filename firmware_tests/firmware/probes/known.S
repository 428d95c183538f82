/* KNOWN_LOOPS: a step of 2 * KNOWN_LOOPS + 3 instructions; KNOWN_STACK: of so many bytes of stack,
 * of which it writes the lowest word, with KNOWN_WORD. */
    .global known_step
    .text
#if defined(__arm__)
    .syntax unified
    .thumb
    .thumb_func
    .type known_step, %function
known_step:
#if KNOWN_LOOPS
    ldr r3, =KNOWN_LOOPS
1:
    subs r3, #1
    bne 1b
#endif
#if KNOWN_STACK
    sub sp, #KNOWN_STACK
    ldr r3, =KNOWN_WORD
    str r3, [sp]
    add sp, #KNOWN_STACK
#endif
    movs r0, #0
    bx lr
#elif defined(__aarch64__)
    .type known_step, %function
known_step:
#if KNOWN_LOOPS
    ldr w9, =KNOWN_LOOPS
1:
    sub w9, w9, #1
    cbnz w9, 1b
#endif
#if KNOWN_STACK
    sub sp, sp, #(KNOWN_STACK + 15) / 16 * 16
    ldr w9, =KNOWN_WORD
    str w9, [sp, #(KNOWN_STACK + 15) / 16 * 16 - KNOWN_STACK]
    add sp, sp, #(KNOWN_STACK + 15) / 16 * 16
#endif
    mov w0, #0
    ret
    .size known_step, . - known_step
#else
    .type known_step, @function
known_step:
#if KNOWN_LOOPS
    /* One instruction for numbers below 2048 and for multiples of 4096. */
    li t0, KNOWN_LOOPS
1:
    addi t0, t0, -1
    bnez t0, 1b
#endif
#if KNOWN_STACK
    addi sp, sp, -KNOWN_STACK
    li t0, KNOWN_WORD
    sw t0, 0(sp)
    addi sp, sp, KNOWN_STACK
#endif
    li a0, 0
    ret
#endif
