"""Recall from an associative memory: a program is stepped until its state no longer moves.

from edgernn.runtime import StepRuntime
from edgernn.runtime.associative import recall

memory = StepRuntime.load("build/model.safetensors")      # of an edgernn.nn.Hopfield
pattern = recall(memory, cue)                             # (size,) of -1, 0 (unknown) and 1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import InputError

Int16Array = NDArray[np.int16]
Values = Mapping[str, Int16Array]
Step = Callable[[Values, Values], tuple[Values, Values]]
"""(inputs, states) -> (outputs, next states) by name, as an engine of another file steps."""

MODES: Final = ("asynchronous", "synchronous")


def settle(runtime: StepRuntime, *x: Int16Array, limit: int = 100, step: Step | None = None) -> int:
    """Feed the same steps round after round until a whole round leaves the state as it was.

    x: (T, F) int16 per input, one round. step: another engine of the same program, such as the
    `step` of an `edgernn.engines.onnx.OnnxEngine`; by default the runtime's own. The runtime's
    state moves on to the fixed point, whichever engine it was.
    Returns how many rounds it took, the last included. InputError if the state still moves after
    `limit` rounds, or if x does not fit.
    """
    count = _rounds(runtime, x, limit, step)
    if not count:
        raise InputError(
            f"the state still moves after {limit} rounds; allow more, or feed what it settles at"
        )
    return count


def recall(
    runtime: StepRuntime,
    cue: Any,
    mode: str = "asynchronous",
    limit: int = 100,
    step: Step | None = None,
) -> NDArray[np.int8]:
    """The pattern (size,), int8, of -1 and 1 that a Hopfield network recalls from a cue.

    runtime: of a program that is one `edgernn.nn.Hopfield`. cue: (size,) numbers of which the
    signs count; 0 is unknown, and may stay so. mode: "asynchronous", unit after unit, or
    "synchronous", all at once. limit, step: see `settle`. The same bits on every engine, and the
    same pattern as the module's own `recall`. InputError for another program, a cue that does not
    fit, and for a synchronous recall that alternates between states for ever.
    """
    program = runtime.program
    if mode not in MODES:
        raise InputError(f"mode {mode!r} is none of {', '.join(MODES)}")
    sizes = [program.tensors[name].size for name in program.inputs]
    if len(program.states) != 1 or sizes != [len(program.states[0].initial)]:
        raise InputError("this program is no Hopfield network alone; recall takes no other")
    (state,), size = program.states, sizes[0]
    signs = np.sign(np.asarray(cue, np.float64))
    if signs.shape != (size,) or np.isnan(signs).any():
        raise InputError(f"a cue for this memory is ({size},) numbers, not {np.shape(cue)}")
    one = round(1 / float(program.tensors[state.input].scale))
    runtime.state = {state.name: (one * signs).astype(np.int16)}
    units = np.eye(size) if mode == "asynchronous" else np.ones((1, size))
    if not _rounds(runtime, ((32767 * units).astype(np.int16),), limit, step):
        raise InputError(
            f"the state still moves after {limit} rounds of {mode} recall; recall asynchronously, "
            "which always ends, or allow more rounds"
        )
    return np.sign(runtime.state[state.name]).astype(np.int8)


def _rounds(runtime: StepRuntime, x: tuple[Int16Array, ...], limit: int, step: Step | None) -> int:
    """Rounds until one changed nothing; 0 if none of `limit` did."""
    for count in range(1, limit + 1):
        before = runtime.state
        if step is None:
            runtime.run_int(*x)
        else:
            runtime.state = _stepped(runtime, x, step)
        if all(np.array_equal(v, before[name]) for name, v in runtime.state.items()):
            return count
    return 0


def _stepped(runtime: StepRuntime, x: tuple[Int16Array, ...], step: Step) -> dict[str, Int16Array]:
    states: Values = runtime.state
    for row in zip(*x, strict=True):
        inputs = {
            n: np.ascontiguousarray(v) for n, v in zip(runtime.program.inputs, row, strict=True)
        }
        _, states = step(inputs, states)
    return dict(states)
