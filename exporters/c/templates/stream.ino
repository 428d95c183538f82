/* Runs @name@ over a ramp and prints what comes out.
 * Put your sensor in the place of the ramp. For a second model in the same sketch, put its .h and
 * .c into the folder of this library. */
#include <@name@.h>

static @name@_state_t state; /* one for every stream */
@arrays@

void setup()
{
    Serial.begin(115200);
    @name@_reset(&state);
}

void loop()
{
    static int t = 0;
    int i;
    t = (t + 1) % 10;
@ramp@
@call@
    if (status != EDGERNN_OK) {
        Serial.println(edgernn_message(status));
    }
@print@
    Serial.println();
    delay(100);
}
