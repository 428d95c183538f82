"""Models to hold against budgets, with their float networks, made without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgernn
from edgernn.budget import Subject
from edgernn.graph import Graph, Output
from edgernn.quantization import Quantized, QuantizedWindow, quantize_graph
from edgernn.targets import Device, device
from tests.programs import random_graph
from tests.windows import random_window_graph

CORES = ("cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imc")


def core(name: str = "cortex-m4") -> Device:
    """A bare core: no flash, RAM or clock of its own."""
    return device(name)


def stack(
    cells: Sequence[str], hidden: Sequence[int], features: int = 5, seed: int = 0, head: int = 4
) -> Graph:
    """Recurrent layers on each other and a Linear, whose last step is the output."""
    graph = random_graph(cells, hidden, features, seed, head)
    outputs = tuple(Output(o.name, o.value, last=True) for o in graph.outputs)
    return Graph(graph.sizes, graph.inputs, outputs, graph.nodes)


def noise(graph: Graph, count: int = 6, steps: int = 9, seed: int = 0) -> list[dict[str, Any]]:
    """Sequences for a graph."""
    rng = np.random.default_rng(seed)
    return [
        {
            name: np.ones((steps, 1), np.float32)
            if name in graph.masks
            else rng.standard_normal((steps, graph.sizes[name])).astype(np.float32)
            for name in graph.inputs
        }
        for _ in range(count)
    ]


def quantized(graph: Graph, seed: int = 0) -> Quantized | QuantizedWindow:
    """The graph, calibrated on noise."""
    sequences = noise(graph, seed=seed)
    data = {name: [s[name] for s in sequences] for name in graph.inputs}
    return quantize_graph(graph, data, rounding="nearest")


def subject(graph: Graph) -> Subject:
    """The graph as a subject, without a folder."""
    program = quantized(graph)
    steps = program.metadata["window"] if isinstance(program, QuantizedWindow) else 1
    return Subject("model", program, program.float_model, "", steps, program.sample)


def folder(path: Path, graph: Graph) -> Path:
    """The graph as an exported folder."""
    edgernn.export(quantized(graph), path, formats=("numpy",), verify_steps=5)
    return path


def window_graph(seed: int) -> Graph:
    """A random graph with bidirectional layers."""
    return random_window_graph(seed, 8)
