"""`edgernn build`: a program's step as a shared library, for `StepRuntime`'s native engine."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import timeit
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgernn.engines.native import PORTABLE, LibraryEngine
from edgernn.exporters.c import to_c
from edgernn.native.compiler import Compiler
from edgernn.native.library import compile_library
from edgernn.progress import Progress
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError
from edgernn.runtime.file import load_program, write_atomically
from edgernn.runtime.library import library_path, platform_tag, processor_features
from edgernn.runtime.program import Program
from edgernn.sample import SAMPLE, read_sample
from edgernn.streams import verification_streams
from edgernn.verify import Engine, PlainEngine, Verification, require, verify

VERIFY_STEPS: Final = 1_000
_ROUNDS: Final = 9
_SECONDS: Final = 0.005


@dataclass(frozen=True)
class Built:
    """What was built. tag: of the platform that it is for. compiler: name and version.

    Of a library for this platform, else None: kernels, for instance "avx2"; binding, how Python
    calls a step; microseconds that one takes, by engine; verification.
    """

    path: Path
    tag: str
    compiler: str
    flags: tuple[str, ...]
    kernels: str | None = None
    binding: str | None = None
    microseconds: Mapping[str, float] | None = None
    verification: Verification | None = None


def build(
    folder: str | os.PathLike[str],
    cc: str | None = None,
    *,
    march: str | None = None,
    portable: bool = False,
    flags: str = "",
    verify_steps: int = VERIFY_STEPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Built:
    """Compile the program in a folder into a library beside it.

    cc: the compiler, by default $CC, cc, gcc or clang; a cross compiler makes a library for its
    machine, which cannot be verified here. march: the processor; by default this very one, or what
    a cross compiler assumes. portable: plain C for any processor of the architecture instead.
    flags: more of them for the compiler, in one string. verify_steps: steps that must give the bits
    of the plain operators; only then does the library take its place.

    FileFormatError without a sound program, MissingExtraError without a compiler, EdgernnError if
    the C does not compile, MismatchError if a bit differs.
    """
    folder = Path(folder)
    source = folder / "model.safetensors"
    if not source.is_file():
        raise FileFormatError(
            f"{folder} holds no model.safetensors; write one with `edgernn export --int8`"
        )
    program = load_program(source)
    try:
        more = shlex.split(flags)
    except ValueError as error:
        raise InputError(f"the flags {flags!r} cannot be read: {error}") from None
    compiler = Compiler(cc)
    options = [*(PORTABLE if portable else ()), *([f"-march={march}"] if march else [])]
    plain = compiler.target([*options, *more])
    here = plain.tag == platform_tag()
    native = here and not portable and not march
    options += [*(compiler.native_flags() if native else ()), *more]
    features = compiler.target(options).features
    if native:
        # This processor has them all; Linux may not know them all.
        features &= processor_features() or features
    path = library_path(source, plain.tag)
    staging: Path | None = None
    try:
        # Beside its place, because a file system may forbid to load code from it.
        staging = Path(tempfile.mkdtemp(prefix=".edgernn-", dir=folder))
        made = compile_library(
            program, to_c(program), "model", staging, compiler, options, features
        )
        built = Built(path, plain.tag, compiler.version, tuple(options))
        if here:
            built = _verified(built, made, program, verify_steps, seed, progress)
        write_atomically(path, made.read_bytes())
    except OSError as error:
        raise EdgernnError(f"cannot write to {folder}: {error.strerror or error}") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return built


def _verified(
    built: Built,
    library: Path,
    program: Program,
    steps: int,
    seed: int,
    progress: Progress | None,
) -> Built:
    """The same with what only a run on this machine can tell. MismatchError if a bit differs."""
    engine = LibraryEngine(library, program)
    sample = read_sample(built.path.with_name(SAMPLE), program.inputs)
    streams = verification_streams(program, sample, steps, seed)
    both: list[tuple[Engine, Path | None]] = [(PlainEngine(program), None), (engine, None)]
    result = verify(program, both, streams, {}, progress)
    require(result)
    return Built(
        built.path,
        built.tag,
        built.compiler,
        built.flags,
        engine.kernels,
        engine.binding,
        _step_times({"numpy": StepRuntime(program), "native": engine.runtime}),
        result,
    )


def _step_times(runtimes: Mapping[str, StepRuntime]) -> dict[str, float]:
    """Median microseconds of a step on one thread, the engines in turns."""
    timers, counts = {}, {}
    for name, runtime in runtimes.items():
        tensors = runtime.program.tensors
        x = [np.zeros(tensors[n].size, np.int16) for n in runtime.program.inputs]
        timers[name] = timeit.Timer("step(*x)", globals={"step": runtime.step_int, "x": x})
        counts[name] = max(5, min(2000, int(_SECONDS / timers[name].timeit(1))))
    found: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(_ROUNDS):
        for name, timer in timers.items():
            found[name].append(timer.timeit(counts[name]) / counts[name] * 1e6)
    return {name: float(np.median(values)) for name, values in found.items()}
