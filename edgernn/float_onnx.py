"""The float reference as ONNX: the network before it is quantized, in standard operators.

GRU, LSTM and RNN are ONNX's own; every other cell is a Scan of its float step, every layer the
nodes of its float function, both traced. Batch N and time T are dynamic. Internally time comes
first; what is read at one step only is computed there only.
"""

from __future__ import annotations

from typing import Any, Final, cast

import numpy as np

from edgernn.cells import CELLS
from edgernn.exporters.onnx_graph import OnnxGraph, refuse_repeated
from edgernn.graph import FloatArray, Graph, Node
from edgernn.layers import LAYERS_FLOAT
from edgernn.onnx_axes import BATCH, TIME, Shape
from edgernn.onnx_cells import is_standard, scanned, standard
from edgernn.onnx_trace import Traced, tracing
from edgernn.runtime.errors import UnsupportedError

EVERY: Final = "every"
PICKS: Final = ("last", "first")


def float_onnx(graph: Graph) -> bytes:
    """The float network over sequences, in ONNX's standard operators.

    Inputs x (N, T, F) float32, or (T, N, F) without batch_first, by the graph's own names; masks
    and token ids too, (N, T, 1). Outputs by name, (N, O) for one step, else in the layout of the
    inputs. A causal graph has state_<name> (N, H) float32 as inputs and state_<name>_next (N, H)
    as outputs; a window starts from its initial states and returns none. T is 1 where an output
    is fed back.
    Errors: UnsupportedError for names that collide, for an unknown kind of node, for a cell or a
    layer that calls what cannot be traced; MissingExtraError without the package onnx.
    """
    return _Writer(graph).write()


