/* The firmware that does nothing. */
#include "memory.h"

int main(void)
{
    for (;;) {
    }
}
