"""What a cell is: its arrays, its states, one float step, and how it becomes integer operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgernn.cells.sizes import NAMES, evaluate, solve
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder
from edgernn.ranges import Ranges

Arrays = Mapping[str, FloatArray]
Note = Callable[[str, FloatArray], None]
Step = Callable[[Node, Sequence[FloatArray], Sequence[FloatArray], Note], Sequence[FloatArray]]
Lower = Callable[[Builder, Node, tuple[str, ...], Ranges], tuple[str, ...]]


def unprepared(node: Node, x: Sequence[FloatArray]) -> Sequence[FloatArray]:
    """The inputs as they are."""
    return x


@dataclass(frozen=True)
class Cell:
    """A recurrent cell, whole: the float reference, the calibration and the lowering read this.

    kind: its name in a graph and in the exported PyTorch program.
    shapes: the shape of each of its weights by name, in the order in which the PyTorch operator
    passes them, as products of sizes with a name: ("3*hidden", "input"); `edgernn.cells.sizes`.
    outputs: what a step gives, the cell's output first; the value of node.outputs, one by one.
    states: which of the outputs are carried to the next step, in the order of the step's states;
    a single letter each where it has a usual one (h, c).
    step: (node, inputs [(N, F)], states [(N, S)], note) -> outputs [(N, S)], float32. It calls
    note(name, value (N, K)) for what the lowering asks the range of: `<node>.<name>`.
    prepare: (node, inputs [(N, T, F)]) -> [(N, T, K)], what can be computed for all steps at once;
    the step then reads these in place of the inputs.
    lower: appends one integer step; (builder, node, input tensors, ranges) -> output tensors.
    numbers: what else it needs, such as eps, in the order of the PyTorch operator.
    products: noted values that a matrix product reads; calibration then keeps their covariance.
    counted: noted values that say how far inputs reach, in their order, where not every element
    of an input counts.
    sizes: of each output, such as "hidden". reads: of each input.
    """

    kind: str
    shapes: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    states: tuple[str, ...]
    step: Step
    lower: Lower
    prepare: Callable[[Node, Sequence[FloatArray]], Sequence[FloatArray]] = unprepared
    products: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ("hidden",)
    reads: tuple[str, ...] = ("input",)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of its weights, in order."""
        return tuple(self.shapes)

    def shapes_at(self, values: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Array name -> shape, for sizes by name."""
        return {
            name: tuple(evaluate(size, values) for size in shape)
            for name, shape in self.shapes.items()
        }

    def sizes_of(self, node: Node, features: Sequence[int]) -> dict[str, int]:
        """The sizes by name that a node has; features: sizes of its inputs. ValueError if arrays,
        states and inputs do not fit each other."""
        known = list(zip(self.reads, features, strict=True))
        known += [
            (size, length)
            for name, shape in self.shapes.items()
            for size, length in zip(shape, node.arrays[name].shape, strict=True)
        ]
        of_output = dict(zip(self.outputs, self.sizes, strict=True))
        known += [
            (of_output[name], len(state.initial))
            for name, state in zip(self.states, node.carried, strict=True)
        ]
        numbers = {k: int(v) for k, v in node.numbers.items() if k in NAMES}
        return solve(known, numbers)


def sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), without overflow for any x."""
    result: FloatArray = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
    return result


def product(x: FloatArray, weight: FloatArray, bias: FloatArray | None = None) -> FloatArray:
    """x (..., K) times weight (O, K) transposed, plus bias (O,)."""
    if not isinstance(x, np.ndarray):
        # Traced (`edgernn.onnx_trace`): its leading axes stay, the result is the same.
        traced: FloatArray = x @ weight.T
        return traced if bias is None else traced + bias
    flat = np.ascontiguousarray(x).reshape(-1, x.shape[-1]) @ weight.T
    if bias is not None:
        flat += bias
    result: FloatArray = flat.reshape(*x.shape[:-1], len(weight))
    return result


def rows(table: FloatArray, ids: FloatArray) -> FloatArray:
    """Rows (..., D) of a table (V, D) by ids (..., 1), whole numbers, clamped to 0 .. V - 1."""
    indices = np.clip(ids, 0, len(table) - 1).astype(np.int64)[..., 0]
    # An array cannot be indexed with what is traced (`edgernn.onnx_trace`).
    result: FloatArray = table[indices] if isinstance(ids, np.ndarray) else indices.rows_of(table)
    return result


def input_product(node: Node, x: Sequence[FloatArray]) -> Sequence[FloatArray]:
    """W x + b for all steps at once, with weight_ih and bias_ih."""
    return [product(x[0], node.arrays["weight_ih"], node.arrays["bias_ih"])]
