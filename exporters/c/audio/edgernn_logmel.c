/* edgernn: log-mel features. `>>` of a negative number is an arithmetic shift on every compiler
 * that this is for; to the left only what is not negative is shifted. */
#include "edgernn_logmel.h"

#include <string.h>

/* log2(1 + i / 128), 16 bits behind the point. The last, 65536, is 0 in 16 bits, and the difference
 * from the one before is right all the same. */
static const uint16_t logarithms[129] = {
    0,     736,   1466,  2190,  2909,  3623,  4331,  5034,  5732,  6425,  7112,  7795,  8473,
    9146,  9814,  10477, 11136, 11791, 12440, 13086, 13727, 14363, 14996, 15624, 16248, 16868,
    17484, 18096, 18704, 19308, 19909, 20505, 21098, 21687, 22272, 22854, 23433, 24007, 24579,
    25146, 25711, 26272, 26830, 27384, 27936, 28484, 29029, 29571, 30109, 30645, 31178, 31707,
    32234, 32758, 33279, 33797, 34312, 34825, 35334, 35841, 36346, 36847, 37346, 37842, 38336,
    38827, 39316, 39802, 40286, 40767, 41246, 41722, 42196, 42667, 43137, 43603, 44068, 44530,
    44990, 45448, 45904, 46357, 46809, 47258, 47705, 48150, 48593, 49034, 49472, 49909, 50344,
    50776, 51207, 51636, 52063, 52488, 52911, 53332, 53751, 54169, 54584, 54998, 55410, 55820,
    56229, 56635, 57040, 57443, 57845, 58245, 58643, 59039, 59434, 59827, 60219, 60609, 60997,
    61384, 61769, 62152, 62534, 62915, 63294, 63671, 64047, 64421, 64794, 65166, 0
};

/* (a * b) >> 16 exactly, with b of 16 bits. Some cores have no product of 64 bits, some have just
 * this one. */
#if !defined(EDGERNN_PORTABLE) && (defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__))
#define NARROW 1
#else
#define NARROW 0
#endif

static inline int32_t mul(int32_t a, int16_t b)
{
#if NARROW
    return (a >> 16) * b + (((int32_t)((uint32_t)a & 0xFFFFu) * b) >> 16);
#elif !defined(EDGERNN_PORTABLE) && defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && \
    !defined(__aarch64__)
    int32_t product;
    __asm__("smulwb %0, %1, %2" : "=r"(product) : "r"(a), "r"(b));
    return product;
#else
    return (int32_t)(((int64_t)a * b) >> 16);
#endif
}

static inline uint32_t mul_unsigned(uint32_t a, uint16_t b)
{
#if NARROW
    return (a >> 16) * b + (((a & 0xFFFFu) * b) >> 16);
#else
    return (uint32_t)(((uint64_t)a * b) >> 16);
#endif
}

/* The number of bits of a value, 0 of 0. */
static inline int bits(uint32_t value)
{
#if defined(__GNUC__) && !defined(EDGERNN_PORTABLE) && !NARROW
    return value == 0 ? 0 : 32 - __builtin_clz(value);
#else
    int n = 0;
    int step;
    for (step = 16; step > 0; step >>= 1) {
        if (value >> step != 0) {
            value >>= step;
            n += step;
        }
    }
    return n + (int)value;
#endif
}

/* All bits of a value's size; -1 - v in place of -v, which has no overflow. */
static inline uint32_t reach(int32_t v)
{
    return (uint32_t)(v ^ (v >> 31));
}

/* log2 of a positive value, 16 bits behind the point. */
static int32_t logarithm(uint64_t value)
{
    const uint32_t high = (uint32_t)(value >> 32);
    const int n = high != 0 ? 32 + bits(high) : bits((uint32_t)value);
    const uint32_t mantissa = n > 32 ? (uint32_t)(value >> (n - 32)) : (uint32_t)value << (32 - n);
    const uint32_t index = (mantissa >> 24) & 127u;
    const uint32_t low = logarithms[index];
    const uint32_t rise = (uint16_t)(logarithms[index + 1] - low);
    return (n - 1) * 65536 + (int32_t)(low + ((rise * ((mantissa >> 8) & 0xFFFFu)) >> 16));
}

