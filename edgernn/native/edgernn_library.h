/* A model's step as a shared library for edgernn.runtime, which finds all of it by name, with ctypes.
 *
 * edgernn_library_model.h is written for each model: what its step is called, and how large the
 * arrays are.
 */
#ifndef EDGERNN_LIBRARY_H
#define EDGERNN_LIBRARY_H

#include "edgernn.h"
#include "edgernn_library_model.h"
#include "edgernn_python_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The interface. Whenever it changes for the runtime, its version does. */
#define EXPORT extern __attribute__((visibility("default")))
EXPORT const int edgernn_library_version;
EXPORT const size_t edgernn_library_state_bytes;
/* Of the program's file. */
EXPORT const char edgernn_library_sha256[];
/* What the processor must have, in the words of /proc/cpuinfo. */
EXPORT const char edgernn_library_features[];
EXPORT const char *edgernn_library_kernels(void);
EXPORT const char *edgernn_library_message(int status);
EXPORT void edgernn_library_reset(LIBRARY_STATE *state);
/* x[i]: (steps, size) of input i, y[i] the same of output i; the status of the last step. */
EXPORT int edgernn_library_run(LIBRARY_STATE *state, const int16_t *const *x, int16_t *const *y,
                               size_t steps);
/* The same for (streams, steps, size), each stream from the initial state. */
EXPORT int edgernn_library_run_batch(LIBRARY_STATE *state, const int16_t *const *x,
                                     int16_t *const *y, size_t streams, size_t steps);
/* step_int(*x, out=None) for Python; stream: an object with the memory of a library_stream_t. */
EXPORT PyObject *edgernn_library_step_function(PyObject *stream);

static const size_t input_sizes[] = {LIBRARY_INPUT_SIZES};
static const size_t output_sizes[] = {LIBRARY_OUTPUT_SIZES};
#define INPUTS (sizeof input_sizes / sizeof *input_sizes)
#define OUTPUTS (sizeof output_sizes / sizeof *output_sizes)

#ifdef __cplusplus
}
#endif

#endif
