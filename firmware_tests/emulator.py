"""Runs a firmware in QEMU and exchanges files with it; the other side is firmware/harness.c."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_tests.boards import Board
from firmware_tests.build import Image
from firmware_tests.toolchain import ToolError, execute

# request_t and result_t of the harness, and its numbers.
_REQUEST: Final = struct.Struct("<5I")
_RESULT: Final = struct.Struct("<4I16s")
_MAGIC: Final = 0x314E5245
_RUN, _COUNT, _STACK, _ALL = 0, 1, 2, 3
_STATE, _TRACE, _SKEW = 1, 2, 4
SHIFTS: Final = (8, 5, 2, 0)
"""An instruction lasts 2^shift ns. The first lets each last several ticks of any board's clock, so
that counts are exact; the others are for steps so long that the clock passes zero."""
_OVERFLOW: Final = 0xFFFFFFFF


def shifts(board: Board) -> tuple[int, ...]:
    """To be tried one after the other; what counts instructions itself counts them at 0."""
    return SHIFTS if board.clock is not None else (0,)


@dataclass(frozen=True)
class Run:
    """What a board computed: outputs (T, O) int16, all outputs of a step side by side.

    status: what the last step returned, 0 if all went well; the outputs are those of the steps
    that were made, a refused one included. states: the bytes of the state after the last step,
    after each with trace=True.
    """

    status: int
    outputs: NDArray[np.int16]
    states: list[bytes]
    kernels: str

    @property
    def state(self) -> bytes:
        """The last state."""
        return self.states[-1]


def run(
    image: Image,
    inputs: NDArray[np.int16],
    state: bytes | None = None,
    model: str | None = None,
    trace: bool = False,
    skew: bool = False,
) -> Run:
    """Step a model over inputs (T, I) int16, all inputs of a step side by side.

    state: bytes to begin with; None: a reset. skew: buffers at odd multiples of 2 bytes.
    ToolError if the firmware fails, or if a step writes where it may not.
    """
    flags = _STATE * (state is not None) | _TRACE * trace | _SKEW * skew
    result, output, states = _execute(image, model, _RUN, flags, inputs, state, None)
    width = sum(image.models[image.index(model)].outputs)
    outputs = np.frombuffer(output, "<i2").reshape(result.steps, width).astype(np.int16)
    size = result.state_size
    parts = [states[i : i + size] for i in range(0, len(states), size)]
    return Run(result.status, outputs, parts, result.kernels)


def count_instructions(
    image: Image, inputs: NDArray[np.int16], model: str | None = None
) -> NDArray[np.int64]:
    """Instructions of each step over inputs (T, I), from its first to its return: (T,).

    What calling costs is what calling an empty function costs, measured beside each step. Exact up
    to 2 million instructions; above, two ticks of the clock may be missing: 4, 31, at last 125.
    """
    clock = image.board.clock
    for shift in shifts(image.board):
        _, output, _ = _execute(image, model, _COUNT, 0, inputs, None, shift)
        ticks = np.frombuffer(output, "<u4").reshape(-1, 2).astype(np.int64)
        if (ticks != _OVERFLOW).all():
            break
    else:
        raise ToolError(f"a step of {model} is too long for the clock of {image.board.name}")
    # The empty function has one instruction, its return.
    per_tick = 1.0 if clock is None else 1e9 / clock / 2**shift
    rounded: NDArray[np.int64] = np.rint((ticks[:, 1] - ticks[:, 0]) * per_tick).astype(np.int64)
    return rounded + 1


def stack_bytes(
    image: Image, inputs: NDArray[np.int16], model: str | None = None
) -> NDArray[np.int64]:
    """Bytes of stack that each step over inputs (T, I) wrote below its caller's: (T,)."""
    _, output, _ = _execute(image, model, _STACK, 0, inputs, None, None)
    return np.frombuffer(output, "<u4").astype(np.int64)


