"""Measures programs on the boards, many to an image."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.c import to_c
from edgernn.exporters.c.model import Model as CModel
from edgernn.footprint.estimate import table_bytes
from edgernn.runtime.program import Program
from firmware_tests.boards import Board
from firmware_tests.build import Image, Model, build
from firmware_tests.emulator import measure_all
from firmware_tests.sizes import sizes

STEPS: Final = 4
PER_IMAGE: Final = 40
IMAGE_BYTES: Final = 120_000
"""Weights in an image: what fits the smallest flash, with all the rest."""


@dataclass(frozen=True)
class Sample:
    """A program and what was measured: instructions of a step; bytes, if sized."""

    name: str
    model: CModel
    instructions: float
    flash: int = 0
    code: int = 0
    weights: int = 0
    ram: int = 0
    stack: int = 0


def inputs(model: Model, steps: int) -> NDArray[np.int16]:
    """Inputs (T, I) of usual size: a sum that saturates is rare, as in a trained network."""
    return (
        np.random.default_rng(0).integers(-8192, 8193, (steps, sum(model.inputs))).astype(np.int16)
    )


def measure_programs(
    board: Board, programs: Mapping[str, Program], sized: bool = True
) -> list[Sample]:
    """Build and measure programs on a board; sized: bytes too, which takes longer."""
    samples: list[Sample] = []
    for names in _batches(programs):
        models = [Model.of(programs[n], n, to_c(programs[n], n)) for n in names]
        with tempfile.TemporaryDirectory() as folder:
            image = build(board, models, Path(folder) / "image")
            figures = measure_all(image, [inputs(model, STEPS) for model in models])
            for model, (instructions, stack) in zip(models, figures, strict=True):
                c_model = CModel(programs[model.name], model.name)
                count, depth = float(instructions.mean()), int(stack.max())
                samples.append(_sample(image, model, c_model, count, depth, sized))
    return samples


def _batches(programs: Mapping[str, Program]) -> Iterator[list[str]]:
    """As many as the smallest flash holds."""
    batch: list[str] = []
    used = 0
    for name, program in programs.items():
        if batch and (used + program.weight_count > IMAGE_BYTES or len(batch) == PER_IMAGE):
            yield batch
            batch, used = [], 0
        batch.append(name)
        used += program.weight_count + 8 * program.row_count + 3000
    if batch:
        yield batch


def _sample(
    image: Image, model: Model, c_model: CModel, instructions: float, stack: int, sized: bool
) -> Sample:
    if not sized:
        return Sample(model.name, c_model, instructions, stack=stack)
    found = sizes(image, model.name)
    return Sample(
        model.name,
        c_model,
        instructions,
        found.flash,
        found.flash - found.weights - table_bytes(c_model),
        found.weights,
        found.state + found.static + stack,
        stack,
    )
