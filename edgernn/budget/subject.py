"""What is held against a budget: a program, the float network that it came from, some data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from edgernn.exporters.c.model import Model
from edgernn.exporters.c.window_model import WindowModel
from edgernn.float_file import FLOAT_FILE, FloatModel, float_model_of
from edgernn.graph import FloatArray, Graph
from edgernn.runtime.errors import FileFormatError
from edgernn.runtime.file import load_any
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.sample import SAMPLE, read_sample

PROGRAM_FILE: Final = "model.safetensors"
DEFAULT_WINDOW: Final = 100
"""Steps, of a window program whose file does not say."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model. float_model: None if it is not there, and then no_float says why.

    steps: of a window, for a program that takes windows; 1 otherwise. sample: float sequences,
    input -> (T, F), perhaps none.
    """

    name: str
    program: Program | Window
    float_model: FloatModel | None = None
    no_float: str = ""
    steps: int = 1
    sample: list[dict[str, FloatArray]] = field(default_factory=list)

    @cached_property
    def model(self) -> Model | WindowModel:
        """On its way to C."""
        return as_model(self.program)

    @property
    def is_window(self) -> bool:
        """Does it take whole windows?"""
        return isinstance(self.program, Window)

    @property
    def graph(self) -> Graph | None:
        """The float network, if it is there."""
        return None if self.float_model is None else self.float_model.graph

    @property
    def amplitudes(self) -> Mapping[str, float]:
        """Of the float network; see FloatModel."""
        return {} if self.float_model is None else self.float_model.amplitudes


def as_model(program: Program | Window) -> Model | WindowModel:
    """A program on its way to C."""
    return WindowModel(program, "model") if isinstance(program, Window) else Model(program, "model")


def load_subject(path: Path, window: int | None = None) -> Subject:
    """An exported folder, or a program's file. window: steps of the windows that are priced.

    FileFormatError if there is no sound program.
    """
    file = path / PROGRAM_FILE if path.is_dir() else path
    if not file.is_file():
        raise FileFormatError(
            f"{path} holds no {PROGRAM_FILE}; write one with `edgernn export --int8`"
            if path.is_dir()
            else f"there is no file {path}; give a folder that `edgernn export` wrote"
        )
    program = load_any(file)
    windowed = isinstance(program, Window)
    steps = 1
    if windowed:
        default = program.metadata.get("window", DEFAULT_WINDOW)
        steps = window or (default if type(default) is int and default > 0 else DEFAULT_WINDOW)
    elif window is not None:
        raise FileFormatError(f"{file} streams, step by step: it has no window to price")
    # Beside a file of another name lies what belongs to others.
    whole = file.name == PROGRAM_FILE
    folder = file.parent
    names = [t.name for t in program.inputs] if isinstance(program, Window) else program.inputs
    sample = read_sample(folder / SAMPLE, names) if whole else []
    floats = folder / FLOAT_FILE
    if not whole or not floats.is_file():
        missing = f"no {FLOAT_FILE} lies beside it: export the model again"
        return Subject(str(path), program, None, missing, steps, sample)
    float_model = float_model_of(program, floats)
    return Subject(str(path), program, float_model, "", steps, sample)
