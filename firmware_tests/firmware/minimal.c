/* The smallest firmware that steps a model: what a model costs is this less empty.c. */
#include "memory.h"
#include "models.h"

static MODEL_STATE state;
static int16_t x[MODEL_X], y[MODEL_Y];

int main(void)
{
    MODEL_RESET(&state);
    while (MODEL_STEP(&state, x, y) == 0) {
    }
    return 1;
}
