/* What the library was made from, and many steps at once. */
#include "edgernn_library.h"

const int edgernn_library_version = 1;
const size_t edgernn_library_state_bytes = sizeof(LIBRARY_STATE);
const char edgernn_library_sha256[] = LIBRARY_SHA256;
const char edgernn_library_features[] = LIBRARY_FEATURES;

const char *edgernn_library_kernels(void)
{
    return edgernn_kernels();
}

const char *edgernn_library_message(int status)
{
    return edgernn_message((edgernn_status_t)status);
}

void edgernn_library_reset(LIBRARY_STATE *state)
{
    LIBRARY_RESET(state);
}

int edgernn_library_run(LIBRARY_STATE *state, const int16_t *const *x, int16_t *const *y,
                        size_t steps)
{
    const int16_t *from[INPUTS];
    int16_t *to[OUTPUTS];
    size_t i;
    for (i = 0; i < INPUTS; ++i) {
        from[i] = x[i];
    }
    for (i = 0; i < OUTPUTS; ++i) {
        to[i] = y[i];
    }
    for (; steps > 0; --steps) {
        const edgernn_status_t status = LIBRARY_STEP(state, from, to);
        if (status != EDGERNN_OK) {
            return (int)status;
        }
        for (i = 0; i < INPUTS; ++i) {
            from[i] += input_sizes[i];
        }
        for (i = 0; i < OUTPUTS; ++i) {
            to[i] += output_sizes[i];
        }
    }
    return (int)EDGERNN_OK;
}

int edgernn_library_run_batch(LIBRARY_STATE *state, const int16_t *const *x, int16_t *const *y,
                              size_t streams, size_t steps)
{
    size_t stream;
    for (stream = 0; stream < streams; ++stream) {
        const int16_t *from[INPUTS];
        int16_t *to[OUTPUTS];
        size_t i;
        int status;
        for (i = 0; i < INPUTS; ++i) {
            from[i] = x[i] + stream * steps * input_sizes[i];
        }
        for (i = 0; i < OUTPUTS; ++i) {
            to[i] = y[i] + stream * steps * output_sizes[i];
        }
        LIBRARY_RESET(state);
        status = edgernn_library_run(state, from, to, steps);
        if (status != (int)EDGERNN_OK) {
            return status;
        }
    }
    return (int)EDGERNN_OK;
}
