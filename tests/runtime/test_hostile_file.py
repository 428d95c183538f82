"""Files that are damaged or forged: each is refused in one sentence, soon, and without memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.runtime import FileFormatError, load_program
from edgernn.runtime.container import MAX_HEADER
from edgernn.runtime.file import from_bytes, to_bytes
from tests.runtime.forgery import (
    Json,
    chain,
    forged,
    genuine,
    parts,
    reforged,
    refusal,
    signed,
    with_header,
    with_tables,
)

GENUINE = to_bytes(genuine())


def test_a_file_signed_again_without_a_change_is_accepted() -> None:
    # Otherwise the refusals below would prove nothing.
    assert to_bytes(from_bytes(np.frombuffer(signed(*parts(GENUINE)), np.uint8), "m")) == GENUINE
    assert to_bytes(from_bytes(np.frombuffer(forged(len), np.uint8), "m")) == GENUINE


def test_every_truncation_is_refused() -> None:
    for length in range(len(GENUINE)):
        refusal(GENUINE[:length])


def test_a_longer_file_is_refused() -> None:
    for tail in (b"\0", b" ", GENUINE):
        refusal(GENUINE + tail)
    header, description, payload = parts(GENUINE)
    assert "longer than its tensors" in refusal(signed(header, description, payload + b"\0"))


def test_a_flipped_bit_anywhere_is_refused() -> None:
    rng = np.random.default_rng(0)
    for position in range(len(GENUINE)):
        damaged = bytearray(GENUINE)
        damaged[position] ^= 1 << int(rng.integers(8))
        refusal(bytes(damaged))


def test_random_bytes_are_refused() -> None:
    rng = np.random.default_rng(1)
    for length in (0, 1, 7, 8, 9, 40, 1000):
        for _ in range(20):
            refusal(rng.bytes(length))
            refusal((length // 2).to_bytes(8, "little") + rng.bytes(length))


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 1 << 40, len(GENUINE), 0, 1])
def test_a_header_length_that_lies_is_refused(length: int) -> None:
    refusal(length.to_bytes(8, "little") + GENUINE[8:])


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"{}", b"1", b'"x"', b"\xff\xfe", b"{" * 9, b"[" * 200_000,
     b'{"a":' * 100_000, b"9" * 5000, b'{"__metadata__":[]}', b'{"__metadata__":{"format":7}}',
     b'{"__metadata__":{"format":"edgernn","version":"1"}}', b"NaN", b'{"\\ud800":1}',
     b'{"__metadata__":{"format":"edgernn","version":"1","format":"edgernn"}}'],
    ids=lambda t: t[:24].decode("latin-1"),
)  # fmt: skip
def test_a_header_that_is_none_is_refused(text: bytes) -> None:
    refusal(with_header(text))


@pytest.mark.parametrize("version", ["2", "1\n", "", 1, None, ["1"], "v" * 999])
def test_another_version_is_refused(version: Any) -> None:
    header, description, payload = parts(GENUINE)
    assert "version" in refusal(signed(header, description, payload, version=version))


@pytest.mark.parametrize(
    "description",
    ["", "null", "[]", "{}", "7", '{"tensors":{}}', "[" * 99_999, '{"a":' * 99_999, "{", None],
    ids=lambda t: str(t)[:16],
)  # fmt: skip
def test_a_description_that_is_none_is_refused(description: Any) -> None:
    header, _, payload = parts(GENUINE)
    refusal(signed(header, description, payload, program=description))


def test_metadata_cannot_be_nested_without_end_nor_hold_nan() -> None:
    header, description, payload = parts(GENUINE)
    text = json.dumps(description).replace('"metadata": {}', '"metadata": {"a": %s}')
    for value in ("[" * 100_000 + "]" * 100_000, "NaN", "-Infinity", '{"k":1,"k":2}'):
        refusal(signed(header, text % value, payload))


@pytest.mark.parametrize("name", ["head.weight", "head.bias", "l0_h_gx.shift", "sl0_h.initial"])
@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "U16"}, {"dtype": "F32"}, {"dtype": "U8"}, {"dtype": None}, {"dtype": []},
        {"shape": []}, {"shape": [-2]}, {"shape": [0]}, {"shape": [1 << 62, 1 << 62]},
        {"shape": [10**30]}, {"shape": [1.0]}, {"shape": [True]}, {"shape": None},
        {"shape": {}}, {"shape": "22"}, {"shape": [1, 1, 1, 1]}, {"shape": [1 << 31, 2]},
        {"data_offsets": []}, {"data_offsets": [0]}, {"data_offsets": [0, 1 << 70]},
        {"data_offsets": [-8, 0]}, {"data_offsets": [1 << 62, 1 << 63]},
        {"data_offsets": [0.0, 16.0]}, {"data_offsets": "ab"}, {"data_offsets": None},
        {"data_offsets": {"a": 1, "b": 2}}, {"data_offsets": [0, 0, 0]},
        {"data_offsets": [float("nan"), 1]},
    ],
    ids=str,
)  # fmt: skip
def test_a_tensor_entry_that_lies_is_refused(name: str, change: Json) -> None:
    refusal(reforged(lambda header: header[name].update(change)))


def test_a_tensor_of_another_type_of_the_same_size_is_refused() -> None:
    def narrow(header: Json) -> None:
        entry = header["head.bias"]
        entry.update(dtype="I32", shape=[2 * entry["shape"][0]])

    assert "is not I64" in refusal(reforged(narrow))


def test_gaps_and_overlaps_between_tensors_are_refused() -> None:
    def shift(by: int) -> Callable[[Json], None]:
        def edit(header: Json) -> None:
            last = max(header.values(), key=lambda e: e["data_offsets"])
            last["data_offsets"] = [n + by for n in last["data_offsets"]]

        return edit

    assert "does not lie" in refusal(reforged(shift(1), lambda p: p + b"\0"))
    refusal(reforged(shift(-1), lambda p: p[:-1]))
    refusal(reforged(shift(1)))


def test_missing_surplus_and_misplaced_tensors_are_refused() -> None:
    def rename(old: str, new: str) -> Callable[[Json], None]:
        return lambda header: header.update({new: header.pop(old)})

    assert "head.bias" in refusal(reforged(rename("head.bias", "other.bias")))
    refusal(reforged(rename("sl0_h.initial", "x.initial")))
    refusal(reforged(rename("sl0_h.initial", "a\nb")))
    assert "KeyError" in refusal(reforged(lambda h: h.clear(), lambda p: b""))
    refusal(reforged(lambda h: h.update(head=None)))


@pytest.mark.parametrize(
    ("name", "entry", "reason"),
    [
        ("f.table", {"dtype": "I8", "shape": [1026]}, "'f.table' is not I16"),
        ("f.table", {"shape": [27, 19]}, "not 513 int16"),
        ("f.table", {"shape": [1, 513]}, "not 513 int16"),
        ("row.table", {"shape": [12]}, "other rows"),
        ("row.table", {"shape": [3, 4]}, "other rows"),
        ("row.table", {"dtype": "I16", "shape": [2, 3]}, "'row.table' is not I8"),
        ("k.constant", {"dtype": "I8", "shape": [6]}, "'k.constant' is not I16"),
        ("k.constant", {"shape": [3, 1]}, "constant k is not 3 int16"),
    ],
)
def test_a_table_or_constant_of_another_form_is_refused(
    name: str, entry: Json, reason: str
) -> None:
    message = refusal(reforged(lambda h: h[name].update(entry), program=with_tables()))
    assert reason in message


@pytest.mark.parametrize("name", ["f.table", "row.table", "k.constant"])
def test_a_table_or_constant_that_is_missing_or_another_ones_is_refused(name: str) -> None:
    part = name.split(".")[1]
    for other in (f"token.{part}", f"s.{part}", f"nobody.{part}", f"{name}s"):

        def rename(header: Json, other: str = other) -> None:
            header[other] = header.pop(name)

        refusal(reforged(rename, program=with_tables()))


def replaced(array: str, value: int) -> bytes:
    """A file with one element of a tensor set to a value."""
    header, description, payload = parts(GENUINE)
    begin, _ = header[array]["data_offsets"]
    size = {"I8": 1, "I16": 2, "I32": 4, "I64": 8}[header[array]["dtype"]]
    data = value.to_bytes(size, "little", signed=True)
    return signed(header, description, payload[:begin] + data + payload[begin + size :])


@pytest.mark.parametrize(
    ("array", "value"),
    [("head.weight", -128), ("head.bias", (1 << 37) + 1), ("head.bias", -(1 << 37) - 1),
     ("head.bias", -(1 << 63)), ("head.multiplier", 16383), ("head.multiplier", 32768),
     ("head.multiplier", 0), ("head.multiplier", -16385), ("head.multiplier", (1 << 31) - 1),
     ("head.shift", 7), ("head.shift", 36), ("head.shift", 0), ("head.shift", -8),
     ("head.shift", -(1 << 31))],
)  # fmt: skip
def test_constants_out_of_range_are_refused(array: str, value: int) -> None:
    assert f"operator {array.split('.')[0]} (linear)" in refusal(replaced(array, value))


def test_constants_at_their_limits_are_accepted() -> None:
    for array, value in (("head.weight", -127), ("head.bias", 1 << 37), ("head.shift", 35)):
        from_bytes(np.frombuffer(replaced(array, value), np.uint8), "m")


def test_a_long_header_is_refused_soon() -> None:
    entry = {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}
    header = {f"t{i}": entry for i in range(150_000)}
    data = signed(header, chain(1, 1), b"\0")
    assert 8 << 20 < len(data) < MAX_HEADER
    assert "has more than 32768 tensors" in refusal(data)
    refusal(with_header(b" " * (MAX_HEADER + 8)))


def test_a_refusal_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(GENUINE[:-1])
    with pytest.raises(FileFormatError) as caught:
        load_program(path)
    assert str(caught.value).startswith(f"{path} is damaged")
