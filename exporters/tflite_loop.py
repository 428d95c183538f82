"""A WHILE loop over the steps of a window, and the small int32 operators around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgernn.exporters.tflite_writer import ModelWriter
from edgernn.runtime.program import Scale


@dataclass(frozen=True)
class Form:
    """What there is to know of a tensor but its name."""

    shape: tuple[int, ...]
    scale: Scale | None = None
    dtype: str = "INT16"


COUNT = Form((1,), None, "INT32")
"""A number of steps, or the index of one."""


def declare(w: ModelWriter, name: str, form: Form) -> int:
    """A tensor of that form that is computed."""
    return w.tensor(name, form.shape, form.scale, form.dtype)


def number(w: ModelWriter, value: int) -> int:
    """A constant, (1,) int32."""
    return w.constant("number", np.array([value], np.int32))


def gather(w: ModelWriter, source: int, index: int, form: Form, axis: int = 0) -> int:
    """The part of a tensor at an index (1,) of an axis; that axis stays, of length 1."""
    result = declare(w, "gathered", form)
    w.operator("GATHER", [source, index], [result], w.schema.GatherOptionsT(axis=axis))
    return result


def subtract(w: ModelWriter, a: int, b: int) -> int:
    """a - b of two counts."""
    result = declare(w, "difference", COUNT)
    w.operator("SUB", [a, b], [result], w.schema.SubOptionsT())
    return result


def cast(w: ModelWriter, source: int, form: Form) -> int:
    """The same numbers in another dtype."""
    result = declare(w, "cast", form)
    options = w.schema.CastOptionsT(inDataType=w.dtype(source), outDataType=w.dtype(result))
    w.operator("CAST", [source], [result], options)
    return result


def reshape(w: ModelWriter, source: int, result: int, shape: tuple[int, ...]) -> None:
    """A copy into a declared tensor; one dimension of the shape may be -1, whatever is left."""
    options = w.schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
    w.operator("RESHAPE", [source], [result], options)


def write_step(w: ModelWriter, whole: int, index: int, step: int, form: Form) -> int:
    """An int32 tensor whose first axis is time, with one step of it replaced."""
    rank = len(form.shape)
    begin = declare(w, "begin", Form((rank,), None, "INT32"))
    first_axis = w.constant("first_axis", np.eye(1, rank, dtype=np.int32)[0])
    w.operator("MUL", [index, first_axis], [begin], w.schema.MulOptionsT())
    wide = cast(w, step, Form((1, *form.shape[1:]), None, "INT32"))
    result = declare(w, "written", form)
    options = w.schema.DynamicUpdateSliceOptionsT()
    w.operator("DYNAMIC_UPDATE_SLICE", [whole, wide, begin], [result], options)
    return result


class Loop:
    """A WHILE that counts `left` down from the number of steps; it ends at 0.

    body: the subgraph that runs in each turn. next: carried tensor -> its next value, both of the
    body; a carried tensor without an entry stays as it is. After `finish`, results: carried tensor
    -> its last value, a tensor of the outer subgraph.
    """

    def __init__(self, outer: ModelWriter, steps: int) -> None:
        self.body = outer.subgraph()
        self.next: dict[int, int] = {}
        self.results: dict[int, int] = {}
        self._outer = outer
        self._first: list[int] = []
        self._carried: dict[int, Form] = {}
        self.left = self.carry(steps, COUNT)
        self.next[self.left] = subtract(self.body, self.left, number(self.body, 1))

    def carry(self, first: int, form: Form) -> int:
        """A tensor of the body that is, in the first turn, that tensor of the outer subgraph."""
        self._first.append(first)
        tensor = declare(self.body, "carried", form)
        self._carried[tensor] = form
        return tensor

    def finish(self) -> None:
        """Append the loop to the outer subgraph."""
        condition, s = self._outer.subgraph(), self._outer.schema
        given = [declare(condition, "carried", form) for form in self._carried.values()]
        more = declare(condition, "more", Form((1,), None, "BOOL"))
        condition.operator("GREATER", [given[0], number(condition, 0)], [more], s.GreaterOptionsT())
        following: list[int] = []
        for tensor, form in self._carried.items():
            value = self.next.get(tensor, tensor)
            # Outputs are copied to inputs one after the other, so that none may be the input of
            # another; and interpreters want each to be a tensor of its own.
            computed = self.body.is_computed(value) and value not in following
            if value != tensor and not computed:
                value = self.body.reshape(value, "copy", form.shape)
            following.append(value)
            self.results[tensor] = declare(self._outer, "result", form)
        options = s.WhileOptionsT(
            condSubgraphIndex=condition.close(given, [more]),
            bodySubgraphIndex=self.body.close(list(self._carried), following),
        )
        self._outer.operator("WHILE", self._first, list(self.results.values()), options)
