/* The element-wise operators of a step with AVX2 or AVX-512: 16 int16 at a time. */
#ifndef EDGERNN_LANES_AVX_H
#define EDGERNN_LANES_AVX_H

#include <immintrin.h>
#include <string.h>

#define EDGERNN_LANES 16
typedef __m256i edgernn_lanes_t;

/* Elements i .. i + 15 of n; lanes beyond n hold 0. Where n is a constant and a multiple of 16 the
 * compiler sees that nothing lies beyond. */
static inline edgernn_lanes_t edgernn_load(const int16_t *p, int i, int n)
{
#if defined(EDGERNN_AVX512)
    if (n % 16 != 0 && n - i < 16) {
        return _mm256_maskz_loadu_epi16((__mmask16)((1u << (n - i)) - 1), p + i);
    }
#else
    int16_t part[16] = {0};
    if (n % 16 != 0 && n - i < 16) {
        memcpy(part, p + i, (size_t)(n - i) * sizeof(int16_t));
        return _mm256_loadu_si256((const __m256i *)(const void *)part);
    }
#endif
    return _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
}

/* Lanes beyond n are not written. */
static inline void edgernn_store(int16_t *p, int i, int n, edgernn_lanes_t value)
{
    if (n % 16 == 0 || n - i >= 16) {
        _mm256_storeu_si256((__m256i *)(void *)(p + i), value);
    } else {
#if defined(EDGERNN_AVX512)
        _mm256_mask_storeu_epi16(p + i, (__mmask16)((1u << (n - i)) - 1), value);
#else
        int16_t part[16];
        _mm256_storeu_si256((__m256i *)(void *)part, value);
        memcpy(p + i, part, (size_t)(n - i) * sizeof(int16_t));
#endif
    }
}

static inline edgernn_lanes_t edgernn_broadcast(const int16_t *p)
{
    return _mm256_set1_epi16(*p);
}

static inline edgernn_lanes_t edgernn_add(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return _mm256_adds_epi16(a, b);
}

static inline edgernn_lanes_t edgernn_sub(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return _mm256_subs_epi16(a, b);
}

/* Once at a rail, the second step goes the same way. */
static inline edgernn_lanes_t edgernn_add_twice(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return _mm256_adds_epi16(_mm256_adds_epi16(a, b), b);
}

static inline edgernn_lanes_t edgernn_sub_twice(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return _mm256_subs_epi16(_mm256_subs_epi16(a, b), b);
}

/* half: the floor of half a number, differ: odd if the number is. Above zero it is to be the
 * ceiling. */
static inline edgernn_lanes_t edgernn_avx_ties(__m256i half, __m256i differ)
{
    const __m256i odd = _mm256_and_si256(differ, _mm256_set1_epi16(1));
    return _mm256_adds_epi16(half, _mm256_andnot_si256(_mm256_srai_epi16(half, 15), odd));
}

/* a + b = 2 * (a & b) + (a ^ b) */
static inline edgernn_lanes_t edgernn_add_half(edgernn_lanes_t a, edgernn_lanes_t b)
{
    const __m256i differ = _mm256_xor_si256(a, b);
    const __m256i both = _mm256_and_si256(a, b);
    return edgernn_avx_ties(_mm256_add_epi16(both, _mm256_srai_epi16(differ, 1)), differ);
}

/* a - b = (a ^ b) - 2 * (~a & b) */
static inline edgernn_lanes_t edgernn_sub_half(edgernn_lanes_t a, edgernn_lanes_t b)
{
    const __m256i differ = _mm256_xor_si256(a, b);
    const __m256i less = _mm256_andnot_si256(a, b);
    return edgernn_avx_ties(_mm256_sub_epi16(_mm256_srai_epi16(differ, 1), less), differ);
}

/* (a * b + 16385) >> 15, where negative is -1 (a * b + 16383) >> 15, from the halves of a * b. */
static inline edgernn_lanes_t edgernn_avx_mul(__m256i low, __m256i high, __m256i negative)
{
    const __m256i addend =
        _mm256_add_epi16(_mm256_add_epi16(negative, negative), _mm256_set1_epi16(16384));
    /* The average adds 1 itself. */
    const __m256i carry = _mm256_srli_epi16(_mm256_avg_epu16(low, addend), 14);
    /* Only -32768 * -32768 saturates; it has no carry. */
    return _mm256_add_epi16(_mm256_adds_epi16(high, high), carry);
}

static inline edgernn_lanes_t edgernn_mul(edgernn_lanes_t a, edgernn_lanes_t b)
{
    const __m256i high = _mm256_mulhi_epi16(a, b);
    return edgernn_avx_mul(_mm256_mullo_epi16(a, b), high, _mm256_srai_epi16(high, 15));
}

