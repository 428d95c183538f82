/* The matrix product for NEON (64-bit Arm, ARMv8.0): four rows of eight columns to a turn of the
 * inner loop, each lane a row. */
#include "edgernn_lanes.h"

#if defined(EDGERNN_NEON)

/* sums += weights * x over four columns from lane `at` of x; a column's products go into the sums
 * of its own, so that none waits for the one before. */
#define COLUMNS4(w, x, at)                                               \
    do {                                                                 \
        const int8x16_t bytes = vld1q_s8(w);                             \
        const int16x8_t low = vmovl_s8(vget_low_s8(bytes));              \
        const int16x8_t high = vmovl_high_s8(bytes);                     \
        sums0 = vmlal_laneq_s16(sums0, vget_low_s16(low), x, at);        \
        sums1 = vmlal_high_laneq_s16(sums1, low, x, (at) + 1);           \
        sums2 = vmlal_laneq_s16(sums2, vget_low_s16(high), x, (at) + 2); \
        sums3 = vmlal_high_laneq_s16(sums3, high, x, (at) + 3);          \
    } while (0)

/* start + the sums of a group's rows; *weights moves on to the next group. rest: the columns after
 * the last whole block of 8, then zeros. */
static inline int32x4_t sums_from(int32x4_t start, const edgernn_weight_t **weights,
                                  const int16_t *x, int columns, int16x8_t rest)
{
    const edgernn_weight_t *w = *weights;
    int32x4_t sums0 = start;
    int32x4_t sums1 = vdupq_n_s32(0);
    int32x4_t sums2 = vdupq_n_s32(0);
    int32x4_t sums3 = vdupq_n_s32(0);
    for (; columns >= 8; columns -= 8) {
        const int16x8_t block = vld1q_s16(x);
        COLUMNS4(w, block, 0);
        COLUMNS4(w + 16, block, 4);
        w += 32;
        x += 8;
    }
    if (columns > 0) {
        COLUMNS4(w, rest, 0);
        w += 16;
    }
    if (columns > 4) {
        COLUMNS4(w, rest, 4);
        w += 16;
    }
    *weights = w;
    return vaddq_s32(vaddq_s32(sums0, sums1), vaddq_s32(sums2, sums3));
}

static inline int16x8_t rest_of(const int16_t *x, int columns)
{
    const int rest = columns % 8;
    return rest == 0 ? vdupq_n_s16(0) : edgernn_load(x, columns - rest, columns);
}

void edgernn_sum4(const edgernn_weight_t *weights, const int16_t *x, int columns, int32_t sums[4])
{
    vst1q_s32(sums, sums_from(vdupq_n_s32(0), &weights, x, columns, rest_of(x, columns)));
}

static inline void linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y, int add)
{
    const int columns = matrix->columns;
    const int16x8_t rest = rest_of(x, columns);
    const edgernn_weight_t *weights = matrix->weights;
    const edgernn_rows_t *constants = matrix->constants;
    int left = matrix->rows;
    do {
        const int32x4_t sums = sums_from(vld1q_s32(constants->bias), &weights, x, columns, rest);
        /* The high word of twice a product: one bit more than the result, for the rounding. */
        const int32x4_t high = vqdmulhq_s32(sums, vld1q_s32(constants->factor));
        const int16x4_t value = vqrshrn_n_s32(high, 1);
        if (left >= 4) {
            vst1_s16(y, add ? vqadd_s16(vld1_s16(y), value) : value);
        } else {
            int16_t part[4] = {0, 0, 0, 0};
            int i;
            for (i = 0; add && i < left; ++i) {
                part[i] = y[i];
            }
            vst1_s16(part, vqadd_s16(vld1_s16(part), value));
            for (i = 0; i < left; ++i) {
                y[i] = part[i];
            }
        }
        constants += 1;
        y += 4;
        left -= 4;
    } while (left > 0);
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
typedef int edgernn_neon_is_not_used_t;

#endif
