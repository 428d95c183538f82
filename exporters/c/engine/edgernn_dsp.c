/* The matrix product on Cortex-M4, M7 and M33 (the DSP extension of Arm's M profile).
 *
 * A halfword of weights holds two rows, 256 * b + a, a word two columns of them. SMLALD adds both
 * rows' products to one 64-bit sum, 256 * B + A. SXTB16 leaves the weights a, whose products SMLAD
 * adds to A by itself; B is what the 64-bit sum has above A. So 3 instructions make 4 products.
 */
#include "edgernn_lanes.h"

#if defined(EDGERNN_DSP)

/* Nothing may be left out of a function whose parameters no C is seen to read. */
#if defined(__clang__)
#define NAKED __attribute__((naked, noinline))
#else
#define NAKED __attribute__((naked, noinline, noclone))
#endif
#define UNUSED __attribute__((unused))

/* 4 rows by 4 columns: weights in r2 to r5, x in r0 and r1.
 * Rows a and b: sums r6 and r8:r7. Rows c and d: r9 and r11:r10. */
#define MULTIPLY                  \
    "smlald r7, r8, r2, r0\n\t"   \
    "smlald r10, r11, r4, r0\n\t" \
    "sxtb16 r2, r2\n\t"           \
    "sxtb16 r4, r4\n\t"           \
    "smlad r6, r2, r0, r6\n\t"    \
    "smlad r9, r4, r0, r9\n\t"    \
    "smlald r7, r8, r3, r1\n\t"   \
    "smlald r10, r11, r5, r1\n\t" \
    "sxtb16 r3, r3\n\t"           \
    "sxtb16 r5, r5\n\t"           \
    "smlad r6, r3, r1, r6\n\t"    \
    "smlad r9, r5, r1, r9\n\t"

/* y = W x + b, or y = sat(y + W x + b) if add is not 0. In assembly because compilers form neither
 * LDM nor these loops, and no register is left over: r12 reads x, lr the weights.
 *
 * Loops are counted in r8 above its lower 8 bits, which are all that the sum needs in the end: n
 * rounds begin with n * 65536 - 32768 added to it and end when it is negative, whatever the sum.
 * The fast way has rounds of 16 columns, the first perhaps of 8. The slow way has rounds of 4, for
 * any other number of columns, and for x at an odd multiple of 2 bytes.
 *
 * On the stack: +0 constants, +4 y, +8 rows left, +12 the fast way's count, made negative if the
 * first round is of 8 (bit 30 is set then) or the slow way is taken (it is not), +16 x, +20 add,
 * +24 the slow way's count, +28 the address of the last 1 to 3 columns or NULL, +32 a copy of
 * these columns and zeros. */
