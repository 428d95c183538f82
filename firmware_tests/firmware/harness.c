/* Steps models on a board: inputs from a file of the host, outputs and states to others.
 *
 * models.h is generated for each image: MODELS(X), and for each model the wrappers reset_M, step_M
 * and nothing_M, which bring the steps of all models into one form.
 */
#include <string.h>

#include "clock.h"
#include "memory.h"
#include "models.h"
#include "semihosting.h"

enum { MODE_RUN = 0, MODE_COUNT = 1, MODE_STACK = 2, MODE_ALL = 3 };
enum { FLAG_STATE = 1, FLAG_TRACE = 2, FLAG_SKEW = 4 };
#define MAGIC 0x314E5245u
#define GUARD 8 /* elements before and after each buffer */
#define PATTERN 0x5AA5

/* The host has the same layouts: see emulator.py. */
typedef struct {
    uint32_t magic, model, mode, steps, flags;
} request_t;
typedef struct {
    uint32_t magic, status, steps, state_size;
    char kernels[16];
} result_t;

typedef int (*step_t)(void *state, const int16_t *x, int16_t *y);
typedef struct {
    void (*reset)(void *state);
    step_t step, nothing;
    uint16_t state, x, y; /* bytes, elements, elements */
} model_t;

#define ENTRY(name, x, y) {reset_##name, step_##name, nothing_##name, sizeof(name##_state_t), x, y},
static const model_t models[] = {MODELS(ENTRY)};

#define STATE(name, x, y) name##_state_t name;
typedef union {
    MODELS(STATE)
} state_t;
#define X(name, x, y) int16_t name[x];
typedef union {
    MODELS(X)
} x_t;
#define Y(name, x, y) int16_t name[y];
typedef union {
    MODELS(Y)
} y_t;

/* One element more than the guards: buffers may be moved to an odd multiple of 2 bytes. */
static union {
    int16_t room[sizeof(x_t) / 2 + 2 * GUARD + 1];
    uint32_t aligned;
} x_memory;
static union {
    int16_t room[sizeof(y_t) / 2 + 2 * GUARD + 1];
    uint32_t aligned;
} y_memory;
static struct {
    int16_t before[GUARD];
    state_t state;
    int16_t after[GUARD];
} state_memory;
static x_t x_given;
static state_t state_given;

/* An empty function that the compiler cannot see through. */
#if defined(__arm__)
__asm__(".section .text.harness_nothing,\"ax\"\n\t.syntax unified\n\t.thumb\n\t.global harness_nothing\n\t"
        ".type harness_nothing, %function\n\t.thumb_func\nharness_nothing:\n\tbx lr\n\t.text");
#elif defined(__aarch64__)
__asm__(".section .text.harness_nothing,\"ax\"\n\t.global harness_nothing\n\t"
        ".type harness_nothing, %function\nharness_nothing:\n\tret\n\t.text");
#else
__asm__(".section .text.harness_nothing,\"ax\"\n\t.global harness_nothing\n"
        "harness_nothing:\n\tret\n\t.text");
#endif

static void fill_guards(int16_t *buffer, size_t count)
{
    size_t i;
    for (i = 0; i < GUARD; ++i) {
        buffer[-1 - (int)i] = PATTERN;
        buffer[count + i] = PATTERN;
    }
}

static void check_guards(const int16_t *buffer, size_t count)
{
    size_t i;
    for (i = 0; i < GUARD; ++i) {
        if (buffer[-1 - (int)i] != PATTERN || buffer[count + i] != PATTERN) {
            semihost_fail("the step wrote outside of a buffer");
        }
    }
}

/* Ticks of one call, with what calling costs. */
__attribute__((noinline)) static uint32_t count_call(step_t call, void *state, const int16_t *x,
                                                     int16_t *y, int *status)
{
    uint32_t before, after;
    clock_restart();
    before = clock_read();
    *status = call(state, x, y);
    after = clock_read();
    return clock_overflowed() ? UINT32_MAX : clock_ticks(before, after);
}

/* Bytes between this function's stack pointer and the lowest word that the call changed. */
__attribute__((noinline)) static uint32_t stack_of_call(step_t call, void *state, const int16_t *x,
                                                        int16_t *y, int *status, uint32_t paint)
{
    const uint32_t *const stack = stack_paint(paint);
    uint32_t used;
    *status = call(state, x, y);
    used = stack_used(stack, paint);
    if (used == UINT32_MAX) {
        semihost_fail("the stack is too small");
    }
    return used;
}

/* Twice from the same state: a word that happens to be written with the paint is seen. */
static uint32_t stack_of_step(const model_t *model, const int16_t *x, int16_t *y, int *status)
{
    static const uint32_t paints[2] = {0xA5C3F00Du, 0x12345678u};
    void *const state = &state_memory.state;
    uint32_t most = 0, used, empty;
    int i, ignored;
    memcpy(&state_given, state, model->state);
    for (i = 0; i < 2; ++i) {
        memcpy(state, &state_given, model->state);
        empty = stack_of_call(model->nothing, state, x, y, &ignored, paints[i]);
        used = stack_of_call(model->step, state, x, y, status, paints[i]);
        if (used - empty > most) {
            most = used - empty;
        }
    }
    return most;
}

