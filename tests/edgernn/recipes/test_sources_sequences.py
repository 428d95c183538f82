"""Labelled sequences: every kind of file gives the same ones; what does not fit is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.recipes.sources import read_sequences, standardize
from edgernn.runtime.errors import InputError

COLUMNS = ["ax", "ay"]


def _rows(seed: int = 0, count: int = 12) -> tuple[list[np.ndarray], list[str]]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 9, count)
    x = [np.round(generator.normal(3, 2, (n, 2)), 3).astype(np.float32) for n in lengths]
    return x, [("still", "wave", "turn")[i % 3] for i in range(count)]


def _padded(x: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(s) for s in x])
    padded = np.zeros((len(x), lengths.max(), 2), np.float32)
    for row, s in zip(padded, x, strict=True):
        row[: len(s)] = s
    return padded, lengths


def _csv(path: Path, x: list[np.ndarray], y: list[str], **more: Any) -> Path:
    lines = ["sequence,time,ax,ay,label"]
    for i, (s, label) in enumerate(zip(x, y, strict=True)):
        lines += [f"s{i},{t},{a},{b},{label}" for t, (a, b) in enumerate(s)]
    path.write_text("\n".join(lines) + "\n")
    return path


def _npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def _split_npz(tmp_path: Path, **more: Any) -> Path:
    arrays: dict[str, Any] = {"class_names": ["still", "wave", "turn"], "columns": COLUMNS}
    for seed, split in enumerate(("train", "val", "test", "test_same")):
        x, y = _rows(seed)
        padded, lengths = _padded(x)
        arrays |= {
            f"x_{split}": padded,
            f"y_{split}": np.array([["still", "wave", "turn"].index(v) for v in y]),
            f"len_{split}": lengths,
            f"who_{split}": np.arange(len(x)),
        }
    return _npz(tmp_path / "moves.npz", **(arrays | more))


def test_splits_of_an_npz(tmp_path: Path) -> None:
    found = read_sequences(str(_split_npz(tmp_path)), {})
    assert list(found.splits) == ["train", "val", "test", "test_same"]
    x, y = _rows(2)
    test = found.splits["test"]
    assert all(np.array_equal(a, b) for a, b in zip(test.arrays["x"], x, strict=True))
    assert [found.facts["classes"][i] for i in test.arrays["y"]] == y
    assert list(test.arrays["who"]) == list(range(12))
    everything = np.concatenate(_rows(0)[0]).astype(np.float64)
    assert np.allclose(found.facts["mean"], everything.mean(0))
    assert np.allclose(found.facts["std"], everything.std(0))
    assert found.facts["columns"] == COLUMNS
    assert found.facts["features"] == [2]
    json.dumps(found.facts)
    scaled = standardize(found)
    both = np.concatenate(list(scaled.splits["train"].arrays["x"]))
    assert np.allclose(both.mean(0), 0, atol=1e-5)
    assert np.allclose(both.std(0), 1, atol=1e-5)


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    x, y = _rows()
    padded, lengths = _padded(x)
    sources = [_csv(tmp_path / "a.csv", x, y)]
    sources.append(_npz(tmp_path / "b.npz", x=padded, y=np.array(y), lengths=lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    sources.append(_npz(tmp_path / "c.npz", x=np.concatenate(x), offsets=offsets, y=np.array(y)))
    folder = tmp_path / "moves"
    for kind in ("csv", "npy"):
        for i, (s, label) in enumerate(zip(x, y, strict=True)):
            place = folder / kind / label
            place.mkdir(parents=True, exist_ok=True)
            if kind == "npy":
                np.save(place / f"{i:02}.npy", s)
            else:
                lines = ["ax,ay", *(f"{a},{b}" for a, b in s)]
                (place / f"{i:02}.csv").write_text("\n".join(lines))
        sources.append(folder / kind)
    wanted = sorted((label, s.tobytes()) for s, label in zip(x, y, strict=True))
    for source in sources:
        found = read_sequences(str(source), {}, seed=3)
        got = [
            (found.facts["classes"][label], s.tobytes())
            for split in found.splits.values()
            for s, label in zip(split.arrays["x"], split.arrays["y"], strict=True)
        ]
        assert sorted(got) == wanted, source
        # 12 sequences of three classes: 2, 1 and 1 of each.
        assert [len(found.splits[n]) for n in ("train", "val", "test")] == [6, 3, 3]


def test_a_split_by_chance_follows_the_seed(tmp_path: Path) -> None:
    x, y = _rows(count=60)
    source = str(_csv(tmp_path / "a.csv", x, y))
    made = [read_sequences(source, {"split": "50/25/25"}, seed=s) for s in (1, 1, 2)]
    picks = [[s.tobytes() for s in m.splits["test"].arrays["x"]] for m in made]
    assert picks[0] == picks[1] != picks[2]
    assert np.bincount(made[0].splits["test"].arrays["y"]).tolist() == [5, 5, 5]


def test_splits_in_a_csv_and_in_folders(tmp_path: Path) -> None:
    lines = ["who,split,v,gesture"]
    for i in range(9):
        split = ("train", "val", "test")[i // 3]
        lines += [f"{i},{split},{i + t / 10},{'abc'[i % 3]}" for t in range(3)]
        place = tmp_path / "f" / split / "abc"[i % 3]
        place.mkdir(parents=True)
        (place / "one.csv").write_text(f"v\n{i}\n{i + 0.1}\n{i + 0.2}\n")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    options = {"sequence": "who", "label": "gesture"}
    for source, given in ((tmp_path / "a.csv", options), (tmp_path / "f", {})):
        found = read_sequences(str(source), given)
        assert found.splits["val"].arrays["x"][0][0, 0] == 3
        assert found.facts["classes"] == ["a", "b", "c"]


def test_missing_values_stay_and_are_then_marked(tmp_path: Path) -> None:
    x, y = _rows()
    path = _csv(tmp_path / "a.csv", x, y)
    text = path.read_text().splitlines()
    text[1] = "s0,0,,1.5,still"
    path.write_text("\n".join(text))
    found = read_sequences(str(path), {})
    before = [s for split in found.splits.values() for s in split.arrays["x"]]
    assert sum(int(np.isnan(s).sum()) for s in before) == 1
    scaled = standardize(found)
    for split in scaled.splits.values():
        for s, seen in zip(split.arrays["x"], split.arrays["observed"], strict=True):
            assert np.isfinite(s).all()
            assert (s[seen == 0] == 0).all()
    unseen = sum(int((o == 0).sum()) for s in scaled.splits.values() for o in s.arrays["observed"])
    assert unseen == 1


def test_columns_are_chosen_and_a_coordinate_y_is_no_label(tmp_path: Path) -> None:
    x, y = _rows()
    path = _csv(tmp_path / "a.csv", x, y)
    path.write_text(path.read_text().replace("ax,ay", "x,y"))
    assert read_sequences(str(path), {}).facts["columns"] == ["x", "y"]
    assert read_sequences(str(path), {"columns": "y"}).facts["columns"] == ["y"]
    assert read_sequences(str(path), {"columns": "-y"}).facts["columns"] == ["x"]


def test_a_label_in_the_files_of_a_folder_is_no_input(tmp_path: Path) -> None:
    for name in ("still", "turn"):
        (tmp_path / name).mkdir()
        for i in range(3):
            text = f"ax,label,kind,\n1,{i},2,\n3,{i},4,\n"
            (tmp_path / name / f"{i}.csv").write_text(text)
    assert read_sequences(str(tmp_path), {}).facts["columns"] == ["ax", "kind"]
    other = read_sequences(str(tmp_path), {"label": "kind"})
    assert other.facts["columns"] == ["ax", "label"]


def test_token_ids(tmp_path: Path) -> None:
    ids = np.arange(48).reshape(12, 4).astype(np.uint8) % 5
    path = _npz(tmp_path / "a.npz", x=ids, y=np.arange(12) % 2, symbols=list("acgtn"))
    found = read_sequences(str(path), {})
    assert found.facts["features"] == [0]
    assert found.facts["tokens"] == 5
    assert found.splits["train"].arrays["x"][0].dtype == np.int64
    assert standardize(found) is found


def test_integers_are_values_and_constant_columns_stay_finite(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(-900, 900, (12, 5, 2)).astype(np.int16)
    x[..., 1] = 7
    path = _npz(tmp_path / "a.npz", x=x, y=np.arange(12) % 2)
    found = read_sequences(str(path), {})
    assert found.facts["constant"] == ["x1"]
    assert found.facts["std"][1] == 1.0
    assert standardize(found).splits["train"].arrays["x"][0][:, 1].tolist() == [0.0] * 5


def _refused(source: Path, message: str, **options: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_sequences(str(source), options)
    assert "\n" not in str(caught.value)


def test_refusals_of_arrays(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(12, 5, 2)).astype(np.float32)
    y = np.arange(12) % 2
    made = iter(range(99))

    def npz(**arrays: Any) -> Path:
        return _npz(tmp_path / f"{next(made)}.npz", **arrays)

    _refused(tmp_path / "none.npz", "there is no")
    _refused(npz(y=y), "no array `x`")
    _refused(npz(x=x), "no labels 'y'")
    _refused(npz(x=x, y=y), "no labels 'gesture'.*--label", label="gesture")
    _refused(npz(x=x, y=y), "no column 'az'", columns="az")
    _refused(npz(x=x, y=y, columns=["a", "b", "c"]), "names 3 columns, but its values have 2")
    _refused(npz(x=x, y=y[:5]), r"\(5,\), not one label for each of 12")
    _refused(npz(x=x, y=y, lengths=np.full(12, 6)), "1 to 5 valid steps")
    _refused(npz(x=x, y=np.where(y, np.nan, 0.0)), "label of sequence 1 .* is missing")
    _refused(npz(x=x, y=y + 0.5), "which is no class")
    _refused(npz(x=x, y=y + 1, class_names=["a", "b"]), "label 2, but class_names has 2")
    _refused(npz(x=x, y=np.zeros(12)), "has the class '0' only")
    _refused(npz(x=x, y=np.arange(12)), "has 1 sequence; train, val and test need one each")
    _refused(npz(x=x[:, :, 0] * np.inf, y=y), "is infinite")
    _refused(npz(x=np.where([True, False], np.nan, x), y=y), "no value of x0.*--columns=-x0")
    _refused(npz(x=x[0], y=y, columns=COLUMNS), "one stream of 2 columns")
    _refused(npz(x_train=x, y_train=y, x_test=x, y_test=y), "but no val")
    _refused(npz(x=x, y=y), "three parts above 0", split="80,20")
    _refused(_split_npz(tmp_path), "gives its splits", split="60/20/20")
    empty = np.zeros(12, int)
    _refused(_split_npz(tmp_path, y_val=empty), "val of .* has no sequence of class 'wave'")
    ragged = np.empty(2, object)
    ragged[:] = [x[0], x[1]]
    _refused(npz(x=ragged, y=y[:2]), "never unpickled")
    damaged = npz(x=x, y=y)
    content = bytearray(damaged.read_bytes())
    content[200:260] = bytes(60)
    damaged.write_bytes(content)
    _refused(damaged, "not a sound")
    damaged.write_text("hello")
    _refused(damaged, "it is no array file")
    (tmp_path / "a.txt").write_text("x")
    _refused(tmp_path / "a.txt", r"neither \.npz nor \.csv nor a folder")


def test_refusals_of_tables(tmp_path: Path) -> None:
    x, y = _rows()

    def table(old: str = "", new: str = "") -> Path:
        path = _csv(tmp_path / "a.csv", x, y)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return path

    first = f"s0,0,{x[0][0, 0]},{x[0][0, 1]},still"
    _refused(table(), "no column 'gesture'", label="gesture")
    _refused(table("sequence,", "run,"), "says which rows are one sequence; name it: --sequence")
    _refused(table("label", "class"), "no column `label`")
    _refused(table(first, "s0,0,1,off,still"), "line 2: ay is 'off', not a number.*--columns=-ay")
    _refused(table(first, "s0,0,1,2,turn"), "changes from 'turn' to 'still'")
    _refused(table(first, "s0,0,1,2,"), "has an empty label")
    _refused(table(first, "s0,1,1,2,still"), "time of row 1 .* not after")
    _refused(table(first, "s0,,1,2,still"), "line 2: time is empty")
    _refused(table(first, "s0,0,1,2,still,9,9"), "more cells|sound table")
    one = tmp_path / "one.csv"
    one.write_text("sequence,ax,label\na,1,b\n")
    _refused(one, "has 1 row; nothing to learn")
    one.write_text("sequence,a,b,label\n0,1,2,0\n0,1,2,1\n")
    _refused(one, "label of sequence 0 .* changes from '0' to '1'")
    one.write_text("sequence,a, a,label\n0,1,2,0\n0,1,2,0\n")
    _refused(one, "^[^ ]*one.csv has the column 'a' twice")
    one.write_text(",sequence,a,label\n0,a,1,0\n1,a,2,0\n")
    _refused(one, "column 1 of .* has no name")
    one.write_text("1,2,3\n4,5,6\n7,8,9\n")
    _refused(one, "no header")
    one.write_text("")
    _refused(one, "not a sound table")


def test_refusals_of_folders(tmp_path: Path) -> None:
    _refused(tmp_path, "no folders; make one for each class")
    (tmp_path / "a").mkdir()
    _refused(tmp_path, r"has no \.csv or \.npy file")
    np.save(tmp_path / "a" / "1.npy", np.zeros((3, 2)))
    np.save(tmp_path / "a" / "2.npy", np.zeros((3, 4)))
    _refused(tmp_path, "has the columns x0, x1, x2, x3, but")
    np.save(tmp_path / "a" / "2.npy", np.zeros((3, 4, 5)))
    _refused(tmp_path, "not a sequence")
