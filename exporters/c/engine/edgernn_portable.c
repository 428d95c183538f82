/* The matrix product in plain C: 4 rows at a time, so that each input is loaded once for them. */
#include "edgernn_scalar.h"

#if defined(EDGERNN_PLAIN)

#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE
#endif

/* Compilers for small cores load the weights of a whole block ahead, more than there are registers
 * for: not beyond here. */
#if defined(__GNUC__) && (defined(__arm__) || defined(__riscv))
#define IN_ORDER __asm__ volatile("" ::: "memory")
#else
#define IN_ORDER (void)0
#endif

#define COLUMN(c)                 \
    do {                          \
        const int32_t v = x[c];   \
        s0 += w[4 * (c)] * v;     \
        s1 += w[4 * (c) + 1] * v; \
        s2 += w[4 * (c) + 2] * v; \
        s3 += w[4 * (c) + 3] * v; \
        IN_ORDER;                 \
    } while (0)

/* (sum * multiplier) >> (shift - 1): one bit more than the result, for the rounding. */
static inline int32_t scaled(int32_t sum, int32_t factor)
{
#if defined(EDGERNN_SHORT_PRODUCTS)
    const int32_t multiplier = factor >> 16;
    const uint32_t low = ((uint32_t)sum & 65535) * (uint32_t)multiplier;
    return ((sum >> 16) * multiplier + (int32_t)(low >> 16)) >> (factor & 31);
#else
    return (int32_t)(((int64_t)sum * factor) >> 32);
#endif
}

static inline void store(int16_t *y, int32_t sum, int32_t factor, int add)
{
    const int32_t value = edgernn_saturate_half(scaled(sum, factor) + 1);
    *y = (int16_t)(add ? edgernn_saturate(*y + value) : value);
}

/* Whole groups of 4 rows; skip: what is stored of a group's weights beyond its columns. */
NOINLINE static void product(const edgernn_rows_t *constants, const edgernn_weight_t *w, int groups,
                             const int16_t *begin, int columns, int skip, int16_t *y, int add)
{
    const int16_t *const end = begin + columns;
    const int16_t *const blocks = end - columns % 8;
    do {
        const int16_t *x = begin;
        int32_t s0 = constants->bias[0];
        int32_t s1 = constants->bias[1];
        int32_t s2 = constants->bias[2];
        int32_t s3 = constants->bias[3];
        while (x != blocks) {
            COLUMN(0);
            COLUMN(1);
            COLUMN(2);
            COLUMN(3);
            COLUMN(4);
            COLUMN(5);
            COLUMN(6);
            COLUMN(7);
            w += 32;
            x += 8;
        }
        while (x != end) {
            COLUMN(0);
            w += 4;
            x += 1;
        }
        w += skip;
        store(y, s0, constants->factor[0], add);
        store(y + 1, s1, constants->factor[1], add);
        store(y + 2, s2, constants->factor[2], add);
        store(y + 3, s3, constants->factor[3], add);
        constants += 1;
        y += 4;
    } while (--groups != 0);
}

static void linear(const edgernn_matrix_t *matrix, const int16_t *x, int16_t *y, int add)
{
    const int columns = matrix->columns;
    const int padding = (8 - columns % 8) % 8;
    const int skip = EDGERNN_WEIGHTS(padding >= 4 ? padding - 4 : padding);
    const int groups = matrix->rows / 4;
    const int rest = matrix->rows % 4;
    if (groups != 0) {
        product(matrix->constants, matrix->weights, groups, x, columns, skip, y, add);
    }
    if (rest != 0) {
        int16_t part[4] = {0, 0, 0, 0};
        int i;
        y += 4 * groups;
        for (i = 0; i < rest; ++i) {
            part[i] = y[i];
        }
        product(matrix->constants + groups,
                matrix->weights + groups * (EDGERNN_WEIGHTS(columns) + skip), 1, x, columns, skip,
                part, add);
        for (i = 0; i < rest; ++i) {
            y[i] = part[i];
        }
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

void edgernn_sum4(const edgernn_weight_t *w, const int16_t *x, int columns, int32_t sums[4])
{
    int32_t s0 = 0;
    int32_t s1 = 0;
    int32_t s2 = 0;
    int32_t s3 = 0;
    for (; columns != 0; --columns) {
        COLUMN(0);
        w += 4;
        x += 1;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#else

/* ISO C wants a declaration in every file. */
typedef int edgernn_portable_is_not_used_t;

#endif
