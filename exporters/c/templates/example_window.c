/* Runs @name@ over a window, a ramp, and prints what comes out.
 * On a board put a recording in the place of the ramp, your console in that of printf. */
#include "@name@.h"

#include <stdio.h>

#ifndef ARDUINO /* It compiles every file of this folder, and has examples/window instead. */

#define STEPS 10 /* of a window; any number */

@arrays@
@buffer@

int main(void)
{
    int t;
    int i;
@ramp@
@call@
    if (status != EDGERNN_OK) {
        printf("%s\n", edgernn_message(status));
        return 1;
    }
@print@
    return 0;
}

#endif