NAKED static void linear(const edgernn_matrix_t *matrix UNUSED, const int16_t *x UNUSED,
                         int16_t *y UNUSED, int32_t add UNUSED)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n\t"
        "sub sp, sp, #40\n\t"
        "ldr lr, [r0]\n\t"
        "ldrh r6, [r0, #8]\n\t"
        "ldrh r7, [r0, #10]\n\t"
        "ldr r0, [r0, #4]\n\t"
        /* Equal: the fast way. Carry: columns % 16 is 8. */
        "lsls r4, r1, #30\n\t"
        "orrs r4, r4, r7, lsl #29\n\t"
        "mov r5, #0xa0000000\n\t"
        "bne 1f\n\t"
        "lsl r5, r7, #12\n\t"
        "ite cs\n\t"
        "addcs r5, r5, #0xc0000000\n\t"
        "subcc r5, r5, #32768\n"
        "1:\n\t"
        "lsr r4, r7, #2\n\t"
        "add r8, r1, r4, lsl #3\n\t"
        "lsl r4, r4, #16\n\t"
        "sub r4, r4, #32768\n\t"
        "mov r12, r1\n\t"
        "mov r1, r2\n\t"
        "mov r2, r6\n\t"
        "movs r6, #0\n\t"
        "strd r6, r6, [sp, #32]\n\t"
        "ands r7, r7, #3\n\t"
        "beq 3f\n\t"
        "add r6, sp, #32\n\t"
        "mov r9, r6\n"
        "2:\n\t"
        "ldrh r10, [r8], #2\n\t"
        "strh r10, [r9], #2\n\t"
        "subs r7, r7, #1\n\t"
        "bne 2b\n"
        "3:\n\t"
        "strd r5, r12, [sp, #12]\n\t"
        "strd r3, r4, [sp, #20]\n\t"
        "str r6, [sp, #28]\n"

        "4:\n\t" /* The sums begin with the biases: 256 * B + A in 64 bits, and A. */
        "ldm r0!, {r6, r7, r9, r10}\n\t"
        "stm sp, {r0-r2}\n\t"
        "asr r8, r7, #24\n\t"
        "adds r7, r6, r7, lsl #8\n\t"
        "adc r8, r8, r6, asr #31\n\t"
        "asr r11, r10, #24\n\t"
        "adds r10, r9, r10, lsl #8\n\t"
        "adc r11, r11, r9, asr #31\n\t"
        "adds r8, r8, r5\n\t"
        "bmi 10f\n"
        "5:\n\t"
        "ldrd r0, r1, [r12], #8\n\t"
        "ldm lr!, {r2-r5}\n\t" MULTIPLY
        "ldrd r0, r1, [r12], #8\n\t"
        "ldm lr!, {r2-r5}\n\t" MULTIPLY
        "6:\n\t"
        "ldrd r0, r1, [r12], #8\n\t"
        "ldm lr!, {r2-r5}\n\t" MULTIPLY
        "ldrd r0, r1, [r12], #8\n\t"
        "ldm lr!, {r2-r5}\n\t" MULTIPLY
        "subs r8, r8, #65536\n\t"
        "bpl 5b\n"

        "7:\n\t" /* B = floor((256 * B + A) / 256) - floor(A / 256) */
        "lsr r7, r7, #8\n\t"
        "lsr r10, r10, #8\n\t"
        "orr r7, r7, r8, lsl #24\n\t"
        "orr r10, r10, r11, lsl #24\n\t"
        "sub r7, r7, r6, asr #8\n\t"
        "sub r10, r10, r9, asr #8\n\t"
        /* Requantized: the high word of a product, rounded, and saturated. */
        "ldm sp, {r0-r2, r5, r12}\n\t"
        "ldm r0!, {r3, r4, r8, r11}\n\t"
        "smmulr r6, r6, r3\n\t"
        "smmulr r7, r7, r4\n\t"
        "smmulr r9, r9, r8\n\t"
        "smmulr r10, r10, r11\n\t"
        "ssat r6, #16, r6\n\t"
        "ssat r7, #16, r7\n\t"
        "ssat r9, #16, r9\n\t"
        "ssat r10, #16, r10\n\t"
        "pkhbt r6, r6, r7, lsl #16\n\t"
        "pkhbt r9, r9, r10, lsl #16\n\t"
        "ldr r3, [sp, #20]\n\t"
        "subs r2, r2, #4\n\t"
        "bmi 14f\n\t"
        "cbz r3, 8f\n\t"
        "ldr r3, [r1]\n\t"
        "ldr r4, [r1, #4]\n\t"
        "qadd16 r6, r6, r3\n\t"
        "qadd16 r9, r9, r4\n"
        "8:\n\t"
        "str r6, [r1], #4\n\t"
        "str r9, [r1], #4\n\t"
        "bne 4b\n"
        "9:\n\t"
        "add sp, sp, #40\n\t"
        "pop {r4-r11, pc}\n"

        "10:\n\t" /* Not a whole round of 16 columns. */
        "lsls r0, r8, #1\n\t"
        "bpl 11f\n\t"
        "add r8, r8, #0x40000000\n\t"
        "b 6b\n"

        "11:\n\t" /* The slow way. */
        "ldr r0, [sp, #24]\n\t"
        "add r8, r8, #0x60000000\n\t"
        "adds r8, r8, r0\n\t"
        "bmi 13f\n"
        "12:\n\t"
        "ldr r0, [r12], #4\n\t"
        "ldr r1, [r12], #4\n\t"
        "ldm lr!, {r2-r5}\n\t" MULTIPLY
        "subs r8, r8, #65536\n\t"
        "bpl 12b\n"
        "13:\n\t" /* The last columns; then the count is down by one more. */
        "cmn r8, #65536\n\t"
        "bmi 7b\n\t"
        "ldr r12, [sp, #28]\n\t"
        "cmp r12, #0\n\t"
        "bne 12b\n\t"
        "b 7b\n"

        "14:\n\t" /* The last 1 to 3 rows, one by one; r3: add. */
        "adds r2, r2, #4\n"
        "15:\n\t"
        "cbz r3, 16f\n\t"
        "ldrh r4, [r1]\n\t"
        "qadd16 r6, r6, r4\n"
        "16:\n\t"
        "strh r6, [r1], #2\n\t"
        "lsr r6, r6, #16\n\t"
        "orr r6, r6, r9, lsl #16\n\t"
        "lsr r9, r9, #16\n\t"
        "subs r2, r2, #1\n\t"
        "bne 15b\n\t"
        "b 9b");
}

void edgernn_linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y)
{
    linear(matrix, x, y, 0);
}

void edgernn_linear_add(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y)
{
    linear(matrix, x, y, 1);
}

void edgernn_sum4(const edgernn_weight_t *weights, const int16_t *x, int columns, int32_t sums[4])
{
    int row;
    for (row = 0; row < 4; row += 2) {
        int64_t both = 0;
        int32_t a = 0;
        int i;
        for (i = 0; i < columns; i += 2) {
            const uint32_t word = weights[i / 4 * 4 + row + i % 4 / 2];
            const uint32_t inputs = edgernn_load(x, i, columns);
            uint32_t low;
            __asm__("smlald %Q0, %R0, %1, %2" : "+r"(both) : "r"(word), "r"(inputs));
            __asm__("sxtb16 %0, %1" : "=r"(low) : "r"(word));
            a = edgernn_smlad(low, inputs, a);
        }
        sums[row] = a;
        sums[row + 1] = (int32_t)((both - a) >> 8);
    }
}

#else

/* ISO C wants a declaration in every file. */
typedef int edgernn_dsp_is_not_used_t;

#endif
