"""What a report says, against what it was made from; names that are not harmless."""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgernn
from edgernn.budget.accuracy import both_outputs
from edgernn.budget.subject import load_subject
from edgernn.float_engine import run_float
from edgernn.footprint import estimate, load_targets
from edgernn.pictures import DARK, LIGHT
from edgernn.report import charts
from edgernn.report.accuracy import classification
from edgernn.report.page import page
from edgernn.runtime import Program, StepRuntime
from tests.edgernn.report.conftest import run

Reported = tuple[Path, dict[str, Any]]
LARGEST = 2_000_000


def test_the_page_is_one_small_file(reported: Reported) -> None:
    text = reported[0].read_text()
    assert len(text.encode()) < LARGEST
    assert text.startswith("<!DOCTYPE html>")
    links = set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', text))
    assert all(link.startswith("#") for link in links), links
    assert "default-src 'none'" in text
    assert "@import" not in text


def test_costs_are_those_of_the_footprint(folder: Path, reported: Reported) -> None:
    cost = reported[1]["cost"]
    program = load_subject(folder).program
    assert isinstance(program, Program)
    found = estimate(program, load_targets()["cortex-m4"])
    assert sum(o["instructions"] for o in cost["operators"]) == found.instructions
    assert sum(o["flash"] for o in cost["operators"]) == found.flash
    assert sum(o["macs"] for o in cost["operators"]) == program.weight_count
    layers = {o["layer"] for o in cost["operators"] if o["kind"] == "product"}
    assert layers == {"front", "gru_l0", "lstm_l0", "head"}


def test_accuracy_is_that_of_the_engines(folder: Path, reported: Reported) -> None:
    own = reported[1]["accuracy"]
    subject = load_subject(folder)
    assert subject.float_model is not None
    with np.load(folder.parent / "test.npz") as data:
        x, labels = data["x"], data["y"]
    real, _ = run_float(subject.float_model.graph, {"x": x})
    floats = real["y"][:, -1].argmax(1)
    ints = StepRuntime.load(folder / "model.safetensors").run(x)[:, -1].argmax(1)
    for name, given in (("float", floats), ("int8", ints)):
        assert own[name]["accuracy"] == np.mean(given == labels)
        confusion = np.zeros((3, 3), int)
        np.add.at(confusion, (labels, given), 1)
        assert own[name]["confusion"] == confusion.tolist()
        assert own[name]["support"] == np.bincount(labels).tolist()
        assert own[name]["recall"][1] == confusion[1, 1] / confusion[1].sum()
        assert own[name]["precision"][1] == confusion[1, 1] / confusion[:, 1].sum()
    assert own["agreement"] == np.mean(floats == ints)
    assert 0 < own["int8"]["accuracy"] < 1


def test_labels_that_are_no_classes(folder: Path) -> None:
    subject = load_subject(folder)
    with np.load(folder.parent / "test.npz") as arrays:
        x, signed = [{"x": v} for v in arrays["x"]], arrays["y"].astype(np.int64) - 1
    graph = subject.graph
    assert graph is not None
    outputs = both_outputs(subject, graph, x)
    found = classification(graph, outputs, list(signed))
    assert found is not None
    assert found["predictions"] == np.count_nonzero(signed >= 0)
    assert classification(graph, outputs, list(signed + 9)) is None
    assert classification(graph, outputs, list(signed.astype(np.float32))) is None


def test_everything_is_said(reported: Reported) -> None:
    text, facts = reported[0].read_text(), reported[1]
    for sentence in facts["attribution"]["advice"]:
        assert sentence in text
    for entry in facts["files"]:
        assert entry["sha256"] in text
        assert entry["state"] == "as exported"
    for row in facts["verification"]["rows"]:
        assert row["engine"] in text
        assert row["differing"] == 0
    for tensor in facts["tensors"]:
        assert tensor["name"] in text
    assert len(facts["attribution"]["sources"]) > 25
    assert {c["ends"][-1] for c in facts["growth"]["total"]} == {300}
    assert facts["origin"]["numpy"] == np.__version__
    # One row of numbers for every row of facts.
    rows = text.count("<tr>")
    assert rows > len(facts["tensors"]) + len(facts["attribution"]["sources"]) + len(facts["files"])


def test_budgets_are_held(bare: Path, tmp_path: Path) -> None:
    subject = load_subject(bare)
    assert isinstance(subject.program, Program)
    flash = estimate(subject.program, load_targets()["cortex-m4"]).flash
    for limit, fits in ((flash, True), (flash - 1, False)):
        file = tmp_path / "edgernn.toml"
        file.write_text(
            f'[budget]\n[[budget.target]]\ndevice = "nrf52-dk"\nflash = {limit}\nstep = "5ms"\n'
        )
        arguments = ("--file", file, "--out", tmp_path / "r.html", "--json")
        (row,) = json.loads(run("report", bare, *arguments))["budgets"]
        assert row["fits"] is fits
        assert ("of flash: over" in (tmp_path / "r.html").read_text()) is not fits


