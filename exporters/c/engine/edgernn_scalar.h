/* The element-wise operators of a step on one element: an int32_t that holds an int16.
 *
 * The arithmetic is that of the int16 kernels of TensorFlow Lite, to the bit. `>>` of a negative
 * number is the arithmetic shift, as on every compiler for these targets. Arguments after the
 * operands are constants. Every family gives these bits; those with vectors use these functions
 * where an operator is too rare to be worth a vector form.
 */
#ifndef EDGERNN_SCALAR_H
#define EDGERNN_SCALAR_H

#include "edgernn_kernels.h"

/* Saturation to int16: of a value, of half of it, of one that is not below int16. And the step of
 * the table that a >= 0 is on, with 256 parts for tanh, with 512 for sigmoid: the last step gives
 * the rail wherever one stands on it, so it is taken for all that is beyond. */
#if defined(__GNUC__) && defined(__arm__) && defined(__ARM_FEATURE_SAT) && \
    !defined(EDGERNN_PORTABLE)
/* Instructions that compilers do not form from C. */
#define EDGERNN_SATURATING(name, text)                  \
    static inline int32_t edgernn_##name(int32_t value) \
    {                                                   \
        int32_t saturated;                              \
        __asm__(text : "=r"(saturated) : "r"(value));   \
        return saturated;                               \
    }
EDGERNN_SATURATING(saturate, "ssat %0, #16, %1")
EDGERNN_SATURATING(saturate_half, "ssat %0, #16, %1, asr #1")
EDGERNN_SATURATING(saturate_upwards, "ssat %0, #16, %1")
EDGERNN_SATURATING(usat_8, "usat %0, #8, %1, asr #8")
EDGERNN_SATURATING(usat_9, "usat %0, #8, %1, asr #9")

static inline const uint16_t *edgernn_tanh_step(int32_t a)
{
    return &edgernn_sigmoid[edgernn_usat_8(a)];
}

static inline const uint16_t *edgernn_logistic_step(int32_t a)
{
    const uint16_t *end = &edgernn_sigmoid[edgernn_usat_9(a + 512)];
    return end - 1;
}
#else
static inline int32_t edgernn_saturate(int32_t value)
{
    return value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value;
}

static inline int32_t edgernn_saturate_half(int32_t value)
{
    return edgernn_saturate(value >> 1);
}

static inline int32_t edgernn_saturate_upwards(int32_t value)
{
    return value > INT16_MAX ? INT16_MAX : value;
}

static inline const uint16_t *edgernn_tanh_step(int32_t a)
{
    return &edgernn_sigmoid[a >> 8 > 255 ? 255 : a >> 8];
}

static inline const uint16_t *edgernn_logistic_step(int32_t a)
{
    return &edgernn_sigmoid[a >> 9 > 254 ? 254 : a >> 9];
}
#endif

/* SRDHM of gemmlowp: a * q / 2^31, half up; takes 2 * a, which is then a rounded high word. */
static inline int32_t edgernn_high_mul(int32_t twice, int32_t q)
{
#if defined(EDGERNN_DSP)
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(twice), "r"(q));
    return high;
#else
    return (int32_t)(((int64_t)twice * q + 2147483648LL) >> 32);
#endif
}

/* RDBPOT of gemmlowp: a / 2^right, ties away from zero; right in 0 .. 30. */
static inline int32_t edgernn_divide(int32_t a, int right)
{
    return right == 0 ? a : (a + (1 << (right - 1)) + (a >> 31)) >> right;
}

/* sat(a + b), sat(a - b): one scale. */
static inline int32_t edgernn_scalar_add(int32_t a, int32_t b)
{
    return edgernn_saturate(a + b);
}

static inline int32_t edgernn_scalar_sub(int32_t a, int32_t b)
{
    return edgernn_saturate(a - b);
}

/* sat(a + 2 b), sat(a - 2 b): b has twice the scale of a and of the result. */
static inline int32_t edgernn_scalar_add_twice(int32_t a, int32_t b)
{
    return edgernn_saturate(a + 2 * b);
}

static inline int32_t edgernn_scalar_sub_twice(int32_t a, int32_t b)
{
    return edgernn_saturate(a - 2 * b);
}

/* (a + b) / 2, sat((a - b) / 2), ties away from zero: the result has twice the scale. */
static inline int32_t edgernn_scalar_add_half(int32_t a, int32_t b)
{
    const int32_t sum = a + b;
    return (sum + (sum >> 31) + 1) >> 1;
}

static inline int32_t edgernn_scalar_sub_half(int32_t a, int32_t b)
{
    /* Only 32767 - -32768 leaves int16. */
    return edgernn_saturate_upwards(edgernn_scalar_add_half(a, -b));
}

/* Any three scales: each operand is brought to a common scale, twice the wider one, by a 31-bit
 * factor q and a right shift, the sum to the scale of the result. */
static inline int32_t edgernn_common_scale(int32_t a, int32_t q, int right)
{
    return q == 1 << 30 ? edgernn_divide(a * 16384, right)
                        : edgernn_divide(edgernn_high_mul(a * 65536, q), right);
}

static inline int32_t edgernn_sum_scale(int32_t sum, int32_t q, int right)
{
    /* The sum is at most 2^30: half of each operand's 2^30. */
    const int32_t value = q == 1 << 30 ? (sum + 1) >> 1 : edgernn_high_mul(2 * sum, q);
    return edgernn_saturate(edgernn_divide(value, right));
}

