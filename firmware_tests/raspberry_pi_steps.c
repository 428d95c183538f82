/* Steps a model over a file, on Linux:
 *
 *     steps MODEL x.bin begin.bin y.bin
 *
 * x.bin: for every step all inputs, one after the other, int16. begin.bin: the state to begin in;
 * if it is empty the model is reset. y.bin: for every step all outputs, int16, and the state after
 * it. Prints the kernels that are compiled in; returns the status of the first step that fails.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Generated: models[], whose steps take their inputs and outputs one after the other. */
typedef struct {
    const char *name;
    size_t state_bytes;
    size_t x;
    size_t y;
    void (*reset)(void *state);
    int (*step)(void *state, const int16_t *x, int16_t *y);
} model_t;
#include "models.h"

static void *allocated(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        exit(100);
    }
    return memory;
}

static FILE *opened(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        perror(path);
        exit(101);
    }
    return file;
}

int main(int argc, char **argv)
{
    const model_t *model = models;
    const model_t *end = models + sizeof models / sizeof models[0];
    FILE *given, *begin, *result;
    void *state;
    int16_t *x, *y;
    size_t saved;
    if (argc != 5) {
        return 102;
    }
    while (model != end && strcmp(model->name, argv[1]) != 0) {
        ++model;
    }
    if (model == end) {
        return 103;
    }
    given = opened(argv[2], "rb");
    begin = opened(argv[3], "rb");
    result = opened(argv[4], "wb");
    state = allocated(model->state_bytes);
    x = (int16_t *)allocated(model->x * sizeof *x);
    y = (int16_t *)allocated(model->y * sizeof *y);
    saved = fread(state, 1, model->state_bytes, begin);
    if (saved == 0) {
        model->reset(state);
    } else if (saved != model->state_bytes || fgetc(begin) != EOF) {
        return 104;
    }
    while (fread(x, sizeof *x, model->x, given) == model->x) {
        const int status = model->step(state, x, y);
        if (status != 0) {
            return status;
        }
        if (fwrite(y, sizeof *y, model->y, result) != model->y ||
            fwrite(state, 1, model->state_bytes, result) != model->state_bytes) {
            return 105;
        }
    }
    puts(edgernn_kernels());
    return fclose(result) == 0 ? 0 : 106;
}
