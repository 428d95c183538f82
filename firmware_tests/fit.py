"""Measures what steps cost on the boards, and writes edgernn/footprint/targets.json from it.

    python -m firmware_tests.fit [--check] [board ...]      # some minutes for each board

It prints how far the estimates are from what programs of other shapes need; --check does only that.

Costs are sums over what a step consists of (`edgernn.footprint.features`): the fit finds the price
of each part. The loops of the whole family are priced as they are; a loop that is not among them
is the sum of its operators, priced on all loops and on some of no particular architecture.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from edgernn.exporters.c import to_c
from edgernn.exporters.c.model import Model as CModel
from edgernn.footprint.estimate import STACK_ALIGNMENT, estimate
from edgernn.footprint.features import (
    Limits,
    cleared_bytes,
    code_features,
    functions,
    instruction_features,
)
from edgernn.footprint.loops import loop_code, loop_instructions
from edgernn.footprint.targets import TARGETS, Error, Errors, Target, load_targets, to_json
from edgernn.footprint.window import window_estimate
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from firmware_tests.boards import BOARDS, Board
from firmware_tests.build import Model, build
from firmware_tests.family import HELD_OUT, TRAINED, cover, members, networks, steps
from firmware_tests.prices import OWN, frames, prices, with_windows
from firmware_tests.samples import Sample, measure_programs
from firmware_tests.toolchain import execute
from firmware_tests.training import (
    cells,
    engines,
    heads,
    held_out,
    loops,
    moves,
    products,
    rows,
)
from firmware_tests.windows import WindowSample, measure_windows
from tests.windows import random_stack

TARGET_NAMES: Final = {board: b.core.lower().replace("+", "plus") for board, b in BOARDS.items()}
LANES: Final = {"portable": 1, "dsp": 2, "helium": 8, "neon": 8}
BLOCKS: Final = {"helium": (8, 36)}
"""Stored columns of a 4-column block, and constant bytes of 4 rows."""
MATRIX_BYTES: Final = {"neon": 24}
"""Of what describes a matrix: pointers of 8 bytes make it longer."""
SHORT: Final = 64
Found = tuple[float, str]
LENGTHS: Final = (16, 5, 1)
"""Of windows that are measured."""
NO_ERROR: Final = Errors(0, Error(0.0, 0.0), Error(0.0, 0.0), Error(0.0, 0.0))


def fit(board: Board, limits: Limits, counted: Sequence[Sample], sized: Sequence[Sample]) -> Target:
    """The prices at which the features add up to what was measured."""
    lanes = LANES[board.kernels]

    def features(sample: Sample, one: bool) -> Counter[str]:
        model = sample.model
        counts = instruction_features(model, limits) if one else code_features(model, limits)
        for function in functions(model):
            for part in loop_instructions(function, lanes) if one else [loop_code(function, lanes)]:
                counts.update(part)
        return counts

    version = execute([f"{board.toolchain.prefix}gcc", "-dumpversion"], Path.cwd()).strip()
    name, everything = TARGET_NAMES[board.name], [*counted, *sized]
    known = {
        function.key
        for sample in sized
        if not sample.name.startswith("loop")
        for function in functions(sample.model)
    }
    return Target(
        name,
        board.core,
        f"{board.toolchain.prefix}gcc {version} -O2",
        lanes,
        *BLOCKS.get(board.kernels, (4, 32)),
        MATRIX_BYTES.get(board.kernels, 12),
        limits,
        frozenset(known),
        dict.fromkeys(("measured", "summed", "window"), NO_ERROR),
        prices([features(s, True) for s in everything], [s.instructions for s in everything]),
        prices([features(s, False) for s in sized], [float(s.code) for s in sized]),
        frames(sized, lanes, STACK_ALIGNMENT.get(name, 4)),
    )


def find_limits(board: Board) -> Limits:
    """The most bytes that the compiler clears or copies without a call, tried one by one."""
    found = []
    for kind in ("memset", "memcpy", "copy"):
        programs = {f"move_{size}": program for size, program in moves(kind).items()}
        models = [Model.of(p, n, to_c(p, n)) for n, p in programs.items()]
        with tempfile.TemporaryDirectory() as folder:
            image = build(board, models, Path(folder) / "image")
            objects = [f"{name}.o" for name in programs]
            printed = execute([f"{board.toolchain.prefix}nm", "-u", "-A", *objects], image.folder)
        called = "memset" if kind == "memset" else "memcpy"
        calling = {line.split(":")[0] for line in printed.splitlines() if line.endswith(called)}
        in_place = [0]
        for name, program in programs.items():
            model = CModel(program, name)
            size = cleared_bytes(model) if kind == "memset" else 2 * int(name[5:])
            if f"{name}.o" in calling:
                break
            in_place.append(size)
        found.append(max(in_place))
    return Limits(*found)


@cache
def trained_family() -> dict[str, Program | Window]:
    """The networks that prices are taken from."""
    return members(TRAINED) | networks(range(60))


@cache
def held_out_family() -> dict[str, Program | Window]:
    """Networks that no price was taken from: other sizes, other weights, other stacks."""
    return members(HELD_OUT, 50) | networks(range(900, 925))


def training(board: Board) -> tuple[list[Sample], list[Sample]]:
    """What the prices are taken from: counted alone, and sized as well."""
    counted = measure_programs(board, products(), sized=False)
    lanes = LANES[board.kernels]
    copies = {
        f"copy{n}": p for n, p in moves("copy").items() if n in (2, 6, 8, 16, 24, 31, 48, 100)
    }
    programs = {
        **engines(),
        **rows(),
        **cells(lanes),
        **heads(lanes),
        **copies,
        **cover(steps({**trained_family(), **windows(False)}, "network"), lanes),
        **loops(range(2, 62)),
    }
    return counted, measure_programs(board, programs)


def checked() -> dict[str, Program]:
    """Programs that no price was taken from."""
    family = {n: p for n, p in held_out_family().items() if isinstance(p, Program)}
    return {**held_out(), **steps(dict(list(family.items())[::2]), "network")}


def windows(held: bool) -> dict[str, Window]:
    """Window programs: stacks of all kinds, and the networks of the family that need one."""
    seeds = range(300, 312) if held else range(100, 124)
    stacks = {f"stack{seed}": random_stack(seed, 20 if held else 24) for seed in seeds}
    family = (held_out_family() if held else trained_family()).values()
    needing = [window for window in family if isinstance(window, Window)]
    return stacks | {f"network{i}": window for i, window in enumerate(needing[:10])}


def unknown(target: Target) -> Target:
    """The target as if none of its loops had been measured."""
    instructions, code, frames_ = (
        {name: price for name, price in prices_.items() if not OWN.search(name)}
        for prices_ in (target.instructions, target.code, target.frames)
    )
    return replace(target, loops=frozenset(), instructions=instructions, code=code, frames=frames_)


def errors(target: Target, samples: Sequence[Sample]) -> dict[str, dict[str, list[Found]]]:
    """Relative errors of the estimates, of what and of which program: of programs whose loops were
    all measured; and of all, as if none of their loops had been."""
    found: dict[str, dict[str, list[Found]]] = {"measured": {}, "summed": {}}
    for kind, used in (("measured", target), ("summed", unknown(target))):
        for sample in samples:
            cost = estimate(sample.model, used)
            # Of a short array the compiler may keep the values, in its code.
            if not 0 <= cost.weights - sample.weights <= SHORT:
                raise ValueError(
                    f"{sample.name}: {cost.weights} bytes of constants, not {sample.weights}"
                )
            if kind == "measured" and not cost.measured:
                continue
            for name, number, measured in (
                ("instructions", cost.instructions, sample.instructions),
                ("flash", cost.flash, sample.flash),
                ("ram", cost.ram, sample.ram),
            ):
                found[kind].setdefault(name, []).append((number / measured - 1, sample.name))
    return found


def window_errors(
    target: Target, samples: Sequence[WindowSample]
) -> dict[str, dict[str, list[Found]]]:
    """The same of windows."""
    found: dict[str, list[Found]] = {"instructions": [], "flash": [], "ram": []}
    for sample in samples:
        for length, measured in sample.instructions.items():
            cost = window_estimate(sample.model, target, length)
            name = f"{sample.name}, {length} steps"
            found["instructions"].append((cost.instructions / measured - 1, name))
            # Of the longest window the buffer, which is known, is what RAM is made of.
            found["ram"].append((cost.ram / (cost.buffer + sample.stack) - 1, name))
        found["flash"].append((cost.flash / sample.flash - 1, sample.name))
    return {"window": found}


def summary(found: Mapping[str, Sequence[Found]]) -> Errors:
    """The worst and the mean."""
    if not found:
        return NO_ERROR
    kinds = {
        name: Error(
            round(max(abs(error) for error, _ in values), 4),
            round(float(np.mean([abs(error) for error, _ in values])), 4),
        )
        for name, values in found.items()
    }
    return Errors(len(found["flash"]), **kinds)


def main(arguments: Sequence[str]) -> None:
    """Measure the named boards, or all; --check: only compare held-out programs."""
    names = [a for a in arguments if a != "--check"]
    for board in [BOARDS[name] for name in names] or BOARDS.values():
        targets = dict(load_targets()) if TARGETS.exists() else {}
        if "--check" not in arguments:
            target = fit(board, find_limits(board), *training(board))
            target = with_windows(target, measure_windows(board, windows(False), LENGTHS))
            targets[target.name] = target
        target = targets[TARGET_NAMES[board.name]]
        found = errors(target, measure_programs(board, checked()))
        found |= window_errors(target, measure_windows(board, windows(True), LENGTHS))
        if "--check" not in arguments:
            stated = {kind: summary(rows_) for kind, rows_ in found.items()}
            targets[target.name] = replace(target, errors=stated)
            write(targets)
        show(board, found)


def show(board: Board, found: Mapping[str, Mapping[str, Sequence[Found]]]) -> None:
    """Print the errors of a board."""
    for kind, rows_ in found.items():
        for what, values in rows_.items():
            error, name = max(values, key=lambda value: abs(value[0]))
            mean = float(np.mean([abs(value) for value, _ in values]))
            print(
                f"{board.core:10} {kind:8} {what:12} {len(values):3} programs, "
                f"worst {error:+7.2%} ({name}), mean {mean:6.2%}",
                flush=True,
            )


def write(targets: Mapping[str, Target]) -> None:
    """targets.json, in the order of the boards."""
    order = [name for name in TARGET_NAMES.values() if name in targets]
    TARGETS.write_text(to_json([targets[name] for name in order]), encoding="ascii")
    load_targets.cache_clear()


if __name__ == "__main__":
    main(sys.argv[1:])
