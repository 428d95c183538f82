/* Steps a model by itself, so that sanitizers see all of a process.
 *
 *     driver MODEL STEPS INPUT OUTPUT
 *
 * INPUT: the state's bytes, or nothing of them for a reset (STEPS negative), then the inputs of
 * each step. OUTPUT: the outputs of each step, then the state. Every array has memory of its own,
 * and ends where it ends.
 */
#include "models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *memory(size_t bytes)
{
    void *block = malloc(bytes);
    if (block == NULL) {
        exit(2);
    }
    /* Not zeros: what is read before it was written shows. */
    memset(block, 0xA5, bytes);
    return block;
}

static void transfer(size_t done, size_t count)
{
    if (done != count) {
        exit(3);
    }
}

int main(int argc, char **argv)
{
    const model_t *model = TABLE();
    int16_t *x[MOST_PORTS];
    int16_t *y[MOST_PORTS];
    void *state;
    FILE *in;
    FILE *out;
    long steps;
    size_t i;
    if (argc != 5) {
        return 1;
    }
    while (strcmp(model->name, argv[1]) != 0) {
        ++model;
    }
    steps = strtol(argv[2], NULL, 10);
    in = fopen(argv[3], "rb");
    out = fopen(argv[4], "wb");
    if (in == NULL || out == NULL) {
        return 1;
    }
    state = memory(model->state_bytes);
    for (i = 0; i < model->input_count; ++i) {
        x[i] = (int16_t *)memory(2 * model->inputs[i]);
    }
    for (i = 0; i < model->output_count; ++i) {
        y[i] = (int16_t *)memory(2 * model->outputs[i]);
    }
    if (steps < 0) {
        model->reset(state);
        steps = -steps;
    } else {
        transfer(fread(state, 1, model->state_bytes, in), model->state_bytes);
    }
    for (; steps > 0; --steps) {
        for (i = 0; i < model->input_count; ++i) {
            transfer(fread(x[i], 2, model->inputs[i], in), model->inputs[i]);
        }
        if (model->step(state, x, y) != 0) {
            return 4;
        }
        for (i = 0; i < model->output_count; ++i) {
            transfer(fwrite(y[i], 2, model->outputs[i], out), model->outputs[i]);
        }
    }
    transfer(fwrite(state, 1, model->state_bytes, out), model->state_bytes);
    for (i = 0; i < model->input_count; ++i) {
        free(x[i]);
    }
    for (i = 0; i < model->output_count; ++i) {
        free(y[i]);
    }
    free(state);
    transfer((size_t)fclose(in), 0);
    transfer((size_t)fclose(out), 0);
    return 0;
}
