"""Window programs in C on boards: the same bits as NumPy, and the costs that a report promises."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgernn.footprint import load_targets, window_estimate
from edgernn.runtime.window import Window
from edgernn.window_verify import PlainWindowEngine
from firmware_tests import binary
from firmware_tests.boards import BOARDS
from firmware_tests.build import link
from firmware_tests.conftest import require
from firmware_tests.emulator import emulate
from firmware_tests.fit import TARGET_NAMES
from firmware_tests.windows import END, build_windows, measure_windows, smallest
from tests.windows import random_inputs, random_stack, random_stages

LENGTHS = (1, 24, 5)
LIMIT = 0.05
CHOSEN = ("microbit", "mps2-an386", "mps3-an547", "rv32imc", "virt")


@cache
def programs() -> dict[str, Window]:
    windows = {f"w{seed}": random_stack(seed, 14) for seed in range(8)}
    return windows | {f"s{seed}": random_stages(seed) for seed in range(8)}


@pytest.mark.parametrize("defines", [(), ("EDGERNN_PORTABLE",)], ids=["own", "portable"])
@pytest.mark.parametrize("name", CHOSEN)
def test_outputs_are_those_of_numpy(name: str, defines: tuple[str, ...], tmp_path: Path) -> None:
    board = BOARDS[name]
    require([board])
    image = build_windows(board, programs(), tmp_path / "image", *defines)
    link(image, "harness", ("windows.c", "semihosting.c"), image.objects, "-DHARNESS")
    content, wanted, steps = b"", b"", 0
    for index, window in enumerate(programs().values()):
        plain = PlainWindowEngine(window)
        for length in LENGTHS:
            x = random_inputs(window, length, index + length)
            content += struct.pack("<2I", index, length)
            content += b"".join(x[t.name].astype("<i2").tobytes() for t in window.inputs)
            y = plain.run(x)
            wanted += bytes(4) + b"".join(y[n].astype("<i2").tobytes() for n in window.outputs)
            steps += length
    assert steps > 400
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "inputs").write_bytes(content + END)
    emulate(image, folder)
    found = (folder / "outputs").read_bytes()
    kernels = found[-16:].rstrip(b"\0").decode()
    assert kernels == ("portable" if defines else board.kernels)
    got, right = (np.frombuffer(data, "<i2") for data in (found[:-16], wanted))
    assert got.shape == right.shape
    differing = np.flatnonzero(got != right)
    assert not len(differing), f"{len(differing)} of {len(right)}, the first at {differing[0]}"


@pytest.mark.parametrize("name", CHOSEN)
def test_no_heap_and_no_floats(name: str, tmp_path: Path) -> None:
    board, window = BOARDS[name], random_stack(2, 14)
    require([board])
    image = build_windows(board, {"net": window}, tmp_path / "image")
    elf = smallest(image, "net", window, 20)
    assert binary.heap_symbols(image, elf) == []
    assert binary.float_symbols(image, elf) == []


@pytest.mark.parametrize("name", BOARDS)
def test_costs_are_those_of_the_report(name: str) -> None:
    """Of windows that no price was taken from; where more is stated, within what is stated. RAM of
    the smallest within 40 bytes."""
    board = BOARDS[name]
    require([board])
    target = load_targets()[TARGET_NAMES[name]]
    windows = {f"w{seed}": random_stack(seed, 14) for seed in (300, 302, 304)}
    for sample in measure_windows(board, windows, (20, 3)):
        for steps, instructions in sample.instructions.items():
            promised = window_estimate(sample.model, target, steps)
            stated = promised.errors
            ram = promised.buffer + sample.stack
            for what, number, measured, limit, least in (
                ("instructions", promised.instructions, instructions, stated.instructions, 0),
                ("flash", promised.flash, sample.flash, stated.flash, 0),
                ("RAM", promised.ram, ram, stated.ram, 40),
            ):
                most = max(least, limit.stated * measured)
                text = f"{sample.name} {steps} {what}: {number}, not {measured}"
                assert abs(number - measured) <= most, text