static inline edgernn_lanes_t edgernn_mul_gate(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_avx_mul(_mm256_mullo_epi16(a, b), _mm256_mulhi_epi16(a, b),
                            _mm256_srai_epi16(b, 15));
}
#define edgernn_mul_gate edgernn_mul_gate

static inline edgernn_lanes_t edgernn_relu(edgernn_lanes_t a)
{
    return _mm256_max_epi16(a, _mm256_setzero_si256());
}

static inline edgernn_lanes_t edgernn_maximum(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return _mm256_max_epi16(a, b);
}

static inline edgernn_lanes_t edgernn_select(edgernn_lanes_t mask, edgernn_lanes_t a,
                                             edgernn_lanes_t b)
{
    return _mm256_blendv_epi8(a, b, _mm256_cmpeq_epi16(mask, _mm256_setzero_si256()));
}

/* What needs 32 bits works on the lanes in two parts: as unpacking leaves them, and packing takes
 * them. Here are 65536 * a. */
typedef struct {
    __m256i low;
    __m256i high;
} edgernn_avx_pair_t;

static inline edgernn_avx_pair_t edgernn_avx_unpack(edgernn_lanes_t a)
{
    edgernn_avx_pair_t pair;
    pair.low = _mm256_unpacklo_epi16(_mm256_setzero_si256(), a);
    pair.high = _mm256_unpackhi_epi16(_mm256_setzero_si256(), a);
    return pair;
}

/* edgernn_high_mul, then edgernn_divide. */
static inline __m256i edgernn_avx_scale(__m256i twice, int32_t q, int right)
{
    const __m256i factor = _mm256_set1_epi32(q);
    const __m256i half = _mm256_set1_epi64x(2147483648LL);
    __m256i value;
    if (q == 1 << 30) {
        value = _mm256_srai_epi32(_mm256_add_epi32(twice, _mm256_set1_epi32(2)), 2);
    } else {
        const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(twice, factor), half);
        const __m256i odd =
            _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(twice, 32), factor), half);
        value = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    }
    if (right == 0) {
        return value;
    }
    value = _mm256_add_epi32(value, _mm256_srai_epi32(value, 31));
    value = _mm256_add_epi32(value, _mm256_set1_epi32((int32_t)1 << (right - 1)));
    return _mm256_srai_epi32(value, right);
}

#define EDGERNN_AVX_SCALED(name, sum)                                                          \
    static inline edgernn_lanes_t name(edgernn_lanes_t a, edgernn_lanes_t b, int32_t q_a,      \
                                       int right_a, int32_t q_b, int right_b, int32_t q,       \
                                       int right)                                              \
    {                                                                                          \
        const edgernn_avx_pair_t x = edgernn_avx_unpack(a);                                    \
        const edgernn_avx_pair_t y = edgernn_avx_unpack(b);                                    \
        const __m256i low = sum(edgernn_avx_scale(x.low, q_a, right_a),                        \
                                edgernn_avx_scale(y.low, q_b, right_b));                       \
        const __m256i high = sum(edgernn_avx_scale(x.high, q_a, right_a),                      \
                                 edgernn_avx_scale(y.high, q_b, right_b));                     \
        return _mm256_packs_epi32(edgernn_avx_scale(_mm256_add_epi32(low, low), q, right),     \
                                  edgernn_avx_scale(_mm256_add_epi32(high, high), q, right));  \
    }
EDGERNN_AVX_SCALED(edgernn_add_scaled, _mm256_add_epi32)
EDGERNN_AVX_SCALED(edgernn_sub_scaled, _mm256_sub_epi32)

static inline edgernn_lanes_t edgernn_rescale(edgernn_lanes_t a, int32_t q, int left, int right)
{
    const edgernn_avx_pair_t x = edgernn_avx_unpack(a);
    const __m256i low = _mm256_srai_epi32(x.low, 15 - left);
    const __m256i high = _mm256_srai_epi32(x.high, 15 - left);
    return _mm256_packs_epi32(edgernn_avx_scale(low, q, right), edgernn_avx_scale(high, q, right));
}

/* entry: T[i] of the table, step: T[i + 1] - T[i]. */
typedef struct {
    __m256i entry;
    __m256i step;
} edgernn_avx_entries_t;

