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
