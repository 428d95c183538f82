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

static inline int32_t edgernn_saturate(int32_t value)
{
    return value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value;
}

/* SRDHM of gemmlowp: a * q / 2^31, half up. */
static inline int32_t edgernn_high_mul(int32_t a, int32_t q)
{
    return (int32_t)(((int64_t)a * q + (1 << 30)) >> 31);
}

/* RDBPOT of gemmlowp: a / 2^right, ties away from zero; right in 0 .. 30. */
static inline int32_t edgernn_divide(int32_t a, int right)
{
    return right == 0 ? a : (a + ((int32_t)1 << (right - 1)) - (a < 0)) >> right;
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

/* (a + b) / 2, (a - b) / 2, ties away from zero: the result has twice the scale. */
static inline int32_t edgernn_scalar_add_half(int32_t a, int32_t b)
{
    const int32_t sum = a + b;
    return (sum + (sum > 0)) >> 1;
}

static inline int32_t edgernn_scalar_sub_half(int32_t a, int32_t b)
{
    return edgernn_scalar_add_half(a, -b);
}

/* Any three scales: each operand is brought to a common scale by a 31-bit factor q and a right
 * shift, the sum to the scale of the result. */
static inline int32_t edgernn_scalar_add_scaled(int32_t a, int32_t b, int32_t q_a,
                                                 int right_a, int32_t q_b, int right_b, int32_t q,
                                                 int right)
{
    const int32_t sum = edgernn_divide(edgernn_high_mul(a * 32768, q_a), right_a) +
                        edgernn_divide(edgernn_high_mul(b * 32768, q_b), right_b);
    return edgernn_saturate(edgernn_divide(edgernn_high_mul(sum, q), right));
}

static inline int32_t edgernn_scalar_sub_scaled(int32_t a, int32_t b, int32_t q_a,
                                                 int right_a, int32_t q_b, int right_b, int32_t q,
                                                 int right)
{
    const int32_t sum = edgernn_divide(edgernn_high_mul(a * 32768, q_a), right_a) -
                        edgernn_divide(edgernn_high_mul(b * 32768, q_b), right_b);
    return edgernn_saturate(edgernn_divide(edgernn_high_mul(sum, q), right));
}

/* sat(a * b * 2^-15) with the two roundings of MUL, both in one shift. */
static inline int32_t edgernn_scalar_mul(int32_t a, int32_t b)
{
    const int32_t q = a * b + 1;
    /* Only -32768 * -32768 leaves int16, and only upwards. */
    const int32_t value = (q + 16384 + 2 * (q >> 31)) >> 15;
    return value > INT16_MAX ? INT16_MAX : value;
}

static inline int32_t edgernn_scalar_relu(int32_t a)
{
    return a > 0 ? a : 0;
}

/* The same value at another scale: * 2^left * q / 2^31 / 2^right. */
static inline int32_t edgernn_scalar_rescale(int32_t a, int32_t q, int left, int right)
{
    return edgernn_saturate(edgernn_divide(edgernn_high_mul(a * (1 << left), q), right));
}

/* Sigmoid and tanh to scale 2^-15, x at scale 3 * 2^(-1 - shift), that is x * 18432 >> shift on the
 * grid of the table: 4096 / 3 a unit of the real value, 1/24 between entries for sigmoid. Negative
 * arguments mirror positive ones; far out the last step before the rail gives the rail. */
static inline int32_t edgernn_scalar_logistic(int32_t x, int shift)
{
    const int32_t grid = (x * 18432 + ((int32_t)1 << (shift - 1))) >> shift;
    const int32_t sign = grid >> 31;
    int32_t a = (grid ^ sign) - sign;
    const uint16_t *entry;
    int32_t r;
    a = a > 130559 ? 130559 : a;
    entry = &edgernn_sigmoid[a >> 9];
    r = (entry[0] << 9) + (a & 511) * (entry[1] - entry[0]);
    return sign == 0 ? (r + 512) >> 10 : (33554432 - r + 511) >> 10;
}

static inline int32_t edgernn_scalar_tanh(int32_t x, int shift)
{
    const int32_t grid = (x * 18432 + ((int32_t)1 << (shift - 1))) >> shift;
    const int32_t sign = grid >> 31;
    int32_t a = (grid ^ sign) - sign;
    const uint16_t *entry;
    int32_t r;
    a = a > 65535 ? 65535 : a;
    entry = &edgernn_sigmoid[a >> 8];
    r = (entry[0] << 8) + (a & 255) * (entry[1] - entry[0]) - 8388608;
    return sign == 0 ? (r + 128) >> 8 : (127 - r) >> 8;
}

#endif
