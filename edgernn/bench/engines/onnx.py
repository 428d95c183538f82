"""The integer program in ONNX Runtime: one step, or a window, of one stream."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Final

from edgernn.bench.engines.base import Job, items

PACKAGES: Final = ("numpy", "onnxruntime")
"""What a program imports to use it."""
NEEDS: Final = "install it with: pip install 'edgernn[onnx]'"
_SILENT = 4


def session(path: str) -> Any:
    """One thread, no messages."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SILENT
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class OnnxSteps:
    """See `base.Engine`. floats: the float reference, with axes for batch and time."""

    def __init__(self, job: Job, *, floats: bool = False) -> None:
        onnxruntime = importlib.import_module("onnxruntime")
        self._job, self._floats = job, floats
        self._session = session(job.path("model.float.onnx" if floats else "model.onnx"))
        self.version, self.notes = f"onnxruntime {onnxruntime.__version__}", list[str]()
        edges = self._session.get_inputs()
        self._edges = {n.name: n.type for n in edges}
        if not floats and "tensor(float)" in self._edges.values():
            self.notes.append("float edges: inputs and outputs are float32")
        carried = [name for name in self._edges if name.startswith("state_")]
        initial = job.initial("float" if floats else "int") if carried else {}
        self._initial = {name: initial[name.removeprefix("state_")][None] for name in carried}
        self._state = dict(self._initial)
        run, names = self._session.run, [*job.outputs, *(f"{n}_next" for n in self._initial)]
        inputs, count, state = job.inputs, len(job.outputs), list(self._initial)

        def step(*x: Any) -> Any:
            results = run(names, {**dict(zip(inputs, x, strict=True)), **self._state})
            self._state = dict(zip(state, results[count:], strict=True))
            return results

        def window(*x: Any) -> Any:
            return run(names[:count], {**dict(zip(inputs, x, strict=True)), **self._initial})

        self.step = step if job.window is None else window

    def reset(self) -> None:
        """Back to the initial state."""
        self._state = dict(self._initial)

    def items(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """Arrays with the axes that the model has."""
        arrays = {}
        for name in job.inputs:
            kind = "float" if self._edges[name] == "tensor(float)" else "int"
            array = job.stream(kind)[name]
            if job.window is None:
                array = array[:, None, None] if self._floats else array[:, None]
            else:
                # The integer program has time first; the float reference what the model had.
                array = array[:, None] if self._floats and job.batch_first else array[:, :, None]
            arrays[name] = array
        return items(arrays, job.inputs)

    def outputs(self, result: Any) -> list[Any]:
        """Without axes of one; int16 of float edges too."""
        job, found = self._job, []
        for name, value in zip(job.outputs, result, strict=False):
            size = value.shape[-1]
            every = job.window is not None and name not in job.last
            array = value.reshape((-1, size) if every else (size,))
            if not self._floats and array.dtype != "int16":
                array = (array.astype("float64") / float(job.stream("scale")[name])).astype("int16")
            found.append(array)
        return found


load = OnnxSteps
