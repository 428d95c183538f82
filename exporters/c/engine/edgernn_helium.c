/* The matrix product for Helium (MVE): four rows of eight columns to a turn of the inner loop. */
#include "edgernn_kernels.h"

#if defined(EDGERNN_HELIUM)

#include <arm_mve.h>

/* start + the sums of a group's rows; *weights moves on to the next group. In a tail-predicated
 * loop the lanes beyond the last column are neither loaded nor added, so that x needs no padding;
 * compilers do not form such loops. */
static inline int32x4_t sums_from(const int32_t start[4], const edgernn_weight_t **weights,
                                  const int16_t *x, int columns)
{
    const edgernn_weight_t *w = *weights;
    int32x4_t sums;
    /* Accumulators have even numbers. */
    __asm__ volatile("ldm %[start], {r6, r8, r10, r12}\n\t"
                     "dlstp.16 lr, %[columns]\n"
                     "1:\n\t"
                     "vldrh.u16 q0, [%[x]], #16\n\t"
                     "vldrb.s16 q1, [%[w]], #8\n\t"
                     "vmladava.s16 r6, q0, q1\n\t"
                     "vldrb.s16 q1, [%[w]], #8\n\t"
                     "vmladava.s16 r8, q0, q1\n\t"
                     "vldrb.s16 q1, [%[w]], #8\n\t"
                     "vmladava.s16 r10, q0, q1\n\t"
                     "vldrb.s16 q1, [%[w]], #8\n\t"
                     "vmladava.s16 r12, q0, q1\n\t"
                     "letp lr, 1b\n\t"
                     "vmov %q[sums][2], %q[sums][0], r6, r10\n\t"
                     "vmov %q[sums][3], %q[sums][1], r8, r12"
                     : [sums] "=w"(sums), [x] "+r"(x), [w] "+l"(w)
                     : [start] "r"(start), [columns] "r"(columns)
                     : "r6", "r8", "r10", "r12", "lr", "q0", "q1", "memory");
    *weights = w;
    return sums;
}

void edgernn_sum4(const edgernn_weight_t *weights, const int16_t *x, int columns, int32_t sums[4])
{
    static const int32_t zeros[4] = {0, 0, 0, 0};
    vstrwq_s32(sums, sums_from(zeros, &weights, x, columns));
}

/* The first `count` of 4 values. */
static inline void store_first(int16_t *y, int count, int32x4_t values)
{
#if defined(__clang__)
    vstrhq_p_s32(y, values, vctp32q((uint32_t)count));
#else
    /* See edgernn_store. */
    __asm__ volatile("vctp.32 %[count]\n\t"
                     "vpst\n\t"
                     "vstrht.32 %q[values], [%[y]]"
                     :
                     : [count] "r"(count), [y] "l"(y), [values] "w"(values)
                     : "p0", "memory");
#endif
}

static inline void linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y, int add)
{
    const int columns = matrix->columns;
    const edgernn_weight_t *weights = matrix->weights;
    const edgernn_rows_t *constants = matrix->constants;
    int left = matrix->rows;
    do {
        const int32x4_t sums = sums_from(constants->bias, &weights, x, columns);
        /* The high word of a product with multiplier << 16: what the shift by 16 leaves. */
        const int32x4_t high = vmulhq_s32(sums, vldrwq_s32(constants->multiplier));
        const int32x4_t rounded = vrshlq_s32(high, vldrbq_s32(constants->shift));
        /* Saturated into the low half of each 32-bit lane; what is in the other is never read. */
        int16x8_t value = vqmovnbq_s32(vreinterpretq_s16_s32(sums), rounded);
        if (left >= 4) {
            if (add) {
                value = vqaddq_s16(value, vreinterpretq_s16_s32(vldrhq_s32(y)));
            }
            vstrhq_s32(y, vreinterpretq_s32_s16(value));
        } else {
            if (add) {
                const int32x4_t sum = vldrhq_z_s32(y, vctp32q((uint32_t)left));
                value = vqaddq_s16(value, vreinterpretq_s16_s32(sum));
            }
            store_first(y, left, vreinterpretq_s32_s16(value));
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
typedef int edgernn_helium_is_not_used_t;

#endif
