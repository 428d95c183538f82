"""Exported folders, as a user finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgernn.runtime.program import Program
from tests.exporters.c_host import write
from tests.programs import random_program, random_structure


@pytest.fixture(scope="session")
def c_models() -> dict[str, Program]:
    return {
        "kws": random_program(["gru"], [8], 3, 0, 2),
        "wake": random_structure(18, 30),
        "long_output": random_program(["lstm"], [40], 3, 0),
    }


@pytest.fixture(scope="session")
def c_folders(
    c_models: dict[str, Program], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Name -> folder; each is beside the others, and nothing is to be written there."""
    base = tmp_path_factory.mktemp("exported")
    for name, program in c_models.items():
        write(program, base / name, name)
    return {name: base / name for name in c_models}
