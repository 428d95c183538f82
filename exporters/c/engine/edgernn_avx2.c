/* The matrix product with AVX2, 16 rows at a time.
 *
 * A 16-bit word holds the weights of two rows at one column, 256 * b + (a + 128). Multiplied by x
 * it gives both rows' products in one sum, S = 256 * B + A + 128 * X, X the sum of x; shifted right
 * by 8 it gives B. Only A and B are to fit 32 bits: modulo 2^32, A = S - 256 * B - 128 * X.
 */
#include "edgernn_kernels.h"

#if defined(EDGERNN_AVX2)

#define EDGERNN_AVX_GROUPS 4
#include "edgernn_avx.h"

#include <string.h>

INLINE __m128i load_first8(const int16_t *p, int count)
{
    int16_t part[8] = {0};
    memcpy(part, p, (size_t)count * sizeof(int16_t));
    return load_half(part);
}

INLINE __m256i load_first(const int16_t *p, int count)
{
    int16_t part[16] = {0};
    memcpy(part, p, (size_t)count * sizeof(int16_t));
    return load(part);
}

INLINE void store_first(int16_t *p, int count, __m256i values)
{
    int16_t part[16];
    _mm256_storeu_si256((__m256i *)(void *)part, values);
    memcpy(p, part, (size_t)count * sizeof(int16_t));
}

/* 128 * X in the even elements. */
INLINE __m256i excess(const int16_t *x, int columns)
{
    const __m128i factor = _mm_set1_epi16(128);
    __m128i sum = _mm_setzero_si128();
    for (; columns >= 8; columns -= 8) {
        sum = _mm_add_epi32(sum, _mm_madd_epi16(load_half(x), factor));
        x += 8;
    }
    if (columns > 0) {
        sum = _mm_add_epi32(sum, _mm_madd_epi16(load_first8(x, columns), factor));
    }
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return _mm256_broadcastq_epi64(_mm_blend_epi32(sum, _mm_setzero_si128(), 0xa));
}

/* In place: compilers copy the sums to and fro instead. */
#define ADD(sum, value) __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(value))

/* 8 columns of all groups. */
#define MULTIPLY(columns8)                                                      \
    do {                                                                        \
        const __m256i v = _mm256_broadcastsi128_si256(columns8);                \
        UNROLL                                                                  \
        for (g = 0; g < groups; ++g) {                                          \
            const __m256i both = load(w[g] + 4 * i);                            \
            ADD(s[g], _mm256_madd_epi16(both, v));                              \
            ADD(b[g], _mm256_madd_epi16(_mm256_srai_epi16(both, 8), v));        \
        }                                                                       \
    } while (0)

/* S and B of the groups: the sums of half the elements in each two of sums[]. */
INLINE void sum_groups(int groups, const edgernn_weight_t *const w[], const int16_t *x,
                       int columns, __m256i sums[])
{
    const ptrdiff_t whole = columns - columns % 8;
    __m256i s[4];
    __m256i b[4];
    ptrdiff_t i;
    int g;
    UNROLL
    for (g = 0; g < groups; ++g) {
        s[g] = _mm256_setzero_si256();
        b[g] = _mm256_setzero_si256();
    }
    if (columns % 8 != 0) {
        i = whole;
        MULTIPLY(load_first8(x + i, columns % 8));
    }
    for (i = 0; i < whole; i += 8) {
        MULTIPLY(load_half(x + i));
    }
    UNROLL
    for (g = 0; g < groups; ++g) {
        sums[g] = _mm256_add_epi32(_mm256_unpacklo_epi32(s[g], b[g]),
                                   _mm256_unpackhi_epi32(s[g], b[g]));
    }
}

/* 4 rows of each of two groups. */
INLINE __m256i rows8(__m256i one, __m256i two, __m256i minus)
{
    /* S and B in turn: rows a and b in the lower half, c and d in the upper. */
    const __m256i sums =
        _mm256_add_epi32(_mm256_unpacklo_epi64(one, two), _mm256_unpackhi_epi64(one, two));
    const __m256i b = _mm256_srli_epi64(_mm256_slli_epi32(sums, 8), 32);
    return _mm256_permute4x64_epi64(_mm256_sub_epi32(sums, _mm256_add_epi32(b, minus)), 0xd8);
}

INLINE void linear_groups(int groups, int last, const edgernn_weight_t *weights, ptrdiff_t stride,
                          const edgernn_rows_t *constants, const int16_t *x, int columns,
                          __m256i minus, __m256i rows[])
{
    const edgernn_weight_t *w[4];
    const edgernn_rows_t *c[4];
    __m256i sums[4];
    int g;
    UNROLL
    for (g = 0; g < groups; ++g) {
        w[g] = weights + (g < last ? g : last) * stride;
        c[g] = constants + (g < last ? g : last);
    }
    sum_groups(groups, w, x, columns, sums);
    UNROLL
    for (g = 0; g < groups; g += 2) {
        const __m256i bias = _mm256_inserti128_si256(
            _mm256_castsi128_si256(load_half(c[g]->bias)), load_half(c[g + 1]->bias), 1);
        sums[g / 2] = high_words(
            _mm256_add_epi32(rows8(sums[g], sums[g + 1], minus), bias), c[g], c[g + 1]);
    }
    rows[0] = saturated(sums[0], sums[1]);
}

void edgernn_sum4(const edgernn_weight_t *weights, const int16_t *x, int columns, int32_t sums[4])
{
    __m256i parts[4];
    sum_groups(1, &weights, x, columns, parts);
    _mm_storeu_si128((__m128i *)(void *)sums,
                     _mm256_castsi256_si128(rows8(parts[0], parts[0], excess(x, columns))));
}

#else

/* ISO C wants a declaration in every file. */
typedef int edgernn_avx2_is_not_used_t;

#endif
