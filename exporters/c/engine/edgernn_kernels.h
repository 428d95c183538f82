/* What a model's step is made of: matrix products here, element-wise lanes in edgernn_lanes.h.
 *
 * Pointers are never null, sizes are at least 1; a result may lie where an operand lies only if
 * both begin at the same element.
 */
#ifndef EDGERNN_KERNELS_H
#define EDGERNN_KERNELS_H

#include "edgernn.h"
#include "edgernn_target.h"

#ifdef __cplusplus
extern "C" {
#endif

/* rows and columns as the model has them; the constants are padded with zeros to whole groups of
 * 4 rows and whole blocks. Blocks of a group follow each other, columns / 8 of 8 columns, and for
 * the rest one more: of 4 columns if at most 4 are left, else of 8. */
typedef struct {
    const edgernn_weight_t *weights;
    const edgernn_rows_t *constants;
    uint16_t rows;
    uint16_t columns;
} edgernn_matrix_t;

typedef struct {
    const edgernn_weight_t *weights;
    const edgernn_wide_row_t *constants;
    uint16_t rows;
    uint16_t columns;
} edgernn_wide_matrix_t;

/* How the constants lie in memory depends on the family, and so do the products' names: a model and
 * an engine that were compiled for different ones do not link. */
#if defined(EDGERNN_DSP)
#define EDGERNN_OF_FAMILY(name) name##_dsp
#elif defined(EDGERNN_HELIUM)
#define EDGERNN_OF_FAMILY(name) name##_helium
#elif defined(EDGERNN_NEON)
#define EDGERNN_OF_FAMILY(name) name##_neon
#elif defined(EDGERNN_AVX512)
#define EDGERNN_OF_FAMILY(name) name##_avx512
#elif defined(EDGERNN_AVX2)
#define EDGERNN_OF_FAMILY(name) name##_avx2
#elif defined(EDGERNN_SHORT_PRODUCTS)
#define EDGERNN_OF_FAMILY(name) name##_short
#else
#define EDGERNN_OF_FAMILY(name) name##_portable
#endif
#define edgernn_linear EDGERNN_OF_FAMILY(edgernn_linear)
#define edgernn_linear_add EDGERNN_OF_FAMILY(edgernn_linear_add)
#define edgernn_linear_wide EDGERNN_OF_FAMILY(edgernn_linear_wide)
#define edgernn_linear_wide_add EDGERNN_OF_FAMILY(edgernn_linear_wide_add)

/* y = W x + b */
void edgernn_linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y);
/* y = sat(y + W x + b), W x + b rounded to int16 first */
void edgernn_linear_add(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y);
/* The same for sums that may leave 32 bits. */
void edgernn_linear_wide(const edgernn_wide_matrix_t *matrix, const int16_t *x, int16_t *y);
void edgernn_linear_wide_add(const edgernn_wide_matrix_t *matrix, const int16_t *x, int16_t *y);

/* The first `size` elements of the row of a table that `id` says: of the nearest one there is.
 * rows: of the table, each `columns` after the one before. */
void edgernn_row(const int8_t *table, int rows, int columns, const int16_t *id, int16_t *y,
                 int size);

/* 65536 * sigmoid(i / 24), i = 0 .. 256. */
extern const uint16_t edgernn_sigmoid[257];

/* The sums of a group's 4 rows over `columns` columns, at most 512: a multiple of 8 and then a
 * rest that is padded as the weights are. Each family has one; the wide product uses it. */
void edgernn_sum4(const edgernn_weight_t *weights, const int16_t *x, int columns, int32_t sums[4]);

#ifdef __cplusplus
}
#endif

#endif
