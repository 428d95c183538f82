"""The exported C on emulated boards, and the NumPy runtime on an emulated Raspberry Pi.

A board is an entry of `boards.BOARDS`; `make toolchain` installs what it needs.

    model = Model.of(program, "kws", to_c(program, "kws"))
    image = build(BOARDS["mps2-an386"], [model], folder)
    run(image, inputs).outputs          # (T, I) int16 -> (T, O) int16
    run(image, inputs, state).state     # bytes in, bytes out: see edgernn.runtime.state
    measure(image, inputs)              # instructions of each step, stack, flash, RAM
    trace(image, inputs[0])             # each instruction's function: where they go
"""
