"""What is traced computes in ONNX Runtime what it computes in NumPy; the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgernn.cells.base import product, rows, sigmoid
from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.onnx_axes import BATCH, TIME, Shape
from edgernn.onnx_trace import Traced, tracing
from edgernn.runtime.errors import UnsupportedError

Function = Callable[..., Any]
RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 6)).astype(np.float32)
V = RNG.standard_normal(6).astype(np.float32)
HALF = np.float32(0.5)

SAME: dict[str, Function] = {
    "arithmetic": lambda a, b: (a + b) * HALF - a / (np.abs(b) + 1) + (2.0 - a) * 3,
    "negative, power, square": lambda a, b: -a + np.square(b) + np.abs(a) ** np.float32(1.5) + b**2,
    "constant first": lambda a, b: V - a + V / (np.float32(2) + b * b) + np.float32(1) * b,
    "float64 constants": lambda a, b: a * np.linspace(0, 1, 6) + np.pi,
    "functions": lambda a, b: np.tanh(a) + np.exp(-np.abs(b)) + np.sqrt(np.abs(a)) + np.fabs(b),
    "logarithms": lambda a, b: np.log(np.abs(a) + HALF) + np.log1p(np.exp(b)) + np.expm1(-a * a),
    "reciprocal": lambda a, b: np.reciprocal(np.abs(a) + np.float32(1)),
    "maximum": lambda a, b: np.maximum(a, b) + np.minimum(a, HALF) + np.maximum(np.float32(0.1), b),
    "maximum with a number": lambda a, b: np.maximum(a, np.float32(0.3)) + np.maximum(b, -0.5),
    "relu": lambda a, b: np.maximum(a, np.float32(0)) - np.maximum(np.float32(0), b),
    "maximum with zeros": lambda a, b: np.maximum(a, np.zeros(6, np.float32)),
    "clip": lambda a, b: np.clip(a, np.float32(-0.3), np.float32(0.4)) + np.clip(b, -1, 1),
    "sigmoid": lambda a, b: sigmoid(a) * sigmoid(40 * b),
    "product": lambda a, b: product(a, W, V[:4]) + product(b, W),
    "matmul": lambda a, b: a @ W.T + np.matmul(b, W.T),
    "features": lambda a, b: np.concatenate([a[..., 1:4], b[..., -2:], a[..., ::-2]], axis=-1),
    "negative step": lambda a, b: a[..., ::-1] + b[..., 4:0:-1].sum(axis=-1, keepdims=True),
    "one feature": lambda a, b: a * b[..., 2:3] + b[..., -1, None] + b[..., 0][..., None],
    "whole": lambda a, b: a[:] + b[...] + a[..., :],
    "split": lambda a, b: np.split(a, 3, axis=-1)[1] + np.split(b, [2, 4], axis=-1)[2],
    "unequal split": lambda a, b: np.concatenate(np.split(a, [1, 4], -1)[::-1], -1) + b,
    "mean": lambda a, b: a - a.mean(axis=-1, keepdims=True) + np.mean(b * b, -1, keepdims=True),
    "sum": lambda a, b: a / (1 + np.abs(b)).sum(-1, keepdims=True) + np.sum(a, axis=-1)[..., None],
    "softmax": lambda a, b: (
        np.exp(a - a.max(axis=-1, keepdims=True))
        / np.exp(a - np.max(a, axis=-1, keepdims=True)).sum(axis=-1, keepdims=True)
        + np.min(b, axis=-1, keepdims=True)
        + b.min(axis=-1, keepdims=True)
    ),
    "where": lambda a, b: np.where(a > b, a, np.float32(0)) + np.where(b[..., :1] != 0, HALF, b),
    "where of constants": lambda a, b: np.where(a <= 0, np.float32(1), np.float32(-1)) * b,
    "where with a constant choice": lambda a, b: np.where(V > 0, a, b),
    "where of a number": lambda a, b: np.where(np.maximum(a, np.float32(0)), a, b),
    "comparisons": lambda a, b: (a >= b) * a + (a < b) * np.float32(3) + (np.rint(V) == 1) * b,
    "comparisons of equals": lambda a, b: (
        (np.maximum(a, 0) <= 0) * np.float32(1)
        + (np.maximum(a, 0) >= 0) * np.float32(2)
        + (np.maximum(b, 0) < 0) * np.float32(4)
        + (np.minimum(b, 0) > 0) * np.float32(8)
    ),
    "equality": lambda a, b: np.where(a == a, a, b) + np.where(b != b, a, b),
    "logic": lambda a, b: np.where(np.logical_and(a > 0, np.logical_not(b > 0)), a, b),
    "or": lambda a, b: np.where(np.logical_or(a > 0, b > 0), a, b),
    "rows of a table": lambda a, b: (
        rows(W, np.where(a > 0, 9, -9)[..., :1])
        + rows(W, np.clip(2 * b, 0, 3).astype(np.int64)[..., 1:2])
    ),
    "integers": lambda a, b: (3 * a).astype(np.int64) / 2 + (3 * b).astype(np.int64) * HALF,
    "like": lambda a, b: np.concatenate(
        [np.zeros_like(a), np.ones_like(b), np.full_like(a, 0.25), a], axis=-1
    ),
    "reshape": lambda a, b: (
        a.reshape(*a.shape[:-1], 2, 3).sum(axis=-1) + np.reshape(b, (*b.shape[:-1], -1, 3))[..., 1]
    ),
    "outer product": lambda a, b: (a[..., :, None] * b[..., None, :]).reshape(*a.shape[:-1], 36),
    "matrices": lambda a, b: (a[..., :, None] * b[..., None, :] @ a[..., None])[..., 0],
    "shape": lambda a, b: a * np.float32(a.shape[-1]) + np.float32(np.ndim(b) + np.shape(b)[-1]),
}
STEP_ONLY: dict[str, Function] = {
    "gates": lambda a, b: a[:, :3] * b[:, 3:] + np.split(a, 2, axis=1)[0] + b.mean(1)[:, None],
    "concatenate": lambda a, b: np.concatenate((a, b), axis=1),
}
CASES = [
    pytest.param(function, rank, id=f"{name}, {rank} axes")
    for ranks, functions in (((2, 3), SAME), ((2,), STEP_ONLY))
    for name, function in functions.items()
    for rank in ranks
]


def computed(function: Function, *arrays: np.ndarray) -> np.ndarray:
    """What ONNX Runtime gives of the traced function."""
    g = OnnxGraph(["a", "b", "y"])
    leading: Shape = (TIME, BATCH)[-(arrays[0].ndim - 1) :]
    names = ("T", "N")[-(arrays[0].ndim - 1) :]
    values = []
    for name, array in zip("ab", arrays, strict=True):
        g.input(name, np.float32, (*names, array.shape[-1]))
        values.append(Traced(g, name, (*leading, array.shape[-1])))
    with tracing("a test"):
        result = function(*values)
    assert result.ndim == len(result.shape)
    known = tuple(n if isinstance(n, str) else d for n, d in zip(names, leading, strict=True))
    g.output("y", np.float32, (*known, *result.shape[len(leading) :]))
    g.node("Identity", [result.astype(np.float32).name], "y")
    content = g.model()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content)
    return session.run(["y"], dict(zip("ab", arrays, strict=True)))[0]


@pytest.mark.parametrize(("function", "rank"), CASES)
def test_traced_is_numpy(function: Function, rank: int) -> None:
    for lengths in ((5, 3), (1, 1)):
        rng = np.random.default_rng(rank)
        shape = (*lengths[: rank - 1], 6)
        a, b = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
        expected = function(a, b)
        result = computed(function, a, b)
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=2e-6, atol=2e-6)


def test_the_body_of_a_relu_is_one_node() -> None:
    g = OnnxGraph()
    np.maximum(Traced(g, "a", (BATCH, 3)), np.float32(0))
    assert [node.op_type for node in g.proto().node] == ["Relu"]


def branches(a: Any, b: Any) -> Any:
    return a if a.sum(axis=-1) > 0 else b


def assigns(a: Any, b: Any) -> Any:
    a[:, 0] = b[:, 0]
    return a


REFUSED: dict[str, tuple[Function, str]] = {
    "ufunc": (lambda a, b: np.arctan2(a, b), "it calls numpy.arctan2 at test_onnx_trace.py:"),
    "function": (lambda a, b: np.sort(a), "it calls numpy.sort at"),
    "of a submodule": (lambda a, b: np.linalg.norm(a), "it calls numpy.linalg.norm at"),
    "einsum": (lambda a, b: np.einsum("ni,oi->no", a, W), "it calls numpy.einsum"),
    "method of a ufunc": (lambda a, b: np.add.reduce(a), "it calls numpy.add with reduce"),
    "in place": (lambda a, b: np.add(a, b, out=a), "it calls numpy.add with out="),
    "attribute": (lambda a, b: a.T, r"it uses .T of an array"),
    "branch": (branches, "it needs the numbers of an array"),
    "conversion": (lambda a, b: np.asarray(a), "it needs the numbers of an array"),
    "number": (lambda a, b: float(a[0, 0]), "works along axis 0 of shape"),
    "assignment": (assigns, "it assigns to a part of an array"),
    "length": (lambda a, b: np.zeros((a.shape[0], 3)), "it needs the length of the batch axis"),
    "part of the batch": (lambda a, b: a[1:], "works along axis 0 .*, which is no feature axis"),
    "mean over the batch": (lambda a, b: a.mean(axis=0), "which is no feature axis"),
    "mean over all": (lambda a, b: a.mean(), "give one axis"),
    "index array": (lambda a, b: a[..., [0, 1]], "it indexes with an array"),
    "traced index": (lambda a, b: W[a], "it needs the numbers of an array"),
    "too many axes": (lambda a, b: a[..., 0, 0, 0], "does not fit shape"),
    "out of range": (lambda a, b: a[..., 6], "range object index out of range"),
    "shapes": (lambda a, b: a + b[..., :4], r"shapes \(batch, 6\), \(batch, 4\) do not broadcast"),
    "a batch of constants": (lambda a, b: a + np.ones((3, 6)), "do not broadcast"),
    "matrices": (lambda a, b: a @ W, r"multiplies matrices of shapes \(batch, 6\) and \(4, 6\)"),
    "concatenation": (lambda a, b: np.concatenate([a, V[None]], -1), "it concatenates shapes"),
    "split": (lambda a, b: np.split(a, 4, axis=-1), "equal division"),
    "reshape": (lambda a, b: a.reshape(-1, 3), "it reshapes .*; batch and time must stay"),
}


@pytest.mark.parametrize(("function", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_form_is_refused_in_one_sentence(function: Function, sentence: str) -> None:
    a, b = (Traced(OnnxGraph(), name, (BATCH, 6)) for name in "ab")
    with pytest.raises(UnsupportedError, match=sentence) as error, tracing("mgu (l0_h)"):
        function(a, b)
    assert str(error.value).startswith("no float ONNX form for mgu (l0_h): ")
    assert "\n" not in str(error.value)
