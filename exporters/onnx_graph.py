"""An ONNX graph under construction: short internal names, every constant stored once.

Also the one place that imports `onnx`, when the first graph is made and not before.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import MissingExtraError, UnsupportedError

Shape = tuple[int | str, ...]
OPSET: Final = 13
IR_VERSION: Final = 7
_LETTERS: Final = string.ascii_letters + "_"
_CHARACTERS: Final = _LETTERS + string.digits


def import_onnx() -> Any:
    """The `onnx` package; MissingExtraError if it is not installed."""
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise MissingExtraError(
            "writing ONNX needs the package onnx; install it with: pip install 'edgernn[onnx]'"
        ) from None
    return onnx


def refuse_repeated(names: Sequence[str], owner: str) -> None:
    """UnsupportedError if two inputs or outputs of a model to be written share a name.

    owner: where the user can rename them, "program" or "model".
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnsupportedError(
            f"{twice[0]!r} would name two inputs or outputs of the ONNX model; "
            f"rename the input, output or state of the {owner}"
        )


class OnnxGraph:
    """Nodes, inputs and outputs. A child is the body of a Scan: its constants go to the root.

    reserved: names of inputs and outputs, which no internal name may be.
    """

    def __init__(self, reserved: Iterable[str] = (), parent: OnnxGraph | None = None) -> None:
        self._onnx = import_onnx()
        self.root: OnnxGraph = parent.root if parent else self
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._initializers: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._reserved = frozenset(reserved)
        self._names = _short_names()

    def name(self) -> str:
        """A new internal name, unique in the root and all its children."""
        root = self.root
        return next(name for name in root._names if name not in root._reserved)

    def constant(self, value: NDArray[Any]) -> str:
        """The name of an initializer with that content; equal ones share a name."""
        root = self.root
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in root._constants:
            root._constants[key] = self.name()
            root._initializers.append(self._tensor(root._constants[key], value))
        return root._constants[key]

    def _tensor(self, name: str, value: NDArray[Any]) -> Any:
        if value.ndim == 0 and value.dtype.kind in "iu" and value >= 0:
            # A small number takes fewer bytes in a typed field than as raw data.
            code = self._code(value.dtype)
            return self._onnx.helper.make_tensor(name, code, [], [int(value)])
        # An initializer is contiguous, whatever the array was.
        contiguous = np.ascontiguousarray(value).reshape(value.shape)
        return self._onnx.numpy_helper.from_array(contiguous, name)

    def scalar(self, value: float, dtype: Any = np.int32) -> str:
        """A scalar constant."""
        return self.constant(np.array(value, dtype))

    def node(self, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Append a node with one output; returns its name, a new one if none is given."""
        output = output or self.name()
        self.nodes(op, inputs, [output], **attributes)
        return output

    def nodes(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Append a node with named outputs; an empty name leaves an optional output out."""
        self._nodes.append(self._onnx.helper.make_node(op, inputs, outputs, **attributes))

    def cast(self, value: str, dtype: Any, output: str = "") -> str:
        """Append a Cast."""
        return self.node("Cast", [value], output, to=self._code(dtype))

    def input(self, name: str, dtype: Any, shape: Shape) -> str:
        """Declare a graph input."""
        self._inputs.append(self._info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: Any, shape: Shape) -> None:
        """Declare a graph output."""
        self._outputs.append(self._info(name, dtype, shape))

    def proto(self) -> Any:
        """The GraphProto."""
        return self._onnx.helper.make_graph(
            self._nodes, "edgernn", self._inputs, self._outputs, self._initializers
        )

    def model(self) -> bytes:
        """The serialized model; the same graph gives the same bytes."""
        model = self._onnx.helper.make_model(
            self.proto(),
            producer_name="edgernn",
            ir_version=IR_VERSION,
            opset_imports=[self._onnx.helper.make_opsetid("", OPSET)],
        )
        return bytes(model.SerializeToString(deterministic=True))

    def _code(self, dtype: Any) -> int:
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _info(self, name: str, dtype: Any, shape: Shape) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, self._code(dtype), list(shape))


def _short_names() -> Iterator[str]:
    """All identifiers, shortest first: names are a third of a small model."""
    for length in itertools.count():
        for tail in itertools.product(_CHARACTERS, repeat=length):
            for first in _LETTERS:
                yield first + "".join(tail)