/* i at most 254 */
static inline edgernn_avx_entries_t edgernn_avx_look_up(__m256i i)
{
    edgernn_avx_entries_t entries;
    __m256i next;
#if defined(EDGERNN_AVX512)
    /* i and i + 1 in a register, the table in eight. Masks of ones: of the forms without a mask GCC
     * says in C++ that something is not initialized. */
    const uint16_t *const t = edgernn_sigmoid;
    const __m512i both = _mm512_maskz_inserti64x4(255, _mm512_castsi256_si512(i),
                                                  _mm256_add_epi16(i, _mm256_set1_epi16(1)), 1);
    const __mmask32 bit6 = _mm512_test_epi16_mask(both, _mm512_set1_epi16(64));
    const __mmask32 bit7 = _mm512_test_epi16_mask(both, _mm512_set1_epi16(128));
#define EDGERNN_AVX_QUARTER(q)                                       \
    _mm512_permutex2var_epi16(_mm512_loadu_si512(t + 64 * (q)), both, \
                              _mm512_loadu_si512(t + 64 * (q) + 32))
    const __m512i found = _mm512_mask_blend_epi16(
        bit7, _mm512_mask_blend_epi16(bit6, EDGERNN_AVX_QUARTER(0), EDGERNN_AVX_QUARTER(1)),
        _mm512_mask_blend_epi16(bit6, EDGERNN_AVX_QUARTER(2), EDGERNN_AVX_QUARTER(3)));
    entries.entry = _mm512_maskz_extracti64x4_epi64(255, found, 0);
    next = _mm512_maskz_extracti64x4_epi64(255, found, 1);
#else
    const int *const table = (const int *)(const void *)edgernn_sigmoid;
    const __m256i zero = _mm256_setzero_si256();
    /* Each with the next one in the high half. */
    const __m256i low = _mm256_i32gather_epi32(table, _mm256_unpacklo_epi16(i, zero), 2);
    const __m256i high = _mm256_i32gather_epi32(table, _mm256_unpackhi_epi16(i, zero), 2);
    entries.entry = _mm256_packus_epi32(_mm256_blend_epi16(low, zero, 0xaa),
                                        _mm256_blend_epi16(high, zero, 0xaa));
    next = _mm256_packus_epi32(_mm256_srli_epi32(low, 16), _mm256_srli_epi32(high, 16));
#endif
    entries.step = _mm256_sub_epi16(next, entries.entry);
    return entries;
}

/* An absolute value on the grid of the table, at most `most`: index without its lowest `bits` bits,
 * fraction those bits times 128. */
typedef struct {
    __m256i index;
    __m256i fraction;
} edgernn_avx_grid_t;

static inline __m256i edgernn_avx_half_grid(__m256i x, int shift, int32_t most)
{
    const __m256i product = _mm256_madd_epi16(x, _mm256_set1_epi32(18432 * 65536));
    const __m256i rounded = _mm256_add_epi32(product, _mm256_set1_epi32((int32_t)1 << (shift - 1)));
    return _mm256_min_epi32(_mm256_abs_epi32(_mm256_srai_epi32(rounded, shift)),
                            _mm256_set1_epi32(most));
}

static inline edgernn_avx_grid_t edgernn_avx_grid(edgernn_lanes_t x, int shift, int32_t most,
                                                  int bits)
{
    const edgernn_avx_pair_t wide = edgernn_avx_unpack(x);
    const __m256i low = edgernn_avx_half_grid(wide.low, shift, most);
    const __m256i high = edgernn_avx_half_grid(wide.high, shift, most);
    const __m256i mask = _mm256_set1_epi32((1 << bits) - 1);
    edgernn_avx_grid_t grid;
    grid.index = _mm256_packus_epi32(_mm256_srli_epi32(low, bits), _mm256_srli_epi32(high, bits));
    grid.fraction = _mm256_slli_epi16(
        _mm256_packus_epi32(_mm256_and_si256(low, mask), _mm256_and_si256(high, mask)), 7);
    return grid;
}

/* The shift of 12 that cells have makes the grid (9 * x + 1) >> 1: 4 * a + half, where a = |x| and
 * half = |(x + 1) >> 1|. */
static inline __m256i edgernn_avx_half(__m256i a, __m256i negative)
{
    return _mm256_avg_epu16(_mm256_add_epi16(a, negative), _mm256_setzero_si256());
}

static inline edgernn_lanes_t edgernn_logistic(edgernn_lanes_t x, int shift)
{
    const __m256i negative = _mm256_srai_epi16(x, 15);
    edgernn_avx_grid_t grid;
    edgernn_avx_entries_t entries;
    __m256i value;
    if (shift == 12) {
        /* 29013 is at the end of the step before the rail. */
        const __m256i a = _mm256_min_epu16(_mm256_abs_epi16(x), _mm256_set1_epi16(29013));
        const __m256i half = edgernn_avx_half(a, negative);
        grid.index = _mm256_srli_epi16(_mm256_add_epi16(a, _mm256_srli_epi16(half, 2)), 7);
        grid.fraction = _mm256_slli_epi16(_mm256_add_epi16(_mm256_slli_epi16(a, 2), half), 7);
    } else {
        grid = edgernn_avx_grid(x, shift, 130559, 9);
    }
    entries = edgernn_avx_look_up(grid.index);
    /* (512 * entry + fraction * step + 512) >> 10, the product cut to a multiple of 512 first. */
    value = _mm256_avg_epu16(entries.entry, _mm256_mulhi_epu16(grid.fraction, entries.step));
    /* 32768 - value for negative x, but for bit 15, which no result has. */
    value = _mm256_sub_epi16(_mm256_xor_si256(value, negative), negative);
    return _mm256_and_si256(value, _mm256_set1_epi16(32767));
}