/* Cosine of 2 pi index / fft, Q15; 0 < index < fft / 2, n = fft / 2. */
static inline int16_t cosine(const int16_t *cosines, uint32_t index, uint32_t n)
{
    return index <= n / 2 ? cosines[index] : (int16_t)-cosines[n - index];
}

static inline int16_t sine(const int16_t *cosines, uint32_t index, uint32_t n)
{
    return cosines[index < n / 2 ? n / 2 - index : index - n / 2];
}

/* A sample, shifted, times its weight; 0 behind the frame. */
static inline int32_t windowed(const edgernn_logmel_t *front, const int16_t *samples, uint32_t at,
                               int shift)
{
    const uint32_t frame = front->frame;
    if (at >= frame) {
        return 0;
    }
    return samples[at] * ((int32_t)1 << shift) * front->window[at <= frame / 2 ? at : frame - at];
}

/* Windowed samples as pairs, in the order that the FFT reads. Returns how far they were shifted. */
static int load(const edgernn_logmel_t *front, const int16_t *samples, edgernn_bin_t *z)
{
    const uint32_t frame = front->frame;
    const uint32_t n = front->fft / 2u;
    uint32_t peak = 0;
    uint32_t place = 0;
    uint32_t i;
    int shift;
    for (i = 0; i < frame; ++i) {
        const int32_t v = samples[i];
        const uint32_t size = (uint32_t)(v < 0 ? -v : v);
        peak = size > peak ? size : peak;
    }
    shift = peak > 32767u ? 0 : 15 - bits(peak);
    for (i = 0; i < n; ++i) {
        uint32_t bit = n;
        z[place].re = windowed(front, samples, 2 * i, shift);
        z[place].im = windowed(front, samples, 2 * i + 1, shift);
        /* The next number with its bits reversed. */
        do {
            bit >>= 1;
            place ^= bit;
        } while (bit != 0 && (place & bit) == 0);
    }
    return shift;
}

static inline void butterfly(edgernn_bin_t *a, edgernn_bin_t *b, int32_t re, int32_t im)
{
    const int32_t half_re = a->re >> 1;
    const int32_t half_im = a->im >> 1;
    a->re = half_re + re;
    a->im = half_im + im;
    b->re = half_re - re;
    b->im = half_im - im;
}

/* FFT of n complex numbers, divided by n. */
static void transform(const int16_t *cosines, edgernn_bin_t *z, uint32_t n)
{
    uint32_t size;
    uint32_t i;
    uint32_t j;
    for (size = 1; size < n; size *= 2) {
        for (i = 0; i < n; i += 2 * size) {
            edgernn_bin_t *const b = &z[i + size];
            butterfly(&z[i], b, b->re >> 1, b->im >> 1);
        }
        for (j = 1; j < size; ++j) {
            const uint32_t index = j * (n / size);
            const int16_t c = cosine(cosines, index, n);
            const int16_t s = sine(cosines, index, n);
            if (2 * index == n) {
                for (i = j; i < n; i += 2 * size) {
                    edgernn_bin_t *const b = &z[i + size];
                    butterfly(&z[i], b, b->im >> 1, -(b->re >> 1));
                }
                continue;
            }
            for (i = j; i < n; i += 2 * size) {
                edgernn_bin_t *const b = &z[i + size];
                butterfly(&z[i], b, mul(b->re, c) + mul(b->im, s), mul(b->im, c) - mul(b->re, s));
            }
        }
    }
}

