"""The exported C of window programs: many in one library, and a table for drivers in C."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.c.window import to_c_window
from edgernn.runtime.window import Window

Arrays = dict[str, NDArray[np.int16]]
UNWRITTEN = 12345

HEADER = """#ifndef WINDOWS_H
#define WINDOWS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define WINDOWS {count}
#define MOST_PORTS {ports}

/* inputs and outputs: sizes of a row; every: is there one for each step? */
typedef struct {{
    const char *name;
    size_t input_count;
    size_t output_count;
    size_t inputs[MOST_PORTS];
    size_t outputs[MOST_PORTS];
    int every[MOST_PORTS];
    size_t (*buffer)(size_t steps);
    int (*run)(const int16_t *const *x, size_t steps, int16_t *const *y, int16_t *buffer,
               size_t buffer_size);
}} window_t;

extern const window_t windows[WINDOWS];

{functions}

#ifdef __cplusplus
}}
#endif

#endif
"""
RUN = (
    "int run_{name}(const int16_t *const *x, size_t steps, int16_t *const *y, int16_t *buffer,\n"
    "               size_t buffer_size)"
)
BUFFER = "size_t buffer_{name}(size_t steps)"


def outputs_of(window: Window) -> dict[str, tuple[int, bool]]:
    """Output -> its size, and whether there is one for each step."""
    tensors, once = window.tensors(), window.once()
    return {
        name: (tensors[s.value].size, s.at == "step" and s.value not in once)
        for name, s in window.outputs.items()
    }


def write_window(
    window: Window, folder: Path, name: str, files: Mapping[str, bytes] | None = None
) -> list[Path]:
    """Write the exported files; returns the C sources but for the example."""
    sources = []
    for file, content in (files or to_c_window(window, name)).items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if path.suffix == ".c" and file != "example_main.c":
            sources.append(path)
    return sources


def write_windows(windows: Mapping[str, Window], folder: Path) -> list[Path]:
    """Several programs in one folder, their engine once, and windows.h and windows.c."""
    sources = sorted({path for n, w in windows.items() for path in write_window(w, folder, n)})
    ports = max(max(len(w.inputs), len(w.outputs)) for w in windows.values())
    functions = [text.format(name=n) + ";" for n in windows for text in (RUN, BUFFER)]
    lines = ['#include "windows.h"', *(f'#include "{name}.h"' for name in windows)]
    entries = []
    for name, window in windows.items():
        x = [f"x[{i}]" for i in range(len(window.inputs))]
        y = [f"y[{i}]" for i in range(len(window.outputs))]
        lines += [
            *(RUN.format(name=name), "{"),
            f"    return (int){name}_window("
            f"{', '.join([*x, 'steps', *y, 'buffer', 'buffer_size'])});",
            *("}", BUFFER.format(name=name), "{", "    (void)steps;"),
            f"    return {name.upper()}_BUFFER_SIZE(steps);",
            "}",
        ]
        outputs = outputs_of(window).values()
        parts = [
            f'"{name}"',
            *(str(len(x)), str(len(y))),
            _braces(t.size for t in window.inputs),
            _braces(size for size, _ in outputs),
            _braces(int(every) for _, every in outputs),
            *(f"buffer_{name}", f"run_{name}"),
        ]
        entries.append(f"    {{{', '.join(parts)}}}")
    lines += ["const window_t windows[WINDOWS] = {", ",\n".join(entries), "};"]
    header = HEADER.format(count=len(windows), ports=ports, functions="\n".join(functions))
    (folder / "windows.h").write_text(header)
    (folder / "windows.c").write_text("\n".join(lines) + "\n")
    return [*sources, folder / "windows.c"]


def _braces(numbers: object) -> str:
    return "{" + ", ".join(map(str, numbers)) + "}"  # type: ignore[call-overload]


class WindowC:
    """A window program in a loaded library."""

    def __init__(self, window: Window, loaded: ctypes.CDLL, name: str) -> None:
        self.window = window
        self._run = getattr(loaded, f"run_{name}")
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 2 * [ctypes.c_void_p]
        self._run.argtypes += [ctypes.c_size_t]
        self._buffer = getattr(loaded, f"buffer_{name}")
        self._buffer.argtypes, self._buffer.restype = [ctypes.c_size_t], ctypes.c_size_t

    def buffer_size(self, steps: int) -> int:
        """Elements that the header asks for."""
        return int(self._buffer(steps))

    def outputs(self, steps: int) -> Arrays:
        """Arrays for the outputs, of UNWRITTEN."""
        return {
            name: np.full((steps, size) if every else (size,), UNWRITTEN, np.int16)
            for name, (size, every) in outputs_of(self.window).items()
        }

    def call(
        self,
        x: Sequence[NDArray[np.int16] | None],
        steps: int,
        y: Sequence[NDArray[np.int16] | None],
        buffer: NDArray[np.int16] | None,
        size: int,
    ) -> int:
        """The function with arguments as they are given; None is a null pointer."""
        return int(self._run(_pointers(x), steps, _pointers(y), _address(buffer), size))

    def run(self, inputs: Mapping[str, NDArray[np.int16]]) -> Arrays:
        """A window, with as large a buffer as the header asks for."""
        x = [np.ascontiguousarray(inputs[t.name]) for t in self.window.inputs]
        y = self.outputs(len(x[0]))
        size = self.buffer_size(len(x[0]))
        buffer = np.full(size + 16, UNWRITTEN, np.int16)
        # Not what an earlier window left there.
        buffer[:size] = np.random.default_rng(size).integers(-32768, 32768, size)
        status = self.call(x, len(x[0]), list(y.values()), buffer, size)
        assert status == 0
        assert (buffer[size:] == UNWRITTEN).all()
        return y


def _address(array: NDArray[np.int16] | None) -> int | None:
    return None if array is None else int(array.ctypes.data)


def _pointers(arrays: Sequence[NDArray[np.int16] | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*map(_address, arrays))
