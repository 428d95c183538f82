"""Write a program in every format asked for, verify it, and only then put it in place."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from edgernn.float_file import FLOAT_FILE, float_to_bytes
from edgernn.folder import C_FOLDER, verify_folder
from edgernn.graph import Graph
from edgernn.placing import put_in_place, write_whole
from edgernn.progress import Progress
from edgernn.quantization import Quantized, QuantizedWindow
from edgernn.runtime.errors import InputError
from edgernn.runtime.file import to_bytes
from edgernn.runtime.program import Operator, Program, Tensor
from edgernn.runtime.window import Window, window_of
from edgernn.sample import SAMPLE, write_sample
from edgernn.verify import require
from edgernn.version import __version__
from edgernn.window_folder import window_content, window_steps

FORMATS: Final = ("numpy", "tflite", "onnx", "c")
SHORT_VERIFY: Final = 1_000
RECIPE_FILE: Final = "recipe.json"
"""Of a network that a recipe trained: what an application needs beside the program."""
FILES: Final = (
    "model.safetensors",
    "model.tflite",
    "model.window.tflite",
    "model.onnx",
    "model.sequence.onnx",
    "model.float.onnx",
    FLOAT_FILE,
    SAMPLE,
    RECIPE_FILE,
    "report.json",
)


def export(
    program: Program | Window,
    directory: str | os.PathLike[str],
    formats: Collection[str] = ("tflite", "onnx"),
    *,
    float_io: bool = False,
    tflite_op: str = "conv_2d",
    name: str = "model",
    window: int | None = None,
    verify_steps: int = SHORT_VERIFY,
    seed: int = 0,
    progress: Progress | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """Write model.safetensors, the formats and report.json into a folder; returns the report.

    program: from `edgernn.quantize` (then the float reference and a sample of the calibration data
    are written too) or loaded from a file. formats: of "numpy" (always written), "tflite", "onnx"
    and "c".
    float_io: float32 inputs and outputs in .tflite and .onnx. tflite_op: conv_2d, or
    fully_connected. name: of the model in C, a lower-case identifier. window: steps of the windows
    that a .tflite takes before it is resized: of a window program, by default those of the longest
    calibration sequence; of a program that streams, which then gets a model.window.tflite beside
    its step. verify_steps: steps of the
    verification that the files must pass. extra: further files that belong to the model, by name.
    All files appear together, or none: MismatchError, MissingExtraError or EdgernnError says why.
    """
    if not isinstance(program, (Program, Window)):
        raise InputError(
            f"export takes a program, not {type(program).__name__}; make one with edgernn.quantize"
        )
    formats = (formats,) if isinstance(formats, str) else formats
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise InputError(f"format {unknown[0]!r} is none of {', '.join(FORMATS)}")
    content = {"model.safetensors": to_bytes(program)}
    options: dict[str, Any] = {"float_io": float_io, "tflite_op": tflite_op, "seed": seed}
    if "c" in formats:
        options["c_name"] = name
    if isinstance(program, Window):
        options["window"] = window_steps(program) if window is None else window
        content |= window_content(program, formats, options)
        report = _window_report(program, options)
        if "c" in formats:
            report["c"] = _c_window_report(program, name, options["window"])
    else:
        content |= _step_content(program, formats, options)
        if window is not None:
            options["window"] = window
            content |= _windowed(program, formats, options)
        report = _report(program, options)
        if "c" in formats:
            report["c"] = _c_report(program, name)
    if isinstance(program, (Quantized, QuantizedWindow)) and program.float_model is not None:
        content[FLOAT_FILE] = float_to_bytes(program.float_model)
        if "onnx" in formats:
            content["model.float.onnx"] = _float_reference(program.float_model.graph)
        if program.sample:
            content[SAMPLE] = write_sample(program.sample)
    content |= extra or {}
    report |= {
        "files": {file: len(data) for file, data in content.items()},
        "sha256": {file: hashlib.sha256(data).hexdigest() for file, data in content.items()},
    }
    content["report.json"] = _json(report)

    def check(staging: Path) -> None:
        result = verify_folder(staging, verify_steps, seed, progress)
        require(result)
        report["verification"] = result.as_json()
        write_whole(staging / "report.json", _json(report))

    put_in_place(Path(directory), content, check, (*FILES, *_generated_c(Path(directory))))
    return report


def export_float(graph: Graph, directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Write the float reference alone: model.float.onnx and report.json; returns the report."""
    content = {"model.float.onnx": _float_reference(graph)}
    report = {
        "edgernn": __version__,
        "files": {name: len(data) for name, data in content.items()},
        "inputs": {name: graph.sizes[name] for name in graph.inputs},
        "outputs": {o.name: graph.sizes[o.value] for o in graph.outputs},
        "heads": {o.name: o.head for o in graph.outputs if o.head},
        "states": {s.name: len(s.initial) for s in graph.states},
        "parameters": sum(a.size for node in graph.nodes for a in node.arrays.values()),
    }
    content["report.json"] = _json(report)
    put_in_place(Path(directory), content, earlier=(*FILES, *_generated_c(Path(directory))))
    return report


