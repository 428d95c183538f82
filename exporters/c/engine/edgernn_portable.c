/* The matrix product in plain C: four rows at a time, so that each input is loaded once for them. */
#include "edgernn_kernels.h"

#if !defined(EDGERNN_DSP) && !defined(EDGERNN_HELIUM) && !defined(EDGERNN_NEON) && \
    !defined(EDGERNN_AVX2) && !defined(EDGERNN_AVX512)

#define COLUMN(width, c)          \
    do {                          \
        const int32_t v = x[c];   \
        a += w[c] * v;            \
        b += w[(width) + c] * v;  \
        d += w[2 * (width) + c] * v; \
        e += w[3 * (width) + c] * v; \
    } while (0)

void edgernn_sum4(const edgernn_weight_t *w, const int16_t *x, int columns, int32_t sums[4])
{
    int32_t a = 0;
    int32_t b = 0;
    int32_t d = 0;
    int32_t e = 0;
    int left;
    for (left = columns; left >= 8; left -= 8) {
        COLUMN(8, 0);
        COLUMN(8, 1);
        COLUMN(8, 2);
        COLUMN(8, 3);
        COLUMN(8, 4);
        COLUMN(8, 5);
        COLUMN(8, 6);
        COLUMN(8, 7);
        w += 32;
        x += 8;
    }
    if (left > 0) {
        const int width = left <= 4 ? 4 : 8;
        int i;
        for (i = 0; i < left; ++i) {
            COLUMN(width, i);
        }
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = d;
    sums[3] = e;
}

static inline int32_t saturate(int32_t value)
{
    return value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value;
}

static inline void linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y, int add)
{
    const int columns = matrix->columns;
    const int rest = columns % 8;
    const int padded = columns - rest + (rest == 0 ? 0 : rest <= 4 ? EDGERNN_REST4 : 8);
    const edgernn_weight_t *weights = matrix->weights;
    const edgernn_rows_t *constants = matrix->constants;
    int left;
    for (left = matrix->rows; left > 0; left -= 4) {
        const int rows = left < 4 ? left : 4;
        int32_t sums[4];
        int i;
        edgernn_sum4(weights, x, columns, sums);
        for (i = 0; i < rows; ++i) {
            const int32_t factor = constants->factor[i];
            /* The high word of a product with multiplier << 16: what the shift by 16 leaves. */
            const int32_t high =
                (int32_t)(((int64_t)(sums[i] + constants->bias[i]) * (factor & -65536)) >> 32);
            int32_t value = saturate(((high >> (factor & 31)) + 1) >> 1);
            if (add) {
                value = saturate(y[i] + value);
            }
            y[i] = (int16_t)value;
        }
        weights += EDGERNN_WEIGHTS(padded);
        constants += 1;
        y += rows;
    }
}

void edgernn_linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y)
{
    linear(matrix, x, y, 0);
}

void edgernn_linear_add(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y)
{
    linear(matrix, x, y, 1);
}

#else

/* ISO C wants a declaration in every file. */
typedef int edgernn_portable_is_not_used_t;

#endif
