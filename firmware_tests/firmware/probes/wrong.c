#include "wrong.h"

#include <stdlib.h>

void wrong_reset(wrong_state_t *state)
{
    state->tag = 7;
    state->h[0] = state->h[1] = 0;
}

#if defined(WRONG_FLOAT)
static volatile float factor = 1.5f;
#elif defined(WRONG_HEAP)
/* What malloc asks of a system; a firmware without it does not even link. */
void *sbrk(ptrdiff_t size);
void *_sbrk(ptrdiff_t size);
void *sbrk(ptrdiff_t size) { return size < 0 ? NULL : (void *)-1; }
void *_sbrk(ptrdiff_t size) { return sbrk(size); }
#endif

int wrong_step(wrong_state_t *state, const int16_t *x, int16_t *y)
{
    /* volatile: the compiler believes that nobody does this. */
    volatile int16_t *const out = y;
    volatile int16_t *const in = (volatile int16_t *)(uintptr_t)x;
    volatile int16_t *const memory = state->h;
    y[0] = x[0];
    switch (x[0]) {
    case 1:
        out[-1] = 0;
        break;
    case 2:
        out[1] = 0;
        break;
    case 3:
        in[0] = 0;
        break;
    case 4:
        memory[2] = 0;
        break;
    case 5:
        __builtin_trap();
    case 6:
        state->h[0] = 6;
        return 2;
#if defined(WRONG_FLOAT)
    case 7:
        y[0] = (int16_t)(factor * 3.0f);
        break;
#elif defined(WRONG_HEAP)
    case 8:
        y[0] = malloc(1) != NULL;
        break;
#endif
    default:
        break;
    }
    return 0;
}
