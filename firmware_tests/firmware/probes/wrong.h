/* A step that does what a step may not do: which of it, its input says. */
#ifndef WRONG_H
#define WRONG_H

#include <stdint.h>

typedef int edgernn_status_t;
typedef struct {
    uint32_t tag;
    int16_t h[2];
} wrong_state_t;

void wrong_reset(wrong_state_t *state);
int wrong_step(wrong_state_t *state, const int16_t *x, int16_t *y);

#endif