static inline int32_t edgernn_scalar_add_scaled(int32_t a, int32_t b, int32_t q_a, int right_a,
                                                int32_t q_b, int right_b, int32_t q, int right)
{
    const int32_t sum =
        edgernn_common_scale(a, q_a, right_a) + edgernn_common_scale(b, q_b, right_b);
    return edgernn_sum_scale(sum, q, right);
}

static inline int32_t edgernn_scalar_sub_scaled(int32_t a, int32_t b, int32_t q_a, int right_a,
                                                int32_t q_b, int right_b, int32_t q, int right)
{
    const int32_t sum =
        edgernn_common_scale(a, q_a, right_a) - edgernn_common_scale(b, q_b, right_b);
    return edgernn_sum_scale(sum, q, right);
}

/* sat(a * b * 2^-15) with the two roundings of MUL: half up to 2^-1, then ties away from zero. */
static inline int32_t edgernn_scalar_mul(int32_t a, int32_t b)
{
    const int32_t half = (a * b + 1) >> 1;
    /* Only -32768 * -32768 leaves int16, and only upwards. */
    return edgernn_saturate_upwards((half + (half >> 31) + 8192) >> 14);
}

/* The same for a in 0 .. 32767, which sigmoid gives: b has the sign of the product, and with 1 of
 * that sign added both roundings are one, half up. */
static inline int32_t edgernn_scalar_mul_gate(int32_t a, int32_t b)
{
    return (a * b + (b >> 31 | 1) + 16384) >> 15;
}

static inline int32_t edgernn_scalar_relu(int32_t a)
{
    return a > 0 ? a : 0;
}

/* The same value at another scale: * 2^left * q / 2^31 / 2^right. */
static inline int32_t edgernn_scalar_rescale(int32_t a, int32_t q, int left, int right)
{
    return edgernn_saturate(edgernn_divide(edgernn_high_mul(a * (2 << left), q), right));
}

static inline int32_t edgernn_scalar_maximum(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* a where the mask is not 0, else b. */
static inline int32_t edgernn_scalar_select(int32_t mask, int32_t a, int32_t b)
{
    return mask != 0 ? a : b;
}

/* A function by a table of its own, 513 entries for every 128th int16, and lines between them. */
static inline int32_t edgernn_scalar_lookup(int32_t x, const int16_t *table)
{
    const int16_t *entry = &table[(x + 32768) >> 7];
    return entry[0] + (((entry[1] - entry[0]) * (x & 127) + 64) >> 7);
}

/* 1 / sqrt(x): half of r, rounded up, where r is the largest number with r^2 * x < 4^(16 + gain).
 * Where r has more than 16 bits, for small x and all that is not positive, that saturates.
 *
 * r is found bit by bit, from the highest. Of its first bits, s: rest = 4^gain * 4^n - 1 - s^2 * x
 * for n bits, and more = (4 * s + 1) * x, by which the next rest is smaller if the next bit is 1:
 * 4 * rest + 3 - more. rest < (2 * s + 1) * x, and all of this fits 32 bits. */
static inline int32_t edgernn_scalar_rsqrt(int32_t x, int gain)
{
    const uint32_t once = (uint32_t)x;
    uint32_t rest = ((uint32_t)1 << 2 * gain) - 1;
    uint32_t more = once;
    uint32_t r = 0;
    int bit;
    if (x <= (int32_t)1 << 2 * gain) {
        return INT16_MAX;
    }
    for (bit = 0; bit < 16; ++bit) {
        /* 4 * rest + 3 >= more, of which the left side alone may be too large. */
        const uint32_t one = rest >= more >> 2;
        rest = 4 * rest + 3;
        r = 2 * r;
        if (one != 0) {
            rest -= more;
            more += 2 * once;
            ++r;
        }
        more = 2 * more - once;
    }
    return (int32_t)((r + 1) >> 1);
}

/* Sigmoid and tanh to scale 2^-15, x at scale 3 * 2^(-1 - shift), that is x * 18432 >> shift,
 * rounded, on the grid of the table: 4096 / 3 a unit of the real value, 1/24 between entries for
 * sigmoid. Here without the common factor 2^11. */
static inline int32_t edgernn_grid(int32_t x, int shift)
{
    return shift < 12 ? x * (9 * (1 << (11 - shift)))
                      : (x * 9 + (1 << (shift - 12))) >> (shift - 11);
}

/* Negative arguments mirror positive ones. */
static inline int32_t edgernn_scalar_logistic(int32_t x, int shift)
{
    const int32_t grid = edgernn_grid(x, shift);
    const int32_t sign = grid >> 31;
    const int32_t a = (grid ^ sign) - sign;
    const uint16_t *entry = edgernn_logistic_step(a);
    const int32_t r = entry[0] * 512 + (a & 511) * (entry[1] - entry[0]);
    /* r + 512, or 2^25 + 511 - r if x is negative; 2^25 is none of the 15 bits. */
    return (int32_t)((uint32_t)((r ^ sign) + 512) >> 10 & 32767);
}

static inline int32_t edgernn_scalar_tanh(int32_t x, int shift)
{
    const int32_t grid = edgernn_grid(x, shift);
    const int32_t sign = grid >> 31;
    const int32_t a = (grid ^ sign) - sign;
    const uint16_t *entry = edgernn_tanh_step(a);
    const int32_t r = entry[0] * 256 + (a & 255) * (entry[1] - entry[0]) - 8388608;
    return ((r ^ sign) + 128) >> 8;
}

#endif
