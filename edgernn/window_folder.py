"""A window program in every format, and the verification of the files.

The counterpart of what `exporting` and `folder` do for programs that stream.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgernn.distance import Distance, TensorDistance
from edgernn.graph import FloatArray
from edgernn.progress import Progress
from edgernn.runtime.errors import FileFormatError, InputError, MissingExtraError
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime
from edgernn.verify import Row, Verification
from edgernn.window_verify import (
    PlainWindowEngine,
    WindowEngine,
    verification_windows,
    verify_window,
)

DEFAULT_STEPS: Final = 32
C_FOLDER: Final = "c"


def window_steps(window: Window) -> int:
    """The length of the windows of a .tflite file: that of the longest calibration sequence."""
    steps = window.metadata.get("window", DEFAULT_STEPS)
    return steps if isinstance(steps, int) and 1 <= steps <= 1 << 16 else DEFAULT_STEPS


def window_content(
    window: Window, formats: Collection[str], options: Mapping[str, Any]
) -> dict[str, bytes]:
    """The files of the formats, name -> content. options: of the export; `window` is the length of
    the .tflite's windows."""
    content: dict[str, bytes] = {}
    if options.get("float_io"):
        raise InputError(
            "a window program has int16 inputs and outputs in every format; leave out --float-io "
            "and use the scales in report.json"
        )
    if "tflite" in formats:
        from edgernn.exporters.tflite_window import to_tflite_window

        content["model.tflite"] = to_tflite_window(
            window, options["window"], product=options["tflite_op"]
        )
    if "onnx" in formats:
        from edgernn.exporters.onnx_window import to_onnx_window

        content["model.onnx"] = to_onnx_window(window)
    if "c" in formats:
        from edgernn.exporters.c.window import to_c_window

        files = to_c_window(window, options["c_name"])
        content |= {f"{C_FOLDER}/{name}": data for name, data in files.items()}
    return content


def verify_window_folder(
    folder: Path,
    window: Window,
    options: Mapping[str, Any],
    sample: Sequence[Mapping[str, FloatArray]],
    steps: int,
    seed: int,
    progress: Progress | None,
) -> Verification:
    """Every file of a folder whose engine is installed, on whole windows."""
    engines: list[WindowEngine] = [PlainWindowEngine(window)]
    skipped: list[Row] = []
    for suffix in ("tflite", "onnx"):
        path = folder / f"model.{suffix}"
        if not path.is_file():
            skipped.append(Row(suffix, note=f"no {path.name} in this folder"))
            continue
        try:
            engines.append(load_window_engine(suffix, path, window))
        except MissingExtraError as error:
            skipped.append(Row(suffix, note=str(error)))
    if (folder / C_FOLDER).is_dir():
        try:
            engines += _c_engines(folder, window, options)
        except MissingExtraError as error:
            skipped.append(Row("c", note=str(error)))
    windows = {
        length: verification_windows(window, sample, steps, seed, length)
        for length in dict.fromkeys(engine.steps for engine in engines)
    }
    result = verify_window(window, engines, windows, progress)
    result.rows += skipped
    floats = folder / "model.float.onnx"
    if not sample or not floats.is_file():
        result.distance_note = "no sample and model.float.onnx to measure the distance with"
    else:
        try:
            result.distance = _distance(window, floats, sample, steps)
        except MissingExtraError as error:
            result.distance_note = str(error)
    return result


def load_window_engine(suffix: str, content: bytes | Path, window: Window) -> WindowEngine:
    """The engine of a .tflite or .onnx file, or of its content. suffix: "tflite" or "onnx"."""
    if suffix == "tflite":
        from edgernn.engines.tflite_window import TFLiteWindowEngine

        return TFLiteWindowEngine(content, window)
    from edgernn.engines.onnx_window import OnnxWindowEngine

    return OnnxWindowEngine(content, window)


def _c_engines(folder: Path, window: Window, options: Mapping[str, Any]) -> list[WindowEngine]:
    """What the program exports to, compiled here, plain and with the kernels of this processor;
    the folder must hold exactly that."""
    from edgernn.engines.native import PORTABLE
    from edgernn.engines.native_window import CWindowEngine
    from edgernn.exporters.c.window import to_c_window
    from edgernn.folder import require_same_c
    from edgernn.native.compiler import Compiler

    name = options.get("c_name")
    if not isinstance(name, str):
        raise FileFormatError(f"{folder} does not say how its C was named; export it again")
    files = to_c_window(window, name)
    require_same_c(folder, files)
    engines: list[WindowEngine] = [CWindowEngine(window, files, PORTABLE)]
    native = CWindowEngine(window, files, Compiler().native_flags())
    if native.kernels != "portable":
        engines.append(native)
    return engines


def _distance(
    window: Window, floats: Path, sample: Sequence[Mapping[str, FloatArray]], most: int
) -> Distance:
    """Outputs against those of the float model, window by window."""
    from edgernn.engines.onnx import FloatOnnx

    model, runtime = FloatOnnx(floats), WindowRuntime(window)
    tensors = window.tensors()
    batch_first = bool(window.metadata.get("batch_first", True))
    signal, error = (dict.fromkeys(window.outputs, 0.0) for _ in range(2))
    largest = dict.fromkeys(window.outputs, 0.0)
    saturated = dict.fromkeys(window.outputs, 0)
    steps = sequences = 0
    for sequence in sample:
        length = len(next(iter(sequence.values())))
        if sequences and steps + length > most:
            break
        axis = 0 if batch_first else 1
        real = model.run({n: np.expand_dims(v, axis) for n, v in sequence.items()}, {})
        found = runtime.run(*(sequence[t.name] for t in window.inputs))
        ours = found if isinstance(found, tuple) else (found,)
        for (name, source), value in zip(window.outputs.items(), ours, strict=True):
            wanted = real[name].reshape(value.shape).astype(np.float64)
            difference = wanted - value
            signal[name] += float(np.sum(wanted**2))
            error[name] += float(np.sum(difference**2))
            largest[name] = max(largest[name], float(np.abs(difference).max()))
            integers = np.rint(value / float(tensors[source.value].scale))
            saturated[name] += int(np.count_nonzero((integers >= 32767) | (integers <= -32768)))
        steps, sequences = steps + length, sequences + 1
    rows = [
        TensorDistance(
            name,
            round(10 * float(np.log10(signal[name] / error[name])), 2)
            if error[name] and signal[name]
            else 120.0,
            largest[name],
            {},
            saturated[name],
        )
        for name in window.outputs
    ]
    return Distance(steps, sequences, rows)
