"""The operators a program may use: their rules, and what they compute.

Each operator is one class: its docstring states it, `check` refuses what cannot be exact on every
engine, `compute` evaluates it on int64 arrays (..., size), one array per input and output. The
arithmetic is that of the int16 kernels of TensorFlow Lite, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, Protocol

import numpy as np

from edgernn.runtime import activation, fixedpoint
from edgernn.runtime.fixedpoint import Int64Array
from edgernn.runtime.functions import Embedding, Lookup, Rsqrt
from edgernn.runtime.program import UNIT, Operator, Program, Tensor

MAX_COLUMNS: Final = 4096
MAX_BIAS: Final = 1 << 37
SHIFTS: Final = (8, 35)


class Kind(Protocol):
    """What the table of operators holds."""

    @property
    def inputs(self) -> int | None:
        """How many tensors it reads; None: any number from 1."""

    @property
    def outputs(self) -> int | None:
        """How many tensors it writes; None: any number from 1."""

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        """Raise ValueError with one clause that says what is wrong."""

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        """The outputs for int64 inputs (..., size) within int16."""


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _odd_part(ratio: Fraction) -> int:
    product = ratio.numerator * ratio.denominator
    return product // (product & -product)


def _same_sizes(ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
    _need(len({t.size for t in (*ins, *outs)}) == 1, "input and output sizes differ")


class Linear:
    """Matrix product with bias and one multiplier per row; CONV_2D 1x1 with int64 bias."""

    inputs, outputs = 1, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        m, rows, columns = op.matrix, outs[0].size, ins[0].size
        _need(m is not None, "it has no matrix")
        assert m is not None
        _need(m.weight.shape == (rows, columns), f"its weight is not {rows} x {columns}")
        _need(columns <= MAX_COLUMNS, f"it has more than {MAX_COLUMNS} columns")
        for array, dtype in ((m.bias, "int64"), (m.multiplier, "int32"), (m.shift, "int32")):
            _need(array.shape == (rows,) and array.dtype == dtype, "a row constant does not fit")
        _need(m.weight.dtype == np.int8, "its weight is not int8")
        _need(bool((m.weight > -128).all()), "a weight is -128")
        # Not by its absolute value: that of -2^63 is negative.
        within = (m.bias >= -MAX_BIAS) & (m.bias <= MAX_BIAS)
        _need(bool(within.all()), "a bias exceeds 2^37")
        _need(bool(((m.multiplier >= 16384) & (m.multiplier <= 32767)).all()), "a bad multiplier")
        low, high = SHIFTS
        _need(bool(((m.shift >= low) & (m.shift <= high)).all()), "a bad shift")
        m.row_scales(ins[0].scale, outs[0].scale)

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        m = op.matrix
        assert m is not None
        # float64 holds these integer sums exactly (below 2^53) and has a fast product.
        product = x[0].astype(np.float64) @ m.weight.T.astype(np.float64)
        acc = product.astype(np.int64) + m.bias
        return [
            fixedpoint.requantize_rows(acc, m.multiplier.astype(np.int64), m.shift.astype(np.int64))
        ]


class Add:
    """Element-wise sum; each operand and the result with a scale of its own."""

    inputs, outputs = 2, 1
    sign = 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _same_sizes(ins, outs)
        low, high = sorted(t.scale.fraction for t in ins)
        # The vector kernel of ADD shifts an operand before it multiplies, the others afterwards;
        # within these limits the sums agree, for every input.
        ratio, out = high / low, outs[0].scale.fraction
        _need(ratio <= 1 << 13, "the scales of its operands are too far apart")
        _need(_odd_part(ratio) in (1, 3), "its operands' scales differ by an odd factor but 3")
        _need(
            ratio != Fraction(3, 2) or _odd_part(high / out) == 1,
            "its operands' scales are 3 to 2, its output's no power of two from the wider one",
        )
        _need(Fraction(1, 4) <= out / high <= 1 << 14, "its output scale does not fit its inputs")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        a, b, out = (float(t.scale) for t in (*ins, *outs))
        return [fixedpoint.add_rescaled(x[0], x[1], a, b, out, self.sign)]


class Sub(Add):
    """Element-wise difference; each operand and the result with a scale of its own."""

    sign = -1


class Mul:
    """Element-wise product rescaled by exactly 2^-15."""

    inputs, outputs = 2, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _same_sizes(ins, outs)
        factor = ins[0].scale.fraction * ins[1].scale.fraction / outs[0].scale.fraction
        _need(factor == UNIT.fraction, "its scale factor is not 2^-15")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        return [fixedpoint.multiply_q15(x[0], x[1])]


class Activation:
    """LOGISTIC or TANH by table; reads a scale of 3 * 2^-j and writes 2^-15."""

    inputs, outputs = 1, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _same_sizes(ins, outs)
        # At some powers of two the optimised kernels of one runtime leave the table.
        _need(ins[0].scale.mantissa == 3, "its input scale is not 3 * 2^-j")
        _need(outs[0].scale == UNIT, "its output scale is not 2^-15")
        activation.input_multiplier(float(ins[0].scale))

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        table = activation.full_table(op.kind, float(ins[0].scale))
        return [table[x[0] + 32768].astype(np.int64)]


class Relu:
    """max(x, 0), scale kept."""

    inputs, outputs = 1, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _same_sizes(ins, outs)
        _need(ins[0].scale == outs[0].scale, "it changes the scale")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        return [np.maximum(x[0], 0)]


class Maximum:
    """Element-wise larger one of two vectors of equal scale."""

    inputs, outputs = 2, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _same_sizes(ins, outs)
        _need(len({t.scale for t in (*ins, *outs)}) == 1, "its scales differ")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        return [np.maximum(x[0], x[1])]


class Select:
    """mask, a, b: a where the mask is not 0, else b; a mask of one element counts for all."""

    inputs, outputs = 3, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        mask, *values = ins
        _same_sizes(values, outs)
        _need(mask.size in (1, outs[0].size), "its mask has another size")
        _need(len({t.scale for t in (*values, *outs)}) == 1, "its scales differ")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        return [np.where(x[0] != 0, x[1], x[2])]


class Rescale:
    """The same values at another scale; QUANTIZE from int16 to int16."""

    inputs, outputs = 1, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _same_sizes(ins, outs)
        factor = ins[0].scale.fraction / outs[0].scale.fraction
        # Up to here the kernels' left shift of an int16 stays within 32 bits.
        _need(Fraction(1, 1 << 15) <= factor <= 1 << 15, "it rescales by more than 2^15")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        return [fixedpoint.rescale(x[0], float(ins[0].scale), float(outs[0].scale))]


class Split:
    """Consecutive parts of a vector; the sizes of the outputs say where it is cut."""

    inputs, outputs = 1, None

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _need(len(outs) >= 2, "it has fewer than two parts")
        _need(sum(t.size for t in outs) == ins[0].size, "its parts do not add up")
        _need({t.scale for t in outs} == {ins[0].scale}, "it changes the scale")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        return np.split(x[0], np.cumsum([t.size for t in outs])[:-1].tolist(), axis=-1)


class Concat:
    """Vectors of equal scale, one after the other."""

    inputs, outputs = None, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _need(len(ins) >= 2, "it has fewer than two inputs")
        _need(sum(t.size for t in ins) == outs[0].size, "its inputs do not add up")
        _need({t.scale for t in ins} == {outs[0].scale}, "it changes the scale")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        return [np.concatenate(x, axis=-1)]


KINDS: Final[Mapping[str, Kind]] = {
    "linear": Linear(),
    "add": Add(),
    "sub": Sub(),
    "mul": Mul(),
    "logistic": Activation(),
    "tanh": Activation(),
    "relu": Relu(),
    "rescale": Rescale(),
    "split": Split(),
    "concat": Concat(),
    "maximum": Maximum(),
    "select": Select(),
    "lookup": Lookup(),
    "rsqrt": Rsqrt(),
    "embedding": Embedding(),
}


def evaluate_step(
    program: Program, inputs: Mapping[str, Int64Array], states: Mapping[str, Int64Array]
) -> dict[str, Int64Array]:
    """Execute every operator once, one by one; returns every tensor by name.

    inputs: tensor name -> (..., size); states: state name -> (..., size); both int64 within int16.
    The slow, plain engine: it names the first wrong operator, and the fast one is held against it.
    """
    values: dict[str, Int64Array] = dict(inputs)
    lead = next(iter(inputs.values())).shape[:-1]
    for name, constant in program.constants.items():
        values[name] = np.broadcast_to(constant.astype(np.int64), (*lead, constant.size))
    for state in program.states:
        values[state.input] = states[state.name]
    for op in program.operators:
        ins = [program.tensors[n] for n in op.inputs]
        outs = [program.tensors[n] for n in op.outputs]
        results = KINDS[op.kind].compute(op, ins, outs, [values[n] for n in op.inputs])
        values.update(zip(op.outputs, results, strict=True))
    return values
