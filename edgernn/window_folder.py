"""A window program in every format, and the verification of the files.

The counterpart of what `exporting` and `folder` do for programs that stream.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgernn.distance import measure_window_distance
from edgernn.float_file import FLOAT_FILE, float_model_of
from edgernn.folder import C_FOLDER, c_name, loaded_files, require_same_c
from edgernn.graph import FloatArray
from edgernn.progress import Progress
from edgernn.runtime.errors import InputError, MissingExtraError
from edgernn.runtime.window import Window
from edgernn.verify import Row, Verification
from edgernn.window_verify import (
    PlainWindowEngine,
    WindowEngine,
    verification_windows,
    verify_window,
)

DEFAULT_STEPS: Final = 32


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
    loaded, skipped = loaded_files(
        folder, lambda suffix, path: load_window_engine(suffix, path, window)
    )
    engines: list[WindowEngine] = [
        PlainWindowEngine(window),
        *(engine for _, engine in loaded),
    ]
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
    floats = folder / FLOAT_FILE
    if not sample or not floats.is_file():
        result.distance_note = f"no sample and {FLOAT_FILE} to measure the distance with"
    else:
        graph = float_model_of(window, floats).graph
        result.distance = measure_window_distance(window, graph, sample, steps)
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
    from edgernn.native.compiler import Compiler

    files = to_c_window(window, c_name(folder, options))
    require_same_c(folder, files)
    engines: list[WindowEngine] = [CWindowEngine(window, files, PORTABLE)]
    native = CWindowEngine(window, files, Compiler().native_flags())
    if native.kernels != "portable":
        engines.append(native)
    return engines
