/* The lanes of Cortex-M4, M7 and M33: two elements in the halves of a word, the first in the lower.
 *
 * The arithmetic is that of edgernn_scalar.h; here are only shorter ways to it.
 */
#ifndef EDGERNN_LANES_DSP_H
#define EDGERNN_LANES_DSP_H

#include "edgernn_scalar.h"

#include <string.h>

#define EDGERNN_LANES 2
typedef uint32_t edgernn_lanes_t;

/* Instructions that compilers do not form from C. */
#define EDGERNN_INSTRUCTION_2(result_t, name, text)               \
    static inline result_t edgernn_##name(uint32_t a, uint32_t b) \
    {                                                             \
        result_t value;                                           \
        __asm__(text : "=r"(value) : "r"(a), "r"(b));             \
        return value;                                             \
    }
#define EDGERNN_INSTRUCTION_3(name, text)                                       \
    static inline int32_t edgernn_##name(uint32_t a, uint32_t b, int32_t sum)   \
    {                                                                           \
        int32_t value;                                                          \
        __asm__(text : "=r"(value) : "r"(a), "r"(b), "r"(sum));                 \
        return value;                                                           \
    }
EDGERNN_INSTRUCTION_2(uint32_t, qadd16, "qadd16 %0, %1, %2")
EDGERNN_INSTRUCTION_2(uint32_t, qsub16, "qsub16 %0, %1, %2")
EDGERNN_INSTRUCTION_2(uint32_t, shadd16, "shadd16 %0, %1, %2")
EDGERNN_INSTRUCTION_2(uint32_t, shsub16, "shsub16 %0, %1, %2")
EDGERNN_INSTRUCTION_2(uint32_t, pack, "pkhbt %0, %1, %2, lsl #16")
EDGERNN_INSTRUCTION_2(uint32_t, pack_8, "pkhtb %0, %2, %1, asr #8")
EDGERNN_INSTRUCTION_2(uint32_t, pack_15, "pkhtb %0, %2, %1, asr #15")
EDGERNN_INSTRUCTION_2(int32_t, smuad, "smuad %0, %1, %2")
EDGERNN_INSTRUCTION_2(int32_t, smulwb, "smulwb %0, %1, %2")
EDGERNN_INSTRUCTION_2(int32_t, smulwt, "smulwt %0, %1, %2")
EDGERNN_INSTRUCTION_3(smlad, "smlad %0, %1, %2, %3")
EDGERNN_INSTRUCTION_3(smlabb, "smlabb %0, %1, %2, %3")
EDGERNN_INSTRUCTION_3(smlatt, "smlatt %0, %1, %2, %3")

static inline int32_t edgernn_low(edgernn_lanes_t pair)
{
    return (int16_t)pair;
}

static inline int32_t edgernn_high(edgernn_lanes_t pair)
{
    return (int32_t)pair >> 16;
}

static inline edgernn_lanes_t edgernn_pair(int32_t low, int32_t high)
{
    return edgernn_pack((uint32_t)low, (uint32_t)high);
}

/* i is even. Written so that no comparison is left where n is an even constant. */
static inline edgernn_lanes_t edgernn_load(const int16_t *p, int i, int n)
{
    uint32_t pair;
    if ((i | 1) < n) {
        memcpy(&pair, p + i, sizeof pair);
    } else {
        pair = (uint16_t)p[i];
    }
    return pair;
}

static inline void edgernn_store(int16_t *p, int i, int n, edgernn_lanes_t value)
{
    if ((i | 1) < n) {
        memcpy(p + i, &value, sizeof value);
    } else {
        p[i] = (int16_t)value;
    }
}

static inline edgernn_lanes_t edgernn_broadcast(const int16_t *p)
{
    return edgernn_pair(*p, *p);
}

#define edgernn_add edgernn_qadd16
#define edgernn_sub edgernn_qsub16

/* Two steps in the same direction saturate as one does. */
static inline edgernn_lanes_t edgernn_add_twice(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_qadd16(edgernn_qadd16(a, b), b);
}