def test_a_file_of_budgets_says_boards_and_data_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text(
        '[mine]\ntitle = "Mine"\ncore = "cortex-m4"\nclock = "9 MHz"\nflash = "64 KiB"\n'
        'ram = "9 KiB"\n[mine.sources]\nclock = "a"\nflash = "b"\nram = "c"\n'
    )
    shutil.copyfile(folder.parent / "test.npz", tmp_path / "test.npz")
    file = tmp_path / "edgernn.toml"
    file.write_text(
        '[budget]\ntargets = ["boards.toml"]\ndata = "test.npz"\nlabels = "y"\n'
        '[[budget.target]]\ndevice = "mine"\n[[budget.target]]\ndevice = "rpi-pico"\n'
    )
    arguments = ("--out", tmp_path / "r.html", "--file", file, "--steps", 10, "--json")
    facts = json.loads(run("report", folder, *arguments, "--target", "mine"))
    assert [row["title"] for row in facts["budgets"]] == ["Mine"]
    assert facts["cost"]["core"] == "cortex-m4"
    assert facts["drop"]["kind"] == "accuracy"
    assert "has no target" in run("report", folder, *arguments, "--target", "nrf52-dk", code=1)
    own = ("--boards", tmp_path / "boards.toml")
    assert "names its boards itself" in run("report", folder, *arguments, *own, code=1)
    alone = ("--out", tmp_path / "r.html", *own, "--target", "mine", "--steps", 10, "--json")
    facts = json.loads(run("report", folder, *alone))
    assert [row["title"] for row in facts["budgets"]] == ["Mine"]


def test_targets_by_name(bare: Path, tmp_path: Path) -> None:
    arguments = ("--out", tmp_path / "r.html")
    targets = ("--target", "rpi-pico", "--target", "cortex-m55")
    facts = json.loads(run("report", bare, *arguments, *targets, "--json"))
    assert [row["target"] for row in facts["budgets"]] == ["rpi-pico", "cortex-m55"]
    assert facts["cost"]["core"] == "cortex-m0plus"
    again = (*targets, "--target", "rpi-pico")
    facts = json.loads(run("report", bare, *arguments, *again, "--json"))
    assert [row["target"] for row in facts["budgets"]] == ["rpi-pico", "cortex-m55"]
    told = run("report", bare, *arguments, "--target", "rpi-pica", code=1)
    assert "rpi-pica" in told
    assert "Traceback" not in told


def test_without_float_network_or_data(folder: Path, bare: Path, tmp_path: Path) -> None:
    run("report", bare, "--out", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "no data to measure on" in text
    assert 'id="error"' not in text
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "model.float.safetensors").unlink()
    run("report", other)
    text = (other / "report.html").read_text()
    assert "error against float is not known" in text
    assert "gone" in text