static inline edgernn_lanes_t edgernn_tanh(edgernn_lanes_t x, int shift)
{
    edgernn_avx_grid_t grid;
    edgernn_avx_entries_t entries;
    __m256i value;
    if (shift == 12) {
        /* 14506 is at the end of the step before the rail. */
        const __m256i a = _mm256_min_epu16(_mm256_abs_epi16(x), _mm256_set1_epi16(14506));
        const __m256i half = edgernn_avx_half(a, _mm256_srai_epi16(x, 15));
        const __m256i whole = _mm256_add_epi16(_mm256_slli_epi16(a, 2), half);
        grid.index = _mm256_srli_epi16(whole, 8);
        grid.fraction = _mm256_srli_epi16(_mm256_slli_epi16(whole, 8), 1);
    } else {
        grid = edgernn_avx_grid(x, shift, 65279, 8);
    }
    entries = edgernn_avx_look_up(grid.index);
    value = _mm256_add_epi16(_mm256_xor_si256(entries.entry, _mm256_set1_epi16(INT16_MIN)),
                             _mm256_mulhrs_epi16(grid.fraction, entries.step));
    return _mm256_sign_epi16(value, x);
}

/* The line between two entries, which one word has: entries[0] * (128 - part) + entries[1] * part. */
static inline __m256i edgernn_avx_line(const int16_t *table, __m256i index, __m256i factors)
{
    const __m256i pair = _mm256_i32gather_epi32((const int *)(const void *)table, index, 2);
    const __m256i line = _mm256_madd_epi16(pair, factors);
    return _mm256_srai_epi32(_mm256_add_epi32(line, _mm256_set1_epi32(64)), 7);
}

static inline edgernn_lanes_t edgernn_lookup(edgernn_lanes_t x, const int16_t *table)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i place = _mm256_xor_si256(x, _mm256_set1_epi16(INT16_MIN));
    const __m256i index = _mm256_srli_epi16(place, 7);
    const __m256i part = _mm256_and_si256(x, _mm256_set1_epi16(127));
    const __m256i rest = _mm256_sub_epi16(_mm256_set1_epi16(128), part);
    const __m256i low = edgernn_avx_line(table, _mm256_unpacklo_epi16(index, zero),
                                         _mm256_unpacklo_epi16(rest, part));
    const __m256i high = edgernn_avx_line(table, _mm256_unpackhi_epi16(index, zero),
                                          _mm256_unpackhi_epi16(rest, part));
    return _mm256_packs_epi32(low, high);
}

/* See edgernn_scalar_rsqrt; x above 4^gain. */
static inline __m256i edgernn_avx_rsqrt(__m256i x, int gain)
{
    const __m256i times4 = _mm256_slli_epi32(x, 2);
    __m256i rest = _mm256_set1_epi32(((int32_t)1 << 2 * gain) - 1);
    __m256i more = x;
    __m256i r = _mm256_setzero_si256();
    int bit;
    for (bit = 0; bit < 16; ++bit) {
        const __m256i least = _mm256_srli_epi32(more, 2);
        const __m256i one = _mm256_cmpeq_epi32(_mm256_max_epu32(rest, least), rest);
        rest = _mm256_or_si256(_mm256_slli_epi32(rest, 2), _mm256_set1_epi32(3));
        rest = _mm256_sub_epi32(rest, _mm256_and_si256(more, one));
        more = _mm256_sub_epi32(_mm256_add_epi32(more, more), x);
        more = _mm256_add_epi32(more, _mm256_and_si256(times4, one));
        r = _mm256_sub_epi32(_mm256_add_epi32(r, r), one);
    }
    return _mm256_srli_epi32(_mm256_add_epi32(r, _mm256_set1_epi32(1)), 1);
}

static inline edgernn_lanes_t edgernn_rsqrt(edgernn_lanes_t x, int gain)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i low = edgernn_avx_rsqrt(_mm256_unpacklo_epi16(x, zero), gain);
    const __m256i high = edgernn_avx_rsqrt(_mm256_unpackhi_epi16(x, zero), gain);
    const int16_t limit = (int16_t)(gain < 8 ? 1 << 2 * gain : INT16_MAX);
    const __m256i within = _mm256_cmpgt_epi16(x, _mm256_set1_epi16(limit));
    return _mm256_blendv_epi8(_mm256_set1_epi16(INT16_MAX), _mm256_packus_epi32(low, high), within);
}

#endif
