/* Which family of kernels is compiled, and how the constants of a matrix lie in memory for it.
 *
 * Define EDGERNN_PORTABLE to force plain C everywhere. All families give the same bits.
 */
#ifndef EDGERNN_TARGET_H
#define EDGERNN_TARGET_H

#include <stdint.h>

#if defined(EDGERNN_PORTABLE)
#define EDGERNN_KERNELS "portable"
#else
#define EDGERNN_KERNELS "portable"
#endif

/* Weights come in blocks of 4 rows by 8 columns, for the last columns of a row by 4; the model gives
 * each block row by row, and a family may store it in the order that its loop reads. */
typedef int8_t edgernn_weight_t;
#define EDGERNN_REST4 4                        /* stored columns of a block of 4 */
#define EDGERNN_WEIGHTS(columns) (4 * (columns)) /* elements of `columns` stored columns of a group */
#define EDGERNN_BLOCK8(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, \
                       c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7)                         \
    a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, c3, c4, c5, c6, c7, \
        d0, d1, d2, d3, d4, d5, d6, d7
#define EDGERNN_BLOCK4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
    a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3

/* What turns the sums of 4 rows into int16:
 *     y = sat((sum * multiplier + 2^(shift - 1)) >> shift),  sum = bias + weights * x,
 * multiplier in 16384 .. 32767, shift in 17 .. 35. The exporter has proved that no sum leaves
 * int32; where it could not, it uses edgernn_wide_rows_t, shift in 8 .. 35. */
typedef struct {
    int32_t bias[4];
    int32_t factor[4]; /* multiplier << 16 | (shift - 17) */
} edgernn_rows_t;
#define EDGERNN_ROWS(b0, m0, k0, b1, m1, k1, b2, m2, k2, b3, m3, k3)                        \
    {                                                                                       \
        {b0, b1, b2, b3},                                                                   \
        {                                                                                   \
            (m0) * 65536 + (k0) - 17, (m1) * 65536 + (k1) - 17, (m2) * 65536 + (k2) - 17,   \
                (m3) * 65536 + (k3) - 17                                                    \
        }                                                                                   \
    }

typedef struct {
    int64_t bias;
    int32_t multiplier;
    int32_t shift;
} edgernn_wide_row_t;

#endif
