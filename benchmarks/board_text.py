"""The microcontrollers in RESULTS.md: what firmware_tests keeps, beside the published peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.records import Result
from benchmarks.text import Lines, grid
from edgernn.footprint import load_targets
from edgernn.toml_file import read_toml
from firmware_tests.table import REFERENCES, kept, references

PEERS: Final = Path(__file__).parent / "peers.toml"
PEER_SHAPE: Final = (64, 32)
"""Hidden units and inputs of the peers' figures."""
CELLS: Final = {"gru": "gru_64_32", "lstm": "lstm_64_32"}
"""Cell -> our model of that shape."""
CLOSE: Final = 0.02
SHOWN: Final = 5
"""Differences that are listed."""


def peers() -> dict[str, dict[str, dict[str, int]]]:
    """Cell -> runtime -> core -> instructions of a step."""
    return read_toml(PEERS, "peers")


def macs() -> dict[str, int]:
    """Reference model -> multiplications by a weight."""
    return {name: program.weight_count for name, program in references().items()}


def instructions(part: Result | None) -> Lines:
    """Per MAC beside the peers, then per MAC and instructions of all reference models."""
    table, work = kept(), macs()
    cores = {target: load_targets()[target].core for target in table}
    lines: Lines = []
    for cell, model in CELLS.items():
        own = [_per_mac(c[model], work[model]) if model in c else "" for c in table.values()]
        rows = [["edgernn, int16", *own]]
        for runtime, counts in peers()[cell].items():
            rows.append(
                [runtime, *(f"{counts[t] / work[model]:.2f}" if t in counts else "" for t in table)]
            )
        hidden, features = PEER_SHAPE
        heading = f"{cell.upper()}, {hidden} / {features}, per MAC"
        lines += [*grid([heading, *cores.values()], rows), ""]
    models = [name for name in REFERENCES if any(name in costs for costs in table.values())]
    for heading in ("Instructions per MAC", "Instructions"):
        per_mac = heading.endswith("MAC")
        rows = []
        for name in models:
            listed = [costs.get(name) for costs in table.values()]
            figures = [
                "" if c is None else _per_mac(c, work[name]) if per_mac else _whole(c)
                for c in listed
            ]
            rows.append([REFERENCES[name][0], *figures])
        lines += [*grid([heading, *cores.values()], rows), ""]
    return [*lines, _again(part)]


def _per_mac(costs: dict[str, Any], work: int) -> str:
    return f"{costs['instructions'] / work:.2f}"


def _whole(costs: dict[str, Any]) -> str:
    return f"{costs['instructions']:,}"


def _again(part: Result | None) -> str:
    """What the last run of the suite found, beside what is kept."""
    if part is None:
        return "Not measured again by `make bench`, which needs the cross compilers for that."
    table, moved = kept(), []
    for record in part["records"]:
        target, model = record["key"]["target"], record["key"]["model"]
        before = table.get(target, {}).get(model, {})
        for what in before.keys() & record["costs"].keys():
            value, was = record["costs"][what], before[what]
            if abs(value - was) > CLOSE * was:
                moved.append(f"{target} {model} {what} {value:,}, kept {was:,}")
    if not moved:
        return f"Measured again {part['date']}: {len(part['records'])} models and boards, the same."
    listed = "; ".join(sorted(moved)[:SHOWN])
    return f"Measured again {part['date']}, **and not the same, {len(moved)} figures**: {listed}."
