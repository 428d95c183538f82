"""Streams: files, splits in time, standardization by train, what is cut; refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.recipes.sources import read_series
from edgernn.runtime.errors import InputError

ROWS = 50


def _values(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.round(generator.normal(5, 3, (rows, 2)), 3).astype(np.float32)


def _csv(path: Path, x: np.ndarray, **columns: Any) -> Path:
    names = list(columns)
    lines = [",".join(["time", "p", "t", *names])]
    for i, row in enumerate(x):
        cells = ["" if np.isnan(v) else str(v) for v in row]
        more = [str(columns[n][i]) for n in names]
        lines.append(",".join([f"2026-01-01 00:{i:02}:00", *cells, *more]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path


def _npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_a_csv_with_times_and_missing_values(tmp_path: Path) -> None:
    x = _values()
    x[4, 1] = np.nan
    wear = np.arange(ROWS)
    found = read_series(str(_csv(tmp_path / "pump.csv", x, wear=wear)), {"label": "wear"})
    (stream,) = found.streams
    assert np.array_equal(stream.x, x, equal_nan=True)
    assert stream.name == "pump"
    assert stream.time is not None
    assert np.diff(stream.time).tolist() == [60.0] * (ROWS - 1)
    assert stream.parts == {"train": (0, 30), "val": (30, 40), "test": (40, 50)}
    assert found.numbers(found.label(("y",), "wear"))[0].tolist() == wear.tolist()
    assert found.facts["columns"] == ["p", "t"]
    assert found.facts["time_step"] == 60.0
    assert found.facts["irregular"] == 0.0
    assert found.facts["missing"] == pytest.approx(1 / 60)
    # Nothing after train has a say.
    assert np.allclose(found.facts["mean"], np.nanmean(x[:30].astype(np.float64), axis=0))
    assert np.allclose(found.facts["std"], np.nanstd(x[:30].astype(np.float64), axis=0))
    json.dumps(found.facts)
    scaled = found.scaled()[0]
    assert np.allclose(np.nanmean(scaled[:30], axis=0), 0, atol=1e-5)
    assert np.isnan(scaled[4, 1])


def test_shares_and_irregular_times(tmp_path: Path) -> None:
    time = np.cumsum(np.where(np.arange(ROWS) % 10 == 9, 12, 10))
    path = _npz(tmp_path / "a.npz", x=_values(), time=time)
    found = read_series(str(path), {"split": "50,10,40"})
    assert found.streams[0].parts == {"train": (0, 25), "val": (25, 30), "test": (30, 50)}
    assert found.facts["time_step"] == 10.0
    assert found.facts["irregular"] == pytest.approx(5 / 49)


def test_flat_series_with_offsets(tmp_path: Path) -> None:
    x = _values(rows=90)
    arrays = {
        "x": x,
        "offsets": [0, 30, 50, 90],
        "series": ["a", "b", "c"],
        "rul": np.arange(90),
        "hide": x > 5,
        "period": [3, 4, 5],
    }
    given = read_series(
        str(_npz(tmp_path / "a.npz", **arrays, split=["train", "val", "test"])), {"columns": "x1"}
    )
    assert [s.parts for s in given.streams] == [
        {"train": (0, 30)},
        {"val": (0, 20)},
        {"test": (0, 40)},
    ]
    assert given.streams[2].values == {"period": 5}
    assert given.streams[1].rows["rul"].tolist() == list(range(30, 50))
    assert np.array_equal(given.streams[1].rows["hide"], x[30:50, 1:] > 5)
    ends = {"train_end": [20, 10, 30], "val_end": [25, 15, 35]}
    cut = read_series(str(_npz(tmp_path / "b.npz", **arrays, **ends)), {"series": "c,a"})
    assert [s.name for s in cut.streams] == ["a", "c"]
    assert cut.streams[1].parts == {"train": (0, 30), "val": (30, 35), "test": (35, 40)}


def test_each_stream_by_its_own_mean(tmp_path: Path) -> None:
    values = np.concatenate([np.arange(50.0), 1000 + np.arange(50.0)])
    path = _npz(tmp_path / "a.npz", value=values, offsets=[0, 50, 100], series=["low", "high"])
    found = read_series(str(path), {"scale": "stream"})
    low, high = found.scaled()
    assert np.allclose(low, high, atol=1e-4)
    assert found.facts["mean"] == {"low": [14.5], "high": [1014.5]}
    assert abs(read_series(str(path), {}).scaled()[0].mean()) > 0.9


def test_logarithms_of_columns(tmp_path: Path) -> None:
    x = np.abs(_values())
    path = _npz(tmp_path / "a.npz", x=x, columns=["dust", "t"])
    found = read_series(str(path), {"log": "dust"})
    assert np.allclose(found.streams[0].x, np.stack([np.log1p(x[:, 0]), x[:, 1]], 1))
    assert found.facts["log"] == ["dust"]


def test_splits_by_name_padded_ones_and_folders(tmp_path: Path) -> None:
    parts = {f"x_{s}": _values(i) for i, s in enumerate(("train", "val", "test"))}
    labels = {f"y_{s}": np.arange(ROWS) % 2 for s in ("train", "val", "test")}
    found = read_series(str(_npz(tmp_path / "a.npz", **parts, **labels)), {})
    assert [s.parts for s in found.streams] == [
        {"train": (0, ROWS)},
        {"val": (0, ROWS)},
        {"test": (0, ROWS)},
    ]
    assert found.classes("y")[1] == ["0", "1"]
    for i, split in enumerate(("train", "val", "test")):
        _csv(tmp_path / "f" / split / "one.csv", _values(i), y=np.arange(ROWS) % 2)
    folder = read_series(str(tmp_path / "f"), {})
    assert [s.name for s in folder.streams] == ["test/one", "train/one", "val/one"]
    for a, b in zip(found.streams, [folder.streams[i] for i in (1, 2, 0)], strict=True):
        assert np.array_equal(a.x, b.x)
        assert a.parts == b.parts
    padded = {
        f"x_{s}": np.stack([_values(i), _values(i + 9)])
        for i, s in enumerate(("train", "val", "test"))
    }
    lengths = {f"len_{s}": [ROWS, 7] for s in ("train", "val", "test")}
    streams = read_series(str(_npz(tmp_path / "p.npz", **padded, **lengths)), {}).streams
    assert [len(s.x) for s in streams] == [ROWS, 7] * 3


def test_several_streams_in_one_csv_and_in_a_folder(tmp_path: Path) -> None:
    who = ["a"] * 25 + ["b"] * 25
    one = read_series(str(_csv(tmp_path / "all.csv", _values(), series=who)), {})
    for name, rows in (("a", slice(25)), ("b", slice(25, None))):
        _csv(tmp_path / "f" / f"{name}.csv", _values()[rows])
    many = read_series(str(tmp_path / "f"), {})
    for a, b in zip(one.streams, many.streams, strict=True):
        assert a.name == b.name
        assert np.array_equal(a.x, b.x)
        assert a.parts == b.parts == {"train": (0, 15), "val": (15, 20), "test": (20, 25)}


def test_a_coordinate_y_is_no_label(tmp_path: Path) -> None:
    path = _csv(tmp_path / "a.csv", _values(), y=np.arange(ROWS), label=np.arange(ROWS) % 2)
    path.write_text(path.read_text().replace("time,p,t", "time,x,z"))
    for options in ({}, {"label": "label"}):
        found = read_series(str(path), options, ("y", "label"))
        assert found.facts["columns"] == ["x", "z", "y"]
        assert found.label(("y", "label")) == "label"
    asked = read_series(str(path), {"label": "y"}, ("y", "label"))
    assert asked.facts["columns"] == ["x", "z"]


def test_a_column_with_the_split(tmp_path: Path) -> None:
    split = ["train"] * 20 + ["val"] * 10 + ["test"] * 20
    found = read_series(str(_csv(tmp_path / "a.csv", _values(), split=split)), {})
    assert found.streams[0].parts == {"train": (0, 20), "val": (20, 30), "test": (30, 50)}
    split[3] = "val"
    _refused(_csv(tmp_path / "a.csv", _values(), split=split), "do not follow one another")


def test_cutting_gives_what_came_before_but_does_not_score_it(tmp_path: Path) -> None:
    found = read_series(str(_npz(tmp_path / "a.npz", x=_values())), {})
    splits = found.cut({"x": found.scaled()}, context=4)
    assert [len(splits[n].arrays["x"][0]) for n in ("train", "val", "test")] == [30, 14, 14]
    assert splits["test"].arrays["scored"][0].tolist() == [False] * 4 + [True] * 10
    assert np.array_equal(splits["val"].arrays["x"][0][:4], splits["train"].arrays["x"][0][-4:])
    assert splits["test"].arrays["first"] == [36]
    with pytest.raises(InputError, match=r"val of a has 10 rows, but a window takes 11"):
        found.require(11, "a window")


def _refused(source: Path, message: str, **options: Any) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_series(str(source), options)
    assert "\n" not in str(caught.value)


def test_refusals_of_arrays(tmp_path: Path) -> None:
    x = _values()
    made = iter(range(99))

    def npz(**arrays: Any) -> Path:
        return _npz(tmp_path / f"{next(made)}.npz", **arrays)

    time = np.arange(ROWS)
    time[7] = 6
    _refused(npz(x=x, time=time), "row 7 .* not after .*--time none")
    assert read_series(str(npz(x=x, time=time)), {"time": "none"}).streams[0].time is None
    _refused(npz(x=x, time=time[:3]), r"`time` of .* is \(3,\), but there are 50 rows")
    _refused(npz(x=x), "no array 'when'", time="when")
    _refused(npz(x=x), "no label 'rul'", label="rul")
    _refused(npz(x=x, offsets=[0, 9]), "do not rise from 0 to its 50 rows")
    _refused(npz(x=x, offsets=[0, 30, 50], series=["a"]), "names 1 series, but has 2")
    _refused(npz(x=x, offsets=[0, 30, 50]), "no series 'a'; it has 0, 1", series="a")
    _refused(npz(x=x, train_end=40, val_end=40), "train would end at row 40")
    _refused(npz(x=x, train_end=40, val_end=45), "gives its splits", split="60/20/20")
    _refused(npz(x=x[:1]), "has 1 row")
    _refused(npz(x=x[:3]), "each split needs rows")
    _refused(npz(x=x - 9), "needs more than -1", log="x0")
    _refused(npz(x_train=x, x_val=x[:, :1], x_test=x), "different numbers of columns")
    gone = x.copy()
    gone[:30, 1] = np.nan
    _refused(npz(x=gone), "train of .* has no value of x1.*--columns=-x1")
    bad = np.where(np.arange(ROWS) == 3, np.nan, 1.0)
    with pytest.raises(InputError, match=r"rul of values in .* is missing at row 3"):
        read_series(str(npz(x=x, rul=bad)), {}).numbers("rul")
    with pytest.raises(InputError, match=r"val of .* has no row of class '1'"):
        read_series(str(npz(x=x, y=np.arange(ROWS) % 2 * (np.arange(ROWS) < 30))), {}).classes("y")
    apart = npz(x=x, offsets=[0, 10, 20, 50], split=["train", "val", "test"])
    _refused(apart, "has no rows in train, so it has no mean of its own", scale="stream")


def test_refusals_of_tables_and_folders(tmp_path: Path) -> None:
    path = _csv(tmp_path / "a.csv", _values())
    _refused(path, "no column 'when'", time="when")
    _refused(path, "no column 'q'; it has p, t", columns="q")
    _refused(path, "no column 'rul'", label="rul")
    _refused(path, "no column of .* is left", columns="-p,-t")
    text = path.read_text()
    path.write_text(text.replace("00:03:00", "00:02:00"))
    _refused(path, "time of row 3 .* not after")
    path.write_text(text.replace("2026-01-01 00:03:00", "soon"))
    _refused(path, "time is no time")
    first = text.splitlines()[1]
    path.write_text(text.replace(first, first.rsplit(",", 1)[0] + ",n.a."))
    _refused(path, "line 2: t is 'n.a.', not a number")
    labels = [str(i % 2) for i in range(ROWS)]
    labels[5] = ""
    _refused(_csv(tmp_path / "a.csv", _values(), y=labels), "y is missing in row 5.* None, NA")
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", r"has no \.csv or \.npy file")
    _csv(tmp_path / "f" / "a.csv", _values())
    _csv(tmp_path / "f" / "b.csv", _values(), z=np.arange(ROWS))
    _refused(tmp_path / "f", "has the columns p, t, z, but the files before it have p, t")
