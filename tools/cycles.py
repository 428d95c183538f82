"""Cycles per instruction of cores whose manuals say what every instruction takes.

    python tools/cycles.py

Models are built and stepped as in firmware_tests, whose toolchain it needs. QEMU logs the address
of each instruction of a step; the manual's table gives it its cycles, by what stands beside it.
Memory has no wait states. `edgernn/targets/data/cores.toml` has the results.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgernn.exporters.c import to_c  # noqa: E402
from firmware_tests import emulator  # noqa: E402
from firmware_tests.boards import BOARDS  # noqa: E402
from firmware_tests.build import Image, Model, build  # noqa: E402
from firmware_tests.toolchain import execute  # noqa: E402
from tests.programs import random_program  # noqa: E402

MODELS: Final = {
    "rnn40": (["rnn_tanh"], [40], 12),
    "gru16": (["gru"], [16], 16),
    "lstm32": (["lstm"], [32], 16),
    "gru64": (["gru"], [64], 32),
    "gru128": (["gru"], [128], 40),
}
REGISTER: Final = re.compile(r"\b(r\d+|lr|sp|ip|fp|sl|a[0-7]|s\d+|t[0-6]|ra|gp|tp)\b")
NUMBERS: Final = {"sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}
CONDITIONS: Final = "eq ne cs cc mi pl vs vc hi ls ge lt gt le eqz nez gez ltz lez gtz geu ltu"
CONDITIONAL: Final = ("cbz", "cbnz", *(f"b{c}" for c in CONDITIONS.split()))
JUMPS: Final = ("b", "bl", "bx", "blx", "j", "jal", "jr", "jalr")
MULTIPLE: Final = ("ldm", "stm", "push", "pop")


@dataclass(frozen=True)
class Instruction:
    """One that was executed. operands: registers in each of them; taken: the next is elsewhere."""

    name: str
    text: str
    taken: bool
    compressed: bool = False

    @property
    def operands(self) -> list[list[str]]:
        parts = re.split(r",(?![^\[{(]*[\]})])", re.sub(r"[;@<#].*", "", self.text))
        return [REGISTER.findall(part) for part in parts]

    @property
    def load(self) -> bool:
        return self.name.startswith(("ldr", "lw", "lh", "lb"))

    @property
    def store(self) -> bool:
        return self.name.startswith("str") or self.name in ("sw", "swsp", "sh", "sb")

    @property
    def listed(self) -> int:
        """Registers of a list, {r4-r7, lr}."""
        match = re.search(r"\{(.*?)\}", self.text)
        count = 0
        for part in (match[1] if match else "").split(","):
            first, _, last = part.strip().partition("-")
            count += bool(first) + (_number(last) - _number(first) if last else 0)
        return count


def _number(register: str) -> int:
    return NUMBERS.get(register) or int(register[1:])


def cortex_m0(steps: Sequence[Instruction], taken: int, call: int, indirect: int) -> int:
    """Arm DDI 0432C (Cortex-M0), 0484C (M0+), table 3-1. Multiplication in one cycle."""
    cycles = 0
    for step in steps:
        if step.name.startswith(MULTIPLE):
            cycles += 1 + step.listed + (taken if "pc" in step.text else 0)
        elif step.load or step.store:
            cycles += 2
        elif step.name in ("bl", "blx"):
            cycles += call
        elif step.name == "bx":
            cycles += indirect
        elif step.name in (*JUMPS, *CONDITIONAL):
            cycles += taken if step.taken else 1
        else:
            cycles += 1
    return cycles


def cortex_m3(steps: Sequence[Instruction], refill: int, accumulate: int, wide: int) -> int:
    """Arm DDI 0337I (Cortex-M3), table 18-1, and 0439D (M4), table 3-1.

    refill: of the pipeline after a branch, 1 to 3. accumulate, wide: MLA and SMULL, of the M3.
    """
    cycles, loaded = 0, None
    for step in steps:
        before, loaded = loaded, None
        if step.name in ("ldrd", "strd"):
            cycles += 3
        elif step.name.startswith(MULTIPLE):
            cycles += 1 + step.listed + (refill if "pc" in step.text else 0)
        elif step.load:
            address = {name for operand in step.operands[1:] for name in operand}
            # Behind another load or store its address is sent early, if it is known by then.
            cycles += 1 if before is not None and not address & before else 2
            loaded = set(step.operands[0])
        elif step.store:
            cycles += 1
            loaded = set()
        elif step.name in (*JUMPS, *CONDITIONAL):
            cycles += 1 + refill if step.taken else 1
        elif step.name in ("mla", "mls"):
            cycles += accumulate
        elif step.name in ("smull", "umull", "smlal", "umlal"):
            cycles += wide
        else:
            cycles += 1
    return cycles


def hazard3(steps: Sequence[Instruction]) -> int:
    """doc/sections/instruction_timings.adoc of Hazard3, every branch predicted not taken."""
    cycles, loaded = 0, ""
    for step in steps:
        operands = step.operands
        reads_first = step.store or step.name in CONDITIONAL or (step.compressed and not step.load)
        sources = [n for operand in (operands if reads_first else operands[1:]) for n in operand]
        data_only = step.store and all(loaded not in operand for operand in operands[1:])
        cycles += 1 + (loaded in sources and not data_only)
        cycles += step.taken
        cycles += 17 if step.name.startswith(("div", "rem")) else 0
        loaded = operands[0][0] if step.load and operands[0] else ""
    return cycles


CORES: Final[dict[str, tuple[str, Callable[[Sequence[Instruction]], int]]]] = {
    "Cortex-M0": ("microbit", lambda steps: cortex_m0(steps, 3, 4, 3)),
    "Cortex-M0+": ("microbit", lambda steps: cortex_m0(steps, 2, 3, 2)),
    "Cortex-M3, P=1": ("mps2-an385", lambda steps: cortex_m3(steps, 1, 2, 4)),
    "Cortex-M3, P=3": ("mps2-an385", lambda steps: cortex_m3(steps, 3, 2, 4)),
    "Cortex-M4, P=1": ("mps2-an386", lambda steps: cortex_m3(steps, 1, 1, 1)),
    "Cortex-M4, P=3": ("mps2-an386", lambda steps: cortex_m3(steps, 3, 1, 1)),
    "Hazard3": ("rv32imc", hazard3),
}


def images(board: str, folder: Path) -> Image:
    """All models for a board."""
    models = []
    for name, (kinds, sizes, inputs) in MODELS.items():
        program = random_program(kinds, sizes, inputs, 3, 2)
        models.append(Model.of(program, name, to_c(program, name)))
    return build(BOARDS[board], models, folder / board)


def disassembly(image: Image) -> dict[int, tuple[str, str]]:
    """Address -> name and operands."""
    tool = f"{image.board.toolchain.prefix}objdump"
    plain = ["-M", "no-aliases"] if "riscv" in tool else []
    text = execute([tool, "-d", "--no-show-raw-insn", *plain, str(image.elf)], image.folder)
    found = re.findall(r"^ *([0-9a-f]+):\t(\S+) *\t?(.*)$", text, re.MULTILINE)
    return {int(address, 16): (name, operands) for address, name, operands in found}


def executed(image: Image, model: Model, code: dict[int, tuple[str, str]]) -> list[Instruction]:
    """The instructions of one step on random inputs, in order."""
    inputs = np.random.default_rng(1).integers(-9000, 9000, (1, sum(model.inputs)), np.int16)
    with tempfile.TemporaryDirectory(dir=image.folder) as name:
        folder = Path(name)
        emulator._ask(folder, image.index(model.name), emulator._RUN, 0, inputs, None)
        emulator.emulate(image, folder, "-singlestep", "-d", "exec,nochain", "-D", "trace")
        log = (folder / "trace").read_text(encoding="ascii")
    lines = re.findall(r"^Trace .*?\[[^/]*/([0-9a-f]+)/.*?\] (\S*)$", log, re.MULTILINE)
    functions = [function for _, function in lines]
    begin = functions.index(f"{model.name}_step")
    ends = ("main", f"step_{model.name}")
    end = next(i for i in range(begin, len(lines)) if functions[i] in ends)
    addresses = [int(address, 16) for address, _ in lines[begin : end + 1]]
    order = sorted(code)
    following = dict(pairwise(order))
    steps = []
    for address, then in pairwise(addresses):
        name, operands = code[address]
        short = name.removeprefix("c.").split(".")[0]
        taken = following.get(address) != then
        steps.append(Instruction(short, operands, taken, name.startswith("c.")))
    return steps


def main() -> int:
    """Print a line for each core."""
    print(f"{'':16}", *(f"{name:>8}" for name in MODELS))
    with tempfile.TemporaryDirectory() as name:
        for board in dict.fromkeys(board for board, _ in CORES.values()):
            image = images(board, Path(name))
            code = disassembly(image)
            traces = [executed(image, model, code) for model in image.models]
            for core, (where, count) in CORES.items():
                if where == board:
                    print(f"{core:16}", *(f"{count(t) / len(t):8.3f}" for t in traces))
    return 0


if __name__ == "__main__":
    sys.exit(main())
