"""StepRuntime: stream a program through NumPy, one step or a whole window at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.file import load_program
from edgernn.runtime.plan import Plan
from edgernn.runtime.program import Program, Tensor

Int16Array = NDArray[np.int16]
_INT16 = np.dtype(np.int16)
_empty, _array = np.empty, np.ndarray
_BATCH = 64
"""Streams that one batched plan carries; more are taken in turns, so memory stays bounded."""
_BATCH_ELEMENTS = 1 << 24
"""Elements of its tensors; fewer streams at a time for a program of huge ones."""


class StepRuntime:
    """Runs a quantized recurrent network; it remembers its state between calls.

    Shapes below are for a program with one input of F features and one output of O; with several,
    pass one array per input in order and receive a tuple of outputs.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._inputs = [program.tensors[name] for name in program.inputs]
        self._outputs = [program.tensors[name] for name in program.outputs.values()]
        self._in_scales = [np.float32(float(t.scale)) for t in self._inputs]
        self._out_scales = [np.float32(float(t.scale)) for t in self._outputs]
        self._plan = Plan(program)
        self._calls = tuple(self._plan.calls)
        self._in = list(self._plan.inputs.values())
        self._out = list(self._plan.outputs.values())
        self._first, self._single = self._in[0], len(self._in) == len(self._out) == 1
        self._shape = (self._inputs[0].size,)
        self._result = self._out[0]
        self._out_shape = self._result.shape
        self.reset()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StepRuntime:
        """Read a `.safetensors` program. FileFormatError if the file is not sound."""
        return cls(load_program(path))

    def __reduce__(self) -> tuple[Any, ...]:
        # Compiled anew: copies of the calls would no longer share memory with the buffers.
        return _restored, (type(self), self.program, self.state)

    def step(self, *x: Any) -> Any:
        """One time step on floats: (F,) -> (O,) float32.

        InputError for NaN, infinity or a wrong size; the state is then as it was.
        """
        return self._dequantized(self.step_int(*self._quantized(x)))

    def step_int(self, *x: Int16Array, out: Int16Array | None = None) -> Any:
        """One time step on the raw bits: (F,) int16 -> (O,) int16.

        out: (O,) int16 to write the only output to; then nothing is allocated. InputError for
        anything that does not fit, before the state changes.
        """
        if self._single:
            value = x[0] if len(x) == 1 else None
            if type(value) is not _array or value.dtype is not _INT16 or value.shape != self._shape:
                self._refuse(x)
            if out is not None and (
                type(out) is not _array
                or out.dtype is not _INT16
                or out.shape != self._out_shape
                or not out.flags.writeable
            ):
                self._refuse_out(out)
            self._first[...] = value
            for call in self._calls:
                call()
            if out is None:
                out = _empty(self._out_shape, _INT16)
            out[...] = self._result
            return out
        self._refuse(x)
        if out is not None and len(self._out) > 1:
            raise InputError(f"out= takes one output, and this program has {len(self._out)}")
        if out is not None:
            self._refuse_out(out)
        for target, value in zip(self._in, x, strict=True):
            target[...] = value
        for call in self._calls:
            call()
        if out is not None:
            out[...] = self._result
            return out
        results = tuple(v.astype(np.int16) for v in self._out)
        return results if len(results) > 1 else results[0]

    def run(self, *x: Any) -> Any:
        """A window: (T, F) -> (T, O) float32, the same bits as T steps, state carried on.

        A batch (N, T, F) -> (N, T, O) runs N streams, each from the initial state, and leaves the
        runtime's own state as it is.
        """
        return self._dequantized(self.run_int(*self._quantized(x)))

    def run_int(self, *x: Int16Array) -> Any:
        """`run` on the raw bits: (T, F) or (N, T, F) int16 -> int16 of the same leading shape."""
        lead = np.shape(x[0])[:-1] if x and isinstance(x[0], np.ndarray) else ()
        if len(lead) not in (1, 2) or not self._fits(x, lead):
            wanted = ", ".join(f"(T, {t.size}) or (N, T, {t.size})" for t in self._inputs)
            raise InputError(f"run_int takes int16 {wanted}, not {_described(x)}")
        results = self._window(x) if len(lead) == 1 else self._batch(x)
        return results if len(results) > 1 else results[0]

    def reset(self) -> None:
        """Back to the initial state."""
        for state in self.program.states:
            self._plan.states[state.name][...] = state.initial

    @property
    def state(self) -> dict[str, Int16Array]:
        """A copy of the state, name -> (H,) int16; assign one to restore it, or to move it to
        another engine."""
        return {name: v.astype(np.int16) for name, v in self._plan.states.items()}

    @state.setter
    def state(self, values: Mapping[str, Int16Array]) -> None:
        states = self._plan.states
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
        return [quantize(*three) for three in zip(x, self._inputs, self._in_scales, strict=True)]

    def _dequantized(self, y: Any) -> Any:
        if len(self._out) == 1:
            return y * self._out_scales[0]
        return tuple(v * s for v, s in zip(y, self._out_scales, strict=True))

    def _refuse(self, x: tuple[Any, ...]) -> None:
        if not self._fits(x, ()):
            wanted = ", ".join(f"int16({t.size},)" for t in self._inputs)
            raise InputError(f"step_int takes {wanted}, not {_described(x)}")

    def _refuse_out(self, out: Any) -> None:
        shape = self._out_shape
        if not (isinstance(out, np.ndarray) and out.dtype == np.int16 and out.shape == shape):
            raise InputError(f"out= is to be int16{shape}, not {_described((out,))}")
        if not out.flags.writeable:
            raise InputError("out= is to be written to, and it is read-only")

    def _fits(self, x: tuple[Any, ...], lead: tuple[int, ...]) -> bool:
        return len(x) == len(self._inputs) and all(
            isinstance(v, np.ndarray) and v.dtype == np.int16 and v.shape == (*lead, t.size)
            for v, t in zip(x, self._inputs, strict=True)
        )

    def _window(self, x: tuple[Int16Array, ...]) -> tuple[Int16Array, ...]:
        length = len(x[0])
        results = tuple(np.empty((length, t.size), np.int16) for t in self._outputs)
        calls = self._calls
        for t in range(length):
            for target, value in zip(self._in, x, strict=True):
                target[...] = value[t]
            for call in calls:
                call()
            for result, source in zip(results, self._out, strict=True):
                result[t] = source
        return results

    def _batch(self, x: tuple[Int16Array, ...]) -> tuple[Int16Array, ...]:
        streams, length = x[0].shape[:2]
        results = tuple(np.empty((streams, length, t.size), np.int16) for t in self._outputs)
        plan: Plan | None = None
        elements = sum(t.size for t in self.program.tensors.values())
        most = max(1, min(_BATCH, _BATCH_ELEMENTS // elements))
        for begin in range(0, streams, most):
            part = slice(begin, min(begin + most, streams))
            width = part.stop - part.start
            if plan is None or plan.batch != width:
                plan = Plan(self.program, width)
            for state in self.program.states:
                plan.states[state.name][...] = state.initial[:, None]
            for t in range(length):
                for target, value in zip(plan.inputs.values(), x, strict=True):
                    target[...] = value[part, t].T
                for call in plan.calls:
                    call()
                for result, source in zip(results, plan.outputs.values(), strict=True):
                    result[part, t] = source.T
        return results


def _described(x: tuple[Any, ...]) -> str:
    shown = (
        f"{v.dtype}{v.shape}" if isinstance(v, np.ndarray) else f"a {type(v).__name__}" for v in x
    )
    return ", ".join(shown) or "nothing"


def _restored(
    kind: type[StepRuntime], program: Program, state: Mapping[str, Int16Array]
) -> StepRuntime:
    runtime = kind(program)
    runtime.state = state
    return runtime


def quantize(value: Any, tensor: Tensor, scale: np.float32 | None = None) -> Int16Array:
    """Numbers (..., F) to int16 at a tensor's scale: ties away from zero, out of range saturates.

    The float32 rule of TensorFlow Lite's QUANTIZE. InputError for NaN, infinity, a wrong size, or
    what is no array of real numbers.
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
    if scale is None:
        scale = np.float32(float(tensor.scale))
    # What leaves float32 on the way is out of range as well, and saturates.
    with np.errstate(over="ignore"):
        ratio = (given.astype(np.float32, copy=False) / scale).astype(np.float64)
    rounded = np.trunc(ratio + np.copysign(0.5, ratio))
    return np.clip(rounded, -32768, 32767).astype(np.int16)
