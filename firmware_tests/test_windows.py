"""Window programs in C on boards: the same bits as NumPy, and the costs that a report promises."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgernn.exporters.c.window_model import WindowModel
from edgernn.footprint.window import window_estimates
from edgernn.runtime.window import Window
from edgernn.window_verify import PlainWindowEngine
from firmware_tests import binary
from firmware_tests.boards import BOARDS, Board
from firmware_tests.build import Image, Model, compiled, empty, link
from firmware_tests.conftest import require
from firmware_tests.emulator import emulate
from firmware_tests.fit import TARGET_NAMES
from firmware_tests.sizes import totals
from tests.exporters.c_windows import outputs_of, write_windows
from tests.windows import random_inputs, random_stack, random_stages

LENGTHS = (1, 24, 5)
ROOM = 5000
END = b"\xff\xff\xff\xff"
CHOSEN = ("microbit", "mps2-an386", "mps3-an547", "rv32imc")


@cache
def programs() -> dict[str, Window]:
    windows = {f"w{seed}": random_stack(seed, 14) for seed in range(8)}
    return windows | {f"s{seed}": random_stages(seed) for seed in range(8)}


def build(board: Board, windows: dict[str, Window], folder: Path, *defines: str) -> Image:
    """The image of window programs: objects, and windows.h with the room that there is."""
    sources = {}
    files = folder / "files"
    files.mkdir(parents=True)
    write_windows(windows, files)
    for path in files.glob("*.[ch]"):
        sources[path.name] = path.read_bytes()
    model = Model("windows", sources, (), ())
    return compiled(board, [model], folder, "-O2", (f"ROOM={ROOM}", *defines))


@pytest.mark.parametrize("defines", [(), ("EDGERNN_PORTABLE",)], ids=["own", "portable"])
@pytest.mark.parametrize("name", CHOSEN)
def test_outputs_are_those_of_numpy(name: str, defines: tuple[str, ...], tmp_path: Path) -> None:
    board = BOARDS[name]
    require([board])
    image = build(board, programs(), tmp_path / "image", *defines)
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
def test_costs_are_about_those_of_the_report(name: str, tmp_path: Path) -> None:
    """The smallest firmware that runs a window, less the empty one; and no heap, no floats."""
    board, steps = BOARDS[name], 20
    require([board])
    for seed in (0, 2, 4):
        window = random_stack(seed, 14)
        folder = tmp_path / str(seed)
        image = build(board, {"net": window}, folder)
        x = [f"x{i}" for i in range(len(window.inputs))]
        y = [f"y{i}" for i in range(len(window.outputs))]
        sizes = [t.size * steps for t in window.inputs]
        sizes += [n * (steps if every else 1) for n, every in outputs_of(window).values()]
        lines = ['#include "net.h"', '#include "memory.h"']
        lines += [f"static int16_t {n}[{k}];" for n, k in zip((*x, *y), sizes, strict=True)]
        arguments = ", ".join([*x, str(steps), *y, "buffer", f"NET_BUFFER_SIZE({steps})"])
        lines += [
            f"static int16_t buffer[NET_BUFFER_SIZE({steps})];",
            f"int main(void) {{ while (net_window({arguments}) == 0) {{ }} return 1; }}",
        ]
        (folder / "main.c").write_text("\n".join(lines) + "\n")
        objects = [o for o in image.objects if o != "windows.o"]
        elf = link(image, "minimal", (str(folder / "main.c"),), objects)
        assert binary.heap_symbols(image, elf) == []
        assert binary.float_symbols(image, elf) == []
        measured = totals(image, elf)[0] - totals(image, empty(image))[0]
        model = WindowModel(window, "net")
        promised = window_estimates(model, steps)[TARGET_NAMES[name]]
        error = promised["flash_bytes"] / measured - 1
        limit = 0.05 if promised["measured_loops"] else 0.15
        assert abs(error) <= limit, f"{seed}: {promised['flash_bytes']}, not {measured}"
