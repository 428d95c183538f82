"""Forged programs with a valid checksum: each is refused in one sentence, soon, without memory."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgernn.runtime import StepRuntime
from edgernn.runtime.file import from_bytes, to_bytes
from tests.runtime.forgery import Json, chain, forged, genuine, parts, refusal, signed, with_tables

BAD_NUMBERS: list[Any] = [
    0,
    -1,
    65537,
    1 << 31,
    1 << 40,
    1 << 41,
    10**300,
    1.0,
    True,
    None,
    "2",
    [2],
    {},
]


@pytest.mark.parametrize("size", BAD_NUMBERS, ids=str)
@pytest.mark.parametrize("tensor", ["x", "sl0_h_in", "head", "l0_h"])
def test_sizes_that_cannot_be_are_refused_without_memory(tensor: str, size: Any) -> None:
    data = forged(lambda d: d["tensors"][tensor].__setitem__(0, size))
    tracemalloc.start()
    try:
        refusal(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("place", [1, 2])
@pytest.mark.parametrize("value", [*BAD_NUMBERS[2:], -101, 61, 2, 1 << 24], ids=str)
def test_scales_that_cannot_be_are_refused(place: int, value: Any) -> None:
    refusal(forged(lambda d: d["tensors"]["l0_h_a_n"].__setitem__(place, value)))


@pytest.mark.parametrize("exponent", [-100, 60])
def test_extreme_scales_are_refused_where_they_do_not_fit(exponent: int) -> None:
    for tensor in ("l0_h_gx", "l0_h_a_n", "l0_h_h_n", "l0_h_n", "sl0_h_in"):

        def edit(description: Json, name: str = tensor) -> None:
            description["tensors"][name][2] = exponent

        refusal(forged(edit))


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "a\nb", "a\0", "ä", "a.b", "../a", "a" * 129, "\ud800", "_", "\u202e"]
)
def test_odd_names_are_refused(name: str) -> None:
    def rename(old: str) -> bytes:
        header, description, payload = parts(to_bytes(genuine()))
        changed = json.dumps(description).replace(json.dumps(old), json.dumps(name))
        entries = {k.replace(f"{old}.", f"{name}."): v for k, v in header.items()}
        return signed(entries, changed, payload)

    for old in ("x", "head", "l0_h_z", "sl0_h", "sl0_h_in", "y"):
        refusal(rename(old))


EDITS: dict[str, Callable[[Json], object]] = {
    "unknown operator": lambda d: d["operators"][0].__setitem__(0, "exec"),
    "operator kind is no text": lambda d: d["operators"][0].__setitem__(0, ["linear"]),
    "operator kind is a mapping": lambda d: d["operators"][0].__setitem__(0, {}),
    "operator kind is null": lambda d: d["operators"][0].__setitem__(0, None),
    "operator is no list": lambda d: d["operators"].__setitem__(0, 7),
    "operator has two parts": lambda d: d["operators"][0].pop(),
    "operators is null": lambda d: d.update(operators=None),
    "operators are missing": lambda d: d.pop("operators"),
    "no operators": lambda d: d.update(operators=[]),
    "reads what comes later": lambda d: d["operators"].reverse(),
    "cycle": lambda d: d["operators"][4].__setitem__(1, d["operators"][4][2]),
    "reads nothing known": lambda d: d["operators"][4][1].__setitem__(0, "no\nsuch"),
    "name is a fraction": lambda d: d["operators"][4][1].__setitem__(0, 3.0),
    "index is negative": lambda d: d["operators"][4][1].__setitem__(0, -1),
    "index is a truth value": lambda d: d["operators"][4][1].__setitem__(0, True),
    "index is beyond the last": lambda d: d["operators"][4][1].__setitem__(0, len(d["tensors"])),
    "names are a text": lambda d: d.update(inputs="x"),
    "writes an input": lambda d: d["operators"][4].__setitem__(2, ["x"]),
    "writes a state": lambda d: d["operators"][4].__setitem__(2, ["sl0_h_in"]),
    "writes twice": lambda d: d["operators"].append(d["operators"][4]),
    "writes one tensor twice": lambda d: d["operators"][2].__setitem__(2, ["l0_h_gx_rz"] * 2),
    "writes an unknown tensor": lambda d: d["operators"][4].__setitem__(2, ["no\nsuch"]),
    "writes nothing": lambda d: d["operators"][4].__setitem__(2, []),
    "reads nothing": lambda d: d["operators"][4].__setitem__(1, []),
    "one operand": lambda d: d["operators"][4][1].pop(),
    "three operands": lambda d: d["operators"][4][1].append("l0_h_gx_rz"),
    "two results": lambda d: d["operators"][0][2].append("l0_h_gh"),
    "matrix of another operator": lambda d: d["operators"][4].__setitem__(0, "linear"),
    "matrix left over": lambda d: d["operators"][0].__setitem__(0, "relu"),
    "an unused tensor": lambda d: d["tensors"].update(unused=[1, 1, 0]),
    "no inputs": lambda d: d.update(inputs=[]),
    "input twice": lambda d: d.update(inputs=["x", "x"]),
    "unknown input": lambda d: d.update(inputs=["x", "a\nb"]),
    "input is a state": lambda d: d.update(inputs=["x", "sl0_h_in"]),
    "no outputs": lambda d: d.update(outputs={}),
    "outputs are a list": lambda d: d.update(outputs=["head"]),
    "unknown output": lambda d: d.update(outputs={"y": "no\nsuch"}),
    "odd output": lambda d: d.update(outputs={"y\n": "head"}),
    "output is null": lambda d: d.update(outputs={"y": None}),
    "state of unknown input": lambda d: d["states"][0].__setitem__(1, "no\nsuch"),
    "state of unknown output": lambda d: d["states"][0].__setitem__(2, "no\nsuch"),
    "state changes its size": lambda d: d["states"][0].__setitem__(2, "l0_h_rz"),
    "state changes its scale": lambda d: d["states"][0].__setitem__(2, "l0_h_a_n"),
    "state twice": lambda d: d["states"].append(d["states"][0]),
    "two states of one name": lambda d: d["states"].append(["sl0_h", "x", "x"]),
    "state is null": lambda d: d.update(states=[None]),
    "states are missing": lambda d: d.pop("states"),
    "metadata is a list": lambda d: d.update(metadata=[1]),
    "tensors is a list": lambda d: d.update(tensors=[]),
    "tensor of two numbers": lambda d: d["tensors"]["x"].pop(),
    "tensor is null": lambda d: d["tensors"].update(x=None),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_forged_description_is_refused(edit: Callable[[Json], object]) -> None:
    refusal(forged(edit))


TABLE_EDITS: dict[str, tuple[Callable[[Json], object], str]] = {
    "lookup becomes a relu": (lambda d: d["operators"][1].__setitem__(0, "relu"), "belongs to"),
    "embedding becomes a lookup": (
        lambda d: d["operators"][0].__setitem__(0, "lookup"), "'row.table' is not I16"
    ),
    "lookup becomes an embedding": (
        lambda d: d["operators"][1].__setitem__(0, "embedding"), "'f.table' is not I8"
    ),
    "add becomes a lookup": (lambda d: d["operators"][2].__setitem__(0, "lookup"), "s.table"),
    "kind cannot be looked up": (lambda d: d["operators"][0].__setitem__(0, []), "TypeError"),
    "constant is an input": (lambda d: d["inputs"].append("k"), "constant 'k' is an input"),
    "constant is a state": (
        lambda d: d["states"].append(["m", "k", "s"]), "constant 'k' is an input"
    ),
    "constant is written": (
        lambda d: d["operators"].append(["relu", ["s"], ["k"]]), "writes 'k' wrongly"
    ),
    "constant of another size": (
        lambda d: d["tensors"]["k"].__setitem__(0, 2), "constant k is not 2 int16"
    ),
    "constant of no tensor": (lambda d: d["tensors"].pop("k"), "no tensor|belongs to nothing"),
    "token of another scale": (lambda d: d["tensors"]["token"].__setitem__(2, 1), "no token id"),
    "two tokens": (lambda d: d["tensors"]["token"].__setitem__(0, 2), "no token id"),
    "rows of another size": (lambda d: d["tensors"]["row"].__setitem__(0, 2), "other rows"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "reason"), TABLE_EDITS.values(), ids=TABLE_EDITS)
def test_a_forged_table_or_constant_is_refused(edit: Callable[[Json], object], reason: str) -> None:
    assert re.search(reason, refusal(forged(edit, with_tables())))


def test_a_few_bytes_cannot_ask_for_gigabytes() -> None:
    assert "elements" in refusal(signed({}, chain(4096, 65536), b""))
    assert "more than 4096 operators" in refusal(signed({}, chain(4097, 1), b""))
    assert "more than 32768 tensors" in refusal(signed({}, chain(40_000, 1), b""))


def test_the_largest_program_of_a_kind_is_loaded_and_planned_soon() -> None:
    begin = time.process_time()
    program = from_bytes(np.frombuffer(signed({}, chain(4096, 1), b""), np.uint8), "m")
    x = np.array([[5], [-5]], np.int16)
    assert StepRuntime(program).run_int(x).tolist() == [[5], [0]]
    assert time.process_time() - begin < 2.0


def test_many_states_names_and_parts_are_refused_soon() -> None:
    big = 65536
    states = chain(1, big) | {"states": [[f"s{i}", "x", "t0"] for i in range(30_000)]}
    tracemalloc.start()
    try:
        refusal(signed({}, states, b""))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    parts_ = [f"p{i}" for i in range(60_000)]
    split = chain(1, big)
    split["operators"] = [["split", ["x"], parts_]]
    refusal(signed({}, split, b""))
    split["operators"] = [["split", ["x"], ["t0"] * big]]
    refusal(signed({}, split, b""))
    split["operators"] = [["concat", ["x"] * 500_000, ["t0"]]]
    refusal(signed({}, split, b""))
