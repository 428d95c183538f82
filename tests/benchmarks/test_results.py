"""RESULTS.md is what the raw results say; a comparison of two runs sees what moved and no noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from benchmarks import compare as command
from benchmarks.bare_onnx import OPERATORS, bare_feeds, bare_operator
from benchmarks.compare import compare
from benchmarks.pictures import draw
from benchmarks.records import RESULTS, load, record, result, save
from benchmarks.report import markdown
from benchmarks.run import run_suite
from benchmarks.subjects import subject
from edgernn.runtime.errors import FileFormatError

TEXT = Path(__file__).parents[2] / "benchmarks" / "RESULTS.md"
KEY = {"cell": "GRU", "hidden": 64, "features": 32}


def test_the_text_is_made_of_the_results() -> None:
    again = "write it again with: python -m benchmarks.run --render-only"
    assert TEXT.read_text(encoding="utf-8") == markdown(RESULTS), again


def test_a_ratio_is_that_within_a_round() -> None:
    # The machine was ten times slower in the second round, for both alike.
    found = record(KEY, {"ours": [1.0, 10.0, 1.0], "peer": [2.0, 20.0, 2.0]}, ["ours"])
    assert found["ratios"] == {"ours / peer": [0.5, 0.5, 0.5]}
    assert found["values"]["ours"] == [1.0, 1.0, 5.5]


def _result(ours: list[float], ratio: list[float], **head: Any) -> dict[str, Any]:
    one = {"key": KEY, "unit": "us", "values": {"ours": ours}, "ratios": {"ours / peer": ratio}}
    return result("step", [one]) | head


CALM = _result([10.0, 9.9, 10.1], [0.5, 0.49, 0.51])


@pytest.mark.parametrize(
    ("ours", "ratio", "worse", "better"),
    [
        # Nothing, less than noise, worse, better, and worse within its own wide quartiles.
        ([10.0, 9.9, 10.1], [0.5, 0.49, 0.51], 0, 0),
        ([10.9, 10.8, 11.0], [0.54, 0.53, 0.55], 0, 0),
        ([12.0, 11.9, 12.1], [0.6, 0.59, 0.61], 2, 0),
        ([8.0, 7.9, 8.1], [0.4, 0.39, 0.41], 0, 2),
        ([12.0, 9.0, 15.0], [0.6, 0.45, 0.8], 0, 0),
    ],
)
def test_only_what_is_beyond_noise_counts(
    ours: list[float], ratio: list[float], worse: int, better: int
) -> None:
    changes = compare(CALM, _result(ours, ratio))
    assert [c.ratio for c in changes] == [
        pytest.approx(ratio[0] / 0.5),
        pytest.approx(ours[0] / 10),
    ]
    assert (sum(c.worse for c in changes), sum(c.better for c in changes)) == (worse, better)
    assert [c.counts for c in changes] == [True, False]


def test_times_of_another_processor_are_not_compared() -> None:
    other = _result([99.0, 99.0, 99.0], [0.5, 0.49, 0.51], processor="another")
    assert [c.what for c in compare(CALM, other)] == ["GRU, hidden 64, features 32: ours / peer"]


def test_bytes_and_agreement_are_compared_too() -> None:
    board = {"key": {"target": "core", "model": "gru"}, "costs": {"flash": 100, "ram": 50}}
    more = {**board, "costs": {"flash": 103, "ram": 50}}
    set_ = {"data": "d", "model": "m", "seed": 0, "rounding": "r", "agreement": 99.9}
    then, now = (result("x", rows) for rows in ([board, set_], [more, {**set_, "agreement": 99.5}]))
    assert [(c.what, c.worse) for c in compare(then, now)] == [
        ("core, gru: flash", True),
        ("core, gru: ram", False),
        ("d, m, 0, r: agreement %", True),
    ]


def test_the_command_fails_for_a_regression_alone(tmp_path: Path) -> None:
    save(CALM, tmp_path / "then")
    save(_result([12.0, 11.9, 12.1], [0.6, 0.59, 0.61]), tmp_path / "now")
    folders = [str(tmp_path / name) for name in ("then", "now")]
    worse = CliRunner().invoke(command.main, folders)
    assert (worse.exit_code, "WORSE" in worse.output) == (1, True)
    assert CliRunner().invoke(command.main, folders[::-1]).exit_code == 0
    (tmp_path / "none").mkdir()
    nothing = CliRunner().invoke(command.main, [str(tmp_path / "none"), folders[1]])
    assert nothing.exit_code == 1
    assert "has no results" in nothing.output


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "step.json").write_text("[1]")
    with pytest.raises(FileFormatError, match=r"step\.json is no result"):
        load("step", tmp_path)


@pytest.mark.parametrize("cell", OPERATORS)
def test_the_float_peer_computes_what_torch_does(cell: str) -> None:
    s = subject(cell, 16, 8)
    content = bare_operator(cell, s.graph, every_step=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    x = np.ascontiguousarray(s.data.swapaxes(0, 1))
    got = session.run(None, bare_feeds(cell, 16, x))[0][:, 0].swapaxes(0, 1)
    with torch.no_grad():
        wanted = s.layer(torch.from_numpy(s.data))[0].numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_suite_leaves_records_that_make_text_and_pictures(tmp_path: Path) -> None:
    records, passed = run_suite("step", ["--rounds=1", "-k", "GRU-16-8"])
    assert passed
    (found,) = records
    assert found["key"] == {"cell": "GRU", "hidden": 16, "features": 8}
    assert {"NumPy", "native", "LiteRT", "ONNX Runtime float", "PyTorch float"} <= set(
        found["values"]
    )
    assert set(found["p99"]) == set(found["values"])
    save(result("step", records), tmp_path)
    assert "| GRU, 16 / 8 |" in markdown(tmp_path)
    names = {path.name for path in draw(tmp_path, tmp_path)}
    assert names == {"latency.svg", "instructions.svg"}
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)