static inline edgernn_lanes_t edgernn_sub_twice(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_qsub16(edgernn_qsub16(a, b), b);
}

/* half = floor(sum / 2) becomes sum / 2 with ties away from zero: a positive tie goes up. */
static inline edgernn_lanes_t edgernn_halved(uint32_t half, edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_qadd16(half, (a ^ b) & 0x00010001u & ~(half >> 15));
}

static inline edgernn_lanes_t edgernn_add_half(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_halved(edgernn_shadd16(a, b), a, b);
}

static inline edgernn_lanes_t edgernn_sub_half(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_halved(edgernn_shsub16(a, b), a, b);
}

static inline edgernn_lanes_t edgernn_add_scaled(edgernn_lanes_t a, edgernn_lanes_t b, int32_t q_a,
                                                 int right_a, int32_t q_b, int right_b, int32_t q,
                                                 int right)
{
    return edgernn_pair(edgernn_scalar_add_scaled(edgernn_low(a), edgernn_low(b), q_a, right_a, q_b,
                                                  right_b, q, right),
                        edgernn_scalar_add_scaled(edgernn_high(a), edgernn_high(b), q_a, right_a,
                                                  q_b, right_b, q, right));
}

static inline edgernn_lanes_t edgernn_sub_scaled(edgernn_lanes_t a, edgernn_lanes_t b, int32_t q_a,
                                                 int right_a, int32_t q_b, int right_b, int32_t q,
                                                 int right)
{
    return edgernn_pair(edgernn_scalar_sub_scaled(edgernn_low(a), edgernn_low(b), q_a, right_a, q_b,
                                                  right_b, q, right),
                        edgernn_scalar_sub_scaled(edgernn_high(a), edgernn_high(b), q_a, right_a,
                                                  q_b, right_b, q, right));
}

static inline edgernn_lanes_t edgernn_mul(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_pair(edgernn_scalar_mul(edgernn_low(a), edgernn_low(b)),
                        edgernn_scalar_mul(edgernn_high(a), edgernn_high(b)));
}

static inline edgernn_lanes_t edgernn_mul_gate(edgernn_lanes_t gate, edgernn_lanes_t b)
{
    const int32_t low = edgernn_smlabb(gate, b, 16385) + 2 * ((int32_t)(b << 16) >> 31);
    const int32_t high = edgernn_smlatt(gate, b, 16385) + 2 * ((int32_t)b >> 31);
    return edgernn_pack_15((uint32_t)low, (uint32_t)high << 1);
}

static inline edgernn_lanes_t edgernn_relu(edgernn_lanes_t a)
{
    edgernn_lanes_t value;
    __asm__("usat16 %0, #15, %1" : "=r"(value) : "r"(a));
    return value;
}

