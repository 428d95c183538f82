/* The matrix product with AVX-512 VNNI, 32 rows at a time, in registers of 256 bits.
 *
 * VPDPBUSD multiplies unsigned bytes by signed ones. x = 256 * h + l, h signed and l unsigned: one
 * sums up w * l, another (w + 128) * h, and 128 times the sum of h is taken away again. The whole
 * fits 32 bits, the parts are right modulo 2^32.
 */
#include "edgernn_kernels.h"

#if defined(EDGERNN_AVX512)

#define EDGERNN_AVX_GROUPS 8
#include "edgernn_avx.h"

INLINE __m128i load_first8(const int16_t *p, int count)
{
    return _mm_maskz_loadu_epi16((__mmask8)((1u << count) - 1), p);
}

INLINE __m256i load_first(const int16_t *p, int count)
{
    return _mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), p);
}

INLINE void store_first(int16_t *p, int count, __m256i values)
{
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1), values);
}

/* 256 * 128 times the sum of h. */
INLINE __m256i excess(const int16_t *x, int columns)
{
    const __m256i factor = _mm256_set1_epi16(128);
    const __m256i high = _mm256_set1_epi16(-256);
    __m256i sum = _mm256_setzero_si256();
    __m128i half;
    for (; columns >= 16; columns -= 16) {
        sum = _mm256_dpwssd_epi32(sum, _mm256_and_si256(load(x), high), factor);
        x += 16;
    }
    if (columns > 0) {
        sum = _mm256_dpwssd_epi32(sum, _mm256_and_si256(load_first(x, columns), high), factor);
    }
    half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm256_broadcastd_epi32(half);
}

/* Compilers copy the sum to and fro with the intrinsic. */
#define DP(sum, u, s) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "v"(s))

/* 8 columns of all groups; of x 4 columns to a half, once for each of 4 rows. */
#define MULTIPLY(columns8)                                          \
    do {                                                            \
        const __m256i both = _mm256_broadcastsi128_si256(columns8); \
        const __m256i l = _mm256_shuffle_epi8(both, order_l);       \
        const __m256i h = _mm256_shuffle_epi8(both, order_h);       \
        UNROLL                                                      \
        for (g = 0; g < groups; ++g) {                              \
            const __m256i v = load(w[g] + 4 * i);                   \
            const __m256i u = _mm256_xor_si256(v, top);             \
            DP(low[g], l, v);                                       \
            DP(high[g], u, h);                                      \
        }                                                           \
    } while (0)

/* low[] += W x and the excess: each row in two elements, one in each half. */
INLINE void sum_groups(int groups, const edgernn_weight_t *const w[], const int16_t *x,
                       int columns, __m256i low[])
{
    const __m256i order_l =
        _mm256_set_epi32(0x0e0c0a08, 0x0e0c0a08, 0x0e0c0a08, 0x0e0c0a08, 0x06040200, 0x06040200,
                         0x06040200, 0x06040200);
    const __m256i order_h =
        _mm256_set_epi32(0x0f0d0b09, 0x0f0d0b09, 0x0f0d0b09, 0x0f0d0b09, 0x07050301, 0x07050301,
                         0x07050301, 0x07050301);
    const __m256i top = _mm256_set1_epi8(-128);
    const ptrdiff_t whole = columns - columns % 8;
    __m256i high[8];
    ptrdiff_t i;
    int g;
    UNROLL
    for (g = 0; g < groups; ++g) {
        high[g] = _mm256_setzero_si256();
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
        low[g] = _mm256_add_epi32(low[g], _mm256_slli_epi32(high[g], 8));
    }
}

INLINE void linear_groups(int groups, int last, const edgernn_weight_t *weights, ptrdiff_t stride,
                          const edgernn_rows_t *constants, const int16_t *x, int columns,
                          __m256i minus, __m256i rows[])
{
    const edgernn_weight_t *w[8];
    const edgernn_rows_t *c[8];
    __m256i sums[8];
    int g;
    UNROLL
    for (g = 0; g < groups; ++g) {
        w[g] = weights + (g < last ? g : last) * stride;
        c[g] = constants + (g < last ? g : last);
        sums[g] = _mm256_zextsi128_si256(load_half(c[g]->bias));
    }
    sum_groups(groups, w, x, columns, sums);
    UNROLL
    for (g = 0; g < groups; g += 2) {
        /* Halves together, two groups: 8 rows in their order. */
        const __m256i lower = _mm256_permute2x128_si256(sums[g], sums[g + 1], 0x20);
        const __m256i upper = _mm256_permute2x128_si256(sums[g], sums[g + 1], 0x31);
        const __m256i both = _mm256_sub_epi32(_mm256_add_epi32(lower, upper), minus);
        sums[g / 2] = high_words(both, c[g], c[g + 1]);
    }
    UNROLL
    for (g = 0; g < groups / 4; ++g) {
        rows[g] = saturated(sums[2 * g], sums[2 * g + 1]);
    }
}

void edgernn_sum4(const edgernn_weight_t *weights, const int16_t *x, int columns, int32_t sums[4])
{
    __m256i parts[8] = {_mm256_setzero_si256()};
    sum_groups(1, &weights, x, columns, parts);
    _mm_storeu_si128((__m128i *)(void *)sums,
                     _mm_sub_epi32(_mm_add_epi32(_mm256_castsi256_si128(parts[0]),
                                                 _mm256_extracti128_si256(parts[0], 1)),
                                   _mm256_castsi256_si128(excess(x, columns))));
}

#else

/* ISO C wants a declaration in every file. */
typedef int edgernn_avx512_is_not_used_t;

#endif
