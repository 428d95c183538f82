"""A window program as a .tflite file: a WHILE loop for each stage that scans the window.

The body of a loop is the stage's step. So a file is as large for long windows as for short ones,
and the length of the window may change: the inputs can be resized. Written step after step it would
be the larger file from three steps on and run 5 to 25 % faster; in windows of thousands of steps
what a loop collects, copied in every turn, is felt as well.

The bits are the program's on ai-edge-litert and on tflite-runtime 2.14. The latter decides two
things: what a loop writes is int32, because its DYNAMIC_UPDATE_SLICE has no int16; and a loop reads
with GATHER, because a SLICE that begins at a computed step makes tensors of dynamic size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.tflite import PRODUCTS
from edgernn.exporters.tflite_loop import (
    COUNT,
    Form,
    Loop,
    cast,
    declare,
    gather,
    number,
    reshape,
    subtract,
    write_step,
)
from edgernn.exporters.tflite_ops import EMITTERS, Emitter
from edgernn.exporters.tflite_writer import ModelWriter
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.window import Source, Stage, Window, validate_window

DESCRIPTION: Final = "edgernn window"
SIGNATURE: Final = "window"
MAX_STEPS: Final = 1 << 16


def to_tflite_window(window: Window, steps: int, *, product: str = "conv_2d") -> bytes:
    """The content of a .tflite file with one signature, `window`.

    Inputs: the window's, (1, T, size) int16. Outputs: the window's, (1, T, size) int16, or
    (1, size) where there is one in a window. Every zero point is 0; every call starts from the
    initial states. T is `steps`, 1 to 65536, when the file is loaded; resize every input to run
    it on windows of another length. Equal windows give equal bytes.

    product: "conv_2d" or "fully_connected", as for `edgernn.exporters.tflite.to_tflite`.

    Raises InputError for an unknown product or a number of steps that is out of range;
    FileFormatError for a window program that is not valid; UnsupportedError for a product of one
    row that FULLY_CONNECTED cannot compute exactly; MissingExtraError without the extra `tflite`.
    """
    if product not in PRODUCTS:
        raise InputError(f"product {product!r} is unknown; choose one of {', '.join(PRODUCTS)}")
    if not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise InputError(f"a window has 1 to {MAX_STEPS} steps, not {steps!r}")
    validate_window(window)
    linear, rank = PRODUCTS[product]
    names = {*(t.name for t in window.inputs), *window.outputs}
    graph = _Graph(window, steps, ModelWriter(rank, names), {**EMITTERS, "linear": linear})
    inputs = {t.name: graph.input(t) for t in window.inputs}
    for stage in window.stages:
        if stage.direction == "once":
            graph.once(stage)
        else:
            graph.scan(stage)
    outputs = {name: graph.output(name, source) for name, source in window.outputs.items()}
    return graph.writer.finish(inputs, outputs, DESCRIPTION, {}, SIGNATURE)


class _Graph:
    """The outer subgraph.

    Operators take a step of a value as (1, .., 1, size); all steps of it are (T, .., 1, size) here,
    so that a loop reads and writes them without a RESHAPE.
    """

    def __init__(
        self, window: Window, steps: int, writer: ModelWriter, emitters: Mapping[str, Emitter]
    ) -> None:
        self.writer = writer
        self._steps, self._emitters = steps, emitters
        self._tensors, self._length_like = window.tensors(), window.inputs[0]
        self._length: int | None = None
        # Value -> all steps of it; (value, place) -> one step of it.
        self._all: dict[str, int] = {}
        self._picked: dict[tuple[str, str], int] = {}
        sources = [s for stage in window.stages for s in stage.sources.values()]
        sources += window.outputs.values()
        self._places = {v: {s.at for s in sources if s.value == v} for v in self._tensors}

    def input(self, t: Tensor) -> int:
        """A signature input."""
        w = self.writer
        result = w.tensor(t.name, (1, self._steps, t.size), t.scale, public=True)
        w.any_length(result, 1)
        self._all[t.name] = declare(w, t.name, self._form_of_all(t))
        reshape(w, result, self._all[t.name], (-1, *w.inner_shape(t.size)[1:]))
        return result

    def output(self, name: str, source: Source) -> int:
        """A signature output: a copy, because interpreters want each to be a tensor of its own."""
        w, t = self.writer, self._tensors[source.value]
        if (source.value, source.at) in self._picked or source.at != "step":
            shape: tuple[int, ...] = (1, t.size)
            result = w.tensor(name, shape, t.scale, public=True)
            reshape(w, self._pick(source), result, shape)
            return result
        result = w.tensor(name, (1, self._steps, t.size), t.scale, public=True)
        w.any_length(result, 1)
        reshape(w, self._all[source.value], result, (1, -1, t.size))
        return result

    def once(self, stage: Stage) -> None:
        """A stage that computes one step, on picked values."""
        inner = {name: self._pick(source) for name, source in stage.sources.items()}
        for state in stage.program.states:
            inner[state.input] = self._constant(stage.program.tensors[state.input], state.initial)
        self._step(self.writer, stage.program, inner)
        for name, tensor in stage.program.outputs.items():
            self._picked[name, "step"] = inner[tensor]

    def scan(self, stage: Stage) -> None:
        """A stage that runs over the window: a loop."""
        w, program, backwards = self.writer, stage.program, stage.direction == "reverse"
        loop = Loop(w, self._count())
        body = loop.body
        # Backwards the number of steps that are left after this one is the index of this one.
        index = loop.next[loop.left]
        if not backwards:
            index = subtract(body, loop.carry(self._count(), COUNT), loop.left)
        read = {
            value: loop.carry(self._all[value], self._form_of_all(self._tensors[value]))
            for value in dict.fromkeys(source.value for source in stage.sources.values())
        }
        inner = {}
        for name, source in stage.sources.items():
            form = self._form(program.tensors[name])
            inner[name] = gather(body, read[source.value], index, form)
        for state in program.states:
            t = program.tensors[state.input]
            inner[state.input] = loop.carry(self._constant(t, state.initial), self._form(t))
        self._step(body, program, inner)
        for state in program.states:
            loop.next[inner[state.input]] = inner[state.output]

        # What is read of the last turn only is carried as it is; of all turns, collected.
        final = "first" if backwards else "last"
        carried = {}
        for name, tensor in program.outputs.items():
            t = program.tensors[tensor]
            if self._places[name] <= {final}:
                first = self._constant(t, np.zeros(t.size, np.int16))
                carried[name] = loop.carry(first, self._form(t))
                loop.next[carried[name]] = inner[tensor]
            else:
                form = self._form_of_all(t, "INT32")
                carried[name] = loop.carry(self._blank(t), form)
                written = write_step(body, carried[name], index, inner[tensor], form)
                loop.next[carried[name]] = written
        loop.finish()
        for name, tensor in program.outputs.items():
            result = loop.results[carried[name]]
            if self._places[name] <= {final}:
                self._picked[name, final] = result
            else:
                self._all[name] = cast(w, result, self._form_of_all(program.tensors[tensor]))

    def _step(self, w: ModelWriter, program: Program, inner: dict[str, int]) -> None:
        """All operators of a program; inner, tensor -> index, gets what they write."""
        for name, values in program.constants.items():
            shape = w.inner_shape(values.size)
            inner[name] = w.constant(name, values.reshape(shape), [program.tensors[name].scale])
        for op in program.operators:
            for name in op.outputs:
                inner[name] = declare(w, name, self._form(program.tensors[name]))
            ins, outs = ([inner[name] for name in names] for names in (op.inputs, op.outputs))
            self._emitters[op.kind](w, program, op, ins, outs)

    def _pick(self, source: Source) -> int:
        """One step of a value."""
        key = (source.value, source.at)
        if key not in self._picked:
            w = self.writer
            index = number(w, 0)
            if source.at == "last":
                index = subtract(w, self._count(), number(w, 1))
            form = self._form(self._tensors[source.value])
            self._picked[key] = gather(w, self._all[source.value], index, form)
        return self._picked[key]

    def _count(self) -> int:
        """T, of the first input as it is, resized or not."""
        if self._length is None:
            w = self.writer
            shape = declare(w, "shape", Form((w.rank,), None, "INT32"))
            options = w.schema.ShapeOptionsT(outType=w.schema.TensorType.INT32)
            w.operator("SHAPE", [self._all[self._length_like.name]], [shape], options)
            self._length = gather(w, shape, number(w, 0), COUNT)
        return self._length

    def _blank(self, t: Tensor) -> int:
        """All steps of a value before a loop writes them: any numbers, of the right shape.

        They come of an input. FILL would give a tensor of dynamic size.
        """
        w, like = self.writer, self._length_like
        one = Tensor(like.name, 1, like.scale)
        column = gather(
            w, self._all[like.name], number(w, 0), self._form_of_all(one), axis=w.rank - 1
        )
        wide = cast(w, column, self._form_of_all(one, "INT32"))
        times = w.constant("times", np.array(w.inner_shape(t.size), np.int32))
        result = declare(w, t.name, self._form_of_all(t, "INT32"))
        w.operator("TILE", [wide, times], [result], w.schema.TileOptionsT())
        return result

    def _constant(self, t: Tensor, values: NDArray[np.int16]) -> int:
        return self.writer.constant(t.name, values.reshape(self._form(t).shape), [t.scale])

    def _form(self, t: Tensor) -> Form:
        return Form(self.writer.inner_shape(t.size), t.scale)

    def _form_of_all(self, t: Tensor, dtype: str = "INT16") -> Form:
        shape = (self._steps, *self.writer.inner_shape(t.size)[1:])
        return Form(shape, t.scale if dtype == "INT16" else None, dtype)
