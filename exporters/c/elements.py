"""Element-wise operators as calls of the engine's lanes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgernn.exporters.c.pieces import Elementwise, Table, Vector
from edgernn.runtime.activation import input_multiplier
from edgernn.runtime.fixedpoint import quantize_multiplier
from edgernn.runtime.functions import rsqrt_gain


def call(
    operation: Elementwise,
    names: Mapping[Vector, str],
    gates: Collection[Vector] = (),
    tables: Sequence[Table] = (),
) -> str:
    """The C expression of an operator, `names` giving the variable of each operand.

    gates: vectors that are known to be in 0 .. 32767. tables: those that are called t0, t1, ...
    """
    operands = [names[v] for v in operation.inputs]
    function, constants = _FUNCTIONS[operation.kind](operation)
    if operation.kind == "mul" and not set(operation.inputs).isdisjoint(gates):
        swapped = operation.inputs[0] not in gates
        function = "mul_gate_swapped" if swapped else "mul_gate"
    if function.endswith("_swapped"):
        function, operands = function.removesuffix("_swapped"), operands[::-1]
    if operation.table is not None:
        operands.append(f"t{tables.index(operation.table)}")
    return f"edgernn_{function}({', '.join([*operands, *map(str, constants)])})"


def _plain(operation: Elementwise) -> tuple[str, list[int]]:
    return operation.kind, []


def _activation(operation: Elementwise) -> tuple[str, list[int]]:
    multiplier, shift = input_multiplier(float(operation.inputs[0].scale))
    assert multiplier == 18432
    return operation.kind, [shift]


def _rsqrt(operation: Elementwise) -> tuple[str, list[int]]:
    return operation.kind, [rsqrt_gain(operation.inputs[0].scale, operation.output.scale)]


def _rescale(operation: Elementwise) -> tuple[str, list[int]]:
    q, shift = quantize_multiplier(float(operation.inputs[0].scale) / float(operation.output.scale))
    if shift == 16:
        # 2^15 itself, for which kernels have no bit left; every number but 0 saturates here too.
        q, shift = (1 << 31) - 1, 15
    return "rescale", [q, max(shift, 0), max(-shift, 0)]


def _sum(operation: Elementwise) -> tuple[str, list[int]]:
    """Which of the sums: equal scales, twice the scale in an operand or in the result, or any."""
    kind = operation.kind
    a, b, out = (v.scale.fraction for v in (*operation.inputs, operation.output))
    if a == b == out:
        return kind, []
    if a == b and out == 2 * a:
        return f"{kind}_half", []
    if a == out and b == 2 * a:
        return f"{kind}_twice", []
    if kind == "add" and b == out and a == 2 * b:
        return "add_twice_swapped", []
    # As the kernels derive them: all in double precision.
    scales = [float(v.scale) for v in (*operation.inputs, operation.output)]
    twice_max = 2.0 * max(scales[0], scales[1])
    constants: list[int] = []
    for factor in (scales[0] / twice_max, scales[1] / twice_max, twice_max / (32768.0 * scales[2])):
        q, shift = quantize_multiplier(factor)
        assert shift <= 0
        constants += [q, -shift]
    return f"{kind}_scaled", constants


_FUNCTIONS = {
    "add": _sum,
    "sub": _sum,
    "mul": _plain,
    "logistic": _activation,
    "tanh": _activation,
    "relu": _plain,
    "rescale": _rescale,
    "maximum": _plain,
    "select": _plain,
    "lookup": _plain,
    "rsqrt": _rsqrt,
}