class Both(nn.Module):
    """A GRU in both directions and its mean over the window, once."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.gru(x)[0].mean(dim=1))
        return logits


def test_a_program_over_windows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((9, 7, 3)).astype(np.float32)
    with warnings.catch_warnings():
        # Of torch, about its own flat weights.
        warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
        program = edgernn.quantize(Both().eval(), (torch.from_numpy(x[:2]),), calibration=x)
    edgernn.export(program, tmp_path, formats=("onnx",), verify_steps=30)
    np.savez(tmp_path / "test.npz", x=x, y=np.arange(9) % 2)
    facts = json.loads(run("report", tmp_path, "--data", tmp_path / "test.npz", "--json"))
    assert facts["model"]["kind"] == "window"
    assert facts["growth"]["total"] == []
    assert {c["ends"][-1] for c in facts["growth"]["sources"]} == {1, 7}
    assert facts["accuracy"]["predictions"] == 9
    assert max(t["stage"] for t in facts["tensors"]) >= 2
    cost = facts["cost"]
    (own,) = (c for c in cost["cores"] if c["name"] == cost["core"])
    for key in ("flash", "macs", "instructions"):
        assert sum(o[key] for o in cost["operators"]) == own[key], key
    text = (tmp_path / "report.html").read_text()
    assert "Cost of a window" in text
    assert "step of the window" in text
    assert "over time, by source" in text


def test_what_is_refused_is_refused_before_it_is_measured(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("edgernn.report.facts.statistics")
    data = tmp_path / "wrong.npz"
    with np.load(folder.parent / "test.npz") as arrays:
        np.savez(data, x=arrays["x"], y=arrays["y"] + 3)
    for arguments, message in (
        (("--data", data), "is no class"),
        (("--labels", "y"), "give that too"),
        (("--target", "none"), "no target 'none'"),
        (("--out", tmp_path / "gone" / "r.html"), "there is no folder"),
    ):
        assert message in run("report", folder, *arguments, code=1)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "edgernn[report]" in run("report", folder, code=1)
    assert not (folder / "report.html").exists()


def test_data_beyond_what_was_calibrated_is_pointed_out(folder: Path, tmp_path: Path) -> None:
    with np.load(folder.parent / "test.npz") as arrays:
        np.savez(tmp_path / "large.npz", x=1000 * arrays["x"])
    arguments = ("--out", tmp_path / "r.html", "--steps", 10)
    told = run("report", folder, *arguments, "--data", tmp_path / "large.npz")
    assert "% of the values of x lie beyond ±" in told
    assert "lie beyond ±" in (tmp_path / "r.html").read_text()
    assert "lie beyond ±" not in run("report", folder, *arguments)


def test_engines_of_a_changed_file_are_not_said_to_agree(bare: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(bare, other)
    path = other / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    assert "no data to measure on" in run("report", other)
    text = (other / "report.html").read_text()
    assert "checked when it was exported" not in text
    assert "No engine was compared: not checked" in text


def test_a_changed_program_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    path = other / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "damaged or another one" in run("report", other, code=1)
    assert not (other / "report.html").exists()


@pytest.mark.parametrize(
    "broken", ["[]", "{", '{"files": 3}', '{"verification": {"rows": [{}]}}', '{"sha256": [1]}']
)
def test_a_damaged_report_json_is_refused(folder: Path, tmp_path: Path, broken: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "report.json").write_text(broken)
    told = run("report", other, "--steps", 10, code=1)
    assert "damaged" in told
    assert "Traceback" not in told


EVIL = "</script><img src=x onerror=alert(1)>{{7*7}}\"'&$x_1$"


class Elements(HTMLParser):
    """Counts elements, and attributes that run code."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, int] = {}
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names[tag] = self.names.get(tag, 0) + 1
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_hostile_names_are_text(folder: Path, reported: Reported) -> None:
    facts = json.loads(json.dumps(reported[1]))

    def spoil(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: spoil(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [spoil(v, key) for v in value]
        # What the page itself looks up is not a text of the model's.
        fixed = ("kind", "core", "target", "name", "scale")
        return f"{value}{EVIL}" if isinstance(value, str) and key not in fixed else value

    spoiled = spoil(facts)
    spoiled["name"] = EVIL
    for row in (*spoiled["tensors"], *spoiled["files"]):
        row["name"] += EVIL
    subject = load_subject(folder)
    program = subject.program
    network = [dict(n, kind=EVIL) for n in program.metadata["network"]]
    object.__setattr__(program, "metadata", {**program.metadata, "network": network})
    found, plain = Elements(), Elements()
    text = page(spoiled, subject)
    assert "{{7*7}}" in text
    found.feed(text)
    plain.feed(reported[0].read_text())
    assert found.handlers == []
    assert "img" not in found.names
    for name in ("script", "style", "table", "section", "figure", "h1", "details"):
        assert found.names[name] == plain.names[name], name


def test_names_as_long_as_they_may_be(reported: Reported) -> None:
    rows = [{**row, "label": "weights of " + "y" * 128} for row in
            reported[1]["attribution"]["groups"]]  # fmt: skip
    text = charts.effects(rows, 50.0)
    assert "y" * 30 not in text
    assert "…" in text
    legends = []

    def keep(made: Any, *told: str) -> str:
        made.draw_without_rendering()
        legends.append((made.legends[0].get_window_extent(), made.bbox))
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "inline_svg", keep)
        for length in (4, 24, 128):
            plain = {"label": "int8", "ends": [1, 10], "rms": [2e-5, 3e-5]}
            curves = [{**plain, "target": "m" * length} for _ in range(9)]
            charts.growth(curves, "", "target", "")
    for legend, whole in legends:
        assert legend.x1 <= whole.x1


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_of_text_and_lines(palette: Any) -> None:
    def contrast(colour: str) -> float:
        high, low = sorted((luminance(colour), luminance(palette.paper)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for colour in (palette.ink, palette.muted, palette.bad, palette.good, palette.series[0]):
        assert contrast(colour) >= 4.5, colour
    for colour in palette.series:
        assert contrast(colour) >= 3.0, colour
