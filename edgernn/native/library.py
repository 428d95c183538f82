"""The library of a model: its C, and what makes a library of it that the runtime can load."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgernn.native.compiler import Compiler
from edgernn.runtime.program import Program

HERE: Final = Path(__file__).parent
OWN: Final = (
    "edgernn_library.c",
    "edgernn_library.h",
    "edgernn_library_step.c",
    "edgernn_python_abi.h",
)


def compile_library(
    program: Program,
    files: Mapping[str, bytes],
    name: str,
    folder: Path,
    compiler: Compiler,
    flags: Sequence[str],
    features: Collection[str],
) -> Path:
    """Compile the exported C of a program into `folder`; returns the library.

    files: name -> content, of `edgernn.exporters.c.to_c`; name: of the model in them. features:
    what the processor must have, checked when the library is loaded. EdgernnError with the
    compiler's first error if it fails.
    """
    # Of the project files and the examples nothing is wanted.
    wanted = {file: data for file, data in files.items() if re.fullmatch(r"\w+\.[ch]", file)}
    wanted.pop("example_main.c", None)
    wanted |= {file: (HERE / file).read_bytes() for file in OWN}
    wanted["edgernn_library_model.h"] = _model_header(program, name, features).encode()
    for file, content in wanted.items():
        (folder / file).write_bytes(content)
    sources = [folder / file for file in wanted if file.endswith(".c")]
    target = folder / "library.so"
    compiler.shared_library(sources, target, flags)
    return target


def _model_header(program: Program, name: str, features: Collection[str]) -> str:
    """What the library has to know about the model."""
    tensors = program.tensors
    x = [f"(x)[{i}]" for i in range(len(program.inputs))]
    y = [f"(y)[{i}]" for i in range(len(program.outputs))]
    sizes = {
        "INPUT": [tensors[n].size for n in program.inputs],
        "OUTPUT": [tensors[n].size for n in program.outputs.values()],
    }
    lines = [
        f'#include "{name}.h"',
        f"#define LIBRARY_STATE {name}_state_t",
        f"#define LIBRARY_RESET(state) {name}_reset(state)",
        f"#define LIBRARY_STEP(state, x, y) {name}_step({', '.join(['state', *x, *y])})",
        *(f"#define LIBRARY_{k}_SIZES {', '.join(map(str, v))}" for k, v in sizes.items()),
        f"#define LIBRARY_SHA256 {name.upper()}_SHA256",
        f'#define LIBRARY_FEATURES "{" ".join(sorted(features))}"',
    ]
    return "\n".join(lines) + "\n"
