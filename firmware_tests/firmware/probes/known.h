/* Steps of known length and of known stack, to hold the measuring against. */
#ifndef KNOWN_H
#define KNOWN_H

#include <stdint.h>

typedef int edgernn_status_t;
typedef struct {
    uint32_t tag;
} known_state_t;

static inline void known_reset(known_state_t *state) { state->tag = 0; }

/* As many pointers as need the stack for some of them on every board. */
#define KNOWN_ARGUMENTS                                                                  \
    known_state_t *, const int16_t *, const int16_t *, const int16_t *, const int16_t *, \
        const int16_t *, int16_t *, int16_t *, int16_t *, int16_t *
int known_step(KNOWN_ARGUMENTS);

#endif
