"""A .tflite file in an interpreter: set_tensor, invoke, get_tensor, and nothing else.

Needs NumPy and the interpreter alone: it also runs in environments without edgernn.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgernn.bench.engines.base import Job, items


@contextmanager
def _quiet() -> Iterator[None]:
    """An interpreter announces its delegate on the process's stderr, past Python."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def load(job: Job, interpreter: Any, version: str) -> TFLiteSteps | TFLiteWindows:
    """interpreter: the class. version: of its package."""
    with _quiet():
        opened = interpreter(model_path=job.path("model.tflite"), num_threads=1)
        opened.allocate_tensors()
    make = TFLiteSteps if job.window is None else TFLiteWindows
    return make(job, opened, version)


class TFLiteSteps:
    """See `base.Engine`."""

    def __init__(self, job: Job, interpreter: Any, version: str) -> None:
        self.version, self.notes = version, list[str]()
        self._ins, outs = _details(interpreter, "step")
        inputs = [self._ins[name]["index"] for name in job.inputs]
        fetch = [outs[name]["index"] for name in job.outputs]
        states = [self._ins[f"state_{name}"]["index"] for name in job.states]
        following = [outs[f"state_{name}_next"]["index"] for name in job.states]
        self._scales = [
            None if outs[name]["dtype"].__name__ == "int16" else scale
            for name, scale in zip(job.outputs, _scales(job), strict=True)
        ]
        if any(scale is not None for scale in self._scales):
            self.notes.append("float edges: inputs and outputs are float32")
        self._states = states
        # Names of this function: an attribute of self would cost its look-up in every step.
        set_tensor, get_tensor = interpreter.set_tensor, interpreter.get_tensor
        invoke = interpreter.invoke
        self._set, moves = set_tensor, list(zip(states, following, strict=True))

        def step(*x: Any) -> list[Any]:
            for index, value in zip(inputs, x, strict=True):
                set_tensor(index, value)
            invoke()
            results = [get_tensor(index) for index in fetch]
            for state, new in moves:
                set_tensor(state, get_tensor(new))
            return results

        self.step = step
        self._initial = [job.initial("int")[name][None] for name in job.states]
        self.reset()

    def reset(self) -> None:
        """Back to the initial state."""
        for index, value in zip(self._states, self._initial, strict=True):
            self._set(index, value)

    def items(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """Arrays (1, F), int16, or float32 where the file's edges are."""
        kinds = {n: "int" if self._ins[n]["dtype"].__name__ == "int16" else "float"
                 for n in job.inputs}  # fmt: skip
        return items({n: job.stream(kind)[n][:, None] for n, kind in kinds.items()}, job.inputs)

    def outputs(self, result: Any) -> list[Any]:
        """int16 arrays, of float edges too."""
        return [
            value[0] if scale is None else (value[0].astype("float64") / scale).astype("int16")
            for value, scale in zip(result, self._scales, strict=True)
        ]


class TFLiteWindows:
    """See `base.Engine`."""

    def __init__(self, job: Job, interpreter: Any, version: str) -> None:
        self.version, self.notes = version, list[str]()
        ins, outs = _details(interpreter, "window")
        inputs = [ins[name]["index"] for name in job.inputs]
        fetch = [outs[name]["index"] for name in job.outputs]
        for name, index in zip(job.inputs, inputs, strict=True):
            shape = [int(n) for n in ins[name]["shape"]]
            interpreter.resize_tensor_input(index, [1, job.window, shape[-1]])
        interpreter.allocate_tensors()

        def step(*x: Any) -> list[Any]:
            for index, value in zip(inputs, x, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in fetch]

        self.step = step

    def reset(self) -> None:
        """A window has no state."""

    def items(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """int16 arrays (1, T, F)."""
        return items({n: v[:, None] for n, v in job.stream("int").items()}, job.inputs)

    def outputs(self, result: Any) -> list[Any]:
        """Without the batch."""
        return [value[0] for value in result]


def _details(interpreter: Any, signature: str) -> tuple[Any, Any]:
    # A runner that lives on holds the interpreter's memory, which invoke() does not tolerate.
    runner = interpreter.get_signature_runner(signature)
    return runner.get_input_details(), runner.get_output_details()


def _scales(job: Job) -> list[Any]:
    scales = job.stream("scale")
    return [float(scales[name]) for name in job.outputs]
