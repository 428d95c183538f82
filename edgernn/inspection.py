"""What is in an exported file: its network, inputs, outputs, states, operators, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgernn.drawing import drawing_of, text
from edgernn.float_file import LAYOUT as FLOAT_LAYOUT
from edgernn.float_file import FloatModel, load_float
from edgernn.runtime.container import format_of
from edgernn.runtime.errors import FileFormatError, MissingExtraError
from edgernn.runtime.file import load_any
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

Rows = list[dict[str, Any]]
FLOAT_NETWORK: Final = "float network of an edgernn program"


def inspect_file(path: Path) -> dict[str, Any]:
    """Kind, bytes and tables (title -> rows) of a .safetensors, .tflite or .onnx file; of a
    program also `drawing`, its network as text.

    FileFormatError for another kind of file or a damaged one, MissingExtraError if the package
    that reads it is not installed.
    """
    readers = {".safetensors": _program, ".tflite": _tflite, ".onnx": _onnx}
    if path.suffix not in readers:
        raise FileFormatError(f"{path} is none of {', '.join(readers)}")
    if not path.is_file():
        raise FileFormatError(f"there is no file {path}")
    kind, tables = readers[path.suffix](path)
    found = {"file": str(path), "kind": kind, "bytes": path.stat().st_size, "tables": tables}
    if path.suffix == ".safetensors" and kind != FLOAT_NETWORK:
        found["drawing"] = text(drawing_of(load_any(path)))
    return found


def draw_file(path: Path) -> str:
    """The network of a .safetensors program as an SVG document. FileFormatError for another file
    or a damaged one."""
    from edgernn.svg import svg

    if path.suffix != ".safetensors":
        raise FileFormatError(f"{path} is no .safetensors program; draw the one that it came from")
    return svg(drawing_of(load_any(path)), path.name)


def _program(path: Path) -> tuple[str, dict[str, Rows]]:
    if format_of(path) == FLOAT_LAYOUT.format:
        return FLOAT_NETWORK, _float_tables(load_float(path))
    program = load_any(path)
    if isinstance(program, Window):
        return "edgernn window program", _window_tables(program)
    return "edgernn program", _step_tables(program)


def _float_tables(model: FloatModel) -> dict[str, Rows]:
    graph = model.graph

    def row(name: str, value: str) -> dict[str, Any]:
        reach = f"+-{model.amplitudes[value]:.4g}"
        return {"name": name, "size": graph.sizes[value], "reached": reach}

    layers: Rows = [
        {
            "operator": node.kind,
            "reads": " ".join(node.reads),
            "writes": node.name,
            "size": graph.sizes[node.name],
            "parameters": sum(array.size for array in node.arrays.values()),
            "reached": f"+-{model.amplitudes[node.name]:.4g}",
        }
        for node in graph.nodes
    ]
    return {
        "totals": [{"parameters": sum(r["parameters"] for r in layers), "layers": len(layers)}],
        "inputs": [row(name, name) for name in graph.inputs],
        "outputs": [row(output.name, output.value) for output in graph.outputs],
        "states": [row(state.name, state.value) for state in graph.states],
        "operators": layers,
    }


def _window_tables(window: Window) -> dict[str, Rows]:
    tensors = window.tensors()
    tables: dict[str, Rows] = {
        "totals": [
            {
                "int8 weights": window.weight_count,
                "weight rows": window.row_count,
                "stages": len(window.stages),
            }
        ],
        "inputs": [{"name": t.name, "size": t.size, "scale": str(t.scale)} for t in window.inputs],
        "outputs": [
            {
                "name": name,
                "size": tensors[source.value].size,
                "scale": str(tensors[source.value].scale),
                "of": source.value,
                "at": source.at,
            }
            | _head(window.metadata, name)
            for name, source in window.outputs.items()
        ],
    }
    for number, stage in enumerate(window.stages):
        own = _step_tables(stage.program)
        for part in ("states", "operators"):
            tables[f"{part} of stage {number + 1}, {stage.direction}"] = own[part]
    return tables


def _head(metadata: Mapping[str, Any], output: str) -> dict[str, str]:
    """What the model applied to its outputs and the program does not, if anything."""
    heads = metadata.get("heads")
    if not isinstance(heads, Mapping) or not heads:
        return {}
    return {"head left out": str(heads.get(output, ""))}


def _step_tables(program: Program) -> dict[str, Rows]:
    def row(name: str, tensor: str) -> dict[str, Any]:
        t = program.tensors[tensor]
        reach = 32767 * float(t.scale)
        return {"name": name, "size": t.size, "scale": str(t.scale), "range": f"+-{reach:.4g}"}

    operators: Rows = []
    for op in program.operators:
        array = op.matrix.weight if op.matrix else op.table
        shape = "" if array is None else "x".join(map(str, array.shape))
        operators.append(
            {
                "operator": op.kind,
                "reads": " ".join(op.inputs),
                "writes": " ".join(op.outputs),
                "size": sum(program.tensors[n].size for n in op.outputs),
                "weights": shape,
            }
        )
    states: Rows = [
        row(s.name, s.input) | {"initial": "given" if s.initial.any() else "0"}
        for s in program.states
    ]
    calibration = dict(program.metadata).get("calibration") or {}
    settings: Rows = [{"setting": str(k), "value": str(v)} for k, v in calibration.items()]
    totals: Rows = [
        {
            "int8 weights": program.weight_count,
            "weight rows": program.row_count,
            "operators": len(program.operators),
            "state bytes": 2 * sum(len(s.initial) for s in program.states),
        }
    ]
    return {
        "totals": totals,
        "inputs": [row(name, name) for name in program.inputs],
        "outputs": [
            row(name, tensor) | _head(program.metadata, name)
            for name, tensor in program.outputs.items()
        ],
        "states": states,
        "operators": operators,
        "calibration": settings,
    }


def _tflite(path: Path) -> tuple[str, dict[str, Rows]]:
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ModuleNotFoundError:
        raise MissingExtraError(
            "reading a .tflite file needs ai-edge-litert; "
            "install it with: pip install 'edgernn[tflite]'"
        ) from None
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise FileFormatError(f"{path} is not a .tflite file")
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        graph = model.subgraphs[0]
        names = {v: k for k, v in vars(schema.BuiltinOperator).items() if k.isupper()}
        types = {v: k.lower() for k, v in vars(schema.TensorType).items() if k.isupper()}
        codes = [names[model.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators]

        def rows(maps: Any) -> Rows:
            result: Rows = []
            for entry in maps:
                t = graph.tensors[entry.tensorIndex]
                scale = None if t.quantization is None else t.quantization.scale
                result.append(
                    {
                        "name": entry.name.decode(),
                        "shape": "x".join(map(str, t.shape)),
                        "dtype": types[t.type],
                        "scale": "" if scale is None or not len(scale) else f"{scale[0]:.9g}",
                    }
                )
            return result

        tables: dict[str, Rows] = {}
        for signature in model.signatureDefs or []:
            title = signature.signatureKey.decode()
            tables[f"inputs of {title}"] = rows(signature.inputs)
            tables[f"outputs of {title}"] = rows(signature.outputs)
        tables["operators"] = _counted(codes)
    except Exception as error:
        # The generated reader has no verifier: damage shows as any exception.
        raise FileFormatError(f"{path} is damaged ({type(error).__name__})") from None
    return "TensorFlow Lite model", tables


def _onnx(path: Path) -> tuple[str, dict[str, Rows]]:
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingExtraError(
            "reading an .onnx file needs onnx; install it with: pip install 'edgernn[onnx]'"
        ) from None
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:
        # protobuf and the checker have exceptions of their own.
        raise FileFormatError(
            f"{path} is not a sound .onnx file ({type(error).__name__})"
        ) from None

    def rows(values: Any) -> Rows:
        return [
            {
                "name": v.name,
                "shape": "x".join(
                    d.dim_param or str(d.dim_value) for d in v.type.tensor_type.shape.dim
                ),
                "dtype": onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type).lower(),
            }
            for v in values
        ]

    constants = Counter(
        onnx.TensorProto.DataType.Name(i.data_type).lower() for i in model.graph.initializer
    )
    return "ONNX model", {
        "opsets": [
            {"domain": o.domain or "ai.onnx", "version": o.version} for o in model.opset_import
        ],
        "inputs": rows(model.graph.input),
        "outputs": rows(model.graph.output),
        "operators": _counted([node.op_type for node in model.graph.node]),
        "constants": [{"dtype": k, "tensors": n} for k, n in sorted(constants.items())],
    }


def _counted(kinds: list[str]) -> Rows:
    return [{"operator": k, "count": n} for k, n in sorted(Counter(kinds).items())]