def _float_reference(graph: Graph) -> bytes:
    from edgernn.float_onnx import float_onnx

    return float_onnx(graph)


def _json(report: dict[str, Any]) -> bytes:
    return (json.dumps(report, indent=2) + "\n").encode()


def _step_content(
    program: Program, formats: Collection[str], options: dict[str, Any]
) -> dict[str, bytes]:
    """The files of a program that streams."""
    content: dict[str, bytes] = {}
    float_io = options["float_io"]
    if "tflite" in formats:
        from edgernn.exporters.tflite import to_tflite

        content["model.tflite"] = to_tflite(
            program, product=options["tflite_op"], float_io=float_io
        )
    if "onnx" in formats:
        from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence

        content["model.onnx"] = to_onnx(program, float_io=float_io)
        content["model.sequence.onnx"] = to_onnx_sequence(program)
    if "c" in formats:
        from edgernn.exporters.c import to_c

        files = to_c(program, options["c_name"])
        content |= {f"{C_FOLDER}/{file}": data for file, data in files.items()}
    return content


def _windowed(
    program: Program, formats: Collection[str], options: dict[str, Any]
) -> dict[str, bytes]:
    """The whole windows of a program that streams: what the other formats have already."""
    if "tflite" not in formats:
        raise InputError(
            "a window is a form of .tflite for a program that streams; add tflite to the formats "
            "or leave out the window"
        )
    from edgernn.exporters.tflite_window import to_tflite_window

    content = to_tflite_window(window_of(program), options["window"], product=options["tflite_op"])
    return {"model.window.tflite": content}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    scale = tensor.scale
    return {"size": tensor.size, "scale": float(scale), "scale_exact": str(scale)}


def _report(program: Program, options: dict[str, Any]) -> dict[str, Any]:
    tensors, kinds = program.tensors, [op.kind for op in program.operators]
    return {
        "edgernn": __version__,
        "options": options,
        "int8_weights": program.weight_count,
        "weight_rows": program.row_count,
        "operators": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "inputs": {name: _tensor(tensors[name]) for name in program.inputs},
        "outputs": {name: _tensor(tensors[t]) for name, t in program.outputs.items()},
        "heads": dict(program.metadata).get("heads", {}),
        "states": {
            s.name: _tensor(tensors[s.input]) | {"initial_is_zero": not s.initial.any()}
            for s in program.states
        },
        "embeddings": _embeddings(program.operators),
        "calibration": dict(program.metadata).get("calibration"),
    }


def _embeddings(operators: Iterable[Operator]) -> dict[str, Any]:
    """Tables of token ids, which often outweigh all the rest."""
    return {
        op.name: {"rows": len(op.table), "columns": op.table.shape[1], "bytes": op.table.nbytes}
        for op in operators
        if op.kind == "embedding" and op.table is not None
    }


def _window_report(window: Window, options: dict[str, Any]) -> dict[str, Any]:
    tensors = window.tensors()
    return {
        "edgernn": __version__,
        "options": options,
        "int8_weights": window.weight_count,
        "weight_rows": window.row_count,
        "inputs": {tensor.name: _tensor(tensor) for tensor in window.inputs},
        "outputs": {
            name: _tensor(tensors[source.value]) | {"of": source.value, "at": source.at}
            for name, source in window.outputs.items()
        },
        "heads": dict(window.metadata).get("heads", {}),
        "unreturned": dict(window.metadata).get("unreturned", 0),
        "stages": [
            {
                "direction": stage.direction,
                "reads": {name: [s.value, s.at] for name, s in stage.sources.items()},
                "writes": list(stage.program.outputs),
                "operators": len(stage.program.operators),
            }
            for stage in window.stages
        ],
        "embeddings": _embeddings(op for s in window.stages for op in s.program.operators),
        "calibration": dict(window.metadata).get("calibration"),
    }


def _c_report(program: Program, name: str) -> dict[str, Any]:
    """What the C step takes; see `edgernn.footprint.estimate` for what is counted."""
    from edgernn.exporters.c.model import Model
    from edgernn.footprint.estimate import estimates

    model = Model(program, name)
    return {
        "name": name,
        "state_bytes": model.state_bytes,
        "scratch_bytes": 2 * model.schedule.scratch,
        "targets": estimates(model),
    }


def _c_window_report(window: Window, name: str, steps: int) -> dict[str, Any]:
    """The same of a window program, for windows of `steps` steps."""
    from edgernn.exporters.c.window_model import WindowModel
    from edgernn.footprint.window import window_estimates

    model = WindowModel(window, name)
    return {
        "name": name,
        "steps": steps,
        "buffer_bytes": 2 * model.buffer_size(steps),
        "state_bytes": model.state_bytes,
        "scratch_bytes": model.scratch_bytes,
        "targets": window_estimates(model, steps),
    }


def _generated_c(directory: Path) -> list[str]:
    """The C files of an earlier export into this folder, by its report."""
    try:
        names = json.loads((directory / "report.json").read_text())["files"]
        ours = re.compile(rf"{C_FOLDER}/(zephyr/|examples/(stream|window)/)?[\w.]+")
        return [str(n) for n in names if ours.fullmatch(str(n))]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