static void read_state(const model_t *model)
{
    const int32_t file = semihost_open("state", SEMIHOST_READ_FILE);
    semihost_read(file, &state_memory.state, model->state);
    semihost_close(file);
}

/* Every model in turn, from its reset on: of each step ticks, and bytes of stack. */
static void measure_all(uint32_t steps)
{
    const int32_t inputs = semihost_open("inputs", SEMIHOST_READ_FILE);
    const int32_t outputs = semihost_open("outputs", SEMIHOST_WRITE_FILE);
    int16_t *const x = x_memory.room + GUARD, *const y = y_memory.room + GUARD;
    void *const state = &state_memory.state;
    static state_t before;
    uint32_t figures[3], step;
    int status = 0;
    size_t i;
    for (i = 0; i < sizeof models / sizeof models[0]; ++i) {
        const model_t *const model = &models[i];
        model->reset(state);
        for (step = 0; step < steps; ++step) {
            semihost_read(inputs, x, 2u * model->x);
            memcpy(&before, state, model->state);
            figures[0] = count_call(model->nothing, state, x, y, &status);
            figures[1] = count_call(model->step, state, x, y, &status);
            memcpy(state, &before, model->state);
            figures[2] = stack_of_step(model, x, y, &status);
            if (status != 0) {
                semihost_fail("a step was refused while it was measured");
            }
            semihost_write(outputs, figures, sizeof figures);
        }
    }
    semihost_close(inputs);
    semihost_close(outputs);
}

int main(void)
{
    request_t request;
    result_t result = {MAGIC, 0, 0, 0, ""};
    const model_t *model;
    int32_t requests, inputs, outputs, states, results;
    int16_t *x = x_memory.room + GUARD, *y = y_memory.room + GUARD;
    uint32_t figures[2], step;
    int status = 0;

    requests = semihost_open("request", SEMIHOST_READ_FILE);
    semihost_read(requests, &request, sizeof request);
    semihost_close(requests);
    if (request.magic != MAGIC || request.model >= sizeof models / sizeof models[0]) {
        semihost_fail("the request is not understood");
    }
    if (request.mode == MODE_ALL) {
        measure_all(request.steps);
        semihost_exit(0);
    }
    model = &models[request.model];
    if ((request.flags & FLAG_SKEW) != 0) {
        ++x;
        ++y;
    }
    /* All of it, not only the guards: a reset that leaves a part as it was is seen. */
    memset(&state_memory, 0x77, sizeof state_memory);
    fill_guards(x, model->x);
    fill_guards(y, model->y);
    fill_guards((int16_t *)&state_memory.state, model->state / 2u);
    if ((request.flags & FLAG_STATE) != 0) {
        read_state(model);
    } else {
        model->reset(&state_memory.state);
    }

    inputs = semihost_open("inputs", SEMIHOST_READ_FILE);
    outputs = semihost_open("outputs", SEMIHOST_WRITE_FILE);
    states = semihost_open("states", SEMIHOST_WRITE_FILE);
    for (step = 0; step < request.steps && status == 0; ++step) {
        semihost_read(inputs, x, 2u * model->x);
        memcpy(&x_given, x, 2u * model->x);
        memset(y, 0x77, 2u * model->y);
        if (request.mode == MODE_STACK) {
            figures[0] = stack_of_step(model, x, y, &status);
            semihost_write(outputs, figures, sizeof figures[0]);
        } else if (request.mode == MODE_COUNT) {
            figures[0] = count_call(model->nothing, &state_memory.state, x, y, &status);
            figures[1] = count_call(model->step, &state_memory.state, x, y, &status);
            semihost_write(outputs, figures, sizeof figures);
        } else {
            status = model->step(&state_memory.state, x, y);
            semihost_write(outputs, y, 2u * model->y);
        }
        check_guards(x, model->x);
        check_guards(y, model->y);
        check_guards((int16_t *)&state_memory.state, model->state / 2u);
        if (memcmp(x, &x_given, 2u * model->x) != 0) {
            semihost_fail("the step changed its input");
        }
        if ((request.flags & FLAG_TRACE) != 0) {
            semihost_write(states, &state_memory.state, model->state);
        }
    }
    if ((request.flags & FLAG_TRACE) == 0) {
        semihost_write(states, &state_memory.state, model->state);
    }
    result.status = (uint32_t)status;
    strncpy(result.kernels, KERNELS, sizeof result.kernels - 1);
    result.steps = step;
    result.state_size = model->state;
    results = semihost_open("result", SEMIHOST_WRITE_FILE);
    semihost_write(results, &result, sizeof result);
    semihost_close(results);
    semihost_close(inputs);
    semihost_close(outputs);
    semihost_close(states);
    semihost_exit(0);
}
