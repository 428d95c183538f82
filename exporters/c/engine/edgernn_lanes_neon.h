/* The element-wise operators of a step for NEON (64-bit Arm, ARMv8.0): eight int16 at a time. */
#ifndef EDGERNN_LANES_NEON_H
#define EDGERNN_LANES_NEON_H

#include <arm_neon.h>
#include <string.h>

#define EDGERNN_LANES 8
typedef int16x8_t edgernn_lanes_t;

/* Two elements, from anywhere. */
static inline uint32_t edgernn_neon_word(const void *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Elements i .. i + 7 of n; lanes beyond n hold 0. Where n is a constant and a multiple of 8 the
 * compiler sees that nothing lies beyond. */
static inline edgernn_lanes_t edgernn_load(const int16_t *p, int i, int n)
{
    const int left = n - i;
    uint64_t last = 0;
    p += i;
    if (n % 8 == 0 || left >= 8) {
        return vld1q_s16(p);
    }
    if (left & 1) {
        last = (uint16_t)p[left - 1];
    }
    if (left & 2) {
        last = last << 32 | edgernn_neon_word(p + (left & 4));
    }
    return left & 4 ? vcombine_s16(vld1_s16(p), vcreate_s16(last))
                    : vcombine_s16(vcreate_s16(last), vcreate_s16(0));
}

/* Lanes beyond n are not written. */
static inline void edgernn_store(int16_t *p, int i, int n, edgernn_lanes_t value)
{
    const int left = n - i;
    int16x4_t part = vget_low_s16(value);
    p += i;
    if (n % 8 == 0 || left >= 8) {
        vst1q_s16(p, value);
        return;
    }
    if (left & 4) {
        vst1_s16(p, part);
        part = vget_high_s16(value);
        p += 4;
    }
    if (left & 2) {
        vst1_lane_s16(p, part, 0);
        vst1_lane_s16(p + 1, part, 1);
        part = vext_s16(part, part, 2);
        p += 2;
    }
    if (left & 1) {
        vst1_lane_s16(p, part, 0);
    }
}

static inline edgernn_lanes_t edgernn_broadcast(const int16_t *p)
{
    return vdupq_n_s16(*p);
}

static inline edgernn_lanes_t edgernn_add(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return vqaddq_s16(a, b);
}

static inline edgernn_lanes_t edgernn_sub(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return vqsubq_s16(a, b);
}

/* Once at a rail, the second step goes the same way. */
static inline edgernn_lanes_t edgernn_add_twice(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return vqaddq_s16(vqaddq_s16(a, b), b);
}

static inline edgernn_lanes_t edgernn_sub_twice(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return vqsubq_s16(vqsubq_s16(a, b), b);
}

/* Half of the sum: its floor below zero, its ceiling above. */
static inline edgernn_lanes_t edgernn_add_half(edgernn_lanes_t a, edgernn_lanes_t b)
{
    const int16x8_t floor = vhaddq_s16(a, b);
    return vbslq_s16(vcltzq_s16(floor), floor, vrhaddq_s16(a, b));
}

static inline edgernn_lanes_t edgernn_sub_half(edgernn_lanes_t a, edgernn_lanes_t b)
{
    const int16x8_t floor = vhsubq_s16(a, b);
    const int16x8_t ceiling = vqnegq_s16(vhsubq_s16(b, a));
    return vbslq_s16(vcltzq_s16(floor), floor, ceiling);
}

/* The high half of 2 a b + 2^15 + 2 sign(a b): SQDMULH gives that of 2 a b, and what is added to
 * the low half may carry. signs: lanes with the sign of a b. */
static inline edgernn_lanes_t edgernn_neon_product(edgernn_lanes_t a, edgernn_lanes_t b,
                                                   edgernn_lanes_t signs)
{
    const uint16x8_t high = vreinterpretq_u16_s16(vqdmulhq_s16(a, b));
    const uint16x8_t product = vmulq_u16(vreinterpretq_u16_s16(a), vreinterpretq_u16_s16(b));
    const uint16x8_t low = vshlq_n_u16(product, 1);
    /* 2^15 + 1, or 2^15 - 2 where 2^15 - 3 would do as well: low is even. URHADD adds 1. */
    const int16x8_t rest = veorq_s16(vshrq_n_s16(signs, 15), vdupq_n_s16(-0x7fff));
    const uint16x8_t half = vrhaddq_u16(low, vreinterpretq_u16_s16(rest));
    return vreinterpretq_s16_u16(vsraq_n_u16(high, half, 15));
}

static inline edgernn_lanes_t edgernn_mul(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_neon_product(a, b, veorq_s16(a, b));
}

static inline edgernn_lanes_t edgernn_mul_gate(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_neon_product(a, b, b);
}
#define edgernn_mul_gate edgernn_mul_gate

static inline edgernn_lanes_t edgernn_relu(edgernn_lanes_t a)
{
    return vmaxq_s16(a, vdupq_n_s16(0));
}

static inline edgernn_lanes_t edgernn_maximum(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return vmaxq_s16(a, b);
}

static inline edgernn_lanes_t edgernn_select(edgernn_lanes_t mask, edgernn_lanes_t a,
                                             edgernn_lanes_t b)
{
    return vbslq_s16(vtstq_s16(mask, mask), a, b);
}

/* See edgernn_divide. */
static inline int32x4_t edgernn_neon_divide(int32x4_t a, int right)
{
    return right == 0 ? a : vrshlq_s32(vsraq_n_s32(a, a, 31), vdupq_n_s32(-right));
}

/* a at another scale. */
static inline int32x4_t edgernn_neon_scale(int32x4_t a, int32_t q, int right)
{
    return edgernn_neon_divide(vqrdmulhq_n_s32(a, q), right);
}

static inline edgernn_lanes_t edgernn_neon_join(int32x4_t low, int32x4_t high)
{
    return vqmovn_high_s32(vqmovn_s32(low), high);
}

static inline edgernn_lanes_t edgernn_add_scaled(edgernn_lanes_t a, edgernn_lanes_t b, int32_t q_a,
                                                 int right_a, int32_t q_b, int right_b, int32_t q,
                                                 int right)
{
    const int32x4_t low =
        vaddq_s32(edgernn_neon_scale(vshll_n_s16(vget_low_s16(a), 15), q_a, right_a),
                  edgernn_neon_scale(vshll_n_s16(vget_low_s16(b), 15), q_b, right_b));
    const int32x4_t high = vaddq_s32(edgernn_neon_scale(vshll_high_n_s16(a, 15), q_a, right_a),
                                     edgernn_neon_scale(vshll_high_n_s16(b, 15), q_b, right_b));
    return edgernn_neon_join(edgernn_neon_scale(low, q, right), edgernn_neon_scale(high, q, right));
}

static inline edgernn_lanes_t edgernn_sub_scaled(edgernn_lanes_t a, edgernn_lanes_t b, int32_t q_a,
                                                 int right_a, int32_t q_b, int right_b, int32_t q,
                                                 int right)
{
    const int32x4_t low =
        vsubq_s32(edgernn_neon_scale(vshll_n_s16(vget_low_s16(a), 15), q_a, right_a),
                  edgernn_neon_scale(vshll_n_s16(vget_low_s16(b), 15), q_b, right_b));
    const int32x4_t high = vsubq_s32(edgernn_neon_scale(vshll_high_n_s16(a, 15), q_a, right_a),
                                     edgernn_neon_scale(vshll_high_n_s16(b, 15), q_b, right_b));
    return edgernn_neon_join(edgernn_neon_scale(low, q, right), edgernn_neon_scale(high, q, right));
}

static inline edgernn_lanes_t edgernn_rescale(edgernn_lanes_t a, int32_t q, int left, int right)
{
    const int32x4_t by = vdupq_n_s32(left);
    const int32x4_t low = vshlq_s32(vmovl_s16(vget_low_s16(a)), by);
    const int32x4_t high = vshlq_s32(vmovl_high_s16(a), by);
    return edgernn_neon_join(edgernn_neon_scale(low, q, right), edgernn_neon_scale(high, q, right));
}

/* Entries i and i + 1 of the table, for eight i. */
typedef struct {
    uint16x8_t entry;
    int16x8_t step; /* to the next */
} edgernn_neon_entries_t;

/* At two of four places: bytes into the table in the low 32 bits. */
static inline uint64_t edgernn_neon_pair(const char *table, uint64_t offsets)
{
    const uint64_t next = edgernn_neon_word(table + (offsets >> 16 & 0xffff));
    return next << 32 | edgernn_neon_word(table + (offsets & 0xffff));
}

/* There is no gather: the indices go through general registers, four in each. */
static inline edgernn_neon_entries_t edgernn_neon_look_up(const void *p, uint16x8_t index)
{
    const char *table = (const char *)p;
    const uint64x2_t offsets = vreinterpretq_u64_u16(vaddq_u16(index, index));
    const uint64_t low = vgetq_lane_u64(offsets, 0);
    const uint64_t high = vgetq_lane_u64(offsets, 1);
    const uint16x8_t first = vcombine_u16(vcreate_u16(edgernn_neon_pair(table, low)),
                                          vcreate_u16(edgernn_neon_pair(table, low >> 32)));
    const uint16x8_t second = vcombine_u16(vcreate_u16(edgernn_neon_pair(table, high)),
                                           vcreate_u16(edgernn_neon_pair(table, high >> 32)));
    edgernn_neon_entries_t entries;
    entries.entry = vuzp1q_u16(first, second);
    entries.step = vreinterpretq_s16_u16(vsubq_u16(vuzp2q_u16(first, second), entries.entry));
    return entries;
}

/* |x| on the grid of the table, see edgernn_grid. */
static inline uint32x4_t edgernn_neon_grid(int16x4_t x, int shift)
{
    const int32x4_t grid = vrshlq_s32(vmull_n_s16(x, 18432), vdupq_n_s32(-shift));
    return vreinterpretq_u32_s32(vabsq_s32(grid));
}

/* low, shifted left by `bits` and right by 1: a fraction of 2^15. */
#define EDGERNN_NEON_FRACTION(low, bits) \
    vreinterpretq_s16_u16(vshrq_n_u16(vshlq_n_u16(low, bits), 1))

static inline edgernn_lanes_t edgernn_logistic(edgernn_lanes_t x, int shift)
{
    const int16x8_t sign = vshrq_n_s16(x, 15);
    edgernn_neon_entries_t entries;
    uint16x8_t index;
    uint16x8_t low;
    uint16x8_t y;
    if (shift == 12) {
        /* The scale of all gates: |(9 x + 1) >> 1| = 4 a + half, a = |x|, half = (a + (x >= 0)) / 2
         * rounded down. 29013 is at the end of the step before the rail. */
        const int16x8_t a = vminq_s16(vqabsq_s16(x), vdupq_n_s16(29013));
        const int16x8_t half = vrhaddq_s16(a, sign);
        const uint16x8_t times4 = vreinterpretq_u16_s16(vshlq_n_s16(a, 2));
        index = vshrq_n_u16(vreinterpretq_u16_s16(vsraq_n_s16(a, half, 2)), 7);
        low = vaddq_u16(times4, vreinterpretq_u16_s16(half));
    } else {
        const uint32x4_t end = vdupq_n_u32(255 * 512 - 1);
        const uint32x4_t grid = vminq_u32(edgernn_neon_grid(vget_low_s16(x), shift), end);
        const uint32x4_t more = vminq_u32(edgernn_neon_grid(vget_high_s16(x), shift), end);
        index = vshrn_high_n_u32(vshrn_n_u32(grid, 9), more, 9);
        low = vmovn_high_u32(vmovn_u32(grid), more);
    }
    entries = edgernn_neon_look_up(edgernn_sigmoid, index);
    /* fraction / 2^9, and the floor within the floor changes nothing. -y - 1 mirrors y. */
    y = vreinterpretq_u16_s16(vqdmulhq_s16(EDGERNN_NEON_FRACTION(low, 7), entries.step));
    y = veorq_u16(vaddq_u16(entries.entry, y), vreinterpretq_u16_s16(sign));
    return vreinterpretq_s16_u16(vrshrq_n_u16(y, 1));
}

static inline edgernn_lanes_t edgernn_tanh(edgernn_lanes_t x, int shift)
{
    const int16x8_t sign = vshrq_n_s16(x, 15);
    edgernn_neon_entries_t entries;
    uint16x8_t grid;
    int16x8_t y;
    if (shift == 12) {
        /* As for the logistic function; beyond 2^16 it is the end of the table. */
        const int16x8_t a = vqabsq_s16(x);
        const int16x8_t half = vrhaddq_s16(a, sign);
        grid = vqaddq_u16(vqshlq_n_u16(vreinterpretq_u16_s16(a), 2), vreinterpretq_u16_s16(half));
    } else {
        grid = vqmovn_high_u32(vqmovn_u32(edgernn_neon_grid(vget_low_s16(x), shift)),
                               edgernn_neon_grid(vget_high_s16(x), shift));
    }
    entries = edgernn_neon_look_up(edgernn_sigmoid, vshrq_n_u16(grid, 8));
    y = vqrdmulhq_s16(EDGERNN_NEON_FRACTION(grid, 8), entries.step);
    /* y - 32768, with the sign of x. */
    y = vaddq_s16(y, vreinterpretq_s16_u16(vbicq_u16(entries.entry, vdupq_n_u16(0x8000))));
    return vsubq_s16(veorq_s16(y, sign), sign);
}

#undef EDGERNN_NEON_FRACTION

/* The line between two entries: entries[0] * rest + entries[1] * part, rest + part = 128. */
static inline edgernn_lanes_t edgernn_lookup(edgernn_lanes_t x, const int16_t *table)
{
    const uint16x8_t place = veorq_u16(vreinterpretq_u16_s16(x), vdupq_n_u16(0x8000));
    const edgernn_neon_entries_t found = edgernn_neon_look_up(table, vshrq_n_u16(place, 7));
    const int16x8_t part = vandq_s16(x, vdupq_n_s16(127));
    const int16x8_t rest = vsubq_s16(vdupq_n_s16(128), part);
    const int16x8_t entry = vreinterpretq_s16_u16(found.entry);
    const uint16x8_t sum = vaddq_u16(found.entry, vreinterpretq_u16_s16(found.step));
    const int16x8_t next = vreinterpretq_s16_u16(sum);
    const int32x4_t low = vmlal_s16(vmull_s16(vget_low_s16(entry), vget_low_s16(rest)),
                                    vget_low_s16(next), vget_low_s16(part));
    const int32x4_t high = vmlal_high_s16(vmull_high_s16(entry, rest), next, part);
    return vrshrn_high_n_s32(vrshrn_n_s32(low, 7), high, 7);
}

/* See edgernn_scalar_rsqrt; x above 4^gain. */
static inline uint32x4_t edgernn_neon_rsqrt(uint32x4_t x, int gain)
{
    uint32x4_t rest = vdupq_n_u32(((uint32_t)1 << 2 * gain) - 1);
    uint32x4_t more = x;
    uint32x4_t r = vdupq_n_u32(0);
    int bit;
    for (bit = 0; bit < 16; ++bit) {
        const uint32x4_t one = vcgeq_u32(rest, vshrq_n_u32(more, 2));
        rest = vsubq_u32(vorrq_u32(vshlq_n_u32(rest, 2), vdupq_n_u32(3)), vandq_u32(more, one));
        more = vsubq_u32(vshlq_n_u32(more, 1), x);
        more = vaddq_u32(more, vandq_u32(vshlq_n_u32(x, 2), one));
        r = vsubq_u32(vshlq_n_u32(r, 1), one);
    }
    return vrshrq_n_u32(r, 1);
}

static inline edgernn_lanes_t edgernn_rsqrt(edgernn_lanes_t x, int gain)
{
    const uint16x8_t bits = vreinterpretq_u16_s16(x);
    const uint32x4_t low = edgernn_neon_rsqrt(vmovl_u16(vget_low_u16(bits)), gain);
    const uint32x4_t high = edgernn_neon_rsqrt(vmovl_high_u16(bits), gain);
    const int16x8_t y = vreinterpretq_s16_u16(vmovn_high_u32(vmovn_u32(low), high));
    const int16_t limit = (int16_t)(gain < 8 ? 1 << 2 * gain : INT16_MAX);
    return vbslq_s16(vcgtq_s16(x, vdupq_n_s16(limit)), y, vdupq_n_s16(INT16_MAX));
}

#endif
