/* edgernn: int8 recurrent networks, one integer step at a time.
 *
 * This header is what an application sees beside the model's own header. The engine keeps nothing
 * between calls: all state is in the struct that the caller owns.
 */
#ifndef EDGERNN_H
#define EDGERNN_H

#include <float.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#if INT_MAX < 2147483647
#error "edgernn needs an int of 32 bits; machines of 8 and 16 bits cannot run it"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define EDGERNN_VERSION "0.1.0"

typedef enum {
    EDGERNN_OK = 0,
    EDGERNN_ERROR_ARGUMENT = 1, /* a null pointer, or a window without steps */
    EDGERNN_ERROR_STATE = 2,    /* not reset yet, or saved from another model */
    EDGERNN_ERROR_NUMBER = 3,   /* NaN or infinity in a float input */
    EDGERNN_ERROR_BUFFER = 4    /* too small a work buffer for the window */
} edgernn_status_t;

/* What a status means, in one sentence; the text is constant. */
const char *edgernn_message(edgernn_status_t status);

/* The kernels that were compiled in: "portable", "dsp", "helium", "neon", "avx2" or "avx512". */
const char *edgernn_kernels(void);

/* For the helpers in a model's header; the step itself knows integers only.
 * value / scale to the nearest integer, ties away from zero, saturated to int16. */
static inline edgernn_status_t edgernn_quantize(const float *values, int16_t *integers,
                                                size_t count, float scale)
{
    size_t i;
    for (i = 0; i < count; ++i) {
        const float ratio = values[i] / scale;
        int32_t whole;
        float rest;
        /* Not so of NaN, which is neither more nor less than anything. */
        if (!(values[i] >= -FLT_MAX && values[i] <= FLT_MAX)) {
            return EDGERNN_ERROR_NUMBER;
        }
        if (ratio >= 32767.0f) {
            integers[i] = INT16_MAX;
            continue;
        }
        if (ratio <= -32768.0f) {
            integers[i] = INT16_MIN;
            continue;
        }
        /* The remainder is exact, ratio + 0.5f would not be. */
        whole = (int32_t)ratio;
        rest = ratio - (float)whole;
        whole += (int32_t)(rest >= 0.5f) - (int32_t)(rest <= -0.5f);
        integers[i] = (int16_t)whole;
    }
    return EDGERNN_OK;
}

static inline void edgernn_dequantize(const int16_t *integers, float *values, size_t count,
                                      float scale)
{
    size_t i;
    for (i = 0; i < count; ++i) {
        values[i] = (float)integers[i] * scale;
    }
}

#ifdef __cplusplus
}
#endif

#endif
