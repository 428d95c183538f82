"""Softmax, sigmoid and softplus at a model's end: left out and recorded, or integers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.cli import main  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.importer.pt2 import quiet  # noqa: E402
from edgernn.runtime import StepRuntime  # noqa: E402
from edgernn.runtime.errors import InputError, UnsupportedError  # noqa: E402
from tests.edgernn.cells import assert_same_everywhere, sequences  # noqa: E402

F, H = 3, 12
functional: Any = torch.nn.functional
Head = Callable[[Any], Any]
HEADS: dict[str, Head] = {
    "softmax": lambda y: torch.softmax(y, dim=-1),
    "log_softmax": lambda y: functional.log_softmax(y, dim=-1),
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
}
INTEGER = ("softmax", "sigmoid", "softplus")


class Model(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    def __init__(
        self, head: Head, outputs: int = 5, gain: float = 1.0, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(F, H, batch_first=True, bidirectional=bidirectional)
        self.fc = torch.nn.Linear(H * (1 + bidirectional), outputs)
        self.head = head
        torch.nn.init.normal_(self.fc.weight, 0.0, gain * H**-0.5)

    def logits(self, x: Any) -> Any:
        return self.fc(self.gru(x)[0])

    def forward(self, x: Any) -> Any:
        return self.head(self.logits(x))


def quantized(model: Any, x: Any, heads: Any = "logits") -> Any:
    return edgernn.quantize(model.eval(), (torch.from_numpy(x[:2]),), calibration=x, heads=heads)


@pytest.mark.parametrize("head", HEADS)
def test_by_default_the_program_returns_logits(head: str) -> None:
    torch.manual_seed(0)
    model, x = Model(HEADS[head]), sequences((8, 30, F))
    program = quantized(model, x)
    assert [(o.name, o.head) for o in program.graph.outputs] == [("y", head)]
    assert program.metadata["heads"] == {"y": head}
    with torch.no_grad():
        expected = model.logits(torch.from_numpy(x)).numpy()
    assert np.abs(StepRuntime(program).run(x) - expected).max() < 0.02
    assert not {"lookup", "rsqrt"} & {op.kind for op in program.operators}


@pytest.mark.parametrize("head", INTEGER)
@pytest.mark.parametrize(("outputs", "gain"), [(2, 1.0), (7, 1.0), (10, 10.0), (300, 4.0)])
def test_on_request_the_head_is_part_of_the_program(head: str, outputs: int, gain: float) -> None:
    torch.manual_seed(outputs)
    model, x = Model(HEADS[head], outputs, gain), sequences((8, 30, F))
    program, logits = quantized(model, x, "integer"), quantized(model, x)
    assert program.metadata["heads"] == {}
    # Of the same logits, so that only the head's own error counts.
    before = StepRuntime(logits).run(x)
    expected = HEADS[head](torch.from_numpy(before)).numpy()
    got = StepRuntime(program).run(x)
    # A sigmoid reads another scale, and so another rounding of the weights.
    worst = 1e-2 if head == "sigmoid" else 1e-3
    assert np.abs(got - expected).max() < worst * max(1.0, np.abs(expected).max())
    if head == "softmax":
        # Every output is rounded by half a unit of 2^-15.
        np.testing.assert_allclose(got.sum(axis=-1), 1.0, rtol=0, atol=1e-3 + outputs * 2.0**-16)
        chosen = np.take_along_axis(before, got.argmax(-1)[..., None], -1)[..., 0]
        assert (before.max(-1) - chosen).max() < 5e-3
    assert_same_everywhere(program, 200, seed=outputs)


def test_a_softmax_of_tiny_and_of_huge_logits() -> None:
    x = sequences((8, 30, F))
    for gain in (1e-4, 100.0):
        torch.manual_seed(0)
        model = Model(HEADS["softmax"], 6, gain)
        torch.nn.init.zeros_(model.fc.bias)
        program, logits = quantized(model, x, "integer"), quantized(model, x)
        expected = torch.softmax(torch.from_numpy(StepRuntime(logits).run(x)), -1).numpy()
        assert np.abs(StepRuntime(program).run(x) - expected).max() < 5e-3


@pytest.mark.parametrize(
    "head",
    [
        lambda y: torch.softmax(y[:, -1], dim=-1),
        lambda y: torch.softmax(y, dim=-1)[:, -1],
        lambda y: torch.softmax(y[:, -1:], dim=2).squeeze(1),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_last_step_before_or_after_the_head(head: Head, bidirectional: bool) -> None:
    model = Model(head, bidirectional=bidirectional).eval()
    graph = import_model(model, (torch.zeros(2, 5, F),))
    assert [(o.head, o.last) for o in graph.outputs] == [("softmax", True)]
    assert "softmax" not in {node.kind for node in graph.nodes}
    kept = import_model(model, (torch.zeros(2, 5, F),), heads="integer")
    assert "softmax" in {node.kind for node in kept.nodes}


def test_logits_and_probabilities_of_one_model() -> None:
    torch.manual_seed(0)

    class Both(Model):
        def forward(self, x: Any) -> Any:
            y = self.logits(x)
            return y, torch.softmax(y, dim=-1)

    model, x = Both(HEADS["softmax"]), sequences((8, 30, F))
    first, second = StepRuntime(quantized(model, x)).run(x)
    assert (first == second).all()
    program = quantized(model, x, "integer")
    first, second = StepRuntime(program).run(x)
    np.testing.assert_allclose(second.sum(-1), 1.0, rtol=0, atol=1e-3)
    assert_same_everywhere(program, 200)


def test_what_is_inside_the_model_stays() -> None:
    torch.manual_seed(0)

    class Inside(Model):
        def forward(self, x: Any) -> Any:
            y = self.logits(x)
            return torch.sigmoid(y) * torch.tanh(y), torch.softmax(y, -1) * torch.sigmoid(y)

    model, x = Inside(torch.sigmoid), sequences((8, 30, F))
    program = quantized(model, x)
    kinds = [node.kind for node in program.graph.nodes]
    assert kinds.count("sigmoid") == 2
    assert kinds.count("softmax") == 1
    with torch.no_grad():
        expected = [y.numpy() for y in model(torch.from_numpy(x))]
    for got, wanted in zip(StepRuntime(program).run(x), expected, strict=True):
        assert np.abs(got - wanted).max() < 0.01
    assert_same_everywhere(program, 200)


def test_wrong_use_is_refused() -> None:
    x = sequences((2, 10, F))
    with pytest.raises(UnsupportedError, match=r"log_softmax.*not lowered.*return the logits"):
        quantized(Model(HEADS["log_softmax"]), x, "integer")
    with pytest.raises(UnsupportedError, match="softmax of 1 features"):
        quantized(Model(HEADS["softmax"], 1), x, "integer")
    with pytest.raises(InputError, match="heads 'float' is none of logits, integer"):
        quantized(Model(HEADS["softmax"]), x, "float")


def test_report_inspect_and_command_line_say_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Model(HEADS["softmax"]).eval(), sequences((8, 20, F))
    with quiet():
        exported = torch.export.export(model, (torch.from_numpy(x[:2]),))
        torch.export.save(exported, tmp_path / "m.pt2")
    np.savez(tmp_path / "calib.npz", x=x)
    arguments = [
        "export",
        str(tmp_path / "m.pt2"),
        "--int8",
        "--calib",
        str(tmp_path / "calib.npz"),
    ]
    arguments += ["--to", "numpy", "--verify-steps", "20", "--out"]
    for heads, found in (("logits", {"y": "softmax"}), ("integer", {})):
        out = tmp_path / heads
        result = CliRunner().invoke(main, [*arguments, str(out), "--heads", heads])
        assert result.exit_code == 0, result.output
        assert ("y is what the model's softmax reads" in result.output) == bool(found)
        assert json.loads((out / "report.json").read_text())["heads"] == found
        shown = CliRunner().invoke(main, ["inspect", str(out / "model.safetensors")]).output
        assert ("head left out" in shown) == bool(found)
