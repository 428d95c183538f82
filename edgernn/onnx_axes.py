"""Shapes of traced values: feature axes are integers, batch and time are known at run time only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn


class Untraceable(Exception):
    """What a traced function does that has no form in ONNX; a sentence without its subject."""


class Axis:
    """An axis whose length is known at run time only."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __index__(self) -> NoReturn:
        raise Untraceable(f"it needs the length of the {self.name} axis")


BATCH: Final = Axis("batch")
TIME: Final = Axis("time")
Dim = int | Axis
Shape = tuple[Dim, ...]


def feature_axis(shape: Shape, axis: Any) -> tuple[int, int]:
    """An axis counted from the front, and its length; Untraceable if it is not one of features."""
    if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
        raise Untraceable(f"it works along axis {axis} of shape {shape}; give one axis, the last")
    size = shape[axis]
    if isinstance(size, Axis):
        raise Untraceable(f"it works along axis {axis} of shape {shape}, which is no feature axis")
    return axis % len(shape), size


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape of an element-wise result."""
    rank = max(len(shape) for shape in shapes)
    result: list[Dim] = []
    for dims in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        wide = {dim for dim in dims if dim != 1}
        if len(wide) > 1:
            raise Untraceable(f"shapes {', '.join(map(str, shapes))} do not broadcast")
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def product_shape(a: Shape, b: Shape) -> Shape:
    """The shape of a @ b."""
    if min(len(a), len(b)) < 2 or a[-1] != b[-2] or isinstance(a[-1], Axis):
        raise Untraceable(f"it multiplies matrices of shapes {a} and {b}")
    return (*broadcast([a[:-2], b[:-2]]), a[-2], b[-1])


def reshaped(shape: Shape, wanted: Sequence[Any]) -> tuple[list[int], Shape]:
    """The sizes for ONNX's Reshape, 0 for an axis that stays, and the shape of the result."""
    leading = sum(isinstance(dim, Axis) for dim in shape)
    features = [dim for dim in shape if isinstance(dim, int)]
    sizes = list(wanted[leading:])
    total = 1
    for size in features:
        total *= size
    rest = 1
    for size in sizes:
        rest *= size if isinstance(size, int) and size != -1 else 1
    if sizes.count(-1) == 1 and rest and total % rest == 0:
        sizes[sizes.index(-1)] = total // rest
        rest = total
    fits = tuple(wanted[:leading]) == shape[:leading] and all(isinstance(n, int) for n in sizes)
    if not fits or rest != total or not all(isinstance(dim, Axis) for dim in shape[:leading]):
        raise Untraceable(f"it reshapes {shape} to {tuple(wanted)}; batch and time must stay")
    return [0] * leading + sizes, (*shape[:leading], *sizes)


@dataclass(frozen=True)
class Index:
    """x[key] in three moves: slices (axis, begin, end, step), then axes dropped, then added."""

    slices: list[tuple[int, int, int, int]]
    dropped: list[int]
    added: list[int]
    shape: Shape


def indexed(shape: Shape, key: tuple[Any, ...]) -> Index:
    """What an index of slices, integers, None and ... does to a value of that shape."""
    if not all(k is None or k is ... or isinstance(k, (int, slice)) for k in key):
        raise Untraceable("it indexes with an array")
    missing = len(shape) - sum(k is not None and k is not ... for k in key)
    at = key.index(...) if ... in key else len(key)
    full = (*key[:at], *[slice(None)] * missing, *key[at + 1 :])
    if missing < 0 or ... in full:
        raise Untraceable(f"its index {key} does not fit shape {shape}")
    index = Index([], [], [], ())
    result: list[Dim] = []
    axis = 0
    for k in full:
        if k is None:
            index.added.append(len(result))
            result.append(1)
            continue
        if k == slice(None):
            result.append(shape[axis])
        else:
            _, size = feature_axis(shape, axis)
            if isinstance(k, slice):
                begin, end, step = k.indices(size)
                result.append(len(range(begin, end, step)))
                # A negative end counts from the back in ONNX; this one is before the front.
                cut = (axis, begin, end if end >= 0 else -size - 1, step)
                if cut[1:] != (0, size, 1):
                    index.slices.append(cut)
            else:
                begin = range(size)[k]
                index.slices.append((axis, begin, begin + 1, 1))
                index.dropped.append(axis)
        axis += 1
    return Index(index.slices, index.dropped, index.added, tuple(result))
