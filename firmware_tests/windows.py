"""Window programs on the boards: building, running and measuring them."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.c.window_model import WindowModel
from edgernn.runtime.window import Window
from firmware_tests.boards import Board
from firmware_tests.build import Image, Model, compiled, empty, link
from firmware_tests.emulator import emulate, shifts
from firmware_tests.sizes import totals
from firmware_tests.toolchain import ToolError
from tests.exporters.c_windows import outputs_of, write_windows
from tests.windows import random_inputs

ROOM: Final = 5000
END: Final = b"\xff\xff\xff\xff"
OVERFLOW: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class WindowSample:
    """A window program and what was measured: instructions of windows by their length, bytes of
    flash, and bytes of stack."""

    name: str
    model: WindowModel
    instructions: Mapping[int, int]
    flash: int
    stack: int


def build_windows(
    board: Board, windows: Mapping[str, Window], folder: Path, *defines: str, room: int = ROOM
) -> Image:
    """The image of window programs: objects, and windows.h with the room that there is."""
    sources = {}
    files = folder / "files"
    files.mkdir(parents=True)
    write_windows(windows, files)
    for path in files.glob("*.[ch]"):
        sources[path.name] = path.read_bytes()
    model = Model("windows", sources, (), ())
    return compiled(board, [model], folder, "-O2", (f"ROOM={room}", *defines))


def smallest(image: Image, name: str, window: Window, steps: int) -> Path:
    """The smallest firmware that runs windows of a length of one of an image's programs."""
    x = [f"x{i}" for i in range(len(window.inputs))]
    y = [f"y{i}" for i in range(len(window.outputs))]
    sizes = [t.size * steps for t in window.inputs]
    sizes += [n * (steps if every else 1) for n, every in outputs_of(window).values()]
    lines = [f'#include "{name}.h"', '#include "memory.h"']
    lines += [f"static int16_t {n}[{k}];" for n, k in zip((*x, *y), sizes, strict=True)]
    arguments = ", ".join([*x, str(steps), *y, "buffer", f"{name.upper()}_BUFFER_SIZE({steps})"])
    lines += [
        f"static int16_t buffer[{name.upper()}_BUFFER_SIZE({steps})];",
        f"int main(void) {{ while ({name}_window({arguments}) == 0) {{ }} return 1; }}",
    ]
    main = image.folder / f"main_{name}.c"
    main.write_text("\n".join(lines) + "\n")
    objects = [o for o in image.objects if o != "windows.o"]
    return link(image, f"minimal_{name}", (str(main),), objects)


def measure_windows(
    board: Board, windows: Mapping[str, Window], lengths: Sequence[int]
) -> list[WindowSample]:
    """Measure window programs on a board, with windows of some lengths; a few to an image."""
    samples: list[WindowSample] = []
    names = list(windows)
    for begin in range(0, len(names), 10):
        part = {name: windows[name] for name in names[begin : begin + 10]}
        with tempfile.TemporaryDirectory() as temporary:
            samples += _measured(board, part, lengths, Path(temporary) / "image")
    return samples


def _measured(
    board: Board, windows: Mapping[str, Window], lengths: Sequence[int], folder: Path
) -> list[WindowSample]:
    image = build_windows(board, windows, folder)
    link(image, "harness", ("windows.c", "semihosting.c"), image.objects, "-DHARNESS")
    content = b""
    for index, window in enumerate(windows.values()):
        for length in lengths:
            x = random_inputs(window, length, index + length)
            content += struct.pack("<2I", index, length)
            content += b"".join((x[t.name] // 4).astype("<i2").tobytes() for t in window.inputs)
    figures = count(image, content, len(windows) * len(lengths))
    samples = []
    for index, (name, window) in enumerate(windows.items()):
        own = figures[index * len(lengths) : (index + 1) * len(lengths)]
        elf = smallest(image, name, window, lengths[0])
        flash = totals(image, elf)[0] - totals(image, empty(image))[0]
        instructions = dict(zip(lengths, own[:, 0].tolist(), strict=True))
        stack = int(own[:, 1].max())
        samples.append(WindowSample(name, WindowModel(window, name), instructions, flash, stack))
    return samples


def count(image: Image, content: bytes, windows: int) -> NDArray[np.int64]:
    """Instructions and bytes of stack of windows, (N, 2); content: the harness's inputs, no end."""
    clock = image.board.clock
    for shift in shifts(image.board):
        with tempfile.TemporaryDirectory(dir=image.folder) as temporary:
            folder = Path(temporary)
            (folder / "inputs").write_bytes(content + END)
            said = emulate(image, folder, "-icount", f"shift={shift}")
            found = np.frombuffer((folder / "figures").read_bytes(), "<u4").astype(np.int64)
        found = found.reshape(-1, 2)
        if len(found) != windows or (found[:, 1] == OVERFLOW).any():
            raise ToolError(f"{image.board.name} did not run all windows: {said}")
        if (found[:, 0] != OVERFLOW).all():
            per_tick = 1.0 if clock is None else 1e9 / clock / 2**shift
            return np.stack([np.rint(found[:, 0] * per_tick), found[:, 1]], axis=1).astype(np.int64)
    raise ToolError(f"a window is too long for the clock of {image.board.name}")
