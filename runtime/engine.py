"""StepRuntime: stream a program, one step or a whole window at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.checks import CheckedStep, described, fits
from edgernn.runtime.errors import InputError
from edgernn.runtime.file import load_program
from edgernn.runtime.numpy_engine import NumpyEngine
from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.tokens import refuse_unknown_ids, token_limits

Int16Array = NDArray[np.int16]
ENGINES: Final = ("numpy", "native", "auto")


Step = Callable[..., Any]
"""(*x, out=None), as `StepRuntime.step_int`."""


class Engine(Protocol):
    """What executes a program's steps for a StepRuntime, which checks the arrays first.

    states: name -> (size,) memory of the state, of any dtype that holds int16.
    """

    @property
    def name(self) -> str:
        """One of ENGINES."""

    @property
    def states(self) -> Mapping[str, NDArray[Any]]:
        """See above."""

    def step_function(self, checked: Step) -> Step:
        """`step_int` in the shortest way, for plain arrays of the right size.

        Everything else is left to `checked`, which takes the same arguments.
        """

    def window(self, x: Sequence[Int16Array]) -> tuple[Int16Array, ...]:
        """(T, F) per input -> (T, O) per output; the state moves on."""

    def batch(self, x: Sequence[Int16Array]) -> tuple[Int16Array, ...]:
        """(N, T, F) per input -> (N, T, O) per output, each stream from the initial state."""

    def recipe(self) -> tuple[Callable[..., Engine], tuple[Any, ...]]:
        """What makes another such engine: a function of the program, and its further arguments."""


class StepRuntime:
    """Runs a quantized recurrent network; it remembers its state between calls.

    Shapes below are for a program with one input of F features and one output of O; with several,
    pass one array per input in order and receive a tuple of outputs. One thread at a time may use
    a runtime; several runtimes are independent of each other.

    engine: what executes the steps; `load` chooses it by name. By default NumPy does.
    """

    def __init__(self, program: Program, engine: Engine | None = None) -> None:
        self.program = program
        self._inputs = [program.tensors[name] for name in program.inputs]
        self._outputs = [program.tensors[name] for name in program.outputs.values()]
        ids = token_limits(program)
        self._ids = [ids.get(name) for name in program.inputs]
        self._in_scales = [np.float32(float(t.scale)) for t in self._inputs]
        self._out_scales = [np.float32(float(t.scale)) for t in self._outputs]
        self._engine: Engine = NumpyEngine(program) if engine is None else engine
        self._step = self._engine.step_function(CheckedStep(program, self._engine))
        if type(self).step_int is StepRuntime.step_int:
            # The same without a call in between, which costs a tenth of a microsecond.
            self.__dict__["step_int"] = self._step
        self.reset()

    @classmethod
    def load(cls, path: str | os.PathLike[str], engine: str = "numpy") -> StepRuntime:
        """Read a `.safetensors` program. FileFormatError if the file is not sound.

        engine: "numpy"; "native", the library that `edgernn build` has put beside the file, several
        times as fast; "auto", native if there is a library for this machine, else numpy. The bits
        are the same. Loading a library runs the code in it: ask for one only from a folder that you
        trust as you trust a program. FileFormatError, with "auto" too, if the library is damaged,
        was built from another program or for another processor.
        """
        if engine not in ENGINES:
            raise InputError(f"engine {engine!r} is none of {', '.join(ENGINES)}")
        program = load_program(path)
        if engine == "numpy":
            return cls(program)
        # Here because it brings ctypes.
        from edgernn.runtime.library import library_path
        from edgernn.runtime.native import NativeEngine

        library = library_path(path)
        if engine == "auto" and not library.exists():
            return cls(program)
        return cls(program, NativeEngine(program, library))

    @property
    def engine(self) -> str:
        """What executes the steps: "numpy" or "native"."""
        return self._engine.name

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew: a copy of the engine would share memory with it, or with nothing.
        return _restored, (type(self), self.program, *self._engine.recipe(), self.state)

    def step(self, *x: Any) -> Any:
        """One time step on floats: (F,) -> (O,) float32.

        Token ids, read by an embedding, are whole numbers. InputError for NaN, infinity, a wrong
        size, or an id that its table does not have; the state is then as it was.
        """
        return self._dequantized(self.step_int(*self._quantized(x)))

    def step_int(self, *x: Int16Array, out: Int16Array | None = None) -> Any:
        """One time step on the raw bits: (F,) int16 -> (O,) int16.

        A token id beyond its table counts as the nearest one, as on every engine.
        out: (O,) int16 to write the only output to; then nothing is allocated. InputError for
        anything that does not fit, before the state changes.
        """
        return self._step(*x, out=out)

    def run(self, *x: Any) -> Any:
        """A window: (T, F) -> (T, O) float32, the same bits as T steps, state carried on.

        A batch (N, T, F) -> (N, T, O) runs N streams, each from the initial state, and leaves the
        runtime's own state as it is.
        """
        return self._dequantized(self.run_int(*self._quantized(x)))

    def run_int(self, *x: Int16Array) -> Any:
        """`run` on the raw bits: (T, F) or (N, T, F) int16 -> int16 of the same leading shape."""
        lead = np.shape(x[0])[:-1] if x and isinstance(x[0], np.ndarray) else ()
        if len(lead) not in (1, 2) or not fits(x, self._inputs, lead):
            wanted = ", ".join(f"(T, {t.size}) or (N, T, {t.size})" for t in self._inputs)
            raise InputError(f"run_int takes int16 {wanted}, not {described(x)}")
        results = self._engine.window(x) if len(lead) == 1 else self._engine.batch(x)
        return results if len(results) > 1 else results[0]

    def reset(self) -> None:
        """Back to the initial state."""
        for state in self.program.states:
            self._engine.states[state.name][...] = state.initial

    @property
    def state(self) -> dict[str, Int16Array]:
        """A copy of the state, name -> (H,) int16; assign one to restore it, or to move it to
        another engine."""
        return {name: v.astype(np.int16) for name, v in self._engine.states.items()}

    @state.setter
    def state(self, values: Mapping[str, Int16Array]) -> None:
        states = self._engine.states
        if not isinstance(values, Mapping) or set(values) != set(states):
            got = sorted(values) if isinstance(values, Mapping) else type(values).__name__
            raise InputError(f"this program's states are {sorted(states)}, not {got}")
        for name, value in values.items():
            array = np.asarray(value)
            if array.dtype != np.int16 or array.shape != states[name].shape:
                raise InputError(
                    f"state {name} is int16{states[name].shape}, not {array.dtype}{array.shape}"
                )
        for name, value in values.items():
            states[name][...] = value

    # -- inside ---------------------------------------------------------------------------------

    def _quantized(self, x: tuple[Any, ...]) -> list[Int16Array]:
        if len(x) != len(self._inputs):
            count = len(self._inputs)
            raise InputError(f"this program has {count} inputs, and {len(x)} were given")
        each = zip(x, self._inputs, self._in_scales, self._ids, strict=True)
        return [quantize(*four) for four in each]

    def _dequantized(self, y: Any) -> Any:
        if len(self._out_scales) == 1:
            return y * self._out_scales[0]
        return tuple(v * s for v, s in zip(y, self._out_scales, strict=True))


def _restored(
    kind: type[StepRuntime],
    program: Program,
    make: Callable[..., Engine],
    arguments: tuple[Any, ...],
    state: Mapping[str, Int16Array],
) -> StepRuntime:
    runtime = kind(program, make(program, *arguments))
    runtime.state = state
    return runtime


def quantize(
    value: Any,
    tensor: Tensor,
    scale: np.float32 | None = None,
    ids: NDArray[np.int64] | None = None,
) -> Int16Array:
    """Numbers (..., F) to int16 at a tensor's scale: ties away from zero, out of range saturates.

    The float32 rule of TensorFlow Lite's QUANTIZE. InputError for NaN, infinity, a wrong size, or
    what is no array of real numbers. ids: of the tensor, from `tokens.token_limits`; given, a
    number that should be a token id and is none is refused as well.
    """
    try:
        given = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        # RuntimeError: a torch tensor that requires grad.
        raise InputError(
            f"{tensor.name} is not an array of real numbers; of a torch tensor pass "
            "x.detach().numpy()"
        ) from None
    if given.dtype.kind not in "fiub":
        raise InputError(f"{tensor.name} is not an array of real numbers, but {given.dtype}")
    if given.shape[-1:] != (tensor.size,):
        raise InputError(f"{tensor.name} has {tensor.size} features, not shape {given.shape}")
    if not np.isfinite(given).all():
        raise InputError(f"{tensor.name} holds NaN or infinity; clean the input before the step")
    if ids is not None:
        refuse_unknown_ids(tensor.name, given, ids)
    if scale is None:
        scale = np.float32(float(tensor.scale))
    # What leaves float32 on the way is out of range as well, and saturates.
    with np.errstate(over="ignore"):
        ratio = (given.astype(np.float32, copy=False) / scale).astype(np.float64)
    rounded = np.trunc(ratio + np.copysign(0.5, ratio))
    return np.clip(rounded, -32768, 32767).astype(np.int16)
