"""The job of a benchmark: one folder with the model in every engine's form, and the stream."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.bench.engines import KINDS
from edgernn.bench.engines.base import STREAM, Job
from edgernn.graph import Graph
from edgernn.runtime.engine import quantize
from edgernn.runtime.errors import EdgernnError, FileFormatError
from edgernn.runtime.file import to_bytes
from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.tokens import token_limits
from edgernn.runtime.window import Window, window_of
from edgernn.sample import SAMPLE, read_sample
from edgernn.streams import WHOLE
from edgernn.window_folder import window_steps

LENGTH: Final = 2048
"""Distinct steps of the stream; after them it begins again, the state carried on."""
Sample = Sequence[Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Model:
    """What is measured.

    program: integer program. graph: the float network, None if it is not known. sample: sequences
    of real data, input name -> (T, F). files: name -> path of what is there already.
    """

    program: Program | Window
    graph: Graph | None = None
    sample: Sample = ()
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """job: the folder. reasons: file -> why it is not there. sizes: file -> bytes."""

    job: Job
    model: Model
    reasons: Mapping[str, str]
    sizes: Mapping[str, int]

    def absent(self, engine: str) -> str | None:
        """Why an engine cannot take part; None if all it reads is there."""
        return next((self.reasons[f] for f in KINDS[engine].reads if f in self.reasons), None)


def read_folder(folder: Path, graph: Graph | None = None) -> Model:
    """An exported folder. graph: the float network, if the folder does not have it.

    FileFormatError if the program or another file is not sound, or the graph is of another model.
    """
    from edgernn.float_file import FLOAT_FILE, float_model_of, require_same_network
    from edgernn.folder import export_options
    from edgernn.runtime.file import load_any

    source = folder / "model.safetensors"
    if not source.is_file():
        raise FileFormatError(
            f"{folder} holds no model.safetensors; write one with `edgernn export --int8`"
        )
    export_options(folder)
    program = load_any(source)
    names = [t.name for t in _inputs(program)]
    files = {n: folder / n for n in ("model.tflite", "model.onnx") if (folder / n).is_file()}
    if graph is None and (folder / FLOAT_FILE).is_file():
        graph = float_model_of(program, folder / FLOAT_FILE).graph
        files[FLOAT_FILE] = folder / FLOAT_FILE
    elif graph is not None:
        require_same_network(program, graph, "the model that was named")
    return Model(program, graph, read_sample(folder / SAMPLE, names), files)


def prepare(
    model: Model, folder: Path, window: int | None = None, native: bool = True, seed: int = 0
) -> Prepared:
    """Write the job of a model into an empty folder.

    window: the steps of a window; a program that streams is then measured in whole windows too. By
    default a window program has those of its calibration. native: compile the C.
    """
    program = model.program
    files = dict(model.files)
    if window is not None and isinstance(program, Program):
        program = window_of(program)
        # These are of one step.
        files = {n: p for n, p in files.items() if n not in ("model.tflite", "model.onnx")}
    if isinstance(program, Window) and window is None:
        window = window_steps(program)
    stream = _stream(program, model.sample, seed)
    if window is not None:
        stream = {n: _cut(v, window) for n, v in stream.items()}
    job = _job(program, model.graph, folder, window)
    _write_stream(program, model.graph, job, stream)
    reasons = {}
    for name, make in _makers(program, model.graph, window, folder, native).items():
        path = folder / name
        try:
            if name in files:
                shutil.copyfile(files[name], path)
            elif isinstance(content := make(), bytes):
                path.write_bytes(content)
        except EdgernnError as error:
            reasons[name] = str(error)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    return Prepared(job, Model(program, model.graph, model.sample, files), reasons, sizes)


def _inputs(program: Program | Window) -> list[Tensor]:
    if isinstance(program, Window):
        return list(program.inputs)
    return [program.tensors[name] for name in program.inputs]


def _job(program: Program | Window, graph: Graph | None, folder: Path, window: int | None) -> Job:
    last: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    if isinstance(program, Window):
        once = program.once()
        last = tuple(n for n, s in program.outputs.items() if s.at != "step" or s.value in once)
    else:
        states = tuple(s.name for s in program.states)
    return Job(
        str(folder),
        window,
        tuple(t.name for t in _inputs(program)),
        tuple(program.outputs),
        states,
        tuple(s.name for s in graph.states) if graph else (),
        graph.batch_first if graph else True,
        last,
    )


def _write_stream(
    program: Program | Window,
    graph: Graph | None,
    job: Job,
    stream: Mapping[str, NDArray[np.int16]],
) -> None:
    arrays: dict[str, Any] = {}
    for t in _inputs(program):
        arrays[f"int/{t.name}"] = stream[t.name]
        # The very values that the program reads, so that both compute the same.
        arrays[f"float/{t.name}"] = stream[t.name] * np.float32(float(t.scale))
    if isinstance(program, Window):
        tensors = program.tensors()
        scales = {n: tensors[s.value].scale for n, s in program.outputs.items()}
    else:
        scales = {n: program.tensors[t].scale for n, t in program.outputs.items()}
        arrays |= {f"state-int/{s.name}": s.initial for s in program.states}
    arrays |= {f"scale/{n}": np.float64(float(scale)) for n, scale in scales.items()}
    if graph is not None:
        arrays |= {f"state-float/{s.name}": s.initial for s in graph.states}
    job.save()
    np.savez(job.path(STREAM), **arrays)


def _makers(
    program: Program | Window,
    graph: Graph | None,
    window: int | None,
    folder: Path,
    native: bool,
) -> dict[str, Callable[[], bytes | None]]:
    """File -> what makes its content, or writes it."""

    def tflite() -> bytes:
        if isinstance(program, Program):
            from edgernn.exporters.tflite import to_tflite

            return to_tflite(program)
        from edgernn.exporters.tflite_window import to_tflite_window

        return to_tflite_window(program, window or 1)

    def onnx() -> bytes:
        if isinstance(program, Program):
            from edgernn.exporters.onnx_step import to_onnx

            return to_onnx(program)
        from edgernn.exporters.onnx_window import to_onnx_window

        return to_onnx_window(program)

    def float_graph() -> Graph:
        if graph is None:
            raise FileFormatError(
                "the folder does not hold the float model; export it again, or name the model "
                "with --model"
            )
        return graph

    def float_onnx() -> bytes:
        from edgernn.float_onnx import float_onnx as written

        return written(float_graph())

    def floats() -> bytes:
        from edgernn.bench.floats import graph_to_bytes

        return graph_to_bytes(float_graph())

    def library() -> None:
        from edgernn.bench.compiled import compile_job

        if not native:
            raise FileFormatError("it was not asked for")
        compile_job(program, folder)

    return {
        "model.safetensors": lambda: to_bytes(program),
        "model.tflite": tflite,
        "model.onnx": onnx,
        "model.float.onnx": float_onnx,
        "model.float.safetensors": floats,
        "library.so": library,
    }


def _stream(program: Program | Window, sample: Sample, seed: int) -> dict[str, NDArray[np.int16]]:
    """Input -> (L, F) int16: the sample's sequences one after the other, else noise."""
    tensors, rng = _inputs(program), np.random.default_rng(seed)
    limits = token_limits(program) if isinstance(program, Program) else {}
    found = {}
    for t in tensors:
        if sample:
            whole = np.concatenate([quantize(s[t.name], t) for s in sample])
        elif t.scale == WHOLE:
            # Masks are 0 or 1; so are ids, where their table is not seen from here.
            most = np.maximum(limits.get(t.name, np.full(t.size, 2)), 1)
            whole = rng.integers(0, most, (LENGTH, t.size)).astype(np.int16)
        else:
            noise = rng.normal(0.0, 6000.0, (LENGTH, t.size))
            whole = np.clip(noise, -32768, 32767).astype(np.int16)
        found[t.name] = np.ascontiguousarray(whole[:LENGTH])
    return found


def _cut(values: NDArray[np.int16], window: int) -> NDArray[np.int16]:
    """(L, F) -> (W, T, F), repeated if it is shorter than a window."""
    repeated = np.tile(values, (max(1, -(-window // len(values))), 1))
    count = len(repeated) // window
    return np.ascontiguousarray(repeated[: count * window].reshape(count, window, -1))
