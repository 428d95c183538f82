"""The drawing of a network: every layer, state and output is in it, and the SVG is sound."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import edgernn
from edgernn.cli import main
from edgernn.drawing import drawing_of, text
from edgernn.runtime import Program, Window, save_program
from edgernn.svg import svg
from tests.edgernn.cells import sequences
from tests.programs import random_structure


class Both(nn.Module):
    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 5, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(10 if bidirectional else 5, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.rnn(x)[0]
        return self.head(y[:, -1]), torch.relu(self.head(y))


@pytest.fixture(scope="module", params=[False, True], ids=["stream", "window"])
def program(request: pytest.FixtureRequest) -> Program | Window:
    torch.manual_seed(0)
    x = sequences((4, 9, 3))
    model = Both(request.param).eval()
    return edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)


def _labels(document: str) -> list[str]:
    root = ElementTree.fromstring(document)
    return [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text")]


def test_every_layer_state_and_output_is_drawn(program: Program | Window) -> None:
    drawing = drawing_of(program)
    shown, labels = text(drawing), _labels(svg(drawing, "a <network> & more"))
    stages = program.stages if isinstance(program, Window) else ()
    programs = [stage.program for stage in stages] or [program]
    states = [s.name for p in programs for s in p.states]
    assert len(states) == (8 if stages else 4)
    for name in states:
        assert name in shown
        assert any(label.startswith(f"{name} ") for label in labels)
    for name in program.outputs:
        assert f"-> {name} (" in shown
        assert name in labels
    kinds = [box.kind for box in drawing.boxes]
    assert sum(kind.startswith("lstm") for kind in kinds) == (4 if stages else 2)
    assert sum(kind.endswith("backwards") for kind in kinds) == (2 if stages else 0)
    for number, stage in enumerate(stages):
        assert f"stage {number + 1}, {stage.direction}" in shown
        assert f"stage {number + 1}, {stage.direction}" in labels
    values = {value for box in drawing.boxes for value in box.writes}
    assert {name for box in drawing.boxes for name in box.reads} <= values


def test_boxes_do_not_overlap(program: Program | Window) -> None:
    root = ElementTree.fromstring(svg(drawing_of(program), "t"))
    rows = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("class")]
    areas = [tuple(float(str(e.get(key))) for key in ("x", "y", "width", "height")) for e in rows]
    width, height = (float(v) for v in str(root.get("viewBox")).split()[2:])
    for i, (x, y, w, h) in enumerate(areas):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for a, b, c, d in areas[:i]:
            assert x >= a + c or a >= x + w or y >= b + d or b >= y + h


@pytest.mark.parametrize("seed", range(12))
def test_a_program_without_layers_is_drawn_by_operators(seed: int) -> None:
    drawing = drawing_of(random_structure(seed))
    assert len(_labels(svg(drawing, "t"))) >= 2 * len(drawing.boxes)
    assert len(text(drawing).splitlines()) == len(drawing.boxes)


@pytest.mark.parametrize(
    "network",
    [
        "gru",
        [],
        [3],
        [{"kind": 3, "writes": ["y"]}],
        [{"kind": "gru", "reads": "x", "writes": ["y"]}],
        [{"kind": "gru", "reads": ["x"], "writes": []}],
        [{"kind": "gru", "reads": [1], "writes": ["y"]}],
        [{"kind": "<script>", "reads": ["nothing"], "writes": ["</svg>"], "states": ["&"]}],
    ],
)
def test_foreign_metadata_does_no_harm(network: object) -> None:
    program = dataclasses.replace(random_structure(3), metadata={"network": network})
    drawing = drawing_of(program)
    assert text(drawing)
    assert "<script>" not in svg(drawing, "</title>")
    assert _labels(svg(drawing, "</title>"))


def test_inspect_draws(program: Program | Window, tmp_path: Path) -> None:
    path, picture = tmp_path / "model.safetensors", tmp_path / "network.svg"
    save_program(program, path)
    result = CliRunner().invoke(main, ["inspect", str(path), "--svg", str(picture)])
    assert result.exit_code == 0, result.output
    assert "network\n" in result.output
    assert "lstm" in result.output
    assert _labels(picture.read_text())
    again = CliRunner().invoke(main, ["inspect", str(path), "--json"])
    assert again.exit_code == 0
    refused = CliRunner().invoke(main, ["inspect", str(path), "--svg", str(tmp_path / "no" / "a")])
    assert refused.exit_code == 1
    assert refused.output.count("\n") >= 1
