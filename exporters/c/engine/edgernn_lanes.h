/* The element-wise operators of a step, for EDGERNN_LANES elements at a time.
 *
 * A model's loops are written in these alone, one call per operator. Each family defines
 * EDGERNN_LANES, edgernn_lanes_t, edgernn_load, edgernn_store, edgernn_broadcast and the operators;
 * here is the plain form, one element at a time.
 */
#ifndef EDGERNN_LANES_H
#define EDGERNN_LANES_H

#include "edgernn_scalar.h"

#if defined(EDGERNN_DSP)
#include "edgernn_lanes_dsp.h"
#elif defined(EDGERNN_HELIUM)
#include "edgernn_lanes_helium.h"
#elif defined(EDGERNN_NEON)
#include "edgernn_lanes_neon.h"
#elif defined(EDGERNN_AVX2) || defined(EDGERNN_AVX512)
#include "edgernn_lanes_avx.h"
#else

#define EDGERNN_LANES 1
typedef int32_t edgernn_lanes_t;

/* Elements i .. i + EDGERNN_LANES - 1 of n; lanes beyond n hold anything. */
static inline edgernn_lanes_t edgernn_load(const int16_t *p, int i, int n)
{
    (void)n;
    return p[i];
}

/* Lanes beyond n are not written. */
static inline void edgernn_store(int16_t *p, int i, int n, edgernn_lanes_t value)
{
    (void)n;
    p[i] = (int16_t)value;
}

/* One element for all lanes. */
static inline edgernn_lanes_t edgernn_broadcast(const int16_t *p)
{
    return *p;
}

#define edgernn_add edgernn_scalar_add
#define edgernn_sub edgernn_scalar_sub
#define edgernn_add_twice edgernn_scalar_add_twice
#define edgernn_sub_twice edgernn_scalar_sub_twice
#define edgernn_add_half edgernn_scalar_add_half
#define edgernn_sub_half edgernn_scalar_sub_half
#define edgernn_add_scaled edgernn_scalar_add_scaled
#define edgernn_sub_scaled edgernn_scalar_sub_scaled
#define edgernn_mul edgernn_scalar_mul
#define edgernn_mul_gate edgernn_scalar_mul_gate
#define edgernn_relu edgernn_scalar_relu
#define edgernn_maximum edgernn_scalar_maximum
#define edgernn_select edgernn_scalar_select
#define edgernn_lookup edgernn_scalar_lookup
#define edgernn_rsqrt edgernn_scalar_rsqrt
#define edgernn_rescale edgernn_scalar_rescale
#define edgernn_logistic edgernn_scalar_logistic
#define edgernn_tanh edgernn_scalar_tanh

#endif

/* edgernn_mul with a first operand in 0 .. 32767, where that is no shorter. */
#if !defined(EDGERNN_DSP) && !defined(edgernn_mul_gate)
#define edgernn_mul_gate edgernn_mul
#endif

#endif
