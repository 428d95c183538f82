"""The same network in other sizes, to price it: weights repeated or left out, not trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.budget.axes import Layout
from edgernn.budget.layouts import Layouts
from edgernn.calibrate import calibrate
from edgernn.graph import Carried, FloatArray, Graph, Node
from edgernn.lowering.program import lower
from edgernn.lowering.window import lower_window
from edgernn.ranges import Ranges
from edgernn.rounding import Nearest
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

PROBE_STEPS: Final = 4


def resized(layouts: Layouts, sizes: Mapping[int, int]) -> Graph:
    """The graph with some axes at other sizes, axis -> size.

    Its weights are those of the graph, repeated where there are more and cut where there are
    fewer, so that they have the like magnitudes.
    """
    graph = layouts.graph
    values = {name: layouts.total(layouts.layout(name), sizes) for name in graph.sizes}
    nodes = tuple(_node(layouts, node, sizes) for node in graph.nodes)
    return replace(graph, sizes=values, nodes=nodes)


def _node(layouts: Layouts, node: Node, sizes: Mapping[int, int]) -> Node:
    arrays = {}
    for name, array in node.arrays.items():
        picks = [_pick(layouts, layout, sizes) for layout in layouts.shape(node, name)]
        arrays[name] = np.ascontiguousarray(array[np.ix_(*picks)])
    carried = tuple(
        Carried(s.name, s.value, s.initial[_pick(layouts, layouts.layout(s.value), sizes)])
        for s in node.carried
    )
    return replace(
        node,
        arrays=arrays,
        carried=carried,
        begin=layouts.begin(node, sizes),
        numbers=layouts.numbers(node, sizes),
    )


def _pick(layouts: Layouts, layout: Layout, sizes: Mapping[int, int]) -> NDArray[np.int64]:
    """For each new feature the old one that it is made like."""
    parts, begin = [], 0
    for axis in layout:
        old = layouts.size(axis)
        parts.append(begin + np.arange(sizes.get(axis, old)) % old)
        begin += old
    return np.concatenate(parts)


def lowered(graph: Graph, amplitudes: Mapping[str, float]) -> Program | Window:
    """The integer program of a graph; amplitudes: those that calibration found, by value.

    Rounded to nearest: the quickest, and it costs the same bytes and instructions.
    UnsupportedError if a number does not fit.
    """
    probed = calibrate(graph, [_probe(graph, amplitudes)])
    ranges = Ranges({**probed.amplitudes, **amplitudes}, probed.second)
    metadata: dict[str, Any] = {"last": [o.name for o in graph.outputs if o.last]}
    make = lower_window if graph.is_window else lower
    return make(graph, ranges, Nearest(), metadata)


def _probe(graph: Graph, amplitudes: Mapping[str, float]) -> dict[str, FloatArray]:
    """A short sequence of noise, of the inputs' own amplitude."""
    rng, tokens, result = np.random.default_rng(0), graph.tokens, {}
    for name in graph.inputs:
        shape = (PROBE_STEPS, graph.sizes[name])
        if name in graph.masks:
            values = np.ones(shape)
        elif name in tokens:
            values = rng.integers(0, np.maximum(tokens[name], 1), shape).astype(np.float64)
        else:
            values = rng.uniform(-1.0, 1.0, shape) * amplitudes.get(name, 1.0)
        result[name] = values.astype(np.float32)
    return result
