/* What the products with AVX2 and AVX-512 share: everything but the sums.
 *
 * A family defines excess(), linear_groups(), load_first() and store_first() below.
 */
#ifndef EDGERNN_AVX_H
#define EDGERNN_AVX_H

#include "edgernn_kernels.h"

#include <immintrin.h>

/* Loops over groups vanish, and their arrays become registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define INLINE static inline __attribute__((always_inline))

INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE __m128i load_half(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* The first `count` elements, at most 8 and 15; the others are 0, or not written. */
INLINE __m128i load_first8(const int16_t *p, int count);
INLINE __m256i load_first(const int16_t *p, int count);
INLINE void store_first(int16_t *p, int count, __m256i values);

/* What the sums of all rows are too large by. */
INLINE __m256i excess(const int16_t *x, int columns);

/* W x + b of 4 or 8 groups of 4 rows, 16 rows to a vector. Groups after `last` are like it: where
 * there are fewer. */
INLINE void linear_groups(int groups, int last, const edgernn_weight_t *weights, ptrdiff_t stride,
                          const edgernn_rows_t *constants, const int16_t *x, int columns,
                          __m256i minus, __m256i rows[]);

/* The rounded high words of the products of two groups' sums with their factors. */
INLINE __m256i high_words(__m256i sums, const edgernn_rows_t *one, const edgernn_rows_t *two)
{
    const __m256i factors = _mm256_inserti128_si256(
        _mm256_castsi128_si256(load_half(one->factor)), load_half(two->factor), 1);
    const __m256i half = _mm256_set1_epi64x(2147483648LL);
    const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(sums, factors), half);
    const __m256i odd = _mm256_add_epi64(
        _mm256_mul_epi32(_mm256_srli_epi64(sums, 32), _mm256_srli_epi64(factors, 32)), half);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}

/* 16 rows from two times 8. */
INLINE __m256i saturated(__m256i low, __m256i high)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
}

INLINE void store_rows(int16_t *y, __m256i rows, int add)
{
    if (add) {
        rows = _mm256_adds_epi16(rows, load(y));
    }
    _mm256_storeu_si256((__m256i *)(void *)y, rows);
}

static void linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y, int add)
{
    const int columns = matrix->columns;
    const ptrdiff_t stride = EDGERNN_WEIGHTS((columns + 7) / 8 * 8);
    const __m256i minus = excess(x, columns);
    const edgernn_weight_t *weights = matrix->weights;
    const edgernn_rows_t *constants = matrix->constants;
    int left = matrix->rows;
    __m256i rows[2];
#if EDGERNN_AVX_GROUPS == 8
    for (; left >= 32; left -= 32) {
        linear_groups(8, 8, weights, stride, constants, x, columns, minus, rows);
        store_rows(y, rows[0], add);
        store_rows(y + 16, rows[1], add);
        weights += 8 * stride;
        constants += 8;
        y += 32;
    }
#endif
    for (; left >= 16; left -= 16) {
        linear_groups(4, 4, weights, stride, constants, x, columns, minus, rows);
        store_rows(y, rows[0], add);
        weights += 4 * stride;
        constants += 4;
        y += 16;
    }
    if (left > 0) {
        linear_groups(4, (left - 1) / 4, weights, stride, constants, x, columns, minus, rows);
        if (add) {
            rows[0] = _mm256_adds_epi16(rows[0], load_first(y, left));
        }
        store_first(y, left, rows[0]);
    }
}

void edgernn_linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y)
{
    linear(matrix, x, y, 0);
}

void edgernn_linear_add(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y)
{
    linear(matrix, x, y, 1);
}

#endif
