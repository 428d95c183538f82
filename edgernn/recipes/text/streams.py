"""A network of text, one token at a time: in float, or its integer program on any engine."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import Graph
from edgernn.recipes.text.trained import PROGRAM, Trained
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

ENGINES: Final = ("numpy", "native", "tflite", "onnx", "c", "float")


class Stream(Protocol):
    """Logits of what follows, or of the class so far. scale: of the logits."""

    scale: Fraction

    def step(self, token: int) -> NDArray[Any]:
        """(O,) int16 after one more token."""


class RuntimeStream:
    """On NumPy or native, as `StepRuntime` runs it."""

    def __init__(self, runtime: StepRuntime) -> None:
        self.runtime = runtime
        self.scale = _scale(runtime.program)

    def step(self, token: int) -> NDArray[Any]:
        """See Stream."""
        logits: NDArray[Any] = self.runtime.step_int(np.array([token], np.int16))
        return logits


class EngineStream:
    """On an engine of `edgernn.engines`, its states fed back."""

    def __init__(self, engine: Any, program: Program) -> None:
        self._engine, self.scale = engine, _scale(program)
        (self._input,), (self._output,) = program.inputs, program.outputs
        self._states = {s.name: s.initial for s in program.states}

    def step(self, token: int) -> NDArray[Any]:
        """See Stream."""
        outputs, self._states = self._engine.step(
            {self._input: np.array([token], np.int16)}, self._states
        )
        logits: NDArray[Any] = outputs[self._output]
        return logits


class FloatStream:
    """The float network. Its logits are rounded to 2^-10, so that they are drawn from alike."""

    scale = Fraction(1, 1 << 10)

    def __init__(self, graph: Graph) -> None:
        if graph.is_window:
            raise _window()
        self._graph = graph
        self._states: dict[str, Any] = {}

    def step(self, token: int) -> NDArray[Any]:
        """See Stream; int32, so that no logit is too large."""
        from edgernn.float_engine import run_float

        (name,) = self._graph.inputs
        x = np.full((1, 1, 1), token, np.float32)
        outputs, self._states = run_float(self._graph, {name: x}, self._states)
        (logits,) = outputs.values()
        rounded: NDArray[Any] = np.rint(logits[0, 0] / float(self.scale)).astype(np.int32)
        return rounded


def stream_of(trained: Trained, engine: str) -> Stream:
    """A stream at its beginning. engine: one of ENGINES.

    InputError for an engine that the folder has no file of, or a network that reads backwards;
    MissingExtraError for one whose package is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is none of {', '.join(ENGINES)}")
    program = trained.program
    if engine == "float" or program is None:
        if engine not in ("float", "numpy"):
            raise InputError(
                f"{trained.folder} holds the float network alone; export it for {engine}: "
                f"edgernn export {trained.folder} --int8"
            )
        if trained.graph is None:
            raise InputError(f"{trained.folder} no longer holds its float network; export it again")
        return FloatStream(trained.graph)
    if isinstance(program, Window):
        raise _window()
    if engine == "numpy":
        return RuntimeStream(StepRuntime(program))
    if engine == "native":
        return RuntimeStream(StepRuntime.load(trained.folder / PROGRAM, engine="native"))
    return EngineStream(_engine(trained.folder, program, engine), program)


def _engine(folder: Path, program: Program, name: str) -> Any:
    from edgernn.folder import C_FOLDER, FloatEdges, c_name, export_options, require_same_c
    from edgernn.verify import load_engine

    options = export_options(folder)
    if name == "c":
        from edgernn.engines.native import CEngine
        from edgernn.exporters.c import to_c

        if not (folder / C_FOLDER).is_dir():
            raise InputError(f"{folder} holds no C; export with --to c")
        files = to_c(program, c_name(folder, options))
        require_same_c(folder, files)
        return CEngine(program, files)
    path = folder / f"model.{name}"
    if not path.is_file():
        raise InputError(f"{folder} holds no {path.name}; export with --to {name}")
    engine = load_engine(name, path, program)
    return FloatEdges(engine, program) if options["float_io"] else engine


def _scale(program: Program) -> Fraction:
    (output,) = program.outputs.values()
    return program.tensors[output].scale.fraction


def _window() -> InputError:
    return InputError(
        "this network reads its text backwards too, so it says nothing before the end; train a "
        "cell of one direction"
    )
