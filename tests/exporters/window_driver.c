/* Runs windows by itself, so that sanitizers see all of a process.
 *
 *     driver MODEL INPUT OUTPUT
 *
 * INPUT: for each window the number of steps in 4 bytes, and its inputs. OUTPUT: the outputs of
 * each window. Every array has memory of its own, and ends where it ends.
 */
#include "windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int16_t *memory(size_t elements)
{
    int16_t *block = (int16_t *)malloc(2 * elements);
    if (block == NULL) {
        exit(2);
    }
    /* Not zeros: what is read before it was written shows. */
    memset(block, 0xA5, 2 * elements);
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
    const window_t *model = windows;
    FILE *in;
    FILE *out;
    uint32_t steps;
    if (argc != 4) {
        return 1;
    }
    while (strcmp(model->name, argv[1]) != 0) {
        ++model;
    }
    in = fopen(argv[2], "rb");
    out = fopen(argv[3], "wb");
    if (in == NULL || out == NULL) {
        return 1;
    }
    while (fread(&steps, 4, 1, in) == 1) {
        int16_t *x[MOST_PORTS];
        const int16_t *given[MOST_PORTS];
        int16_t *y[MOST_PORTS];
        const size_t size = model->buffer(steps);
        int16_t *const buffer = memory(size);
        size_t i;
        for (i = 0; i < model->input_count; ++i) {
            const size_t count = steps * model->inputs[i];
            x[i] = memory(count);
            transfer(fread(x[i], 2, count, in), count);
            given[i] = x[i];
        }
        for (i = 0; i < model->output_count; ++i) {
            y[i] = memory((model->every[i] ? steps : 1) * model->outputs[i]);
        }
        if (model->run(given, steps, y, buffer, size) != 0) {
            return 4;
        }
        for (i = 0; i < model->output_count; ++i) {
            const size_t count = (model->every[i] ? steps : 1) * model->outputs[i];
            transfer(fwrite(y[i], 2, count, out), count);
            free(y[i]);
        }
        for (i = 0; i < model->input_count; ++i) {
            free(x[i]);
        }
        free(buffer);
    }
    transfer((size_t)fclose(in), 0);
    transfer((size_t)fclose(out), 0);
    return 0;
}
