"""Measures what steps cost on the boards, and writes edgernn/footprint/targets.json from it.

    python -m firmware_tests.fit [--check] [board ...]      # a minute for each board

It prints how far the estimates are from what programs of other shapes need; --check does only that.

Costs are sums over what a step consists of (`edgernn.footprint.features`): the fit finds the price
of each part. The loops of the usual cells are priced as they are; a loop that is not among them is
the sum of its operators, priced on programs of no particular architecture.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy.optimize import nnls

from edgernn.exporters.c import to_c
from edgernn.exporters.c.model import Model as CModel
from edgernn.footprint.estimate import STACK_ALIGNMENT, estimate, step_frame, total
from edgernn.footprint.features import (
    Limits,
    cleared_bytes,
    code_features,
    engine_feature,
    frame,
    functions,
    instruction_features,
    loop_code,
    loop_instructions,
    operator_code,
    operator_instructions,
)
from edgernn.footprint.targets import TARGETS, Target, load_targets, to_json
from firmware_tests.boards import BOARDS, Board
from firmware_tests.build import Model, build
from firmware_tests.samples import Sample, measure_programs
from firmware_tests.toolchain import execute
from firmware_tests.training import (
    cells,
    engines,
    heads,
    held_out,
    moves,
    products,
    rows,
    structures,
)

TARGET_NAMES: Final = {board: b.core.lower().replace("+", "plus") for board, b in BOARDS.items()}
LANES: Final = {"portable": 1, "dsp": 2, "helium": 8}
BLOCKS: Final = {"helium": (8, 36)}
"""Stored columns of a 4-column block, and constant bytes of 4 rows."""


def fit(board: Board, counted: Sequence[Sample], sized: Sequence[Sample]) -> Target:
    """The prices at which the features add up to what was measured."""
    lanes = LANES[board.kernels]
    limits = _limits(board)
    usual = [s for s in sized if not s.name.startswith("any")]
    others = [s for s in sized if s.name.startswith("any") and functions(s.model)]
    looping = [s for s in sized if functions(s.model)]

    def features(sample: Sample, one: bool, loops: bool) -> Counter[str]:
        """loops: as they are, and not as their operators."""
        model = sample.model
        counts = instruction_features(model, limits) if one else code_features(model, limits)
        for function in functions(model):
            if loops:
                counts += (loop_instructions if one else loop_code)(function, lanes)
            else:
                counts += (operator_instructions if one else operator_code)(function, lanes)
        return counts

    def measured(samples: Sequence[Sample], one: bool) -> list[float]:
        return [s.instructions if one else float(s.code) for s in samples]

    def prices(samples: Sequence[Sample], one: bool) -> dict[str, float]:
        found = _prices([features(s, one, True) for s in samples], measured(samples, one))
        rows = [features(s, one, False) for s in looping]
        return found | _further(rows, measured(looping, one), found)

    version = execute([f"{board.toolchain.prefix}gcc", "-dumpversion"], Path.cwd()).strip()
    name = TARGET_NAMES[board.name]
    return Target(
        name,
        board.core,
        f"{board.toolchain.prefix}gcc {version} -O2",
        lanes,
        *BLOCKS.get(board.kernels, (4, 32)),
        limits,
        prices([*counted, *usual], True),
        prices(usual, False),
        _frames(usual, others, lanes, STACK_ALIGNMENT.get(name, 8)),
    )


def _limits(board: Board) -> Limits:
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


def _prices(counts: Sequence[Counter[str]], measured: Sequence[float]) -> dict[str, float]:
    """The prices of least relative error; of several such, the smallest."""
    names = sorted({name for row in counts for name in row})
    weight = 1.0 / np.array(measured)
    matrix = np.array([[row[name] for name in names] for row in counts]) * weight[:, None]
    # Columns of one size, or what stands for large numbers would look cheap.
    scale = np.linalg.norm(matrix, axis=0)
    prices = np.linalg.lstsq(matrix / scale, np.ones(len(counts)), rcond=1e-10)[0] / scale
    return {n: round(float(p), 4) for n, p in zip(names, prices, strict=True)}


def _further(
    counts: Sequence[Counter[str]], measured: Sequence[float], known: Mapping[str, float]
) -> dict[str, float]:
    """Prices of what is not known yet, none below 0: there is much that they must stand for."""
    names = sorted({name for row in counts for name in row} - set(known))
    weight = 1.0 / np.array(measured)
    matrix = np.array([[row[name] for name in names] for row in counts]) * weight[:, None]
    rest = np.array([m - total(row, known) for m, row in zip(measured, counts, strict=True)])
    prices, _ = nnls(matrix, rest * weight)
    return {n: round(float(p), 4) for n, p in zip(names, prices, strict=True)}


def _frames(
    samples: Sequence[Sample], others: Sequence[Sample], lanes: int, alignment: int
) -> dict[str, float]:
    """Bytes of stack: of the engine's functions, and of a step's frame beside the scratch arena.

    others: programs whose loops are not to be priced as they are.
    """
    frames: dict[str, float] = {
        engine_feature(s.model): s.stack for s in samples if not functions(s.model)
    }
    frames["engine"] = max(frames.values())
    frames["engine "] = 0.0

    def rest(sample: Sample) -> float:
        engine = frames.get(engine_feature(sample.model), frames["engine"])
        return sample.stack - engine - 2 * sample.model.schedule.scratch

    found: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        loops = functions(sample.model)
        if len(loops) == 1:
            found[loops[0].name(lanes)].append(rest(sample))
    for name, values in found.items():
        # What was measured is rounded up, by less than the alignment.
        frames[name] = max(min(values), float(np.median(values)) - alignment + 1)
    frames["further loop"] = 0.0
    further = []
    for sample in samples:
        loops = functions(sample.model)
        if len(loops) > 1 and all(len(loop.sizes) == 1 for loop in loops):
            further.append((rest(sample) - step_frame(loops, frames, lanes)) / (len(loops) - 1))
    frames["further loop"] = float(np.median(further))
    counts = [frame(functions(s.model)) for s in others]
    names = list(counts[0])
    matrix = np.array([[count[name] for name in names] for count in counts], dtype=float)
    prices = np.linalg.lstsq(matrix, np.array([rest(s) for s in others]), rcond=None)[0]
    return frames | {n: round(float(p), 2) for n, p in zip(names, prices, strict=True)}


def training(board: Board) -> tuple[list[Sample], list[Sample]]:
    """What the prices are taken from: counted alone, and sized as well."""
    counted = measure_programs(board, products(), sizes=False)
    lanes = LANES[board.kernels]
    copies = {
        f"copy{n}": p for n, p in moves("copy").items() if n in (2, 6, 8, 16, 24, 31, 48, 100)
    }
    programs = {**engines(), **rows(), **cells(lanes), **heads(lanes), **copies, **structures()}
    return counted, measure_programs(board, programs)


def errors(target: Target, samples: Sequence[Sample]) -> dict[str, tuple[float, str, float]]:
    """Relative errors of the estimates: the worst, of which program, and the mean."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for sample in samples:
        cost = estimate(sample.model, target)
        if cost.weights != sample.weights:
            raise ValueError(
                f"{sample.name}: {cost.weights} bytes of constants, not {sample.weights}"
            )
        for name, number, measured in (
            ("instructions", cost.instructions, sample.instructions),
            ("flash", cost.flash, sample.flash),
            ("RAM", cost.ram, sample.ram),
        ):
            found[name].append((abs(number / measured - 1), sample.name))
    return {
        name: (*max(values), float(np.mean([error for error, _ in values])))
        for name, values in found.items()
    }


def main(arguments: Sequence[str]) -> None:
    """Measure the named boards, or all; --check: only compare held-out programs."""
    names = [a for a in arguments if a != "--check"]
    for board in [BOARDS[name] for name in names] or BOARDS.values():
        targets = dict(load_targets()) if TARGETS.exists() else {}
        if "--check" not in arguments:
            target = fit(board, *training(board))
            targets[target.name] = target
            order = [name for name in TARGET_NAMES.values() if name in targets]
            TARGETS.write_text(to_json([targets[name] for name in order]), encoding="ascii")
            load_targets.cache_clear()
        target = targets[TARGET_NAMES[board.name]]
        for what, (worst, name, mean) in errors(
            target, measure_programs(board, held_out())
        ).items():
            print(f"{board.core:10} {what:12} worst {worst:6.2%} ({name}), mean {mean:6.2%}")


if __name__ == "__main__":
    main(sys.argv[1:])