def measure_all(
    image: Image, inputs: Sequence[NDArray[np.int16]]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Instructions and bytes of stack of each step, (T,) both, of every model of an image; inputs:
    of each (T, I), one T for all. In one run: much faster than one by one."""
    with tempfile.TemporaryDirectory(dir=image.folder) as name:
        folder = Path(name)
        steps = len(inputs[0])
        request = _REQUEST.pack(_MAGIC, 0, _ALL, steps, 0)
        (folder / "request").write_bytes(request)
        (folder / "inputs").write_bytes(b"".join(x.astype("<i2").tobytes() for x in inputs))
        shift = shifts(image.board)[0]
        said = emulate(image, folder, "-icount", f"shift={shift}")
        content = (folder / "outputs").read_bytes()
    figures = np.frombuffer(content, "<u4").astype(np.int64)
    if figures.size != 3 * steps * len(inputs) or (figures == _OVERFLOW).any():
        raise ToolError(f"{image.board.name} did not measure all of its models: {said}")
    clock = image.board.clock
    per_tick = 1.0 if clock is None else 1e9 / clock / 2**shift
    return [
        (np.rint((model[:, 1] - model[:, 0]) * per_tick).astype(np.int64) + 1, model[:, 2])
        for model in figures.reshape(len(inputs), steps, 3)
    ]


def trace(image: Image, inputs: NDArray[np.int16], model: str | None = None) -> list[str]:
    """For each instruction of the first step on inputs (I,) the function that it belongs to.

    From QEMU's log of what it executed, one by one: slow, and independent of any clock.
    """
    index = image.index(model)
    name = image.models[index].name
    version = execute([image.board.toolchain.emulator, "--version"], image.folder)
    numbers = [int(n) for n in re.findall(r"\d+", version)[:2]]
    single = ["-singlestep"] if numbers < [8, 1] else ["-accel", "tcg,one-insn-per-tb=on"]
    with tempfile.TemporaryDirectory(dir=image.folder) as temporary:
        folder = Path(temporary)
        _ask(folder, index, _RUN, 0, inputs[None], None)
        emulate(image, folder, *single, "-d", "exec,nochain", "-D", "trace")
        lines = (folder / "trace").read_text(encoding="ascii").splitlines()
    functions = [line.rpartition("]")[2].strip() for line in lines if line.startswith("Trace")]
    begin = functions.index(f"{name}_step")
    end = next(i for i in range(begin, len(functions)) if functions[i] in ("main", f"step_{name}"))
    return functions[begin:end]


@dataclass(frozen=True)
class _Result:
    status: int
    steps: int
    state_size: int
    kernels: str


def _execute(
    image: Image,
    model: str | None,
    mode: int,
    flags: int,
    inputs: NDArray[np.int16],
    state: bytes | None,
    shift: int | None,
) -> tuple[_Result, bytes, bytes]:
    index = image.index(model)
    width = sum(image.models[index].inputs)
    if inputs.dtype != np.int16 or inputs.ndim != 2 or inputs.shape[1] != width:
        raise ValueError(f"inputs are int16 (T, {width}), not {inputs.dtype}{inputs.shape}")
    with tempfile.TemporaryDirectory(dir=image.folder) as name:
        folder = Path(name)
        _ask(folder, index, mode, flags, inputs, state)
        said = emulate(image, folder, *(() if shift is None else ("-icount", f"shift={shift}")))
        if not (folder / "result").exists():
            raise ToolError(f"{image.board.name} stopped early and said: {said}")
        magic, status, steps, size, kernels = _RESULT.unpack((folder / "result").read_bytes())
        if magic != _MAGIC:
            raise ToolError(f"{image.board.name} wrote a result that is none")
        result = _Result(status, steps, size, kernels.rstrip(b"\0").decode("ascii"))
        outputs, states = (folder / "outputs").read_bytes(), (folder / "states").read_bytes()
    if result.status != 0 and mode != _RUN:
        raise ToolError(f"a step of {model} returned {result.status} while it was measured")
    if state is not None and len(state) != result.state_size:
        raise ValueError(f"the state of {model} has {result.state_size} bytes, not {len(state)}")
    return result, outputs, states


def _ask(
    folder: Path,
    index: int,
    mode: int,
    flags: int,
    inputs: NDArray[np.int16],
    state: bytes | None,
) -> None:
    request = _REQUEST.pack(_MAGIC, index, mode, len(inputs), flags)
    (folder / "request").write_bytes(request)
    (folder / "inputs").write_bytes(inputs.astype("<i2").tobytes())
    if state is not None:
        (folder / "state").write_bytes(state)


def emulate(image: Image, folder: Path, *options: str) -> str:
    """Run an image in QEMU with a working folder for its files; returns what it printed."""
    board = image.board
    command = [board.toolchain.emulator, *board.machine, "-semihosting-config"]
    command += ["enable=on,target=native", "-display", "none", "-monitor", "none"]
    command += ["-serial", "none", *options, "-kernel", str(image.elf)]
    return execute(command, folder, timeout=300)
