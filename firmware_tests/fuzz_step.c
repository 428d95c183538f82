/* A libFuzzer target: any bytes as states and inputs, in the portable kernels and in those of this
 * machine, step by step beside each other.
 *
 * Every int16 is legal, so nothing may overflow, read or write beyond an array, or differ. The
 * first byte chooses the model, the second how the rest is read.
 */
#include "models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_STATE 2
/* The second byte. */
#define STEPS 7     /* how many steps, less one */
#define RAILS 8     /* numbers are the ends of the range, and what is near 0 */
#define VARIED 16   /* bytes that are used again are changed a little */
#define FOREIGN 224 /* all of these set: the tag is another model's */

typedef struct {
    const uint8_t *data;
    size_t size;
    size_t used;
    int mode;
} source_t;

/* Few bytes fill many numbers. */
static uint8_t next(source_t *source)
{
    const size_t round = source->mode & VARIED ? source->used / source->size : 0;
    const size_t place = source->used % source->size;
    ++source->used;
    return (uint8_t)(source->data[place] ^ (uint8_t)(round * 157u));
}

static int16_t number(source_t *source)
{
    static const int16_t ends[8] = {INT16_MIN, INT16_MIN + 1, -1, 0, 1, INT16_MAX - 1, INT16_MAX, 0};
    const uint8_t low = next(source);
    if ((source->mode & RAILS) && low % 8 != 7) {
        return ends[low % 8];
    }
    return (int16_t)(uint16_t)(low | (unsigned)next(source) << 8);
}

static void *memory(size_t bytes, int filling)
{
    void *block = malloc(bytes);
    if (block == NULL) {
        abort();
    }
    memset(block, filling, bytes);
    return block;
}

static void expect(int right, const model_t *model, const char *what)
{
    if (!right) {
        fprintf(stderr, "%s: %s\n", model->name, what);
        abort();
    }
}

/* One family's arrays. They begin with different bytes, so that what is not written differs. */
typedef struct {
    uint8_t *state;
    int16_t *x[MOST_PORTS];
    int16_t *y[MOST_PORTS];
} arrays_t;

static void allocate(const model_t *model, arrays_t *arrays, int filling)
{
    size_t i;
    arrays->state = (uint8_t *)memory(model->state_bytes, filling);
    for (i = 0; i < model->input_count; ++i) {
        arrays->x[i] = (int16_t *)memory(2 * model->inputs[i], filling);
    }
    for (i = 0; i < model->output_count; ++i) {
        arrays->y[i] = (int16_t *)memory(2 * model->outputs[i], filling);
    }
}

static void release(const model_t *model, arrays_t *arrays)
{
    size_t i;
    for (i = 0; i < model->input_count; ++i) {
        free(arrays->x[i]);
    }
    for (i = 0; i < model->output_count; ++i) {
        free(arrays->y[i]);
    }
    free(arrays->state);
}

static void fill_state(const model_t *model, arrays_t *arrays, source_t *source, uint32_t tag)
{
    size_t i;
    memcpy(arrays->state, &tag, sizeof tag);
    for (i = sizeof tag; i < model->state_bytes; i += 2) {
        const int16_t value = number(source);
        memcpy(arrays->state + i, &value, sizeof value);
    }
}

static void fill_inputs(const model_t *model, arrays_t *arrays, source_t *source)
{
    size_t i;
    size_t j;
    for (i = 0; i < model->input_count; ++i) {
        for (j = 0; j < model->inputs[i]; ++j) {
            arrays->x[i][j] = number(source);
        }
    }
}

static void refuse(const model_t *model, arrays_t *arrays)
{
    uint8_t *before = (uint8_t *)memory(model->state_bytes, 0);
    const uint8_t first = ((uint8_t *)arrays->y[0])[0];
    memcpy(before, arrays->state, model->state_bytes);
    expect(model->step(arrays->state, arrays->x, arrays->y) == ERROR_STATE, model, "foreign state");
    expect(memcmp(before, arrays->state, model->state_bytes) == 0, model, "and it was changed");
    expect(((uint8_t *)arrays->y[0])[0] == first, model, "and an output was written");
    free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const model_t *model;
    const model_t *other;
    source_t source;
    arrays_t a;
    arrays_t b;
    int foreign;
    int steps;
    size_t i;
    if (size < 3) {
        return 0;
    }
    model = portable_models() + data[0] % MODELS;
    other = native_models() + data[0] % MODELS;
    foreign = (data[1] & FOREIGN) == FOREIGN;
    source.data = data + 2;
    source.size = size - 2;
    source.used = 0;
    source.mode = data[1];
    allocate(model, &a, 0x5A);
    allocate(model, &b, 0xA5);
    fill_state(model, &a, &source, foreign ? model->tag ^ data[2] ^ 256u : model->tag);
    memcpy(b.state, a.state, model->state_bytes);
    for (steps = data[1] & STEPS; steps >= 0; --steps) {
        fill_inputs(model, &a, &source);
        for (i = 0; i < model->input_count; ++i) {
            memcpy(b.x[i], a.x[i], 2 * model->inputs[i]);
        }
        if (foreign) {
            refuse(model, &a);
            refuse(other, &b);
            continue;
        }
        expect(model->step(a.state, a.x, a.y) == 0, model, "the portable step failed");
        expect(other->step(b.state, b.x, b.y) == 0, model, "the native step failed");
        for (i = 0; i < model->input_count; ++i) {
            expect(memcmp(a.x[i], b.x[i], 2 * model->inputs[i]) == 0, model, "inputs changed");
        }
        for (i = 0; i < model->output_count; ++i) {
            expect(memcmp(a.y[i], b.y[i], 2 * model->outputs[i]) == 0, model, "outputs differ");
        }
        expect(memcmp(a.state, b.state, model->state_bytes) == 0, model, "states differ");
    }
    release(model, &a);
    release(model, &b);
    return 0;
}