/* SSUB16 and USUB16 leave in flags, which SEL reads, where there is nothing to borrow. */
static inline edgernn_lanes_t edgernn_maximum(edgernn_lanes_t a, edgernn_lanes_t b)
{
    edgernn_lanes_t value;
    __asm__("ssub16 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(value) : "r"(a), "r"(b) : "cc");
    return value;
}

static inline edgernn_lanes_t edgernn_select(edgernn_lanes_t mask, edgernn_lanes_t a,
                                             edgernn_lanes_t b)
{
    edgernn_lanes_t value;
    __asm__("usub16 %0, %1, %2\n\tsel %0, %3, %4"
            : "=&r"(value)
            : "r"(mask), "r"(0x00010001u), "r"(a), "r"(b)
            : "cc");
    return value;
}

/* The line between two entries: entries[0] * (128 - part) + entries[1] * part. */
static inline int32_t edgernn_lookup_of(int32_t x, const int16_t *table)
{
    const int32_t part = x & 127;
    uint32_t pair;
    memcpy(&pair, &table[(x + 32768) >> 7], sizeof pair);
    return edgernn_smlad(pair, edgernn_pack((uint32_t)(128 - part), (uint32_t)part), 64) >> 7;
}

static inline edgernn_lanes_t edgernn_lookup(edgernn_lanes_t x, const int16_t *table)
{
    const int32_t low = edgernn_lookup_of(edgernn_low(x), table);
    return edgernn_pair(low, edgernn_lookup_of(edgernn_high(x), table));
}

static inline edgernn_lanes_t edgernn_rsqrt(edgernn_lanes_t x, int gain)
{
    const int32_t low = edgernn_scalar_rsqrt(edgernn_low(x), gain);
    return edgernn_pair(low, edgernn_scalar_rsqrt(edgernn_high(x), gain));
}

static inline edgernn_lanes_t edgernn_rescale(edgernn_lanes_t a, int32_t q, int left, int right)
{
    return edgernn_pair(edgernn_scalar_rescale(edgernn_low(a), q, left, right),
                        edgernn_scalar_rescale(edgernn_high(a), q, left, right));
}

/* edgernn_grid, negated, of each half. At the scale of gates, shift 12, that is floor(-4.5 x), and
 * one instruction. */
static inline int32_t edgernn_minus_grid_low(edgernn_lanes_t x, int shift)
{
    return shift == 12 ? edgernn_smulwb((uint32_t)-294912, x)
                       : -edgernn_grid(edgernn_low(x), shift);
}

static inline int32_t edgernn_minus_grid_high(edgernn_lanes_t x, int shift)
{
    return shift == 12 ? edgernn_smulwt((uint32_t)-294912, x)
                       : -edgernn_grid(edgernn_high(x), shift);
}

/* Two entries of the table, less 65536 each as halfwords are signed, and the line between them:
 * entries[0] * (whole - part) + entries[1] * part. */
static inline int32_t edgernn_interpolate(const char *entries, int32_t whole, int32_t part)
{
    uint32_t pair;
    memcpy(&pair, entries, sizeof pair);
    return edgernn_smuad(pair, edgernn_pack((uint32_t)(whole - part), (uint32_t)part));
}

/* |a| + 512: EORS leaves bit 30, the sign of a small number, in the carry. The index of the table
 * is one too large, and saturates with that. */
static inline int32_t edgernn_logistic_of(int32_t minus)
{
    int32_t a;
    uint32_t i;
    int32_t r;
    __asm__("eors %0, %1, %1, asr #31\n\tadc %0, %0, #512" : "=r"(a) : "r"(minus) : "cc");
    __asm__("usat %0, #8, %1, asr #9" : "=r"(i) : "r"(a));
    r = edgernn_interpolate((const char *)((uintptr_t)edgernn_sigmoid - 2) + 2 * i, 512, a & 511);
    /* r + 512, or 511 - r for negative x; 2^25 that is missing in r is not in these 15 bits. */
    return (int32_t)((uint32_t)(511 - (r ^ (minus >> 31))) >> 10 & 32767);
}

static inline edgernn_lanes_t edgernn_logistic(edgernn_lanes_t x, int shift)
{
    const int32_t low = edgernn_logistic_of(edgernn_minus_grid_low(x, shift));
    const int32_t high = edgernn_logistic_of(edgernn_minus_grid_high(x, shift));
    return edgernn_pair(low, high);
}

/* The result times 256. */
static inline int32_t edgernn_tanh_of(int32_t minus)
{
    const int32_t a = (minus ^ minus >> 31) - (minus >> 31);
    uint32_t i;
    int32_t r;
    __asm__("usat %0, #8, %1, asr #8" : "=r"(i) : "r"(a));
    r = edgernn_interpolate((const char *)edgernn_sigmoid + 2 * i, 256, a & 255) + 8388608;
    return 127 - (r ^ (minus >> 31));
}

static inline edgernn_lanes_t edgernn_tanh(edgernn_lanes_t x, int shift)
{
    const int32_t low = edgernn_tanh_of(edgernn_minus_grid_low(x, shift));
    const int32_t high = edgernn_tanh_of(edgernn_minus_grid_high(x, shift));
    return edgernn_pack_8((uint32_t)low, (uint32_t)high << 8);
}

#endif
