/* Which family of kernels is compiled, and how the constants of a matrix lie in memory for it.
 *
 * Define EDGERNN_PORTABLE to force plain C everywhere. All families give the same bits.
 */
#ifndef EDGERNN_TARGET_H
#define EDGERNN_TARGET_H

#include <stdint.h>

#if defined(EDGERNN_PORTABLE)
#define EDGERNN_KERNELS "portable"
#define EDGERNN_PLAIN
#elif defined(__GNUC__) && defined(__ARM_FEATURE_MVE) && !defined(__ARM_BIG_ENDIAN)
#define EDGERNN_KERNELS "helium"
#define EDGERNN_HELIUM
#elif defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && \
    __ARM_ARCH_PROFILE == 'M' && !defined(__ARM_BIG_ENDIAN) &&                                    \
    (defined(__ARM_FEATURE_UNALIGNED) || defined(__clang__)) /* not every clang defines it */
#define EDGERNN_KERNELS "dsp"
#define EDGERNN_DSP
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(__AARCH64EB__)
#define EDGERNN_KERNELS "neon"
#define EDGERNN_NEON
#elif defined(__GNUC__) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define EDGERNN_KERNELS "avx512"
#define EDGERNN_AVX512
#elif defined(__GNUC__) && defined(__AVX2__)
#define EDGERNN_KERNELS "avx2"
#define EDGERNN_AVX2
#else
#define EDGERNN_KERNELS "portable"
#define EDGERNN_PLAIN
#endif

/* Weights come in blocks of 4 rows by 8 columns, for the last columns of a row by 4; the model
 * gives each block row by row, and a family may store it in the order that its loop reads. */
#if defined(EDGERNN_DSP)
typedef uint32_t edgernn_weight_t;
#define EDGERNN_REST4 4
#define EDGERNN_WEIGHTS(columns) (columns)
/* Blocks of 4 by 4. A word has rows a and b of columns 0 and 1, see edgernn_dsp.c. */
#define EDGERNN_DSP_WORD(a0, a1, b0, b1)                                            \
    ((uint32_t)((b1) * 256 + (a1)) << 16 | ((uint32_t)((b0) * 256 + (a0)) & 65535u))
#define EDGERNN_BLOCK4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
    EDGERNN_DSP_WORD(a0, a1, b0, b1), EDGERNN_DSP_WORD(a2, a3, b2, b3),                \
        EDGERNN_DSP_WORD(c0, c1, d0, d1), EDGERNN_DSP_WORD(c2, c3, d2, d3)
#define EDGERNN_BLOCK8(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, \
                       c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7)                         \
    EDGERNN_BLOCK4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3),                \
        EDGERNN_BLOCK4(a4, a5, a6, a7, b4, b5, b6, b7, c4, c5, c6, c7, d4, d5, d6, d7)
/* The high word of a product with it is the result. */
#define EDGERNN_FACTOR(m, k) ((m) * (1 << (32 - (k))))
#elif defined(EDGERNN_PLAIN) || defined(EDGERNN_NEON)
/* Column by column, so that a column is where its number says, in every block. */
typedef int8_t edgernn_weight_t;
#define EDGERNN_REST4 4
#define EDGERNN_WEIGHTS(columns) (4 * (columns))
#define EDGERNN_BLOCK4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
    a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3
#define EDGERNN_BLOCK8(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, \
                       c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7)                         \
    EDGERNN_BLOCK4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3),                \
        EDGERNN_BLOCK4(a4, a5, a6, a7, b4, b5, b6, b7, c4, c5, c6, c7, d4, d5, d6, d7)
#if defined(EDGERNN_NEON)
/* The high word of a product with it is the result. */
#define EDGERNN_FACTOR(m, k) ((m) * (1 << (32 - (k))))
/* Cortex-M0, M0+ and M23 have no product of 64 bits. */
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define EDGERNN_SHORT_PRODUCTS
#define EDGERNN_FACTOR(m, k) ((m) * 65536 + (k) - 17)
#else
/* The high word of a product with it is twice the result. */
#define EDGERNN_FACTOR(m, k) ((m) * (1 << (32 - (k))) * 2)
#endif
#elif defined(EDGERNN_AVX2) || defined(EDGERNN_AVX512)
#define EDGERNN_REST4 8
#define EDGERNN_WEIGHTS(columns) (4 * (columns))
#define EDGERNN_BLOCK4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3)             \
    EDGERNN_BLOCK8(a0, a1, a2, a3, 0, 0, 0, 0, b0, b1, b2, b3, 0, 0, 0, 0, c0, c1, c2, c3, 0, 0, 0, \
                   0, d0, d1, d2, d3, 0, 0, 0, 0)
