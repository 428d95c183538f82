/* Runs window programs on a board: windows from a file of the host, outputs to another.
 *
 * windows.h and windows.c are generated for each image: the table of the programs. The file
 * "inputs" has, for each window, the program's index and the number of steps in 4 bytes each, and
 * the inputs; after the last window comes END. "outputs" gets the status of each window in 4 bytes,
 * its outputs, and at the end the name of the kernels in 16 bytes. "figures" gets of each window the
 * ticks of its call and the bytes of stack below, 4 bytes each.
 */
#include "clock.h"
#include "edgernn.h"
#include "memory.h"
#include "semihosting.h"
#include "windows.h"

#include <string.h>

#define END 0xFFFFFFFFu
#define GUARD 8 /* elements before, between and after the arrays */
#define PATTERN 0x5AA5
#define PAINT 0xA5C3F00Du

static int16_t memory[ROOM];
static size_t used;

static void guard(void)
{
    size_t i;
    for (i = 0; i < GUARD; ++i) {
        memory[used + i] = PATTERN;
    }
    used += GUARD;
}

/* An array with a guard behind it; odd and even addresses in turn if its length is odd. */
static int16_t *array(size_t count)
{
    int16_t *const begin = memory + used;
    if (used + count + GUARD > ROOM) {
        semihost_fail("the windows of the test are too long for the board");
    }
    used += count;
    guard();
    return begin;
}

static void check_guard(const int16_t *end)
{
    size_t i;
    for (i = 0; i < GUARD; ++i) {
        if (end[i] != PATTERN) {
            semihost_fail("a window wrote outside of an array");
        }
    }
}

/* noinline: what is below this function's stack pointer is the window's, and its wrapper's. */
__attribute__((noinline)) static int32_t measured(const window_t *model, const int16_t *const *x,
                                                  size_t steps, int16_t *const *y, int16_t *buffer,
                                                  size_t size, uint32_t figures[2])
{
    const uint32_t *const stack = stack_paint(PAINT);
    uint32_t before, after;
    int32_t status;
    clock_restart();
    before = clock_read();
    status = model->run(x, steps, y, buffer, size);
    after = clock_read();
    figures[0] = clock_overflowed() ? UINT32_MAX : clock_ticks(before, after);
    figures[1] = stack_used(stack, PAINT);
    return status;
}

int main(void)
{
    const int32_t figures = semihost_open("figures", SEMIHOST_WRITE_FILE);
    const int32_t inputs = semihost_open("inputs", SEMIHOST_READ_FILE);
    const int32_t outputs = semihost_open("outputs", SEMIHOST_WRITE_FILE);
    char kernels[16] = "";
    for (;;) {
        uint32_t request[2], found[2];
        int32_t status;
        const window_t *model;
        const int16_t *x[MOST_PORTS];
        int16_t *y[MOST_PORTS];
        size_t counts[MOST_PORTS];
        size_t i, size;
        int16_t *buffer;
        semihost_read(inputs, &request[0], 4);
        if (request[0] == END) {
            break;
        }
        semihost_read(inputs, &request[1], 4);
        model = &windows[request[0]];
        used = 0;
        guard();
        for (i = 0; i < model->input_count; ++i) {
            const size_t count = request[1] * model->inputs[i];
            int16_t *const values = array(count);
            semihost_read(inputs, values, 2 * count);
            x[i] = values;
        }
        for (i = 0; i < model->output_count; ++i) {
            counts[i] = (model->every[i] ? request[1] : 1) * model->outputs[i];
            y[i] = array(counts[i]);
            memset(y[i], 0x77, 2 * counts[i]);
        }
        size = model->buffer(request[1]);
        buffer = array(size);
        memset(buffer, 0x66, 2 * size);
        status = measured(model, x, request[1], y, buffer, size, found);
        semihost_write(figures, found, sizeof found);
        check_guard(memory);
        check_guard(buffer + size);
        for (i = 0; i < model->input_count; ++i) {
            check_guard(x[i] + request[1] * model->inputs[i]);
        }
        semihost_write(outputs, &status, 4);
        for (i = 0; i < model->output_count; ++i) {
            check_guard(y[i] + counts[i]);
            semihost_write(outputs, y[i], 2 * counts[i]);
        }
    }
    strncpy(kernels, edgernn_kernels(), sizeof kernels - 1);
    semihost_write(outputs, kernels, sizeof kernels);
    semihost_close(inputs);
    semihost_close(outputs);
    semihost_close(figures);
    semihost_exit(0);
}
