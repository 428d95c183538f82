/* Runs @name@ over a ramp and prints what comes out.
 * On a board put your sensor in the place of the ramp, your console in that of printf. */
#include "@name@.h"

#include <stdio.h>

#ifndef ARDUINO /* It compiles every file of this folder, and has examples/stream instead. */

static @name@_state_t state; /* one for every stream */
@arrays@

int main(void)
{
    int t;
    int i;
    @name@_reset(&state);
    for (t = 0; t < 10; ++t) {
@ramp@
@call@
        if (status != EDGERNN_OK) {
            printf("%s\n", edgernn_message(status));
            return 1;
        }
        printf("step %d:", t);
@print@
        printf("\n");
    }
    @name@_reset(&state); /* and the next recording may begin */
    return 0;
}

#endif