#if defined(EDGERNN_AVX2)
/* A word has rows a and b, or c and d, of a column: see edgernn_avx2.c. */
typedef uint8_t edgernn_weight_t;
#define EDGERNN_AVX2_WORDS(a0, a1, a2, a3, b0, b1, b2, b3)                                 \
    (a0) + 128, (b0) & 255, (a1) + 128, (b1) & 255, (a2) + 128, (b2) & 255, (a3) + 128, (b3) & 255
#define EDGERNN_BLOCK8(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, \
                       c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7)                         \
    EDGERNN_AVX2_WORDS(a0, a1, a2, a3, b0, b1, b2, b3),                                            \
        EDGERNN_AVX2_WORDS(a4, a5, a6, a7, b4, b5, b6, b7),                                        \
        EDGERNN_AVX2_WORDS(c0, c1, c2, c3, d0, d1, d2, d3),                                        \
        EDGERNN_AVX2_WORDS(c4, c5, c6, c7, d4, d5, d6, d7)
#else
/* 4 columns of every row, then the next 4. */
typedef int8_t edgernn_weight_t;
#define EDGERNN_BLOCK8(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, \
                       c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7)                         \
    a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, a4, a5, a6, a7, b4, b5, b6, b7, \
        c4, c5, c6, c7, d4, d5, d6, d7
#endif
/* The high word of a product with it is the result. */
#define EDGERNN_FACTOR(m, k) ((m) * (1 << (32 - (k))))
#else
typedef int8_t edgernn_weight_t;
/* Elements of `columns` stored columns of a group. */
#define EDGERNN_WEIGHTS(columns) (4 * (columns))
#define EDGERNN_BLOCK8(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, \
                       c3, c4, c5, c6, c7, d0, d1, d2, d3, d4, d5, d6, d7)                         \
    a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7, c0, c1, c2, c3, c4, c5, c6, c7, \
        d0, d1, d2, d3, d4, d5, d6, d7
#if defined(EDGERNN_HELIUM)
#define EDGERNN_REST4 8
#define EDGERNN_BLOCK4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3)             \
    EDGERNN_BLOCK8(a0, a1, a2, a3, 0, 0, 0, 0, b0, b1, b2, b3, 0, 0, 0, 0, c0, c1, c2, c3, 0, 0, 0, \
                   0, d0, d1, d2, d3, 0, 0, 0, 0)
#else
#define EDGERNN_REST4 4 /* stored columns of a block of 4 */
#define EDGERNN_BLOCK4(a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3) \
    a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3
#endif
#define EDGERNN_FACTOR(m, k) ((m) * 65536 + (k) - 17)
#endif

/* What turns the sums of 4 rows into int16:
 *     y = sat((sum * multiplier + 2^(shift - 1)) >> shift),  sum = bias + weights * x,
 * multiplier in 16384 .. 32767, shift in 17 .. 32. The exporter has proved that no sum leaves
 * int32; where it could not, or shifts are others, it uses edgernn_wide_row_t, shift in 8 .. 35. */
#if defined(EDGERNN_HELIUM)
typedef struct {
    int32_t bias[4];
    int32_t multiplier[4]; /* << 16 */
    int8_t shift[4];       /* 16 - shift */
} edgernn_rows_t;
#define EDGERNN_ROWS(b0, m0, k0, b1, m1, k1, b2, m2, k2, b3, m3, k3)                \
    {                                                                               \
        {b0, b1, b2, b3}, {(m0) * 65536, (m1) * 65536, (m2) * 65536, (m3) * 65536}, \
        {                                                                           \
            16 - (k0), 16 - (k1), 16 - (k2), 16 - (k3)                              \
        }                                                                           \
    }
#else
typedef struct {
    int32_t bias[4];
    int32_t factor[4]; /* both, as the family wants them */
} edgernn_rows_t;
#define EDGERNN_ROWS(b0, m0, k0, b1, m1, k1, b2, m2, k2, b3, m3, k3)                        \
    {                                                                                       \
        {b0, b1, b2, b3},                                                                   \
        {                                                                                   \
            EDGERNN_FACTOR(m0, k0), EDGERNN_FACTOR(m1, k1), EDGERNN_FACTOR(m2, k2),         \
                EDGERNN_FACTOR(m3, k3)                                                      \
        }                                                                                   \
    }
#endif

typedef struct {
    int64_t bias;
    int32_t multiplier;
    int32_t shift;
} edgernn_wide_row_t;

#endif