/* The bins 0 .. n of 2n real numbers, halved, from the FFT of their n pairs. */
static void untangle(const int16_t *cosines, edgernn_bin_t *z, uint32_t n)
{
    const int32_t first_re = z[0].re >> 1;
    const int32_t first_im = z[0].im >> 1;
    uint32_t k;
    z[n].re = first_re - first_im;
    z[n].im = 0;
    z[0].re = first_re + first_im;
    z[0].im = 0;
    for (k = 1; 2 * k <= n; ++k) {
        edgernn_bin_t *const a = &z[k];
        edgernn_bin_t *const b = &z[n - k];
        const int32_t a_re = a->re >> 1;
        const int32_t a_im = a->im >> 1;
        const int32_t b_re = b->re >> 1;
        const int32_t b_im = b->im >> 1;
        const int32_t even_re = (a_re + b_re) >> 1;
        const int32_t even_im = (a_im - b_im) >> 1;
        const int32_t odd_re = a_im + b_im;
        const int32_t odd_im = b_re - a_re;
        int32_t re = odd_im >> 1;
        int32_t im = -(odd_re >> 1);
        if (2 * k != n) {
            const int16_t c = cosine(cosines, k, n);
            const int16_t s = sine(cosines, k, n);
            re = mul(odd_re, c) + mul(odd_im, s);
            im = mul(odd_im, c) - mul(odd_re, s);
        }
        b->re = even_re - re;
        b->im = im - even_im;
        a->re = even_re + re;
        a->im = even_im + im;
    }
}

/* The weighted power of bins, and how far they were shifted to the right. */
static uint64_t power(const edgernn_bin_t *z, const uint16_t *weights, uint32_t count, int *shift)
{
    uint64_t total = 0;
    uint32_t most = 0;
    int32_t left;
    int right;
    uint32_t i;
    for (i = 0; i < count; ++i) {
        most |= reach(z[i].re) | reach(z[i].im);
    }
    *shift = bits(most) - 15;
    right = *shift > 0 ? *shift : 0;
    left = (int32_t)1 << (right - *shift);
    for (i = 0; i < count; ++i) {
        const int32_t re = (z[i].re >> right) * left;
        const int32_t im = (z[i].im >> right) * left;
        total += mul_unsigned((uint32_t)(re * re) + (uint32_t)(im * im), weights[i]);
    }
    return total;
}

void edgernn_logmel_frame(const edgernn_logmel_t *front, const int16_t *samples,
                          edgernn_bin_t *bins, int16_t *features)
{
    const uint32_t n = front->fft / 2u;
    const uint16_t *weights = front->weights;
    const int headroom = load(front, samples, bins);
    const int places = 2 * bits(n) - 60 - 2 * headroom;
    uint32_t i;
    transform(front->cosines, bins, n);
    untangle(front->cosines, bins, n);
    for (i = 0; i < front->bands; ++i) {
        const edgernn_logmel_band_t *const row = &front->rows[i];
        int32_t value = front->floor;
        int shift;
        const uint64_t total = power(bins + row->first, weights, row->count, &shift);
        weights += row->count;
        if (total != 0) {
            const int32_t found = logarithm(total) + (places + 2 * shift) * 65536;
            value = found > value ? found : value;
        }
        value = (mul(value * 128, row->multiplier) + row->offset) >> row->shift;
        value = value > INT16_MAX ? INT16_MAX : value;
        features[i] = (int16_t)(value < INT16_MIN ? INT16_MIN : value);
    }
}

int edgernn_logmel_push(const edgernn_logmel_t *front, int16_t *buffer, uint32_t *filled,
                        const int16_t **samples, size_t *count, edgernn_bin_t *bins,
                        int16_t *features)
{
    const uint32_t rest = front->frame - *filled;
    const uint32_t kept = (uint32_t)front->frame - front->hop;
    const uint32_t taken = *count < rest ? (uint32_t)*count : rest;
    if (taken != 0) {
        memcpy(buffer + *filled, *samples, taken * sizeof *buffer);
        *samples += taken;
        *count -= taken;
        *filled += taken;
    }
    if (*filled < front->frame) {
        return 0;
    }
    edgernn_logmel_frame(front, buffer, bins, features);
    memmove(buffer, buffer + front->hop, kept * sizeof *buffer);
    *filled = kept;
    return 1;
}
