"""The exported C of a window program behind the interface of a window engine."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.engines.native import PORTABLE
from edgernn.native.compiler import Compiler
from edgernn.runtime.checks import described
from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError
from edgernn.runtime.file import to_bytes
from edgernn.runtime.window import Window

Int16Array = NDArray[np.int16]
_GLUE: Final = """#include "{name}.h"
#define SHOWN __attribute__((visibility("default")))
SHOWN int edgernn_glue_window(const int16_t *const *x, size_t steps, int16_t *const *y,
                              int16_t *buffer, size_t buffer_size);
SHOWN size_t edgernn_glue_buffer(size_t steps);
SHOWN const char *edgernn_glue_kernels(void);
int edgernn_glue_window(const int16_t *const *x, size_t steps, int16_t *const *y,
                        int16_t *buffer, size_t buffer_size)
{{
    return (int){name}_window({x}, steps, {y}, buffer, buffer_size);
}}
size_t edgernn_glue_buffer(size_t steps)
{{
    (void)steps;
    return {upper}_BUFFER_SIZE(steps);
}}
const char *edgernn_glue_kernels(void)
{{
    return edgernn_kernels();
}}
"""


class WindowLibrary:
    """A library of `compile_window`, loaded.

    window: what it was compiled from. path: of the library; it is needed while this loads it.
    """

    steps: int | None = None

    def __init__(self, window: Window, path: str | os.PathLike[str]) -> None:
        self._library = _loaded(path)
        self.kernels = str(self._library.edgernn_glue_kernels().decode())
        self.name = f"native, {self.kernels} kernels"
        tensors, once = window.tensors(), window.once()
        self._inputs = {tensor.name: tensor.size for tensor in window.inputs}
        self._outputs = {
            n: (tensors[s.value].size, s.at == "step" and s.value not in once)
            for n, s in window.outputs.items()
        }

    def run(self, inputs: Mapping[str, Int16Array]) -> dict[str, Int16Array]:
        """A window: inputs (T, F) int16 by name -> outputs (T, O) or (O,) int16 by name.

        Raises InputError for an array that is missing or does not fit.
        """
        if inputs.keys() != self._inputs.keys():
            raise InputError(f"the inputs must be {sorted(self._inputs)}, not {sorted(inputs)}")
        steps = len(next(iter(inputs.values())))
        for name, size in self._inputs.items():
            array = inputs[name]
            if array.shape != (steps, size) or array.dtype != np.int16 or not steps:
                raise InputError(
                    f"input {name} must be (T, {size}) int16, the same T >= 1 for every input, "
                    f"not {described([array])}"
                )
        x = [np.ascontiguousarray(inputs[name]) for name in self._inputs]
        y = {
            name: np.empty((steps, size) if every else (size,), np.int16)
            for name, (size, every) in self._outputs.items()
        }
        buffer = np.empty(self._library.edgernn_glue_buffer(steps), np.int16)
        status = self._library.edgernn_glue_window(
            _pointers(x), steps, _pointers(list(y.values())), buffer.ctypes.data, buffer.size
        )
        if status:
            raise EdgernnError(f"the C of {self.name} returned the status {status} for a window")
        return y


class CWindowEngine(WindowLibrary):
    """Exported C of a window program, compiled by a compiler of this machine.

    files: file name -> content, as `edgernn.exporters.c.window.to_c_window` gives it; it is going
    to run, so C from outside does not belong here. flags: for the compiler, for instance PORTABLE,
    or `Compiler.native_flags()`. cc: the compiler, by default this machine's. FileFormatError for C
    of another program, MissingExtraError without a compiler, EdgernnError if the C does not
    compile.
    """

    def __init__(
        self,
        window: Window,
        files: Mapping[str, bytes],
        flags: Sequence[str] = PORTABLE,
        cc: str | None = None,
    ) -> None:
        compiler = Compiler(cc)
        # A loaded library needs its file no longer.
        with tempfile.TemporaryDirectory(prefix="edgernn-") as folder:
            super().__init__(window, compile_window(window, files, Path(folder), compiler, flags))
        self.name = f"C, {compiler.version}, {self.kernels} kernels"


def _name(files: Mapping[str, bytes]) -> str:
    """The name of the model in its files."""
    headers = [file[:-2] for file in files if re.fullmatch(r"\w+\.h", file)]
    # A window's function; that of a stage is called step.
    found = [n for n in headers if re.search(rb"\b%b_window\(" % n.encode(), files[f"{n}.h"])]
    if len(found) != 1 or f"{found[0]}.c" not in files:
        raise FileFormatError("the C is not that of one window program; export it again")
    return found[0]


def compile_window(
    window: Window,
    files: Mapping[str, bytes],
    folder: Path,
    compiler: Compiler,
    flags: Sequence[str],
) -> Path:
    """Compile the exported C of a window program into `folder`; returns the library.

    Arguments and errors: see CWindowEngine.
    """
    name = _name(files)
    sha256 = hashlib.sha256(to_bytes(window)).hexdigest()
    if f'#define {name.upper()}_SHA256 "{sha256}"'.encode() not in files[f"{name}.h"]:
        raise FileFormatError("the C was made from another window program; export it again")
    wanted = {file: data for file, data in files.items() if re.fullmatch(r"\w+\.[ch]", file)}
    wanted.pop("example_main.c", None)
    glue = _GLUE.format(
        name=name,
        upper=name.upper(),
        x=", ".join(f"x[{i}]" for i in range(len(window.inputs))),
        y=", ".join(f"y[{i}]" for i in range(len(window.outputs))),
    )
    wanted["edgernn_glue.c"] = glue.encode()
    for file, content in wanted.items():
        (folder / file).write_bytes(content)
    sources = [folder / file for file in wanted if file.endswith(".c")]
    target = folder / "library.so"
    compiler.shared_library(sources, target, flags)
    return target


def _loaded(path: str | os.PathLike[str]) -> ctypes.CDLL:
    library = ctypes.CDLL(os.path.abspath(path))
    library.edgernn_glue_kernels.restype = ctypes.c_char_p
    library.edgernn_glue_buffer.restype = ctypes.c_size_t
    library.edgernn_glue_buffer.argtypes = [ctypes.c_size_t]
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.edgernn_glue_window.argtypes = [pointer, size, pointer, pointer, size]
    return library


def _pointers(arrays: Sequence[Int16Array]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
