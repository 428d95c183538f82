/* The element-wise operators of a step for Helium (MVE): eight int16 at a time. */
#ifndef EDGERNN_LANES_HELIUM_H
#define EDGERNN_LANES_HELIUM_H

#include <arm_mve.h>

#define EDGERNN_LANES 8
typedef int16x8_t edgernn_lanes_t;

/* Elements i .. i + 7 of n; lanes beyond n hold 0. Where n is a constant and a multiple of 8 the
 * compiler sees that nothing lies beyond. */
static inline edgernn_lanes_t edgernn_load(const int16_t *p, int i, int n)
{
    /* A barrier for the scheduler: where it mixes operators, eight vector registers do not do. */
    __asm__ volatile("");
    return n % 8 == 0 ? vldrhq_s16(p + i) : vldrhq_z_s16(p + i, vctp16q((uint32_t)(n - i)));
}

/* Lanes beyond n are not written. */
static inline void edgernn_store(int16_t *p, int i, int n, edgernn_lanes_t value)
{
    if (n % 8 == 0) {
        vstrhq_s16(p + i, value);
    } else {
#if defined(__clang__)
        vstrhq_p_s16(p + i, value, vctp16q((uint32_t)(n - i)));
#else
        /* GCC believes that the intrinsic writes all eight lanes, and drops an earlier store to
         * where the last of them would be. */
        __asm__ volatile("vctp.16 %[left]\n\t"
                         "vpst\n\t"
                         "vstrht.16 %q[value], [%[p]]"
                         :
                         : [left] "r"(n - i), [p] "r"(p + i), [value] "w"(value)
                         : "p0", "memory");
#endif
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
    const int16x8_t half = vhaddq_s16(a, b);
    /* 1 if a + b is odd. */
    const int16x8_t odd = vsubq_s16(vrhaddq_s16(a, b), half);
    return vaddq_s16(half, vbicq_s16(odd, vshrq_n_s16(half, 15)));
}

static inline edgernn_lanes_t edgernn_sub_half(edgernn_lanes_t a, edgernn_lanes_t b)
{
    const int16x8_t half = vhsubq_s16(a, b);
    /* -1 if a - b is odd. */
    const int16x8_t odd = vaddq_s16(half, vhsubq_s16(b, a));
    return vqsubq_s16(half, vbicq_s16(odd, vshrq_n_s16(half, 15)));
}

/* The high half of 2 a b + 2^15 + 2 sign(a b): VQDMULH gives that of 2 a b, and what is added to
 * the low half may carry. signs: lanes with the sign of a b. */
static inline edgernn_lanes_t edgernn_helium_product(edgernn_lanes_t a, edgernn_lanes_t b,
                                                     edgernn_lanes_t signs)
{
    const int16x8_t high = vqdmulhq_s16(a, b);
    const uint16x8_t low = vreinterpretq_u16_s16(vshlq_n_s16(vmulq_s16(a, b), 1));
    /* 2^15 + 1, or 2^15 - 2 where 2^15 - 3 would do as well: low is even. VRHADD adds 1. */
    const int16x8_t rest = veorq_s16(vshrq_n_s16(signs, 15), vdupq_n_s16(-0x7fff));
    const uint16x8_t carry = vshrq_n_u16(vrhaddq_u16(low, vreinterpretq_u16_s16(rest)), 15);
    return vaddq_s16(high, vreinterpretq_s16_u16(carry));
}

static inline edgernn_lanes_t edgernn_mul(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_helium_product(a, b, veorq_s16(a, b));
}

static inline edgernn_lanes_t edgernn_mul_gate(edgernn_lanes_t a, edgernn_lanes_t b)
{
    return edgernn_helium_product(a, b, b);
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
    return vpselq_s16(a, b, vcmpneq_n_s16(mask, 0));
}

/* The line between two entries: entries[0] * rest + entries[1] * part, rest + part = 128. */
static inline edgernn_lanes_t edgernn_lookup(edgernn_lanes_t x, const int16_t *table)
{
    const uint16x8_t place = vreinterpretq_u16_s16(veorq_s16(x, vdupq_n_s16(INT16_MIN)));
    const uint16x8_t index = vshrq_n_u16(place, 7);
    const int16x8_t part = vandq_s16(x, vdupq_n_s16(127));
    const int16x8_t rest = vsubq_s16(vdupq_n_s16(128), part);
    const int16x8_t entry = vldrhq_gather_shifted_offset_s16(table, index);
    const int16x8_t next = vldrhq_gather_shifted_offset_s16(table + 1, index);
    const int32x4_t even =
        vaddq_s32(vmullbq_int_s16(entry, rest), vmullbq_int_s16(next, part));
    const int32x4_t odd = vaddq_s32(vmulltq_int_s16(entry, rest), vmulltq_int_s16(next, part));
    return vrshrntq_n_s32(vrshrnbq_n_s32(vuninitializedq_s16(), even, 7), odd, 7);
}

/* See edgernn_scalar_rsqrt; x above 4^gain. */
static inline uint32x4_t edgernn_helium_rsqrt(uint32x4_t x, int gain)
{
    uint32x4_t rest = vdupq_n_u32(((uint32_t)1 << 2 * gain) - 1);
    uint32x4_t more = x;
    uint32x4_t r = vdupq_n_u32(0);
    int bit;
    for (bit = 0; bit < 16; ++bit) {
        const mve_pred16_t one = vcmpcsq_u32(rest, vshrq_n_u32(more, 2));
        rest = vaddq_n_u32(vshlq_n_u32(rest, 2), 3);
        rest = vsubq_m_u32(rest, rest, more, one);
        more = vsubq_u32(vshlq_n_u32(more, 1), x);
        more = vaddq_m_u32(more, more, vshlq_n_u32(x, 2), one);
        r = vshlq_n_u32(r, 1);
        r = vaddq_m_n_u32(r, r, 1, one);
    }
    return vrshrq_n_u32(r, 1);
}

static inline edgernn_lanes_t edgernn_rsqrt(edgernn_lanes_t x, int gain)
{
    const uint16x8_t bits = vreinterpretq_u16_s16(x);
    const int16x8_t most = vdupq_n_s16(INT16_MAX);
    const uint32x4_t even = edgernn_helium_rsqrt(vmovlbq_u16(bits), gain);
    const uint32x4_t odd = edgernn_helium_rsqrt(vmovltq_u16(bits), gain);
    const uint16x8_t y = vmovntq_u32(vreinterpretq_u16_u32(even), odd);
    const int16_t limit = (int16_t)(gain < 8 ? 1 << 2 * gain : INT16_MAX);
    return vpselq_s16(vreinterpretq_s16_u16(y), most, vcmpgtq_n_s16(x, limit));
}

/* See edgernn_divide. */
static inline int32x4_t edgernn_helium_divide(int32x4_t a, int right)
{
    return right == 0 ? a : vrshlq_n_s32(vaddq_s32(a, vshrq_n_s32(a, 31)), -right);
}

/* a at another scale. */
static inline int32x4_t edgernn_helium_scale(int32x4_t a, int32_t q, int right)
{
    return edgernn_helium_divide(vqrdmulhq_n_s32(a, q), right);
}

/* Lanes 0, 2, 4, 6 and 1, 3, 5, 7 as one vector, saturated. */
static inline edgernn_lanes_t edgernn_helium_join(int32x4_t even, int32x4_t odd)
{
    return vqmovntq_s32(vqmovnbq_s32(vuninitializedq_s16(), even), odd);
}

static inline edgernn_lanes_t edgernn_add_scaled(edgernn_lanes_t a, edgernn_lanes_t b, int32_t q_a,
                                                 int right_a, int32_t q_b, int right_b, int32_t q,
                                                 int right)
{
    const int32x4_t even = vaddq_s32(edgernn_helium_scale(vshllbq_n_s16(a, 15), q_a, right_a),
                                     edgernn_helium_scale(vshllbq_n_s16(b, 15), q_b, right_b));
    const int32x4_t odd = vaddq_s32(edgernn_helium_scale(vshlltq_n_s16(a, 15), q_a, right_a),
                                    edgernn_helium_scale(vshlltq_n_s16(b, 15), q_b, right_b));
    return edgernn_helium_join(edgernn_helium_scale(even, q, right),
                               edgernn_helium_scale(odd, q, right));
}

static inline edgernn_lanes_t edgernn_sub_scaled(edgernn_lanes_t a, edgernn_lanes_t b, int32_t q_a,
                                                 int right_a, int32_t q_b, int right_b, int32_t q,
                                                 int right)
{
    const int32x4_t even = vsubq_s32(edgernn_helium_scale(vshllbq_n_s16(a, 15), q_a, right_a),
                                     edgernn_helium_scale(vshllbq_n_s16(b, 15), q_b, right_b));
    const int32x4_t odd = vsubq_s32(edgernn_helium_scale(vshlltq_n_s16(a, 15), q_a, right_a),
                                    edgernn_helium_scale(vshlltq_n_s16(b, 15), q_b, right_b));
    return edgernn_helium_join(edgernn_helium_scale(even, q, right),
                               edgernn_helium_scale(odd, q, right));
}

static inline edgernn_lanes_t edgernn_rescale(edgernn_lanes_t a, int32_t q, int left, int right)
{
    const int32x4_t even = edgernn_helium_scale(vshlq_r_s32(vmovlbq_s16(a), left), q, right);
    const int32x4_t odd = edgernn_helium_scale(vshlq_r_s32(vmovltq_s16(a), left), q, right);
    return edgernn_helium_join(even, odd);
}

/* |x| on the grid of the table, see edgernn_scalar_logistic. */
static inline uint32x4_t edgernn_helium_grid(int32x4_t x, int shift)
{
    return vreinterpretq_u32_s32(vabsq_s32(vrshlq_n_s32(vmulq_n_s32(x, 18432), -shift)));
}

static inline uint16x8_t edgernn_helium_join_u16(uint32x4_t even, uint32x4_t odd)
{
    return vqmovntq_u32(vqmovnbq_u32(vuninitializedq_u16(), even), odd);
}

static inline edgernn_lanes_t edgernn_logistic(edgernn_lanes_t x, int shift)
{
    const int16x8_t sign = vshrq_n_s16(x, 15);
    /* |grid| has a bit too many: this is its half, and low ends as it does. Beyond the beginning of
     * entry 254 nothing changes any more. */
    uint16x8_t half;
    uint16x8_t low;
    if (shift == 12) {
        /* The scale of all gates: |(9 x + 1) >> 1| = 4 a + ((a + (x >= 0)) >> 1), a = |x|. */
        const uint16x8_t a = vminaq_s16(vdupq_n_u16(0x7100), x);
        low = vreinterpretq_u16_s16(vrhaddq_s16(vreinterpretq_s16_u16(a), sign));
        half = vmlaq_n_u16(vshrq_n_u16(low, 1), a, 2);
    } else {
        const uint32x4_t even = edgernn_helium_grid(vmovlbq_s16(x), shift);
        const uint32x4_t odd = edgernn_helium_grid(vmovltq_s16(x), shift);
        low = vmovntq_u32(vreinterpretq_u16_u32(even), odd);
        half = edgernn_helium_join_u16(vshrq_n_u32(even, 1), vshrq_n_u32(odd, 1));
        half = vminq_u16(half, vdupq_n_u16(254 * 256));
    }
    const uint16x8_t index = vshrq_n_u16(half, 8);
    const uint16x8_t fraction = vsliq_n_u16(vshlq_n_u16(low, 7), half, 8);
    const uint16x8_t entry = vldrhq_gather_shifted_offset_u16(edgernn_sigmoid, index);
    const uint16x8_t next = vldrhq_gather_shifted_offset_u16(edgernn_sigmoid + 1, index);
    /* fraction / 2^16, and the floor within the floor changes nothing. -y - 1 mirrors y. */
    const uint16x8_t y = vaddq_u16(entry, vmulhq_u16(fraction, vsubq_u16(next, entry)));
    return vreinterpretq_s16_u16(vrshrq_n_u16(veorq_u16(y, vreinterpretq_u16_s16(sign)), 1));
}

static inline edgernn_lanes_t edgernn_tanh(edgernn_lanes_t x, int shift)
{
    const int16x8_t sign = vshrq_n_s16(x, 15);
    uint16x8_t grid;
    if (shift == 12) {
        /* |(9 x + 1) >> 1| = 4 |x| + |(x + 1) >> 1| */
        const int16x8_t a = vabsq_s16(x);
        const int16x8_t rest = vabsq_s16(vrshrq_n_s16(x, 1));
        grid = vqaddq_u16(vqshlq_n_u16(vreinterpretq_u16_s16(a), 2), vreinterpretq_u16_s16(rest));
    } else {
        grid = edgernn_helium_join_u16(edgernn_helium_grid(vmovlbq_s16(x), shift),
                                       edgernn_helium_grid(vmovltq_s16(x), shift));
    }
    const uint16x8_t index = vshrq_n_u16(grid, 8);
    const uint16x8_t fraction = vshlq_n_u16(grid, 8);
    const uint16x8_t entry = vldrhq_gather_shifted_offset_u16(edgernn_sigmoid, index);
    const uint16x8_t next = vldrhq_gather_shifted_offset_u16(edgernn_sigmoid + 1, index);
    const uint16x8_t y = vaddq_u16(entry, vrmulhq_u16(fraction, vsubq_u16(next, entry)));
    /* y - 32768, with the sign of x. */
    const int16x8_t magnitude = vreinterpretq_s16_u16(vbicq_n_u16(y, 0x8000));
    return vsubq_s16(veorq_s16(magnitude, sign), sign);
}

#endif
