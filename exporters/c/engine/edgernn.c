/* What all kernel families share: messages, tables, and products wider than 32 bits. */
#include "edgernn_kernels.h"

const char *edgernn_message(edgernn_status_t status)
{
    switch (status) {
    case EDGERNN_OK:
        return "no error";
    case EDGERNN_ERROR_ARGUMENT:
        return "a null pointer was passed, or a window without steps; every state, input, output "
               "and work buffer needs memory";
    case EDGERNN_ERROR_STATE:
        return "the state was not reset, or it was saved from another model; reset it first";
    case EDGERNN_ERROR_NUMBER:
        return "a float input is NaN or infinite; clean the input before the step";
    case EDGERNN_ERROR_BUFFER:
        return "the work buffer is too small for a window of so many steps; see BUFFER_SIZE in the "
               "model's header";
    default:
        return "unknown status";
    }
}

const char *edgernn_kernels(void)
{
    return EDGERNN_KERNELS;
}

const uint16_t edgernn_sigmoid[257] = {
    32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794, 41432,
    42064, 42688, 43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443, 48964, 49475,
    49975, 50464, 50942, 51409, 51865, 52311, 52745, 53169, 53581, 53983, 54374, 54755, 55125, 55485,
    55834, 56174, 56503, 56823, 57133, 57433, 57724, 58007, 58280, 58544, 58800, 59048, 59288, 59519,
    59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110, 61279, 61441, 61599, 61750, 61896, 62036,
    62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990, 63090, 63186, 63279, 63368, 63454, 63536,
    63615, 63691, 63765, 63835, 63903, 63968, 64030, 64090, 64148, 64204, 64257, 64308, 64357, 64405,
    64450, 64494, 64536, 64576, 64614, 64652, 64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900,
    64926, 64950, 64974, 64997, 65019, 65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179,
    65194, 65208, 65221, 65234, 65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337,
    65345, 65352, 65360, 65367, 65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425,
    65429, 65433, 65438, 65442, 65445, 65449, 65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474,
    65476, 65479, 65481, 65483, 65485, 65488, 65489, 65491, 65493, 65495, 65497, 65498, 65500, 65501,
    65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513, 65514, 65515, 65516, 65517,
    65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524, 65525, 65525,
    65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529, 65529, 65530, 65530,
    65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532, 65532, 65532, 65532, 65533,
    65533, 65533, 65533, 65533, 65533, 65533, 65533, 65534, 65534, 65534, 65534, 65534, 65534, 65534,
    65534, 65534, 65534, 65535, 65535,
};

void edgernn_row(const int8_t *table, int rows, int columns, const int16_t *id, int16_t *y,
                 int size)
{
    const int row = *id < 0 ? 0 : *id < rows ? *id : rows - 1;
    const int8_t *values = table + (size_t)row * (size_t)columns;
    int i;
    for (i = 0; i < size; ++i) {
        y[i] = values[i];
    }
}

/* int32 sums hold this many columns: 512 * 127 * 32768 < 2^31. */
#define CHUNK 512

static void wide(const edgernn_wide_matrix_t *matrix, const int16_t *x, int16_t *y, int add)
{
    const int columns = matrix->columns;
    /* Stored columns of a group: whole blocks of 4, or of 8 where a family has no narrower ones. */
    const int padded = (columns + EDGERNN_REST4 - 1) / EDGERNN_REST4 * EDGERNN_REST4;
    const edgernn_weight_t *weights = matrix->weights;
    int row;
    for (row = 0; row < matrix->rows; row += 4) {
        int64_t sums[4] = {0, 0, 0, 0};
        int begin;
        int i;
        for (begin = 0; begin < columns; begin += CHUNK) {
            const int count = columns - begin < CHUNK ? columns - begin : CHUNK;
            int32_t part[4];
            edgernn_sum4(weights + EDGERNN_WEIGHTS(begin), x + begin, count, part);
            for (i = 0; i < 4; ++i) {
                sums[i] += part[i];
            }
        }
        weights += EDGERNN_WEIGHTS(padded);
        for (i = 0; i < 4 && row + i < matrix->rows; ++i) {
            const edgernn_wide_row_t *constants = &matrix->constants[row + i];
            const int64_t sum = (sums[i] + constants->bias) * constants->multiplier;
            int64_t value = (sum + ((int64_t)1 << (constants->shift - 1))) >> constants->shift;
            value = value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value;
            if (add) {
                value += y[row + i];
                value = value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value;
            }
            y[row + i] = (int16_t)value;
        }
    }
}

void edgernn_linear_wide(const edgernn_wide_matrix_t *matrix, const int16_t *x, int16_t *y)
{
    wide(matrix, x, y, 0);
}

void edgernn_linear_wide_add(const edgernn_wide_matrix_t *matrix, const int16_t *x, int16_t *y)
{
    wide(matrix, x, y, 1);
}
