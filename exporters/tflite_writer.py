"""The flatbuffer of a .tflite file: tensors, buffers, operators, subgraphs and one signature.

Schema: tensorflow/lite/schema/schema.fbs. The version declared for an operator is the first one
that has its int16 kernel (tensorflow/lite/tools/versioning/op_version.cc), so a runtime without
that kernel refuses the file when it loads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.tflite_compact import compact_builder, packed_once
from edgernn.runtime.errors import MissingExtraError
from edgernn.runtime.program import Scale

VERSIONS: Final = {
    "ADD": 3,
    "CAST": 3,
    "CONCATENATION": 3,
    "CONV_2D": 4,
    "DEQUANTIZE": 3,
    "DYNAMIC_UPDATE_SLICE": 1,
    "FULLY_CONNECTED": 7,
    "GATHER": 4,
    "GREATER": 1,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MINIMUM": 4,
    "MUL": 4,
    "QUANTIZE": 2,
    "RELU": 3,
    "RESHAPE": 1,
    "RIGHT_SHIFT": 1,
    "SELECT_V2": 1,
    "SHAPE": 1,
    "SPLIT": 4,
    "SPLIT_V": 1,
    "SUB": 5,
    "TANH": 3,
    "TILE": 1,
    "WHILE": 1,
}


class ModelWriter:
    """The first subgraph under construction; a tensor is known by its index in its subgraph.

    rank: dimensions of the tensors between operators, all 1 but the last.
    reserved: the names users see; no other tensor gets one of them.
    Raises MissingExtraError without ai-edge-litert or flatbuffers.
    """

    def __init__(self, rank: int, reserved: Collection[str]) -> None:
        self.schema, self._flatbuffers = _load_schema()
        self.rank = rank
        self._reserved = set(reserved)
        self._names: set[str] = set()
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}
        # Buffer 0 is the empty one, by convention.
        self._buffers: dict[bytes, int] = {b"": 0}
        self._quantizations: dict[tuple[Scale, ...], Any] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        self._options: dict[tuple[str, str], Any] = {}
        self._others: list[Any] = []

    def subgraph(self) -> ModelWriter:
        """A writer of another subgraph of the same file. What it writes goes to the same buffers:
        equal constants of all subgraphs are in the file once."""
        other = copy(self)
        other._reserved, other._names = set(), set()
        other._tensors, other._operators, other._constants = [], [], {}
        return other

    def close(self, inputs: Sequence[int], outputs: Sequence[int]) -> int:
        """End a writer made by `subgraph`; returns the index of its subgraph in the file."""
        self._others.append(self._graph(inputs, outputs, None))
        return len(self._others)

    def inner_shape(self, size: int) -> tuple[int, ...]:
        """The shape of a vector between operators."""
        return (1,) * (self.rank - 1) + (size,)

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        scale: Scale | None,
        dtype: str = "INT16",
        *,
        public: bool = False,
    ) -> int:
        """Declare a tensor that is computed or an input. A name that is taken gets underscores."""
        quantization = None if scale is None else self._quantization([scale])
        return self._append(self._free_name(name, public), shape, dtype, b"", quantization)

    def constant(self, name: str, array: NDArray[Any], scales: Sequence[Scale] = ()) -> int:
        """Declare a constant; scales, one or one per row, quantize its first dimension.

        Equal constants without scales, such as the axis of every split, are one tensor.
        """
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        key = (array.dtype.char, array.shape, data)
        if not scales and key in self._constants:
            return self._constants[key]
        quantization = self._quantization(scales) if scales else None
        dtype = array.dtype.name.upper()
        index = self._append(self._free_name(name, False), array.shape, dtype, data, quantization)
        if not scales:
            self._constants[key] = index
        return index

    def dtype(self, index: int) -> int:
        """The dtype of a tensor, a TensorType of the schema."""
        code: int = self._tensors[index].type
        return code

    def is_computed(self, index: int) -> bool:
        """Does an operator write the tensor?"""
        return any(index in op.outputs for op in self._operators)

    def any_length(self, index: int, axis: int) -> None:
        """Tell tools that users may resize this dimension of the tensor."""
        shape = self._tensors[index].shape.copy()
        shape[axis] = -1
        self._tensors[index].shapeSignature = shape

    def rename(self, index: int, name: str) -> None:
        """Give a tensor one of the reserved names."""
        self._tensors[index].name = self._free_name(name, True)

    def operator(
        self, code: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None
    ) -> None:
        """Append an operator; options: an object of the schema, such as AddOptionsT."""
        s = self.schema
        kind = "NONE" if options is None else type(options).__name__.removesuffix("T")
        if options is not None:
            key = (kind, repr({k: str(v) for k, v in vars(options).items()}))
            options = self._options.setdefault(key, packed_once(options))
        self._operators.append(
            s.OperatorT(
                opcodeIndex=self._codes.setdefault(code, len(self._codes)),
                inputs=np.array(inputs, np.int32),
                outputs=np.array(outputs, np.int32),
                builtinOptionsType=getattr(s.BuiltinOptions, kind),
                builtinOptions=options,
            )
        )

    def reshape(self, source: int, name: str, shape: Sequence[int], *, public: bool = False) -> int:
        """A copy of a tensor in another shape, or in the same: the exact identity."""
        like = self._tensors[source]
        copy = self._append(self._free_name(name, public), shape, like.type, b"", like.quantization)
        options = self.schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
        self.operator("RESHAPE", [source], [copy], options)
        return copy

    def finish(
        self,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        description: str,
        metadata: Mapping[str, bytes],
        signature: str = "step",
    ) -> bytes:
        """The file's content, with one signature: public name -> tensor index."""
        s = self.schema
        graph = self._graph(list(inputs.values()), list(outputs.values()), signature)
        definition = s.SignatureDefT(
            inputs=[s.TensorMapT(name, index) for name, index in inputs.items()],
            outputs=[s.TensorMapT(name, index) for name, index in outputs.items()],
            signatureKey=signature,
        )
        entries = [
            s.MetadataT(name, self._buffers.setdefault(data, len(self._buffers)))
            for name, data in metadata.items()
        ]
        buffers = [
            s.BufferT(data=np.frombuffer(data, np.uint8) if data else None)
            for data in self._buffers
        ]
        model = s.ModelT(
            version=3,
            operatorCodes=[self._operator_code(code) for code in self._codes],
            subgraphs=[graph, *self._others],
            description=description,
            buffers=buffers,
            metadata=entries,
            signatureDefs=[definition],
        )
        builder = compact_builder(self._flatbuffers)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _graph(self, inputs: Sequence[int], outputs: Sequence[int], name: str | None) -> Any:
        return self.schema.SubGraphT(
            tensors=self._tensors,
            inputs=np.array(inputs, np.int32),
            outputs=np.array(outputs, np.int32),
            operators=self._operators,
            name=name,
        )

    def _append(
        self, name: str, shape: Sequence[int], dtype: str | int, data: bytes, quantization: Any
    ) -> int:
        s = self.schema
        self._tensors.append(
            s.TensorT(
                shape=np.array(shape, np.int32),
                type=getattr(s.TensorType, dtype) if isinstance(dtype, str) else dtype,
                buffer=self._buffers.setdefault(data, len(self._buffers)),
                name=name,
                quantization=quantization,
            )
        )
        return len(self._tensors) - 1

    def _free_name(self, name: str, public: bool) -> str:
        """Users' names as they are. Inside, a number: names of layers would be a third of a small
        file."""
        if not public:
            name = str(len(self._tensors))
        while name in self._names or (name in self._reserved and not public):
            name += "_"
        self._names.add(name)
        return name

    def _quantization(self, scales: Sequence[Scale]) -> Any:
        key = tuple(scales)
        if key not in self._quantizations:
            parameters = self.schema.QuantizationParametersT(
                scale=np.array([float(scale) for scale in scales], np.float32),
                zeroPoint=np.zeros(len(scales), np.int64),
                quantizedDimension=0,
            )
            self._quantizations[key] = packed_once(parameters)
        return self._quantizations[key]

    def _operator_code(self, code: str) -> Any:
        number = getattr(self.schema.BuiltinOperator, code)
        # Old readers know only the first field, new ones take the larger of the two.
        return self.schema.OperatorCodeT(
            deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=VERSIONS[code]
        )


def _load_schema() -> tuple[Any, Any]:
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingExtraError(
            f"a .tflite file cannot be written without {error.name}; "
            "install it with: pip install 'edgernn[tflite]'"
        ) from error
    return schema_py_generated, flatbuffers