class _Writer:
    """Values by name and moment: every step (T, N, F), the last or the first one (N, F).

    What a window has once, behind a pick, is (N, F) whatever the moment.
    """

    def __init__(self, graph: Graph) -> None:
        self._source = graph
        self._graph = OnnxGraph(_public_names(graph))
        self._producers = {name: node for node in graph.nodes for name in node.outputs}
        self._once = _once(graph)
        self._needed = _needed(graph)
        self._values: dict[tuple[str, str], str] = {}

    def write(self) -> bytes:
        g, source = self._graph, self._source
        for name in source.inputs:
            value = g.input(name, np.float32, self._shape(source.sizes[name]))
            self._values[name, EVERY] = self._swapped(value) if source.batch_first else value
        if not source.is_window:
            for state in source.states:
                g.input(f"state_{state.name}", np.float32, ("N", len(state.initial)))
        for f in source.feedback:
            # One step at a time, see `_shape`.
            axis, zero = g.constant(np.array([0], np.int64)), g.scalar(0, np.float32)
            none = g.node("Equal", [self._values[f.given, EVERY], zero])
            last = g.node("Unsqueeze", [f"state_{f.state}", axis])
            chosen = g.node("Where", [none, last, self._values[f.input, EVERY]])
            self._values[f.input, EVERY] = chosen
        for node in source.nodes:
            # In order, so that stacks of any depth need no recursion through cells.
            if node.kind in CELLS:
                self._cell(node)
        for output in source.outputs:
            size = source.sizes[output.value]
            if output.last:
                g.output(output.name, np.float32, ("N", size))
                g.node("Identity", [self._read(output.value, "last")], output.name)
                continue
            g.output(output.name, np.float32, self._shape(size, output.value in self._once))
            value = self._read(output.value, EVERY)
            if source.batch_first:
                self._swapped(value, output.name)
            else:
                g.node("Identity", [value], output.name)
        if not source.is_window:
            for state in source.states:
                name = f"state_{state.name}_next"
                g.output(name, np.float32, ("N", len(state.initial)))
                g.node("Identity", [self._read(state.value, "last")], name)
        return g.model()

    def _shape(self, size: int, once: bool = False) -> tuple[str | int, ...]:
        # What is fed back is there after a step, so there is one at a time.
        time = 1 if once or self._source.feedback else "T"
        return ("N", time, size) if self._source.batch_first else (time, "N", size)

    def _swapped(self, value: str, output: str = "") -> str:
        return self._graph.node("Transpose", [value], output, perm=[1, 0, 2])

    def _read(self, name: str, moment: str) -> str:
        """The value at a moment, made when it is first asked for."""
        if (name, moment) not in self._values:
            self._values[name, moment] = self._made(name, moment)
        return self._values[name, moment]

    def _made(self, name: str, moment: str) -> str:
        g = self._graph
        if moment == EVERY and name in self._once:
            axis = g.constant(np.array([0], np.int64))
            return g.node("Unsqueeze", [self._read(name, "last"), axis])
        if (name, EVERY) in self._values:
            index = g.scalar(0 if moment == "first" else -1, np.int64)
            return g.node("Gather", [self._values[name, EVERY], index], axis=0)
        node = self._producers[name]
        if node.kind in PICKS:
            return self._read(node.inputs[0], node.kind)
        if node.kind not in LAYERS_FLOAT:
            raise UnsupportedError(
                f"no float ONNX form for {node.kind} ({node.name}); compare with PyTorch instead"
            )
        x = cast("list[FloatArray]", [self._traced(n, moment) for n in node.inputs])
        with tracing(f"{node.kind} ({node.name})"):
            result: Any = LAYERS_FLOAT[node.kind](self._source.sizes, node, x)
            return cast("Traced", result).astype(np.float32).name

    def _traced(self, name: str, moment: str) -> Traced:
        size = self._source.sizes[name]
        shape: Shape = (BATCH, size)
        if moment == EVERY:
            shape = (1 if name in self._once else TIME, *shape)
        return Traced(self._graph, self._read(name, moment), shape)

    def _cell(self, node: Node) -> None:
        if not self._once.isdisjoint(node.reads):
            raise UnsupportedError(
                f"{node.name} ({node.kind}) reads one step of the window at every step; "
                "give it the whole sequence"
            )
        end = "first" if node.reverse else "last"
        read = [i for i, name in enumerate(node.outputs) if self._needed.get(name, set()) - {end}]
        inputs = [self._traced(name, EVERY) for name in node.inputs]
        initial = self._initial(node, inputs[0].name)
        finals = [state.value for state in node.carried]
        if is_standard(node) and read in ([], [0]):
            y, last = standard(self._graph, node, inputs[0].name, initial)
            self._values[node.outputs[0], EVERY] = y
        else:
            # A result that is no state is there at every step or not at all.
            read = [
                i
                for i, name in enumerate(node.outputs)
                if i in read or (name in self._needed and name not in finals)
            ]
            mask = self._traced(node.mask, EVERY) if node.mask else None
            stacked, last = scanned(self._graph, node, inputs, mask, initial, read)
            for i, value in zip(read, stacked, strict=True):
                self._values[node.outputs[i], EVERY] = value
        self._values.update(((name, end), value) for name, value in zip(finals, last, strict=True))

    def _initial(self, node: Node, x: str) -> list[str]:
        """The first states (N, S): inputs of a causal graph, constants of a window."""
        if not self._source.is_window:
            return [f"state_{state.name}" for state in node.carried]
        g = self._graph
        one, two = (g.constant(np.array([n], np.int64)) for n in (1, 2))
        batch = g.node("Slice", [g.node("Shape", [x]), one, two])
        results = []
        for state in node.carried:
            size = g.constant(np.array([len(state.initial)], np.int64))
            shape = g.node("Concat", [batch, size], axis=0)
            initial = g.constant(state.initial.astype(np.float32, copy=False))
            results.append(g.node("Expand", [initial, shape]))
        return results


def _once(graph: Graph) -> frozenset[str]:
    """Values that a window has once: picks, and what is computed from nothing else."""
    once: set[str] = set()
    for node in graph.nodes:
        if node.kind in PICKS or (node.kind not in CELLS and once.issuperset(node.reads)):
            once.update(node.outputs)
    return frozenset(once)


def _needed(graph: Graph) -> dict[str, set[str]]:
    """The moments at which each value is read by an output, a state or another node."""
    needed: dict[str, set[str]] = {}

    def need(name: str, moments: set[str]) -> None:
        needed.setdefault(name, set()).update(moments)

    for output in graph.outputs:
        need(output.value, {"last" if output.last else EVERY})
    for state in () if graph.is_window else graph.states:
        need(state.value, {"last"})
    for node in reversed(graph.nodes):
        if node.kind in CELLS:
            moments = {EVERY}
        else:
            moments = needed.get(node.name, set())
            if node.kind in PICKS and moments:
                moments = {node.kind}
        for name in node.reads:
            need(name, moments)
    return needed


def _public_names(graph: Graph) -> list[str]:
    names = [*graph.inputs, *(output.name for output in graph.outputs)]
    for state in () if graph.is_window else graph.states:
        names += [f"state_{state.name}", f"state_{state.name}_next"]
    refuse_repeated(names, "model")
    return names
