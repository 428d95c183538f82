/* Runs @name@ over a window, a ramp, and prints what comes out.
 * Put a recording in the place of the ramp. For a second model in the same sketch, put its .h and
 * .c files into the folder of this library. */
#include <@name@.h>

#define STEPS 10 /* of a window; any number */

@arrays@
@buffer@

void setup()
{
    Serial.begin(115200);
}

void loop()
{
    int t;
    int i;
@ramp@
@call@
    if (status != EDGERNN_OK) {
        Serial.println(edgernn_message(status));
    }
@print@
    delay(1000);
}
