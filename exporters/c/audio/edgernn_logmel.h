/* edgernn: log-mel features of a stream of int16 audio, in integers of 32 bits.
 *
 * The generated front end of a model calls this with its own constants; an application calls the
 * front end. Nothing is kept between calls.
 */
#ifndef EDGERNN_LOGMEL_H
#define EDGERNN_LOGMEL_H

#include "edgernn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A band: its bins, and how its logarithm becomes a feature. */
typedef struct {
    int32_t offset;
    int16_t multiplier;
    uint16_t shift;
    uint16_t first;
    uint16_t count;
} edgernn_logmel_band_t;

typedef struct {
    uint16_t frame; /* samples */
    uint16_t hop;
    uint16_t fft; /* a power of two, at least the frame */
    uint16_t bands;
    int32_t floor;           /* of the logarithms, 16 bits behind the point */
    const uint16_t *window;  /* frame / 2 + 1, Q15; its other half is a mirror image */
    const int16_t *cosines;  /* fft / 4 + 1, Q15, a quarter turn; the first, 1.0, is not read */
    const uint16_t *weights; /* of the bins of all bands, Q16 */
    const edgernn_logmel_band_t *rows;
} edgernn_logmel_t;

typedef struct {
    int32_t re;
    int32_t im;
} edgernn_bin_t;

/* The features of one frame of samples. bins: fft / 2 + 1, scratch memory. */
void edgernn_logmel_frame(const edgernn_logmel_t *front, const int16_t *samples,
                          edgernn_bin_t *bins, int16_t *features);

/* Moves samples into a buffer of a frame, and both the pointer and the count on. Returns 1 as soon
 * as the frame is complete: it became features, and made room for the next hop. */
int edgernn_logmel_push(const edgernn_logmel_t *front, int16_t *buffer, uint32_t *filled,
                        const int16_t **samples, size_t *count, edgernn_bin_t *bins,
                        int16_t *features);

#ifdef __cplusplus
}
#endif

#endif
