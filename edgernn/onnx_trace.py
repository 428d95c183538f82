"""What a NumPy function computes, as ONNX nodes: it runs once on values that record.

A `Traced` value stands for a float array while a cell's step or a layer runs. Its features are
known, its leading axes (batch, time) are not. What NumPy would do with it becomes a node; what has
no form here raises, and `tracing` says where.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from edgernn import onnx_axes
from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.onnx_axes import (
    Shape,
    Untraceable,
    broadcast,
    feature_axis,
    indexed,
    product_shape,
    reshaped,
)
from edgernn.runtime.errors import UnsupportedError

_ARITHMETIC: Final = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "true_divide": "Div",
    "power": "Pow",
    "maximum": "Max",
    "minimum": "Min",
}
_COMPARISONS: Final = {
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "equal": "Equal",
}
_UNARY: Final = {
    "negative": "Neg",
    "absolute": "Abs",
    "fabs": "Abs",
    "tanh": "Tanh",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
}
_LOGIC: Final = {"logical_and": "And", "logical_or": "Or", "logical_not": "Not"}
_MACHINERY: Final = (__file__, onnx_axes.__file__)
_NUMPY: Final = f"{os.sep}numpy{os.sep}"
_DTYPES: Final = {"b": np.dtype(np.bool_), "i": np.dtype(np.int64), "f": np.dtype(np.float32)}


@contextmanager
def tracing(owner: str) -> Iterator[None]:
    """Around code that runs on traced values; owner: the cell or layer that it belongs to.

    UnsupportedError, with the line, for what it does that ONNX cannot be told.
    """
    try:
        yield
    except (Untraceable, TypeError, AttributeError, ValueError, IndexError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if f.filename not in _MACHINERY and _NUMPY not in f.filename]
        # The first frame is the caller's, who knows the owner but not the line.
        where = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own[1:] else ""
        raise UnsupportedError(
            f"no float ONNX form for {owner}: {error}{where}; write its float equations with what "
            "edgernn.onnx_trace knows, or compare with PyTorch instead"
        ) from error


def _reduction(op: str) -> Callable[..., Traced]:
    def reduced(a: Traced, axis: Any = None, keepdims: bool = False) -> Traced:
        at, _ = feature_axis(a.shape, axis)
        shape = (*a.shape[:at], *([1] if keepdims else []), *a.shape[at + 1 :])
        # ReduceSum alone has its axes as an input in this version of the standard.
        if op == "ReduceSum":
            axes = _integers(a.graph, [at])
            return a.derived(op, [a.name, axes], shape, keepdims=int(keepdims))
        return a.derived(op, [a.name], shape, keepdims=int(keepdims), axes=[at])

    return reduced


class Traced(NDArrayOperatorsMixin):
    """A value of an ONNX graph where a NumPy function expects an array.

    shape: axes that are known as integers, the others as `edgernn.onnx_axes.Axis`.
    """

    def __init__(self, graph: OnnxGraph, name: str, shape: Shape, dtype: Any = np.float32) -> None:
        self.graph, self.name, self.shape, self.dtype = graph, name, shape, np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def derived(self, op: str, inputs: Sequence[str], shape: Shape, **attributes: Any) -> Traced:
        """The value of a new node, of the same type."""
        return Traced(self.graph, self.graph.node(op, inputs, **attributes), shape, self.dtype)

    def astype(self, dtype: Any, copy: bool = True) -> Traced:
        """As bool, as int64 for every integer type, as float32 for every other."""
        wanted = _DTYPES.get(np.dtype(dtype).kind.replace("u", "i"), _DTYPES["f"])
        if wanted == self.dtype:
            return self
        return Traced(self.graph, self.graph.cast(self.name, wanted), self.shape, wanted)

    # Of numpy's arguments, axis (one of features) and keepdims.
    mean, sum, max, min = (_reduction(f"Reduce{op}") for op in ("Mean", "Sum", "Max", "Min"))

    def reshape(self, *shape: Any) -> Traced:
        """Features only: the leading axes must stay, `x.reshape(*x.shape[:-1], a, b)`."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        sizes, result = reshaped(self.shape, tuple(wanted))
        return self.derived("Reshape", [self.name, _integers(self.graph, sizes)], result)

    def erf(self) -> Traced:
        """The error function, which NumPy lacks."""
        return _elementwise("Erf", [self], np.float32)

    def rows_of(self, table: Any) -> Traced:
        """table[self] of a constant table (V, D), for indices that lie in it: (..., D)."""
        indices = self.astype(np.int64)
        (constant,) = values_of([table], None, self.graph)
        shape = (*self.shape, *table.shape[1:])
        return constant.derived("Gather", [constant.name, indices.name], shape, axis=0)

    def __getitem__(self, key: Any) -> Traced:
        index = indexed(self.shape, key if isinstance(key, tuple) else (key,))
        g, name = self.graph, self.name
        if index.slices:
            # Rows of (axis, begin, end, step).
            axes, *limits = (list(column) for column in zip(*index.slices, strict=True))
            begin, end, step = (_integers(g, column) for column in limits)
            name = g.node("Slice", [name, begin, end, _integers(g, axes), step])
        if index.dropped:
            name = g.node("Squeeze", [name, _integers(g, index.dropped)])
        if index.added:
            name = g.node("Unsqueeze", [name, _integers(g, index.added)])
        return Traced(g, name, index.shape, self.dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Traced:
        name = ufunc.__name__
        if method != "__call__" or options:
            changed = method if method != "__call__" else f"{next(iter(options))}="
            raise Untraceable(f"it calls numpy.{name} with {changed}")
        return _ufunc(name, inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func not in FUNCTIONS:
            raise Untraceable(f"it calls {func.__module__}.{func.__name__}")
        return FUNCTIONS[func](*args, **kwargs)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            # NumPy and Python ask for protocols that a value may lack.
            raise AttributeError(name)
        raise Untraceable(f"it uses .{name} of an array")

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise Untraceable("it needs the numbers of an array (a branch, a loop or a conversion)")

    __array__ = __bool__ = __float__ = __int__ = __index__ = __len__ = __iter__ = _refuse

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise Untraceable("it assigns to a part of an array")


def _integers(graph: OnnxGraph, values: Sequence[int]) -> str:
    return graph.constant(np.array(values, np.int64))


def values_of(
    arrays: Sequence[Any], dtype: Any = None, graph: OnnxGraph | None = None
) -> list[Traced]:
    """Arrays and numbers as values of one type, and of the graph of those that are traced."""
    home = graph or next(a.graph for a in arrays if isinstance(a, Traced))
    typed = [a if isinstance(a, Traced) else np.asarray(a) for a in arrays]
    kinds = {a.dtype.kind for a in typed}
    wanted = np.dtype(dtype or _DTYPES["f" if "f" in kinds else "i" if kinds - {"b"} else "b"])
    return [
        a.astype(wanted)
        if isinstance(a, Traced)
        else Traced(home, home.constant(a.astype(wanted)), a.shape, wanted)
        for a in typed
    ]


def _elementwise(op: str, arrays: Sequence[Any], dtype: Any = None) -> Traced:
    values = values_of(arrays, dtype)
    return values[0].derived(op, [v.name for v in values], broadcast([v.shape for v in values]))


def _ufunc(name: str, x: Sequence[Any]) -> Traced:
    if name == "maximum" and isinstance(x[0], Traced) and np.isscalar(x[1]) and x[1] == 0:
        return _elementwise("Relu", x[:1], np.float32)
    if name in _ARITHMETIC:
        return _elementwise(_ARITHMETIC[name], x, np.float32 if "divide" in name else None)
    if name in _COMPARISONS:
        result = _elementwise(_COMPARISONS[name], x)
        result.dtype = _DTYPES["b"]
        return result
    if name in _UNARY:
        return _elementwise(_UNARY[name], x, np.float32)
    if name in _LOGIC:
        return _elementwise(_LOGIC[name], x, np.bool_)
    if name not in _COMPOSED:
        raise Untraceable(f"it calls numpy.{name}")
    return _COMPOSED[name](*x)


def _matmul(a: Any, b: Any) -> Traced:
    left, right = values_of([a, b], np.float32)
    shape = product_shape(left.shape, right.shape)
    return left.derived("MatMul", [left.name, right.name], shape)


def _concatenate(arrays: Sequence[Any], axis: int = 0) -> Traced:
    parts = values_of(arrays)
    at = feature_axis(parts[0].shape, axis)[0]
    if len({(p.shape[:at], p.shape[at + 1 :]) for p in parts}) > 1:
        raise Untraceable(f"it concatenates shapes {', '.join(str(p.shape) for p in parts)}")
    total = sum(feature_axis(p.shape, axis)[1] for p in parts)
    shape = (*parts[0].shape[:at], total, *parts[0].shape[at + 1 :])
    return parts[0].derived("Concat", [p.name for p in parts], shape, axis=at)


def _split(ary: Traced, indices_or_sections: Any, axis: int = 0) -> list[Traced]:
    at, size = feature_axis(ary.shape, axis)
    # NumPy itself knows the sizes, and refuses parts that are not equal.
    parts = np.split(np.empty(size, np.bool_), indices_or_sections)
    names = [ary.graph.name() for _ in parts]
    sizes = _integers(ary.graph, [len(part) for part in parts])
    ary.graph.nodes("Split", [ary.name, sizes], names, axis=at)
    return [
        Traced(ary.graph, name, (*ary.shape[:at], len(part), *ary.shape[at + 1 :]), ary.dtype)
        for name, part in zip(names, parts, strict=True)
    ]


def _where(condition: Any, x: Any, y: Any) -> Traced:
    graph = next(v.graph for v in (condition, x, y) if isinstance(v, Traced))
    (choice,) = values_of([condition], np.bool_, graph)
    first, second = values_of([x, y], None, graph)
    shape = broadcast([choice.shape, first.shape, second.shape])
    return first.derived("Where", [choice.name, first.name, second.name], shape)


def _clip(a: Any, a_min: Any, a_max: Any) -> Traced:
    return _elementwise("Min", [_elementwise("Max", [a, a_min]), a_max])


def _full_like(a: Traced, fill_value: Any) -> Traced:
    (value,) = values_of([fill_value], a.dtype, a.graph)
    return a.derived("Expand", [value.name, a.graph.node("Shape", [a.name])], a.shape)


_COMPOSED: Final[dict[str, Callable[..., Traced]]] = {
    "matmul": _matmul,
    "square": lambda x: x * x,
    "log1p": lambda x: np.log(x + np.float32(1)),
    "expm1": lambda x: np.exp(x) - np.float32(1),
    "not_equal": lambda a, b: np.logical_not(np.equal(a, b)),
}
FUNCTIONS: Final[dict[Any, Callable[..., Any]]] = {
    np.concatenate: _concatenate,
    np.split: _split,
    np.where: _where,
    np.clip: _clip,
    np.mean: Traced.mean,
    np.sum: Traced.sum,
    np.max: Traced.max,
    np.min: Traced.min,
    np.reshape: Traced.reshape,
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.full_like: _full_like,
    np.zeros_like: lambda a: _full_like(a, 0),
    np.ones_like: lambda a: _full_like(a, 1),
}
"""NumPy functions of traced values, beside the ufuncs, indexing and the methods of Traced."""
