"""A window program as an integer ONNX model: whole windows in, whole windows or picks out.

Every stage that carries a state is a Scan, from the last step to the first if it runs backwards;
one without is plain nodes, over all steps at once. Time T and batch N are dynamic; every window of
the batch starts from the initial states, which are constants of the model.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgernn.exporters.onnx_graph import OnnxGraph, Shape, refuse_repeated
from edgernn.exporters.onnx_ops import Emitter
from edgernn.exporters.onnx_scan import scan
from edgernn.exporters.onnx_tables import Tables
from edgernn.runtime.program import Program
from edgernn.runtime.window import Source, Stage, Window, validate_window

_SEQUENCE: Shape = ("T", "N")
_ONCE: Shape = ("N",)


def to_onnx_window(window: Window) -> bytes:
    """Windows of any length T >= 1, N of them at a time.

    Inputs x (T, N, size) int16, time first; outputs y (T, N, size) int16, or (N, size) int16 for
    what there is once in a window; all by the window's own names.
    Errors: UnsupportedError for names that collide, MissingExtraError without the package onnx.
    """
    validate_window(window)
    names = [*(tensor.name for tensor in window.inputs), *window.outputs]
    refuse_repeated(names, "model")
    graph = OnnxGraph(names)
    writer = _Writer(graph, window)
    for stage in window.stages:
        writer.append(stage)
    tensors, once = window.tensors(), window.once()
    for name, source in window.outputs.items():
        each = source.at == "step" and source.value not in once
        shape = (*(_SEQUENCE if each else _ONCE), tensors[source.value].size)
        graph.output(name, np.int16, shape)
        graph.cast(writer.picked(source), np.int16, name)
    return graph.model()


class _Writer:
    """Appends stages. What they exchange is int32, (T, N, size), or (N, size) if there is one."""

    def __init__(self, graph: OnnxGraph, window: Window) -> None:
        self._graph = graph
        # Shared by the stages: a function of one scale is computed once, when the model is loaded.
        self._tables = Tables(graph)
        self._values: dict[str, str] = {}
        self._picks: dict[Source, str] = {}
        self._first_input = window.inputs[0].name
        self._column = ""
        for tensor in window.inputs:
            given = graph.input(tensor.name, np.int16, (*_SEQUENCE, tensor.size))
            self._values[tensor.name] = graph.cast(given, np.int32)

    def append(self, stage: Stage) -> None:
        """The nodes of one stage; its outputs become values."""
        program = stage.program
        inputs = {name: self.picked(source) for name, source in stage.sources.items()}
        if stage.direction == "once" or not program.states:
            self._plain(program, inputs)
            return
        tensors = list(dict.fromkeys(program.outputs.values()))
        _, results = scan(
            self._graph,
            program,
            self._tables,
            self._initial(program),
            [inputs[name] for name in program.inputs],
            tensors,
            reverse=stage.direction == "reverse",
        )
        found = dict(zip(tensors, results, strict=True))
        self._values.update((name, found[t]) for name, t in program.outputs.items())

    def picked(self, source: Source) -> str:
        """A value at every step, or at the window's first or last."""
        if source.at == "step":
            return self._values[source.value]
        if source not in self._picks:
            where = self._graph.scalar(0 if source.at == "first" else -1, np.int64)
            value = self._values[source.value]
            self._picks[source] = self._graph.node("Gather", [value, where], axis=0)
        return self._picks[source]

    def _plain(self, program: Program, inputs: Mapping[str, str]) -> None:
        """A step on any leading axes; states that a stage run once may have are never written."""
        emitter = Emitter(program, self._graph, set(program.outputs.values()), self._tables)
        emitter.values.update(inputs)
        states = [state.input for state in program.states]
        emitter.values.update(zip(states, self._initial(program), strict=True))
        emitter.run()
        self._values.update((name, emitter.value(t)) for name, t in program.outputs.items())

    def _initial(self, program: Program) -> list[str]:
        """The initial states, repeated for every window of the batch: (N, size) each."""
        graph, states = self._graph, []
        for state in program.states:
            first = graph.cast(graph.constant(state.initial), np.int32)
            states.append(graph.node("Expand", [first, self._batch()]))
        return states

    def _batch(self) -> str:
        """[N, 1], as an Expand wants it."""
        if not self._column:
            graph = self._graph
            lengths = graph.node("Shape", [self._first_input])
            where = graph.constant(np.array([1], np.int64))
            count = graph.node("Gather", [lengths, where], axis=0)
            self._column = graph.node("Concat", [count, where], axis=0)
        return self._column
